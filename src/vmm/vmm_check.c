/*
 * The validator: VMM-I1..I10. It reads every table through a temporary mapping of its frame, one slot a level, so it
 * sees what is in memory and not what a window shows; counts, spaces' figures, the stack of temporary slots and the
 * PMM are the other views.
 */
#include "vmm/vmm_check.h"

#include "vmm/cache_types.h"
#include "vmm/frames.h"
#include "vmm/request.h"
#include "vmm/space.h"
#include "vmm/vmm_share.h"

enum { COMPLAINTS_MAX = 16 }; /* said in full; more are only counted */

struct checker {
    struct vmm *vmm;
    struct sink *out; /* may be null */
    const struct space *space;
    unsigned complaints;
    uint64_t pages, tables; /* of the space, or of the kernel arena, found so far */
    struct cache_census census;
};

/* A table to be checked. */
struct found_table {
    unsigned level;    /* of its entries */
    vaddr_t base;      /* first address behind it */
    pte_t parent;      /* the entry that names it */
    unsigned rights;   /* effective, on the way to it */
    bool is_behind;    /* a table that is shared and not edited through this way: not in the space's figures */
    bool is_again;     /* an earlier space has led to it: its leaves are not to be counted once more */
};

__attribute__((format(printf, 2, 3))) static void complain(struct checker *k, const char *format, ...)
{
    if (k->complaints++ < COMPLAINTS_MAX && k->out != NULL) {
        va_list args;
        va_start(args, format);
        sink_printf(k->out, "space %u: ", k->space->id);
        sink_vprintf(k->out, format, args);
        sink_printf(k->out, "\n");
        va_end(args);
    }
}

static bool is_arena(vaddr_t va) { return va.v >= LAYOUT_ARENA_BASE && va.v < LAYOUT_KERNEL_END; }

/* Can this table go back when it is empty? Then its parent entry carries its live count (walk.c section 5). */
static bool is_counted(const struct found_table *t)
{
    return !is_kernel_half(t->base) || (is_arena(t->base) && t->level < PAGING_LEVELS - 1);
}

/* PTs and PDs of the user half: VMM-I9 says how many references these have. */
static bool may_be_shared(const struct found_table *t)
{
    return !is_kernel_half(t->base) && t->level < PAGING_LEVELS - 1;
}

/*
 * VMM-I4 for a table's frame. Those of the kernel that never go back may also be in the image or metadata. =>
 *        false: do not follow.
 */
static bool check_table_frame(struct checker *k, const struct found_table *t)
{
    pfn_t frame = pte_pfn(t->parent);
    struct pmm_frame f = pmm_query(k->vmm->pmm, frame);
    bool ok = f.state == PMM_STATE_USED && (f.references == 1 || may_be_shared(t));
    if (!is_counted(t)) {
        ok = f.state == PMM_STATE_USED || f.state == PMM_STATE_METADATA || f.state == PMM_STATE_RESERVED;
    }
    if (!ok) {
        complain(k, "VMM-I4: the level-%u table for %#lx is in frame %#lx, which is %s with %u references", t->level,
                 t->base.v, frame.v, pmm_state_name(f.state), f.references);
    }
    return ok;
}

/* VMM-I4 for the frames of an owned leaf. Those of a block handed out whole are alike. */
static void check_frames(struct checker *k, pte_t e, vaddr_t va, unsigned level)
{
    const uint64_t frames = level_span_pages(level);
    for (uint64_t i = 0; i < frames; i++) {
        const pfn_t frame = pfn_add(pte_pfn(e), i);
        const enum pmm_state state = pmm_query(k->vmm->pmm, frame).state;
        if (state == PMM_STATE_RUN && frames - i >= PAGES_PER_2M && frame.v % PAGES_PER_2M == 0) {
            i += PAGES_PER_2M - 1;
        } else if (state == PMM_STATE_ZERO ? (e.v & PTE_COW) == 0 : state != PMM_STATE_USED && state != PMM_STATE_RUN) {
            complain(k, "VMM-I4: %#lx owns frame %#lx, which is %s, by the entry %#lx", va.v, frame.v,
                     pmm_state_name(state), e.v);
        }
    }
}

/* VMM-I8 for a leaf: in a table that several walks lead to, by the first of them. */
static void check_cache(struct checker *k, const struct found_table *t, pte_t e, vaddr_t va)
{
    const char *wrong = t->is_again ? NULL : cache_census_add(&k->census, k->vmm, e, t->level);
    if (wrong != NULL) {
        complain(k, "VMM-I8: the entry %#lx of %#lx %s", e.v, va.v, wrong);
    }
}

/* `e` without the bit that says so, of a large page. */
static void check_leaf(struct checker *k, const struct found_table *t, pte_t e, vaddr_t va)
{
    const unsigned rights = t->rights & bits_to_rights(e);
    const bool is_both = (e.v & PTE_XD) == 0 && (e.v & (PTE_W | PTE_COW_WRITE)) != 0;
    if ((rights & VMM_WRITE) != 0 && (rights & VMM_EXECUTE) != 0 && (e.v & PTE_WX) == 0) {
        complain(k, "VMM-I5: %#lx is writable and executable, entry %#lx", va.v, e.v);
    }
    if ((e.v & PTE_WX) != 0 && !is_both) {
        complain(k, "VMM-I5: the entry %#lx of %#lx says writable and executable, and is not both", e.v, va.v);
    }
    const uint64_t cow = e.v & (PTE_COW | PTE_COW_WRITE | PTE_W);
    if ((cow & PTE_COW) != 0 ? (cow & PTE_W) != 0 : (cow & PTE_COW_WRITE) != 0) {
        complain(k, "VMM-I5: the entry %#lx of %#lx is marked for copy on write, and is writable or not marked", e.v,
                 va.v);
    }
    if ((e.v & LEAF_UNUSED_MASK & ~(PTE_COW_WRITE | PTE_WX)) != 0) {
        complain(k, "VMM-I5: the entry %#lx of %#lx has bits that are no rights", e.v, va.v);
    }
    if ((e.v & PTE_OWNED) != 0) {
        check_frames(k, e, va, t->level);
    }
    if (t->level > 1 && t->is_behind) {
        complain(k, "VMM-I9: the large page %#lx of %#lx is in a table shared for copy on write", e.v, va.v);
    }
    if (!t->is_behind && (!is_kernel_half(va) || is_arena(va))) {
        k->pages += level_span_pages(t->level);
    }
}

static bool is_temp_pt(const struct found_table *t) { return t->level == 1 && t->base.v == LAYOUT_TEMP_BASE; }

/* VMM-I5 for an entry that names a table: it takes no right away, and lets user mode only into the user half (R2). */
static void check_table_rights(struct checker *k, const struct found_table *t, pte_t e, vaddr_t va)
{
    uint64_t expected = is_kernel_half(va) ? TABLE_BITS_KERNEL : TABLE_BITS_USER;
    if ((e.v & (PTE_P | PTE_W | PTE_U | PTE_XD)) != expected && !entry_is_shared(e)) {
        complain(k, "VMM-I5: the level-%u entry for %#lx is %#lx, the rights of a table are %#lx", t->level, va.v, e.v,
                 expected);
    }
}

/* VMM-I9, VMM-I10. => is what is behind it to be looked at here? What is borrowed is the lender's. */
static bool check_sharing(struct checker *k, const struct found_table *t, pte_t e, vaddr_t va)
{
    if (is_kernel_half(va) || t->level == PAGING_LEVELS) {
        return true;
    }
    const struct shared_entry s = {va, t->level, e, t->is_behind};
    const char *wrong = share_complaint(k->vmm, k->space, &s);
    if (wrong != NULL) {
        complain(k, "%s: the level-%u entry %#lx for %#lx", wrong, t->level, e.v, va.v);
    }
    return !entry_is_borrowed(e);
}

static void check_table(struct checker *k, const struct found_table *t);

static void check_entry(struct checker *k, const struct found_table *t, pte_t e, vaddr_t va)
{
    if (t->level == 1) {
        check_leaf(k, t, e, va);
        check_cache(k, t, e, va);
    } else if (entry_is_corrupt(e, t->level)) {
        complain(k, "VMM-I4: the level-%u entry for %#lx is %#lx: not followed", t->level, va.v, e.v);
    } else if (entry_is_large(e, t->level)) {
        check_leaf(k, t, (pte_t){e.v & ~PTE_PS}, va);
        check_cache(k, t, e, va);
    } else {
        check_table_rights(k, t, e, va);
        struct found_table below = {
            .level = t->level - 1,
            .base = va,
            .parent = e,
            .rights = t->rights & bits_to_rights(e),
            .is_behind = t->is_behind || entry_is_closed(e),
        };
        below.is_again = t->is_again || (below.is_behind && share_was_seen(k->vmm, k->space, e, va, t->level));
        if (!is_temp_pt(&below) && check_table_frame(k, &below) && check_sharing(k, t, e, va)) {
            check_table(k, &below); /* three levels deep at most */
        }
    }
}

static void check_table(struct checker *k, const struct found_table *t)
{
    unsigned slot = TEMP_SLOT_CHECK + t->level - 1, live = 0;
    vaddr_t page = temp_slot_set(k->vmm, slot, pte_pfn(t->parent));
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        pte_t e = table_load(k->vmm, vaddr_add(page, i * (uint64_t)ENTRY_BYTES));
        if (pte_is_present(e)) {
            live++;
            check_entry(k, t, e, vaddr_add(t->base, i * level_span_bytes(t->level)));
        }
    }
    temp_slot_clear(k->vmm, slot);
    unsigned expected = is_counted(t) ? live : 0;
    k->tables += is_counted(t) && !t->is_behind;
    bool shared = entry_is_shared(t->parent) && may_be_shared(t);
    bool may_be_empty = !is_counted(t) || t->is_behind || shared || (t->level == 1 && k->space->keeps_tables);
    if ((entry_count(t->parent) != expected && !shared) || (live == 0 && !may_be_empty)) {
        complain(k, "VMM-I1: the level-%u table for %#lx has %u present entries, its parent entry %#lx counts %u",
                 t->level, t->base.v, live, t->parent.v, entry_count(t->parent));
    }
}

static void check_below(struct checker *k, pte_t e, unsigned slot)
{
    struct found_table root = {.level = PAGING_LEVELS, .rights = VMM_READ | VMM_WRITE | VMM_EXECUTE | VMM_USER};
    check_entry(k, &root, e, vaddr(LAYOUT_SLOT_BASE(slot)));
}

/* VMM-I2: the window slots. */
static void check_windows(struct checker *k, pte_t self, pte_t foreign)
{
    const struct space *open = k->space == k->vmm->current ? k->vmm->foreign.space : NULL;
    uint64_t expected = open != NULL ? pte_make(open->root, SLOT_BITS).v : 0;
    if (k->space->opens != open) {
        complain(k, "VMM-I2: its foreign slot is said to name space %u, not space %u",
                 k->space->opens != NULL ? k->space->opens->id : 0, open != NULL ? open->id : 0);
    }
    if ((self.v & WALK_MASK) != pte_make(k->space->root, SLOT_BITS).v) {
        complain(k, "VMM-I2: the self slot holds %#lx, the PML4 is frame %#lx", self.v, k->space->root.v);
    }
    if ((foreign.v & WALK_MASK) != expected) {
        complain(k, "VMM-I2: the foreign slot holds %#lx, expected %#lx", foreign.v, expected);
    }
}

/* VMM-I3: the other slots of the kernel half. */
static void check_kernel_slot(struct checker *k, unsigned slot, pte_t e)
{
    uint64_t expected = 0;
    for (unsigned i = 0; i < VMM_KERNEL_SLOTS; i++) {
        expected = vmm_kernel_slots[i] == slot ? k->vmm->kernel_entries[i].v : expected;
    }
    if ((e.v & ~(PTE_A | PTE_D)) != expected) {
        complain(k, "VMM-I3: kernel slot %u holds %#lx, expected %#lx", slot, e.v, expected);
    }
}

/* The PML4 and, in its user half, all below. */
static void check_space(struct checker *k)
{
    const struct space *space = k->space;
    struct pmm_frame f = pmm_query(k->vmm->pmm, space->root);
    if (f.state != PMM_STATE_USED && f.state != PMM_STATE_RESERVED) {
        complain(k, "VMM-I4: the PML4 is in frame %#lx, which is %s: not followed", space->root.v,
                 pmm_state_name(f.state));
        return;
    }
    k->pages = 0;
    k->tables = 1;
    unsigned slot_of_root = TEMP_SLOT_CHECK + PAGING_LEVELS - 1;
    vaddr_t page = temp_slot_set(k->vmm, slot_of_root, space->root);
    pte_t self = {0}, foreign = {0};
    for (unsigned slot = 0; slot < TABLE_ENTRIES; slot++) {
        pte_t e = table_load(k->vmm, vaddr_add(page, slot * (uint64_t)ENTRY_BYTES));
        if (slot == LAYOUT_SLOT_SELF) {
            self = e;
        } else if (slot == LAYOUT_SLOT_FOREIGN) {
            foreign = e;
        } else if (slot >= LAYOUT_SLOT_KERNEL) {
            check_kernel_slot(k, slot, e);
        } else if (pte_is_present(e)) {
            check_below(k, e, slot);
        }
    }
    temp_slot_clear(k->vmm, slot_of_root);
    check_windows(k, self, foreign);
    const struct vmm_loan *loan = share_bad_loan(k->vmm, space);
    if (loan != NULL) {
        complain(k, "VMM-I10: a loan of %#lx, of level %u, that is none", loan->from.v, loan->level);
    }
}

/* VMM-I6. */
static void check_figures(struct checker *k, uint64_t pages, uint64_t tables, uint64_t expected_tables)
{
    if (k->space->pages.v != pages || tables != expected_tables) {
        complain(k, "VMM-I6: %lu pages in %lu tables were found, the figures say %lu in %lu", pages, tables,
                 k->space->pages.v, expected_tables);
    }
}

/* VMM-I7: what the temporary slots' PT holds, against the stack. Before any slot is used for checking. */
static void check_temp(struct checker *k)
{
    vaddr_t entry = window_entry(WINDOW_OWN, vaddr(LAYOUT_TEMP_BASE), 1);
    for (unsigned page = 0; page < TABLE_ENTRIES; page++) {
        pte_t e = table_load(k->vmm, vaddr_add(entry, page * (uint64_t)ENTRY_BYTES));
        unsigned slot = page / TEMP_SLOT_STRIDE;
        bool is_slot = page % TEMP_SLOT_STRIDE == 0;
        bool in_use = is_slot && slot >= TEMP_SLOT_STACK && slot < TEMP_SLOT_STACK + k->vmm->temp_count;
        if (pte_is_present(e) != in_use) {
            complain(k, "VMM-I7: page %u of the temporary area holds %#lx, with %u slots of the stack in use", page,
                     e.v, k->vmm->temp_count);
        }
    }
}

/* The shared kernel half, once. Pages and tables of the arena are counted on from where they stand. */
static void check_kernel_half(struct checker *k)
{
    for (unsigned i = 0; i < VMM_KERNEL_SLOTS; i++) {
        check_below(k, k->vmm->kernel_entries[i], vmm_kernel_slots[i]);
    }
}

enum status vmm_check(struct vmm *vmm, struct sink *out)
{
    struct checker k = {.vmm = vmm, .out = out, .space = &vmm->kernel};
    check_temp(&k);
    if (k.complaints > 0) {
        return STATUS_CORRUPT; /* slots that should be empty are needed to go on */
    }
    for (k.space = &vmm->kernel; k.space != NULL; k.space = k.space->next) {
        check_space(&k);
        if (k.space != &vmm->kernel) {
            check_figures(&k, k.pages, k.tables, k.space->tables.v);
            continue;
        }
        uint64_t own = k.tables;
        check_kernel_half(&k);
        check_figures(&k, k.pages, k.tables, k.space->tables.v + vmm->kernel_tables.v);
        if (own != k.space->tables.v) {
            complain(&k, "VMM-I6: %lu tables of its own were found, the figure says %lu", own, k.space->tables.v);
        }
    }
    if (k.complaints > COMPLAINTS_MAX && out != NULL) {
        sink_printf(out, "and %u complaints more\n", k.complaints - COMPLAINTS_MAX);
    }
    k.complaints += cache_census_agrees(&k.census, vmm, out) ? 0 : 1;
    k.complaints += page_pool_check(&vmm->pool, out) != STATUS_OK;
    enum status arena = arena_check(&vmm->arena, out);
    return k.complaints == 0 ? arena : STATUS_CORRUPT;
}
