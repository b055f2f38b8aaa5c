/*
 * The tables behind the current CR3, read through the self window entry by entry, each only when those above it are
 * present. No VMM, no space, no report: this is what is left when those are broken. If the self window itself is, the
 * read faults, and the report goes on without.
 */
#include "arch/arch.h"
#include "kernel/console.h"
#include "kernel/fault.h"
#include "kernel/machine.h"
#include "vmm/window.h"


static bool is_leaf(pte_t e, unsigned level) { return level == 1 || (level < PAGING_LEVELS && (e.v & PTE_PS) != 0); }

struct fault_walk fault_walk(vaddr_t va)
{
    struct fault_walk w = {.user = true};
    for (unsigned level = PAGING_LEVELS; level >= 1; level--) {
        pte_t e = arch_table_load(window_entry(WINDOW_OWN, va, level));
        w.level = level;
        w.entry[level] = e;
        w.user = w.user && (e.v & PTE_U) != 0;
        if (!pte_is_present(e) || is_leaf(e, level)) {
            w.present = pte_is_present(e);
            break;
        }
    }
    return w;
}

bool fault_can_read(uint64_t address, uint64_t bytes)
{
    if (bytes - 1 > UINT64_MAX - address) {
        return false;
    }
    vaddr_t first = vaddr_page(vaddr(address)), last = vaddr_page(vaddr(address + bytes - 1));
    if (!vaddr_is_canonical(first) || !vaddr_is_canonical(last)) {
        return false;
    }
    return fault_walk(first).present && (first.v == last.v || fault_walk(last).present);
}

static bool has_reserved_bit(pte_t e, unsigned level)
{
    unsigned bits = machine.cpu.physical_bits; /* 0: not known yet */
    bool beyond = bits != 0 && bits < 52 && (e.v & PTE_FRAME_MASK) >> bits != 0;
    return beyond || (level == PAGING_LEVELS && (e.v & PTE_PS) != 0);
}

/* Why this entry stops the access, or null: it does not. */
static const char *stop(pte_t e, unsigned level, uint64_t error)
{
    if (!pte_is_present(e)) {
        return "stops here: not present";
    }
    if (has_reserved_bit(e, level)) {
        return "stops here: a reserved bit is set";
    }
    if ((error & FAULT_USER) != 0 && (e.v & PTE_U) == 0) {
        return "stops here: for the kernel only (U=0)";
    }
    if ((error & FAULT_WRITE) != 0 && (e.v & PTE_W) == 0) {
        return "stops here: read-only (W=0)";
    }
    if ((error & FAULT_FETCH) != 0 && (e.v & PTE_XD) != 0) {
        return "stops here: no execution (XD=1)";
    }
    return NULL;
}

bool fault_is_permitted(vaddr_t va, uint64_t error)
{
    if (!vaddr_is_canonical(va)) {
        return false;
    }
    struct fault_walk w = fault_walk(va);
    for (unsigned level = PAGING_LEVELS; level >= w.level; level--) {
        if (stop(w.entry[level], level, error) != NULL) {
            return false;
        }
    }
    return !w.user || (error & FAULT_USER) != 0; /* else SMEP or SMAP */
}

void fault_print_walk(vaddr_t va, uint64_t error)
{
    static const char *const levels[] = {"", "PTE", "PDE", "PDPTE", "PML4E"};
    static const char *const leaves[] = {"", "leaf, 4 KiB", "leaf, 2 MiB", "leaf, 1 GiB"};
    if (!vaddr_is_canonical(va)) {
        print("walk: none: 0x%016lx is not canonical\n", va.v);
        return;
    }
    struct fault_walk w = fault_walk(va);
    bool stopped = false;
    for (unsigned level = PAGING_LEVELS; level >= w.level; level--) {
        const char *why = stop(w.entry[level], level, error);
        stopped = stopped || why != NULL;
        print("walk: %-5s [%3u] = %016lx  %s\n", levels[level], table_index(va, level), w.entry[level].v,
              why != NULL ? why : is_leaf(w.entry[level], level) ? leaves[level] : "table");
    }
    if (stopped) {
        return;
    }
    bool kernel_on_user = w.user && (error & FAULT_USER) == 0;
    print("walk: %s\n", kernel_on_user && (error & FAULT_FETCH) != 0 ? "a user page: SMEP keeps the kernel from it"
                        : kernel_on_user ? "a user page: SMAP keeps the kernel from it"
                                         : "nothing stops it now: the TLB knew an older entry");
}
