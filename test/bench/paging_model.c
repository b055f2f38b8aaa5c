/*
 * The cost model: what N pages behind P1 PTs and P2 PDs cost.
 *
 * Upper entries: P1 + P2 + 1 loads, whoever descends once a table. Window pages, or frames shown: one for each table,
 * P1 + P2 + 2, the PDPT and the PML4 included.
 *
 * For the product these are the figures that it may not exceed; it also looks before it changes (a load for each leaf
 * of a table that is not empty) and keeps the tables' live counts (a store a PT). A new table is one store more where
 * idle time has zeroed its frame; else two stores and an INVLPG more, for the temporary mapping through which it is
 * zeroed. For the rivals the counts are exact.
 */
#include "bench/paging_bench.h"

static bool is_few(uint64_t pages) { return pages <= PAGING_FLUSH_PAGES_MAX; }
static uint64_t uppers(struct paging_shape n) { return n.pts + n.pds + 1; }
static uint64_t tables(struct paging_shape n) { return n.pts + n.pds + 2; }
static bool is_foreign(enum paging_op op) { return op == OP_MAP_FOREIGN || op == OP_MAP_KEPT_OPEN; }
static bool reads_leaves(enum paging_op op) { return op == OP_UNMAP || op == OP_UNMAP_RECLAIM || op == OP_PROTECT; }

static struct paging_counts counts(uint64_t loads, uint64_t stores, uint64_t invlpg, uint64_t cr3_loads)
{
    return (struct paging_counts){{loads, stores, invlpg, cr3_loads, 0, 0}};
}

static struct paging_counts predict_cairn(enum paging_op op, struct paging_shape n)
{
    struct paging_counts c = counts(uppers(n) + n.occupied, n.pages + n.pts, 0, 0);
    switch (op) {
    case OP_MAP_OWN_NEW: c.of[COUNT_STORES] += n.tables; break;
    case OP_MAP_OWN_COLD:
        c.of[COUNT_STORES] += 3 * n.tables;
        c.of[COUNT_INVLPG] += n.tables;
        break;
    case OP_MAP_FOREIGN:
        c.of[COUNT_STORES] += 2;
        c.of[COUNT_INVLPG] = is_few(tables(n)) ? tables(n) + 1 : VMM_WINDOW_PAGES_MAX;
        c.of[COUNT_CR3_LOADS] = !is_few(tables(n));
        break;
    case OP_UNMAP:
    case OP_UNMAP_RECLAIM:
    case OP_PROTECT:
        c.of[COUNT_LOADS] = uppers(n) + n.pages;
        c.of[COUNT_INVLPG] = is_few(n.pages) ? n.pages + n.tables : 0;
        c.of[COUNT_CR3_LOADS] = !is_few(n.pages);
        break;
    default: break;
    }
    return c;
}

static struct paging_counts predict_naive(enum paging_op op, struct paging_shape n)
{
    struct paging_counts c = counts(4 * n.pages, n.pages, n.pages, 0);
    if (is_foreign(op)) {
        c = counts(4 * n.pages, 3 * n.pages, 0, 2 * n.pages);
    }
    c.of[COUNT_STORES] += 3 * n.tables; /* linked; zeroed through a temporary mapping */
    c.of[COUNT_INVLPG] += n.tables;
    return c;
}

struct paging_counts paging_predict(const struct paging_subject *s, enum paging_op op, struct paging_shape n)
{
    if (s == &paging_cairn || s == &paging_naive) {
        return s == &paging_cairn ? predict_cairn(op, n) : predict_naive(op, n);
    }
    struct paging_counts c = counts(uppers(n), n.pages + n.tables, 0, 0);
    if (reads_leaves(op)) {
        c.of[COUNT_LOADS] += n.pages;
        c.of[COUNT_INVLPG] += is_few(n.pages) ? n.pages : 0;
        c.of[COUNT_CR3_LOADS] += !is_few(n.pages);
    }
    if (s == &paging_reload) {
        c.of[COUNT_STORES] += 2 * n.tables + (is_foreign(op) ? 2 : 0);
        c.of[COUNT_INVLPG] += n.tables;
        c.of[COUNT_CR3_LOADS] += is_foreign(op) ? 2 : 0;
    } else if (s != &paging_direct) {
        c.of[COUNT_STORES] += 2 * tables(n); /* each table is shown and hidden */
        c.of[COUNT_INVLPG] += s == &paging_window ? tables(n) : 0;
    }
    return c;
}
