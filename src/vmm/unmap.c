/* Unmapping and changing rights: look, change, flush once, then free (walk.c sections 3 to 6, gather.h). */
#include "lib/report.h"
#include "vmm/gather.h"
#include "vmm/map.h"
#include "vmm/request.h"
#include "vmm/walk.h"

/*
 * A full PT has nothing to be looked for: its leaves are read by the change only. The same answer in look and change.
 */
static bool must_look(const struct cursor *c) { return cursor_count(c) < TABLE_ENTRIES; }

/* Is the part of a range behind one PT mapped throughout? => OK; ABSENT; CORRUPT. */
static enum status look_at_leaves(struct cursor *c)
{
    if (!must_look(c)) {
        return STATUS_OK;
    }
    if (c->pages == TABLE_ENTRIES) {
        return STATUS_ABSENT;
    }
    vaddr_t entry = cursor_leaves(c);
    for (uint64_t i = 0; i < c->pages; i++) {
        if (!pte_is_present(cursor_leaf(c, vaddr_add(entry, i * ENTRY_BYTES), true))) {
            return STATUS_ABSENT;
        }
    }
    if (cursor_count(c) < c->pages) {
        report(REPORT_CORRUPT, "space %u: the PT for %#lx counts %u live entries, %lu were found", c->space->id,
               c->va.v, cursor_count(c), c->pages);
        return STATUS_CORRUPT;
    }
    return STATUS_OK;
}

/* Is the range mapped throughout, with pages of 4 KiB? => OK; ABSENT; UNSUPPORTED: a large page; CORRUPT. */
static enum status look(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages)
{
    struct cursor c;
    cursor_start(&c, CURSOR_LOOK, vmm, space, va, pages.v);
    while (cursor_next(&c)) {
        if (cursor_is_corrupt(&c)) {
            return STATUS_CORRUPT;
        }
        if (cursor_is_large(&c)) {
            return STATUS_UNSUPPORTED;
        }
        enum status s = c.level > 1 ? STATUS_ABSENT : look_at_leaves(&c);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

enum status vmm_unmap(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages)
{
    enum status s = request_check(vmm, space, va, pages, "vmm_unmap");
    if (s == STATUS_OK) {
        s = look(vmm, space, va, pages);
    }
    if (s != STATUS_OK) {
        return s;
    }
    struct cursor c;
    cursor_start(&c, CURSOR_CHANGE, vmm, space, va, pages.v);
    while (cursor_next(&c)) {
        bool recorded = must_look(&c);
        vaddr_t entry = cursor_leaves(&c);
        for (uint64_t i = 0; i < c.pages; i++) {
            vaddr_t at = vaddr_add(entry, i * ENTRY_BYTES);
            pte_t old = cursor_leaf(&c, at, recorded);
            cursor_leaf_store(&c, at, (pte_t){0});
            gather_page(vmm, vaddr_add_pages(c.va, i), c.is_live);
            if ((old.v & PTE_OWNED) != 0) {
                gather_frame(vmm, pte_pfn(old));
            }
        }
        cursor_count_change(&c, -(int)c.pages);
    }
    space->pages.v -= pages.v;
    gather_flush(vmm);
    return STATUS_OK;
}

enum status vmm_protect(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, unsigned rights)
{
    enum status s = request_check(vmm, space, va, pages, "vmm_protect");
    if (s == STATUS_OK) {
        s = request_check_rights(va, rights);
    }
    if (s == STATUS_OK) {
        s = look(vmm, space, va, pages);
    }
    if (s != STATUS_OK) {
        return s;
    }
    struct cursor c;
    cursor_start(&c, CURSOR_CHANGE, vmm, space, va, pages.v);
    while (cursor_next(&c)) {
        bool recorded = must_look(&c);
        vaddr_t entry = cursor_leaves(&c);
        for (uint64_t i = 0; i < c.pages; i++) {
            vaddr_t at = vaddr_add(entry, i * ENTRY_BYTES);
            pte_t old = cursor_leaf(&c, at, recorded);
            pte_t new = {(old.v & ~RIGHTS_BITS) | rights_to_bits(rights)};
            if (new.v != old.v) {
                cursor_leaf_store(&c, at, new);
                gather_page(vmm, vaddr_add_pages(c.va, i), c.is_live);
            }
        }
    }
    gather_flush(vmm);
    return STATUS_OK;
}

/*
 * Leaves are read until the PT's count is reached, and not cleared: the PT goes as a whole. Large pages are not
 * ours: their entry stays.
 */
static void drop_leaves(struct cursor *c)
{
    unsigned live = cursor_count(c), found = 0;
    vaddr_t entry = cursor_leaves(c);
    for (uint64_t i = 0; i < c->pages && found < live; i++) {
        pte_t e = cursor_leaf(c, vaddr_add(entry, i * ENTRY_BYTES), false);
        if (pte_is_present(e)) {
            found++;
            if ((e.v & PTE_OWNED) != 0) {
                gather_frame(c->vmm, pte_pfn(e));
            }
        }
    }
    c->space->pages.v -= found;
    cursor_count_change(c, -(int)live);
}

void unmap_user_half(struct vmm *vmm, struct space *space)
{
    struct cursor c;
    vaddr_t start = vaddr(0);
    cursor_start(&c, CURSOR_READ, vmm, space, start, LAYOUT_SLOT_KERNEL * level_span_pages(PAGING_LEVELS));
    while (cursor_next(&c)) {
        if (c.level == 1) {
            drop_leaves(&c);
        }
    }
    gather_flush(vmm);
}
