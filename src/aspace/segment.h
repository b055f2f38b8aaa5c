/*
 * Segments: pages that many spaces use at the same addresses, each with rights of its own. A segment has a slot of
 * 1 GiB of the global part to itself (65,535 of them; the last GiB is left out), an object whose pages lie there, an
 * owner, and a list of permissions: one entry for each space that may use it, the owner's among them. A segment that
 * is private is one with a list of one, and to share it later moves and copies nothing.
 *
 * Which segment an address is in, and what a space may do there, is found from the upper bits of the address, in a
 * fixed number of steps, whoever shares it. The page tables of a segment exist once, whoever shares it: each permission
 * is one entry, in a table of the space that has it, which leads there with the rights it leaves. A page that one
 * touches is there for all.
 *
 * Whoever is in the list counts one range more (aspace_limits), and the owner the pages, resident or not. The owner's
 * end is the segment's. Mappings and segments never meet: the calls of aspace.h about ranges find nothing mapped
 * (ABSENT) at addresses of a segment; aspace_fault, aspace_query, aspaces_users, aspace_clone and aspace_destroy know
 * them.
 *
 *   ASPACE-I9 each slot of the index has a segment, whose object lies there; each entry of its list is one link to the
 *             segment's tables with the rights that it says, and no link is there without an entry
 *
 * `va`: any address of the segment. All calls: all or nothing, arguments first, as in aspace.h; ABSENT: no segment is
 * there, or the caller is not in its list; DENIED: the caller is, and is not its owner. Context: thread.
 */
#ifndef CAIRN_ASPACE_SEGMENT_H
#define CAIRN_ASPACE_SEGMENT_H

#include "aspace/object.h"

#define SEGMENT_PAGES_MAX (1ULL << 18) /* 1 GiB */

struct segment_request {
    npages_t pages;         /* 1..SEGMENT_PAGES_MAX; with an object 0: its size */
    unsigned rights;        /* of the owner, and the most that anybody gets: VMM_*, not 0, not write and execute */
    struct object *object;  /* anonymous or paged, nowhere in the global part; null: anonymous, of its own */
    const char *tag;        /* who asks, a string that lives for ever; not null */
};

/*
 * A new one; its owner is alone in the list. An object lies there with all its pages, and goes on to grow and to shrink
 * in place (object_resize), as a file does. => OK, *va: its first page; LIMIT: of the space, of all spaces; RANGE:
 * SEGMENT_PAGES_MAX; UNSUPPORTED: a physical object; EXISTS: the object has global addresses already; NOMEM: also no
 * slot is left.
 */
enum status segment_create(struct aspace *owner, const struct segment_request *request, vaddr_t *va);
/*
 * `to` may use all of it, with these rights: at most those that the owner has now. One store in the tables of `to` and
 * its count (a table where it has none there), whatever the segment holds. VMM_USER is as the segment has it (INVALID).
 * => OK; EXISTS: it is in the list; DENIED also: more rights; LIMIT: of `to`, of the 65,000 references to a frame (the
 * PD's); NOMEM.
 */
enum status segment_grant(struct aspace *owner, vaddr_t va, struct aspace *to, unsigned rights);
/*
 * `of` has fewer rights from now on, VMM_READ at least; the owner may narrow its own. One store, one flush. Needs no
 * memory. => OK; ABSENT also: it is not in the list; DENIED also: not fewer.
 */
enum status segment_narrow(struct aspace *owner, vaddr_t va, struct aspace *of, unsigned rights);
/*
 * `from` is in the list no more, and uses nothing of it when the call returns: one store, its count, and one flush. Who
 * is in the list may revoke its own; the owner's own is the end of the segment for all. Needs no memory.
 */
enum status segment_revoke(struct aspace *by, vaddr_t va, struct aspace *from);
/*
 * More pages, or fewer. Pages behind the new end go, and come back as zeros (or from their pager) when the segment
 * grows again. => OK; SHARED: others have the segment, and some of the pages that would go are resident; LIMIT: of the
 * owner; RANGE; INVALID: 0.
 */
enum status segment_resize(struct aspace *owner, vaddr_t va, npages_t pages);

/*
 * May the space do this (VMM_READ, VMM_WRITE or VMM_EXECUTE, with VMM_USER from user mode) at `va`, as far as segments
 * decide it? => OK; DENIED: without the right; ABSENT: no segment there, or it is not in the list, or behind the end.
 * At most 60 instructions.
 */
enum status segment_permits(const struct aspace *space, vaddr_t va, unsigned access);

struct segment_info {
    vaddr_t base;
    npages_t pages;
    struct object *object;
    struct aspace *owner;
    unsigned permissions; /* entries of its list */
    const char *tag;
};
/* The segment at `va`. => false: none. O(1). */
bool segment_info(const struct aspaces *system, vaddr_t va, struct segment_info *out);
/* All, in order of address; false stops. Nothing may be changed meanwhile. */
typedef bool segments_visit_fn(void *ctx, const struct segment_info *segment);
void segments_visit(const struct aspaces *system, segments_visit_fn *visit, void *ctx);
/* The list of the segment at `va`; false stops. Nothing may be changed meanwhile. */
typedef bool segment_visit_fn(void *ctx, struct aspace *space, unsigned rights);
void segment_visit(const struct aspaces *system, vaddr_t va, segment_visit_fn *visit, void *ctx);

#endif
