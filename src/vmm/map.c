/* Mapping: look, promise, link (walk.c sections 3 to 6). */
#include "vmm/map.h"

#include "lib/macros.h"
#include "vmm/cache_types.h"
#include "vmm/edit.h"
#include "vmm/large.h"
#include "vmm/map_steps.h"
#include "vmm/request.h"
#include "vmm/walk.h"

/* Pages a turn of the loops that are run for each page of a range. */
enum { UNROLL = 4 };

/* Is none of so many leaves from `entry` on, of a PT with `count` live ones, present? The entry is usable. */
static inline bool leaves_are_free(struct vmm *vmm, vaddr_t entry, unsigned count, uint64_t pages)
{
    if (count == 0 || count + pages > TABLE_ENTRIES) {
        return count == 0; /* more pages than free entries; whole PTs are decided here without a load */
    }
    if (pages == 1) {
        return !pte_is_present(table_load(vmm, entry));
    }
    pte_t any = {0};
    uint64_t i = 0;
    for (; i + UNROLL <= pages && !pte_is_present(any); i += UNROLL) {
        any.v = arch_table_load(entry_at(entry, i)).v | arch_table_load(entry_at(entry, i + 1)).v |
                arch_table_load(entry_at(entry, i + 2)).v | arch_table_load(entry_at(entry, i + 3)).v;
    }
    for (; i < pages && !pte_is_present(any); i++) {
        any = arch_table_load(entry_at(entry, i));
    }
    vmm->counters.table_loads += i;
    return !pte_is_present(any);
}

/* The same behind the cursor. How many live leaves a table has that is lent is not known: they are looked at. */
static bool stretch_is_free(struct cursor *c)
{
    if (cursor_count(c) <= TABLE_ENTRIES) {
        return leaves_are_free(c->vmm, cursor_leaves(c), cursor_count(c), c->pages);
    }
    vaddr_t entry = cursor_leaves(c);
    uint64_t i = 0;
    while (i < c->pages && !pte_is_present(table_load(c->vmm, entry_at(entry, i)))) {
        i++;
    }
    return i == c->pages;
}

/* Is the range free, and how many tables does it need? => OK; EXISTS; SHARED; CORRUPT. */
static enum status look(struct cursor *c, npages_t *tables)
{
    tables->v = 0;
    while (cursor_next(c)) {
        if (c->is_corrupt) {
            return STATUS_CORRUPT;
        }
        if (c->closed != 0) {
            return STATUS_SHARED;
        }
        if (cursor_is_large(c)) {
            return STATUS_EXISTS;
        }
        if (c->level > c->leaf) {
            tables->v += cursor_missing_tables(c);
        } else if (c->leaf > 1) {
            enum status s = large_look_free(c);
            if (s != STATUS_OK) {
                return s;
            }
        } else if (!stretch_is_free(c)) {
            return STATUS_EXISTS;
        }
    }
    return STATUS_OK;
}

enum status map_look_and_promise(struct cursor *c, npages_t frames, npages_t *promised)
{
    struct vmm *vmm = c->vmm;
    struct space *space = c->space;
    const struct page_plan *plan = c->plan;
    for (;;) {
        npages_t tables;
        enum status s = look(c, &tables);
        *promised = npages(tables.v + frames.v);
        if (s != STATUS_OK || promised->v == 0) {
            return s;
        }
        bool changed;
        s = edit_promise(vmm, space, &c->window, c->first, *promised, &changed);
        if (s != STATUS_OK || !changed) {
            return s;
        }
        s = pmm_unpromise(vmm->pmm, *promised);
        if (s != STATUS_OK) {
            return s;
        }
        cursor_start(c, CURSOR_LOOK, vmm, space, c->first, c->total);
        cursor_use_plan(c, plan);
    }
}

/* Fresh frames for the stretch. The gather is empty now, and serves as the list of them. */
static void fill_fresh(struct cursor *c, const struct fill *f)
{
    struct vmm *vmm = c->vmm;
    pfn_t *frames = vmm->gather.frames;
    (f->zeroed ? frames_take_zeroed : frames_take)(vmm, f->class, frames, npages(c->pages));
    vaddr_t entry = cursor_leaves(c);
    for (uint64_t i = 0; i < c->pages; i++) {
        arch_table_store(entry_at(entry, i), pte_make(frames[i], f->bits));
    }
    vmm->counters.table_stores += c->pages;
}

/* The leaf of the n-th frame after that of `leaf`. */
static inline pte_t next_leaf(pte_t leaf, uint64_t n) { return (pte_t){leaf.v + pages_to_bytes(npages(n))}; }

/* Leaves of `pages` frames from `first` on. */
static inline void fill_given(struct vmm *vmm, vaddr_t entry, pfn_t first, uint64_t pages, uint64_t bits)
{
    const pte_t leaf = pte_make(first, bits);
    if (pages == 1) {
        table_store(vmm, entry, leaf);
        return;
    }
    uint64_t i = 0;
    for (; i + UNROLL <= pages; i += UNROLL) {
        arch_table_store(entry_at(entry, i), next_leaf(leaf, i));
        arch_table_store(entry_at(entry, i + 1), next_leaf(leaf, i + 1));
        arch_table_store(entry_at(entry, i + 2), next_leaf(leaf, i + 2));
        arch_table_store(entry_at(entry, i + 3), next_leaf(leaf, i + 3));
    }
    for (; i < pages; i++) {
        arch_table_store(entry_at(entry, i), next_leaf(leaf, i));
    }
    vmm->counters.table_stores += pages;
}

void map_link(struct cursor *c, struct fill *f)
{
    cursor_change(c);
    while (cursor_next(c)) {
        cursor_make_tables(c);
        if (c->leaf > 1 && f->fresh) {
            large_fill_fresh(c, &f->next_run, f->bits, f->zeroed);
        } else if (c->leaf > 1) {
            large_fill(c, f->next, f->bits);
            f->next = pfn_add(f->next, c->pages);
        } else if (f->fresh) {
            fill_fresh(c, f);
        } else {
            fill_given(c->vmm, cursor_leaves(c), f->next, c->pages, f->bits);
            f->next = pfn_add(f->next, c->pages);
        }
        cursor_count_change(c, (int)(c->pages >> level_span_log2(c->leaf)));
    }
    c->space->pages.v += c->total;
}

/* Once for all calls that are not the short way, where it is inline. */
__attribute__((noinline)) static enum status begin(struct vmm *vmm, struct space *space, vaddr_t va, const char *call,
                                                   enum window *w)
{
    return edit_begin(vmm, space, va, call, w);
}

enum status map_fresh(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, unsigned rights, bool zeroed)
{
    enum window w = WINDOW_OWN;
    enum status s = begin(vmm, space, va, "vmm_map", &w);
    if (s != STATUS_OK) {
        return s;
    }
    struct cursor c;
    npages_t promised;
    cursor_start(&c, CURSOR_LOOK, vmm, space, va, pages.v);
    s = map_look_and_promise(&c, pages, &promised);
    if (s == STATUS_OK) {
        struct fill f = {
            .fresh = true,
            .zeroed = zeroed,
            .class = is_kernel_half(va) ? PMM_KERNEL : PMM_USER,
            .bits = PTE_P | PTE_OWNED | rights_to_bits(rights) | ((rights & VMM_GLOBAL) != 0 ? PTE_G : 0),
        };
        vmm->has_global = vmm->has_global || (rights & VMM_GLOBAL) != 0;
        map_link(&c, &f);
    }
    edit_end(vmm, space, c.window);
    return s;
}

static void release_all(struct vmm *vmm, pfn_t first, uint64_t frames)
{
    for (uint64_t i = 0; i < frames; i++) {
        enum status s = pmm_release(vmm->pmm, pfn_add(first, i), NULL);
        ASSERT(s == STATUS_OK); /* retained by retain_all just before */
        (void)s;
    }
}

/* One reference for each of [first, first + pages), all or none; the zero frame only for copy on write. */
static enum status retain_all(struct vmm *vmm, pfn_t first, uint64_t pages, uint64_t bits)
{
    pfn_t zero; /* everybody's: protect could make it writable */
    if ((bits & PTE_COW) == 0 && pmm_zero_frame(vmm->pmm, &zero) == STATUS_OK && zero.v - first.v < pages) {
        return STATUS_INVALID;
    }
    for (uint64_t i = 0; i < pages; i++) {
        enum status s = pmm_retain(vmm->pmm, pfn_add(first, i));
        if (s != STATUS_OK) {
            release_all(vmm, first, i);
            return s;
        }
    }
    return STATUS_OK;
}

/*
 * The frames of leaves with these bits: a reference for each of those that are owned, the cache type of the others. All
 * or none. The leaves must follow.
 */
static inline struct typed_leaves claim_frames(struct vmm *vmm, pfn_t first, uint64_t pages, uint64_t bits)
{
    if ((bits & PTE_OWNED) != 0) {
        return (struct typed_leaves){retain_all(vmm, first, pages, bits), bits};
    }
    return device_leaves_come(vmm, first, pages, bits);
}

/* Behind a PT that is there: no table, no promise, one look. */
__attribute__((always_inline)) static inline enum status map_at_spot(struct vmm *vmm, struct space *space,
                                                                     const struct spot *spot, const struct given *g)
{
    unsigned count = entry_count(spot->entry[2]);
    if (!leaves_are_free(vmm, spot->leaf, count, g->pages)) {
        return STATUS_EXISTS;
    }
    struct typed_leaves leaves = claim_frames(vmm, g->first, g->pages, g->bits);
    if (leaves.status == STATUS_OK) {
        fill_given(vmm, spot->leaf, g->first, g->pages, leaves.bits);
        spot_set_count(spot, vmm, count + (unsigned)g->pages);
        space->pages.v += g->pages;
    }
    return leaves.status;
}

__attribute__((noinline)) enum status map_range(struct vmm *vmm, struct space *space, struct given g, struct spot spot)
{
    struct cursor c;
    npages_t promised;
    cursor_start(&c, CURSOR_LOOK, vmm, space, g.va, g.pages);
    cursor_use_plan(&c, g.plan);
    if (spot.level > 0) {
        cursor_go_on(&c, &spot);
    }
    enum status s = map_look_and_promise(&c, npages(0), &promised);
    struct typed_leaves leaves = {s, g.bits};
    if (s == STATUS_OK) {
        leaves = claim_frames(vmm, g.first, g.pages, g.bits);
        s = leaves.status == STATUS_OK ? STATUS_OK : map_take_back(vmm, promised, leaves.status);
    }
    if (s == STATUS_OK) {
        struct fill f = {.next = g.first, .bits = leaves.bits};
        map_link(&c, &f);
    }
    edit_end(vmm, space, c.window);
    return s;
}

/* The window is a constant in each of the two uses. */
__attribute__((always_inline)) static inline enum status map_through(struct vmm *vmm, struct space *space,
                                                                     enum window w, struct given g)
{
    struct spot spot = w == WINDOW_OWN ? spot_find_own(vmm, g.va) : spot_find_foreign(vmm, g.va);
    if (spot.level > 1) {
        return map_range(vmm, space, g, spot);
    }
    enum status s = map_at_spot(vmm, space, &spot, &g);
    edit_end(vmm, space, w);
    return s;
}

__attribute__((noinline)) static enum status map_foreign(struct vmm *vmm, struct space *space, vaddr_t va,
                                                         pfn_t first, uint64_t pages, uint64_t bits)
{
    return map_through(vmm, space, WINDOW_FOREIGN, (struct given){va, first, pages, bits, NULL});
}

enum status map_given(struct vmm *vmm, struct space *space, enum window w, struct given g)
{
    if (!is_one_pt(g.va, npages(g.pages))) {
        return map_range(vmm, space, g, (struct spot){.level = 0});
    }
    return map_through(vmm, space, w, g);
}

enum status vmm_map(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, unsigned rights)
{
    if ((rights & MAP_FLAGS) != 0) {
        return map_fresh_flagged(vmm, space, va, pages, rights, true);
    }
    enum status s = request_check(vmm, space, va, pages, "vmm_map");
    if (s != STATUS_OK) {
        return s;
    }
    s = request_check_rights(va, rights);
    if (s != STATUS_OK) {
        return s;
    }
    pfn_t frame;
    return pages.v == 1 ? map_page(vmm, space, va, rights, &frame) : map_fresh(vmm, space, va, pages, rights, true);
}

enum status vmm_map_frames(struct vmm *vmm, struct space *space, vaddr_t va, pfn_t first, npages_t pages,
                           unsigned rights, bool own)
{
    if ((rights & MAP_NOT_PLAIN) != 0) {
        return map_frames_flagged(vmm, space, va, first, pages, rights, own);
    }
    rights &= ~(unsigned)VMM_WRITE_EXECUTE; /* it is not there: what is only done for it is left out */
    enum window w = WINDOW_OWN;
    enum status s = map_check_given(vmm, space, va, first, pages, rights);
    if (s == STATUS_OK) {
        s = edit_begin(vmm, space, va, "vmm_map_frames", &w);
    }
    if (s != STATUS_OK) {
        return s;
    }
    const struct given g = {va, first, pages.v, PTE_P | (own ? PTE_OWNED : PTE_DEVICE) | rights_to_bits(rights), NULL};
    if (!is_one_pt(va, pages)) {
        return map_range(vmm, space, g, (struct spot){.level = 0});
    }
    return w == WINDOW_OWN ? map_through(vmm, space, WINDOW_OWN, g)
                           : map_foreign(vmm, space, g.va, g.first, g.pages, g.bits);
}
