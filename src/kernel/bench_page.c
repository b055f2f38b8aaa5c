/*
 * The VMM's benchmarks of what a page fault asks for: one page, whose table is there, beside another one. Frames come
 * from the pool of zeroed ones, which is filled before each round.
 */
#include "arch/layout.h"
#include "kernel/bench.h"
#include "kernel/idle.h"
#include "vmm/vmm_share.h"

static const vaddr_t bench_base = {0x00007F0000000000};
enum { RW = VMM_READ | VMM_WRITE };

static enum status map_fresh(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return vmm_map_page(&machine.vmm, w->space, w->va, RW, &w->frame);
}

static enum status find_leaf(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    pte_t leaf;
    return vmm_leaf(&machine.vmm, w->space, w->va, &leaf);
}

static enum status map_zero(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return vmm_map_frames(&machine.vmm, w->space, w->va, w->frame, npages(1), RW | VMM_COPY, true);
}

static enum status own(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return vmm_own_page(&machine.vmm, w->space, w->va);
}

static enum status unmap(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return vmm_unmap_present(&machine.vmm, w->space, w->va, npages(1));
}

static enum status step(struct bench_work *w, unsigned which, bench_body *body, struct bench_result *result)
{
    return (w->flags & which) != 0 ? bench_add(result, body, bench_no_call, w, 1) : body(w, 1);
}

/* The zero frame; where there is none, any frame, which is copied then. */
static enum status round_of_zero(struct bench_work *w, struct bench_result *result)
{
    const bool is_zero = pmm_zero_frame(&machine.pmm, &w->frame) == STATUS_OK;
    enum status s = is_zero ? STATUS_OK : pmm_alloc(&machine.pmm, PMM_USER, &w->frame);
    if (s == STATUS_OK) {
        s = step(w, BENCH_PAGE_ZERO, map_zero, result);
        s = s == STATUS_OK ? step(w, BENCH_PAGE_OWN, own, result) : s;
        enum status undone = is_zero ? STATUS_OK : pmm_release(&machine.pmm, w->frame, NULL);
        s = s == STATUS_OK ? undone : s;
    }
    return s;
}

static enum status rounds(struct bench_work *w, struct bench_result *result)
{
    enum status s = STATUS_OK;
    for (unsigned i = 0; i < BENCH_ROUNDS && s == STATUS_OK; i++) {
        for (unsigned k = 0; k < MACHINE_ZERO_FRAMES; k++) {
            idle_step();
        }
        if ((w->flags & (BENCH_PAGE_ZERO | BENCH_PAGE_OWN)) != 0) {
            s = round_of_zero(w, result);
        } else {
            s = step(w, BENCH_PAGE_MAP, map_fresh, result);
            s = s == STATUS_OK ? step(w, BENCH_PAGE_LEAF, find_leaf, result) : s;
        }
        enum status undone = step(w, BENCH_PAGE_UNMAP, unmap, result);
        s = s == STATUS_OK ? undone : s;
    }
    return s;
}

enum status bench_page(const struct bench *bench, struct bench_result *result)
{
    static struct space other;
    struct vmm *vmm = &machine.vmm;
    const bool is_foreign = (bench->flags & BENCH_PAGE_FOREIGN) != 0;
    struct bench_work w = {.flags = bench->flags, .space = is_foreign ? &other : vmm->current,
                           .va = vaddr_add_pages(bench_base, 1)};
    enum status s = is_foreign ? space_create(vmm, &other) : STATUS_OK;
    if (s != STATUS_OK) {
        return s;
    }
    s = vmm_map(vmm, w.space, bench_base, npages(1), VMM_READ);
    if (s == STATUS_OK) {
        s = rounds(&w, result);
        enum status undone = vmm_unmap(vmm, w.space, bench_base, npages(1));
        s = s == STATUS_OK ? undone : s;
    }
    enum status undone = is_foreign ? space_destroy(vmm, &other) : STATUS_OK;
    return s == STATUS_OK ? undone : s;
}
