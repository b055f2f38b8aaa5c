/* Mappings and objects from inside. Private to src/aspace/ and the tests that break them. */
#ifndef CAIRN_ASPACE_MAPPING_H
#define CAIRN_ASPACE_MAPPING_H

#include "aspace/object.h"
#include "aspace/reverse.h"
#include "lib/macros.h"

/* A right of one space to a range of pages. */
struct mapping {
    struct avl_node by_address; /* in its space's tree */
    struct avl_node by_page;    /* in its object's tree, by `first`; object null: in none */
    uint64_t reach;             /* in the object's tree: the greatest page end of the subtree */
    struct aspace *space;
    uint64_t first;             /* the object's page at `base` */
    vaddr_t base;
    npages_t pages;
    /* As in struct aspace_query: a question copies it whole. */
    uint16_t rights, allowed;   /* VMM_* */
    uint16_t flags;             /* ASPACE_* */
    bool sealed;
    bool is_anyones;            /* who gave it could not be kept apart: any who has a page of it may withdraw that */
    uint32_t giver;             /* id (space.id) of the space that shared it; 0: nobody */
    uint32_t room_pages;        /* of a stack, between its guard and `base`: addresses that are its own, not mapped */
    const char *tag;
    struct object *object;      /* null: private anonymous */
    struct mapping *next_gift;  /* of a question under way (gifts_graph.c): means nothing between calls */
};
/* Rights, flags and tag. */
#define MAPPING_SAID_BYTES (offsetof(struct aspace_query, object) - offsetof(struct aspace_query, rights))
#define MAPPING_IS_AS_SAID(field)                                  \
    (offsetof(struct mapping, field) - offsetof(struct mapping, rights) == \
     offsetof(struct aspace_query, field) - offsetof(struct aspace_query, rights))
static_assert(MAPPING_IS_AS_SAID(allowed) && MAPPING_IS_AS_SAID(flags) && MAPPING_IS_AS_SAID(giver) &&
                  MAPPING_IS_AS_SAID(sealed) && MAPPING_IS_AS_SAID(room_pages) && MAPPING_IS_AS_SAID(tag) &&
                  MAPPING_IS_AS_SAID(object),
              "what a question copies whole");
static inline void mapping_clear(struct mapping *m, unsigned flags) { m->flags = (uint16_t)(m->flags & ~flags); }

enum {
    OBJECT_FEW = 8,
    ASPACE_ID_BITS = 28, /* of the ids of objects and families, so that one fits into a word of the reverse index */
};

struct object {
    struct aspaces *system;
    struct avl_tree mappings;   /* by first page, with `reach` */
    /* Frames of resident pages (OBJECT_ANONYMOUS, OBJECT_PAGED); 0: none. The first ones here, so that a message takes
     * no page of an index; the others there, by their numbers. */
    pfn_t few[OBJECT_FEW];
    struct page_index frames;
    unsigned id;
    enum object_kind kind;
    npages_t pages;
    unsigned holders, mapping_count;
    vaddr_t global;             /* address of page 0 in the global part; 0: none */
    npages_t global_pages;      /* that had addresses there when it was placed */
    struct segment *segment;    /* whose slot they are (segment.h); null: ordinary addresses */
    unsigned guards;            /* ASPACE_GUARD_*: the page beside them that is theirs too */
    uint32_t passed_by;         /* the last space that ended and had all its gifts of it passed on whole */
    bool keeps_addresses;       /* of pages that nobody maps: there was no node to cut them out */
    bool is_written;            /* a mapping, not private, had the right to write, or could get it */
    pfn_t first;                /* physical */
    unsigned cache;             /* VMM_UNCACHED, VMM_WRITE_COMBINING, 0: physical */
    struct pager pager;
};

/* What cannot fail here. */
static inline void must(enum status s)
{
    ASSERT(s == STATUS_OK);
    (void)s;
}

static inline struct mapping *mapping_by_address(struct avl_node *n)
{
    return n == NULL ? NULL : CONTAINER_OF(n, struct mapping, by_address);
}
static inline struct mapping *mapping_by_page(struct avl_node *n)
{
    return n == NULL ? NULL : CONTAINER_OF(n, struct mapping, by_page);
}
static inline struct aspace *aspace_of(struct space *tables) { return CONTAINER_OF(tables, struct aspace, tables); }
static inline uint64_t mapping_end(const struct mapping *m) { return m->base.v + pages_to_bytes(m->pages); }
static inline uint64_t mapping_page(const struct mapping *m, vaddr_t va)
{
    return m->first + bytes_to_pages_down(va.v - m->base.v).v;
}
/* Addresses of the private part below it and above it that are its own: guards, and the room of a stack. */
static inline npages_t mapping_lead(const struct mapping *m)
{
    return npages((m->flags & ASPACE_GUARD_BELOW) != 0 ? 1 + (uint64_t)m->room_pages : 0);
}
static inline npages_t mapping_trail(const struct mapping *m)
{
    return npages((m->flags & ASPACE_GUARD_ABOVE) != 0 ? 1 : 0);
}
static inline bool mapping_is_private(const struct mapping *m)
{
    return m->object == NULL || (m->flags & ASPACE_PRIVATE) != 0;
}

/* What a space gives up in one call, all of which counts as gone, and what it has taken so far to look at its gifts. */
struct giving_up {
    vaddr_t since, end;
    uint32_t to;            /* id of the space that stands in its place from now on; 0: who gave the pages to it */
    uint64_t looks, most;   /* most: then questions end, and what they say is worth nothing */
};
static inline bool gifts_are_too_many(const struct giving_up *up, npages_t pages)
{
    return pages.v > 1 && up->looks > up->most;
}

/* Where questions begin, after its tree or its number of segments has changed. */
static inline void aspace_note_root(struct aspace *space)
{
    space->asked = space->segments == 0 ? space->mappings.root : NULL;
}

/* ---- mapping.c ---- */

/* A node is its mapping: nothing to take off. And no mapping is one that begins at 0 and ends there. */
static_assert(offsetof(struct mapping, by_address) == 0, "the first member");
static_assert(offsetof(struct mapping, pages) + sizeof(npages_t) <= AVL_NONE_BYTES, "what is read of none");
static inline const struct mapping *mapping_child(const struct mapping *m, enum avl_side side)
{
    return (const void *)m->by_address.child[side];
}
#define MAPPING_NONE ((const struct mapping *)(const void *)AVL_NONE)

/* On from `m` to the first one to the left that begins at or below `va`, which none does too. */
static inline const struct mapping *mapping_down_left(const struct mapping *m, vaddr_t va)
{
    if (va.v < m->base.v) {
        do {
            m = mapping_child(m, AVL_LEFT);
        } while (va.v < m->base.v);
    }
    return m;
}

/*
 * In a tree with this root: the last mapping that begins at or below `va`, or MAPPING_NONE. O(log mappings): three
 * instructions a level to the left, where none ends the way as one below would, and five to the right. The two pointers
 * change roles there, instead of being copied.
 */
static inline const struct mapping *mapping_below(const struct mapping *root, vaddr_t va)
{
    const struct mapping *best = MAPPING_NONE, *at = mapping_down_left(root, va);
    while (at != MAPPING_NONE) {
        best = mapping_down_left(mapping_child(at, AVL_RIGHT), va);
        if (best == MAPPING_NONE) {
            return at;
        }
        at = mapping_down_left(mapping_child(best, AVL_RIGHT), va);
    }
    return best;
}
/* Null: the space has none, or is no more. */
static inline const struct mapping *mapping_root(const struct aspace *space)
{
    return (const void *)space->mappings.root;
}
/* The mapping that holds `va`; null: none. O(log mappings). */
struct mapping *mapping_at(const struct aspace *space, vaddr_t va);
/* The first mapping that ends above `va`; null: none. */
struct mapping *mapping_from(const struct aspace *space, vaddr_t va);
struct mapping *mapping_next(const struct mapping *m);
struct mapping *mapping_previous(const struct mapping *m);
/* Is all of [va, va + pages) in mappings? */
bool mapping_covers(const struct aspace *space, vaddr_t va, npages_t pages);
/* Is none of it? */
bool mapping_is_clear(const struct aspace *space, vaddr_t va, npages_t pages);

/*
 * Changes of the trees and of what is counted for the space, and of nothing else: no table, no page, no address. They
 * cannot fail; where a record is needed, the pool has it (aspaces_reserve). O(log mappings).
 */
/* A new one of space, with what `values` says beside the trees. One record. */
struct mapping *mapping_add(struct aspace *space, const struct mapping *values);
/* Another space's from now on, at the same address, where that has nothing; no record. Counts of both are kept. */
void mapping_pass(struct mapping *m, struct aspace *to);
/* It is no more. The object stays, even if nobody has it now: see object_release_uncovered. */
void mapping_remove(struct mapping *m);
/* In two, at a page inside. => the upper part. One record. Guards stay where they are. */
struct mapping *mapping_split(struct mapping *m, vaddr_t at);
/* Without [va, va + pages), which lies in it. A record only if pages stay on both sides. `m` may be gone. */
void mapping_cut(struct mapping *m, vaddr_t va, npages_t pages);
/*
 * May the space have so many pages more, and `ranges` in all? More ranges than its limit are not asked about where it
 * has as many already, since others cut them (ASPACE-I5).
 */
bool limits_allow(const struct aspace *space, npages_t more, size_t ranges);
/* One with those neighbours that it could be one with. => the one that has its pages now. */
struct mapping *mapping_merge(struct mapping *m);
/* Could they be one? `high` begins where `low` ends, and all else goes on. */
bool mapping_joins(const struct mapping *low, const struct mapping *high);

/* ---- stack.c: ranges that grow down ---- */

/* The mapping into whose room `va`, which is in none, falls. Null: none. */
struct mapping *stack_at(const struct aspace *space, vaddr_t va);
/* What the stack gains when `page` of its room is touched. */
struct mapping stack_gain(const struct mapping *stack, vaddr_t page);
/* May it, and is the record there? => OK; LIMIT; NOMEM. */
enum status stack_prepare(const struct mapping *stack, const struct mapping *gain);
/* It has it. Prepared. */
void stack_grow(struct mapping *stack, const struct mapping *gain);

/* ---- reserve.c: before a change ---- */

/* A call of a living space that changes something begins. => OK; MISUSE (reported): none, or inside another call. */
enum status aspace_begin(struct aspace *space, const char *call);
enum status aspaces_begin(struct aspaces *system, const char *call);
/* It is over, whatever came of it. */
void aspaces_done(struct aspaces *system);

/* What a change takes at most. */
struct aspace_needs {
    size_t mappings, objects, families, loans; /* records */
    unsigned object_id;             /* goes into object_of; 0: none does */
    uint64_t frames;                /* that are noted in the reverse index */
    const struct page_index *index; /* of which [first, first + pages) are set; null: none */
    uint64_t first, pages;
    size_t stock;                   /* pages beside */
    struct arena *arena;            /* of which so many allocations and partial frees are made; null: none */
    unsigned operations;
};
/*
 * From now on all of it is there, beside what was reserved in this call before. Low-memory callbacks may have run: they
 * give back pages of objects and stock, but change no mapping, and leave alone the page that object_page_get gave last.
 * => OK; NOMEM.
 */
enum status aspaces_reserve(struct aspaces *system, const struct aspace_needs *needs);

/* ---- addresses.c ---- */

/* The private arena is there, for so many allocations and partial frees. May call callbacks. => OK; NOMEM. */
enum status addresses_ready(struct aspace *space, unsigned operations);
/* Addresses of the private part for a request, guards too. Ready for one. => OK, *va the first page; as aspace_map */
enum status addresses_take(struct aspace *space, const struct aspace_request *request, vaddr_t *va);
/* Partial frees that giving back exactly [va, va + pages) of the private part takes: 0 to 2. */
unsigned addresses_cuts(const struct aspace *space, vaddr_t va, npages_t pages);
/* Addresses of the private part go, all of them taken before. Ready for so many cuts. */
void addresses_give(struct aspace *space, vaddr_t va, npages_t pages);

/* An object of no address gets a place in the global part; `request`: guards, alignment, fit, tag. => OK; NOMEM. */
enum status addresses_place(struct object *object, const struct aspace_request *request);
/* The same, a whole slot of 1 GiB. Ready for one operation. => OK; NOMEM */
enum status addresses_place_slot(struct object *object, const char *tag);
/* Has the object (still) its addresses for these pages? */
bool addresses_are_there(const struct object *object, uint64_t first, npages_t pages);
/* The addresses of these pages go; where that takes a node and none is to be had, the object keeps them to its end. */
void addresses_give_pages(struct object *object, uint64_t first, npages_t pages);
/* All that it has go. */
void addresses_give_all(struct object *object);

/* ---- tables.c: page tables, all or nothing ---- */

/* Rights of leaves: those that the tables can say. Rights 0: pages stay, for the kernel to read. */
static inline unsigned leaf_rights(unsigned rights)
{
    const unsigned both = VMM_WRITE | VMM_EXECUTE;
    return rights == 0 ? (unsigned)VMM_READ : rights | ((rights & both) == both ? (unsigned)VMM_WRITE_EXECUTE : 0);
}
/* Nothing of [va, va + pages) is mapped any more; loans that touch it are over. => OK; NOMEM; CORRUPT. */
enum status tables_drop(struct aspace *space, vaddr_t va, npages_t pages);
/* What is mapped has these leaf rights; loans are over. => as tables_drop */
enum status tables_protect(struct aspace *space, vaddr_t va, npages_t pages, unsigned rights);
/* The tables of the range are the space's own, if need be by copies; loans are over. => as tables_drop, LIMIT */
enum status tables_own(struct aspace *space, vaddr_t va, npages_t pages);
/* All pages of a mapping now, where none of it is in the tables. => as aspace_fault; nothing mapped but for OK. */
enum status tables_populate(struct mapping *m);
/* A physical object's pages. => as vmm_map_frames */
enum status tables_map_physical(struct aspace *space, const struct object *object, uint64_t first, vaddr_t va,
                                npages_t pages, unsigned rights);

/* ---- object.c, object_pages.c ---- */

/* One more, held by nobody; reserved: a record, and the place of its id (object_next_id). */
struct object *object_new(struct aspaces *system, enum object_kind kind, npages_t pages);
unsigned object_next_id(const struct aspaces *system);
/* object_resize, inside of a call: no physical one. */
enum status object_set_size(struct object *object, npages_t pages);
/* The frame of a page, made resident if it is not; the object keeps its reference. => as object_populate */
enum status object_page_get(struct object *object, uint64_t page, pfn_t *frame);
/*
 * Of [first, first + pages), the parts that no mapping covers any more: their pages go, frame and address, if the
 * object is not held. One that nobody holds or maps is no more afterwards. Tables have been cleared and flushed.
 */
void object_release_uncovered(struct object *object, uint64_t first, npages_t pages);
/* The frame of a resident page; number 0: it is not. Not of physical objects. */
static inline pfn_t object_resident(const struct object *object, uint64_t page)
{
    return page < OBJECT_FEW ? object->few[page] : pfn(page_index_get(&object->frames, page));
}
/* The page is in this frame from now on, whose reference is the object's; 0: in none. The index has room. */
void object_set_resident(struct object *object, uint64_t page, pfn_t frame);
/* The first resident page in [from, end), or `end`. */
uint64_t object_next_resident(const struct object *object, uint64_t from, uint64_t end);
/* Resident pages. */
npages_t object_count_resident(const struct object *object);
/* The first mapping, by its first page, that has pages of [first, end); and the one after `m`. Null: none. */
struct mapping *object_overlap_first(const struct object *object, uint64_t first, uint64_t end);
struct mapping *object_overlap_next(const struct mapping *m, uint64_t first, uint64_t end);
/* The next stretch of [*from, end) that no mapping covers: [*from, *to). => false: there is none. */
bool object_gap(const struct object *object, uint64_t *from, uint64_t end, uint64_t *to);
/* Frames of [first, first + pages) go from the object. */
void object_drop_pages(struct object *object, uint64_t first, npages_t pages);

/* ---- request.c: arguments ---- */

/* => OK; INVALID; RANGE. A range of one part of the user half. */
enum status range_check(vaddr_t va, npages_t pages);
/* *rights with what they include. => OK; INVALID. */
enum status rights_check(unsigned *rights);
bool va_is_global(vaddr_t va);

/* ---- loans.c: parts of 2 MiB and 1 GiB whose tables are lent ---- */

/*
 * All loans that touch [va, va + pages) of `space` end, on whichever side it is: before its tables there are edited
 * (a page brought is no edit), or what its mappings there say. Who borrowed gets its pages by faults. Needs no memory,
 * O(log loans + those that end). => OK; CORRUPT.
 */
enum status loans_end(struct aspace *space, vaddr_t va, npages_t pages);

/* ---- gifts_pass.c, gifts_graph.c: who gave what to whom ---- */

/*
 * Before the pages [first, first + pages) that `m` maps of its object go from its space (unmapped or transferred, not
 * withdrawn): what its space gave on of these, and has no more from anybody else, counts as given by who gave them to
 * it, or by up->to. Mappings that are partly concerned are cut: the pool `mappings` has gifts_pass_missing() records;
 * those for which there is none are passed on whole. O(1) when the space never gave anything.
 */
size_t gifts_pass_missing(const struct mapping *m, uint64_t first, npages_t pages, struct giving_up *up);
void gifts_pass(struct mapping *m, uint64_t first, npages_t pages, struct giving_up *up);
/* All that a space that ends gave to others. Needs no memory. */
void gifts_pass_all(struct aspace *space);

/*
 * May a space have [first, first + pages) of the object once more in its private part (ASPACE_TIMES)? Or, `from` not
 * null, as often as that has them in [up->since, up->end). O(mappings of these pages), which up->looks counts.
 */
bool limits_allow_again(const struct aspace *space, const struct object *object, uint64_t first, npages_t pages,
                        const struct aspace *from, struct giving_up *up);

/* ---- share.c ---- */

/* aspace_transfer of any range, inside of that call. */
enum status transfer_range(struct aspace *from, vaddr_t va, npages_t pages, struct aspace *to, unsigned rights);

/* ---- family.c: spaces that are clones of one another ---- */

/* Pages of stock that a new family takes at most. */
size_t family_missing(const struct aspaces *system);
/* A new space (its system is set) begins a family, or joins that of `relative`; and leaves it when it is destroyed. */
void family_begin(struct aspace *space);
void family_join(struct aspace *space, struct aspace *relative);
void family_leave(struct aspace *space);

#endif
