/* What other CPUs see of a page that gets another frame, and mark. Host only: the model machine runs them. */
#include "arch/arch.h"
#include "model/model.h"
#include "unit/vmm_bed.h"
#include "unit/vmm_two_cpus.h"
#include "vmm/entry.h"
#include "vmm/vmm_marks.h"
#include "vmm/vmm_share.h"

enum { RW = VMM_READ | VMM_WRITE, BOTH = VMM_ACCESSED | VMM_DIRTY };

static struct vmm_bed bed;

static void mark(struct model *m, pfn_t table, unsigned index, pte_t *entry)
{
    (void)m;
    (void)table;
    (void)index;
    entry->v |= pte_is_present(*entry) ? PTE_A | PTE_D : 0;
}

/* The old frame goes back at once: whoever can still reach it is found. */
static void replace(struct space *space, vaddr_t va)
{
    const pfn_t old = pfn(vmm_bed_frame_of(&bed, space, va));
    pfn_t fresh;
    EXPECT_OK(pmm_alloc(bed.vmm->pmm, PMM_USER, &fresh));
    EXPECT_OK(vmm_replace(bed.vmm, space, va, old, fresh));
    EXPECT(!model_frame_is_held(model_machine, old, &(struct model_report){0}));
    EXPECT_OK(pmm_free(bed.vmm->pmm, old));
}

TEST_HOST(vmm_replace, what_is_marked_meanwhile_is_kept)
{
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    struct vmm_marks m;
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(1), RW));
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(1), BOTH, &m));
    model_machine->before_replace = mark;
    replace(&bed.a, vaddr(VA_PRIVATE));
    model_machine->before_replace = NULL;
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(1), 0, &m));
    EXPECT(m.accessed.v == 1 && m.dirty.v == 1);
    vmm_bed_close(&bed);
}

/* The other CPU writes to the page, and then this one moves it: eight times. */
TEST_HOST(vmm_replace, what_another_cpu_writes_by_turns_is_not_lost)
{
    REQUIRE(vmm_bed_open(&bed));
    start_other_cpu(bed.vmm);
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(2), RW));
    change_cpu(bed.vmm);
    vmm_bed_switch(&bed, &bed.a);
    for (uint64_t i = 0; i < 8; i++) {
        const vaddr_t word = vaddr_add(vaddr(VA_PRIVATE), i * sizeof(uint64_t));
        arch_write64(word, i);
        change_cpu(bed.vmm);
        EXPECT_EQ(arch_read64(word), i);
        replace(&bed.a, word);
        EXPECT_EQ(arch_read64(word), i);
        change_cpu(bed.vmm);
    }
    for (uint64_t i = 0; i < 8; i++) {
        EXPECT_EQ(arch_read64(vaddr_add(vaddr(VA_PRIVATE), i * sizeof(uint64_t))), i);
    }
    EXPECT_OK(space_switch(bed.vmm, &bed.vmm->kernel));
    change_cpu(bed.vmm);
    vmm_bed_close(&bed);
}

/* The other CPU runs in a space that borrowed the page. */
TEST_HOST(vmm_replace, who_runs_in_a_borrower_is_told)
{
    static struct vmm_loan loan;
    loan = (struct vmm_loan){0};
    REQUIRE(vmm_bed_open(&bed));
    start_other_cpu(bed.vmm);
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(3), RW));
    EXPECT_OK(vmm_lend(bed.vmm, &bed.a, vaddr(VA_PRIVATE), &bed.b, vaddr(VA_GLOBAL), 2, RW, &loan));
    change_cpu(bed.vmm);
    vmm_bed_switch(&bed, &bed.b);
    arch_write64(vaddr(VA_GLOBAL), 5);
    change_cpu(bed.vmm);
    replace(&bed.a, vaddr(VA_PRIVATE));
    EXPECT_EQ(arch_read64(vaddr(VA_PRIVATE)), 5);
    change_cpu(bed.vmm);
    EXPECT_EQ(arch_read64(vaddr(VA_GLOBAL)), 5);
    EXPECT_OK(space_switch(bed.vmm, &bed.vmm->kernel));
    change_cpu(bed.vmm);
    EXPECT_OK(vmm_withdraw(bed.vmm, &loan));
    vmm_bed_close(&bed);
}
