/* The cases: what stands before, the one call that is counted, what must be mapped after it. */
#include <stdio.h>

#include "bench/bed.h"
#include "bench/paging_bench.h"
#include "model/model.h"

enum {
    RW = VMM_READ | VMM_WRITE,
    SPACE_EDITED = 1,
    SPACE_EDITOR = 2, /* current, while another space is edited */
    SPACE_OTHER = 3,
    PAGES_PER_1G = TABLE_ENTRIES * TABLE_ENTRIES,
};

/* Begins a PD's part of the global user part. */
static const vaddr_t base = {0x0000400080000000};
/* Above all RAM: mapped, never accessed. */
static const pfn_t device = {0x80000000};

static void must(const struct paging_subject *s, enum status status, const char *what)
{
    if (status != STATUS_OK) {
        fprintf(stderr, "bench: %s: ", s->name);
        bed_fail(what, status);
    }
}

static void map(const struct paging_subject *s, unsigned space, uint64_t page, uint64_t pages)
{
    must(s, s->map(s, space, vaddr_add_pages(base, page), pfn_add(device, page), npages(pages), RW), "map");
}

static void unmap(const struct paging_subject *s, unsigned space, uint64_t page, uint64_t pages)
{
    must(s, s->unmap(s, space, vaddr_add_pages(base, page), npages(pages)), "unmap");
}

static uint64_t up_to(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

/* So many pieces of `step` pages does the range touch. */
static uint64_t touched(uint64_t page, uint64_t pages, uint64_t step)
{
    return (page + pages - 1) / step - page / step + 1;
}

/* Where the range of a case begins, in pages from `base`. */
static uint64_t first_page(enum paging_op op) { return op == OP_MAP_OWN_PARTLY ? TABLE_ENTRIES / 2 : 0; }

/* Are the tables made by the call? */
static bool is_new(enum paging_op op) { return op == OP_MAP_OWN_NEW || op == OP_MAP_OWN_COLD; }

static struct paging_shape shape_of(enum paging_op op, uint64_t pages)
{
    uint64_t first = first_page(op);
    struct paging_shape n = {.pages = pages};
    n.pts = touched(first, pages, TABLE_ENTRIES);
    n.pds = touched(first, pages, PAGES_PER_1G);
    if (op == OP_MAP_OWN_PARTLY) {
        n.occupied = n.pts == 1 ? pages : TABLE_ENTRIES / 2 + (first + pages - 1) % TABLE_ENTRIES + 1;
    }
    if (is_new(op) || op == OP_UNMAP_RECLAIM) {
        n.tables = n.pts + (pages == PAGES_PER_1G ? 1 : 0); /* a PD too: no other page lies in it */
    }
    return n;
}

/* Everything but the call that is counted. */
static void prepare(const struct paging_subject *s, enum paging_op op, uint64_t pages, struct paging_shape n)
{
    const uint64_t first = first_page(op), behind = up_to(pages, TABLE_ENTRIES);
    const bool is_foreign = op == OP_MAP_FOREIGN || op == OP_MAP_KEPT_OPEN;
    must(s, s->switch_to(s, is_foreign ? SPACE_EDITOR : SPACE_EDITED), "switch");
    if (is_new(op) || op == OP_UNMAP_RECLAIM) {
        map(s, SPACE_EDITED, behind, 1); /* the tables above are another page's as well */
    }
    if (is_new(op)) {
        return;
    }
    map(s, SPACE_EDITED, first, pages);
    if (op == OP_UNMAP || op == OP_UNMAP_RECLAIM || op == OP_PROTECT) {
        return;
    }
    unmap(s, SPACE_EDITED, first, pages);
    if (op == OP_MAP_OWN_PARTLY) {
        map(s, SPACE_EDITED, 0, 1);
        if (n.pts > 1) {
            map(s, SPACE_EDITED, up_to(first + pages, TABLE_ENTRIES) - 1, 1);
        }
    } else if (op == OP_MAP_FOREIGN) {
        map(s, SPACE_OTHER, 0, 1);
    }
}

static enum status call(const struct paging_subject *s, enum paging_op op, uint64_t pages)
{
    vaddr_t va = vaddr_add_pages(base, first_page(op));
    switch (op) {
    case OP_UNMAP:
    case OP_UNMAP_RECLAIM: return s->unmap(s, SPACE_EDITED, va, npages(pages));
    case OP_PROTECT: return s->protect(s, SPACE_EDITED, va, npages(pages), VMM_READ);
    default: return s->map(s, SPACE_EDITED, va, device, npages(pages), RW);
    }
}

/* The first, the last and some other pages, in memory. */
static bool is_done(const struct paging_subject *s, enum paging_op op, uint64_t pages)
{
    for (uint64_t i = 0; i < pages; i += i + 13 < pages ? 13 : 1) {
        vaddr_t va = vaddr_add_pages(base, first_page(op) + i);
        paddr_t at = model_entry_at(model_machine, s->root(s, SPACE_EDITED), va, 1);
        pte_t e = {at.v == 0 ? 0 : model_phys_read64(model_machine, at)};
        bool is_unmap = op == OP_UNMAP || op == OP_UNMAP_RECLAIM;
        if (pte_is_present(e) == is_unmap ||
            (!is_unmap && (pte_pfn(e).v != device.v + i || ((e.v & PTE_W) == 0) != (op == OP_PROTECT)))) {
            return false;
        }
    }
    return true;
}

static const struct vmm_counters *own_counters(const struct paging_subject *s)
{
    static const struct vmm_counters none;
    return s == &paging_cairn ? paging_cairn_counters() : &none;
}

/* The product counts itself as well: the same, or one of the two is wrong. */
static void compare_own(const struct paging_subject *s, struct vmm_counters before, struct paging_counts c)
{
    const struct vmm_counters *after = own_counters(s);
    if (s == &paging_cairn && (after->table_loads - before.table_loads != c.of[COUNT_LOADS] ||
                               after->table_stores - before.table_stores != c.of[COUNT_STORES] ||
                               after->invlpg - before.invlpg != c.of[COUNT_INVLPG] ||
                               after->cr3_loads - before.cr3_loads != c.of[COUNT_CR3_LOADS] ||
                               after->ipis - before.ipis != c.of[COUNT_IPIS])) {
        bed_fail("cairn's counters say something else than what the port has seen", STATUS_CORRUPT);
    }
}

bool paging_case_exists(const struct paging_subject *s, enum paging_op op, uint64_t pages)
{
    if (op == OP_UNMAP_RECLAIM || op == OP_MAP_OWN_COLD) {
        return s == &paging_cairn; /* the rivals' tables stay, and are zeroed when they are made */
    }
    bool is_foreign = op == OP_MAP_FOREIGN || op == OP_MAP_KEPT_OPEN;
    return s != &paging_naive || !is_foreign || pages < PAGES_PER_1G; /* half a million CR3 loads say nothing more */
}

struct paging_counts paging_case_run(const struct paging_subject *s, enum paging_op op, uint64_t pages,
                                     struct paging_shape *shape)
{
    struct model *m = model_start(64 * MIB);
    if (s->maps_all_memory) {
        model_want_violations(m);
    }
    *shape = shape_of(op, pages);
    must(s, s->start(s), "start");
    for (unsigned space = 1; space < PAGING_SPACES; space++) {
        must(s, s->create(s, space), "create");
        if (s->keep_tables(s, space, op != OP_UNMAP_RECLAIM) == false) {
            must(s, STATUS_UNSUPPORTED, "keep_tables");
        }
    }
    prepare(s, op, pages, *shape);
    if (s->idle != NULL && op != OP_MAP_OWN_COLD) {
        must(s, s->idle(s), "idle");
    }
    struct vmm_counters before = *own_counters(s);
    paging_count_start();
    must(s, call(s, op, pages), "the call that is counted");
    struct paging_counts c = paging_counted();
    compare_own(s, before, c);
    if (!is_done(s, op, pages) || paging_violations(s) != 0) {
        must(s, STATUS_CORRUPT, m->violations != 0 ? m->first_violation : "memory is not what was asked for");
    }
    model_end();
    return c;
}
