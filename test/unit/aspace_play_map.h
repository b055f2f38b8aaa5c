/* The plain map behind aspace_play.h: what each page of each space and of each object should be. */
#ifndef CAIRN_TEST_UNIT_ASPACE_PLAY_MAP_H
#define CAIRN_TEST_UNIT_ASPACE_PLAY_MAP_H

#include "aspace/mapping.h"
#include "unit/aspace_play.h"
#include "unit/test.h"

#define APLAY_BIT(status) (1U << (status))
#define APLAY_PRIVATE_END LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL)

/* A page of a space. */
struct aplay_page {
    uint64_t number; /* of its address */
    uint64_t value;  /* what it holds, where it is the space's own: anonymous, or copied */
    const char *tag;
    uint32_t flags;  /* ASPACE_* of its mapping, without guards */
    uint32_t page;   /* of the object */
    uint32_t giver;  /* id of a space; 0: nobody */
    uint32_t room;   /* pages below it into which a stack that begins here may grow */
    uint8_t object;  /* index in aplay.object + 1; 0: private anonymous */
    uint8_t rights, allowed;
    bool sealed, copied;
    bool guard_below, guard_above; /* the page beside it is its guard */
};

struct aplay_space {
    struct aspace space;
    bool lives;
    struct aspace_limits limits;
    unsigned count;
    struct aplay_page page[APLAY_SPACE_PAGES]; /* by number */
};

struct aplay_object {
    struct object *object; /* null: none */
    enum object_kind kind;
    uint64_t pages;
    unsigned holders;
    uint64_t global, global_pages; /* address of page 0, 0: none; and pages that got one */
    unsigned guards;
    pfn_t first;
    unsigned cache;
    uint64_t seed;       /* a paged one's page p holds seed + p */
    enum status answer;  /* of its pager */
    unsigned gone;
    unsigned total;      /* pages in mappings */
    uint16_t users[APLAY_OBJECT_PAGES];
    bool lost[APLAY_OBJECT_PAGES]; /* its global address was given up, or at least may have been */
    uint64_t value[APLAY_OBJECT_PAGES];
};

struct aplay {
    struct vmm vmm;
    struct aspaces system;
    struct space *home;
    struct pmm_low low;
    struct aplay_space space[APLAY_SPACES];
    struct aplay_object object[APLAY_OBJECTS];
    uint64_t values;  /* written so far */
    bool is_scarce, says;
    unsigned reports;
    struct aplay_counts *counts;
    struct aplay_result result;
};
extern struct aplay aplay;

/* ---- Verdicts (aspace_play.c) ---- */

__attribute__((format(printf, 1, 2))) void aplay_fail(const char *format, ...);
/* When calls are told. */
__attribute__((format(printf, 1, 2))) void aplay_say(const char *format, ...);
/*
 * A call of `kind` answered `s`. `must`: it could not be OK, but one of these; `may`: what it could answer beside.
 * => it is OK.
 */
bool aplay_answer(enum aplay_kind kind, enum status s, unsigned must, unsigned may);
/* Statuses that memory that is short may bring: none where it is not. */
unsigned aplay_shortage(void);

/* ---- Pages of spaces (aspace_play_map.c) ---- */

/* The index of the first page with this number or a greater one. */
unsigned aplay_lower(const struct aplay_space *s, uint64_t number);
struct aplay_page *aplay_find(struct aplay_space *s, uint64_t number);
unsigned aplay_count_in(const struct aplay_space *s, uint64_t number, uint64_t pages);
static inline bool aplay_covers(const struct aplay_space *s, uint64_t number, uint64_t pages)
{
    return aplay_count_in(s, number, pages) == pages;
}
/* No page, no guard, no room of a stack. */
bool aplay_is_free(struct aplay_space *s, uint64_t number, uint64_t pages);
/* Is the page the guard of a page above or below? */
bool aplay_is_guard(const struct aplay_space *s, uint64_t number);
/* The first page of the stack into whose room it falls, or null. */
struct aplay_page *aplay_stack_at(struct aplay_space *s, uint64_t number);
/* Pages that are not there yet. => the first; null: no room, the history has failed. */
struct aplay_page *aplay_insert(struct aplay_space *s, uint64_t number, uint64_t pages);
/* They go; objects that nobody has any more end. Gifts: aplay_pass before. */
void aplay_remove(struct aplay_space *s, uint64_t number, uint64_t pages);
/* Do they belong to one mapping? Neighbours in the array. */
bool aplay_joins(const struct aplay_page *low, const struct aplay_page *high);
/* The indexes [*low, *high) of the mapping that page i is in. */
void aplay_mapping(const struct aplay_space *s, unsigned i, unsigned *low, unsigned *high);
unsigned aplay_mappings(const struct aplay_space *s);
/* New pages, as aspace_query says them, each with its object. The same object and tag throughout: see callers. */
bool aplay_learn(struct aplay_space *s, uint64_t number, uint64_t pages);

static inline uint64_t number_of(vaddr_t va) { return vaddr_page_number(va); }
static inline vaddr_t address_of(uint64_t number) { return vaddr_add_pages(vaddr(0), number); }
static inline unsigned index_of(const struct aplay_space *s) { return (unsigned)(s - aplay.space); }

/* ---- Gifts (aspace_play_gifts.c) ---- */

/*
 * Before pages go (not by withdrawal): what the space gave of those that it has from nobody else is from now on given
 * by `heir`; 0: by its givers.
 */
void aplay_pass(struct aplay_space *s, uint64_t number, uint64_t pages, uint32_t heir);
/* How often the space has a page of an object in its private part; copies on write are none of it. */
unsigned aplay_times(const struct aplay_space *s, unsigned object, uint64_t page);
/* Everybody has what he has of his own, or by a chain of gifts from somebody who does. */
void aplay_check_gifts(void);

/* ---- Objects (aspace_play_objects.c) ---- */

struct aplay_object *aplay_object_of(struct object *object); /* null: unknown */
struct aplay_object *aplay_object_add(struct object *object);
/* May a call make more objects? */
bool aplay_has_room(void);
static inline struct aplay_object *aplay_object(const struct aplay_page *p)
{
    return p->object == 0 ? NULL : &aplay.object[p->object - 1];
}
uint64_t aplay_initial(const struct aplay_object *o, uint64_t page);
/* What nobody can reach any more is gone. */
void aplay_settle(struct aplay_object *o);
/* Are pages of the global part those of an object but `mine` (null: of any), guards included? */
bool aplay_is_taken(uint64_t number, uint64_t pages, const struct aplay_object *mine);
/* What the page shows; null: nothing that is known (devices). */
uint64_t *aplay_value(struct aplay_page *p);
static inline bool aplay_is_private(const struct aplay_page *p)
{
    return p->object == 0 || (p->flags & ASPACE_PRIVATE) != 0;
}
bool aplay_is_behind_end(const struct aplay_page *p);
struct aplay_object *aplay_pick_object(uint32_t which);
void aplay_object_new(const struct aplay_op *op);
void aplay_object_hold(const struct aplay_op *op);
void aplay_object_release(const struct aplay_op *op);
void aplay_object_resize(const struct aplay_op *op);
void aplay_object_populate(const struct aplay_op *op);

/* ---- What operations name (aspace_play_draw.c) ---- */

struct aplay_range {
    vaddr_t va;
    npages_t pages;
    unsigned wrong; /* statuses that it must come to */
};
/* Statuses that a range comes to by itself. */
unsigned aplay_range_wrong(vaddr_t va, npages_t pages);
/* Mostly pages that are there. */
struct aplay_range aplay_pick_range(struct aplay_space *s, const struct aplay_op *op);
unsigned aplay_pick_rights(uint32_t how);
uint64_t aplay_pick_pages(uint32_t how);
/* A page in the private part, in places that come again. */
uint64_t aplay_pick_place(uint32_t how);
/* Is it MISUSE, since the space is no more? */
static inline unsigned aplay_dead(const struct aplay_space *s) { return s->lives ? 0 : APLAY_BIT(STATUS_MISUSE); }

/* ---- Calls ---- */

void aplay_map(const struct aplay_op *op);
void aplay_unmap(const struct aplay_op *op);
void aplay_protect(const struct aplay_op *op);
void aplay_seal(const struct aplay_op *op);
void aplay_create(const struct aplay_op *op);
void aplay_destroy(const struct aplay_op *op);
void aplay_clone(const struct aplay_op *op);
void aplay_limits(const struct aplay_op *op);
void aplay_share(const struct aplay_op *op);
void aplay_transfer(const struct aplay_op *op);
void aplay_withdraw(const struct aplay_op *op);
void aplay_touch(const struct aplay_op *op);
void aplay_query(const struct aplay_op *op);
void aplay_find_next(const struct aplay_op *op);
void aplay_users(const struct aplay_op *op);

/* ---- Comparisons (aspace_play_sweep.c) ---- */

/* Mappings, one by one, of this space. */
void aplay_compare(struct aplay_space *s);
/* All contents, all leaves, all objects. */
void aplay_sweep(void);
/* A frame holds this and nothing else. */
bool aplay_frame_shows(pfn_t frame, uint64_t value);
/* Words of a page that hold its value; the others are 0. */
#define APLAY_WORDS {0, 257, TABLE_ENTRIES - 1}

#endif
