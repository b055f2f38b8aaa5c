/*
 * A page passes from the current space to another one: the way of a message of one page.
 *
 * The leaf goes and is flushed, then the other space has it; in between nobody. The frame's reference goes with the
 * leaf, so that the PMM is not asked at all. Only where no table comes or goes, nor is used by others: the entries that
 * lead there tell. All else is done by an unmap and a map.
 */
#include "vmm/cow.h"
#include "vmm/gather.h"
#include "vmm/map_steps.h"
#include "vmm/pair.h"

/* A page of ours that nobody waits for: PTE_COW, cache types and marks of devices are others' to take care of. */
static bool is_plain(pte_t leaf)
{
    const uint64_t bits = PTE_P | PTE_OWNED;
    return (leaf.v & (bits | PTE_COW | PTE_DEVICE)) == bits;
}

static bool pass(struct vmm *vmm, struct space *from, struct space *to, vaddr_t va, uint64_t bits)
{
    const struct spot spot = spot_find_own(vmm, va);
    const unsigned count = entry_count(spot.entry[2]);
    if (spot.level > 1 || count < 2) {
        return false;
    }
    const pte_t leaf = table_load(vmm, spot.leaf);
    if (!is_plain(leaf) || foreign_open(vmm, to) != STATUS_OK) {
        return false;
    }
    const struct spot there = spot_find_foreign(vmm, va);
    if (there.level > 1 || pte_is_present(table_load(vmm, there.leaf))) {
        return false;
    }
    table_store(vmm, spot.leaf, (pte_t){0});
    spot_set_count(&spot, vmm, count - 1);
    gather_flush_page(vmm, va, from->cpus);
    table_store(vmm, there.leaf, pte_make(pte_pfn(leaf), bits));
    table_store(vmm, there.parent, entry_count_up(there.entry[2]));
    from->pages.v--;
    to->pages.v++;
    return true;
}

bool vmm_pass_page(struct vmm *vmm, struct space *from, struct space *to, vaddr_t va, unsigned rights)
{
    const struct pair both = {vmm, from, to};
    if (vmm->current != from || vmm->editing != NULL || to->opens != NULL || is_kernel_half(va)) {
        return false;
    }
    pair_begin_known(&both, "vmm_pass_page");
    const bool passed = pass(vmm, from, to, va, PTE_P | PTE_OWNED | rights_to_bits(rights));
    pair_end(&both);
    return passed;
}
