/*
 * The walker: theory.
 *
 * 1. Words. A *stretch* is the part of a range behind one PT (or PD or PDPT, when large pages are to be in it: plan.h),
 *    or behind one entry above that ends the walk (not present, a large page, corrupt). A *look* reads a range and
 *    decides; a *change* goes over the same range again and cannot fail.
 *
 * 2. Tables are read and written only at the addresses where they appear in a window (window.h). The cursor keeps
 *    the entry of each level on the way to the current address. Going on to the next stretch, it reads again only
 *    the levels whose index changed. So a range of N pages with P1 = ceil(N/512) PTs and P2 = ceil(N/2^18) PDs
 *    costs P1 + P2 + 1 loads of upper entries, which is what a walk through a direct map costs: the addition of
 *    physical addresses is replaced by the windows' fixed ones.
 *
 * 3. All or nothing. map, unmap and protect first look at the whole range: is it free (or mapped) throughout, how
 *    many tables are missing? Then frames are promised by the PMM, and only then something is changed, in a second
 *    descent that cannot fail. Who is asked for memory by the PMM may edit tables: then the look is made again
 *    (edit.h).
 *
 * 4. The record. The second descent needs the entries that the first one read. It does not read them again: the
 *    look writes each entry it reads into a record (vmm_types.h), in order, and the change takes them from there in
 *    the same order. The order is the same because a change reads an entry exactly where the look did, or knows it
 *    without reading: entries of a table that was just made are 0. The record holds what ranges of up to 1 GiB
 *    need; what is beyond is read again. A range behind one PT needs no second descent: the change begins where the
 *    look stands. Between look and change nobody else edits tables (the space's lock). The accessed bit may be set
 *    meanwhile: writing the older value back is allowed, it is only a hint and in a non-leaf nobody uses it.
 *
 * 5. Live counts. An entry that names a PT, a PD or a user PDPT carries the number of present entries in that
 *    table, in bits that the CPU ignores (entry.h). They say without a scan
 *      - that a PT is empty (nothing to look at before a map) or full (nothing to look at before an unmap or
 *        protect): so only the two PTs at the edges of a range are ever searched for an obstacle, the others are
 *        decided by their count alone;
 *      - that a table became empty, and goes back: or stays, if it is a PT of a space that keeps tables;
 *      - that all that is left in a PT is being unmapped: then it goes as it is, its leaves are not stored to.
 *    Counts change in the cursor and are written when it leaves the table, from the bottom up: one store a table. A
 *    table that a range makes is linked with its final count at once, which is known beforehand: no store more. No
 *    count: PML4 entries of the kernel half (their PDPTs are shared by all spaces and never freed), the window
 *    slots, and all tables of the kernel half outside of the arena, which are never freed either (kmap.c).
 *
 * 6. Order of stores (R19). A new table's frame is zero before the one store that links it: idle time has zeroed it
 *    (pmm_pressure.h), or it is zeroed now, through a temporary mapping (2 stores and 1 INVLPG more); a present
 *    entry that replaces a non-present one needs no flush (R6), because whatever was there before was flushed when
 *    it went (gather.c). A table that goes is unhooked (its parent entry becomes 0), its window page and, with it,
 *    all paging-structure caches are invalidated, then it is freed (R7, R13, R14). One INVLPG a table is enough:
 *    each page that it mapped is in the same gather, or was flushed when it went.
 *
 * 7. Foreign spaces. The same cursor, other addresses. The kernel half of every space is ours, whatever space is
 *    named, so it is always edited through our own window; so is a space that is current (R18).
 *
 * 8. Corrupt tables. An upper entry with bits that this code never writes, or that names a frame which the PMM does
 *    not have in use, is reported with the walk to it and not followed. To ask the PMM costs more than the rest of the
 *    walk: so entries that were found to name tables are remembered (frames.h), by their value, until the table is
 *    freed here. Edits believe that; questions ask each time. Large pages are recognised and never descended into (R3):
 *    a PDE with PS read as a table would show the data of its frame.
 *
 * 9. A range behind one PT, whose upper entries are all remembered, is the most frequent and needs no cursor: a *spot*
 *    (walk.h) is four addresses and three entries in registers. Where an entry is not known, the cursor takes over with
 *    what was read. What is done for each page is a loop without a call, and decides nothing but what is the page's.
 *
 * 10. When memory runs out: it runs out at the promise, where nothing has been changed. A promised frame that the
 *    PMM does not deliver is a broken PMM; there is no way back then, and the machine stops.
 *
 * 11. Rejected. Reading each level anew for each page: 4 loads a page instead of one a table. One pass with a
 *     roll-back on the first obstacle: what was linked may have been cached by then, so a refused call would cost a
 *     flush, and its frames would have been given out and taken back. Live counts in an array beside the tables:
 *     another load and store a table in another cache line, and memory. A bitmap of non-full tables: the counts
 *     answer the same. Recursion over levels: the four levels are a loop, and the state of the way is needed
 *     anyhow. The cursor for single pages too: 870 instructions instead of 240.
 */
#include "vmm/walk.h"

#include "vmm/foreign.h"
#include "vmm/frames.h"
#include "vmm/gather.h"
#include "vmm/plan.h"
#include "vmm/share.h"

enum { LEAF_LEVEL = 1, LOWEST_TABLE_ENTRY = 2 }; /* PTEs map pages; entries of levels 2..4 name tables */

/*
 * The page of `at` is usable. `first`: nothing was used in this opening but the pages of the levels above; they all
 * differ, and the PML4's was invalidated when the window was opened.
 */
__attribute__((always_inline)) static inline void use_foreign(struct vmm *vmm, vaddr_t at, unsigned level, bool first)
{
    if (first && level < PAGING_LEVELS) {
        vaddr_t page = vaddr_page(at);
        arch_invlpg(page);
        vmm->foreign.last[level] = vmm->foreign.pages[PAGING_LEVELS - level] = page;
    } else if (!first) {
        window_use(vmm, WINDOW_FOREIGN, at, level);
    }
}

/* One entry down to the PDE. => true: a table that is known */
__attribute__((always_inline)) static inline bool step_foreign(struct spot *s, struct vmm *vmm, vaddr_t at,
                                                               unsigned level, bool first)
{
    use_foreign(vmm, at, level, first);
    s->level = level;
    s->last = s->entry[level] = arch_table_load(at);
    return is_trusted(vmm, s->entry[level], level);
}

/* `first` is a constant in each use. */
__attribute__((always_inline)) static inline struct spot find_foreign(struct vmm *vmm, vaddr_t va, bool first)
{
    struct spot s = {.leaf = window_entry(WINDOW_FOREIGN, va, LEAF_LEVEL)};
    s.parent = window_above(s.leaf);
    const vaddr_t third = window_above(s.parent), top = window_above(third);
    bool found = step_foreign(&s, vmm, top, PAGING_LEVELS, first) && step_foreign(&s, vmm, third, 3, first) &&
                 step_foreign(&s, vmm, s.parent, LOWEST_TABLE_ENTRY, first);
    vmm->counters.table_loads += PAGING_LEVELS + 1 - s.level;
    if (found) {
        s.level = LEAF_LEVEL;
        use_foreign(vmm, s.leaf, LEAF_LEVEL, first);
    }
    if (first) {
        vmm->foreign.count = PAGING_LEVELS + 1 - s.level;
        vmm->counters.invlpg += vmm->foreign.count - 1;
    }
    return s;
}

struct spot spot_find_foreign(struct vmm *vmm, vaddr_t va)
{
    bool first = vmm->foreign.count == 1 && !vmm->foreign.all_clean;
    return first ? find_foreign(vmm, va, true) : find_foreign(vmm, va, false);
}

/* Levels as a set. */
static unsigned level_bit(unsigned level) { return 1U << level; }

/* Has the table that entry[level] names a live count (section 5)? */
static bool has_count(const struct cursor *c, unsigned level) { return level < PAGING_LEVELS || !c->is_kernel; }

/* Where the entries for va are, from the PTE up. */
static void set_addresses(struct cursor *c)
{
    vaddr_t at = window_entry(c->window, c->va, LEAF_LEVEL);
    c->at[LEAF_LEVEL] = at;
    for (unsigned level = LOWEST_TABLE_ENTRY; level <= PAGING_LEVELS; level++) {
        at = window_above(at);
        c->at[level] = at;
    }
}

void cursor_start(struct cursor *c, enum cursor_mode mode, struct vmm *vmm, struct space *space, vaddr_t va,
                  uint64_t pages)
{
    c->vmm = vmm;
    c->space = space;
    c->window = window_for(vmm, space, va);
    c->mode = mode;
    c->is_kernel = is_kernel_half(va);
    c->is_single = pages <= pages_to_span_end(va, LOWEST_TABLE_ENTRY);
    c->keeps = space->keeps_tables;
    c->is_corrupt = c->is_placed = c->goes = false;
    c->cpus = c->is_kernel ? vmm->online : space->cpus;
    c->leaf = LEAF_LEVEL;
    c->plan = NULL;
    c->replayed = 0;
    c->given = PAGING_LEVELS + 1;
    c->va = c->first = va;
    c->left = c->total = pages;
    c->dirty = c->fresh = c->closed = c->lent = 0;
    if (mode == CURSOR_LOOK) {
        vmm->record.count = 0;
        vmm->record.is_full = false;
    }
}

/* Read an entry, or take it from the record (section 4). */
static pte_t read_upper(struct cursor *c, unsigned level)
{
    struct vmm_record *r = &c->vmm->record;
    if (c->mode == CURSOR_CHANGE && c->replayed < r->count) {
        return r->entry[c->replayed++];
    }
    pte_t e = window_load(c->vmm, c->window, c->at[level], level);
    if (c->mode == CURSOR_LOOK && !c->is_single && !r->is_full) {
        r->is_full = r->count == VMM_RECORD_ENTRIES;
        if (!r->is_full) {
            r->entry[r->count++] = e;
        }
    }
    return e;
}

void cursor_set_stretch(struct cursor *c)
{
    uint64_t room = pages_to_span_end(c->va, c->level == c->leaf ? c->leaf + 1 : c->level);
    uint64_t alike = c->plan != NULL && c->level == c->leaf ? plan_pages_alike(c->plan, c->va) : room;
    room = alike < room ? alike : room;
    c->pages = room < c->left ? room : c->left;
}

/*
 * entry[level] is present, and the count of the table that it is in says that none is. Of the kernel half only edits
 * know that they are in the arena, where there are counts.
 */
static bool is_in_empty_table(const struct cursor *c, unsigned level)
{
    bool counts = level < PAGING_LEVELS && has_count(c, level + 1) && !(c->is_kernel && c->mode == CURSOR_READ);
    return counts && entry_count(c->entry[level + 1]) == 0;
}

__attribute__((noinline)) bool cursor_examine(struct cursor *c, unsigned level)
{
    pte_t e = c->entry[level];
    if (entry_is_corrupt(e, level)) {
        c->is_corrupt = true;
        report_corrupt(c, level, "is corrupt");
    } else if (is_in_empty_table(c, level)) {
        c->is_corrupt = true;
        report_corrupt(c, level, "is in a table that counts none");
    } else if (!entry_is_large(e, level) && !is_table_frame(c, level)) {
        c->is_corrupt = true;
        report_corrupt(c, level, "names a frame that is no table");
    }
    return !c->is_corrupt && !entry_is_large(e, level);
}

/* Read the entries from `level` down to the one that names the leaves' table, or ends the walk. */
static void descend(struct cursor *c, unsigned level)
{
    set_addresses(c);
    c->is_corrupt = false;
    c->closed = c->closed > level ? c->closed : 0;
    c->lent = c->lent > level ? c->lent : 0;
    if (c->plan != NULL) {
        c->leaf = c->level = plan_level(c->plan, c->va);
    }
    for (; level > c->leaf; level--) {
        if (level < c->given) {
            c->entry[level] = (c->fresh & level_bit(level)) != 0 ? (pte_t){0} : read_upper(c, level);
        }
        const pte_t e = c->entry[level];
        c->fresh &= ~level_bit(level - 1);
        c->level = level;
        if (!pte_is_present(e)) {
            break;
        }
        /* A question always asks the PMM; an edit believes what was found once; a change, what its look has found. */
        bool is_known = (c->mode == CURSOR_CHANGE && !entry_is_large(e, level)) ||
                        (c->mode == CURSOR_LOOK && is_trusted(c->vmm, e, level) && !is_in_empty_table(c, level));
        if (!is_known && !cursor_examine(c, level)) {
            break;
        }
        cursor_note_sharing(c, level);
        c->level = level - 1;
    }
    c->given = PAGING_LEVELS + 1;
    cursor_set_stretch(c);
}

void cursor_change(struct cursor *c)
{
    c->mode = CURSOR_CHANGE;
    c->va = c->first;
    c->left = c->total;
    c->is_placed = false;
}

void cursor_count_at(struct cursor *c, unsigned level, int delta)
{
    if (!has_count(c, level) || entry_is_shared(c->entry[level])) {
        return;
    }
    int count = (int)entry_count(c->entry[level]) + delta;
    if (count < 0 || count > TABLE_ENTRIES) { /* it was wrong; there is no way back now, and no room for more bits */
        report_corrupt(c, level, "counts wrongly");
        count = count < 0 ? 0 : TABLE_ENTRIES;
    }
    c->entry[level] = entry_with_count(c->entry[level], (unsigned)count);
    c->dirty |= level_bit(level);
}

/* Does the table that entry[level] names stay, its live count having changed? */
static bool stays(const struct cursor *c, unsigned level)
{
    if (level == LOWEST_TABLE_ENTRY && (c->goes || c->keeps)) {
        return !c->goes;
    }
    return entry_count(c->entry[level]) > 0;
}

/* The cursor leaves what entry[level] covers: write its count back, or unhook the table. */
static void leave(struct cursor *c, unsigned level)
{
    if (stays(c, level)) {
        window_store(c->vmm, c->window, c->at[level], level, c->entry[level]);
        return;
    }
    window_store(c->vmm, c->window, c->at[level], level, (pte_t){0});
    cursor_gather_table(c, c->va, level - 1, c->entry[level]);
    c->goes = false;
    if (level < PAGING_LEVELS) {
        cursor_count_at(c, level + 1, -1);
    }
}

/* Entries of `level` differ where the addresses differ at or above the span's bit. => the highest level that does. */
static unsigned leave_until(struct cursor *c, vaddr_t next, bool is_end)
{
    unsigned level = LOWEST_TABLE_ENTRY;
    for (; level <= PAGING_LEVELS; level++) {
        if (!is_end && (c->va.v ^ next.v) < level_span_bytes(level)) {
            break;
        }
        if ((c->dirty & level_bit(level)) != 0) {
            c->dirty &= ~level_bit(level);
            leave(c, level);
        }
    }
    return level - 1;
}

bool cursor_next(struct cursor *c)
{
    if (!c->is_placed) {
        c->is_placed = true;
        if (c->mode != CURSOR_CHANGE || !c->is_single) {
            descend(c, PAGING_LEVELS);
        }
        return true;
    }
    if (c->left == c->pages) {
        if (c->dirty != 0) {
            leave_until(c, c->va, true);
        }
        return false;
    }
    vaddr_t next = vaddr_add_pages(c->va, c->pages);
    unsigned from = leave_until(c, next, false);
    c->left -= c->pages;
    c->va = next;
    descend(c, from);
    return true;
}

void cursor_count_change(struct cursor *c, int delta)
{
    if ((c->fresh & level_bit(c->leaf)) == 0) { /* linked with its final count otherwise */
        cursor_count_at(c, c->leaf + 1, delta);
    }
}

void cursor_count_large_gone(struct cursor *c) { cursor_count_at(c, c->level + 1, -1); }

void cursor_drop_table(struct cursor *c, bool owned)
{
    c->goes = true;
    c->dirty |= level_bit(LOWEST_TABLE_ENTRY);
    if (!owned) {
        c->entry[LOWEST_TABLE_ENTRY] = entry_with_count(c->entry[LOWEST_TABLE_ENTRY], 0);
    }
}

uint64_t cursor_missing_tables(const struct cursor *c)
{
    uint64_t tables = 0;
    for (unsigned level = c->level; level >= LOWEST_TABLE_ENTRY; level--) {
        uint64_t planned = c->plan != NULL ? plan_entries(c->plan, c->va, c->pages, level) : 0;
        tables += spans_touched(c->va, c->pages, level) - planned;
    }
    return tables;
}

void cursor_make_tables_to(struct cursor *c, unsigned stop)
{
    while (c->level > stop) {
        unsigned level = c->level;
        pfn_t frame = frame_take_zeroed(c->vmm, PMM_KERNEL);
        /* What this range will put into the new table: its part of the range in entries of the level below. */
        unsigned count = (unsigned)spans_touched(c->va, c->pages, level - 1);
        pte_t e = entry_with_count(pte_make(frame, c->is_kernel ? TABLE_BITS_KERNEL : TABLE_BITS_USER), count);
        window_store(c->vmm, c->window, c->at[level], level, e);
        c->entry[level] = e;
        trust(c->vmm, e, level);
        c->vmm->counters.tables_made++;
        cursor_tables_change(c, 1);
        if (level < PAGING_LEVELS && (c->fresh & level_bit(level)) == 0) {
            cursor_count_at(c, level + 1, 1);
        }
        c->fresh |= level_bit(level - 1);
        c->level = level - 1;
        cursor_set_stretch(c);
    }
}
