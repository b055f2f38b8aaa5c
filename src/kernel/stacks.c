#include "kernel/stacks.h"

#include "arch/x86_64/interrupt.h"
#include "kernel/machine.h"

static vaddr_t stack_new(npages_t pages, const char *name)
{
    vaddr_t base;
    enum status s = kpages_alloc(&machine.vmm, pages, 12, KPAGES_GUARDED, name, &base);
    if (s != STATUS_OK) {
        panic("no memory for %s: %s", name, status_name(s));
    }
    return vaddr_add_pages(base, pages.v);
}

vaddr_t stacks_init(void)
{
    interrupts_set_stack(IST_DOUBLE_FAULT, stack_new(npages(STACK_IST_PAGES), "the double fault stack"));
    interrupts_set_stack(IST_NMI, stack_new(npages(STACK_IST_PAGES), "the NMI stack"));
    interrupts_set_stack(IST_MACHINE_CHECK, stack_new(npages(STACK_IST_PAGES), "the machine check stack"));
    return stack_new(npages(STACK_MAIN_PAGES), "the main stack");
}
