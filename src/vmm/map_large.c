/*
 * vmm_map and vmm_map_frames with a page size: what is to lie where is planned (plan.h), then it is mapped in the steps
 * of map.c. Of a single page of 2 MiB nothing need be planned or promised where its PD is there: it has a short way.
 */
#include "pmm/pmm_runs.h"
#include "vmm/cache_types.h"
#include "vmm/edit.h"
#include "vmm/frames.h"
#include "vmm/large.h"
#include "vmm/map.h"
#include "vmm/map_steps.h"
#include "vmm/request.h"

/*
 * Look, promise, and find runs for the large pages. Where there is none, smaller pages will do if `may_shrink`: look
 * again. *missing: the first one that is not to be had.
 */
static enum status look_and_take_runs(struct cursor *c, struct page_plan *plan, unsigned class, bool may_shrink,
                                      struct large_page *missing)
{
    struct vmm *vmm = c->vmm;
    struct space *space = c->space;
    for (;;) {
        npages_t promised;
        const npages_t small = npages(c->total - bytes_to_pages_down(plan->to[2].v - plan->from[2].v).v);
        enum status s = map_look_and_promise(c, small, &promised);
        if (s != STATUS_OK) {
            return s;
        }
        s = large_take_runs(vmm, plan, class, missing);
        if (s == STATUS_OK) {
            return s;
        }
        s = map_take_back(vmm, promised, s);
        if (s != STATUS_NOMEM || !may_shrink) {
            return s;
        }
        plan_shrink(plan, missing->va, missing->level);
        cursor_start(c, CURSOR_LOOK, vmm, space, c->first, c->total);
        cursor_use_plan(c, plan);
    }
}

/*
 * Not all runs up to `last` were free, and inside of an edit nobody is asked for memory: ask here, for as many, and
 * leave them to be found. Until all are there each holds the number of the one before. => OK; NOMEM.
 */
static enum status ask_for_runs(struct vmm *vmm, struct space *space, unsigned class, const struct page_plan *plan,
                                vaddr_t last)
{
    pfn_t run, before = {0};
    unsigned count = 0;
    enum status s = STATUS_OK;
    vaddr_t va = plan->from[PLAN_LOWEST];
    space->waiting++;
    while (s == STATUS_OK && va.v <= last.v) {
        const npages_t frames = npages(level_span_pages(plan_level(plan, va)));
        s = pmm_alloc_run(vmm->pmm, class, frames, frames, npages(0), PMM_NO_LIMIT, &run);
        if (s == STATUS_OK) {
            const vaddr_t page = temp_slot_set(vmm, TEMP_SLOT_ZERO, run);
            arch_write64(page, before.v);
            arch_write64(vaddr_add(page, sizeof before), frames.v);
            temp_slot_clear(vmm, TEMP_SLOT_ZERO);
            before = run;
            count++;
            va = vaddr_add_pages(va, frames.v);
        }
    }
    space->waiting--;
    for (; count > 0; count--) {
        const vaddr_t page = temp_slot_set(vmm, TEMP_SLOT_ZERO, before);
        run = pfn(arch_read64(page));
        const npages_t frames = npages(arch_read64(vaddr_add(page, sizeof before)));
        temp_slot_clear(vmm, TEMP_SLOT_ZERO);
        enum status undone = pmm_free_run(vmm->pmm, before, frames);
        s = undone == STATUS_OK ? s : undone;
        before = run;
    }
    return s;
}

static enum status map_fresh_planned(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, unsigned flags,
                                     bool zeroed, struct page_plan *plan, struct large_page *missing)
{
    enum window w = WINDOW_OWN;
    enum status s = edit_begin(vmm, space, va, "vmm_map", &w);
    if (s != STATUS_OK) {
        return s;
    }
    struct cursor c;
    struct fill f = {
        .fresh = true,
        .zeroed = zeroed,
        .class = is_kernel_half(va) ? PMM_KERNEL : PMM_USER,
        .bits = PTE_P | PTE_OWNED | rights_to_bits(flags) | request_flags_to_bits(va, flags, true),
    };
    cursor_start(&c, CURSOR_LOOK, vmm, space, va, pages.v);
    cursor_use_plan(&c, plan);
    s = look_and_take_runs(&c, plan, f.class, (flags & VMM_LARGE) != 0, missing);
    if (s == STATUS_OK) {
        vmm->has_global = vmm->has_global || (f.bits & PTE_G) != 0;
        map_link(&c, &f);
    }
    edit_end(vmm, space, c.window);
    return s;
}

enum status map_fresh_flagged(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, unsigned flags,
                              bool zeroed)
{
    const unsigned sizes = flags & VMM_SIZES, rights = flags & ~(unsigned)MAP_FLAGS;
    const unsigned class = is_kernel_half(va) ? PMM_KERNEL : PMM_USER;
    struct page_plan plan;
    enum status s = request_check(vmm, space, va, pages, "vmm_map");
    if (s == STATUS_OK) {
        s = request_check_rights(va, rights);
    }
    if (s == STATUS_OK && request_flags_to_bits(va, flags, true) == REQUEST_BAD_FLAGS) {
        s = STATUS_INVALID;
    }
    if (s == STATUS_OK && sizes != 0) {
        s = plan_make(&plan, va, pages, pfn(vaddr_page_number(va)), sizes);
        s = s == STATUS_OK ? large_check_list(&plan) : s;
    }
    if (s != STATUS_OK || sizes == 0) {
        return s == STATUS_OK ? map_fresh(vmm, space, va, pages, flags, zeroed) : s;
    }
    vaddr_t reached = {0}; /* each time there must be one run more */
    for (;;) {
        struct large_page missing = {0};
        s = map_fresh_planned(vmm, space, va, pages, flags, zeroed, &plan, &missing);
        if (s != STATUS_NOMEM || sizes == VMM_LARGE || missing.va.v <= reached.v) {
            return s;
        }
        reached = missing.va;
        s = ask_for_runs(vmm, space, class, &plan, missing.va);
        if (s != STATUS_OK) {
            return s;
        }
    }
}

/*
 * Behind a PD that is there, one page of 2 MiB that is not owned: as map_at_spot a level higher. => false: another way
 * must decide.
 */
__attribute__((always_inline)) static inline bool map_2m_at_spot(struct vmm *vmm, struct space *space,
                                                                 const struct spot *spot, const struct given *g,
                                                                 enum status *s)
{
    if (spot->level != 2 || pte_is_present(spot->entry[2]) || is_kernel_half(g->va)) {
        return false;
    }
    const struct typed_leaves leaves = device_leaves_come(vmm, g->first, PAGES_PER_2M, g->bits);
    *s = leaves.status;
    if (leaves.status == STATUS_OK) {
        table_store(vmm, spot->parent, pte_make(g->first, leaves.bits | PTE_PS));
        table_store(vmm, window_above(spot->parent), entry_count_up(spot->entry[3]));
        space->pages.v += PAGES_PER_2M;
    }
    return true;
}

/* Any range. `sizes` may be 0. */
__attribute__((noinline)) static enum status map_frames_planned(struct vmm *vmm, struct space *space, struct given g,
                                                                unsigned sizes)
{
    struct page_plan plan;
    enum window w = WINDOW_OWN;
    enum status s = sizes != 0 ? plan_make(&plan, g.va, npages(g.pages), g.first, sizes) : STATUS_OK;
    if (s == STATUS_OK) {
        s = edit_begin(vmm, space, g.va, "vmm_map_frames", &w);
    }
    if (s != STATUS_OK) {
        return s;
    }
    vmm->has_global = vmm->has_global || (g.bits & PTE_G) != 0;
    g.plan = sizes != 0 ? &plan : NULL;
    return map_range(vmm, space, g, (struct spot){.level = 0});
}

/* One page of 2 MiB, not owned. *s is the answer, or *done is false: the usual way must find it. */
static inline enum status map_one_2m(struct vmm *vmm, struct space *space, const struct given *g, bool *done)
{
    enum window w = WINDOW_OWN;
    enum status s = edit_begin(vmm, space, g->va, "vmm_map_frames", &w);
    *done = s != STATUS_OK;
    if (s == STATUS_OK) {
        struct spot spot = w == WINDOW_OWN ? spot_find_own(vmm, g->va) : spot_find_foreign(vmm, g->va);
        *done = map_2m_at_spot(vmm, space, &spot, g, &s);
        edit_end(vmm, space, w);
    }
    return s;
}

enum status map_frames_flagged(struct vmm *vmm, struct space *space, vaddr_t va, pfn_t first, npages_t pages,
                               unsigned flags, bool own)
{
    const unsigned sizes = flags & VMM_SIZES, rights = flags & ~(unsigned)MAP_FLAGS;
    if ((flags & VMM_COPY) != 0) {
        return map_copies(vmm, space, va, first, pages, flags & ~(unsigned)VMM_COPY, own);
    }
    const uint64_t within = (vaddr_page_number(va) | first.v) & (PAGES_PER_2M - 1);
    const bool is_one = (flags & MAP_FLAGS) == VMM_2M && pages.v == PAGES_PER_2M && within == 0 && !own;
    enum status s = map_check_given(vmm, space, va, first, pages, rights);
    if (s != STATUS_OK) {
        return s;
    }
    struct given g = {va, first, pages.v, PTE_P | (own ? PTE_OWNED : PTE_DEVICE) | rights_to_bits(rights), NULL};
    if (is_one) {
        bool done;
        s = map_one_2m(vmm, space, &g, &done);
        if (done) {
            return s;
        }
    }
    const uint64_t bits = request_flags_to_bits(va, flags, own);
    g.bits |= bits;
    return bits == REQUEST_BAD_FLAGS ? STATUS_INVALID : map_frames_planned(vmm, space, g, sizes);
}
