/*
 * The VMM's benchmarks: map, protect and unmap, in our own tables and in those of another space.
 *
 * Each round maps a range, gives it new rights, and unmaps it; one of the three is timed, alone. The frames are above
 * all RAM, so that the walker is measured and not the PMM, but for those that are the mapping's own. Neighbours, one
 * page below and one above the range, keep its tables there and not empty; one page far off in any case all tables but
 * the PT.
 */
#include "arch/layout.h"
#include "kernel/bench.h"
#include "pmm/pmm_runs.h"

enum {
    TIME_MAP = 1 << 0,    /* which of the three */
    TIME_PROTECT = 1 << 1,
    TIME_UNMAP = 1 << 2,
    FRESH = 1 << 3,       /* zeroed frames of the mapping's own */
    NEIGHBOURS = 1 << 4,
    FOREIGN = 1 << 5,     /* in another space; the window stays open */
    SWITCHED = 1 << 6,    /* ... and shows a third one before each call that is timed */
    KEPT = 1 << 7,        /* tables that become empty stay: they are there and empty at each map */
    OWNED = 1 << 8,       /* frames of RAM, of which the mapping holds references */
};

/* A GiB of the global user part; the range lies over the end of a table where it is as long as one. */
static const vaddr_t bench_base = {0x00007F0000000000};
enum { FAR = 4 * TABLE_ENTRIES };
enum { NEIGHBOUR_ABOVE = 2 * TABLE_ENTRIES - 1, HALF_TABLE = TABLE_ENTRIES / 2 };

/* The last frames that an entry can name: of no machine. */
static pfn_t device(void) { return pfn(machine.vmm.frames_end.v - TABLE_ENTRIES); }

enum { RW = VMM_READ | VMM_WRITE };

static enum status map_frames(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return vmm_map_frames(&machine.vmm, w->space, w->va, w->frame, w->n, RW, (w->flags & OWNED) != 0);
}

static enum status map_fresh(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return vmm_map(&machine.vmm, w->space, w->va, w->n, RW);
}

static enum status protect_range(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return vmm_protect(&machine.vmm, w->space, w->va, w->n, VMM_READ);
}

static enum status unmap_range(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return vmm_unmap(&machine.vmm, w->space, w->va, w->n);
}

/* One of the three; timed if it is the one, as so many operations as there are pages. */
static enum status step(struct bench_work *w, unsigned timed, bench_body *body, struct bench_result *result)
{
    if ((w->flags & timed) == 0) {
        return body(w, 1);
    }
    if ((w->flags & SWITCHED) != 0) {
        struct vmm_walk walk;
        enum status s = vmm_translate(&machine.vmm, w->other, w->va, &walk);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return bench_add(result, body, bench_no_call, w, w->n.v);
}

static enum status rounds(struct bench_work *w, struct bench_result *result)
{
    enum status s = STATUS_OK;
    for (unsigned i = 0; i < BENCH_ROUNDS && s == STATUS_OK; i++) {
        s = step(w, TIME_MAP, (w->flags & FRESH) != 0 ? map_fresh : map_frames, result);
        if (s != STATUS_OK) {
            break;
        }
        s = step(w, TIME_PROTECT, protect_range, result);
        enum status undone = step(w, TIME_UNMAP, unmap_range, result);
        s = s == STATUS_OK ? undone : s;
    }
    return s;
}

/* `inner` with a page mapped at `offset`. */
static enum status with_page(struct bench_work *w, struct bench_result *result, uint64_t offset,
                             enum status (*inner)(struct bench_work *w, struct bench_result *result))
{
    const vaddr_t va = vaddr_add_pages(bench_base, offset);
    enum status s = vmm_map_frames(&machine.vmm, w->space, va, device(), npages(1), VMM_READ, false);
    if (s != STATUS_OK) {
        return s;
    }
    s = inner(w, result);
    enum status undone = vmm_unmap(&machine.vmm, w->space, va, npages(1));
    return s == STATUS_OK ? undone : s;
}

static enum status with_one_neighbour(struct bench_work *w, struct bench_result *result)
{
    return with_page(w, result, NEIGHBOUR_ABOVE, rounds);
}

static enum status with_neighbours(struct bench_work *w, struct bench_result *result)
{
    bool wanted = (w->flags & NEIGHBOURS) != 0;
    uint64_t first = !wanted ? 0 : w->n.v == 1 ? 1 : HALF_TABLE;
    w->va = vaddr_add_pages(bench_base, first);
    return wanted ? with_page(w, result, 0, with_one_neighbour) : rounds(w, result);
}

/* Kept tables are made by a first round, which is not measured. */
static enum status measure(struct bench_work *w, struct bench_result *result)
{
    if ((w->flags & KEPT) == 0) {
        return with_page(w, result, FAR, with_neighbours);
    }
    struct bench_result unused = {0};
    enum status s = space_keep_tables(&machine.vmm, w->space, true);
    if (s == STATUS_OK) {
        s = with_page(w, &unused, FAR, with_neighbours);
    }
    if (s == STATUS_OK) {
        s = with_page(w, result, FAR, with_neighbours);
    }
    enum status undone = space_keep_tables(&machine.vmm, w->space, false);
    return s == STATUS_OK ? undone : s;
}

/* With frames of RAM, used by us once. */
static enum status measure_owned(struct bench_work *w, struct bench_result *result)
{
    enum status s = pmm_alloc_run(&machine.pmm, PMM_USER, w->n, npages(1), npages(0), PMM_NO_LIMIT, &w->frame);
    if (s != STATUS_OK) {
        return s;
    }
    s = measure(w, result);
    enum status undone = pmm_free_run(&machine.pmm, w->frame, w->n);
    return s == STATUS_OK ? undone : s;
}

static enum status bench_range(const struct bench *bench, struct bench_result *result)
{
    static struct space space, other;
    struct vmm *vmm = &machine.vmm;
    struct bench_work w = {.flags = bench->flags, .n = npages(bench->frames), .frame = device(),
                           .space = vmm->current, .other = &other};
    if ((w.flags & OWNED) != 0) {
        return measure_owned(&w, result);
    }
    if ((w.flags & FOREIGN) == 0) {
        return measure(&w, result);
    }
    w.space = &space;
    enum status s = space_create(vmm, &space);
    if (s != STATUS_OK) {
        return s;
    }
    s = space_create(vmm, &other);
    if (s == STATUS_OK) {
        s = measure(&w, result);
        enum status undone = space_destroy(vmm, &other);
        s = s == STATUS_OK ? undone : s;
    }
    enum status undone = space_destroy(vmm, &space);
    return s == STATUS_OK ? undone : s;
}

#define FULL TABLE_ENTRIES
#define SWITCHING (FOREIGN | SWITCHED)

const struct bench bench_vmm[] = {
    {"vmm_map_1", "a page, tables present: map", bench_range, TIME_MAP | NEIGHBOURS, 1},
    {"vmm_protect_1", "protect", bench_range, TIME_PROTECT | NEIGHBOURS, 1},
    {"vmm_unmap_1", "unmap", bench_range, TIME_UNMAP | NEIGHBOURS, 1},
    {"vmm_map_1_owned", "with a reference: map", bench_range, TIME_MAP | NEIGHBOURS | OWNED, 1},
    {"vmm_unmap_1_owned", "unmap", bench_range, TIME_UNMAP | NEIGHBOURS | OWNED, 1},
    {"vmm_map_1_foreign", "another space, slot switched: map", bench_range, TIME_MAP | NEIGHBOURS | SWITCHING, 1},
    {"vmm_protect_1_foreign", "protect", bench_range, TIME_PROTECT | NEIGHBOURS | SWITCHING, 1},
    {"vmm_unmap_1_foreign", "unmap", bench_range, TIME_UNMAP | NEIGHBOURS | SWITCHING, 1},
    {"vmm_map_1_open", "slot kept open: map", bench_range, TIME_MAP | NEIGHBOURS | FOREIGN, 1},
    {"vmm_unmap_1_open", "unmap", bench_range, TIME_UNMAP | NEIGHBOURS | FOREIGN, 1},
    {"vmm_map_1_table", "a page and its PT: map", bench_range, TIME_MAP, 1},
    {"vmm_unmap_1_table", "unmap", bench_range, TIME_UNMAP, 1},
    {"vmm_map_512", "a page of 512, tables present and empty: map", bench_range, TIME_MAP | KEPT, FULL},
    {"vmm_protect_512", "protect", bench_range, TIME_PROTECT | KEPT, FULL},
    {"vmm_unmap_512", "unmap, the table stays", bench_range, TIME_UNMAP | KEPT, FULL},
    {"vmm_map_512_table", "PT made: map", bench_range, TIME_MAP, FULL},
    {"vmm_unmap_512_table", "unmap, the table goes", bench_range, TIME_UNMAP, FULL},
    {"vmm_map_512_partly", "two partly filled PTs: map", bench_range, TIME_MAP | NEIGHBOURS, FULL},
    {"vmm_protect_512_partly", "protect", bench_range, TIME_PROTECT | NEIGHBOURS, FULL},
    {"vmm_unmap_512_partly", "unmap", bench_range, TIME_UNMAP | NEIGHBOURS, FULL},
    {"vmm_map_512_foreign", "another space: map", bench_range, TIME_MAP | KEPT | SWITCHING, FULL},
    {"vmm_unmap_512_foreign", "unmap", bench_range, TIME_UNMAP | KEPT | SWITCHING, FULL},
    {"vmm_map_512_owned", "with references: map", bench_range, TIME_MAP | KEPT | OWNED, FULL},
    {"vmm_unmap_512_owned", "unmap", bench_range, TIME_UNMAP | KEPT | OWNED, FULL},
    {"vmm_map_512_fresh", "zeroed frames: map", bench_range, TIME_MAP | KEPT | FRESH, FULL},
    {"vmm_unmap_512_fresh", "unmap and free", bench_range, TIME_UNMAP | KEPT | FRESH, FULL},
    {"vmm_map_2m", "a page of 2 MiB, its PD present: map", bench_large_pages, BENCH_LARGE_MAP, 1},
    {"vmm_unmap_2m", "unmap", bench_large_pages, BENCH_LARGE_UNMAP, 1},
    {"vmm_map_2m_foreign", "another space: map", bench_large_pages, BENCH_LARGE_MAP | BENCH_LARGE_FOREIGN, 1},
    {"vmm_map_2m_fresh", "zeroed frames: map", bench_large_pages, BENCH_LARGE_MAP | BENCH_LARGE_FRESH, 1},
    {"vmm_unmap_2m_fresh", "unmap and free", bench_large_pages, BENCH_LARGE_UNMAP | BENCH_LARGE_FRESH, 1},
    {"vmm_demote_2m", "into 512 small ones", bench_large_pages, BENCH_LARGE_DEMOTE, 1},
    {"vmm_promote_2m", "and back", bench_large_pages, BENCH_LARGE_PROMOTE, 1},
    {"vmm_page_map", "a fresh page, as a fault wants it: map", bench_page, BENCH_PAGE_MAP, 1},
    {"vmm_page_map_foreign", "another space, slot open: map", bench_page, BENCH_PAGE_MAP | BENCH_PAGE_FOREIGN, 1},
    {"vmm_page_unmap", "unmap what is there", bench_page, BENCH_PAGE_UNMAP, 1},
    {"vmm_page_leaf", "find its leaf", bench_page, BENCH_PAGE_LEAF, 1},
    {"vmm_page_leaf_foreign", "another space, slot open: find", bench_page, BENCH_PAGE_LEAF | BENCH_PAGE_FOREIGN, 1},
    {"vmm_page_zero", "the zero frame: map", bench_page, BENCH_PAGE_ZERO, 1},
    {"vmm_page_own", "write to it: a zeroed frame instead", bench_page, BENCH_PAGE_OWN, 1},
    {0},
};
