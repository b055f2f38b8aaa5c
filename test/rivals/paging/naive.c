/*
 * Page by page: each page's four entries are read from the top, one is stored, its translation is flushed; for another
 * space the slot is opened and closed for each page, each time with a full flush.
 */
#include "rivals/paging/rival.h"

/* The PTE's address, its tables made where `makes_tables`. => OK; ABSENT; NOMEM. */
static enum status find_leaf(const struct paging_subject *s, unsigned slot, vaddr_t va, bool makes_tables,
                             vaddr_t *leaf)
{
    for (unsigned level = PAGING_LEVELS; level > 1; level--) {
        vaddr_t at = recursive_entry(slot, va, level);
        if (pte_is_present(arch_table_load(at))) {
            continue;
        }
        pfn_t frame;
        enum status status = makes_tables ? rival_take_frame(&frame) : STATUS_ABSENT;
        if (status != STATUS_OK) {
            return status;
        }
        vaddr_t page = s->reach->show(frame);
        arch_page_zero(page);
        s->reach->hide(page);
        arch_table_store(at, pte_make(frame, RIVAL_TABLE_BITS | PTE_U));
    }
    *leaf = recursive_entry(slot, va, 1);
    return STATUS_OK;
}

/* What a page's leaf becomes. */
struct change {
    bool is_map;
    pte_t clear, set; /* new = (old & ~clear) | set */
};

static enum status edit_page(const struct paging_subject *s, unsigned space, vaddr_t va, struct change c)
{
    const bool is_own = rival_is_current(space);
    if (!is_own) {
        s->reach->open(rival_root(s, space));
    }
    vaddr_t leaf;
    enum status status = find_leaf(s, is_own ? LAYOUT_SLOT_SELF : LAYOUT_SLOT_FOREIGN, va, c.is_map, &leaf);
    if (status == STATUS_OK) {
        pte_t old = arch_table_load(leaf);
        if (pte_is_present(old) == c.is_map) {
            status = c.is_map ? STATUS_EXISTS : STATUS_ABSENT;
        } else {
            arch_table_store(leaf, (pte_t){(old.v & ~c.clear.v) | c.set.v});
        }
    }
    if (!is_own) {
        s->reach->close();
    } else if (status == STATUS_OK) {
        arch_invlpg(va);
    }
    return status;
}

static enum status map(const struct paging_subject *s, unsigned space, vaddr_t va, pfn_t first, npages_t pages,
                       unsigned rights)
{
    enum status status = STATUS_OK;
    for (uint64_t i = 0; i < pages.v && status == STATUS_OK; i++) {
        pte_t leaf = pte_make(pfn_add(first, i), PTE_P | rival_rights(rights));
        status = edit_page(s, space, vaddr_add_pages(va, i), (struct change){true, {UINT64_MAX}, leaf});
    }
    return status;
}

static enum status change_all(const struct paging_subject *s, unsigned space, vaddr_t va, npages_t pages,
                              struct change c)
{
    enum status status = STATUS_OK;
    for (uint64_t i = 0; i < pages.v && status == STATUS_OK; i++) {
        status = edit_page(s, space, vaddr_add_pages(va, i), c);
    }
    return status;
}

static enum status unmap(const struct paging_subject *s, unsigned space, vaddr_t va, npages_t pages)
{
    return change_all(s, space, va, pages, (struct change){false, {UINT64_MAX}, {0}});
}

static enum status protect(const struct paging_subject *s, unsigned space, vaddr_t va, npages_t pages, unsigned rights)
{
    return change_all(s, space, va, pages, (struct change){false, {RIVAL_RIGHTS_BITS}, {rival_rights(rights)}});
}

const struct paging_subject paging_naive = {
    .name = "naive",
    .reach = &reach_recursive,
    .start = rival_start,
    .create = rival_create,
    .destroy = rival_destroy,
    .switch_to = rival_switch_to,
    .keep_tables = rival_keep_tables,
    .map = map,
    .unmap = unmap,
    .protect = protect,
    .root = rival_root,
};
