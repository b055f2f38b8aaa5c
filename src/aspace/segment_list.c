/*
 * Lists of permissions, and how they are found.
 *
 * Up to eight entries lie in the segment's record: a look compares eight pointers. From the ninth on all lie in a hash
 * table by the numbers of the spaces, open, with linear probing, at most half full; when four are left they come back.
 * The table is in pages of stock, found by a page of pointers, so that it needs no addresses side by side. It doubles
 * when it is half full: all are put into the new one, whose pages were reserved before. It does not become smaller but
 * by coming back: what takes away takes no memory. An entry that goes is replaced by one behind it that would be
 * missed otherwise, so no place is ever marked as left, and a look ends at the first free one.
 *
 * Rejected: the index of pages that objects have (page_index.h), by the numbers of the spaces. It needs no rehash, but
 * a look takes one load and eight instructions more for each level, of which numbers above 2^18 need three.
 */
#include "aspace/segment_list.h"

enum {
    COME_BACK = SEGMENT_FEW / 2,
    PLACES_LEAST = TABLE_ENTRIES,             /* a page */
    PLACES_MOST = TABLE_ENTRIES * TABLE_ENTRIES,
};
static_assert(PLACES_MOST / 2 > PMM_REFERENCES_MAX, "as many as may have a segment fit");

static struct stock *stock_of(const struct segment *s) { return &s->object->system->stock; }

static uint32_t places_of(const struct segment *s) { return s->hashed != NULL ? segment_last_place(s) + 1 : 0; }

/* With one entry more; 0: it needs no other table than there is. */
static uint32_t places_needed(const struct segment *s)
{
    if (s->hashed == NULL) {
        return s->count < SEGMENT_FEW ? 0 : PLACES_LEAST;
    }
    return 2 * (s->count + 1) <= places_of(s) ? 0 : 2 * places_of(s);
}

size_t segment_list_missing(const struct segment *s)
{
    const uint32_t places = places_needed(s);
    return places != 0 ? 1 + places / TABLE_ENTRIES : 0;
}

/* At most half of the places are taken: one and a half are looked at in the mean. */
static unsigned hashed_rights(const struct segment *s, const struct aspace *space)
{
    uint32_t i = segment_home(s, space);
    uint64_t word = *segment_place(s, i);
    while ((word ^ ptr_to_vaddr(space).v) > WORD_RIGHTS) {
        if (word == 0) {
            return 0;
        }
        i = (i + 1) & segment_last_place(s);
        word = *segment_place(s, i);
    }
    return (unsigned)(word ^ ptr_to_vaddr(space).v);
}

unsigned segment_rights(const struct segment *s, const struct aspace *space)
{
    return s->hashed != NULL ? hashed_rights(s, space) : segment_few_rights(s, space);
}

/* ---- The table ---- */

/* It has room, and the space is not in it. */
static void put_hashed(struct segment *s, struct aspace *space, unsigned rights)
{
    uint32_t i = segment_home(s, space);
    while (*segment_place(s, i) != 0) {
        i = (i + 1) & segment_last_place(s);
    }
    *segment_place(s, i) = ptr_to_vaddr(space).v | rights;
}

static struct aspace *word_space(uint64_t word) { return vaddr_to_ptr(vaddr(word & ~WORD_RIGHTS)); }

static uint32_t find_hashed(const struct segment *s, const struct aspace *space)
{
    uint32_t i = segment_home(s, space);
    while (word_space(*segment_place(s, i)) != space) {
        i = (i + 1) & segment_last_place(s);
    }
    return i;
}

/* Behind the place that is free now, those that are looked for from it or from before it move up. */
static void remove_hashed(struct segment *s, const struct aspace *space)
{
    const uint32_t last = segment_last_place(s);
    uint32_t hole = find_hashed(s, space), i = hole;
    for (;;) {
        i = (i + 1) & last;
        const uint64_t word = *segment_place(s, i);
        if (word == 0) {
            break;
        }
        const uint32_t home = segment_home(s, word_space(word));
        if (((i - home) & last) >= ((i - hole) & last)) {
            *segment_place(s, hole) = word;
            hole = i;
        }
    }
    *segment_place(s, hole) = 0;
}

static void free_table(struct segment *s, uint64_t **table, uint32_t places)
{
    for (uint32_t i = 0; i < places / TABLE_ENTRIES; i++) {
        stock_put(stock_of(s), table[i]);
    }
    if (table != NULL) {
        stock_put(stock_of(s), table);
    }
}

/* All entries, wherever they are, into a table of so many places. */
static void move_to_table(struct segment *s, uint32_t places)
{
    const struct segment old = *s;
    struct segment_entry e = {0};
    s->hashed = stock_take(stock_of(s));
    s->hash_shift = 32 - (unsigned)__builtin_ctz(places);
    for (uint32_t i = 0; i < places / TABLE_ENTRIES; i++) {
        s->hashed[i] = stock_take(stock_of(s));
    }
    while (segment_list_next(&old, &e)) {
        put_hashed(s, e.space, e.rights);
    }
    free_table(s, old.hashed, places_of(&old));
    for (unsigned i = 0; i < SEGMENT_FEW; i++) {
        s->few[i] = NULL;
    }
}

static void move_to_few(struct segment *s)
{
    const struct segment old = *s;
    struct segment_entry e = {0};
    s->hashed = NULL;
    for (unsigned i = 0; segment_list_next(&old, &e); i++) {
        s->few[i] = e.space;
        s->few_rights[i] = (uint8_t)e.rights;
    }
    free_table(s, old.hashed, places_of(&old));
}

/* ---- Entries ---- */

/* Its place among the few; null: a free one. */
static unsigned place_of(const struct segment *s, const struct aspace *space)
{
    unsigned i = 0;
    while (s->few[i] != space) {
        i++;
    }
    return i;
}

void segment_list_put(struct segment *s, struct aspace *space, unsigned rights)
{
    const bool is_new = segment_rights(s, space) == 0;
    const uint32_t places = is_new ? places_needed(s) : 0;
    if (places != 0) {
        move_to_table(s, places);
    }
    if (s->hashed == NULL) {
        const unsigned i = place_of(s, is_new ? NULL : space);
        s->few[i] = space;
        s->few_rights[i] = (uint8_t)rights;
    } else if (is_new) {
        put_hashed(s, space, rights);
    } else {
        *segment_place(s, find_hashed(s, space)) = ptr_to_vaddr(space).v | rights;
    }
    s->count += is_new;
}

void segment_list_remove(struct segment *s, struct aspace *space)
{
    s->count--;
    if (s->hashed == NULL) {
        s->few[place_of(s, space)] = NULL;
        return;
    }
    remove_hashed(s, space);
    if (s->count == COME_BACK) {
        move_to_few(s);
    }
}

bool segment_list_next(const struct segment *s, struct segment_entry *e)
{
    if (s->hashed == NULL) {
        while (e->next < SEGMENT_FEW && s->few[e->next] == NULL) {
            e->next++;
        }
        if (e->next < SEGMENT_FEW) {
            *e = (struct segment_entry){e->next + 1, s->few[e->next], s->few_rights[e->next]};
            return true;
        }
        return false;
    }
    uint64_t word = 0;
    while (word == 0 && e->next < places_of(s)) {
        word = *segment_place(s, (uint32_t)e->next++);
    }
    e->space = word_space(word);
    e->rights = (unsigned)(word & WORD_RIGHTS);
    return word != 0;
}

/* ---- The links of a space ---- */

static struct vmm_loan *first_permission(struct vmm_loan *loan)
{
    while (loan != NULL && !loan_is_permission(loan)) {
        loan = vmm_loan_by_to(avl_next(&loan->by_to));
    }
    return loan;
}

struct vmm_loan *segment_link_first(const struct aspace *space)
{
    return first_permission(vmm_loan_by_to(avl_first(&space->tables.borrowed)));
}

struct vmm_loan *segment_link_next(const struct vmm_loan *link)
{
    return first_permission(vmm_loan_by_to(avl_next(&link->by_to)));
}

/* ---- Questions ---- */

static struct segment_info info_of(const struct segment *s)
{
    return (struct segment_info){s->whole->base, s->object->pages, s->object, s->owner, s->count, s->whole->tag};
}

bool segment_info(const struct aspaces *system, vaddr_t va, struct segment_info *out)
{
    const struct segment *s = segment_at(system, va);
    if (s != NULL) {
        *out = info_of(s);
    }
    return s != NULL;
}

void segments_visit(const struct aspaces *system, segments_visit_fn *visit, void *ctx)
{
    const uint64_t end = UINT32_MAX;
    bool goes_on = true;
    for (uint64_t n = page_index_next(&system->slots, 0, end); n < end && goes_on;
         n = page_index_next(&system->slots, n + 1, end)) {
        const struct segment_info info = info_of(vaddr_to_ptr(vaddr(page_index_get(&system->slots, n))));
        goes_on = visit(ctx, &info);
    }
}

void segment_visit(const struct aspaces *system, vaddr_t va, segment_visit_fn *visit, void *ctx)
{
    const struct segment *s = segment_at(system, va);
    struct segment_entry e = {0};
    while (s != NULL && segment_list_next(s, &e) && visit(ctx, e.space, e.rights)) {
    }
}
