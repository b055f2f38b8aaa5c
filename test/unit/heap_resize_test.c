/*
 * Large blocks that become longer and shorter without a copy: on a page source that can do it, with contents, counts,
 * the table and guards looked at; and every request that such a call makes refused in turn.
 */
#include "unit/heap_bed.h"

enum { PAGES = 400, MAX_PAGES = 20, ROUNDS = 400, BLOCKS = 6 };

/*
 * The source of the bed with the three functions on top. To move, it copies (there are no page tables here); what the
 * heap copies itself would show in `gets`.
 */
static struct {
    struct heap_bed *bed;
    uint64_t grown, trimmed, moved;
    bool refuses_growth;
    void *wrong_place; /* the answer of the next move */
} source;

static bool is_refused(void)
{
    struct heap_bed *bed = source.bed;
    return bed->fail_at > 0 && --bed->fail_at == 0;
}

static uint8_t *page_at(uint64_t page) { return source.bed->arena + pages_to_bytes(npages(page)); }
static uint64_t page_of(const void *base)
{
    return bytes_to_pages_down(ptr_to_vaddr(base).v - ptr_to_vaddr(source.bed->arena).v).v;
}

enum { IDLE, FRONT_GUARD, BACK_GUARD, HEAD, BODY }; /* as in heap_bed.c */

/* The back guard moves from behind the `from`-th page to behind the `to`-th. */
static void move_guard(uint64_t first, uint64_t from, uint64_t to)
{
    uint8_t *state = source.bed->state;
    for (uint64_t i = from < to ? from : to; i <= (from < to ? to : from); i++) {
        state[first + i] = i < to ? BODY : i == to ? BACK_GUARD : IDLE;
    }
    memcpy(page_at(first + to), page_at(first - 1), PAGE_BYTES);
    source.bed->pages_out += to - from;
}

static bool pages_grow(void *ctx, void *base, npages_t old, npages_t pages)
{
    (void)ctx;
    const uint64_t first = page_of(base);
    source.bed->wrong += source.bed->state[first] != HEAD || source.bed->state[first + old.v] != BACK_GUARD;
    bool is_free = !source.refuses_growth && first + pages.v < source.bed->pages && !is_refused();
    for (uint64_t i = old.v + 1; is_free && i <= pages.v; i++) {
        is_free = source.bed->state[first + i] == IDLE;
    }
    if (is_free) {
        move_guard(first, old.v, pages.v);
        source.grown++;
    }
    return is_free;
}

static bool pages_trim(void *ctx, void *base, npages_t old, npages_t pages)
{
    (void)ctx;
    const uint64_t first = page_of(base);
    source.bed->wrong += source.bed->state[first] != HEAD || source.bed->state[first + old.v] != BACK_GUARD;
    if (is_refused()) {
        return false;
    }
    move_guard(first, old.v, pages.v);
    source.trimmed++;
    return true;
}

static void *pages_move(void *ctx, void *base, npages_t old, npages_t pages, unsigned align_log2)
{
    const struct heap_source *s = &source.bed->heap.source;
    if (source.wrong_place != NULL) {
        return source.wrong_place;
    }
    void *to = s->pages_get(ctx, pages, align_log2, true);
    if (to != NULL) {
        memcpy(to, base, pages_to_bytes(old));
        s->pages_put(ctx, base, old);
        source.bed->gets--;
        source.bed->puts--;
        source.moved++;
    }
    return to;
}

static struct heap_bed *bed_new(void)
{
    struct heap_bed *bed = heap_bed_new(PAGES);
    if (bed != NULL) {
        memset(&source, 0, sizeof source);
        source.bed = bed;
        bed->heap.source.pages_grow = pages_grow;
        bed->heap.source.pages_trim = pages_trim;
        bed->heap.source.pages_move = pages_move;
    }
    return bed;
}

static size_t bytes_of(uint64_t pages) { return pages_to_bytes(npages(pages)); }

TEST(heap, a_large_block_grows_where_it_is_and_gives_back_its_end_at_once)
{
    struct heap_bed *bed = bed_new();
    REQUIRE(bed != NULL);
    /* The heap's own pages come to lie behind this one, and stay. */
    void *first = heap_alloc(&bed->heap, bytes_of(MAX_PAGES));
    uint8_t *block = heap_alloc(&bed->heap, bytes_of(3));
    REQUIRE(block != NULL);
    heap_bed_fill(block, bytes_of(3), 1);
    const uint64_t gets = bed->gets, held = bed->pages_out;
    for (uint64_t pages = 4; pages <= MAX_PAGES; pages++) {
        EXPECT(heap_realloc(&bed->heap, block, bytes_of(pages) - 1) == block);
        EXPECT_EQ(heap_usable_size(&bed->heap, block), bytes_of(pages));
        heap_bed_check(bed);
    }
    EXPECT(heap_bed_filled(block, bytes_of(3), 1));
    EXPECT(source.grown == MAX_PAGES - 3 && source.moved == 0 && bed->gets - gets <= 4); /* nodes */
    heap_bed_fill(block, bytes_of(MAX_PAGES), 2);
    for (uint64_t pages = MAX_PAGES - 1; pages > 0; pages--) {
        EXPECT(heap_realloc(&bed->heap, block, bytes_of(pages)) == block);
        EXPECT_EQ(heap_usable_size(&bed->heap, block), bytes_of(pages));
        struct heap_block found;
        EXPECT(!heap_owner_of(&bed->heap, block + bytes_of(pages), &found));
        heap_bed_check(bed);
    }
    EXPECT(heap_bed_filled(block, bytes_of(1), 2));
    EXPECT(bed->pages_out <= held - 2 + 4);
    EXPECT_EQ(heap_free_sized(&bed->heap, block, bytes_of(1)), STATUS_OK);
    EXPECT_EQ(heap_free(&bed->heap, first), STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap, a_large_block_in_whose_way_something_is_moves_with_its_frames)
{
    struct heap_bed *bed = bed_new();
    REQUIRE(bed != NULL);
    source.refuses_growth = true;
    uint8_t *block = heap_alloc_aligned(&bed->heap, bytes_of(2), bytes_of(4));
    REQUIRE(block != NULL);
    heap_bed_fill(block, bytes_of(2), 5);
    for (uint64_t pages = 3; pages < 9; pages++) {
        const uint64_t gets = bed->gets - bed->puts;
        uint8_t *to = heap_realloc(&bed->heap, block, bytes_of(pages));
        REQUIRE(to != NULL && to != block);
        EXPECT(ptr_to_vaddr(to).v % bytes_of(4) == 0); /* the alignment stays */
        EXPECT(heap_bed_filled(to, bytes_of(2), 5));
        EXPECT(bed->gets - bed->puts <= gets + 4); /* nodes: no block beside the old one */
        EXPECT_EQ(source.moved, pages - 2);
        struct heap_block found;
        EXPECT(!heap_owner_of(&bed->heap, block, &found));
        heap_bed_check(bed);
        block = to;
    }
    EXPECT_EQ(heap_free(&bed->heap, block), STATUS_OK);
    heap_bed_end(bed);
}

/* Each request that growing, moving or trimming makes is refused: the block is as it was, or has what it asked for. */
TEST(heap, a_refusal_while_a_large_block_changes_leaves_it_whole)
{
    static const uint64_t lengths[][2] = {{1, 9}, {2, 9}, {9, 12}, {9, 2}}; /* the first over the end of a node */
    struct heap_bed *bed = bed_new();
    REQUIRE(bed != NULL);
    for (unsigned i = 0; i < 2 * ARRAY_LEN(lengths); i++) {
        for (uint64_t k = 1; k < 12; k++) {
            const uint64_t old = lengths[i / 2][0], new = lengths[i / 2][1], less = old < new ? old : new;
            uint8_t *block = heap_alloc(&bed->heap, bytes_of(old));
            REQUIRE(block != NULL);
            heap_bed_fill(block, bytes_of(old), k);
            source.refuses_growth = i % 2 != 0;
            bed->fail_at = k;
            const struct heap_stats before = heap_stats(&bed->heap);
            uint8_t *to = heap_realloc(&bed->heap, block, bytes_of(new));
            bed->fail_at = 0;
            heap_bed_check(bed);
            EXPECT(to != NULL || heap_bed_same(before, heap_stats(&bed->heap)));
            block = to != NULL ? to : block;
            EXPECT(heap_bed_filled(block, bytes_of(to != NULL ? less : old), k));
            EXPECT_EQ(heap_free_sized(&bed->heap, block, bytes_of(to != NULL ? new : old)), STATUS_OK);
            heap_bed_end(bed);
        }
    }
}

TEST(heap, an_answer_of_the_source_that_the_table_cannot_hold_is_reported)
{
    struct heap_bed *bed = bed_new();
    REQUIRE(bed != NULL);
    uint8_t *block = heap_alloc(&bed->heap, bytes_of(2));
    REQUIRE(block != NULL);
    source.refuses_growth = true;
    void *const wrong[] = {block + 8, vaddr_to_ptr(vaddr(PAGE_BYTES)), vaddr_to_ptr(vaddr_page(vaddr(UINT64_MAX)))};
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        source.wrong_place = wrong[i];
        test_expect_reports(i + 1);
        EXPECT(heap_realloc(&bed->heap, block, bytes_of(3)) == NULL);
        EXPECT(heap_bed_reported("what was moved there is lost"));
    }
    source.wrong_place = NULL;
    EXPECT_EQ(heap_free(&bed->heap, block), STATUS_OK);
    heap_bed_end(bed);
}

TEST(heap, a_block_grows_by_the_pages_that_lie_ready_when_there_are_no_others)
{
    enum { READY = 200, MANY = 250 };
    struct heap_bed *bed = bed_new();
    REQUIRE(bed != NULL);
    uint8_t *block = heap_alloc(&bed->heap, bytes_of(3));
    REQUIRE(block != NULL);
    heap_bed_fill(block, bytes_of(3), 5);
    EXPECT_EQ(heap_prefill(&bed->heap, bytes_of(READY)), STATUS_OK);
    block = heap_realloc(&bed->heap, block, bytes_of(MANY));
    REQUIRE(block != NULL);
    EXPECT(heap_bed_filled(block, bytes_of(3), 5));
    EXPECT_EQ(bed->heap.ready_pages, 0);
    EXPECT(heap_realloc(&bed->heap, block, bytes_of(PAGES)) == NULL);
    EXPECT_EQ(heap_free(&bed->heap, block), STATUS_OK);
    heap_bed_end(bed);
}

/* Larger than anything: refused, nothing lost. */
TEST(heap, growth_past_the_span_is_refused)
{
    struct heap_bed *bed = bed_new();
    REQUIRE(bed != NULL);
    uint8_t *block = heap_alloc(&bed->heap, bytes_of(2));
    REQUIRE(block != NULL);
    heap_bed_fill(block, bytes_of(2), 3);
    EXPECT(heap_realloc(&bed->heap, block, 1UL << 40) == NULL && heap_realloc(&bed->heap, block, 1UL << 47) == NULL);
    EXPECT(heap_bed_filled(block, bytes_of(2), 3));
    EXPECT_EQ(heap_free_sized(&bed->heap, block, bytes_of(2)), STATUS_OK);
    heap_bed_end(bed);
}

/* Small, page-sized and large by turns; what each holds is known. */
TEST(heap, random_changes_of_size_keep_contents)
{
    struct heap_bed *bed = bed_new();
    REQUIRE(bed != NULL);
    struct rng rng = rng_seeded(test_seed());
    static struct {
        uint8_t *block;
        size_t bytes;
    } held[BLOCKS];
    memset(held, 0, sizeof held);
    for (unsigned n = 0; n < ROUNDS; n++) {
        const uint64_t i = rng_below(&rng, BLOCKS);
        const size_t bytes = 1 + rng_below(&rng, rng_below(&rng, 3) == 0 ? 3000 : bytes_of(MAX_PAGES));
        bed->fail_at = rng_below(&rng, 4) == 0 ? 1 + rng_below(&rng, 4) : 0;
        uint8_t *to = heap_realloc(&bed->heap, held[i].block, bytes);
        bed->fail_at = 0;
        if (to != NULL) {
            EXPECT(heap_bed_filled(to, bytes < held[i].bytes ? bytes : held[i].bytes, i));
            held[i].block = to;
            held[i].bytes = bytes;
            heap_bed_fill(to, bytes, i);
        }
        if (n % 16 == 0) {
            heap_bed_check(bed);
        }
    }
    EXPECT(source.grown > 0 && source.trimmed > 0 && source.moved > 0);
    for (unsigned i = 0; i < BLOCKS; i++) {
        EXPECT(heap_bed_filled(held[i].block, held[i].bytes, i));
        EXPECT_EQ(heap_free(&bed->heap, held[i].block), STATUS_OK);
    }
    heap_bed_end(bed);
}
