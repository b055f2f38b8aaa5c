/*
 * Sharing tables for copy on write (cow.c): the tables of a range get one parent more.
 *
 * The range is cut into units: a PD, where a whole 1 GiB part has one, else a PT. First all are looked at, and nothing
 * must be mapped in the other space; then tables for it are promised; then large pages are cut, since no less than all
 * of one could be copied later; then each unit gets a reference; then they are linked. Units are read BATCH at a time,
 * since each side may need the foreign window for itself.
 */
#include "vmm/cow.h"
#include "vmm/gather.h"
#include "vmm/large.h"
#include "vmm/map.h"

enum { BATCH = 40 }; /* 64 MiB wherever it begins, and some more */

struct unit {
    vaddr_t va;
    unsigned level; /* of the entry that names the table */
    bool is_open;   /* the entry is the space's own to close: nobody shared it before */
    pte_t entry;
    uint64_t pages, tables; /* behind it, that the space's figures have so far */
};

struct clone {
    struct pair pair;
    vaddr_t va;
    uint64_t pages, done; /* collected so far */
    struct unit unit[BATCH];
    unsigned count;
    bool scans;                       /* look into PDs */
    uint64_t cuts;                    /* tables that cutting the large pages met takes */
    bool is_all;                      /* the units at hand are all there are, and nothing has changed since the look */
    uint64_t made[PAGING_LEVELS + 1]; /* by level: the part for which a missing table was counted last, and one */
};

static struct space *from_of(const struct clone *k)
{
    return k->pair.a;
}
static struct space *to_of(const struct clone *k)
{
    return k->pair.b;
}

/* What is behind a PD. *pages and *tables of it are the space's own so far. => OK; SHARED */
static enum status scan_directory(struct clone *k, struct cursor *c, uint64_t *pages, uint64_t *tables)
{
    const vaddr_t first = vaddr_page(c->at[2]);
    window_use(c->vmm, c->window, first, 2);
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        pte_t e = table_load(c->vmm, entry_at(first, i));
        if (!pte_is_present(e)) {
            continue;
        }
        if (entry_is_large(e, 2)) {
            k->cuts++;
            continue;
        }
        if (entry_is_borrowed(e) || entry_is_lent(e)) {
            return STATUS_SHARED;
        }
        *pages += entry_is_closed(e) ? 0 : entry_count(e);
        *tables += !entry_is_closed(e);
    }
    return STATUS_OK;
}

/* The unit is (in) a large page that is to be cut. */
static void count_cut(struct clone *k, const struct cursor *c, unsigned level)
{
    const bool is_first = k->done == 0 || pages_to_span_end(c->va, c->level) == level_span_pages(c->level);
    k->cuts += c->level == 2 ? 1 : level == 3 ? 1 + (uint64_t)TABLE_ENTRIES : is_first ? 2 : 1;
}

/* One table of the cursor's space becomes a unit, or what will be one when large pages are cut. => OK; SHARED */
static enum status add_unit(struct clone *k, struct cursor *c, unsigned level)
{
    const bool has_table = c->level < level;
    uint64_t pages = has_table && level == 2 && c->closed == 0 ? entry_count(c->entry[2]) : 0, tables = 1;
    if (c->lent >= level || (c->closed != 0 && entry_is_borrowed(c->entry[c->closed]))) {
        return STATUS_SHARED;
    }
    enum status s = STATUS_OK;
    if (!has_table) {
        count_cut(k, c, level);
    } else if (level == 3 && k->scans) {
        s = scan_directory(k, c, &pages, &tables);
    }
    const bool is_open = c->closed == 0 || c->closed < level;
    k->unit[k->count++] =
        (struct unit){c->va, level, is_open, has_table ? c->entry[level] : (pte_t){0}, pages, tables};
    return s;
}

/* What the cursor has found. *level: of the entry that was looked at. => OK; SHARED */
static enum status look_at(struct clone *k, struct cursor *c, unsigned *level)
{
    const uint64_t whole = level_span_pages(3);
    const bool is_large = cursor_is_large(c);
    const bool is_whole = pages_to_span_end(c->va, 3) == whole && whole <= k->pages - k->done;
    *level = c->level > 1 && !is_large ? c->level : 2;
    if (is_whole && (c->level <= 2 || is_large)) {
        *level = 3;
        return add_unit(k, c, 3);
    }
    return is_large || (c->level == 1 && cursor_count(c) > 0) ? add_unit(k, c, 2) : STATUS_OK;
}

/*
 * The next units, at most BATCH. One cursor goes from PT to PT; behind a PD that is a unit it starts anew. => OK, none:
 * the end; SHARED; CORRUPT
 */
static enum status collect(struct clone *k)
{
    enum status s = STATUS_OK;
    struct cursor c;
    bool goes_on = false;
    k->count = 0;
    pair_show(&k->pair, from_of(k));
    while (s == STATUS_OK && k->done < k->pages && k->count < BATCH) {
        if (!goes_on) {
            cursor_start(&c, CURSOR_LOOK, k->pair.vmm, from_of(k), vaddr_add_pages(k->va, k->done),
                         k->pages - k->done);
        }
        (void)cursor_next(&c);
        if (c.is_corrupt) {
            return STATUS_CORRUPT;
        }
        unsigned level;
        s = look_at(k, &c, &level);
        const uint64_t rest = pages_to_span_end(c.va, level);
        goes_on = c.pages == rest;
        k->done += rest;
    }
    return s;
}

static enum status collect_from_start(struct clone *k)
{
    k->done = 0;
    return collect(k);
}

/* After the look: those at hand, if they are all; else the first ones again, and the next. => false: no more */
static bool first_batch(struct clone *k, enum status *s)
{
    *s = k->is_all ? STATUS_OK : collect_from_start(k);
    return *s == STATUS_OK && k->count > 0;
}
static bool next_batch(struct clone *k, enum status *s)
{
    *s = k->is_all ? STATUS_OK : collect(k);
    return !k->is_all && *s == STATUS_OK && k->count > 0;
}

/* Nothing may be mapped in the other space. => OK; EXISTS; SHARED; CORRUPT */
static enum status check_free(const struct clone *k)
{
    struct cursor c;
    pair_show(&k->pair, to_of(k));
    if (to_of(k)->keeps_tables) {
        free_empty_tables(k->pair.vmm, to_of(k), k->va, k->pages);
    }
    cursor_start(&c, CURSOR_LOOK, k->pair.vmm, to_of(k), k->va, k->pages);
    while (cursor_next(&c)) {
        if (c.is_corrupt) {
            return STATUS_CORRUPT;
        }
        if (c.level == 1 || cursor_is_large(&c)) {
            return STATUS_EXISTS;
        }
        if (c.closed != 0 || c.lent != 0) {
            return STATUS_SHARED;
        }
    }
    return STATUS_OK;
}

static bool is_same_part(vaddr_t a, vaddr_t b, unsigned level)
{
    return vaddr_page_number(a) >> level_span_log2(level) == vaddr_page_number(b) >> level_span_log2(level);
}

/* Tables that the batch needs in the other space and that are not counted yet. */
static uint64_t count_missing(struct clone *k)
{
    uint64_t tables = 0;
    pair_show(&k->pair, to_of(k));
    for (unsigned i = 0; i < k->count; i++) {
        const struct unit *u = &k->unit[i];
        struct cursor c;
        if (i > 0 && u->level == u[-1].level && is_same_part(u->va, u[-1].va, u->level + 1)) {
            continue; /* in the same table as the one before */
        }
        cursor_start(&c, CURSOR_LOOK, k->pair.vmm, to_of(k), u->va, 1);
        (void)cursor_next(&c);
        for (unsigned level = c.level; level > u->level; level--) {
            const uint64_t part = vaddr_page_number(u->va) >> level_span_log2(level);
            tables += k->made[level] != part + 1;
            k->made[level] = part + 1;
        }
    }
    return tables;
}

/* => OK, *tables are missing, those included that large pages are cut into; EXISTS; SHARED; CORRUPT */
static enum status look(struct clone *k, npages_t *tables)
{
    enum status s = check_free(k);
    tables->v = 0;
    for (unsigned level = 0; level <= PAGING_LEVELS; level++) {
        k->made[level] = 0;
    }
    k->scans = true;
    k->cuts = 0;
    k->is_all = false;
    bool more = s == STATUS_OK && first_batch(k, &s);
    k->is_all = more && k->done == k->pages;
    for (; more; more = next_batch(k, &s)) {
        tables->v += count_missing(k);
    }
    tables->v += k->cuts;
    return s;
}

static enum status look_and_promise(struct clone *k, npages_t *tables)
{
    for (;;) {
        enum status s = look(k, tables);
        if (s != STATUS_OK || tables->v == 0) {
            return s;
        }
        bool changed;
        s = pair_promise(&k->pair, *tables, &changed);
        if (s != STATUS_OK || !changed) {
            return s;
        }
        s = pmm_unpromise(k->pair.vmm->pmm, *tables);
        if (s != STATUS_OK) {
            return s;
        }
    }
}

/* The large pages of the range become small ones, from promised frames: of these the tables are shared. */
static void cut_large_pages(struct clone *k)
{
    pair_show(&k->pair, from_of(k));
    for (uint64_t done = 0; done < k->pages;) {
        const vaddr_t at = vaddr_add_pages(k->va, done);
        struct cursor c;
        cursor_start(&c, CURSOR_LOOK, k->pair.vmm, from_of(k), at, 1);
        (void)cursor_next(&c);
        if (cursor_is_large(&c)) {
            large_split(&c);
        } else {
            done += pages_to_span_end(at, c.level > 1 ? c.level : 2);
        }
    }
}

/*
 * One reference more for each unit, or one less for the first `n`. => OK; LIMIT, MISUSE as pmm_retain, *n had got one
 */
static enum status change_references(struct clone *k, uint64_t *n, bool retains)
{
    struct pmm *pmm = k->pair.vmm->pmm;
    uint64_t changed = 0;
    k->scans = false;
    enum status s;
    for (bool more = first_batch(k, &s); more; more = next_batch(k, &s)) {
        for (unsigned i = 0; i < k->count; i++, changed++) {
            const pfn_t table = pte_pfn(k->unit[i].entry);
            if (!retains && changed == *n) {
                return STATUS_OK;
            }
            s = retains ? pmm_retain(pmm, table) : pmm_release(pmm, table, NULL);
            if (s != STATUS_OK) {
                *n = changed;
                return s;
            }
        }
    }
    *n = changed;
    return s;
}

/* Others see what is behind the units' entries from now on. */
static void close_batch(struct clone *k)
{
    struct vmm *vmm = k->pair.vmm;
    struct space *from = from_of(k);
    bool closes = false;
    pair_show(&k->pair, from);
    for (unsigned i = 0; i < k->count; i++) {
        const struct unit *u = &k->unit[i];
        if (!u->is_open) {
            continue;
        }
        const enum window w = window_for(vmm, from, u->va);
        const pte_t closed = entry_with_count((pte_t){u->entry.v & ~PTE_W}, COUNT_SEVERAL);
        trust_no_more(vmm, u->entry);
        window_store(vmm, w, window_entry(w, u->va, u->level), u->level, closed);
        from->pages.v -= u->pages;
        from->tables.v -= u->tables;
        closes = true;
    }
    if (closes) { /* the pages behind them, and the window pages that show their tables: these have lost W too */
        gather_all(vmm, k->va, (struct vmm_cpus){from->cpus.mask | from->reached.mask});
    }
}

/* The other space names them too: a cursor to the first in a table, and the count of that when it is left. */
static void link_batch(struct clone *k)
{
    struct vmm *vmm = k->pair.vmm;
    struct cursor c;
    from_of(k)->has_clones = to_of(k)->has_clones = true;
    pair_show(&k->pair, to_of(k));
    for (unsigned i = 0; i < k->count; i++) {
        const struct unit *u = &k->unit[i];
        const pte_t e = entry_with_count(pte_make(pte_pfn(u->entry), PTE_P | PTE_U), COUNT_SEVERAL);
        if (i > 0 && u->level == u[-1].level && is_same_part(u->va, u[-1].va, u->level + 1)) {
            window_store(vmm, c.window, window_entry(c.window, u->va, u->level), u->level, e);
            cursor_count_at(&c, u->level + 1, 1);
            continue;
        }
        if (i > 0) {
            (void)cursor_next(&c);
        }
        cursor_start(&c, CURSOR_LOOK, vmm, to_of(k), u->va, 1);
        (void)cursor_next(&c);
        cursor_make_tables_to(&c, u->level);
        cursor_link(&c, u->level, e);
    }
    (void)cursor_next(&c);
}

/* Cannot fail: all is promised and retained. */
static void link_all(struct clone *k)
{
    enum status s;
    k->scans = true;
    for (bool more = first_batch(k, &s); more; more = next_batch(k, &s)) {
        close_batch(k);
        link_batch(k);
    }
    gather_flush(k->pair.vmm);
}

static enum status clone_range(struct clone *k)
{
    struct pmm *pmm = k->pair.vmm->pmm;
    npages_t tables;
    enum status s = look_and_promise(k, &tables);
    if (s != STATUS_OK) {
        return s;
    }
    if (k->cuts > 0) {
        cut_large_pages(k);
        tables.v -= k->cuts;
        k->is_all = false;
    }
    uint64_t retained = 0;
    s = change_references(k, &retained, true);
    if (s == STATUS_OK) {
        link_all(k);
        return STATUS_OK;
    }
    enum status undone = change_references(k, &retained, false);
    if (undone == STATUS_OK && tables.v > 0) {
        undone = pmm_unpromise(pmm, tables);
    }
    return undone == STATUS_OK ? s : undone;
}

enum status vmm_clone(struct vmm *vmm, struct space *from, struct space *to, vaddr_t va, npages_t pages)
{
    /* The first part begins with addresses that are never mapped: it is shared with them. */
    const uint64_t skip = va.v == 0 && pages.v >= level_span_pages(2) ? vaddr_page_number(vaddr(LAYOUT_USER_FIRST)) : 0;
    const vaddr_t first = vaddr_add_pages(va, skip);
    enum status s = request_check(vmm, from, first, npages(pages.v - skip), "vmm_clone");
    s = s == STATUS_OK ? request_check(vmm, to, first, npages(pages.v - skip), "vmm_clone") : s;
    if (s != STATUS_OK || is_kernel_half(va)) {
        return s == STATUS_OK ? STATUS_RANGE : s;
    }
    const uint64_t part = level_span_pages(2);
    if (from == to || pages_to_span_end(va, 2) != part || pages.v % part != 0) {
        return STATUS_INVALID;
    }
    struct clone k = {.pair = {vmm, from, to}, .va = va, .pages = pages.v};
    s = pair_begin(&k.pair, va, "vmm_clone");
    if (s == STATUS_OK) {
        s = clone_range(&k);
        pair_end(&k.pair);
    }
    return s;
}
