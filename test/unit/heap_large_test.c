/*
 * Large blocks of the kernel's own heap: pages and addresses exactly, guards, and blocks that are whole and grow while
 * no two free frames are neighbours.
 */
#include "arch/layout.h"
#include "kernel/machine.h"
#include "unit/test.h"

enum {
    FRAMES_MAX = 1 << 18, /* that are looked at: 1 GiB */
    WORD_BITS = 64,
    BLOCK_PAGES_MAX = 16384, /* 64 MiB */
    LOG2_OF_1G = 30,
};

/* ---- What is held ---- */

struct held {
    uint64_t frames;    /* that are no tables, no nodes of the arena, nothing of the heap's own */
    uint64_t addresses; /* pages */
};

static struct held held_now(void)
{
    (void)heap_shrink(&machine.heap);
    const uint64_t own = bytes_to_pages_up(heap_stats(&machine.heap).metadata_bytes).v;
    const uint64_t pooled = machine.vmm.pool.span_count * (uint64_t)PAGE_POOL_SPAN_PAGES; /* its own pages' */
    return (struct held){
        .frames = pmm_stats(&machine.pmm).used.v - machine.vmm.node_pages.v - machine.vmm.kernel_tables.v - own,
        .addresses = machine.vmm.arena.used.v - pooled,
    };
}

static bool is_mapped(const void *at)
{
    struct vmm_walk w;
    EXPECT_EQ(vmm_translate(&machine.vmm, &machine.vmm.kernel, ptr_to_vaddr(at), &w), STATUS_OK);
    return w.present;
}

static uint64_t frame_of(const uint8_t *block, uint64_t page)
{
    struct vmm_walk w;
    const vaddr_t va = vaddr_add_pages(ptr_to_vaddr(block), page);
    return vmm_translate(&machine.vmm, &machine.vmm.kernel, va, &w) == STATUS_OK && w.present
               ? paddr_to_pfn(w.address).v
               : UINT64_MAX;
}

static size_t bytes_of(uint64_t pages) { return pages_to_bytes(npages(pages)); }

/* A single page has none: it may come from those held ready. */
static uint64_t guards_of(uint64_t pages) { return pages > 1 ? 2 : 0; }

static void expect_guards(const uint8_t *block, uint64_t pages)
{
    EXPECT(!is_mapped(block - 1) && is_mapped(block));
    EXPECT(is_mapped(block + bytes_of(pages) - 1) && !is_mapped(block + bytes_of(pages)));
}

/* So many pages, and, of several, a guard on both sides that is an address alone. */
static void take_exactly(uint64_t pages, unsigned align_log2)
{
    const struct held before = held_now();
    uint8_t *block = heap_alloc_aligned(&machine.heap, bytes_of(pages), 1UL << align_log2);
    REQUIRE(block != NULL);
    const struct held during = held_now();
    EXPECT((ptr_to_vaddr(block).v & ((1UL << align_log2) - 1)) == 0);
    EXPECT_EQ(during.frames - before.frames, pages);
    const bool is_pooled = pages == 1 && align_log2 == ARENA_ALIGN_PAGE;
    EXPECT_EQ(during.addresses - before.addresses, is_pooled ? 0 : pages + guards_of(pages));
    if (guards_of(pages) != 0) {
        expect_guards(block, pages);
    }
    /* The range ends with its guards, whatever was left out for the alignment. */
    struct arena_range range;
    EXPECT(arena_find(&machine.vmm.arena, ptr_to_vaddr(block), &range));
    if (!is_pooled) {
        EXPECT_EQ(range.pages.v, pages + guards_of(pages));
        EXPECT_EQ(range.base.v, ptr_to_vaddr(block).v - bytes_of(guards_of(pages) / 2));
    }
    EXPECT_EQ(heap_free_sized(&machine.heap, block, bytes_of(pages)), STATUS_OK);
    const struct held after = held_now();
    EXPECT(after.frames == before.frames && after.addresses == before.addresses);
}

TEST(heap_large, a_block_of_pages_takes_exactly_its_pages_at_any_alignment)
{
    static const uint64_t lengths[] = {1, 2, 3, 7, 64, 513};
    for (unsigned i = 0; i < ARRAY_LEN(lengths); i++) {
        for (unsigned align_log2 = __builtin_ctz(PAGE_BYTES); align_log2 <= LOG2_OF_1G; align_log2 += 3) {
            take_exactly(lengths[i], align_log2);
        }
    }
    EXPECT_EQ(heap_check(&machine.heap, NULL), STATUS_OK);
}

/* ---- Every second frame is held ---- */

static uint64_t *claimed; /* a bit a frame */

static void hold_odd_frames(void)
{
    for (uint64_t n = 1; n < FRAMES_MAX; n += 2) {
        if (pmm_claim(&machine.pmm, pfn(n), npages(1)) == STATUS_OK) {
            claimed[n / WORD_BITS] |= 1UL << n % WORD_BITS;
        }
    }
}

static void release_odd_frames(void)
{
    for (uint64_t n = 1; n < FRAMES_MAX; n += 2) {
        if ((claimed[n / WORD_BITS] >> n % WORD_BITS & 1) != 0) {
            EXPECT_EQ(pmm_free(&machine.pmm, pfn(n)), STATUS_OK);
        }
    }
}

/* The block is whole: written, read, no two neighbours in memory. */
static void use(uint8_t *block, uint64_t *frames, uint64_t from, uint64_t pages)
{
    uint64_t neighbours = 0;
    for (uint64_t i = from; i < pages; i++) {
        frames[i] = frame_of(block, i);
        neighbours += i > 0 && frames[i] == frames[i - 1] + 1;
        *(uint64_t *)(void *)(block + bytes_of(i)) = i;
        *(uint64_t *)(void *)(block + bytes_of(i + 1) - sizeof i) = ~i;
    }
    EXPECT_EQ(neighbours, 0);
}

/* The same frames, which hold what they held: nothing was copied. */
static void expect_kept(const uint8_t *block, const uint64_t *frames, uint64_t kept, uint64_t pages)
{
    uint64_t wrong = 0, copied = 0;
    for (uint64_t i = 0; i < kept; i++) {
        copied += frame_of(block, i) != frames[i];
        wrong += *(const uint64_t *)(const void *)(block + bytes_of(i)) != i ||
                 *(const uint64_t *)(const void *)(block + bytes_of(i + 1) - sizeof i) != ~i;
    }
    EXPECT(wrong == 0 && copied == 0);
    expect_guards(block, pages);
}

/* Grown where it is, then past something in its way, then cut. => its last address. */
static uint8_t *grow_move_and_trim(uint8_t *block, uint64_t *frames, uint64_t pages)
{
    const uint64_t grown = pages + pages / 8, moved = grown + pages / 8;
    const struct held before = held_now();
    uint8_t *to = heap_realloc(&machine.heap, block, bytes_of(grown));
    if (!EXPECT(to != NULL)) {
        return block;
    }
    expect_kept(to, frames, pages, grown);
    use(to, frames, pages, grown);
    EXPECT_EQ(held_now().frames - before.frames, grown - pages);

    const vaddr_t behind = ptr_to_vaddr(to + bytes_of(grown + 1));
    const bool blocked = arena_alloc_at(&machine.vmm.arena, behind, npages(1), "in the way") == STATUS_OK;
    const uint64_t stores = machine.vmm.counters.table_stores;
    uint8_t *there = heap_realloc(&machine.heap, to, bytes_of(moved));
    if (blocked) {
        EXPECT_EQ(arena_free(&machine.vmm.arena, behind), STATUS_OK);
    }
    if (!EXPECT(there != NULL && there != to)) {
        return to;
    }
    expect_kept(there, frames, grown, moved);
    EXPECT(!is_mapped(to) && !is_mapped(to + bytes_of(grown) - 1));
    /* Two stores a page that moved, one for each that is new, and some for each table. */
    EXPECT(machine.vmm.counters.table_stores - stores < 2 * grown + (moved - grown) + moved / 16 + 64);

    const uint64_t full = held_now().frames;
    EXPECT(heap_realloc(&machine.heap, there, bytes_of(pages / 2)) == there);
    expect_kept(there, frames, pages / 2, pages / 2);
    EXPECT_EQ(full - held_now().frames, moved - pages / 2);
    return there;
}

TEST(heap_large, a_block_is_whole_and_grows_without_a_copy_while_every_second_frame_is_held)
{
    claimed = test_pages(bytes_to_pages_up(FRAMES_MAX / 8).v);
    uint64_t *frames = test_pages(bytes_to_pages_up(2UL * BLOCK_PAGES_MAX * sizeof *frames).v);
    REQUIRE(claimed != NULL && frames != NULL);
    const struct held before = held_now();
    hold_odd_frames();
    const uint64_t free = pmm_stats(&machine.pmm).free.v, fits = free / 8 * 5; /* a quarter more is to come */
    const uint64_t pages = fits < BLOCK_PAGES_MAX ? fits : BLOCK_PAGES_MAX;
    test_note("a block of %lu pages; %lu frames are free, each alone", pages, free);
    uint8_t *block = heap_alloc(&machine.heap, bytes_of(pages));
    if (EXPECT(block != NULL)) {
        expect_guards(block, pages);
        use(block, frames, 0, pages);
        block = grow_move_and_trim(block, frames, pages);
        EXPECT_EQ(heap_free(&machine.heap, block), STATUS_OK);
    }
    release_odd_frames();
    const struct held after = held_now();
    EXPECT(after.frames == before.frames && after.addresses == before.addresses);
    EXPECT_EQ(heap_check(&machine.heap, NULL), STATUS_OK);
    EXPECT_EQ(vmm_check(&machine.vmm, NULL), STATUS_OK);
}
