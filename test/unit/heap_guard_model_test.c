/* Random work on a heap in guard mode: every byte stays its owner's, every figure is that of the record, and every so
 * often a wrong call is made, which must be told from the right ones. */
#include "unit/guard_bed.h"

enum { ARENA_PAGES = 384, SLOTS = 48, ROUNDS = 1500, WAYS = 3, SAMPLE_EVERY = 4 };

struct slot {
    uint8_t *block;
    size_t bytes, align_bytes;
    uint64_t seed;
    bool is_guarded;
};

struct play {
    struct guard_bed *g;
    struct slot slots[SLOTS];
    struct rng rng;
    uint64_t blocks, wrong_calls;
};

static size_t random_size(struct play *p)
{
    return 1 + rng_below(&p->rng, rng_below(&p->rng, 6) == 0 ? 3UL * PAGE_BYTES : 400);
}

static void adopt(struct play *p, struct slot *s, uint8_t *block, size_t bytes, size_t align_bytes)
{
    *s = (struct slot){.block = block, .bytes = bytes, .seed = rng_next(&p->rng)};
    s->align_bytes = align_bytes >= PAGE_BYTES ? align_bytes : 0;
    struct heap_guard_block found;
    s->is_guarded = heap_guard_find(p->g->heap, block, &found) && found.base == block;
    size_t usable = heap_usable_size(p->g->heap, block);
    EXPECT(s->is_guarded ? usable == bytes : usable >= bytes);
    EXPECT_EQ(ptr_to_vaddr(block).v % (align_bytes > HEAP_ALIGN_BYTES ? align_bytes : HEAP_ALIGN_BYTES), 0);
    EXPECT(s->is_guarded || p->g->guard.config.sample_every > 1);
    heap_bed_fill(block, bytes, s->seed);
}

static void step_alloc(struct play *p, struct slot *s)
{
    size_t bytes = random_size(p), align_bytes = 1;
    uint8_t *block;
    switch (rng_below(&p->rng, 3)) {
    case 0:
        align_bytes = 1UL << rng_below(&p->rng, 14);
        block = heap_alloc_aligned(p->g->heap, bytes, align_bytes);
        break;
    case 1:
        block = heap_zalloc(p->g->heap, bytes);
        for (size_t i = 0; block != NULL && i < bytes; i++) {
            if (block[i] != 0) {
                EXPECT_EQ(block[i], 0);
                break;
            }
        }
        break;
    default: block = heap_alloc(p->g->heap, bytes);
    }
    if (block != NULL) {
        p->blocks++;
        adopt(p, s, block, bytes, align_bytes);
    }
}

static void step_realloc(struct play *p, struct slot *s)
{
    struct slot old = *s;
    size_t bytes = random_size(p);
    uint8_t *block = heap_realloc(p->g->heap, old.block, bytes);
    if (block == NULL) {
        EXPECT(heap_bed_filled(old.block, old.bytes, old.seed));
        return;
    }
    EXPECT(heap_bed_filled(block, old.bytes < bytes ? old.bytes : bytes, old.seed));
    adopt(p, s, block, bytes, old.align_bytes);
    s->align_bytes = old.align_bytes;
}

/* Each is refused, and leaves the block to its owner. */
static void step_wrong(struct play *p, struct slot *s)
{
    p->wrong_calls += 2;
    EXPECT_EQ(heap_free(p->g->heap, s->block + 1 + rng_below(&p->rng, s->bytes)), STATUS_MISUSE);
    EXPECT_EQ(heap_free_sized(p->g->heap, s->block, s->bytes + 5UL * PAGE_BYTES), STATUS_MISUSE);
}

static void step_free(struct play *p, struct slot *s)
{
    EXPECT(heap_bed_filled(s->block, s->bytes, s->seed));
    bool breaks = s->is_guarded && s->bytes % HEAP_ALIGN_BYTES != 0 && rng_below(&p->rng, 8) == 0;
    s->block[s->bytes] = breaks ? 1 : s->block[s->bytes];
    p->g->bed->forbids_gets = true;
    enum status s1 = rng_below(&p->rng, 2) == 0 ? heap_free(p->g->heap, s->block)
                                                : heap_free_sized(p->g->heap, s->block, s->bytes);
    EXPECT_EQ(s1, breaks ? STATUS_MISUSE : STATUS_OK);
    EXPECT_EQ(heap_free(p->g->heap, s->block), STATUS_MISUSE); /* twice */
    p->g->bed->forbids_gets = false;
    p->wrong_calls += breaks ? 2 : 1;
    p->blocks--;
    s->block = NULL;
}

static void step(struct play *p)
{
    struct slot *s = &p->slots[rng_below(&p->rng, SLOTS)];
    if (rng_below(&p->rng, 8) == 0) {
        p->g->bed->fail_at = 1 + rng_below(&p->rng, 5);
    }
    if (rng_below(&p->rng, 200) == 0) {
        (void)heap_shrink(p->g->heap);
    } else if (s->block == NULL) {
        step_alloc(p, s);
    } else {
        switch (rng_below(&p->rng, 6)) {
        case 0: step_wrong(p, s); break;
        case 1:
        case 2: step_realloc(p, s); break;
        default: step_free(p, s);
        }
    }
    p->g->bed->fail_at = 0;
}

static uint64_t play(unsigned way)
{
    struct play *p = test_pages(bytes_to_pages_up(sizeof *p).v);
    struct heap_guard_config config = guard_bed_config(way == GUARD_ZONES ? GUARD_ZONES : GUARD_EDGE);
    config.sample_every = way == GUARD_WAYS ? SAMPLE_EVERY : config.sample_every;
    if (p == NULL || (p->g = guard_bed_new(ARENA_PAGES, &config)) == NULL) {
        return 0;
    }
    p->rng = rng_seeded(test_seed() + way);
    for (unsigned round = 0; round < ROUNDS * test_effort(); round++) {
        step(p);
        if (!EXPECT_EQ(heap_stats(p->g->heap).blocks, p->blocks) ||
            (round % 16 == 0 && !EXPECT_EQ(heap_check(p->g->heap, NULL), STATUS_OK))) {
            heap_bed_check(p->g->bed);
            test_note("way %u, round %u", way, round);
            break;
        }
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        if (p->slots[i].block != NULL) {
            EXPECT(heap_bed_filled(p->slots[i].block, p->slots[i].bytes, p->slots[i].seed));
            EXPECT_EQ(heap_free_sized(p->g->heap, p->slots[i].block, p->slots[i].bytes), STATUS_OK);
        }
    }
    EXPECT_EQ(heap_stats(p->g->heap).misuses, p->wrong_calls);
    guard_bed_end(p->g);
    return p->wrong_calls;
}

TEST(heap_guard, random_work_keeps_every_byte_with_its_owner_and_sees_every_wrong_call)
{
    uint64_t wrong_calls = 0;
    for (unsigned way = 0; way < WAYS; way++) {
        wrong_calls += play(way);
    }
    EXPECT(wrong_calls > ROUNDS / 2);
    test_expect_reports((unsigned)wrong_calls);
}
