/* The validator's parts. Private to src/aspace/. */
#ifndef CAIRN_ASPACE_CHECK_H
#define CAIRN_ASPACE_CHECK_H

#include "aspace/mapping.h"

struct space_checker {
    struct aspaces *system;
    struct sink *out; /* may be null */
    unsigned complaints;
    struct aspace *space;       /* that is looked at */
    size_t mappings, of_objects; /* found so far, in all; those of objects */
};

__attribute__((format(printf, 2, 3))) void space_complain(struct space_checker *k, const char *format, ...);

/* ASPACE-I3, I4, I6, I7: tables against mappings and objects. The mappings are sound. */
void space_check_tables(struct space_checker *k);

/* Each object: act(k, object). */
void space_check_objects(struct space_checker *k, void (*act)(struct space_checker *k, const struct object *object));

#endif
