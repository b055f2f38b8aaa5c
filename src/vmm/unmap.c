/* Unmapping and changing rights: look, change, flush once, then free (walk.c sections 3 to 6, gather.h). */
#include "lib/report.h"
#include "vmm/cache_types.h"
#include "vmm/edit.h"
#include "vmm/gather.h"
#include "vmm/large.h"
#include "vmm/leaves.h"
#include "vmm/map.h"
#include "vmm/request.h"
#include "vmm/share.h"
#include "vmm/walk.h"

/*
 * A full PT has nothing to be looked for: its leaves are read by the change only. The same answer in look and change.
 */
static inline bool must_look(unsigned count) { return count != TABLE_ENTRIES; }

/* Read them until one is absent; keep them in the record where there is room for all. */
static inline bool read_leaves(struct vmm *vmm, struct leaves *l)
{
    struct vmm_record *r = &vmm->record;
    r->is_full = r->is_full || l->pages > VMM_RECORD_ENTRIES - r->count;
    const uint64_t pages = l->pages;
    uint64_t i = 0;
    if (r->is_full) {
        while (i < pages && pte_is_present(arch_table_load(entry_at(l->entry, i)))) {
            i++;
        }
    } else {
        pte_t *to = &r->entry[r->count];
        while (i < pages && pte_is_present(to[i] = arch_table_load(entry_at(l->entry, i)))) {
            i++;
        }
        r->count += (unsigned)pages;
        l->recorded = to;
    }
    vmm->counters.table_loads += i < pages ? i + 1 : pages;
    return i == pages;
}

/* Are all of them mapped? => OK; ABSENT; CORRUPT. */
static inline enum status look_at_leaves(struct vmm *vmm, const struct space *space, struct leaves *l)
{
    if (!must_look(l->count)) {
        return STATUS_OK;
    }
    if ((l->pages == TABLE_ENTRIES && l->count <= TABLE_ENTRIES) || !read_leaves(vmm, l)) {
        return STATUS_ABSENT; /* more than TABLE_ENTRIES: lent, nobody counts */
    }
    if (l->count < l->pages) {
        report(REPORT_CORRUPT, "space %u: the PT whose entry %#lx shows counts %u live entries, %lu were found",
               space->id, l->entry.v, l->count, l->pages);
        return STATUS_CORRUPT;
    }
    return STATUS_OK;
}

static struct leaves leaves_of(struct cursor *c)
{
    return (struct leaves){.entry = cursor_leaves(c), .pages = c->pages, .count = cursor_count(c)};
}

/* A large page, or a part of it: how many tables does it take to cut it? => OK; SHARED. */
static enum status look_at_large(const struct cursor *c, npages_t *tables)
{
    if (cursor_is_whole(c)) {
        return STATUS_OK;
    }
    tables->v += large_cut_tables(c);
    return large_look(c);
}

/*
 * Is the range mapped throughout? *tables: to be made where large pages lie over its ends. => OK; ABSENT; SHARED;
 * CORRUPT.
 */
static enum status look(struct cursor *c, npages_t *tables)
{
    enum status s = STATUS_OK;
    while (s == STATUS_OK && cursor_next(c)) {
        if (c->is_corrupt) {
            s = STATUS_CORRUPT;
        } else if (c->closed != 0) {
            s = STATUS_SHARED;
        } else if (cursor_is_large(c)) {
            s = look_at_large(c, tables);
        } else if (c->level > 1) {
            s = STATUS_ABSENT;
        } else {
            struct leaves l = leaves_of(c);
            s = look_at_leaves(c->vmm, c->space, &l);
        }
    }
    return s;
}

/* Those of the stretch that is to be changed, with what the look has kept of them. */
static struct leaves leaves_again(struct cursor *c)
{
    struct vmm_record *r = &c->vmm->record;
    struct leaves l = leaves_of(c);
    if (must_look(l.count) && c->replayed < r->count) {
        l.recorded = &r->entry[c->replayed];
        c->replayed += (unsigned)c->pages;
    }
    return l;
}

/* One loop a kind: their tests are not made once a page. */
__attribute__((always_inline)) static inline void take_loop(struct vmm *vmm, struct leaves l, bool clear)
{
    struct vmm_gather *g = &vmm->gather;
    unsigned frames = g->frame_count;
    for (uint64_t i = 0, n = 1; i < l.pages; i += n) {
        pte_t old = leaf(&l, i);
        n = 1;
        if (clear) {
            arch_table_store(entry_at(l.entry, i), (pte_t){0});
        }
        if ((old.v & PTE_OWNED) != 0) {
            g->frames[frames++] = pte_pfn(old);
        } else if ((old.v & PTE_DEVICE) != 0) {
            n += leaves_take_run(vmm, l, i + 1, old, clear);
            device_leaves_gone(vmm, old, n);
        }
    }
    g->frame_count = frames;
    vmm->counters.table_loads += l.recorded != NULL ? 0 : l.pages;
    vmm->counters.table_stores += clear ? l.pages : 0;
}

/* `clear`: they are stored to. Their owned frames go into the gather. */
static void take_leaves(struct vmm *vmm, struct leaves l, bool clear)
{
    if (l.recorded != NULL) {
        (clear ? take_loop(vmm, l, true) : take_loop(vmm, l, false));
    } else {
        (clear ? take_loop(vmm, l, true) : take_loop(vmm, l, false));
    }
}

/* The same for one that stays in its table: the short way. */
static inline void take_one(struct vmm *vmm, const struct leaves *l)
{
    struct vmm_gather *g = &vmm->gather;
    const pte_t old = leaf(l, 0);
    table_store(vmm, l->entry, (pte_t){0});
    vmm->counters.table_loads += l->recorded == NULL;
    if ((old.v & PTE_OWNED) != 0) {
        g->frames[g->frame_count++] = pte_pfn(old);
    } else if ((old.v & PTE_DEVICE) != 0) {
        device_leaves_gone(vmm, old, 1);
    }
}

/*
 * Owned frames of this stretch may go into the gather only if there is room left for those of the last, whose table may
 * stay: then its leaves alone say which they are, and these are cleared.
 */
static bool has_room(const struct cursor *c)
{
    uint64_t last = (c->left - c->pages) % TABLE_ENTRIES;
    return c->pages + last <= gather_room(c->vmm);
}

/* Unmap what is behind one PT. A PT that becomes empty goes with its leaves in it: they are not stored to. */
static void unmap_stretch(struct cursor *c)
{
    struct leaves l = leaves_again(c);
    bool goes = l.count == l.pages && !c->keeps;
    if (goes && !must_look(l.count) && !has_room(c)) {
        cursor_drop_table(c, true);
        return;
    }
    if (!has_room(c)) { /* a PT stays, though all of it is unmapped: what is unhooked so far goes first */
        gather_flush(c->vmm);
    }
    take_leaves(c->vmm, l, !goes);
    if (goes) {
        cursor_drop_table(c, false);
    } else {
        cursor_count_change(c, -(int)l.pages);
    }
}

/* What the stretch has changed: whoever borrows it may hold it. Behind a large page there are window pages too. */
static void tell_sharers(struct cursor *c)
{
    if (c->lent != 0) {
        gather_sharers(c->vmm, c->space, c->va, c->pages, c->level > 1);
    }
}

/*
 * The look at any range; then the cursor stands before it, to change it. `spot`: what is read already; may be null. No
 * large page lies over an end any more.
 */
static enum status look_at_range(struct cursor *c, struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages,
                                 const struct spot *spot)
{
    npages_t tables = {0};
    cursor_start(c, CURSOR_LOOK, vmm, space, va, pages.v);
    if (spot != NULL) {
        cursor_go_on(c, spot);
    }
    enum status s = look(c, &tables);
    if (s == STATUS_OK && tables.v > 0) {
        s = large_cut_ends(c, tables, look);
    }
    if (s == STATUS_OK) {
        cursor_change(c);
    }
    return s;
}

/* *w: the window may be another one afterwards. */
static enum status unmap_range(struct vmm *vmm, struct space *space, enum window *w, vaddr_t va, npages_t pages,
                               const struct spot *spot)
{
    struct cursor c;
    enum status s = look_at_range(&c, vmm, space, va, pages, spot);
    *w = c.window;
    if (s != STATUS_OK) {
        return s;
    }
    while (cursor_next(&c)) {
        if (c.level > 1) {
            large_unmap(&c);
        } else {
            unmap_stretch(&c);
            gather_range(vmm, c.va, c.pages, c.cpus);
        }
        tell_sharers(&c);
    }
    space->pages.v -= pages.v;
    gather_flush(vmm);
    return STATUS_OK;
}

/* The record is empty, and what is behind a spot lies in it from its beginning. */
static struct leaves leaves_at_spot(struct vmm *vmm, const struct spot *spot, npages_t pages)
{
    vmm->record.count = 0;
    vmm->record.is_full = false;
    return (struct leaves){.entry = spot->leaf, .pages = pages.v, .count = entry_count(spot->entry[2])};
}

static inline struct vmm_cpus cpus_of(const struct vmm *vmm, const struct space *space, vaddr_t va)
{
    return is_kernel_half(va) ? vmm->online : space->cpus;
}

/* Behind a PT that stays. */
static enum status unmap_at_spot(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, struct spot *spot)
{
    struct leaves l = leaves_at_spot(vmm, spot, pages);
    enum status s = look_at_leaves(vmm, space, &l);
    if (s != STATUS_OK) {
        return s;
    }
    if (l.pages == 1) {
        take_one(vmm, &l);
    } else {
        take_leaves(vmm, l, true);
    }
    spot_set_count(spot, vmm, l.count - (unsigned)pages.v);
    space->pages.v -= pages.v;
    gather_range(vmm, va, pages.v, cpus_of(vmm, space, va));
    gather_flush(vmm);
    return STATUS_OK;
}

enum status vmm_unmap(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages)
{
    enum window w = WINDOW_OWN;
    enum status s = request_check(vmm, space, va, pages, "vmm_unmap");
    if (s == STATUS_OK) {
        s = edit_begin(vmm, space, va, "vmm_unmap", &w);
    }
    if (s != STATUS_OK) {
        return s;
    }
    if (!is_one_pt(va, pages)) {
        s = unmap_range(vmm, space, &w, va, pages, NULL);
    } else {
        struct spot spot = w == WINDOW_OWN ? spot_find_own(vmm, va) : spot_find_foreign(vmm, va);
        bool stays = spot.level == 1 && (entry_count(spot.entry[2]) > pages.v || space->keeps_tables);
        s = stays ? unmap_at_spot(vmm, space, va, pages, &spot) : unmap_range(vmm, space, &w, va, pages, &spot);
    }
    edit_end(vmm, space, w);
    return s;
}

/* A walker has set accessed or dirty since the leaf was loaded, and may set the other: what it sets stays (R19). */
__attribute__((noinline)) static void replace_again(vaddr_t entry, pte_t now, uint64_t bits)
{
    while (!arch_table_replace(entry, &now, with_rights(now, bits))) {
    }
}

/* New rights for leaves from the i-th on, as long as they change. => the first that does not. */
__attribute__((always_inline)) static inline uint64_t protect_run(const struct leaves *l, uint64_t i, uint64_t bits)
{
    for (; i < l->pages; i++) {
        pte_t old = leaf(l, i), new = with_rights(old, bits);
        if (new.v == old.v) {
            return i;
        }
        if (!arch_table_replace(entry_at(l->entry, i), &old, new)) {
            replace_again(entry_at(l->entry, i), old, bits);
        }
    }
    return i;
}

/* New rights for leaves from `va` on. */
__attribute__((always_inline)) static inline void protect_loop(struct vmm *vmm, struct leaves l, vaddr_t va,
                                                               struct vmm_cpus cpus, uint64_t bits)
{
    uint64_t changed = 0;
    for (uint64_t first = 0, i; first < l.pages; first = i + 1) {
        i = protect_run(&l, first, bits);
        gather_range(vmm, vaddr_add_pages(va, first), i - first, cpus);
        changed += i - first;
    }
    vmm->counters.table_loads += l.recorded != NULL ? 0 : l.pages;
    vmm->counters.table_stores += changed;
}

static void protect_leaves(struct vmm *vmm, struct leaves l, vaddr_t va, struct vmm_cpus cpus, uint64_t bits)
{
    if (l.recorded != NULL) {
        protect_loop(vmm, l, va, cpus, bits);
    } else {
        protect_loop(vmm, l, va, cpus, bits);
    }
}

static enum status protect_range(struct vmm *vmm, struct space *space, enum window *w, vaddr_t va, npages_t pages,
                                 uint64_t bits, const struct spot *spot)
{
    struct cursor c;
    enum status s = look_at_range(&c, vmm, space, va, pages, spot);
    *w = c.window;
    if (s != STATUS_OK) {
        return s;
    }
    while (cursor_next(&c)) {
        if (c.level > 1) {
            large_protect(&c, bits);
        } else {
            protect_leaves(vmm, leaves_again(&c), c.va, c.cpus, bits);
        }
        tell_sharers(&c);
    }
    gather_flush(vmm);
    return STATUS_OK;
}

static enum status protect_at_spot(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, uint64_t bits,
                                   const struct spot *spot)
{
    struct leaves l = leaves_at_spot(vmm, spot, pages);
    enum status s = look_at_leaves(vmm, space, &l);
    if (s == STATUS_OK) {
        protect_leaves(vmm, l, va, cpus_of(vmm, space, va), bits);
        gather_flush(vmm);
    }
    return s;
}

enum status vmm_protect(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, unsigned rights)
{
    enum window w = WINDOW_OWN;
    enum status s = request_check(vmm, space, va, pages, "vmm_protect");
    if (s == STATUS_OK) {
        s = request_check_rights(va, rights);
    }
    if (s == STATUS_OK) {
        s = edit_begin(vmm, space, va, "vmm_protect", &w);
    }
    if (s != STATUS_OK) {
        return s;
    }
    const uint64_t bits = rights_to_bits(rights);
    if (!is_one_pt(va, pages)) {
        s = protect_range(vmm, space, &w, va, pages, bits, NULL);
    } else {
        struct spot spot = w == WINDOW_OWN ? spot_find_own(vmm, va) : spot_find_foreign(vmm, va);
        s = spot.level == 1 ? protect_at_spot(vmm, space, va, pages, bits, &spot)
                            : protect_range(vmm, space, &w, va, pages, bits, &spot);
    }
    edit_end(vmm, space, w);
    return s;
}
