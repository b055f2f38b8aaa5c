/* Tables that are shared, and entries that nobody may have written. Host only: broken through the model's memory. */
#include "arch/arch.h"
#include "model/model.h"
#include "unit/vmm_share_bed.h"
#include "vmm/entry.h"
#include "vmm/vmm_share.h"

enum { RW = VMM_READ | VMM_WRITE };

static struct vmm_loan loan;

/* Who borrowed dies all the same, and says so; the lender has its table back, and may die too. */
TEST_HOST(vmm_share_hostile, a_borrower_whose_entry_is_broken_ends_and_the_loan_with_it)
{
    for (unsigned level = 2; level <= 3; level++) {
        for (unsigned is_gone = 0; is_gone < 2; is_gone++) {
            struct vmm_bed bed;
            static struct space c;
            REQUIRE(vmm_bed_open(&bed));
            loan = (struct vmm_loan){0};
            EXPECT_OK(space_create(bed.vmm, &c));
            EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(3), RW));
            EXPECT_OK(vmm_lend(bed.vmm, &bed.a, vaddr(VA_PRIVATE), &c, vaddr(VA_GLOBAL), level, RW, &loan));
            pfn_t lost[PAGING_LEVELS];
            unsigned count = 0;
            for (unsigned l = PAGING_LEVELS; l > level; l--) {
                const paddr_t above = model_entry_at(model_machine, c.root, vaddr(VA_GLOBAL), l);
                lost[count++] = pte_pfn((pte_t){model_phys_read64(model_machine, above)});
            }
            const paddr_t at = model_entry_at(model_machine, c.root, vaddr(VA_GLOBAL), level);
            model_phys_write64(model_machine, at, is_gone != 0 ? 0 : model_phys_read64(model_machine, at) | 1ULL << 60);
            EXPECT_EQ(space_destroy(bed.vmm, &c), STATUS_CORRUPT);
            EXPECT(test_reports() >= 2);
            test_expect_reports(test_reports());
            EXPECT(c.vmm == NULL && loan.lender == NULL && bed.a.lent.root == NULL);
            for (unsigned i = 0; i < count; i++) {
                EXPECT_OK(pmm_release(bed.vmm->pmm, lost[i], NULL)); /* lost, not freed */
            }
            EXPECT(vmm_bed_check(bed.vmm));
            EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(3)));
            EXPECT_EQ(bed.a.tables.v, 1);
            vmm_bed_close(&bed);
        }
    }
}
