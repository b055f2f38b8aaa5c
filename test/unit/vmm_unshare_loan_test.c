/* A borrower takes a copy: the loan is over, no right comes with it, and what is written goes apart. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/vmm_share_bed.h"
#include "vmm/vmm_share.h"

enum { R = VMM_READ, RW = VMM_READ | VMM_WRITE, RX = VMM_READ | VMM_EXECUTE, PART = PAGES_PER_2M };

#define VA vaddr(VA_PRIVATE)

static const pfn_t device = {0xC000000};

TEST(vmm_unshare_loan, a_borrower_that_unshares_has_a_copy_and_no_loan)
{
    static struct vmm_loan loan;
    for (unsigned level = 2; level <= 3; level++) {
        struct vmm_bed bed;
        loan = (struct vmm_loan){0};
        REQUIRE(vmm_bed_open(&bed));
        struct vmm *vmm = bed.vmm;
        EXPECT_OK(vmm_map(vmm, &bed.a, VA, npages(600), RW));
        EXPECT_OK(vmm_lend(vmm, &bed.a, VA, &bed.b, VA, level, RW, &loan));
        write_word(&bed, &bed.b, VA, 4); /* through the loan */
        EXPECT_EQ(word_of(&bed, &bed.a, VA), 4);
        const uint64_t need = level == 2 ? 1 : 3;
        for (uint64_t k = 0; k <= need; k++) {
            npages_t taken = vmm_bed_limit(&bed, k);
            EXPECT_EQ(vmm_unshare(vmm, &bed.b, VA, npages(1)), k < need ? STATUS_NOMEM : STATUS_OK);
            vmm_bed_unlimit(&bed, taken);
            EXPECT_EQ(pmm_stats(vmm->pmm).promised.v, 0);
            EXPECT(vmm_bed_check(vmm) && (loan.lender == NULL) == (k == need));
        }
        EXPECT_EQ(bed.b.pages.v, level == 2 ? PART : 600);
        EXPECT_EQ(rights_of(&bed, &bed.a, VA), RW);
        EXPECT_EQ(rights_of(&bed, &bed.b, VA), R);
        write_word(&bed, &bed.b, VA, 5);
        EXPECT(word_of(&bed, &bed.a, VA) == 4 && word_of(&bed, &bed.b, VA) == 5);
        vmm_bed_close(&bed);
    }
}

/* Rights that the loan took away do not come back with the copy. */
TEST(vmm_unshare_loan, a_copy_of_what_is_borrowed_has_no_right_more)
{
    static struct vmm_loan loan;
    struct vmm_bed bed;
    loan = (struct vmm_loan){0};
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    const vaddr_t text = vaddr_add_pages(VA, 1), registers = vaddr_add_pages(VA, 2);
    EXPECT_OK(vmm_map(vmm, &bed.a, VA, npages(1), RW));
    EXPECT_OK(vmm_map(vmm, &bed.a, text, npages(1), RX));
    EXPECT_OK(vmm_map_frames(vmm, &bed.a, registers, device, npages(1), RW, false));
    EXPECT_OK(vmm_lend(vmm, &bed.a, VA, &bed.b, VA, 2, R, &loan));
    EXPECT_EQ(vmm_own_page(vmm, &bed.b, VA), STATUS_DENIED);
    EXPECT_OK(vmm_unshare(vmm, &bed.b, VA, npages(PART)));
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(rights_of(&bed, &bed.b, vaddr_add_pages(VA, i)), R);
        EXPECT_EQ(vmm_own_page(vmm, &bed.b, vaddr_add_pages(VA, i)), STATUS_DENIED);
    }
    EXPECT(rights_of(&bed, &bed.a, VA) == RW && rights_of(&bed, &bed.a, text) == RX);
    EXPECT(vmm_bed_check(vmm));
    vmm_bed_close(&bed);
}
