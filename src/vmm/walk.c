/*
 * The walker: theory.
 *
 * 1. Words. A *stretch* is the part of a range behind one PT, or behind one entry of a higher level that ends the
 *    walk there (not present, a large page, corrupt). A *look* reads a range and decides; a *change* goes over the
 *    same range again and cannot fail.
 *
 * 2. Tables are read and written only at the addresses where they appear in a window (window.h). The cursor keeps
 *    the entry of each level on the way to the current address. Going on to the next stretch, it reads again only
 *    the levels whose index changed. So a range of N pages with P1 = ceil(N/512) PTs and P2 = ceil(N/2^18) PDs
 *    costs P1 + P2 + 1 loads of upper entries, which is what a walk through a direct map costs: the addition of
 *    physical addresses is replaced by the windows' fixed ones.
 *
 * 3. All or nothing. map, unmap and protect first look at the whole range: is it free (or mapped) throughout, how
 *    many tables are missing? Then frames are promised by the PMM, and only then something is changed, in a second
 *    descent that cannot fail.
 *
 * 4. The record. The second descent needs the entries that the first one read. It does not read them again: the
 *    look writes each entry it reads into a record (vmm_types.h), in order, and the change takes them from there in
 *    the same order. The order is the same because a change reads an entry exactly where the look did, or knows it
 *    without reading: entries of a table that was just made are 0. The record holds what ranges of up to 1 GiB
 *    need; what is beyond is read again. Between look and change nobody else edits tables (one CPU, interrupts off;
 *    with more, the space's lock). The accessed bit may be set meanwhile: writing the older value back is allowed,
 *    it is only a hint and in a non-leaf nobody uses it.
 *
 * 5. Live counts. An entry that names a PT, a PD or a user PDPT carries the number of present entries in that
 *    table, in bits that the CPU ignores (entry.h). They say without a scan
 *      - that a PT is empty (nothing to look at before a map) or full (nothing to look at before an unmap or
 *        protect): so only the two PTs at the edges of a range are ever searched for an obstacle, the others are
 *        decided by their count alone;
 *      - that a table became empty, and goes back.
 *    Counts change in the cursor and are written when it leaves the table, from the bottom up: one store a table. A
 *    table that a range makes is linked with its final count at once, which is known beforehand: no store more. No
 *    count: PML4 entries of the kernel half (their PDPTs are shared by all spaces and never freed), the window
 *    slots, and all tables of the kernel half outside of the arena, which are never freed either (kmap.c).
 *
 * 6. Order of stores (R19). A new table's frame is zeroed through a temporary mapping before the one store that
 *    links it; a present entry that replaces a non-present one needs no flush (R6), because whatever was there
 *    before was flushed when it went (gather.c). An empty table is unhooked (its parent entry becomes 0), its
 *    window page and, with it, all paging-structure caches are invalidated, then it is freed (R7, R13, R14). One
 *    INVLPG a table is enough: its own entries were all cleared before, each under a flush of its own or of this
 *    same gather.
 *
 * 7. Foreign spaces. The same cursor, other addresses. The kernel half of every space is ours, whatever space is
 *    named, so it is always edited through our own window; so is a space that is current (R18).
 *
 * 8. Corrupt tables. An upper entry with bits that this code never writes is reported with its address and value
 *    and not followed. Large pages are recognised and never descended into (R3): a PDE with PS read as a table
 *    would show the data of its frame.
 *
 * 9. When memory runs out: it runs out at the promise, where nothing has been changed. A promised frame that the
 *    PMM does not deliver is a broken PMM; there is no way back then, and the machine stops.
 *
 * 10. Rejected. Reading each level anew for each page: 4 loads a page instead of one a table. One pass with a
 *     roll-back on the first obstacle: what was linked may have been cached by then, so a refused call would cost a
 *     flush, and its frames would have been given out and taken back. Live counts in an array beside the tables:
 *     another load and store a table in another cache line, and memory. A bitmap of non-full tables: the counts
 *     answer the same. Recursion over levels: the four levels are a loop, and the state of the way is needed
 *     anyhow.
 */
#include "vmm/walk.h"

#include "arch/arch.h"
#include "vmm/frames.h"
#include "vmm/gather.h"

enum { LEAF_LEVEL = 1, LOWEST_TABLE_ENTRY = 2 }; /* PTEs map pages; entries of levels 2..4 name tables */

/* Has the table that entry[level] names a live count (section 5)? */
static bool has_count(const struct cursor *c, unsigned level) { return level < PAGING_LEVELS || !c->is_kernel; }

void cursor_start(struct cursor *c, enum cursor_mode mode, struct vmm *vmm, struct space *space, vaddr_t va,
                  uint64_t pages)
{
    *c = (struct cursor){.vmm = vmm, .space = space, .mode = mode, .va = va, .left = pages};
    /* A change finds open what its look has opened. */
    c->window = mode == CURSOR_CHANGE ? window_for(vmm, space, va) : foreign_use(vmm, space, va);
    c->is_kernel = is_kernel_half(va);
    c->is_live = c->window == WINDOW_OWN;
    if (mode == CURSOR_LOOK) {
        vmm->record.count = 0;
    }
}

/* Read an entry, or take it from the record (section 4). */
static pte_t read_recorded(struct cursor *c, vaddr_t entry)
{
    struct vmm_record *r = &c->vmm->record;
    if (c->mode == CURSOR_CHANGE && c->replayed < r->count) {
        return r->entry[c->replayed++];
    }
    pte_t e = window_load(c->vmm, c->window, entry);
    if (c->mode == CURSOR_LOOK && r->count < VMM_RECORD_ENTRIES) {
        r->entry[r->count++] = e;
    }
    return e;
}

/* Cut the stretch where the entry that ends the walk, or the PT, ends. */
static void set_stretch(struct cursor *c)
{
    uint64_t room = pages_to_span_end(c->va, c->level == LEAF_LEVEL ? LOWEST_TABLE_ENTRY : c->level);
    c->pages = room < c->left ? room : c->left;
}

/* Read the entries from `level` down to the one that names a PT, or ends the walk. */
static void descend(struct cursor *c, unsigned level)
{
    for (; level >= LOWEST_TABLE_ENTRY; level--) {
        vaddr_t at = window_entry(c->window, c->va, level);
        pte_t e = c->fresh[level] ? (pte_t){0} : read_recorded(c, at);
        c->entry[level] = e;
        c->dirty[level] = false;
        c->fresh[level - 1] = false;
        c->level = level;
        if (!pte_is_present(e)) {
            break;
        }
        if (entry_is_corrupt(e, level)) {
            report(REPORT_CORRUPT, "space %u: the level-%u entry %#lx for %#lx, at %#lx, is corrupt: not followed",
                   c->space->id, level, e.v, c->va.v, at.v);
            break;
        }
        if (entry_is_large(e, level)) {
            break;
        }
        c->level = level - 1;
    }
    set_stretch(c);
}

static void count_change(struct cursor *c, unsigned level, int delta)
{
    if (has_count(c, level)) {
        c->entry[level] = entry_with_count(c->entry[level], (unsigned)((int)entry_count(c->entry[level]) + delta));
        c->dirty[level] = true;
    }
}

static void tables_change(struct cursor *c, int delta)
{
    npages_t *count = c->is_kernel ? &c->vmm->kernel_tables : &c->space->tables;
    count->v += (uint64_t)(int64_t)delta;
}

/* The cursor leaves what entry[level] covers: write its count back, or unhook the table that became empty. */
static void leave(struct cursor *c, unsigned level)
{
    if (!c->dirty[level]) {
        return;
    }
    c->dirty[level] = false;
    vaddr_t at = window_entry(c->window, c->va, level);
    if (entry_count(c->entry[level]) > 0) {
        window_store(c->vmm, c->window, at, c->entry[level]);
        return;
    }
    window_store(c->vmm, c->window, at, (pte_t){0});
    gather_table(c->vmm, pte_pfn(c->entry[level]), vaddr_page(window_entry(c->window, c->va, level - 1)));
    tables_change(c, -1);
    if (level < PAGING_LEVELS) {
        count_change(c, level + 1, -1);
    }
}

bool cursor_next(struct cursor *c)
{
    unsigned from = PAGING_LEVELS;
    if (c->started) {
        vaddr_t next = vaddr_add_pages(c->va, c->pages);
        c->left -= c->pages;
        /* Entries of `level` differ where the addresses differ at or above the span's bit. */
        for (unsigned level = LOWEST_TABLE_ENTRY; level <= PAGING_LEVELS; level++) {
            if (c->left > 0 && (c->va.v ^ next.v) < level_span_bytes(level)) {
                break;
            }
            leave(c, level);
            from = level;
        }
        c->va = next;
    }
    c->started = true;
    if (c->left == 0) {
        return false;
    }
    descend(c, from);
    return true;
}

bool cursor_is_large(const struct cursor *c)
{
    return c->level > LEAF_LEVEL && pte_is_present(c->entry[c->level]) && entry_is_large(c->entry[c->level], c->level);
}

bool cursor_is_corrupt(const struct cursor *c)
{
    return c->level > LEAF_LEVEL && pte_is_present(c->entry[c->level]) &&
           entry_is_corrupt(c->entry[c->level], c->level);
}

vaddr_t cursor_leaves(const struct cursor *c) { return window_entry(c->window, c->va, LEAF_LEVEL); }

pte_t cursor_leaf(struct cursor *c, vaddr_t entry, bool recorded)
{
    return recorded ? read_recorded(c, entry) : window_load(c->vmm, c->window, entry);
}

void cursor_leaf_store(struct cursor *c, vaddr_t entry, pte_t value) { window_store(c->vmm, c->window, entry, value); }

unsigned cursor_count(const struct cursor *c) { return entry_count(c->entry[LOWEST_TABLE_ENTRY]); }

void cursor_count_change(struct cursor *c, int delta)
{
    if (!c->fresh[LEAF_LEVEL]) { /* linked with its final count otherwise */
        count_change(c, LOWEST_TABLE_ENTRY, delta);
    }
}

uint64_t cursor_missing_tables(const struct cursor *c)
{
    uint64_t tables = 0;
    for (unsigned level = c->level; level >= LOWEST_TABLE_ENTRY; level--) {
        tables += spans_touched(c->va, c->pages, level);
    }
    return tables;
}

void cursor_make_tables(struct cursor *c)
{
    while (c->level > LEAF_LEVEL) {
        unsigned level = c->level;
        pfn_t frame = frame_take_zeroed(c->vmm, PMM_KERNEL);
        /* What this range will put into the new table: its part of the range in entries of the level below. */
        unsigned count = (unsigned)spans_touched(c->va, c->pages, level - 1);
        pte_t e = entry_with_count(pte_make(frame, c->is_kernel ? TABLE_BITS_KERNEL : TABLE_BITS_USER), count);
        window_store(c->vmm, c->window, window_entry(c->window, c->va, level), e);
        c->entry[level] = e;
        c->fresh[level - 1] = true;
        c->vmm->counters.tables_made++;
        tables_change(c, 1);
        if (level < PAGING_LEVELS && !c->fresh[level]) {
            count_change(c, level + 1, 1);
        }
        c->level = level - 1;
        c->entry[c->level] = (pte_t){0};
        set_stretch(c);
    }
}
