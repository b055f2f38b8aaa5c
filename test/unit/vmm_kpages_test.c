/* Temporary mappings and kernel pages. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/vmm_bed.h"

enum { RW = VMM_READ | VMM_WRITE };

TEST(vmm, temporary_slots_are_a_stack_without_neighbours)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    pfn_t frame;
    REQUIRE(pmm_alloc(bed.vmm->pmm, PMM_KERNEL, &frame) == STATUS_OK);
    vaddr_t pages[VMM_TEMP_SLOTS], more = vaddr(1);
    unsigned in_use = bed.vmm->temp_count, got = 0;
    while (temp_map(bed.vmm, frame, &pages[got]) == STATUS_OK) {
        arch_write64(pages[got], got);
        EXPECT(vmm_bed_is_mapped(&bed, pages[got]));
        /* One byte too far, or too low, faults. */
        EXPECT(!vmm_bed_is_mapped(&bed, vaddr_add_pages(pages[got], 1)));
        EXPECT(!vmm_bed_is_mapped(&bed, vaddr(pages[got].v - 1)));
        if (++got == VMM_TEMP_SLOTS) {
            break;
        }
    }
    EXPECT_EQ(in_use + got, VMM_TEMP_SLOTS);
    EXPECT_EQ(temp_map(bed.vmm, frame, &more), STATUS_LIMIT);
    EXPECT(more.v == 1 && arch_read64(pages[0]) == got - 1);
    EXPECT(vmm_bed_check(bed.vmm)); /* VMM-I7 */
    test_expect_reports(got > 1 ? 2 : 1);
    EXPECT_EQ(temp_unmap(bed.vmm, vaddr_add_pages(pages[got - 1], 1)), STATUS_MISUSE);
    if (got > 1) {
        EXPECT_EQ(temp_unmap(bed.vmm, pages[0]), STATUS_MISUSE);
    }
    while (got-- > 0) {
        EXPECT_OK(temp_unmap(bed.vmm, pages[got]));
        EXPECT(!vmm_bed_is_mapped(&bed, pages[got]));
    }
    EXPECT_OK(pmm_free(bed.vmm->pmm, frame));
    vmm_bed_close(&bed);
}

TEST(vmm, a_temporary_slot_shows_its_new_frame)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    pfn_t frames[2];
    vaddr_t page;
    for (uint64_t i = 0; i < 2; i++) {
        REQUIRE(pmm_alloc(bed.vmm->pmm, PMM_KERNEL, &frames[i]) == STATUS_OK);
        EXPECT_OK(frame_zero(bed.vmm, frames[i]));
        EXPECT_OK(temp_map(bed.vmm, frames[i], &page));
        EXPECT_EQ(arch_read64(page), 0);
        EXPECT_EQ(arch_read64(vaddr_add(page, PAGE_BYTES - ENTRY_BYTES)), 0);
        arch_write64(vaddr_add(page, 64), 100 + i);
        EXPECT_OK(temp_unmap(bed.vmm, page));
    }
    EXPECT_OK(frame_copy(bed.vmm, frames[1], frames[0]));
    EXPECT_OK(temp_map(bed.vmm, frames[1], &page));
    EXPECT_EQ(arch_read64(vaddr_add(page, 64)), 100);
    EXPECT_OK(temp_unmap(bed.vmm, page));
    EXPECT_OK(pmm_free(bed.vmm->pmm, frames[0]));
    EXPECT_OK(pmm_free(bed.vmm->pmm, frames[1]));
    vmm_bed_close(&bed);
}

TEST(vmm, kernel_pages_lie_between_guards)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vaddr_t base;
    struct kpages_info info;
    EXPECT_OK(kpages_alloc(bed.vmm, npages(3), ARENA_ALIGN_PAGE + 3, KPAGES_GUARDED | KPAGES_ZEROED, "guarded", &base));
    EXPECT_EQ(table_index(base, 1) % 8, 0);
    for (uint64_t i = 0; i < 3; i++) {
        vaddr_t page = vaddr_add_pages(base, i);
        EXPECT_EQ(arch_read64(page), 0);
        arch_write64(page, i);
        EXPECT(kpages_find(bed.vmm, vaddr_add(page, 9), &info) && info.base.v == base.v && info.pages.v == 3 &&
               !info.in_guard);
    }
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed.vmm, &bed.b, base, &w));
    EXPECT_EQ(w.rights, RW);
    EXPECT(kpages_find(bed.vmm, vaddr(base.v - 1), &info) && info.in_guard && !info.above && info.base.v == base.v);
    EXPECT(kpages_find(bed.vmm, vaddr_add_pages(base, 3), &info) && info.in_guard && info.above &&
           strcmp(info.tag, "guarded") == 0);
    EXPECT(!vmm_bed_is_mapped(&bed, vaddr(base.v - 1)) && !vmm_bed_is_mapped(&bed, vaddr_add_pages(base, 3)));
    EXPECT(!kpages_find(bed.vmm, vaddr_add_pages(base, 4), &info) || info.base.v != base.v);
    test_expect_reports(3);
    EXPECT_EQ(kpages_free(bed.vmm, vaddr_add_pages(base, 1)), STATUS_MISUSE);
    EXPECT_EQ(kpages_free(bed.vmm, vaddr(base.v - PAGE_BYTES)), STATUS_MISUSE);
    EXPECT_OK(kpages_free(bed.vmm, base));
    EXPECT_EQ(kpages_free(bed.vmm, base), STATUS_MISUSE);
    EXPECT(!vmm_bed_is_mapped(&bed, base));
    vmm_bed_close(&bed);
}

/* Addresses, guards among them, go back when there are no frames for them. */
TEST(vmm, guarded_kernel_pages_come_all_or_none)
{
    enum { PAGES = 3 };
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vaddr_t base = vaddr(1);
    const uint64_t used = bed.vmm->arena.used.v, ranges = bed.vmm->arena.ranges;
    for (uint64_t few = 0; few < PAGES; few++) {
        const npages_t taken = vmm_bed_limit(&bed, few);
        EXPECT_EQ(kpages_alloc(bed.vmm, npages(PAGES), ARENA_ALIGN_PAGE, KPAGES_GUARDED, "few", &base), STATUS_NOMEM);
        vmm_bed_unlimit(&bed, taken);
        EXPECT(base.v == 1 && bed.vmm->arena.used.v == used && bed.vmm->arena.ranges == ranges);
    }
    vmm_bed_close(&bed);
}

TEST(vmm, kernel_pages_refuse_what_cannot_be_meant)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vaddr_t base = vaddr(1);
    EXPECT_EQ(kpages_alloc(bed.vmm, npages(0), ARENA_ALIGN_PAGE, 0, "t", &base), STATUS_INVALID);
    EXPECT_EQ(kpages_alloc(bed.vmm, npages(1), ARENA_ALIGN_PAGE - 1, 0, "t", &base), STATUS_INVALID);
    EXPECT_EQ(kpages_alloc(bed.vmm, npages(1), ARENA_ALIGN_MAX + 1, 0, "t", &base), STATUS_INVALID);
    EXPECT_EQ(kpages_alloc(bed.vmm, npages(1), ARENA_ALIGN_PAGE, KPAGES_POOLED << 1, "t", &base), STATUS_INVALID);
    EXPECT_EQ(kpages_alloc(bed.vmm, npages(1), ARENA_ALIGN_PAGE, 0, NULL, &base), STATUS_INVALID);
    EXPECT_EQ(kpages_alloc(bed.vmm, npages(UINT64_MAX), ARENA_ALIGN_PAGE, KPAGES_GUARDED, "t", &base), STATUS_NOMEM);
    EXPECT_EQ(base.v, 1);
    vaddr_t device;
    EXPECT_OK(arena_alloc(&bed.vmm->arena, npages(2), ARENA_ALIGN_PAGE, "device", &device));
    struct kpages_info info;
    EXPECT(!kpages_find(bed.vmm, device, &info) && !kpages_find(bed.vmm, vaddr(VA_GLOBAL), &info));
    EXPECT_OK(arena_free(&bed.vmm->arena, device));
    vmm_bed_close(&bed);
}

static unsigned level_at(struct vmm_bed *bed, vaddr_t va)
{
    struct vmm_walk w = {0};
    EXPECT_OK(vmm_translate(bed->vmm, bed->vmm->current, va, &w));
    return w.present ? w.level : 0;
}

/* Large ones where they fit, small ones for the rest; guards below and above. To free them takes no memory. */
TEST(vmm, kernel_pages_are_large_where_asked)
{
    enum { LOG2_OF_2M = 21, TAIL = 3 };
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const uint64_t used = pmm_stats(bed.vmm->pmm).used.v - bed.vmm->node_pages.v;
    for (unsigned zeroed = 0; zeroed < 2; zeroed++) {
        const unsigned flags = KPAGES_LARGE | KPAGES_GUARDED | (zeroed != 0 ? KPAGES_ZEROED : 0U);
        const uint64_t flushes = bed.vmm->counters.invlpg;
        vaddr_t base;
        EXPECT_OK(kpages_alloc(bed.vmm, npages(PAGES_PER_2M + TAIL), LOG2_OF_2M, flags, "large", &base));
        /* To zero a frame takes one; more: a table, and the window pages of the large page. */
        const uint64_t few = bed.vmm->counters.invlpg - flushes;
        EXPECT(zeroed != 0 ? few >= PAGES_PER_2M : few < 16);
        const vaddr_t tail = vaddr_add_pages(base, PAGES_PER_2M), end = vaddr_add_pages(tail, TAIL);
        EXPECT(level_at(&bed, base) == 2 && level_at(&bed, vaddr(tail.v - 1)) == 2 && level_at(&bed, tail) == 1);
        EXPECT(level_at(&bed, vaddr(base.v - 1)) == 0 && level_at(&bed, end) == 0);
        for (uint64_t page = 0; page < PAGES_PER_2M + TAIL && zeroed != 0; page += 57) {
            EXPECT_EQ(arch_read64(vaddr_add_pages(base, page)), 0);
        }
        arch_write64(vaddr(end.v - 8), 1);
        struct kpages_info info;
        EXPECT(kpages_find(bed.vmm, vaddr(base.v - 1), &info) && info.in_guard && info.base.v == base.v);
        npages_t taken = vmm_bed_limit(&bed, 0);
        EXPECT_OK(kpages_free(bed.vmm, base));
        vmm_bed_unlimit(&bed, taken);
        EXPECT_EQ(pmm_stats(bed.vmm->pmm).used.v - bed.vmm->node_pages.v, used);
    }
    vmm_bed_close(&bed);
}

/* Too few frames: nothing is changed. Too short for a large page: small ones. */
TEST(vmm, large_kernel_pages_come_all_or_none)
{
    enum { LOG2_OF_2M = 21 };
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vaddr_t base = vaddr(1);
    const uint64_t used = bed.vmm->arena.used.v;
    npages_t taken = vmm_bed_limit(&bed, PAGES_PER_2M - 1);
    EXPECT_EQ(kpages_alloc(bed.vmm, npages(PAGES_PER_2M), LOG2_OF_2M, KPAGES_LARGE, "large", &base), STATUS_NOMEM);
    vmm_bed_unlimit(&bed, taken);
    EXPECT(base.v == 1 && bed.vmm->arena.used.v == used);
    EXPECT_OK(kpages_alloc(bed.vmm, npages(PAGES_PER_2M - 1), LOG2_OF_2M, KPAGES_LARGE, "large", &base));
    EXPECT_EQ(level_at(&bed, base), 1);
    EXPECT_OK(kpages_free(bed.vmm, base));
    vmm_bed_close(&bed);
}

TEST_HOST(vmm, pooled_kernel_pages_have_the_tag_of_the_first_one)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vaddr_t first, second;
    struct kpages_info info;
    EXPECT_OK(kpages_alloc(bed.vmm, npages(1), ARENA_ALIGN_PAGE, KPAGES_POOLED, "first", &first));
    EXPECT_OK(kpages_alloc(bed.vmm, npages(4), ARENA_ALIGN_PAGE, KPAGES_POOLED, "second", &second));
    EXPECT(kpages_find(bed.vmm, second, &info) && strcmp(info.tag, "first") == 0);
    struct arena_range range;
    EXPECT(arena_find(&bed.vmm->arena, first, &range) && strcmp(range.tag, "first") == 0);
    EXPECT_EQ(range.pages.v, PAGE_POOL_SPAN_PAGES);
    EXPECT_OK(kpages_free(bed.vmm, first));
    EXPECT_OK(kpages_free(bed.vmm, second));
    const uint64_t ranges = bed.vmm->arena.ranges;
    EXPECT_OK(kpages_alloc(bed.vmm, npages(1), ARENA_ALIGN_PAGE, KPAGES_POOLED, "third", &first));
    EXPECT(kpages_find(bed.vmm, first, &info) && strcmp(info.tag, "first") == 0); /* though none was in use */
    EXPECT_EQ(bed.vmm->arena.ranges, ranges);
    EXPECT_OK(kpages_free(bed.vmm, first));
    vmm_bed_close(&bed);
}
