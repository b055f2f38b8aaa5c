/* Addresses of entries in the windows, and the counted accesses to them. */
#include "vmm/window.h"

#include "arch/arch.h"

enum { INDEX_BITS = 9 }; /* of a table_index */

/* Page numbers within the 48 bits that 4 levels translate. */
#define PAGE_NUMBER_MASK ((1ULL << (INDEX_BITS * PAGING_LEVELS)) - 1)

/*
 * The first address at which tables of `level` appear. The walk goes through the self slot once for each level it
 * must skip, and through `last` (self or foreign) in the end, so the foreign space's upper tables come through OUR
 * self slot: it needs none of its own.
 *
 *   level 1   [last]                      PTs         512 GiB
 *   level 2   [self][last]                PDs         1 GiB
 *   level 3   [self][self][last]          PDPTs       2 MiB
 *   level 4   [self][self][self][last]    the PML4    4 KiB
 */
static uint64_t window_base(enum window w, unsigned level)
{
    const uint64_t self = LAYOUT_SLOT_SELF;
    const uint64_t last = w == WINDOW_OWN ? LAYOUT_SLOT_SELF : LAYOUT_SLOT_FOREIGN;
    switch (level) {
    case 1: return LAYOUT_SLOT_BASE(last);
    case 2: return LAYOUT_SLOT_BASE(self) + last * level_span_bytes(3);
    case 3: return LAYOUT_SLOT_BASE(self) + self * level_span_bytes(3) + last * level_span_bytes(2);
    default:
        return LAYOUT_SLOT_BASE(self) + self * level_span_bytes(3) + self * level_span_bytes(2) +
               last * level_span_bytes(1);
    }
}

vaddr_t window_entry(enum window w, vaddr_t va, unsigned level)
{
    uint64_t number = (vaddr_page_number(va) & PAGE_NUMBER_MASK) >> (INDEX_BITS * (level - 1));
    return vaddr(window_base(w, level) + number * ENTRY_BYTES);
}

/*
 * The first use of `page` in this opening, or a use after another page's (R8). Out of line: 511 of 512 stores never
 * come here.
 */
static void touch(struct vmm *vmm, vaddr_t page)
{
    struct vmm_foreign *f = &vmm->foreign;
    f->last = page;
    for (unsigned i = 0; i < f->count; i++) {
        if (f->pages[i].v == page.v) {
            return;
        }
    }
    if (f->count == VMM_WINDOW_PAGES_MAX) {
        window_root_reload(vmm);
        return;
    }
    window_invlpg(vmm, page);
    f->pages[f->count++] = page;
}

static void use(struct vmm *vmm, enum window w, vaddr_t entry)
{
    if (w == WINDOW_FOREIGN && !vmm->foreign.all_clean) {
        vaddr_t page = vaddr_page(entry);
        if (page.v != vmm->foreign.last.v) {
            touch(vmm, page);
        }
    }
}

pte_t window_load(struct vmm *vmm, enum window w, vaddr_t entry)
{
    use(vmm, w, entry);
    vmm->counters.table_loads++;
    return arch_table_load(entry);
}

void window_store(struct vmm *vmm, enum window w, vaddr_t entry, pte_t value)
{
    use(vmm, w, entry);
    vmm->counters.table_stores++;
    arch_table_store(entry, value);
}

void window_invlpg(struct vmm *vmm, vaddr_t va)
{
    vmm->counters.invlpg++;
    arch_invlpg(va);
}

void window_root_load(struct vmm *vmm, pfn_t root)
{
    vmm->counters.cr3_loads++;
    arch_root_load(pfn_to_paddr(root));
}

void window_root_reload(struct vmm *vmm)
{
    window_root_load(vmm, vmm->current->root);
    vmm->foreign.all_clean = vmm->foreign.space != NULL;
}
