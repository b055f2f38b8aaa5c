/*
 * Lent tables and a second CPU (R14 to R16): who may walk there through a borrower is told. Host only: the model runs
 * both.
 */
#include "arch/arch.h"
#include "model/model.h"
#include "unit/vmm_bed.h"
#include "unit/vmm_two_cpus.h"
#include "vmm/entry.h"
#include "vmm/vmm_share.h"

enum { RW = VMM_READ | VMM_WRITE };

static struct vmm_loan loan;

/* CPU 1 runs in the kernel's own space; CPU 0 in a, which lends a part to b. */
static bool open_bed(struct vmm_bed *bed, unsigned level)
{
    loan = (struct vmm_loan){0};
    if (!vmm_bed_open(bed)) {
        return false;
    }
    struct vmm *vmm = bed->vmm;
    start_other_cpu(vmm);
    vmm_bed_switch(bed, &bed->a);
    return EXPECT_OK(vmm_map(vmm, &bed->a, vaddr(VA_PRIVATE), npages(3), RW)) &&
           EXPECT_OK(vmm_lend(vmm, &bed->a, vaddr(VA_PRIVATE), &bed->b, vaddr(VA_GLOBAL), level, RW, &loan));
}

/* Then CPU 1 runs in the borrower, and has written to the first page. */
static bool open_written(struct vmm_bed *bed, unsigned level)
{
    if (!open_bed(bed, level)) {
        return false;
    }
    change_cpu(bed->vmm);
    EXPECT_OK(space_switch(bed->vmm, &bed->b));
    arch_write64(vaddr(VA_GLOBAL), 6);
    change_cpu(bed->vmm);
    return true;
}

static void close_bed(struct vmm_bed *bed)
{
    change_cpu(bed->vmm);
    EXPECT_OK(space_switch(bed->vmm, &bed->vmm->kernel));
    change_cpu(bed->vmm);
    EXPECT_OK(vmm_withdraw(bed->vmm, &loan));
    vmm_bed_close(bed);
}

/* R9, R15: CPU 1 keeps its window on the borrower open, and remembers its pages; a table of the lender is made anew. */
TEST_HOST(vmm_lend_cpus, a_window_on_a_borrower_shows_the_lenders_new_table)
{
    struct vmm_bed bed;
    REQUIRE(open_bed(&bed, 3));
    struct vmm *vmm = bed.vmm;
    change_cpu(vmm);
    EXPECT(vmm_bed_frame_of(&bed, &bed.b, vaddr(VA_GLOBAL)) != UINT64_MAX);
    change_cpu(vmm);
    EXPECT(bed.b.reached.mask == 3 && bed.a.reached.mask == 0);
    EXPECT_OK(vmm_unmap(vmm, &bed.a, vaddr(VA_PRIVATE), npages(3)));
    EXPECT_OK(vmm_map(vmm, &bed.a, vaddr(VA_GLOBAL), npages(1), RW)); /* takes the table's old frame */
    EXPECT_OK(vmm_map_frames(vmm, &bed.a, vaddr(VA_PRIVATE), pfn(0x80000000), npages(1), RW, false));
    change_cpu(vmm);
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.b, vaddr(VA_GLOBAL)), 0x80000000);
    EXPECT_OK(space_switch(vmm, &bed.b));
    change_cpu(vmm);
    close_bed(&bed);
}

/* R14: CPU 1 runs in the borrower, the edit is the lender's; a page, and more than are flushed one by one. */
TEST_HOST(vmm_lend_cpus, a_cpu_that_runs_in_a_borrower_sees_the_lenders_edit)
{
    for (unsigned level = 2; level <= 3; level++) {
        struct vmm_bed bed;
        REQUIRE(open_written(&bed, level));
        struct vmm *vmm = bed.vmm;
        EXPECT_EQ(arch_read64(vaddr(VA_PRIVATE)), 6);
        EXPECT_OK(vmm_protect(vmm, &bed.a, vaddr(VA_PRIVATE), npages(1), VMM_READ));
        EXPECT_OK(vmm_unmap(vmm, &bed.a, vaddr(VA_PRIVATE), npages(1)));
        EXPECT_OK(vmm_map(vmm, &bed.a, vaddr(VA_PRIVATE), npages(1), RW));
        change_cpu(vmm);
        EXPECT_EQ(arch_read64(vaddr(VA_GLOBAL)), 0);
        change_cpu(vmm);
        close_bed(&bed);
    }
}

/* R14, R16: CPU 1 runs in the borrower, which may write no more when the call returns. */
TEST_HOST(vmm_lend_cpus, a_cpu_that_runs_in_a_borrower_has_the_fewer_rights_at_once)
{
    for (unsigned level = 2; level <= 3; level++) {
        struct vmm_bed bed;
        REQUIRE(open_written(&bed, level));
        struct vmm *vmm = bed.vmm;
        EXPECT_OK(vmm_narrow(vmm, &loan, VMM_READ));
        change_cpu(vmm);
        EXPECT_EQ(arch_read64(vaddr(VA_GLOBAL)), 6);
        EXPECT(!model_can_access(model_machine, vaddr(VA_GLOBAL), true));
        change_cpu(vmm);
        EXPECT_EQ(arch_read64(vaddr(VA_PRIVATE)), 6);
        close_bed(&bed);
    }
}

/* R14: all borrowers are told, and of a large page all of it; CPU 1 runs in each in turn, the lender edits. */
TEST_HOST(vmm_lend_cpus, every_borrower_sees_that_a_large_page_of_the_lender_went)
{
    for (unsigned which = 0; which < 2; which++) {
        struct vmm_bed bed;
        struct space third;
        struct vmm_loan more = {0};
        const vaddr_t part = vaddr(VA_PRIVATE + level_span_bytes(2)), seen = vaddr(VA_GLOBAL + level_span_bytes(2));
        REQUIRE(open_bed(&bed, 3));
        struct vmm *vmm = bed.vmm;
        EXPECT_OK(space_create(vmm, &third));
        EXPECT_OK(vmm_lend(vmm, &bed.a, vaddr(VA_PRIVATE), &third, vaddr(VA_GLOBAL), 3, RW, &more));
        EXPECT_OK(vmm_map(vmm, &bed.a, part, npages(PAGES_PER_2M), RW | VMM_2M));
        change_cpu(vmm);
        EXPECT_OK(space_switch(vmm, which == 0 ? &bed.b : &third));
        arch_write64(vaddr_add_pages(seen, 300), 6);
        change_cpu(vmm);
        EXPECT_EQ(arch_read64(vaddr_add_pages(part, 300)), 6);
        EXPECT_OK(vmm_protect(vmm, &bed.a, part, npages(PAGES_PER_2M), VMM_READ));
        change_cpu(vmm);
        EXPECT(!model_can_access(model_machine, vaddr_add_pages(seen, 300), true));
        change_cpu(vmm);
        EXPECT_OK(vmm_unmap(vmm, &bed.a, part, npages(PAGES_PER_2M)));
        EXPECT_OK(vmm_map(vmm, &bed.a, part, npages(1), RW)); /* R12: a table there now */
        change_cpu(vmm);
        EXPECT_EQ(arch_read64(seen), 0);
        EXPECT_OK(space_switch(vmm, &vmm->kernel));
        change_cpu(vmm);
        EXPECT_OK(space_destroy(vmm, &third));
        close_bed(&bed);
    }
}
