/*
 * A direct map: all of physical memory at one address, in pages of 1 GiB, in every space. A table is where its frame's
 * address says, whoever it belongs to; nothing is ever opened.
 */
#include "rivals/paging/rival.h"

static enum status prepare(void)
{
    pfn_t pdpt;
    enum status s = rival_take_frame(&pdpt);
    if (s != STATUS_OK) {
        return s;
    }
    const uint64_t ram = pages_to_bytes(model_machine->ram);
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        uint64_t at = i * level_span_bytes(3);
        model_phys_write64(model_machine, paddr(pfn_to_paddr(pdpt).v + i * (uint64_t)ENTRY_BYTES),
                           at < ram ? at | RIVAL_LEAF_BITS | PTE_PS : 0);
    }
    vaddr_t here = vaddr(LAYOUT_SLOT_BASE(RIVAL_SLOT));
    model_phys_write64(model_machine,
                       model_entry_at(model_machine, model_machine->boot_root, here, PAGING_LEVELS),
                       pte_make(pdpt, RIVAL_TABLE_BITS).v);
    return STATUS_OK;
}

static vaddr_t show(pfn_t frame) { return vaddr(LAYOUT_SLOT_BASE(RIVAL_SLOT) + pfn_to_paddr(frame).v); }
static void hide(vaddr_t page) { (void)page; }

static const struct reach reach_direct = {.prepare = prepare, .show = show, .hide = hide};

const struct paging_subject paging_direct = {RIVAL_BATCHED("direct-map", &reach_direct), .maps_all_memory = true};
