/*
 * Families: a space and its clones, and theirs. They have private pages at the same addresses, and maybe the same
 * frames there, so that one word of the reverse index speaks for all of them (reverse.c). A record by its id, which is
 * used again only long after: members in a list, the newest first.
 */
#include "aspace/mapping.h"

static unsigned next_id(const struct aspaces *system)
{
    return reverse_next_id(&system->family_of, system->next_family);
}

size_t family_missing(const struct aspaces *system)
{
    return pool_missing(&system->families, 1) + page_index_missing(&system->family_of, next_id(system), 1);
}

void family_begin(struct aspace *space)
{
    struct aspaces *system = space->system;
    struct aspace_family *family = pool_take(&system->families);
    *family = (struct aspace_family){.id = next_id(system), .members = 1, .first = space};
    system->next_family = family->id + 1;
    page_index_set(&system->family_of, &system->stock, family->id, (uintptr_t)family);
    space->family = family;
    space->relative = NULL;
}

void family_join(struct aspace *space, struct aspace *relative)
{
    space->family = relative->family;
    space->relative = space->family->first;
    space->family->first = space;
    space->family->members++;
}

void family_leave(struct aspace *space)
{
    struct aspaces *system = space->system;
    struct aspace_family *family = space->family;
    struct aspace **at = &family->first;
    while (*at != space) {
        at = &(*at)->relative;
    }
    *at = space->relative;
    space->family = NULL;
    if (--family->members == 0) {
        page_index_set(&system->family_of, &system->stock, family->id, 0);
        (void)!pool_put(&system->families, family);
    }
}
