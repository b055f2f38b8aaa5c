/* Random work on the heap against a record of who owns each granule of memory and what must stand in it; and every page
 * refused in turn. */
#include "unit/heap_bed.h"

enum {
    ARENA_PAGES = 256,
    GRANULES_PER_PAGE = PAGE_BYTES / HEAP_ALIGN_BYTES,
    SLOTS = 192,
    ROUNDS = 8000,
};

struct slot {
    uint8_t *block;
    size_t bytes; /* asked for last */
    size_t usable;
    size_t page_align; /* 0, or the page alignment it was asked for with */
    uint64_t seed;
};

struct model {
    struct heap_bed *bed;
    struct slot slots[SLOTS];
    uint16_t *owner; /* slot + 1 of each granule of the arena */
    uint64_t used_bytes, blocks;
    uint64_t refused, served;
    struct rng rng;
};

static void own(struct model *m, unsigned slot, bool takes)
{
    const struct slot *s = &m->slots[slot];
    size_t first = (size_t)(s->block - m->bed->arena) / HEAP_ALIGN_BYTES;
    uint64_t wrong = 0;
    for (size_t i = 0; i < s->usable / HEAP_ALIGN_BYTES; i++) {
        wrong += m->owner[first + i] != (takes ? 0 : slot + 1);
        m->owner[first + i] = (uint16_t)(takes ? slot + 1 : 0);
    }
    EXPECT_EQ(wrong, 0);
}

static void adopt(struct model *m, unsigned slot, void *block, size_t bytes, size_t align)
{
    struct slot *s = &m->slots[slot];
    *s = (struct slot){.block = block, .bytes = bytes, .seed = rng_next(&m->rng)};
    s->usable = heap_usable_size(&m->bed->heap, block);
    s->page_align = align >= PAGE_BYTES ? align : 0;
    EXPECT_EQ(ptr_to_vaddr(block).v % (align > HEAP_ALIGN_BYTES ? align : HEAP_ALIGN_BYTES), 0);
    EXPECT(s->usable >= bytes);
    EXPECT((uint8_t *)block >= m->bed->arena);
    EXPECT((uint8_t *)block + s->usable <= m->bed->arena + pages_to_bytes(npages(ARENA_PAGES)));
    own(m, slot, true);
    heap_bed_fill(block, s->usable, s->seed);
    m->used_bytes += s->usable;
    m->blocks++;
}

static void abandon(struct model *m, unsigned slot)
{
    struct slot *s = &m->slots[slot];
    own(m, slot, false);
    m->used_bytes -= s->usable;
    m->blocks--;
    s->block = NULL;
}

static size_t random_size(struct model *m)
{
    switch (rng_below(&m->rng, 8)) {
    case 0: return 1 + rng_below(&m->rng, 5UL * PAGE_BYTES);
    case 1: return 1 + rng_below(&m->rng, HEAP_SMALL_MAX_BYTES + 64);
    default: return 1 + rng_below(&m->rng, 400);
    }
}

static void one_alloc(struct model *m, unsigned slot)
{
    size_t bytes = random_size(m);
    size_t align = 0;
    void *block;
    switch (rng_below(&m->rng, 4)) {
    case 0:
        align = 1UL << rng_below(&m->rng, 14);
        block = heap_alloc_aligned(&m->bed->heap, bytes, align);
        break;
    case 1:
        block = heap_zalloc(&m->bed->heap, bytes);
        for (size_t i = 0; block != NULL && i < bytes; i++) {
            if (((uint8_t *)block)[i] != 0) {
                EXPECT(((uint8_t *)block)[i] == 0);
                break;
            }
        }
        break;
    default: block = heap_alloc(&m->bed->heap, bytes);
    }
    *(block == NULL ? &m->refused : &m->served) += 1;
    if (block != NULL) {
        adopt(m, slot, block, bytes, align);
    }
}

static void one_realloc(struct model *m, unsigned slot)
{
    struct slot old = m->slots[slot];
    size_t bytes = random_size(m);
    void *block = heap_realloc(&m->bed->heap, old.block, bytes);
    if (block == NULL) {
        m->refused++;
        EXPECT(heap_bed_filled(old.block, old.usable, old.seed));
        EXPECT_EQ(heap_usable_size(&m->bed->heap, old.block), old.usable);
        return;
    }
    EXPECT(heap_bed_filled(block, old.usable < bytes ? old.usable : bytes, old.seed));
    abandon(m, slot);
    adopt(m, slot, block, bytes, old.page_align);
}

static void one_free(struct model *m, unsigned slot)
{
    struct slot *s = &m->slots[slot];
    EXPECT(heap_bed_filled(s->block, s->usable, s->seed));
    m->bed->forbids_gets = true;
    bool is_sized = rng_below(&m->rng, 2) == 0;
    EXPECT_EQ(is_sized ? heap_free_sized(&m->bed->heap, s->block, s->bytes) : heap_free(&m->bed->heap, s->block),
              STATUS_OK);
    m->bed->forbids_gets = false;
    abandon(m, slot);
}

static void one_step(struct model *m)
{
    unsigned slot = (unsigned)rng_below(&m->rng, SLOTS);
    if (rng_below(&m->rng, 6) == 0) {
        m->bed->fail_at = 1 + rng_below(&m->rng, 4);
    }
    if (rng_below(&m->rng, 100) == 0) {
        (void)heap_shrink(&m->bed->heap);
    } else if (rng_below(&m->rng, 100) == 0) {
        (void)!heap_prefill(&m->bed->heap, rng_below(&m->rng, 8UL * PAGE_BYTES));
    } else if (m->slots[slot].block == NULL) {
        one_alloc(m, slot);
    } else if (rng_below(&m->rng, 3) == 0) {
        one_realloc(m, slot);
    } else {
        one_free(m, slot);
    }
    m->bed->fail_at = 0;
}

TEST(heap, random_work_keeps_every_byte_with_its_owner)
{
    struct model *m = test_pages(bytes_to_pages_up(sizeof *m).v);
    uint16_t *owner = test_pages(bytes_to_pages_up(ARENA_PAGES * GRANULES_PER_PAGE * sizeof(uint16_t)).v);
    REQUIRE(m != NULL && owner != NULL);
    *m = (struct model){.bed = heap_bed_new(ARENA_PAGES), .owner = owner, .rng = rng_seeded(test_seed())};
    REQUIRE(m->bed != NULL);
    for (unsigned round = 0; round < ROUNDS * test_effort(); round++) {
        one_step(m);
        struct heap_stats stats = heap_stats(&m->bed->heap);
        if (!EXPECT_EQ(stats.used_bytes, m->used_bytes) || !EXPECT_EQ(stats.blocks, m->blocks) ||
            !EXPECT_EQ(heap_check(&m->bed->heap, NULL), STATUS_OK)) {
            heap_bed_check(m->bed);
            test_note("in round %u", round);
            return;
        }
        if (round % 64 == 0) {
            heap_bed_check(m->bed);
        }
    }
    EXPECT(m->served > ROUNDS / 8);
    EXPECT(m->refused > 0);
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        if (m->slots[slot].block != NULL) {
            one_free(m, slot);
        }
    }
    heap_bed_end(m->bed);
}

/* ---- Every page refused in turn ---- */

struct attempt {
    struct heap_bed *bed;
    void *block; /* in: what realloc works on; out: the block */
};

static bool try_small(struct attempt *a)
{
    return (a->block = heap_alloc(&a->bed->heap, 24)) != NULL;
}
static bool try_mixed(struct attempt *a)
{
    return (a->block = heap_alloc(&a->bed->heap, 1500)) != NULL;
}
static bool try_aligned(struct attempt *a)
{
    return (a->block = heap_alloc_aligned(&a->bed->heap, 100, 64)) != NULL;
}
static bool try_zalloc(struct attempt *a)
{
    return (a->block = heap_zalloc(&a->bed->heap, 3000)) != NULL;
}
static bool try_array(struct attempt *a)
{
    return (a->block = heap_alloc_array(&a->bed->heap, 10, 1000)) != NULL;
}
static bool try_page(struct attempt *a)
{
    return (a->block = heap_alloc_aligned(&a->bed->heap, 1, PAGE_BYTES)) != NULL;
}

/* Sixteen pages from an arena that begins three pages before a border: both sides' nodes are needed. */
static bool try_straddling(struct attempt *a)
{
    return (a->block = heap_alloc(&a->bed->heap, 16UL * PAGE_BYTES)) != NULL;
}

static bool try_realloc(struct attempt *a)
{
    if (a->block == NULL) {
        uint64_t fail_at = a->bed->fail_at;
        a->bed->fail_at = 0;
        a->block = heap_alloc(&a->bed->heap, 200);
        heap_bed_fill(a->block, 200, 7);
        a->bed->fail_at = fail_at;
    }
    struct heap_stats before = heap_stats(&a->bed->heap);
    void *grown = heap_realloc(&a->bed->heap, a->block, 20000);
    if (grown == NULL) {
        EXPECT(heap_bed_same(heap_stats(&a->bed->heap), before));
        EXPECT(heap_bed_filled(a->block, 200, 7));
        EXPECT_EQ(heap_free(&a->bed->heap, a->block), STATUS_OK);
        a->block = NULL;
        return false;
    }
    EXPECT(heap_bed_filled(grown, 200, 7));
    a->block = grown;
    return true;
}

static bool try_prefill(struct attempt *a)
{
    return heap_prefill(&a->bed->heap, 8UL * PAGE_BYTES) == STATUS_OK;
}

/* Refuses the first, second, ... request until `run` succeeds. => how many refusals it took. */
static unsigned refuse_in_turn(struct heap_bed *bed, bool (*run)(struct attempt *a), bool changes_counts)
{
    struct attempt attempt = {.bed = bed};
    for (unsigned k = 1; k < 32; k++) {
        struct heap_stats before = heap_stats(&bed->heap);
        uint64_t pooled = bed->heap.ready_pages;
        bed->fail_at = k;
        bool is_done = run(&attempt);
        bool was_refused = bed->fail_at == 0;
        bed->fail_at = 0;
        heap_bed_check(bed);
        /* What is refused while pages lie ready is tried again without them. */
        EXPECT(is_done != was_refused || (is_done && pooled > 0 && bed->heap.ready_pages == 0));
        if (is_done) {
            EXPECT_EQ(heap_free(&bed->heap, attempt.block), STATUS_OK);
            return k - 1;
        }
        EXPECT(changes_counts || bed->heap.ready_pages == pooled);
        EXPECT(changes_counts || heap_bed_same(heap_stats(&bed->heap), before));
        (void)heap_shrink(&bed->heap);
        if (pooled > 0) {
            EXPECT_EQ(heap_prefill(&bed->heap, pages_to_bytes(npages(pooled))), STATUS_OK);
        }
    }
    EXPECT_EQ(0, 1); /* never ends */
    return 0;
}

static unsigned refuse_fresh(bool (*run)(struct attempt *a), bool changes_counts, uint64_t pooled)
{
    struct heap_bed *bed = heap_bed_new(64);
    if (bed == NULL) {
        return 0;
    }
    EXPECT_EQ(heap_prefill(&bed->heap, pages_to_bytes(npages(pooled))), STATUS_OK);
    unsigned refusals = refuse_in_turn(bed, run, changes_counts);
    heap_bed_end(bed);
    return refusals;
}

TEST(heap, a_refused_page_leaves_everything_as_it_was)
{
    /* The page and its leaf. */
    EXPECT_EQ(refuse_fresh(try_small, false, 0), 2);
    EXPECT_EQ(refuse_fresh(try_mixed, false, 0), 2);
    EXPECT_EQ(refuse_fresh(try_aligned, false, 0), 2);
    EXPECT_EQ(refuse_fresh(try_page, false, 0), 2);
    /* Over the border: the pages, two leaves, a node above each, and one above those. */
    EXPECT_EQ(refuse_fresh(try_zalloc, false, 0), 6);
    EXPECT_EQ(refuse_fresh(try_straddling, false, 0), 6);
    EXPECT_EQ(refuse_fresh(try_prefill, false, 0), 8 + 5);
}

TEST(heap, a_refused_page_in_array_and_realloc_leaves_everything_as_it_was)
{
    EXPECT(refuse_fresh(try_array, false, 0) >= 5);
    EXPECT(refuse_fresh(try_realloc, true, 0) >= 1);
}

TEST(heap, pages_held_ready_need_nothing_of_the_source)
{
    EXPECT_EQ(refuse_fresh(try_small, false, 3), 0);
    EXPECT_EQ(refuse_fresh(try_page, false, 1), 0);
    EXPECT_EQ(refuse_fresh(try_straddling, false, 5), 0); /* they are given up for it */
    EXPECT_EQ(refuse_fresh(try_prefill, false, 5), 3);
}
