/* Large pages and devices in tables that several spaces use: lent with the table, cut before a clone, counted once. */
#include "arch/arch.h"
#include "unit/vmm_bed.h"
#include "vmm/entry.h"
#include "vmm/vmm_large.h"
#include "vmm/vmm_marks.h"
#include "vmm/vmm_share.h"

enum { R = VMM_READ, RW = VMM_READ | VMM_WRITE, PART = PAGES_PER_2M };

static const pfn_t device = {0x40000000}; /* aligned to 1 GiB */

static vaddr_t page_at(uint64_t page) { return vaddr_add_pages(vaddr(VA_PRIVATE), page); }

static struct vmm_walk walk(struct vmm_bed *bed, struct space *space, uint64_t page)
{
    struct vmm_walk w = {0};
    EXPECT_OK(vmm_translate(bed->vmm, space, page_at(page), &w));
    return w;
}

static uint64_t word_of(struct vmm_bed *bed, struct space *space, uint64_t page)
{
    uint64_t word = UINT64_MAX;
    EXPECT_OK(space_peek(bed->vmm, space, page_at(page), &word, sizeof word));
    return word;
}

static void write_word(struct vmm_bed *bed, struct space *space, uint64_t page, uint64_t word)
{
    struct space *was = bed->vmm->current;
    vmm_bed_switch(bed, space);
    arch_write64(page_at(page), word);
    vmm_bed_switch(bed, was);
}

/* a has two large pages, with 1 and 2 in their first words. */
static bool open_large(struct vmm_bed *bed)
{
    if (!vmm_bed_open(bed) || !EXPECT_OK(vmm_map(bed->vmm, &bed->a, page_at(0), npages(2 * PART), RW | VMM_2M))) {
        return false;
    }
    write_word(bed, &bed->a, 0, 1);
    write_word(bed, &bed->a, PART, 2);
    return true;
}

/* ---- Copy on write ---- */

TEST(vmm_share_large, what_is_cloned_of_large_pages_is_cut_first)
{
    for (unsigned whole = 0; whole < 2; whole++) { /* by PT, by PD */
        struct vmm_bed bed;
        REQUIRE(open_large(&bed));
        EXPECT_OK(vmm_clone(bed.vmm, &bed.a, &bed.b, page_at(0), npages(whole != 0 ? PAGES_PER_1G : PART)));
        EXPECT_EQ(walk(&bed, &bed.a, 0).level, 1);
        EXPECT_EQ(walk(&bed, &bed.b, 0).level, 1);
        EXPECT_EQ(walk(&bed, &bed.a, PART).level, whole != 0 ? 1 : 2);
        EXPECT_EQ(bed.a.pages.v, whole != 0 ? 0 : PART);
        EXPECT_EQ(bed.a.tables.v, whole != 0 ? 2 : 3);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_EQ(vmm_promote(bed.vmm, &bed.a, page_at(0), 2, 0), STATUS_SHARED);
        EXPECT_OK(vmm_own_page(bed.vmm, &bed.b, page_at(0)));
        write_word(&bed, &bed.b, 0, 9);
        EXPECT_OK(vmm_own_page(bed.vmm, &bed.a, page_at(7))); /* in place: of the frames only one has two users */
        EXPECT_EQ(word_of(&bed, &bed.a, 0), 1);
        EXPECT_EQ(word_of(&bed, &bed.b, 0), 9);
        EXPECT(vmm_bed_check(bed.vmm));
        vmm_bed_close(&bed);
    }
}

/* Each 2 MiB that is cloned takes a PT; what is not cloned stays as large as it can. */
TEST(vmm_share_large, of_a_page_of_1_GiB_only_what_is_cloned_becomes_small)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    if (arch_has_1g_pages()) {
        EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, page_at(0), device, npages(PAGES_PER_1G), RW | VMM_1G, false));
        EXPECT_OK(vmm_clone(bed.vmm, &bed.a, &bed.b, page_at(5 * PART), npages(3 * PART)));
        EXPECT_EQ(walk(&bed, &bed.a, 5 * PART - 1).level, 2);
        EXPECT_EQ(walk(&bed, &bed.a, 8 * PART - 1).level, 1);
        EXPECT_EQ(walk(&bed, &bed.b, 8 * PART - 1).level, 1);
        EXPECT(!walk(&bed, &bed.b, 8 * PART).present);
        EXPECT_EQ(walk(&bed, &bed.a, 8 * PART).level, 2);
        EXPECT_EQ(bed.a.tables.v, 3); /* and three PTs that are shared */
        EXPECT_EQ(bed.a.pages.v, PAGES_PER_1G - 3 * PART);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_OK(vmm_unshare(bed.vmm, &bed.b, page_at(5 * PART), npages(3 * PART)));
        EXPECT(vmm_bed_check(bed.vmm));
    }
    vmm_bed_close(&bed);
}

TEST(vmm_share_large, a_clone_of_large_pages_has_all_its_tables_or_none)
{
    struct vmm_bed bed;
    REQUIRE(open_large(&bed));
    enum status s = STATUS_NOMEM;
    uint64_t frames = 0;
    for (; s == STATUS_NOMEM && frames < 16; frames++) {
        npages_t taken = vmm_bed_limit(&bed, frames);
        s = vmm_clone(bed.vmm, &bed.a, &bed.b, page_at(0), npages(2 * PART));
        vmm_bed_unlimit(&bed, taken);
        EXPECT_EQ(walk(&bed, &bed.a, PART).level, s == STATUS_OK ? 1 : 2);
        EXPECT(vmm_bed_check(bed.vmm));
    }
    EXPECT_EQ(s, STATUS_OK);
    EXPECT_EQ(frames - 1, 4); /* two PTs, and a PDPT and PD of b */
    EXPECT_EQ(word_of(&bed, &bed.b, PART), 2);
    vmm_bed_close(&bed);
}

/* ---- Lending ---- */

TEST(vmm_share_large, a_lender_edits_whole_large_pages_and_cuts_none)
{
    struct vmm_bed bed;
    struct vmm_loan loan = {0};
    struct vmm_marks marks;
    REQUIRE(open_large(&bed));
    EXPECT_EQ(vmm_lend(bed.vmm, &bed.a, page_at(0), &bed.b, page_at(0), 2, RW, &loan), STATUS_ABSENT);
    EXPECT_OK(vmm_lend(bed.vmm, &bed.a, page_at(0), &bed.b, page_at(0), 3, RW, &loan));
    write_word(&bed, &bed.b, 1, 5);
    EXPECT_EQ(word_of(&bed, &bed.a, 1), 5);
    EXPECT_EQ(vmm_demote(bed.vmm, &bed.a, page_at(0)), STATUS_SHARED);
    EXPECT_EQ(vmm_unmap(bed.vmm, &bed.a, page_at(3), npages(PART)), STATUS_SHARED);
    EXPECT_EQ(vmm_protect(bed.vmm, &bed.a, page_at(0), npages(1), R), STATUS_SHARED);
    EXPECT_EQ(vmm_marks(bed.vmm, &bed.a, page_at(0), npages(1), VMM_DIRTY, &marks), STATUS_SHARED);
    EXPECT_EQ(vmm_unmap(bed.vmm, &bed.b, page_at(0), npages(PART)), STATUS_SHARED);
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, page_at(0), npages(PART), R));
    EXPECT_EQ(walk(&bed, &bed.b, 0).rights, R);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page_at(0), npages(2 * PART)));
    EXPECT(!walk(&bed, &bed.b, PART).present);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, page_at(PART), npages(PART), RW | VMM_2M));
    EXPECT_EQ(word_of(&bed, &bed.b, PART), 0);
    EXPECT_EQ(bed.a.pages.v, PART);
    EXPECT_EQ(bed.b.pages.v, 0);
    EXPECT(vmm_bed_check(bed.vmm));
    EXPECT_OK(vmm_withdraw(bed.vmm, &loan));
    EXPECT_OK(vmm_demote(bed.vmm, &bed.a, page_at(PART)));
    vmm_bed_close(&bed);
}

TEST(vmm_share_large, a_large_page_is_not_put_over_a_table_that_is_shared)
{
    struct vmm_bed bed;
    struct vmm_loan loan = {0};
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, page_at(0), npages(1), RW));
    EXPECT_OK(vmm_lend(bed.vmm, &bed.a, page_at(0), &bed.b, page_at(0), 2, RW, &loan));
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page_at(0), npages(1))); /* it is empty, and stays */
    for (unsigned i = 0; i < 2; i++) {
        struct space *space = i == 0 ? &bed.a : &bed.b;
        EXPECT_OK(space_keep_tables(bed.vmm, space, true));
        EXPECT_EQ(vmm_map(bed.vmm, space, page_at(0), npages(PART), RW | VMM_2M), STATUS_SHARED);
        EXPECT_EQ(vmm_map_frames(bed.vmm, space, page_at(0), device, npages(PART), RW | VMM_2M, false), STATUS_SHARED);
    }
    EXPECT(vmm_bed_check(bed.vmm));
    EXPECT_OK(vmm_withdraw(bed.vmm, &loan));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, page_at(0), npages(PART), RW | VMM_2M));
    vmm_bed_close(&bed);
}

TEST(vmm_share_large, a_copy_of_what_is_borrowed_has_small_pages)
{
    struct vmm_bed bed;
    struct vmm_loan loan = {0};
    REQUIRE(open_large(&bed));
    EXPECT_OK(vmm_lend(bed.vmm, &bed.a, page_at(0), &bed.b, page_at(0), 3, RW, &loan));
    EXPECT_OK(vmm_own_page(bed.vmm, &bed.b, page_at(0))); /* the loan lets it write already */
    EXPECT_EQ(walk(&bed, &bed.b, 0).level, 2);
    enum status s = STATUS_NOMEM;
    for (uint64_t frames = 0; s == STATUS_NOMEM && frames < 16; frames++) {
        npages_t taken = vmm_bed_limit(&bed, frames);
        s = vmm_unshare(bed.vmm, &bed.b, page_at(0), npages(1));
        vmm_bed_unlimit(&bed, taken);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_EQ(s, frames < 3 ? STATUS_NOMEM : STATUS_OK); /* a PD, two PTs */
    }
    EXPECT(loan.lender == NULL && walk(&bed, &bed.a, 0).level == 2 && walk(&bed, &bed.b, PART).level == 1);
    EXPECT_EQ(bed.b.pages.v, 2 * PART);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page_at(0), npages(PART))); /* its frames have another user */
    EXPECT_EQ(word_of(&bed, &bed.b, 0), 1);
    EXPECT_OK(vmm_own_page(bed.vmm, &bed.b, page_at(PART)));
    write_word(&bed, &bed.b, PART, 7);
    EXPECT_EQ(word_of(&bed, &bed.a, PART), 2);
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

/* A loan that takes the right to write away: the large page is read-only for this borrower. */
TEST(vmm_share_large, a_large_page_behind_a_narrowed_loan_is_not_owned)
{
    struct vmm_bed bed;
    struct vmm_loan loan = {0};
    REQUIRE(open_large(&bed));
    EXPECT_OK(vmm_lend(bed.vmm, &bed.a, page_at(0), &bed.b, page_at(0), 3, R, &loan));
    EXPECT_EQ(vmm_own_page(bed.vmm, &bed.b, page_at(0)), STATUS_DENIED);
    EXPECT_EQ(space_clear(bed.vmm, &bed.b, page_at(0), 8), STATUS_DENIED);
    EXPECT_OK(vmm_own_page(bed.vmm, &bed.a, page_at(0)));
    EXPECT_OK(vmm_withdraw(bed.vmm, &loan));
    vmm_bed_close(&bed);
}

/* ---- Devices ---- */

/* Shared by clone, copied, each end first: the range of the device is there as long as a leaf is. */
TEST(vmm_share_large, leaves_of_devices_are_counted_once_a_table)
{
    for (unsigned whole = 0; whole < 2; whole++) {
        for (unsigned first = 0; first < 2; first++) {
            struct vmm_bed bed;
            REQUIRE(vmm_bed_open(&bed));
            const unsigned ranges = bed.vmm->cache.count;
            EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, page_at(1), device, npages(3), RW | VMM_UNCACHED, false));
            EXPECT_OK(vmm_clone(bed.vmm, &bed.a, &bed.b, page_at(0), npages(whole != 0 ? PAGES_PER_1G : PART)));
            EXPECT(vmm_bed_check(bed.vmm));
            EXPECT_OK(vmm_unshare(bed.vmm, &bed.b, page_at(1), npages(1)));
            EXPECT(vmm_bed_check(bed.vmm));
            EXPECT_OK(vmm_own_page(bed.vmm, &bed.b, page_at(2))); /* the same frame for both */
            EXPECT_EQ(walk(&bed, &bed.b, 2).rights, RW);
            EXPECT_OK(vmm_unmap(bed.vmm, &bed.b, page_at(1), npages(1)));
            EXPECT(vmm_bed_check(bed.vmm));
            struct space *space = first == 0 ? &bed.a : &bed.b;
            EXPECT_OK(space_destroy(bed.vmm, space));
            EXPECT(vmm_bed_check(bed.vmm) && bed.vmm->cache.count == ranges + 1);
            EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.vmm->kernel, page_at(0), device, npages(1), RW, false),
                      STATUS_CONFLICT);
            EXPECT_OK(space_create(bed.vmm, space));
            EXPECT_OK(space_destroy(bed.vmm, first == 0 ? &bed.b : &bed.a));
            EXPECT_EQ(bed.vmm->cache.count, ranges);
            EXPECT_OK(space_create(bed.vmm, first == 0 ? &bed.b : &bed.a));
            vmm_bed_close(&bed);
        }
    }
}

/* A table goes with its last user, who never had it for himself. */
TEST(vmm_share_large, a_shared_table_that_goes_takes_its_leaves_off_their_device)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const unsigned ranges = bed.vmm->cache.count;
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, page_at(1), device, npages(3), RW | VMM_UNCACHED, false));
    EXPECT_OK(vmm_clone(bed.vmm, &bed.a, &bed.b, page_at(0), npages(PAGES_PER_1G)));
    EXPECT_OK(space_destroy(bed.vmm, &bed.a));
    EXPECT_EQ(bed.vmm->cache.count, ranges + 1);
    EXPECT_OK(space_destroy(bed.vmm, &bed.b));
    EXPECT_EQ(bed.vmm->cache.count, ranges);
    EXPECT_OK(space_create(bed.vmm, &bed.a));
    EXPECT_OK(space_create(bed.vmm, &bed.b));
    vmm_bed_close(&bed);
}
