/*
 * A window of 512 MiB of kernel addresses: a table's frame is mapped into the window's next page, used, and unmapped.
 *
 * The window's own 256 PTs are always mapped, in its first 256 pages, so its PTEs are at fixed addresses. The other
 * pages are used in turn. `window` flushes each page when it is unmapped. `ring` does not: a page comes round again
 * only after a lap of 130,816, at whose end one CR3 load flushes all but those in use. Until then the TLB may show a
 * table that nobody uses any more: a frame that was a table may go back only after such a flush.
 */
#include "rivals/paging/rival.h"

unsigned window_next;

static vaddr_t page_at(unsigned i) { return vaddr_add_pages(vaddr(LAYOUT_SLOT_BASE(RIVAL_SLOT)), i); }

/* The PTE of a window page: PTEs of all of the window lie one behind the other in its first pages. */
static vaddr_t pte_of(vaddr_t page)
{
    uint64_t i = vaddr_page_number(page) - vaddr_page_number(page_at(0));
    return vaddr_add(page_at(0), i * ENTRY_BYTES);
}

static void link_frame(pfn_t table, unsigned index, pfn_t frame, uint64_t bits)
{
    model_phys_write64(model_machine, paddr(pfn_to_paddr(table).v + index * (uint64_t)ENTRY_BYTES),
                       pte_make(frame, bits).v);
}

static enum status take_clear(pfn_t *table)
{
    enum status s = rival_take_frame(table);
    for (unsigned i = 0; s == STATUS_OK && i < TABLE_ENTRIES; i++) {
        model_phys_write64(model_machine, paddr(pfn_to_paddr(*table).v + i * (uint64_t)ENTRY_BYTES), 0);
    }
    return s;
}

static enum status prepare(void)
{
    window_next = WINDOW_TABLES;
    pfn_t pdpt, pd, first, pt;
    enum status s = take_clear(&pdpt);
    s = s == STATUS_OK ? take_clear(&pd) : s;
    s = s == STATUS_OK ? take_clear(&first) : s;
    for (unsigned i = 0; s == STATUS_OK && i < WINDOW_TABLES; i++) {
        pt = first;
        s = i == 0 ? STATUS_OK : take_clear(&pt);
        if (s == STATUS_OK) {
            link_frame(first, i, pt, RIVAL_LEAF_BITS);
            link_frame(pd, i, pt, RIVAL_TABLE_BITS);
        }
    }
    if (s == STATUS_OK) {
        link_frame(pdpt, 0, pd, RIVAL_TABLE_BITS);
        link_frame(model_machine->boot_root, RIVAL_SLOT, pdpt, RIVAL_TABLE_BITS);
    }
    return s;
}

static vaddr_t show_next(pfn_t frame)
{
    vaddr_t page = page_at(window_next++);
    arch_table_store(pte_of(page), pte_make(frame, RIVAL_LEAF_BITS)); /* not present before, and flushed: no INVLPG */
    return page;
}

static vaddr_t show(pfn_t frame)
{
    window_next = window_next == WINDOW_PAGES ? WINDOW_TABLES : window_next;
    return show_next(frame);
}

static void hide(vaddr_t page)
{
    arch_table_store(pte_of(page), (pte_t){0});
    arch_invlpg(page);
}

static vaddr_t ring_show(pfn_t frame)
{
    if (window_next == WINDOW_PAGES) {
        window_next = WINDOW_TABLES;
        arch_root_load(arch_root());
    }
    return show_next(frame);
}

/* A page that was shown in the lap before this one has been used since the flush: the next flush would be too late. */
static void ring_hide(vaddr_t page)
{
    arch_table_store(pte_of(page), (pte_t){0});
    if (page.v >= page_at(window_next).v) {
        arch_invlpg(page);
    }
}

static const struct reach reach_window = {.prepare = prepare, .show = show, .hide = hide};
static const struct reach reach_ring = {.prepare = prepare, .show = ring_show, .hide = ring_hide};

const struct paging_subject paging_window = {RIVAL_BATCHED("window", &reach_window)};
const struct paging_subject paging_ring = {RIVAL_BATCHED("window-ring", &reach_ring)};
