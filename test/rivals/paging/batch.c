/*
 * The batched walk: one descent a table, and the leaves of a table in one loop. It is the same for all ways to reach a
 * table, so what differs between these rivals is the way alone.
 *
 * N pages behind P1 PTs and P2 PDs: P1 + P2 + 1 loads of upper entries. The PML4, the PDPT and each PD are shown once
 * and stay shown while the walk is below them.
 */
#include "rivals/paging/rival.h"

struct walk {
    const struct reach *reach;
    pfn_t root;
    bool is_own;
    bool makes_tables;
    vaddr_t va;                      /* where it is */
    uint64_t left;                   /* pages from there on */
    vaddr_t page[PAGING_LEVELS + 1]; /* where the table of each level is shown; 0: nowhere. Not recursive ones. */
};

static vaddr_t entry(const struct walk *w, unsigned level)
{
    if (w->reach->is_recursive) {
        return recursive_entry(w->is_own ? LAYOUT_SLOT_SELF : LAYOUT_SLOT_FOREIGN, w->va, level);
    }
    return vaddr_add(w->page[level], table_index(w->va, level) * (uint64_t)ENTRY_BYTES);
}

static void leave(struct walk *w, unsigned level)
{
    if (w->page[level].v != 0) {
        w->reach->hide(w->page[level]);
        w->page[level] = vaddr(0);
    }
}

static void enter(struct walk *w, unsigned level, pfn_t table)
{
    if (!w->reach->is_recursive) {
        leave(w, level);
        w->page[level] = w->reach->show(table);
    }
}

/* A zeroed table for entry(level), shown if it is not reached by recursion; linked when it is zeroed (R19). */
static enum status make_table(struct walk *w, unsigned level)
{
    pfn_t frame;
    enum status s = rival_take_frame(&frame);
    if (s != STATUS_OK) {
        return s;
    }
    enter(w, level - 1, frame);
    vaddr_t page = w->reach->is_recursive ? w->reach->show(frame) : w->page[level - 1];
    arch_page_zero(page);
    if (w->reach->is_recursive) {
        w->reach->hide(page);
    }
    arch_table_store(entry(w, level), pte_make(frame, RIVAL_TABLE_BITS | PTE_U));
    return STATUS_OK;
}

/* Down to the PT, from the table of `level`. */
static enum status descend(struct walk *w, unsigned level)
{
    enum status s = STATUS_OK;
    for (; level > 1 && s == STATUS_OK; level--) {
        pte_t e = arch_table_load(entry(w, level));
        if (pte_is_present(e)) {
            enter(w, level - 1, pte_pfn(e));
        } else {
            s = w->makes_tables ? make_table(w, level) : STATUS_ABSENT;
        }
    }
    return s;
}

static void walk_begin(struct walk *w, const struct paging_subject *s, unsigned space, vaddr_t va, npages_t pages)
{
    *w = (struct walk){.reach = s->reach, .root = rival_root(s, space), .is_own = rival_is_current(space)};
    w->va = va;
    w->left = pages.v;
    if (w->reach->is_recursive && !w->is_own) {
        w->reach->open(w->root);
    }
    enter(w, PAGING_LEVELS, w->root);
}

static void walk_end(struct walk *w)
{
    for (unsigned level = 1; level <= PAGING_LEVELS; level++) {
        leave(w, level);
    }
    if (w->reach->is_recursive && !w->is_own) {
        w->reach->close();
    }
}

/* What happens to the leaves [first, first + n) of one PT. */
struct change {
    enum status (*leaves)(struct change *c, vaddr_t first, uint64_t n);
    pfn_t next;    /* map: the next frame */
    uint64_t bits; /* of the new leaf, or the new rights */
};

static enum status edit(struct walk *w, struct change *c)
{
    enum status s = descend(w, PAGING_LEVELS);
    while (s == STATUS_OK) {
        uint64_t room = TABLE_ENTRIES - table_index(w->va, 1), n = room < w->left ? room : w->left;
        s = c->leaves(c, entry(w, 1), n);
        vaddr_t from = w->va;
        w->va = vaddr_add_pages(w->va, n);
        w->left -= n;
        if (w->left == 0 || s != STATUS_OK) {
            break;
        }
        unsigned level = 2; /* the highest whose entry is another one now */
        while (level < PAGING_LEVELS && (from.v ^ w->va.v) >= level_span_bytes(level + 1)) {
            level++;
        }
        s = descend(w, level);
    }
    walk_end(w);
    return s;
}

/* A space that is not current has no translations left: CR3 was loaded since. */
static void flush(unsigned space, vaddr_t va, npages_t pages)
{
    if (!rival_is_current(space)) {
        return;
    }
    if (pages.v > PAGING_FLUSH_PAGES_MAX) {
        arch_root_load(arch_root());
        return;
    }
    for (uint64_t i = 0; i < pages.v; i++) {
        arch_invlpg(vaddr_add_pages(va, i));
    }
}

static enum status map_leaves(struct change *c, vaddr_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        arch_table_store(vaddr_add(first, i * ENTRY_BYTES), pte_make(pfn_add(c->next, i), c->bits));
    }
    c->next = pfn_add(c->next, n);
    return STATUS_OK;
}

enum status batch_map(const struct paging_subject *s, unsigned space, vaddr_t va, pfn_t first, npages_t pages,
                      unsigned rights)
{
    struct walk w;
    struct change c = {.leaves = map_leaves, .next = first, .bits = PTE_P | rival_rights(rights)};
    walk_begin(&w, s, space, va, pages);
    w.makes_tables = true;
    return edit(&w, &c);
}

/* The leaf is read: what it maps must be there, and its owner will want to know the frame. */
static enum status unmap_leaves(struct change *c, vaddr_t first, uint64_t n)
{
    (void)c;
    for (uint64_t i = 0; i < n; i++) {
        vaddr_t at = vaddr_add(first, i * ENTRY_BYTES);
        if (!pte_is_present(arch_table_load(at))) {
            return STATUS_ABSENT;
        }
        arch_table_store(at, (pte_t){0});
    }
    return STATUS_OK;
}

enum status batch_unmap(const struct paging_subject *s, unsigned space, vaddr_t va, npages_t pages)
{
    struct walk w;
    struct change c = {.leaves = unmap_leaves};
    walk_begin(&w, s, space, va, pages);
    enum status status = edit(&w, &c);
    flush(space, va, pages);
    return status;
}

static enum status protect_leaves(struct change *c, vaddr_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        vaddr_t at = vaddr_add(first, i * ENTRY_BYTES);
        pte_t old = arch_table_load(at);
        if (!pte_is_present(old)) {
            return STATUS_ABSENT;
        }
        arch_table_store(at, (pte_t){(old.v & ~RIVAL_RIGHTS_BITS) | c->bits});
    }
    return STATUS_OK;
}

enum status batch_protect(const struct paging_subject *s, unsigned space, vaddr_t va, npages_t pages, unsigned rights)
{
    struct walk w;
    struct change c = {.leaves = protect_leaves, .bits = rival_rights(rights)};
    walk_begin(&w, s, space, va, pages);
    enum status status = edit(&w, &c);
    flush(space, va, pages);
    return status;
}
