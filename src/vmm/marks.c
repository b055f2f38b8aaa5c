/*
 * Accessed and dirty bits: counted, and cleared without losing one (R19).
 *
 * The CPU sets them, at any moment, in the leaf that it walks; D at the first write through a translation that was made
 * without it. Two things follow. A leaf is replaced by compare and exchange: a bit that comes after the load makes it
 * fail, is counted, and goes with the rest. And what was cleared is flushed before the call returns, on every CPU that
 * may hold the translation: with the old one in the TLB a later write would leave no mark (SDM 3A 4.10.4.2).
 *
 * A leaf without the marks that are to be cleared is not stored to, and not flushed.
 */
#include "vmm/vmm_marks.h"

#include "vmm/edit.h"
#include "vmm/gather.h"
#include "vmm/request.h"
#include "vmm/walk.h"

/* Are all leaves of the stretch, which has a PT, present? */
static bool leaves_are_present(struct cursor *c)
{
    const vaddr_t entry = cursor_leaves(c);
    uint64_t i = 0;
    while (i < c->pages && pte_is_present(arch_table_load(entry_at(entry, i)))) {
        i++;
    }
    c->vmm->counters.table_loads += i < c->pages ? i + 1 : i;
    return i == c->pages;
}

/* => OK; ABSENT; SHARED: marks are to be cleared there; CORRUPT. */
static enum status look(struct cursor *c, uint64_t clear)
{
    while (cursor_next(c)) {
        if (c->is_corrupt) {
            return STATUS_CORRUPT;
        }
        if (!cursor_is_large(c) && (c->level > 1 || !leaves_are_present(c))) {
            return STATUS_ABSENT;
        }
        if (clear != 0 && cursor_is_shared(c)) {
            return STATUS_SHARED;
        }
    }
    return STATUS_OK;
}

/* The marks of a leaf, without those in `clear` afterwards. *cleared: some were there. => as they were. */
static pte_t take_marks(struct vmm *vmm, vaddr_t entry, uint64_t clear, bool *cleared)
{
    pte_t leaf = table_load(vmm, entry);
    *cleared = false;
    while ((leaf.v & clear) != 0 && !*cleared) {
        vmm->counters.table_stores++;
        *cleared = arch_table_replace(entry, &leaf, (pte_t){leaf.v & ~clear});
    }
    return leaf;
}

/* One leaf, of so many pages of the range. */
static void count_leaf(struct cursor *c, vaddr_t entry, vaddr_t va, uint64_t pages, uint64_t clear,
                       struct vmm_marks *out)
{
    bool cleared;
    const pte_t leaf = take_marks(c->vmm, entry, clear, &cleared);
    out->accessed.v += (leaf.v & PTE_A) != 0 ? pages : 0;
    out->dirty.v += (leaf.v & PTE_D) != 0 ? pages : 0;
    if (cleared) { /* one INVLPG drops a large page too, wherever in it the address is */
        gather_range(c->vmm, va, 1, c->cpus);
    }
}

static void count_stretch(struct cursor *c, uint64_t clear, struct vmm_marks *out)
{
    if (c->level > 1) {
        window_use(c->vmm, c->window, c->at[c->level], c->level);
        count_leaf(c, c->at[c->level], c->va, c->pages, clear, out);
        return;
    }
    const vaddr_t entry = cursor_leaves(c);
    for (uint64_t i = 0; i < c->pages; i++) {
        count_leaf(c, entry_at(entry, i), vaddr_add_pages(c->va, i), 1, clear, out);
    }
}

enum status vmm_marks(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, unsigned clear,
                      struct vmm_marks *out)
{
    enum window w = WINDOW_OWN;
    enum status s = request_check(vmm, space, va, pages, "vmm_marks");
    if (s == STATUS_OK && ((clear & ~(unsigned)(VMM_ACCESSED | VMM_DIRTY)) != 0 || out == NULL)) {
        s = STATUS_INVALID;
    }
    if (s == STATUS_OK) {
        s = edit_begin(vmm, space, va, "vmm_marks", &w);
    }
    if (s != STATUS_OK) {
        return s;
    }
    const uint64_t bits = ((clear & VMM_ACCESSED) != 0 ? PTE_A : 0) | ((clear & VMM_DIRTY) != 0 ? PTE_D : 0);
    struct cursor c;
    cursor_start(&c, CURSOR_LOOK, vmm, space, va, pages.v);
    s = look(&c, bits);
    if (s == STATUS_OK) {
        struct vmm_marks marks = {{0}, {0}};
        cursor_change(&c);
        while (cursor_next(&c)) {
            count_stretch(&c, bits, &marks);
        }
        gather_flush(vmm);
        *out = marks;
    }
    edit_end(vmm, space, w);
    return s;
}
