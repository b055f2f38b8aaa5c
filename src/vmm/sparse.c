/*
 * Unmapping and changing rights where not all of a range is mapped: vmm_unmap_present, vmm_protect_present.
 *
 * 1. An entry that is absent is a stretch of all that it covers, so a range of 128 TiB costs what there is of tables:
 *    an upper entry once, and the leaves of PTs that have some. A PT that goes whole goes as it is (gather.c), but for
 *    few leaves: these are looked for, so that they are flushed one by one and not everything.
 *
 * 2. The look decides what can be refused, and reads no leaves for that: entries that are corrupt; large pages over the
 *    ends of the range, which are cut (large.c); what is shared. The change reads the leaves, once.
 *
 * 3. Behind an entry that is closed (vmm_share.h) nothing is edited. To unmap all of what it covers, this parent goes;
 *    of what it covers only in part, nothing must be there. What others may see is not touched by either.
 */
#include "vmm/cache_types.h"
#include "vmm/edit.h"
#include "vmm/gather.h"
#include "vmm/large.h"
#include "vmm/share.h"

/* Leaves of one PT, from `entry` on, that map pages from `va` on. */
struct some_leaves {
    vaddr_t entry, va;
    uint64_t pages;
    unsigned live; /* at most so many are present */
    struct vmm_cpus cpus;
};

/* A run of leaves that changed, [first, next): they are gathered together. */
struct changed {
    uint64_t first, next, count;
};

static void gather_changed(struct vmm *vmm, const struct some_leaves *l, const struct changed *r)
{
    gather_range(vmm, vaddr_add_pages(l->va, r->first), r->next - r->first, l->cpus);
}

static inline void add_changed(struct vmm *vmm, const struct some_leaves *l, struct changed *r, uint64_t i)
{
    if (i != r->next) {
        gather_changed(vmm, l, r);
        r->first = i;
    }
    r->next = i + 1;
    r->count++;
}

/* Those that are present go, into the gather, where there is room. `clear`: their table stays. => how many they are */
static unsigned take_present(struct vmm *vmm, const struct some_leaves *l, bool clear)
{
    struct vmm_gather *g = &vmm->gather;
    struct changed r = {0, 0, 0};
    uint64_t i = 0;
    for (; i < l->pages && r.count < l->live; i++) {
        const pte_t old = arch_table_load(entry_at(l->entry, i));
        if (!pte_is_present(old)) {
            continue;
        }
        if (clear) {
            table_store(vmm, entry_at(l->entry, i), (pte_t){0});
        }
        if ((old.v & PTE_OWNED) != 0) {
            g->frames[g->frame_count++] = pte_pfn(old);
        } else if ((old.v & PTE_DEVICE) != 0) {
            device_leaves_gone(vmm, old, 1);
        }
        add_changed(vmm, l, &r, i);
    }
    gather_changed(vmm, l, &r);
    vmm->counters.table_loads += i;
    return (unsigned)r.count;
}

/* New rights for those that are present. */
static void protect_present(struct vmm *vmm, const struct some_leaves *l, uint64_t bits)
{
    struct changed r = {0, 0, 0};
    uint64_t i = 0;
    for (unsigned found = 0; i < l->pages && found < l->live; i++) {
        pte_t old = arch_table_load(entry_at(l->entry, i));
        if (!pte_is_present(old)) {
            continue;
        }
        found++;
        if (with_rights(old, bits).v == old.v) {
            continue;
        }
        while (!arch_table_replace(entry_at(l->entry, i), &old, with_rights(old, bits))) { /* marked (R19) */
        }
        add_changed(vmm, l, &r, i);
    }
    gather_changed(vmm, l, &r);
    vmm->counters.table_loads += i;
    vmm->counters.table_stores += r.count;
}

/* ---- The look ---- */

/*
 * May the parent go that the closed entry is, this stretch being all that it covers? Then the stretch is just that.
 */
static bool may_drop(struct cursor *c, bool unmaps)
{
    const uint64_t room = pages_to_span_end(c->va, c->closed);
    if (!unmaps || room != level_span_pages(c->closed) || room > c->left || entry_is_borrowed(c->entry[c->closed])) {
        return false;
    }
    c->pages = room;
    return true;
}

/* Is something mapped in the stretch? */
static bool has_leaves(struct cursor *c)
{
    bool found = cursor_is_large(c);
    for (uint64_t i = 0; c->level == 1 && i < c->pages && !found; i++) {
        found = pte_is_present(window_load(c->vmm, c->window, entry_at(c->at[1], i), 1));
    }
    return found;
}

/* => OK, *tables are to be made where large pages lie over the ends; SHARED; CORRUPT. `unmaps` is a constant. */
__attribute__((always_inline)) static inline enum status look(struct cursor *c, npages_t *tables, bool unmaps)
{
    enum status s = STATUS_OK;
    while (s == STATUS_OK && cursor_next(c)) {
        if (c->is_corrupt) {
            s = STATUS_CORRUPT;
        } else if (c->closed != 0) {
            s = may_drop(c, unmaps) || !has_leaves(c) ? STATUS_OK : STATUS_SHARED;
        } else if (cursor_is_large(c) && !cursor_is_whole(c)) {
            tables->v += large_cut_tables(c);
            s = large_look(c);
        }
    }
    return s;
}

static enum status look_to_unmap(struct cursor *c, npages_t *tables) { return look(c, tables, true); }
static enum status look_to_protect(struct cursor *c, npages_t *tables) { return look(c, tables, false); }

/* Then the cursor stands before the range, to change it; no large page lies over an end any more. */
static enum status look_at_range(struct cursor *c, struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages,
                                 const struct spot *spot, enum status (*look_at)(struct cursor *c, npages_t *tables))
{
    npages_t tables = {0};
    cursor_start(c, CURSOR_LOOK, vmm, space, va, pages.v);
    if (spot->level > 0) { /* what is read already */
        cursor_go_on(c, spot);
    }
    enum status s = look_at(c, &tables);
    if (s == STATUS_OK && tables.v > 0) {
        s = large_cut_ends(c, tables, look_at);
    }
    if (s == STATUS_OK) {
        cursor_change(c);
    }
    return s;
}

/* ---- The change ---- */

static struct some_leaves leaves_of(struct cursor *c)
{
    return (struct some_leaves){cursor_leaves(c), c->va, c->pages, cursor_count(c), c->cpus};
}

/* What is behind one PT. => how many pages went */
static unsigned unmap_leaves(struct cursor *c)
{
    struct vmm *vmm = c->vmm;
    const struct some_leaves l = leaves_of(c);
    const bool is_all = l.pages == TABLE_ENTRIES && l.live <= TABLE_ENTRIES && !c->keeps;
    if (is_all && l.live > VMM_FLUSH_PAGES_MAX) {
        gather_range(vmm, l.va, l.pages, l.cpus);
        cursor_drop_table(c, true);
        return l.live;
    }
    if (gather_room(vmm) < l.pages) { /* all that it holds is unhooked */
        gather_flush(vmm);
    }
    const unsigned found = take_present(vmm, &l, !is_all);
    if (is_all) {
        cursor_drop_table(c, false);
    } else if (found > 0) {
        cursor_count_change(c, -(int)found);
    }
    if (is_all && found != l.live) {
        report_corrupt(c, 2, "counts wrongly");
    }
    return found;
}

static void unmap_stretch(struct cursor *c)
{
    uint64_t gone = 0;
    if (c->closed != 0) {
        if (may_drop(c, true)) {
            drop_shared(c);
        }
        return; /* else nothing is there: the look has seen it */
    }
    if (c->level == 1) {
        gone = cursor_count(c) > 0 ? unmap_leaves(c) : 0;
    } else if (cursor_is_large(c)) {
        gone = c->pages;
        large_unmap(c);
    }
    c->space->pages.v -= gone;
    if (gone > 0 && c->lent != 0) {
        gather_sharers(c->vmm, c->space, c->va, c->pages, c->level > 1);
    }
}

static void protect_stretch(struct cursor *c, uint64_t bits)
{
    if (c->closed != 0 || (c->level > 1 && !cursor_is_large(c))) {
        return;
    }
    if (c->level > 1) {
        large_protect(c, bits);
    } else if (cursor_count(c) > 0) {
        const struct some_leaves l = leaves_of(c);
        protect_present(c->vmm, &l, bits);
    }
    if (c->lent != 0) {
        gather_sharers(c->vmm, c->space, c->va, c->pages, c->level > 1);
    }
}

/* ---- Behind one PT that is known: the short way (walk.c section 9) ---- */

static struct some_leaves leaves_at(struct vmm *vmm, const struct space *space, vaddr_t va, npages_t pages,
                                    const struct spot *spot)
{
    const struct vmm_cpus cpus = is_kernel_half(va) ? vmm->online : space->cpus;
    return (struct some_leaves){spot->leaf, va, pages.v, entry_count(spot->entry[2]), cpus};
}

static void unmap_at_spot(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, const struct spot *spot)
{
    const struct some_leaves l = leaves_at(vmm, space, va, pages, spot);
    const unsigned found = take_present(vmm, &l, true);
    if (found > 0) {
        spot_set_count(spot, vmm, l.live - found);
        space->pages.v -= found;
        gather_flush(vmm);
    }
}

static struct spot find_spot(struct vmm *vmm, enum window w, vaddr_t va)
{
    return w == WINDOW_OWN ? spot_find_own(vmm, va) : spot_find_foreign(vmm, va);
}

enum status vmm_unmap_present(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages)
{
    enum window w = WINDOW_OWN;
    enum status s = request_check(vmm, space, va, pages, "vmm_unmap_present");
    if (s == STATUS_OK) {
        s = edit_begin(vmm, space, va, "vmm_unmap_present", &w);
    }
    if (s != STATUS_OK) {
        return s;
    }
    struct spot spot = {.level = 0};
    if (is_one_pt(va, pages)) {
        spot = find_spot(vmm, w, va);
    }
    if (spot.level == 1 && (entry_count(spot.entry[2]) > pages.v || space->keeps_tables)) {
        unmap_at_spot(vmm, space, va, pages, &spot);
    } else {
        struct cursor c;
        s = look_at_range(&c, vmm, space, va, pages, &spot, look_to_unmap);
        w = c.window;
        while (s == STATUS_OK && cursor_next(&c)) {
            unmap_stretch(&c);
        }
        gather_flush(vmm);
    }
    edit_end(vmm, space, w);
    return s;
}

enum status vmm_protect_present(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, unsigned rights)
{
    enum window w = WINDOW_OWN;
    enum status s = request_check(vmm, space, va, pages, "vmm_protect_present");
    if (s == STATUS_OK) {
        s = request_check_rights(va, rights);
    }
    if (s == STATUS_OK) {
        s = edit_begin(vmm, space, va, "vmm_protect_present", &w);
    }
    if (s != STATUS_OK) {
        return s;
    }
    const uint64_t bits = rights_to_bits(rights);
    struct spot spot = {.level = 0};
    if (is_one_pt(va, pages)) {
        spot = find_spot(vmm, w, va);
    }
    if (spot.level == 1) {
        const struct some_leaves l = leaves_at(vmm, space, va, pages, &spot);
        protect_present(vmm, &l, bits);
    } else {
        struct cursor c;
        s = look_at_range(&c, vmm, space, va, pages, &spot, look_to_protect);
        w = c.window;
        while (s == STATUS_OK && cursor_next(&c)) {
            protect_stretch(&c, bits);
        }
    }
    gather_flush(vmm);
    edit_end(vmm, space, w);
    return s;
}
