/*
 * The VMM's benchmarks of large pages: one of 2 MiB comes and goes, beside another one that keeps its PD there; or it
 * becomes 512 small ones, and they become one again.
 */
#include "kernel/bench.h"
#include "vmm/vmm_large.h"

static const vaddr_t bench_base = {0x00007F0000000000};
enum { RW = VMM_READ | VMM_WRITE, LEVEL_2M = 2 };

/* The last frames that an entry can name: of no machine. */
static pfn_t device(void) { return pfn(machine.vmm.frames_end.v - 2 * PAGES_PER_2M); }

static enum status map_frames(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return vmm_map_frames(&machine.vmm, w->space, w->va, w->frame, npages(PAGES_PER_2M), RW | VMM_2M, false);
}

static enum status map_fresh(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return vmm_map(&machine.vmm, w->space, w->va, npages(PAGES_PER_2M), RW | VMM_2M);
}

static enum status demote(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return vmm_demote(&machine.vmm, w->space, w->va);
}

static enum status promote(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return vmm_promote(&machine.vmm, w->space, w->va, LEVEL_2M, 0);
}

static enum status unmap(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return vmm_unmap(&machine.vmm, w->space, w->va, npages(PAGES_PER_2M));
}

/* One of them; timed if it is the one that is asked for. */
static enum status step(struct bench_work *w, unsigned which, bench_body *body, struct bench_result *result)
{
    const unsigned timed = w->flags & ~(unsigned)(BENCH_LARGE_FRESH | BENCH_LARGE_FOREIGN);
    return timed == which ? bench_add(result, body, bench_no_call, w, 1) : body(w, 1);
}

static enum status rounds(struct bench_work *w, struct bench_result *result)
{
    const bool resizes = (w->flags & (BENCH_LARGE_DEMOTE | BENCH_LARGE_PROMOTE)) != 0;
    enum status s = STATUS_OK;
    for (unsigned i = 0; i < BENCH_ROUNDS && s == STATUS_OK; i++) {
        s = step(w, BENCH_LARGE_MAP, (w->flags & BENCH_LARGE_FRESH) != 0 ? map_fresh : map_frames, result);
        if (s != STATUS_OK) {
            break;
        }
        if (resizes) {
            s = step(w, BENCH_LARGE_DEMOTE, demote, result);
            s = s == STATUS_OK ? step(w, BENCH_LARGE_PROMOTE, promote, result) : s;
        }
        enum status undone = step(w, BENCH_LARGE_UNMAP, unmap, result);
        s = s == STATUS_OK ? undone : s;
    }
    return s;
}

enum status bench_large_pages(const struct bench *bench, struct bench_result *result)
{
    static struct space other;
    struct vmm *vmm = &machine.vmm;
    const bool is_foreign = (bench->flags & BENCH_LARGE_FOREIGN) != 0;
    struct bench_work w = {.flags = bench->flags, .space = is_foreign ? &other : vmm->current, .va = bench_base,
                           .frame = device()};
    enum status s = is_foreign ? space_create(vmm, &other) : STATUS_OK;
    if (s != STATUS_OK) {
        return s;
    }
    struct bench_work neighbour = w;
    neighbour.va = vaddr_add_pages(bench_base, PAGES_PER_2M);
    s = map_frames(&neighbour, 1);
    if (s == STATUS_OK) {
        s = rounds(&w, result);
        enum status undone = unmap(&neighbour, 1);
        s = s == STATUS_OK ? undone : s;
    }
    enum status undone = is_foreign ? space_destroy(vmm, &other) : STATUS_OK;
    return s == STATUS_OK ? undone : s;
}
