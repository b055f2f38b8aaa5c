/* Leaves mapped for copy on write (VMM_COPY): of frames that others use, and of the zero frame. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "pmm/pmm_runs.h"
#include "unit/vmm_share_bed.h"
#include "vmm/vmm_large.h"
#include "vmm/vmm_marks.h"
#include "vmm/vmm_share.h"

enum { R = VMM_READ, RW = VMM_READ | VMM_WRITE, RX = VMM_READ | VMM_EXECUTE, PART = PAGES_PER_2M };

#define VA vaddr(VA_PRIVATE)

static vaddr_t page(uint64_t i) { return vaddr_add_pages(VA, i); }

/* A frame of the test's own, with a word in it. */
static pfn_t frame_with(struct vmm_bed *bed, uint64_t word)
{
    pfn_t frame = {0};
    vaddr_t at;
    EXPECT_OK(pmm_alloc(bed->vmm->pmm, PMM_USER, &frame));
    EXPECT_OK(temp_map(bed->vmm, frame, &at));
    arch_write64(at, word);
    EXPECT_OK(temp_unmap(bed->vmm, at));
    return frame;
}

static unsigned references(struct vmm_bed *bed, pfn_t frame)
{
    return pmm_query(bed->vmm->pmm, frame).references;
}

static enum status map_copy(struct vmm_bed *bed, struct space *space, uint64_t i, pfn_t frame, unsigned rights)
{
    return vmm_map_frames(bed->vmm, space, page(i), frame, npages(1), rights | VMM_COPY, true);
}

static void expect_zero_frame(struct vmm_bed *bed, pfn_t zero)
{
    uint64_t words = 0;
    vaddr_t at;
    EXPECT_OK(temp_map(bed->vmm, zero, &at));
    for (uint64_t i = 0; i < PAGE_BYTES / sizeof(uint64_t); i++) {
        words |= arch_read64(vaddr_add(at, i * sizeof(uint64_t)));
    }
    EXPECT_OK(temp_unmap(bed->vmm, at));
    EXPECT_EQ(words, 0);
    EXPECT_EQ(pmm_query(bed->vmm->pmm, zero).state, PMM_STATE_ZERO);
}

/* Two spaces show one frame; who writes has a copy, and the last one left has the frame itself. */
TEST(vmm_copies, who_writes_gets_a_copy_and_who_is_alone_the_frame)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const pfn_t frame = frame_with(&bed, 5);
    EXPECT_OK(map_copy(&bed, &bed.a, 0, frame, RW));
    EXPECT_OK(map_copy(&bed, &bed.b, 0, frame, RW));
    EXPECT_EQ(references(&bed, frame), 3);
    EXPECT(rights_of(&bed, &bed.a, VA) == R && word_of(&bed, &bed.a, VA) == 5);
    EXPECT(vmm_bed_check(bed.vmm));
    write_word(&bed, &bed.a, VA, 6);
    EXPECT(word_of(&bed, &bed.a, VA) == 6 && word_of(&bed, &bed.b, VA) == 5);
    EXPECT_EQ(references(&bed, frame), 2);
    EXPECT_OK(pmm_release(bed.vmm->pmm, frame, NULL)); /* the test's own */
    write_word(&bed, &bed.b, VA, 7);
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.b, VA), frame.v);
    EXPECT(references(&bed, frame) == 1 && rights_of(&bed, &bed.b, VA) == RW);
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

/* The right to write is what the mapping gives, and vmm_protect; never to a frame that others have. */
TEST(vmm_copies, no_right_makes_a_shared_frame_writable)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const pfn_t frame = frame_with(&bed, 5);
    static const unsigned rights[] = {R, RX, R | VMM_USER};
    for (unsigned i = 0; i < ARRAY_LEN(rights); i++) {
        EXPECT_OK(map_copy(&bed, &bed.a, i, frame, rights[i]));
        EXPECT_EQ(rights_of(&bed, &bed.a, page(i)), rights[i]);
        EXPECT_EQ(vmm_own_page(bed.vmm, &bed.a, page(i)), STATUS_DENIED);
        EXPECT_OK(vmm_protect(bed.vmm, &bed.a, page(i), npages(1), RW));
        EXPECT_EQ(rights_of(&bed, &bed.a, page(i)), R);
        EXPECT_OK(vmm_protect_present(bed.vmm, &bed.a, page(i), npages(1), i == 1 ? R : RW));
        EXPECT_EQ(vmm_own_page(bed.vmm, &bed.a, page(i)), i == 1 ? STATUS_DENIED : STATUS_OK);
    }
    EXPECT_EQ(references(&bed, frame), 2); /* the test's, and page 1's */
    EXPECT_EQ(space_clear(bed.vmm, &bed.a, page(1), 8), STATUS_DENIED);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, VA, npages(3)));
    EXPECT_EQ(references(&bed, frame), 1);
    EXPECT_OK(pmm_free(bed.vmm->pmm, frame));
    vmm_bed_close(&bed);
}

TEST(vmm_copies, the_zero_frame_is_shown_and_a_write_gets_a_zeroed_one)
{
    for (unsigned kind = 0; kind < 2; kind++) { /* our own tables, another space's */
        struct vmm_bed bed;
        REQUIRE(vmm_bed_open(&bed));
        const pfn_t zero = zero_frame_of(&bed);
        vmm_bed_switch(&bed, kind == 0 ? &bed.a : &bed.b);
        for (uint64_t i = 0; i < 40; i++) {
            EXPECT_OK(map_copy(&bed, &bed.a, 3 * i, zero, RW));
        }
        EXPECT_EQ(bed.a.pages.v, 40);
        EXPECT_EQ(word_of(&bed, &bed.a, page(3)), 0);
        EXPECT(vmm_bed_check(bed.vmm));
        const uint64_t used = vmm_bed_frames(bed.vmm);
        for (uint64_t i = 0; i < 5; i++) {
            write_word(&bed, &bed.a, page(3 * i), i + 1);
            EXPECT_EQ(word_of(&bed, &bed.a, vaddr_add(page(3 * i), PAGE_BYTES - 8)), 0);
        }
        EXPECT_EQ(vmm_bed_frames(bed.vmm), used + 5);
        EXPECT(word_of(&bed, &bed.a, page(6)) == 3 && word_of(&bed, &bed.a, page(15)) == 0);
        EXPECT_OK(vmm_unmap_present(bed.vmm, &bed.a, VA, npages(60)));
        EXPECT_EQ(vmm_bed_frames(bed.vmm), used);
        EXPECT(vmm_bed_check(bed.vmm));
        expect_zero_frame(&bed, zero);
        vmm_bed_close(&bed);
    }
}

/* Nothing is written but 2 leaves, and one page flushed, when idle time has zeroed a frame. */
TEST(vmm_copies, a_write_to_the_zero_frame_copies_nothing)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const pfn_t zero = zero_frame_of(&bed);
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(map_copy(&bed, &bed.a, 0, zero, RW));
    EXPECT_OK(map_copy(&bed, &bed.a, 1, zero, RW));
    bed.vmm->counters = (struct vmm_counters){0};
    EXPECT_OK(vmm_own_page(bed.vmm, &bed.a, VA));
    const struct vmm_counters c = bed.vmm->counters;
    EXPECT(c.table_loads == 4 && c.table_stores == 2 + 2 && c.invlpg == 1 + 1); /* zeroing: 2 stores, 1 INVLPG */
    const pfn_t frame = frame_with(&bed, 9);
    EXPECT_OK(map_copy(&bed, &bed.a, 2, frame, RW));
    bed.vmm->counters = (struct vmm_counters){0};
    EXPECT_OK(vmm_own_page(bed.vmm, &bed.a, page(2)));
    EXPECT(bed.vmm->counters.table_stores == 2 + 4 && bed.vmm->counters.invlpg == 1 + 2); /* copied: both are mapped */
    EXPECT_OK(pmm_free(bed.vmm->pmm, frame));
    EXPECT_EQ(arch_read64(page(2)), 9);
    vmm_bed_close(&bed);
}

/* ---- In tables that are shared ---- */

TEST(vmm_copies, behind_a_table_shared_for_copy_on_write)
{
    for (unsigned whole = 0; whole < 2; whole++) {
        struct vmm_bed bed;
        REQUIRE(vmm_bed_open(&bed));
        const pfn_t zero = zero_frame_of(&bed), frame = frame_with(&bed, 5);
        EXPECT_OK(map_copy(&bed, &bed.a, 0, zero, RW));
        EXPECT_OK(map_copy(&bed, &bed.a, 1, frame, RW));
        EXPECT_OK(map_copy(&bed, &bed.a, 2, frame, R));
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, page(3), npages(1), RW));
        EXPECT_OK(vmm_clone(bed.vmm, &bed.a, &bed.b, VA, npages(whole != 0 ? PAGES_PER_1G : PART)));
        EXPECT_EQ(references(&bed, frame), 3);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_EQ(map_copy(&bed, &bed.b, 9, zero, RW), STATUS_SHARED);
        write_word(&bed, &bed.b, page(0), 10); /* the copy */
        write_word(&bed, &bed.b, page(1), 11);
        EXPECT_EQ(references(&bed, frame), 4); /* the test's, a's two, b's page 2 */
        write_word(&bed, &bed.a, page(0), 20); /* the last one has the table */
        EXPECT_EQ(vmm_own_page(bed.vmm, &bed.a, page(2)), STATUS_DENIED);
        EXPECT_EQ(vmm_own_page(bed.vmm, &bed.b, page(2)), STATUS_DENIED);
        EXPECT(word_of(&bed, &bed.a, page(0)) == 20 && word_of(&bed, &bed.b, page(0)) == 10);
        EXPECT(word_of(&bed, &bed.a, page(1)) == 5 && word_of(&bed, &bed.b, page(1)) == 11);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_OK(vmm_unmap_present(bed.vmm, &bed.a, VA, npages(PART)));
        EXPECT_OK(vmm_unmap_present(bed.vmm, &bed.b, VA, npages(PART)));
        EXPECT_EQ(references(&bed, frame), 1);
        EXPECT_OK(pmm_free(bed.vmm->pmm, frame));
        expect_zero_frame(&bed, zero);
        vmm_bed_close(&bed);
    }
}

/* The lender owns a page, the borrower cannot; what the borrower takes a copy of shares the frames. */
TEST(vmm_copies, in_a_table_that_is_lent)
{
    for (unsigned level = 2; level <= 3; level++) {
        static struct vmm_loan loan;
        struct vmm_bed bed;
        loan = (struct vmm_loan){0};
        REQUIRE(vmm_bed_open(&bed));
        const pfn_t zero = zero_frame_of(&bed), frame = frame_with(&bed, 5);
        const vaddr_t to = vaddr(VA_GLOBAL);
        EXPECT_OK(map_copy(&bed, &bed.a, 0, zero, RW));
        EXPECT_OK(vmm_lend(bed.vmm, &bed.a, VA, &bed.b, to, level, RW, &loan));
        EXPECT_OK(map_copy(&bed, &bed.a, 1, frame, RW)); /* the lender goes on */
        EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.b, vaddr_add_pages(to, 2), frame, npages(1), RW | VMM_COPY, true),
                  STATUS_SHARED);
        EXPECT_EQ(vmm_own_page(bed.vmm, &bed.b, to), STATUS_SHARED);
        vmm_bed_switch(&bed, &bed.b);
        EXPECT_EQ(arch_read64(to), 0); /* the TLB has the zero frame */
        EXPECT_OK(vmm_own_page(bed.vmm, &bed.a, VA));
        arch_write64(to, 8);
        EXPECT_EQ(word_of(&bed, &bed.a, VA), 8);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_OK(vmm_unshare(bed.vmm, &bed.b, to, npages(1)));
        EXPECT(loan.lender == NULL && references(&bed, frame) == 3);
        write_word(&bed, &bed.b, vaddr_add_pages(to, 1), 6);
        EXPECT(word_of(&bed, &bed.a, page(1)) == 5 && references(&bed, frame) == 2);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page(1), npages(1)));
        EXPECT_OK(pmm_free(bed.vmm->pmm, frame));
        expect_zero_frame(&bed, zero);
        vmm_bed_close(&bed);
    }
}

/* 512 of them do not become a large page; marks are counted and cleared. */
TEST(vmm_copies, are_not_promoted_and_have_marks)
{
    struct vmm_bed bed;
    pfn_t first;
    REQUIRE(vmm_bed_open(&bed));
    const pfn_t zero = zero_frame_of(&bed);
    vmm_bed_switch(&bed, &bed.a);
    REQUIRE(pmm_alloc_run(bed.vmm->pmm, PMM_USER, npages(PART), npages(PART), npages(0), PMM_NO_LIMIT, &first) ==
            STATUS_OK);
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, VA, first, npages(PART), RW | VMM_COPY, true));
    EXPECT_EQ(vmm_promote(bed.vmm, &bed.a, VA, 2, 0), STATUS_SHARED);
    EXPECT_EQ(vmm_promote(bed.vmm, &bed.a, VA, 2, VMM_PROMOTE_COPY), STATUS_SHARED);
    EXPECT_EQ(vmm_demote(bed.vmm, &bed.a, VA), STATUS_EXISTS);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, VA, npages(1)));
    EXPECT_OK(map_copy(&bed, &bed.a, 0, zero, RW));
    EXPECT_EQ(vmm_promote(bed.vmm, &bed.a, VA, 2, VMM_PROMOTE_COPY), STATUS_SHARED);
    EXPECT_EQ(arch_read64(VA), 0);
    struct vmm_marks marks;
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, VA, npages(2), VMM_ACCESSED | VMM_DIRTY, &marks));
    EXPECT(marks.accessed.v == 1 && marks.dirty.v == 0);
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, VA, npages(2), 0, &marks));
    EXPECT_EQ(marks.accessed.v, 0);
    EXPECT_OK(vmm_unmap_present(bed.vmm, &bed.a, VA, npages(PART)));
    for (uint64_t i = 0; i < PART; i++) {
        EXPECT_OK(pmm_free(bed.vmm->pmm, pfn_add(first, i)));
    }
    vmm_bed_close(&bed);
}

/* ---- Wrong arguments, too little memory, too many references ---- */

TEST(vmm_copies, what_cannot_be_for_copy_on_write_is_refused)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    struct space *kernel = space_find(vmm, 0);
    const pfn_t zero = zero_frame_of(&bed), frame = frame_with(&bed, 5);
    static const unsigned bad[] = {RW | VMM_2M, RW | VMM_LARGE, RW | VMM_UNCACHED, RW | VMM_WRITE_COMBINING,
                                   RW | VMM_GLOBAL, RW | VMM_EXECUTE, 1U << 20};
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        EXPECT_EQ(map_copy(&bed, &bed.a, 0, frame, bad[i]), STATUS_INVALID);
    }
    EXPECT_EQ(vmm_map_frames(vmm, &bed.a, VA, frame, npages(1), RW | VMM_COPY, false), STATUS_INVALID);
    EXPECT_EQ(vmm_map(vmm, &bed.a, VA, npages(1), RW | VMM_COPY), STATUS_INVALID);
    EXPECT_EQ(vmm_protect(vmm, &bed.a, VA, npages(1), RW | VMM_COPY), STATUS_INVALID);
    EXPECT_EQ(vmm_protect_present(vmm, &bed.a, VA, npages(1), RW | VMM_COPY), STATUS_INVALID);
    EXPECT_EQ(vmm_map_frames(vmm, kernel, vaddr(LAYOUT_KERNEL_END - PAGE_BYTES), frame, npages(1), RW | VMM_COPY, true),
              STATUS_INVALID);
    /* The zero frame is mapped so or not at all, alone or among others. */
    EXPECT_EQ(vmm_map_frames(vmm, &bed.a, VA, zero, npages(1), RW, true), STATUS_INVALID);
    EXPECT_EQ(vmm_map_frames(vmm, &bed.a, VA, zero, npages(1), R, true), STATUS_INVALID);
    EXPECT_EQ(vmm_map_frames(vmm, &bed.a, VA, pfn(zero.v - 1), npages(2), R, true), STATUS_INVALID);
    EXPECT(bed.a.pages.v == 0 && bed.a.tables.v == 1 && references(&bed, frame) == 1);
    EXPECT_OK(map_copy(&bed, &bed.a, 0, frame, RW));
    EXPECT_EQ(map_copy(&bed, &bed.a, 0, zero, RW), STATUS_EXISTS);
    EXPECT_OK(vmm_unmap(vmm, &bed.a, VA, npages(1)));
    EXPECT_OK(pmm_free(vmm->pmm, frame));
    test_expect_reports(1);
    EXPECT_EQ(map_copy(&bed, &bed.a, 0, frame, RW), STATUS_MISUSE);
    vmm_bed_close(&bed);
}

TEST(vmm_copies, a_frame_with_all_its_references_is_not_mapped_once_more)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const pfn_t frame = frame_with(&bed, 5);
    for (unsigned i = 1; i < PMM_REFERENCES_MAX; i++) {
        REQUIRE(pmm_retain(bed.vmm->pmm, frame) == STATUS_OK);
    }
    EXPECT_EQ(map_copy(&bed, &bed.a, 0, frame, RW), STATUS_LIMIT);
    EXPECT(bed.a.pages.v == 0 && bed.a.tables.v == 1);
    for (unsigned i = 0; i < PMM_REFERENCES_MAX; i++) {
        REQUIRE(pmm_release(bed.vmm->pmm, frame, NULL) == STATUS_OK);
    }
    vmm_bed_close(&bed);
}

TEST(vmm_copies, when_memory_is_short_nothing_changes)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const pfn_t zero = zero_frame_of(&bed), frame = frame_with(&bed, 5);
    for (uint64_t k = 0; k <= 3; k++) {
        npages_t taken = vmm_bed_limit(&bed, k);
        EXPECT_EQ(map_copy(&bed, &bed.a, 0, frame, RW), k < 3 ? STATUS_NOMEM : STATUS_OK);
        vmm_bed_unlimit(&bed, taken);
        EXPECT(bed.a.tables.v == (k < 3 ? 1 : 4) && references(&bed, frame) == (k < 3 ? 1 : 2));
    }
    EXPECT_OK(map_copy(&bed, &bed.a, 1, zero, RW));
    for (uint64_t k = 0; k <= 1; k++) {
        npages_t taken = vmm_bed_limit(&bed, k);
        EXPECT_EQ(vmm_own_page(bed.vmm, &bed.a, page(k)), k == 0 ? STATUS_NOMEM : STATUS_OK);
        EXPECT_EQ(rights_of(&bed, &bed.a, page(k)), k == 0 ? R : RW);
        vmm_bed_unlimit(&bed, taken);
        EXPECT_EQ(pmm_stats(bed.vmm->pmm).promised.v, 0);
    }
    EXPECT_OK(pmm_release(bed.vmm->pmm, frame, NULL));
    vmm_bed_close(&bed);
}
