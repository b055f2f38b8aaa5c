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

enum { BATCH = 32 };

struct unit {
    vaddr_t va;
    unsigned level; /* of the entry that names the table */
    pte_t entry;
};

struct clone {
    struct pair pair;
    vaddr_t va;
    uint64_t pages, done; /* collected so far */
    struct unit unit[BATCH];
    unsigned count;
    bool scans;                       /* look into PDs */
    uint64_t cuts;                    /* tables that cutting the large pages met takes */
    bool marks;                       /* close the entries that are met, leave what is behind them out of the figures */
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

/* The entry that names the unit's table: others see what is behind it from now on. */
static void close_entry(struct clone *k, struct cursor *c, unsigned level, uint64_t pages, uint64_t tables)
{
    pte_t e = c->entry[level];
    trust_no_more(c->vmm, e);
    window_store(c->vmm, c->window, c->at[level], level, entry_with_count((pte_t){e.v & ~PTE_W}, COUNT_SEVERAL));
    /* The pages behind it, and the window pages that show its tables: these have lost W too. */
    gather_all(c->vmm, c->va, (struct vmm_cpus){c->cpus.mask | c->space->reached.mask});
    from_of(k)->pages.v -= pages;
    from_of(k)->tables.v -= tables;
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
    if (s == STATUS_OK && k->marks && (c->closed == 0 || c->closed < level)) {
        close_entry(k, c, level, pages, tables);
    }
    k->unit[k->count++] = (struct unit){c->va, level, has_table ? c->entry[level] : (pte_t){0}};
    return s;
}

/* The next units, at most BATCH. => OK, none: the end; SHARED; CORRUPT */
static enum status collect(struct clone *k)
{
    enum status s = STATUS_OK;
    k->count = 0;
    pair_show(&k->pair, from_of(k));
    while (s == STATUS_OK && k->done < k->pages && k->count < BATCH) {
        const vaddr_t at = vaddr_add_pages(k->va, k->done);
        struct cursor c;
        cursor_start(&c, CURSOR_READ, k->pair.vmm, from_of(k), at, 1);
        (void)cursor_next(&c);
        if (c.is_corrupt) {
            return STATUS_CORRUPT;
        }
        const uint64_t whole = level_span_pages(3);
        const bool is_large = cursor_is_large(&c), is_whole = pages_to_span_end(at, 3) == whole &&
                                                              whole <= k->pages - k->done;
        unsigned level = c.level > 1 && !is_large ? c.level : 2;
        if (is_whole && (c.level <= 2 || is_large)) {
            level = 3;
            s = add_unit(k, &c, level);
        } else if (is_large || (c.level == 1 && cursor_count(&c) > 0)) {
            s = add_unit(k, &c, level);
        }
        k->done += pages_to_span_end(at, level);
    }
    return s;
}

static enum status collect_from_start(struct clone *k)
{
    k->done = 0;
    return collect(k);
}

/* Nothing may be mapped in the other space. => OK; EXISTS; SHARED; CORRUPT */
static enum status check_free(const struct clone *k)
{
    struct cursor c;
    pair_show(&k->pair, to_of(k));
    if (to_of(k)->keeps_tables) {
        free_empty_tables(k->pair.vmm, to_of(k), k->va, k->pages);
    }
    cursor_start(&c, CURSOR_READ, k->pair.vmm, to_of(k), k->va, k->pages);
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

/* Tables that the batch needs in the other space and that are not counted yet. */
static uint64_t count_missing(struct clone *k)
{
    uint64_t tables = 0;
    pair_show(&k->pair, to_of(k));
    for (unsigned i = 0; i < k->count; i++) {
        struct cursor c;
        cursor_start(&c, CURSOR_READ, k->pair.vmm, to_of(k), k->unit[i].va, 1);
        (void)cursor_next(&c);
        for (unsigned level = c.level; level > k->unit[i].level; level--) {
            const uint64_t part = vaddr_page_number(k->unit[i].va) >> level_span_log2(level);
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
    k->marks = false;
    k->cuts = 0;
    s = s == STATUS_OK ? collect_from_start(k) : s;
    while (s == STATUS_OK && k->count > 0) {
        tables->v += count_missing(k);
        s = collect(k);
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
        cursor_start(&c, CURSOR_READ, k->pair.vmm, from_of(k), at, 1);
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
    enum status s = collect_from_start(k);
    while (s == STATUS_OK && k->count > 0) {
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
        s = collect(k);
    }
    *n = changed;
    return s;
}

/* Cannot fail: all is promised and retained. */
static void link_all(struct clone *k)
{
    struct vmm *vmm = k->pair.vmm;
    k->scans = k->marks = true;
    enum status s = collect_from_start(k);
    while (s == STATUS_OK && k->count > 0) {
        pair_show(&k->pair, to_of(k));
        for (unsigned i = 0; i < k->count; i++) {
            const struct unit *u = &k->unit[i];
            struct cursor c;
            cursor_start(&c, CURSOR_READ, vmm, to_of(k), u->va, 1);
            (void)cursor_next(&c);
            cursor_make_tables_to(&c, u->level);
            const pte_t e = pte_make(pte_pfn(u->entry), PTE_P | PTE_U);
            cursor_link(&c, u->level, entry_with_count(e, COUNT_SEVERAL));
            (void)cursor_next(&c);
        }
        s = collect(k);
    }
    gather_flush(vmm);
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
    enum status s = request_check(vmm, from, va, pages, "vmm_clone");
    s = s == STATUS_OK ? request_check(vmm, to, va, pages, "vmm_clone") : s;
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
