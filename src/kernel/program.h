/*
 * A few instructions of user mode with a space of their own: for provocations, benchmarks and tests.
 */
#ifndef CAIRN_KERNEL_PROGRAM_H
#define CAIRN_KERNEL_PROGRAM_H

#include "kernel/current.h"
#include "kernel/pagers.h"

/* Code in assembler (AT&T), position-independent, as bytes: NAME up to NAME_end. */
#define USER_CODE(name, text)                                                                                 \
    extern const uint8_t name[], name##_end[];                                                                \
    __asm__(".pushsection .rodata.user_code,\"a\"\n" #name ":\n" text "\n" #name "_end:\n.popsection")

enum {
    PROGRAM_CODE = 0x400000,  /* as many pages as it takes, read and execute, filled by faults */
    PROGRAM_DATA = 0x600000,  /* zeros, read and write */
    PROGRAM_DATA_PAGES = 16,
    PROGRAM_STACK = 0x800000, /* where it ends; it grows down, to a guard */
    PROGRAM_STACK_PAGES = 4,  /* at most: it begins with one */
};

struct program {
    struct aspace space;
    struct object *code;
    struct pager_bytes bytes;
    struct user_context context; /* of the last run */
    struct aspace_fault fault;   /* why that ended, where it was by a page fault */
};

/* The struct stays in place until program_end, the code for ever. => as aspace_create, aspace_map. */
enum status program_make(struct program *p, const uint8_t *code, const uint8_t *end);
/* The context for a start at the beginning, with an empty stack. */
void program_begin(struct program *p);
/* Run on until it leaves. => OK; as current_run. */
enum status program_run(struct program *p);
/* => OK; as aspace_destroy. */
enum status program_end(struct program *p);

#endif
