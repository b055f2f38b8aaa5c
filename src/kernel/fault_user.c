/*
 * Page faults on user addresses: by user mode, or by the kernel in a copy for it (usercopy.c). The current space brings
 * the page or says why not. All other accesses of the kernel to user addresses are the kernel's errors, and all its own
 * data is mapped when it is made: nothing of it is ever brought by a fault.
 *
 * Order: the space is asked first, since nearly all faults here are its to solve. That it says "try again" about the
 * same access twice, with no table entry stored in between, means that the tables are not the reason (a reserved bit,
 * say): then the fault is a violation, and not a loop.
 */
#include "arch/layout.h"
#include "kernel/console.h"
#include "kernel/current.h"
#include "kernel/fault.h"
#include "kernel/machine.h"
#include "kernel/usercopy.h"

static struct aspace_fault last; /* what the space said when it did not bring the page */

struct aspace_fault *fault_of_user_last(void) { return &last; }

static unsigned access_of(uint64_t error)
{
    unsigned access = (error & FAULT_FETCH) != 0 ? VMM_EXECUTE : (error & FAULT_WRITE) != 0 ? VMM_WRITE : VMM_READ;
    return access | VMM_USER;
}

/* The last fault that was solved, as it was before: the same again, and nothing was stored for it. */
static struct {
    uint64_t rip, va, stores;
} solved;

static bool is_brought(const struct interrupt_frame *f, vaddr_t va)
{
    struct aspace *space = current_aspace();
    const uint64_t stores = machine.vmm.counters.table_stores;
    if (space == NULL) {
        last.why = "no space with mappings is current";
        return false;
    }
    if ((f->error & FAULT_RESERVED_BIT) != 0 ||
        (f->rip == solved.rip && va.v == solved.va && stores == solved.stores)) {
        last.why = "the page tables are not the reason";
        return false;
    }
    if (aspace_fault(space, va, access_of(f->error), &last) != STATUS_OK) {
        return false;
    }
    if (machine.tasks.running != NULL && space == &machine.tasks.running->space) {
        machine.tasks.running->faults++;
    }
    solved.rip = f->rip;
    solved.va = va.v;
    solved.stores = stores;
    return true;
}

bool fault_of_user(struct interrupt_frame *f, vaddr_t va)
{
    uint64_t go_on = interrupt_is_from_user(f) ? 0 : usercopy_fixup(f->rip);
    last = (struct aspace_fault){.why = "the kernel's addresses are not for user mode"};
    if (va.v >= LAYOUT_KERNEL_BASE || (!interrupt_is_from_user(f) && go_on == 0)) {
        return false; /* a copy's other side is the kernel's own */
    }
    if (is_brought(f, va)) {
        return true;
    }
    if (go_on != 0) {
        f->rip = go_on;
    }
    return go_on != 0;
}

void fault_print_refusal(const struct aspace *space, vaddr_t va, unsigned kind, const struct aspace_fault *fault)
{
    const char *verb = (kind & VMM_EXECUTE) != 0 ? "execute" : (kind & VMM_WRITE) != 0 ? "write" : "read";
    print("space %u cannot %s 0x%016lx: %s\n", space->tables.id, verb, va.v, fault->why);
    if (fault->pages.v == 0) {
        print("place: no range is near\n");
        return;
    }
    uint64_t end = fault->base.v + pages_to_bytes(fault->pages);
    if (fault->inside) {
        print("place: byte %lu of '%s'", va.v - fault->base.v, fault->tag);
    } else if (va.v >= end) {
        print("place: %lu bytes behind the end of '%s'", va.v - end, fault->tag);
    } else {
        print("place: %lu bytes before '%s'", fault->base.v - va.v, fault->tag);
    }
    print("%s, %lu pages at %#lx, r%s%s%s\n", fault->in_guard ? ", in its guard" : "", fault->pages.v, fault->base.v,
          (fault->rights & VMM_WRITE) != 0 ? "w" : "-", (fault->rights & VMM_EXECUTE) != 0 ? "x" : "-",
          (fault->rights & VMM_USER) != 0 ? "u" : "-");
}

void fault_print_user(const struct aspace *space, const struct user_context *context,
                      const struct aspace_fault *fault)
{
    const struct interrupt_frame *f = &context->frame;
    print("user mode: %s (vector %lu, error %#lx) at 0x%016lx\n", fault_name(f->vector), f->vector, f->error, f->rip);
    if (f->vector == EXCEPTION_PAGE_FAULT) {
        fault_print_refusal(space, context->fault, access_of(f->error), fault);
    }
    print("rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
    print("rsi %016lx  rdi %016lx  rbp %016lx  rsp %016lx\n", f->rsi, f->rdi, f->rbp, f->rsp);
}
