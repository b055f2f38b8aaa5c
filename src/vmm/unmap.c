/* Unmapping and changing rights: look, change, flush once, then free (walk.c sections 3 to 6, gather.h). */
#include "lib/report.h"
#include "vmm/edit.h"
#include "vmm/gather.h"
#include "vmm/map.h"
#include "vmm/request.h"
#include "vmm/walk.h"

/* So many leaves of one PT. */
struct leaves {
    vaddr_t entry;         /* the first one's, usable */
    uint64_t pages;
    unsigned count;        /* live ones in the PT */
    const pte_t *recorded; /* what the look has read; null: nothing */
};

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
    if (l->pages == TABLE_ENTRIES || !read_leaves(vmm, l)) {
        return STATUS_ABSENT;
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

/* Is the range mapped throughout, with pages of 4 KiB? => OK; ABSENT; UNSUPPORTED: a large page; CORRUPT. */
static enum status look(struct cursor *c)
{
    while (cursor_next(c)) {
        if (c->is_corrupt) {
            return STATUS_CORRUPT;
        }
        if (cursor_is_large(c)) {
            return STATUS_UNSUPPORTED;
        }
        if (c->level > 1) {
            return STATUS_ABSENT;
        }
        struct leaves l = leaves_of(c);
        enum status s = look_at_leaves(c->vmm, c->space, &l);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
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

/* The i-th leaf, from the record or from the table. */
__attribute__((always_inline)) static inline pte_t leaf(const struct leaves *l, uint64_t i)
{
    return l->recorded != NULL ? l->recorded[i] : arch_table_load(entry_at(l->entry, i));
}

/* One loop a kind: their tests are not made once a page. */
__attribute__((always_inline)) static inline void take_loop(struct vmm *vmm, struct leaves l, bool clear)
{
    struct vmm_gather *g = &vmm->gather;
    unsigned frames = g->frame_count;
    for (uint64_t i = 0; i < l.pages; i++) {
        pte_t old = leaf(&l, i);
        if (clear) {
            arch_table_store(entry_at(l.entry, i), (pte_t){0});
        }
        if ((old.v & PTE_OWNED) != 0) {
            g->frames[frames++] = pte_pfn(old);
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

/* The look at any range; then the cursor stands before it, to change it. `spot`: what is read already; may be null. */
static enum status look_at_range(struct cursor *c, struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages,
                                 const struct spot *spot)
{
    cursor_start(c, CURSOR_LOOK, vmm, space, va, pages.v);
    if (spot != NULL) {
        cursor_go_on(c, spot);
    }
    enum status s = look(c);
    if (s == STATUS_OK) {
        cursor_change(c);
    }
    return s;
}

static enum status unmap_range(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages,
                               const struct spot *spot)
{
    struct cursor c;
    enum status s = look_at_range(&c, vmm, space, va, pages, spot);
    if (s != STATUS_OK) {
        return s;
    }
    while (cursor_next(&c)) {
        unmap_stretch(&c);
        gather_range(vmm, c.va, c.pages, c.cpus);
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
    take_leaves(vmm, l, true);
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
        s = unmap_range(vmm, space, va, pages, NULL);
    } else {
        struct spot spot = w == WINDOW_OWN ? spot_find_own(vmm, va) : spot_find_foreign(vmm, va);
        bool stays = spot.level == 1 && (entry_count(spot.entry[2]) > pages.v || space->keeps_tables);
        s = stays ? unmap_at_spot(vmm, space, va, pages, &spot) : unmap_range(vmm, space, va, pages, &spot);
    }
    edit_end(vmm, space, w);
    return s;
}

/* New rights for leaves from `va` on. */
__attribute__((always_inline)) static inline void protect_loop(struct vmm *vmm, struct leaves l, vaddr_t va,
                                                               struct vmm_cpus cpus, uint64_t bits)
{
    uint64_t changed = 0, first = 0, next = 0; /* those in [first, next) are still to be gathered */
    for (uint64_t i = 0; i < l.pages; i++) {
        pte_t old = leaf(&l, i), new = {(old.v & ~RIGHTS_BITS) | bits};
        if (new.v != old.v) {
            arch_table_store(entry_at(l.entry, i), new);
            changed++;
            if (i != next) {
                gather_range(vmm, vaddr_add_pages(va, first), next - first, cpus);
                first = i;
            }
            next = i + 1;
        }
    }
    gather_range(vmm, vaddr_add_pages(va, first), next - first, cpus);
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

static enum status protect_range(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, uint64_t bits,
                                 const struct spot *spot)
{
    struct cursor c;
    enum status s = look_at_range(&c, vmm, space, va, pages, spot);
    if (s != STATUS_OK) {
        return s;
    }
    while (cursor_next(&c)) {
        protect_leaves(vmm, leaves_again(&c), c.va, c.cpus, bits);
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
        s = protect_range(vmm, space, va, pages, bits, NULL);
    } else {
        struct spot spot = w == WINDOW_OWN ? spot_find_own(vmm, va) : spot_find_foreign(vmm, va);
        s = spot.level == 1 ? protect_at_spot(vmm, space, va, pages, bits, &spot)
                            : protect_range(vmm, space, va, pages, bits, &spot);
    }
    edit_end(vmm, space, w);
    return s;
}

/* All PTs go as they are, what they own after them. Large pages are not ours. */
void unmap_user_half(struct vmm *vmm, struct space *space)
{
    struct cursor c;
    cursor_start(&c, CURSOR_READ, vmm, space, vaddr(0), HALF_PAGES);
    while (cursor_next(&c)) {
        if (c.level == 1) {
            space->pages.v -= cursor_count(&c);
            cursor_drop_table(&c, true);
        }
    }
    gather_flush(vmm);
}

void free_empty_tables(struct vmm *vmm, struct space *space, vaddr_t va, uint64_t pages)
{
    struct cursor c;
    cursor_start(&c, CURSOR_READ, vmm, space, va, pages);
    while (cursor_next(&c)) {
        if (c.level == 1 && cursor_count(&c) == 0) {
            cursor_drop_table(&c, false);
        }
    }
    gather_flush(vmm);
}
