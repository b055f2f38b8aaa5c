/* A page pool for tests, in front of the arena of arena_bed.h. */
#ifndef CAIRN_TEST_UNIT_PAGE_POOL_BED_H
#define CAIRN_TEST_UNIT_PAGE_POOL_BED_H

#include "unit/arena_bed.h"
#include "vmm/page_pool_span.h"

enum {
    POOL_CHUNK = PAGE_POOL_FANOUT, /* pages */
    POOL_SPAN = PAGE_POOL_SPAN_PAGES,
    POOL_CHUNKS = PAGE_POOL_FANOUT, /* of a span */
    POOL_SPANS = PAGE_POOL_FANOUT,
};

/*
 * How a chunk is cut, said once more: the first piece, the way to the next one, its pages, how many there are. And the
 * chunk of a span where the kind begins.
 */
struct pool_cut {
    unsigned first, step, pages, pieces, chunk;
};
extern const struct pool_cut pool_cuts[PAGE_POOL_KINDS];

struct pool_bed {
    struct arena_bed bed;
    struct page_pool pool;
};

/* As arena_bed_open, and the pool; nothing is in it. */
bool pool_bed_open_at(struct pool_bed *b, vaddr_t base, uint64_t pages, unsigned node_pages);
bool pool_bed_open(struct pool_bed *b, uint64_t pages, unsigned node_pages);

static inline vaddr_t pool_bed_page(const struct pool_bed *b, uint64_t page) { return arena_bed_page(&b->bed, page); }
/* Must succeed. => the first page, counted from the arena's; POOL_NONE: it did not, and the test has failed. */
#define POOL_NONE UINT64_MAX
uint64_t pool_bed_get(struct pool_bed *b, enum page_pool_kind kind);
void pool_bed_put(struct pool_bed *b, uint64_t page);
/* Gives NOMEM, and changes nothing of the pool and of what is used of the arena. */
void pool_bed_expect_nomem(struct pool_bed *b, enum page_pool_kind kind);
/* page_pool_check and arena_check; what they say is a note of the test. */
bool pool_bed_is_sound(const struct pool_bed *b);
/* page_pool_check finds it broken, and says so first. */
void pool_bed_expect_broken(const struct pool_bed *b, const char *invariant);
/* The n-th chunk, and piece, of a kind that a span gives, where nobody else has any. */
unsigned pool_bed_nth_chunk(enum page_pool_kind kind, unsigned n);
uint64_t pool_bed_nth(enum page_pool_kind kind, unsigned n);
/* Pieces of a kind that a span has. */
static inline unsigned pool_bed_pieces(enum page_pool_kind kind) { return POOL_CHUNKS * pool_cuts[kind].pieces; }

#endif
