/* Writable and executable at once: by name only, said by the leaf, and lost with either right. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/vmm_share_bed.h"
#include "vmm/vmm_large.h"
#include "vmm/vmm_share.h"

enum {
    R = VMM_READ,
    RW = VMM_READ | VMM_WRITE,
    RX = VMM_READ | VMM_EXECUTE,
    RWX = RW | VMM_EXECUTE,
    NAMED = RWX | VMM_WRITE_EXECUTE,
    PART = PAGES_PER_2M
};

#define VA vaddr(VA_PRIVATE)

static const pfn_t device = {0xC000000};

static pte_t leaf_of(struct vmm_bed *bed, struct space *space, vaddr_t va)
{
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed->vmm, space, va, &w));
    return w.entry[w.level];
}

TEST(vmm_write_execute, it_is_asked_for_by_name)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    static const struct {
        unsigned rights, got;
        enum status expected;
    } cases[] = {{RWX, 0, STATUS_INVALID},
                 {RWX | VMM_USER, 0, STATUS_INVALID},
                 {VMM_WRITE | VMM_EXECUTE, 0, STATUS_INVALID},
                 {NAMED, RWX, STATUS_OK},
                 {NAMED | VMM_USER, RWX | VMM_USER, STATUS_OK},
                 {RW | VMM_WRITE_EXECUTE, RW, STATUS_OK},
                 {RX | VMM_WRITE_EXECUTE, RX, STATUS_OK},
                 {VMM_WRITE_EXECUTE, R, STATUS_OK},
                 {NAMED | 1U << 20, 0, STATUS_INVALID}};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        const bool ok = cases[i].expected == STATUS_OK;
        const vaddr_t fresh = vaddr_add_pages(VA, 10), given = vaddr_add_pages(VA, 20);
        EXPECT_OK(vmm_map(vmm, &bed.a, VA, npages(2), R));
        EXPECT_EQ(vmm_protect(vmm, &bed.a, VA, npages(1), cases[i].rights), cases[i].expected);
        EXPECT_EQ(vmm_protect_present(vmm, &bed.a, vaddr_add_pages(VA, 1), npages(8), cases[i].rights),
                  cases[i].expected);
        EXPECT_EQ(vmm_map(vmm, &bed.a, fresh, npages(1 + i % 2), cases[i].rights), cases[i].expected);
        EXPECT_EQ(vmm_map_frames(vmm, &bed.a, given, device, npages(3), cases[i].rights, false), cases[i].expected);
        EXPECT(vmm_bed_check(vmm));
        EXPECT_EQ(rights_of(&bed, &bed.a, VA), ok ? cases[i].got : R);
        EXPECT_EQ(rights_of(&bed, &bed.a, vaddr_add_pages(VA, 1)), ok ? cases[i].got : R);
        EXPECT_EQ(rights_of(&bed, &bed.a, fresh), ok ? cases[i].got : 0);
        EXPECT_EQ(rights_of(&bed, &bed.a, given), ok ? cases[i].got : 0);
        EXPECT_EQ((leaf_of(&bed, &bed.a, VA).v & PTE_WX) != 0, (cases[i].got & RWX) == RWX);
        EXPECT_OK(vmm_unmap_present(vmm, &bed.a, VA, npages(40)));
    }
    vmm_bed_close(&bed);
}

/* Changing the rights takes the mark away with them, and gives it back. */
TEST(vmm_write_execute, the_mark_goes_with_either_right)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(vmm_map(vmm, &bed.a, VA, npages(3), NAMED));
    arch_write64(VA, 1); /* the TLB has it, writable */
    static const unsigned rights[] = {RX, NAMED, RW, NAMED, R, RX | VMM_WRITE_EXECUTE};
    for (unsigned i = 0; i < ARRAY_LEN(rights); i++) {
        EXPECT_OK(vmm_protect(vmm, &bed.a, VA, npages(2), rights[i]));
        EXPECT_OK(vmm_protect_present(vmm, &bed.a, vaddr_add_pages(VA, 2), npages(9), rights[i]));
        for (uint64_t k = 0; k < 3; k++) {
            EXPECT_EQ(rights_of(&bed, &bed.a, vaddr_add_pages(VA, k)), rights[i] & (unsigned)RWX);
        }
        EXPECT(vmm_bed_check(vmm));
    }
    vmm_bed_close(&bed);
}

TEST(vmm_write_execute, large_pages_keep_it_when_they_are_cut_and_made)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    EXPECT_OK(vmm_map_frames(vmm, &bed.a, VA, device, npages(2 * PART), NAMED | VMM_2M, false));
    EXPECT(vmm_bed_check(vmm));
    EXPECT_OK(vmm_demote(vmm, &bed.a, VA));
    EXPECT_EQ(rights_of(&bed, &bed.a, VA), RWX);
    EXPECT(vmm_bed_check(vmm));
    EXPECT_OK(vmm_protect(vmm, &bed.a, VA, npages(1), RX));
    EXPECT_EQ(vmm_promote(vmm, &bed.a, VA, 2, 0), STATUS_CONFLICT);
    EXPECT_OK(vmm_protect(vmm, &bed.a, VA, npages(1), NAMED));
    EXPECT_OK(vmm_promote(vmm, &bed.a, VA, 2, 0));
    EXPECT_EQ(leaf_of(&bed, &bed.a, VA).v & (PTE_PS | PTE_WX), PTE_PS | PTE_WX);
    EXPECT_OK(vmm_protect(vmm, &bed.a, VA, npages(PART), RW));
    EXPECT_OK(vmm_protect_present(vmm, &bed.a, vaddr_add_pages(VA, PART), npages(PART), RX));
    EXPECT(rights_of(&bed, &bed.a, VA) == RW && rights_of(&bed, &bed.a, vaddr_add_pages(VA, PART)) == RX);
    EXPECT(vmm_bed_check(vmm));
    EXPECT_OK(vmm_unmap(vmm, &bed.a, VA, npages(2 * PART)));
    vmm_bed_close(&bed);
}

/* A borrower that may not write, or not execute, has not both; nor has the copy it takes. */
TEST(vmm_write_execute, a_loan_takes_either_right_away)
{
    static const unsigned lent[] = {R, RW, RX, RWX};
    for (unsigned i = 0; i < ARRAY_LEN(lent); i++) {
        static struct vmm_loan loan;
        struct vmm_bed bed;
        loan = (struct vmm_loan){0};
        REQUIRE(vmm_bed_open(&bed));
        struct vmm *vmm = bed.vmm;
        const vaddr_t to = vaddr(VA_GLOBAL);
        EXPECT_OK(vmm_map(vmm, &bed.a, VA, npages(2), NAMED));
        EXPECT_OK(vmm_lend(vmm, &bed.a, VA, &bed.b, to, 2, lent[i], &loan));
        EXPECT_EQ(rights_of(&bed, &bed.b, to), lent[i]);
        EXPECT(vmm_bed_check(vmm));
        EXPECT_OK(vmm_unshare(vmm, &bed.b, to, npages(1)));
        EXPECT(vmm_bed_check(vmm));
        EXPECT_EQ(rights_of(&bed, &bed.b, to), lent[i] & (unsigned)RX);
        EXPECT_EQ(vmm_own_page(vmm, &bed.b, to), (lent[i] & VMM_WRITE) != 0 ? STATUS_OK : STATUS_DENIED);
        EXPECT_EQ(rights_of(&bed, &bed.b, to), lent[i]);
        EXPECT_EQ((leaf_of(&bed, &bed.b, to).v & PTE_WX) != 0, lent[i] == RWX);
        EXPECT(vmm_bed_check(vmm));
        vmm_bed_close(&bed);
    }
}

/* Copies for copy on write have both when they are owned. */
TEST(vmm_write_execute, clones_and_copies_keep_it)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    const pfn_t zero = zero_frame_of(&bed);
    EXPECT_OK(vmm_map(vmm, &bed.a, VA, npages(2), NAMED));
    EXPECT_OK(vmm_map_frames(vmm, &bed.a, vaddr_add_pages(VA, 2), zero, npages(1), NAMED | VMM_COPY, true));
    EXPECT_EQ(rights_of(&bed, &bed.a, vaddr_add_pages(VA, 2)), RX);
    EXPECT(vmm_bed_check(vmm));
    EXPECT_OK(vmm_clone(vmm, &bed.a, &bed.b, VA, npages(PART)));
    EXPECT_EQ(rights_of(&bed, &bed.a, VA), RX);
    EXPECT(vmm_bed_check(vmm));
    struct space *spaces[] = {&bed.b, &bed.a};
    for (unsigned i = 0; i < 2; i++) {
        for (uint64_t k = 0; k < 3; k++) {
            write_word(&bed, spaces[i], vaddr_add_pages(VA, k), 3 * i + k + 1);
            EXPECT_EQ(rights_of(&bed, spaces[i], vaddr_add_pages(VA, k)), RWX);
            EXPECT(vmm_bed_check(vmm));
        }
    }
    EXPECT_EQ(word_of(&bed, &bed.b, vaddr_add_pages(VA, 2)), 3);
    vmm_bed_close(&bed);
}
