/* Questions: the walk to one address, and all mappings of a stretch. */
#include "vmm/edit.h"
#include "vmm/large.h"
#include "vmm/peek.h"
#include "vmm/request.h"
#include "vmm/walk.h"

/*
 * Rights that a walk may have lost are lost: AND over the entries; execution is refused by any XD, which
 * bits_to_rights turns into an AND too.
 */
enum { ALL_RIGHTS = VMM_READ | VMM_WRITE | VMM_EXECUTE | VMM_USER };

/* The leaf's frame as a physical address; bits below the page size are flags there (PAT). */
static uint64_t leaf_address(pte_t leaf, unsigned level)
{
    return leaf.v & PTE_FRAME_MASK & ~(level_span_bytes(level) - 1);
}

enum status vmm_translate(struct vmm *vmm, struct space *space, vaddr_t va, struct vmm_walk *out)
{
    enum status s = request_check_space(vmm, space, "vmm_translate");
    if (s != STATUS_OK) {
        return s;
    }
    if (!vaddr_is_canonical(va) || vaddr_is_window(va)) {
        return STATUS_RANGE;
    }
    s = question_begin(vmm, space, va, "vmm_translate");
    if (s != STATUS_OK) {
        return s;
    }
    *out = (struct vmm_walk){0};
    struct cursor c;
    cursor_start(&c, CURSOR_READ, vmm, space, va, 1);
    s = cursor_next(&c) && c.is_corrupt ? STATUS_CORRUPT : STATUS_OK;
    if (c.level == 1) {
        c.entry[1] = window_load(vmm, c.window, c.at[1], 1);
    }
    question_end(vmm, space, va);
    unsigned rights = ALL_RIGHTS;
    out->level = c.level;
    for (unsigned level = PAGING_LEVELS; level >= c.level; level--) {
        out->window[level] = c.at[level];
        out->entry[level] = c.entry[level];
        rights &= bits_to_rights(c.entry[level]);
    }
    pte_t last = c.entry[c.level];
    if (s == STATUS_OK && pte_is_present(last)) {
        out->present = true;
        out->rights = rights;
        out->page_bytes = level_span_bytes(c.level);
        out->address = paddr(leaf_address(last, c.level) | (va.v & (out->page_bytes - 1)));
    }
    return s;
}

/* A borrowed table, a large page, an odd entry: what the cursor finds, with the rights on the way. */
static enum status leaf_behind(struct vmm *vmm, struct space *space, vaddr_t va, pte_t *leaf)
{
    struct cursor c;
    cursor_start(&c, CURSOR_READ, vmm, space, va, 1);
    if (!cursor_next(&c) || c.is_corrupt) {
        return STATUS_CORRUPT;
    }
    pte_t e = c.level == 1 ? window_load(vmm, c.window, c.at[1], 1) : c.entry[c.level];
    for (unsigned level = c.level; level > 1 && pte_is_present(e); level--) {
        e = large_part(e, level, table_index(va, level - 1));
    }
    unsigned rights = ALL_RIGHTS;
    for (unsigned level = PAGING_LEVELS; level > c.level; level--) {
        rights &= bits_to_rights(c.entry[level]);
    }
    if (pte_is_present(e)) {
        e.v &= (rights & VMM_WRITE) != 0 ? ~0ULL : ~PTE_W;
        e.v |= (rights & VMM_EXECUTE) != 0 ? 0 : PTE_XD;
        *leaf = e;
    }
    return STATUS_OK;
}

/* peek_leaf, where pages of the window may have to be made usable first; that of the PT is noted as such. */
static bool walk_to_leaf(struct vmm *vmm, enum window w, vaddr_t va, pte_t *leaf)
{
    uint64_t writes = PTE_W;
    for (unsigned level = PAGING_LEVELS; level > 1; level--) {
        const pte_t e = window_load(vmm, w, window_entry_user(w, va, level), level);
        if (!peek_is_table(e, 0)) {
            return e.v == 0;
        }
        writes &= e.v;
    }
    *leaf = window_load(vmm, w, window_entry_user(w, va, 1), 1);
    if (w == WINDOW_FOREIGN) {
        window_note_shown(&vmm->foreign, va);
    }
    leaf->v &= writes | ~PTE_W;
    return true;
}

/* Any way but the shortest. */
__attribute__((noinline)) static enum status find_leaf(struct vmm *vmm, struct space *space, vaddr_t va, pte_t *leaf)
{
    va = vaddr_page(va);
    enum status s = question_begin(vmm, space, va, "vmm_leaf");
    if (s != STATUS_OK) {
        return s;
    }
    *leaf = (pte_t){0};
    s = walk_to_leaf(vmm, window_for(vmm, space, va), va, leaf) ? STATUS_OK : leaf_behind(vmm, space, va, leaf);
    question_end(vmm, space, va);
    return s;
}

enum status vmm_leaf(struct vmm *vmm, struct space *space, vaddr_t va, pte_t *leaf)
{
    if (space == NULL || space->vmm != vmm) {
        return request_check_space(vmm, space, "vmm_leaf");
    }
    if (va.v - LAYOUT_USER_FIRST >= LAYOUT_USER_END - LAYOUT_USER_FIRST) {
        return STATUS_RANGE;
    }
    if (!peek_now(vmm, space, va, 0, leaf)) {
        return find_leaf(vmm, space, va, leaf);
    }
    vmm->counters.table_loads += PAGING_LEVELS;
    return STATUS_OK;
}

struct visitor {
    struct vmm *vmm;
    struct space *space;
    vaddr_t at;                 /* in the slot that is visited: for the locks */
    bool (*visit)(void *ctx, const struct vmm_mapping *mapping);
    void *ctx;
    struct vmm_mapping pending; /* pages 0: none */
    bool stopped, is_closed;
};

static void pass_on(struct visitor *v)
{
    if (v->pending.pages.v > 0 && !v->stopped) {
        question_end(v->vmm, v->space, v->at);
        visitor_begin(v->vmm);
        v->stopped = !v->visit(v->ctx, &v->pending);
        visitor_end(v->vmm);
        /* The visitor may have asked about another space: the window shows our tables again before the next load. */
        enum status s = question_begin(v->vmm, v->space, v->at, "vmm_visit");
        v->is_closed = s != STATUS_OK;
        v->stopped = v->stopped || v->is_closed;
    }
    v->pending.pages.v = 0;
}

/* One more mapping: it continues the pending one, or the pending one is complete. */
static void add(struct visitor *v, const struct vmm_mapping *m)
{
    struct vmm_mapping *p = &v->pending;
    if (p->pages.v > 0 && vaddr_add_pages(p->base, p->pages.v).v == m->base.v &&
        p->address.v + pages_to_bytes(p->pages) == m->address.v && p->page_bytes == m->page_bytes &&
        p->rights == m->rights && p->cache == m->cache && p->owned == m->owned && p->global == m->global) {
        p->pages.v += m->pages.v;
        return;
    }
    pass_on(v);
    *p = *m;
}

/* PAT index of a leaf: PWT, PCD, and PAT, which is bit 7 in a PTE and bit 12 in large leaves. */
static unsigned cache_index(pte_t leaf, unsigned level)
{
    uint64_t pat = level == 1 ? PTE_PS : (uint64_t)PAGE_BYTES;
    return ((leaf.v & PTE_PWT) != 0 ? 1U : 0U) | ((leaf.v & PTE_PCD) != 0 ? 2U : 0U) | ((leaf.v & pat) != 0 ? 4U : 0U);
}

static void add_leaf(struct visitor *v, const struct cursor *c, pte_t leaf, unsigned level, vaddr_t va, uint64_t pages)
{
    unsigned rights = ALL_RIGHTS & bits_to_rights(leaf);
    for (unsigned above = level + 1; above <= PAGING_LEVELS; above++) {
        rights &= bits_to_rights(c->entry[above]);
    }
    struct vmm_mapping m = {
        .base = va,
        .address = paddr(leaf_address(leaf, level) | (va.v & (level_span_bytes(level) - 1))),
        .pages = npages(pages),
        .page_bytes = level_span_bytes(level),
        .rights = rights,
        .cache = cache_index(leaf, level),
        .owned = (leaf.v & PTE_OWNED) != 0,
        .global = (leaf.v & PTE_G) != 0,
    };
    add(v, &m);
}

static void visit_leaves(struct cursor *c, struct visitor *v)
{
    vaddr_t entry = cursor_leaves(c);
    for (uint64_t i = 0; i < c->pages && !v->stopped; i++) {
        pte_t e = window_load(c->vmm, c->window, entry_at(entry, i), 1);
        if (pte_is_present(e)) {
            add_leaf(v, c, e, 1, vaddr_add_pages(c->va, i), 1);
        }
    }
}

/* [va, va + pages) within one PML4 slot. */
static void visit_slot(struct visitor *v, vaddr_t va, uint64_t pages)
{
    struct cursor c;
    v->at = va;
    if (question_begin(v->vmm, v->space, va, "vmm_visit") != STATUS_OK) {
        v->stopped = true;
        return;
    }
    cursor_start(&c, CURSOR_READ, v->vmm, v->space, va, pages);
    while (!v->stopped && cursor_next(&c)) {
        if (c.level == 1) {
            visit_leaves(&c, v);
        } else if (cursor_is_large(&c)) {
            add_leaf(v, &c, c.entry[c.level], c.level, c.va, c.pages);
        }
    }
    if (!v->is_closed) {
        question_end(v->vmm, v->space, va);
    }
}

void vmm_visit(struct vmm *vmm, struct space *space, vaddr_t from, vaddr_t end,
               bool (*visit)(void *ctx, const struct vmm_mapping *mapping), void *ctx)
{
    uint64_t first = vaddr_page_number(from);
    uint64_t last = vaddr_page_number(vaddr(end.v - 1)); /* end 0: the last page of all */
    if (request_check_space(vmm, space, "vmm_visit") != STATUS_OK || first > last) {
        return;
    }
    struct visitor v = {.vmm = vmm, .space = space, .visit = visit, .ctx = ctx};
    for (unsigned slot = 0; slot < TABLE_ENTRIES && !v.stopped; slot++) {
        uint64_t slot_first = vaddr_page_number(vaddr(LAYOUT_SLOT_BASE(slot)));
        uint64_t slot_last = slot_first + level_span_pages(PAGING_LEVELS) - 1;
        uint64_t begin = first > slot_first ? first : slot_first;
        uint64_t stop = last < slot_last ? last : slot_last;
        if (slot_is_window(slot) || begin > stop) {
            continue;
        }
        visit_slot(&v, vaddr_add_pages(vaddr(0), begin), stop - begin + 1);
    }
    if (v.pending.pages.v > 0 && !v.stopped) {
        visitor_begin(vmm);
        visit(ctx, &v.pending);
        visitor_end(vmm);
    }
}
