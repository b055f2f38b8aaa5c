/* Page faults that only a stale TLB entry makes: in the kernel only, the handler is called as entry.asm would. */
#include "arch/x86_64/interrupt.h"
#include "kernel/machine.h"
#include "unit/test.h"

enum { FAULT_PRESENT_WRITE = 3 };

/* The tables let this through by now, so the handler must return. */
static void fault_at(void *page)
{
    struct interrupt_frame f = {.vector = EXCEPTION_PAGE_FAULT, .error = FAULT_PRESENT_WRITE, .rip = 0x1234};
    __asm__ volatile("mov %0, %%cr2" : : "r"(page));
    kernel_interrupt(&f);
}

TEST(fault, a_right_added_twice_may_fault_spuriously_twice_at_one_place)
{
    struct vmm *vmm = &machine.vmm;
    vaddr_t page;
    REQUIRE(kpages_alloc(vmm, npages(1), ARENA_ALIGN_PAGE, 0, "a test", &page) == STATUS_OK);
    uint64_t before = machine.spurious_faults;
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(vmm_protect(vmm, &vmm->kernel, page, npages(1), VMM_READ), STATUS_OK);
        EXPECT_EQ(vmm_protect(vmm, &vmm->kernel, page, npages(1), VMM_READ | VMM_WRITE), STATUS_OK);
        fault_at(vaddr_to_ptr(page)); /* the same instruction, the same page */
    }
    EXPECT_EQ(machine.spurious_faults, before + 3);
    EXPECT_EQ(kpages_free(vmm, page), STATUS_OK);
}
