/*
 * Exceptions. A page fault that the tables permit by now is spurious (rule R6: a right was added, the TLB had not seen
 * it) and is simply left; everything else is a report in words and the end of the machine, until there are tasks that
 * can die alone.
 */
#include "kernel/fault.h"

#include "arch/layout.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/interrupt.h"
#include "kernel/console.h"
#include "kernel/machine.h"

enum page_fault_error { /* SDM 3A 4.7 */
    FAULT_PRESENT = 1 << 0,
    FAULT_WRITE = 1 << 1,
    FAULT_USER = 1 << 2,
    FAULT_RESERVED_BIT = 1 << 3,
    FAULT_FETCH = 1 << 4,
};

static const char *const exception_names[EXCEPTIONS] = {
    [0] = "divide error", [1] = "debug", [2] = "non-maskable interrupt", [3] = "breakpoint", [4] = "overflow",
    [5] = "bound range", [6] = "invalid opcode", [7] = "no coprocessor", [8] = "double fault", [10] = "invalid TSS",
    [11] = "segment not present", [12] = "stack segment fault", [13] = "general protection fault",
    [14] = "page fault", [16] = "x87 error", [17] = "alignment check", [18] = "machine check", [19] = "SIMD error",
    [20] = "virtualization", [21] = "control protection", [28] = "hypervisor injection", [29] = "VMM communication",
    [30] = "security",
};

static void print_registers(const struct interrupt_frame *f)
{
    print("rip %016lx  rsp %016lx  rflags %08lx  cs %lx ss %lx\n", f->rip, f->rsp, f->rflags, f->cs, f->ss);
    print("rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
    print("rsi %016lx  rdi %016lx  rbp %016lx  r8  %016lx\n", f->rsi, f->rdi, f->rbp, f->r8);
    print("r9  %016lx  r10 %016lx  r11 %016lx  r12 %016lx\n", f->r9, f->r10, f->r11, f->r12);
    print("r13 %016lx  r14 %016lx  r15 %016lx\n", f->r13, f->r14, f->r15);
    print("cr2 %016lx  cr3 %016lx  cr4 %016lx\n", read_cr2(), read_cr3(), read_cr4());
}

/* Each level of the walk, down to the one that stops it. */
static void print_walk(vaddr_t va)
{
    static const char *const levels[] = {"", "PTE", "PDE", "PDPTE", "PML4E"};
    struct vmm_walk walk;
    if (machine.vmm.current == NULL ||
        vmm_translate(&machine.vmm, machine.vmm.current, va, &walk) != STATUS_OK) {
        print("walk: none (%s)\n", vaddr_is_canonical(va) ? "a window, or the VMM is not up" : "not canonical");
        return;
    }
    for (unsigned level = PAGING_LEVELS; level >= walk.level; level--) {
        print("walk: %-5s [%3u] = %016lx  %s\n", levels[level], table_index(va, level), walk.entry[level].v,
              !pte_is_present(walk.entry[level]) ? "not present: stops here" : level > walk.level ? "table" : "leaf");
    }
}

/* What lies at, or next to, the address. */
static void print_place(vaddr_t va)
{
    struct kpages_info info;
    if (va.v < PAGE_BYTES) {
        print("place: the first page: a null pointer, or a field of one\n");
    } else if (machine.vmm.pmm != NULL && kpages_find(&machine.vmm, va, &info)) {
        if (info.in_guard) {
            print("place: guard page %s %s (%lu pages at %#lx): %s\n", info.above ? "above" : "below", info.tag,
                  info.pages.v, info.base.v, info.above ? "an overrun" : "an underrun, or a stack overflow");
        } else {
            print("place: %s, %lu pages at %#lx\n", info.tag, info.pages.v, info.base.v);
        }
    } else if (va.v >= LAYOUT_IMAGE_BASE && va.v < LAYOUT_BOOT_WINDOW) {
        print("place: the kernel image\n");
    } else if (va.v >= LAYOUT_TEMP_BASE && va.v < LAYOUT_TEMP_END) {
        print("place: temporary mappings or PMM descriptors\n");
    }
}

static void print_page_fault(const struct interrupt_frame *f, vaddr_t va)
{
    const char *access = (f->error & FAULT_FETCH) != 0 ? "execute" : (f->error & FAULT_WRITE) != 0 ? "write" : "read";
    const char *why = (f->error & FAULT_RESERVED_BIT) != 0 ? "a reserved bit is set in an entry"
                      : (f->error & FAULT_PRESENT) == 0    ? "nothing is mapped there"
                                                           : "its rights forbid it";
    print("cannot %s %#018lx: %s (%s mode)\n", access, va.v, why, (f->error & FAULT_USER) != 0 ? "user" : "kernel");
    print_place(va);
    print_walk(va);
}

/* Do the tables permit now what faulted? */
static bool is_spurious(const struct interrupt_frame *f, vaddr_t va)
{
    static uint64_t last_rip, last_va;
    struct vmm_walk walk;
    bool repeated = f->rip == last_rip && va.v == last_va; /* the same again: the tables are not the reason */
    last_rip = f->rip;
    last_va = va.v;
    if (repeated || (f->error & FAULT_RESERVED_BIT) != 0 || machine.vmm.current == NULL ||
        vmm_translate(&machine.vmm, machine.vmm.current, va, &walk) != STATUS_OK || !walk.present) {
        return false;
    }
    unsigned wanted = VMM_READ | ((f->error & FAULT_WRITE) != 0 ? VMM_WRITE : 0) |
                      ((f->error & FAULT_FETCH) != 0 ? VMM_EXECUTE : 0) |
                      ((f->error & FAULT_USER) != 0 ? VMM_USER : 0);
    bool kernel_on_user = (f->error & FAULT_USER) == 0 && (walk.rights & VMM_USER) != 0; /* SMEP, SMAP */
    return (walk.rights & wanted) == wanted && !kernel_on_user;
}

/* A double fault with a stack pointer in a guard page is a stack that overflowed. */
static void print_double_fault(const struct interrupt_frame *f)
{
    struct kpages_info info;
    vaddr_t below = vaddr(f->rsp - sizeof(uint64_t)); /* where the CPU tried to push */
    if (machine.vmm.pmm != NULL && kpages_find(&machine.vmm, below, &info) && info.in_guard) {
        print("stack overflow: rsp is in the guard page %s %s (%lu pages at %#lx)\n", info.above ? "above" : "below",
              info.tag, info.pages.v, info.base.v);
    }
}

void kernel_interrupt(struct interrupt_frame *f)
{
    vaddr_t va = vaddr(read_cr2());
    if (f->vector == EXCEPTION_PAGE_FAULT && machine.vmm.pmm != NULL) {
        machine.page_faults++;
        if (is_spurious(f, va)) {
            machine.spurious_faults++;
            return;
        }
    }
    panic_enter();
    const char *name = f->vector < EXCEPTIONS ? exception_names[f->vector] : "unexpected interrupt";
    print("\npanic: %s (vector %lu, error %#lx) at %#018lx\n", name != NULL ? name : "reserved exception", f->vector,
          f->error, f->rip);
    if (f->vector == EXCEPTION_PAGE_FAULT) {
        print_page_fault(f, va);
    } else if (f->vector == EXCEPTION_DOUBLE_FAULT) {
        print_double_fault(f);
    }
    print_registers(f);
    backtrace_from(f->rip, f->rbp);
    machine_exit(1);
}
