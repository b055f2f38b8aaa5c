/* Segments from inside: the slots, and the lists of permissions. Private to src/aspace/. */
#ifndef CAIRN_ASPACE_SEGMENT_LIST_H
#define CAIRN_ASPACE_SEGMENT_LIST_H

#include "arch/paging.h"
#include "aspace/mapping.h"
#include "aspace/segment.h"

enum {
    SEGMENT_FEW = 8,       /* permissions in the record itself */
    SEGMENT_SLOT_NODES = 2 /* of the index of slots, that one more takes at most */
};

/*
 * A list: up to SEGMENT_FEW entries in the record; more are in a hash table by the numbers of their spaces, all of
 * them, since a look then has one place to go to.
 */
struct segment {
    struct object *object;
    struct mapping *whole;           /* of the slot, in the space that has the tables */
    struct aspace *owner;
    unsigned count;                  /* entries */
    unsigned hash_shift;             /* of the table: 32 - log2(places) */
    uint64_t **hashed;               /* a page of pointers to its pages; null: there is no table */
    uint8_t few_rights[SEGMENT_FEW]; /* VMM_* */
    struct aspace *few[SEGMENT_FEW]; /* null: free */
};

/* A word of the table: the struct aspace, and its rights in the bits below; 0: free. */
#define WORD_RIGHTS ((uint64_t)(VMM_READ | VMM_WRITE | VMM_EXECUTE | VMM_USER))
static_assert(_Alignof(struct aspace) > WORD_RIGHTS, "the rights lie below the address");

/* The place where the entry of a space is, if nothing was there before it. Fibonacci hashing. */
static inline uint32_t segment_home(const struct segment *s, const struct aspace *space)
{
    return space->tables.id * 0x9E3779B1U >> s->hash_shift;
}
static inline uint32_t segment_last_place(const struct segment *s) { return UINT32_MAX >> s->hash_shift; }
static inline uint64_t *segment_place(const struct segment *s, uint32_t i)
{
    return &s->hashed[i / TABLE_ENTRIES][i % TABLE_ENTRIES];
}

/* A slot's number in the index is that of its GiB: 2^16 and up, so that the index has always two levels, or none. */
static inline uint64_t segment_number(vaddr_t va) { return va.v / level_span_bytes(3); }
static inline uint64_t segment_page(vaddr_t va)
{
    return bytes_to_pages_down(va.v & (level_span_bytes(3) - 1)).v;
}

/* The segment at any address; null: none is there. 16 instructions. */
static inline struct segment *segment_at(const struct aspaces *system, vaddr_t va)
{
    const uint64_t number = segment_number(va), high = number / PAGE_INDEX_WORDS, top = system->slots.top;
    if (high >= PAGE_INDEX_WORDS || top == 0) {
        return NULL;
    }
    const uint64_t *node = page_index_node(page_index_node(top)[high]);
    return node != NULL ? vaddr_to_ptr(vaddr(node[number % PAGE_INDEX_WORDS])) : NULL;
}

static inline unsigned segment_few_rights(const struct segment *s, const struct aspace *space)
{
#pragma GCC unroll 8
    for (unsigned i = 0; i < SEGMENT_FEW; i++) {
        if (s->few[i] == space) {
            return s->few_rights[i];
        }
    }
    return 0;
}

/* What the space may do there; 0: it is not in the list. */
unsigned segment_rights(const struct segment *s, const struct aspace *space);

/* Is it the one that has the tables of all segments? */
static inline bool is_segments_space(const struct aspace *space) { return space == &space->system->segment_tables; }
/* A link to a segment's tables: it goes with its entry in the list, and never before. */
static inline bool loan_is_permission(const struct vmm_loan *loan)
{
    return is_segments_space(aspace_of(loan->lender));
}

/* Pages of stock that one entry more takes at most. */
size_t segment_list_missing(const struct segment *s);
/* One entry more, or other rights in one that is there. The stock has what segment_list_missing said. */
void segment_list_put(struct segment *s, struct aspace *space, unsigned rights);
/* One less. Needs no memory. */
void segment_list_remove(struct segment *s, struct aspace *space);

/*
 * Entries one after the other: begin with {0}. Who takes the entry out goes on with segment_list_again, so that none is
 * left out.
 */
struct segment_entry {
    uint64_t next;
    struct aspace *space;
    unsigned rights;
};
bool segment_list_next(const struct segment *s, struct segment_entry *entry);
static inline void segment_list_again(const struct segment *s, struct segment_entry *entry)
{
    entry->next = s->hashed != NULL ? entry->next - 1 : 0;
}

/* The space's links to segments, in order of address. Null: no more. */
struct vmm_loan *segment_link_first(const struct aspace *space);
struct vmm_loan *segment_link_next(const struct vmm_loan *link);

/* ---- segment.c, segment_end.c: inside of a call ---- */

/* The segment at `va`, which `owner` may change. => OK; ABSENT; DENIED */
enum status segment_find(const struct aspace *owner, vaddr_t va, struct segment **s);
/* Another space, that a caller has named. => OK; MISUSE */
enum status segment_check_other(const struct aspace *space, const struct aspace *other, const char *call);
/* The link of who is in the list. */
struct vmm_loan *segment_link(const struct segment *s, const struct aspace *space);
/* Nobody is in the list, nothing in the tables: mapping, addresses, record and its hold on the object go. */
void segment_end_record(struct segment *s);

/* `to` gets an entry, and its link. => as segment_grant */
enum status segment_enter(struct segment *s, struct aspace *to, unsigned rights);
/* The space ends: so do the segments that it owns, and its entries in others. Needs no memory. => OK; CORRUPT */
enum status segments_leave(struct aspace *space);
/* An object that lies in a segment may have so many pages. => OK; LIMIT of the owner; RANGE */
enum status segment_may_resize(const struct segment *s, npages_t pages);

/* ---- segment_check.c ---- */

struct space_checker;
/* ASPACE-I9, before tables are looked at. */
void segment_check_all(struct space_checker *k);
/* A link: is it in the list, with these rights? */
void segment_check_link(struct space_checker *k, const struct vmm_loan *link);
/* Of the space that is looked at: ranges and pages that segments add to what is counted. */
void segment_count_for(struct space_checker *k, size_t *ranges, uint64_t *pages);

#endif
