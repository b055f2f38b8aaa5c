/* Kernel pages that become more or fewer: contents, guards, frames and addresses. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/vmm_bed.h"

enum { LOG2_OF_2M = 21, LENGTH_MAX = 1300 };

static uint64_t frames[LENGTH_MAX];

static void number(struct vmm_bed *bed, vaddr_t base, uint64_t from, uint64_t pages)
{
    for (uint64_t i = from; i < pages; i++) {
        frames[i] = vmm_bed_frame_of(bed, bed->vmm->current, vaddr_add_pages(base, i));
        arch_write64(vaddr_add_pages(base, i), 1000 + i);
    }
}

/* So many pages at `base`, the first `kept` as they were, between guards that are not mapped. */
static void expect_pages(struct vmm_bed *bed, vaddr_t base, uint64_t pages, uint64_t kept)
{
    for (uint64_t i = 0; i < pages; i++) {
        const uint64_t frame = vmm_bed_frame_of(bed, bed->vmm->current, vaddr_add_pages(base, i));
        EXPECT(i < kept ? frame == frames[i] && arch_read64(vaddr_add_pages(base, i)) == 1000 + i
                        : frame != UINT64_MAX);
    }
    struct kpages_info info;
    const vaddr_t end = vaddr_add_pages(base, pages);
    EXPECT(kpages_find(bed->vmm, base, &info) && info.base.v == base.v && info.pages.v == pages && !info.in_guard);
    EXPECT(strcmp(info.tag, "resized") == 0);
    EXPECT(kpages_find(bed->vmm, vaddr(base.v - 1), &info) && info.in_guard && !info.above && info.base.v == base.v);
    EXPECT(kpages_find(bed->vmm, end, &info) && info.in_guard && info.above && info.base.v == base.v);
    EXPECT(!vmm_bed_is_mapped(bed, vaddr(base.v - 1)) && !vmm_bed_is_mapped(bed, end));
    EXPECT(!kpages_find(bed->vmm, vaddr_add_pages(end, 1), &info) || info.base.v != base.v);
    EXPECT(vmm_bed_check(bed->vmm));
}

static uint64_t frames_beside_tables(struct vmm_bed *bed)
{
    return vmm_bed_frames(bed->vmm) - bed->vmm->kernel_tables.v;
}

TEST(vmm, kernel_pages_grow_and_shrink_where_they_are)
{
    static const uint64_t lengths[] = {1, 2, 40, 41, 600, LENGTH_MAX, 599, 40, 3, 1};
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vaddr_t base;
    EXPECT_OK(kpages_alloc(bed.vmm, npages(2000), ARENA_ALIGN_PAGE, KPAGES_GUARDED, "resized", &base));
    EXPECT_OK(kpages_trim(bed.vmm, base, npages(1))); /* now it is known that there is room behind it */
    number(&bed, base, 0, 1);
    const uint64_t held = frames_beside_tables(&bed), used = bed.vmm->arena.used.v;
    for (unsigned i = 1; i < ARRAY_LEN(lengths); i++) {
        const uint64_t old = lengths[i - 1], new = lengths[i];
        EXPECT_OK((new > old ? kpages_grow : kpages_trim)(bed.vmm, base, npages(new)));
        expect_pages(&bed, base, new, old < new ? old : new);
        number(&bed, base, 0, new);
        EXPECT_EQ(frames_beside_tables(&bed), held + new - 1);
        EXPECT_EQ(bed.vmm->arena.used.v, used + new - 1);
    }
    EXPECT_OK(kpages_free(bed.vmm, base));
    vmm_bed_close(&bed);
}

TEST(vmm, kernel_pages_move_with_their_frames)
{
    static const struct {
        uint64_t from, to;
        unsigned align_log2;
    } moves[] = {{1, 1, ARENA_ALIGN_PAGE}, {1, 2, ARENA_ALIGN_PAGE}, {40, 90, ARENA_ALIGN_PAGE + 4},
                 {600, 1200, LOG2_OF_2M}, {LENGTH_MAX - 1, LENGTH_MAX, LOG2_OF_2M + 2}};
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (unsigned i = 0; i < ARRAY_LEN(moves); i++) {
        const uint64_t used = bed.vmm->arena.used.v, before = frames_beside_tables(&bed);
        vaddr_t base, moved = {0};
        EXPECT_OK(kpages_alloc(bed.vmm, npages(moves[i].from), ARENA_ALIGN_PAGE, KPAGES_GUARDED, "resized", &base));
        number(&bed, base, 0, moves[i].from);
        EXPECT_OK(kpages_move(bed.vmm, base, npages(moves[i].to), moves[i].align_log2, &moved));
        EXPECT((moved.v & ((1ULL << moves[i].align_log2) - 1)) == 0 && moved.v != base.v);
        expect_pages(&bed, moved, moves[i].to, moves[i].from);
        EXPECT(!vmm_bed_is_mapped(&bed, base) || base.v - moved.v < pages_to_bytes(npages(moves[i].to)));
        EXPECT_EQ(frames_beside_tables(&bed), before + moves[i].to);
        EXPECT_EQ(bed.vmm->arena.used.v, used + moves[i].to + 2);
        EXPECT_OK(kpages_free(bed.vmm, moved));
        EXPECT_EQ(bed.vmm->arena.used.v, used);
    }
    vmm_bed_close(&bed);
}

/* With every number of frames that is too few nothing changes, addresses included. */
TEST(vmm, kernel_pages_change_all_or_not_at_all)
{
    enum { OLD = 5, NEW = 8 };
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vaddr_t base, moved = vaddr(1), next;
    EXPECT_OK(kpages_alloc(bed.vmm, npages(NEW), ARENA_ALIGN_PAGE, KPAGES_GUARDED, "resized", &base));
    EXPECT_OK(kpages_trim(bed.vmm, base, npages(OLD)));
    number(&bed, base, 0, OLD);
    const uint64_t used = bed.vmm->arena.used.v, ranges = bed.vmm->arena.ranges;
    for (uint64_t k = 0; k < NEW - OLD; k++) {
        const npages_t taken = vmm_bed_limit(&bed, k);
        EXPECT_EQ(kpages_grow(bed.vmm, base, npages(NEW)), STATUS_NOMEM);
        EXPECT_EQ(kpages_move(bed.vmm, base, npages(NEW), LOG2_OF_2M, &moved), STATUS_NOMEM);
        vmm_bed_unlimit(&bed, taken);
        expect_pages(&bed, base, OLD, OLD);
        EXPECT(bed.vmm->arena.used.v == used && bed.vmm->arena.ranges == ranges && moved.v == 1);
    }
    EXPECT_OK(kpages_grow(bed.vmm, base, npages(NEW)));
    EXPECT_OK(kpages_trim(bed.vmm, base, npages(OLD)));
    next = vaddr_add_pages(base, NEW);
    EXPECT_OK(arena_alloc_at(&bed.vmm->arena, next, npages(1), "in the way"));
    EXPECT_EQ(kpages_grow(bed.vmm, base, npages(NEW)), STATUS_EXISTS);
    expect_pages(&bed, base, OLD, OLD);
    EXPECT_OK(arena_free(&bed.vmm->arena, next));
    EXPECT_OK(kpages_grow(bed.vmm, base, npages(NEW)));
    expect_pages(&bed, base, NEW, OLD);
    EXPECT_OK(kpages_free(bed.vmm, base));
    vmm_bed_close(&bed);
}

TEST(vmm, kernel_pages_refuse_lengths_that_cannot_be_meant)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vaddr_t base, moved = vaddr(1);
    EXPECT_OK(kpages_alloc(bed.vmm, npages(4), ARENA_ALIGN_PAGE, KPAGES_GUARDED, "resized", &base));
    number(&bed, base, 0, 4);
    EXPECT_EQ(kpages_grow(bed.vmm, base, npages(4)), STATUS_INVALID);
    EXPECT_EQ(kpages_grow(bed.vmm, base, npages(0)), STATUS_INVALID);
    EXPECT_EQ(kpages_grow(bed.vmm, base, npages(UINT64_MAX)), STATUS_EXISTS);
    EXPECT_EQ(kpages_trim(bed.vmm, base, npages(4)), STATUS_INVALID);
    EXPECT_EQ(kpages_trim(bed.vmm, base, npages(0)), STATUS_INVALID);
    EXPECT_EQ(kpages_move(bed.vmm, base, npages(3), ARENA_ALIGN_PAGE, &moved), STATUS_INVALID);
    EXPECT_EQ(kpages_move(bed.vmm, base, npages(4), ARENA_ALIGN_PAGE - 1, &moved), STATUS_INVALID);
    EXPECT_EQ(kpages_move(bed.vmm, base, npages(4), ARENA_ALIGN_MAX + 1, &moved), STATUS_INVALID);
    EXPECT_EQ(kpages_move(bed.vmm, base, npages(UINT64_MAX), ARENA_ALIGN_PAGE, &moved), STATUS_NOMEM);
    const uint64_t wrong[] = {base.v + PAGE_BYTES, base.v - PAGE_BYTES, base.v + 8, VA_GLOBAL, 0};
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        test_expect_reports(3 * (i + 1));
        EXPECT_EQ(kpages_grow(bed.vmm, vaddr(wrong[i]), npages(9)), STATUS_MISUSE);
        EXPECT_EQ(kpages_trim(bed.vmm, vaddr(wrong[i]), npages(1)), STATUS_MISUSE);
        EXPECT_EQ(kpages_move(bed.vmm, vaddr(wrong[i]), npages(9), ARENA_ALIGN_PAGE, &moved), STATUS_MISUSE);
    }
    expect_pages(&bed, base, 4, 4);
    EXPECT_EQ(moved.v, 1);
    EXPECT_OK(kpages_free(bed.vmm, base));
    vmm_bed_close(&bed);
}

/* A large page over the new end is cut; moved, large pages come in pieces. */
TEST(vmm, large_kernel_pages_are_cut_where_they_end_and_where_they_move)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vaddr_t base, moved;
    EXPECT_OK(kpages_alloc(bed.vmm, npages(2ULL * PAGES_PER_2M), LOG2_OF_2M, KPAGES_LARGE | KPAGES_GUARDED, "resized",
                           &base));
    number(&bed, base, 0, 2ULL * PAGES_PER_2M);
    const npages_t taken = vmm_bed_limit(&bed, 0);
    EXPECT_EQ(kpages_trim(bed.vmm, base, npages(PAGES_PER_2M + 9)), STATUS_NOMEM);
    vmm_bed_unlimit(&bed, taken);
    expect_pages(&bed, base, 2ULL * PAGES_PER_2M, 2ULL * PAGES_PER_2M);
    EXPECT_OK(kpages_trim(bed.vmm, base, npages(PAGES_PER_2M + 9)));
    expect_pages(&bed, base, PAGES_PER_2M + 9, PAGES_PER_2M + 9);
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed.vmm, bed.vmm->current, base, &w));
    EXPECT_EQ(w.level, 2);
    EXPECT_OK(kpages_move(bed.vmm, base, npages(PAGES_PER_2M + 30), ARENA_ALIGN_PAGE, &moved));
    expect_pages(&bed, moved, PAGES_PER_2M + 30, PAGES_PER_2M + 9);
    EXPECT_OK(kpages_free(bed.vmm, moved));
    vmm_bed_close(&bed);
}

/* Four of the pool are one piece: a part of it cannot go back. */
TEST(vmm, pooled_kernel_pages_are_not_trimmed)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vaddr_t base;
    EXPECT_OK(kpages_alloc(bed.vmm, npages(4), ARENA_ALIGN_PAGE, KPAGES_POOLED, "pooled", &base));
    number(&bed, base, 0, 4);
    const uint64_t held = vmm_bed_frames(bed.vmm), used = bed.vmm->arena.used.v, ranges = bed.vmm->arena.ranges;
    for (uint64_t pages = 1; pages < 4; pages++) {
        EXPECT_EQ(kpages_trim(bed.vmm, base, npages(pages)), STATUS_INVALID);
        EXPECT(vmm_bed_frames(bed.vmm) == held && bed.vmm->arena.used.v == used && bed.vmm->arena.ranges == ranges);
        EXPECT(vmm_bed_check(bed.vmm));
        for (uint64_t i = 0; i < 4; i++) {
            EXPECT_EQ(vmm_bed_frame_of(&bed, bed.vmm->current, vaddr_add_pages(base, i)), frames[i]);
        }
    }
    EXPECT_OK(kpages_free(bed.vmm, base));
    vmm_bed_close(&bed);
}

/* Nobody is behind the span, and yet they do not grow over its end. */
TEST_HOST(vmm, the_last_pooled_kernel_pages_of_a_span_do_not_grow_either)
{
    enum { PIECES = PAGE_POOL_SPAN_PAGES / 4 };
    static vaddr_t bases[PIECES];
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct arena_range span = {0}, behind;
    unsigned pieces = 0;
    vaddr_t end = {0};
    while (pieces < PIECES && (pieces == 0 || end.v != vaddr_add_pages(span.base, span.pages.v).v)) {
        EXPECT_OK(kpages_alloc(bed.vmm, npages(4), ARENA_ALIGN_PAGE, KPAGES_POOLED, "pooled", &bases[pieces]));
        EXPECT(arena_find(&bed.vmm->arena, bases[pieces], &span));
        end = vaddr_add_pages(bases[pieces++], 4);
    }
    EXPECT(arena_find(&bed.vmm->arena, end, &behind) && behind.tag == NULL);
    const uint64_t used = bed.vmm->arena.used.v, held = vmm_bed_frames(bed.vmm);
    EXPECT_EQ(kpages_grow(bed.vmm, bases[pieces - 1], npages(5)), STATUS_EXISTS);
    EXPECT(bed.vmm->arena.used.v == used && vmm_bed_frames(bed.vmm) == held && !vmm_bed_is_mapped(&bed, end));
    while (pieces > 0) {
        EXPECT_OK(kpages_free(bed.vmm, bases[--pieces]));
    }
    vmm_bed_close(&bed);
}
