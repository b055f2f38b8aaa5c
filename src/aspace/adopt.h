/* Private memory becomes an object. Private to src/aspace/. */
#ifndef CAIRN_ASPACE_ADOPT_H
#define CAIRN_ASPACE_ADOPT_H

#include "aspace/mapping.h"

/*
 * May nobody ever write by this private mapping of an object? Then it has no copies, shows what a shared one would, and
 * becomes one: nothing is copied, no object is made.
 */
static inline bool adopt_keeps_object(const struct mapping *m)
{
    return m->object != NULL && (m->allowed & VMM_WRITE) == 0;
}

/*
 * An anonymous object, which nobody holds, with all that [va, va + pages) of `space` shows, in the mapping `m` that is
 * private: frames that only this page uses as they are, copies of others. The space does not change but for page tables
 * that become its own. *object is null where the mapping keeps its own. => OK; NOMEM; LIMIT; what the pager says.
 * adopt_commit or (of an object) adopt_undo must follow, in this call.
 */
enum status adopt_prepare(struct aspace *space, struct mapping *m, vaddr_t va, npages_t pages, struct object **object);
/* From now on the range maps the object, shared. Its pages are not in the tables any more. => OK; CORRUPT. */
enum status adopt_commit(struct aspace *space, vaddr_t va, npages_t pages, struct object *object);
void adopt_undo(struct object *object);

#endif
