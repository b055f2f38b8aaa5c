/*
 * What each system call answers in the end, when the program fuzz calls at random: where there is a memory of 256 MiB,
 * and a module of the name.
 */
#ifndef CAIRN_USER_FUZZ_ANSWERS_H
#define CAIRN_USER_FUZZ_ANSWERS_H

#include "user/calls.h"

#define NUMBERS (TASK_CALLS + 1) /* the last: no call */
#define ANSWER(name) (1U << STATUS_##name)
enum { PLACE = ANSWER(OK) | ANSWER(INVALID) | ANSWER(RANGE) | ANSWER(ABSENT) };

static const struct {
    const char *name;
    unsigned answers; /* statuses, a bit each */
} known[NUMBERS] = {
    {"yield", ANSWER(OK)},
    {"exit", 0},
    {"alloc", ANSWER(OK) | ANSWER(INVALID) | ANSWER(LIMIT) | ANSWER(NOMEM)},
    {"free", PLACE | ANSWER(DENIED)},
    {"map_module", ANSWER(OK) | ANSWER(INVALID) | ANSWER(LIMIT) | ANSWER(ABSENT) | ANSWER(DENIED) | ANSWER(EXISTS) |
                       ANSWER(RANGE)},
    {"protect", PLACE | ANSWER(DENIED)},
    {"query", ANSWER(OK) | ANSWER(RANGE) | ANSWER(ABSENT) | ANSWER(DENIED)},
    {"share", PLACE | ANSWER(DENIED) | ANSWER(LIMIT) | ANSWER(EXISTS) | ANSWER(NOT_GLOBAL)},
    {"transfer", PLACE | ANSWER(DENIED) | ANSWER(LIMIT) | ANSWER(NOT_GLOBAL)},
    {"withdraw", PLACE},
    {"clone", PLACE | ANSWER(DENIED) | ANSWER(LIMIT)},
    {"seal", PLACE},
    {"send", PLACE | ANSWER(DENIED) | ANSWER(LIMIT) | ANSWER(EXISTS) | ANSWER(NOT_GLOBAL)},
    {"receive", PLACE | ANSWER(DENIED) | ANSWER(LIMIT) | ANSWER(AGAIN)},
    {"log", ANSWER(OK) | ANSWER(RANGE) | ANSWER(DENIED) | ANSWER(LIMIT)},
    {"stats", ANSWER(OK) | ANSWER(RANGE) | ANSWER(DENIED)},
    {"segment_create", ANSWER(OK) | ANSWER(INVALID) | ANSWER(RANGE)},
    {"segment_grant", ANSWER(OK) | ANSWER(INVALID) | ANSWER(ABSENT) | ANSWER(DENIED) | ANSWER(EXISTS)},
    {"segment_narrow", ANSWER(OK) | ANSWER(INVALID) | ANSWER(ABSENT) | ANSWER(DENIED)},
    {"segment_revoke", ANSWER(OK) | ANSWER(ABSENT) | ANSWER(DENIED)},
    {"segment_resize", PLACE | ANSWER(DENIED) | ANSWER(SHARED) | ANSWER(LIMIT)},
    {"segment_file", PLACE | ANSWER(DENIED) | ANSWER(LIMIT)},
    {"no such call", ANSWER(UNSUPPORTED)},
};

#endif
