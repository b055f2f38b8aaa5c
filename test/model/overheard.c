/*
 * The VMM's calls of the PMM, overheard. A frame that goes back by another call is judged when the VMM gets it again.
 * The PMM's own tests call it as it is: its reports name the caller.
 *
 * Each call that asks for memory and may be refused is counted, so that a test can have the first, the second, ... one
 * refused. What was promised cannot be.
 */
#include "model/overheard.h"

#include "model/model.h"
#include "pmm/pmm_pressure.h"
#include "vmm/vmm.h"

static bool is_ours(const struct pmm *pmm)
{
    return model_machine != NULL && pmm == &model_machine->pmm;
}

static void taken(const struct pmm *pmm, enum status s, const pfn_t *frames, uint64_t n)
{
    for (uint64_t i = 0; i < n && s == STATUS_OK && is_ours(pmm); i++) {
        model_frame_taken(model_machine, frames[i]);
    }
}

/* ---- Asking ---- */

static uint64_t requests_until_refusal; /* 0: none is refused */

void model_refuse_request(uint64_t number) { requests_until_refusal = number; }
bool model_was_refused(void) { return requests_until_refusal == 0; }

static bool is_refused(const struct pmm *pmm)
{
    return requests_until_refusal > 0 && is_ours(pmm) && --requests_until_refusal == 0;
}

/* Spaces are no owners by themselves: a test says whose the frames are that it makes them ask for. */
static unsigned with_owner(const struct pmm *pmm, unsigned flags)
{
    return is_ours(pmm) && (flags & PMM_USER) != 0 ? flags | PMM_OWNER(model_machine->owner) : flags;
}

enum status model_pmm_alloc(struct pmm *pmm, unsigned flags, pfn_t *frame)
{
    if ((flags & PMM_PROMISED) == 0 && is_refused(pmm)) {
        return STATUS_NOMEM;
    }
    enum status s = pmm_alloc(pmm, with_owner(pmm, flags), frame);
    taken(pmm, s, frame, 1);
    return s;
}

enum status model_pmm_alloc_zeroed(struct pmm *pmm, unsigned flags, pfn_t *frame, bool *is_zero)
{
    if ((flags & PMM_PROMISED) == 0 && is_refused(pmm)) {
        return STATUS_NOMEM;
    }
    enum status s = pmm_alloc_zeroed(pmm, with_owner(pmm, flags), frame, is_zero);
    taken(pmm, s, frame, 1);
    return s;
}

enum status model_pmm_alloc_many(struct pmm *pmm, unsigned flags, pfn_t *frames, npages_t n)
{
    if ((flags & PMM_PROMISED) == 0 && is_refused(pmm)) {
        return STATUS_NOMEM;
    }
    enum status s = pmm_alloc_many(pmm, flags, frames, n);
    taken(pmm, s, frames, n.v);
    return s;
}

enum status model_pmm_alloc_run(struct pmm *pmm, unsigned flags, npages_t n, npages_t align, npages_t boundary,
                                pfn_t limit, pfn_t *first)
{
    if ((flags & PMM_PROMISED) == 0 && is_refused(pmm)) {
        return STATUS_NOMEM;
    }
    const enum status s = pmm_alloc_run(pmm, flags, n, align, boundary, limit, first);
    for (uint64_t i = 0; i < n.v && s == STATUS_OK && is_ours(pmm); i++) {
        model_frame_taken(model_machine, pfn_add(*first, i));
    }
    return s;
}

enum status model_pmm_promise(struct pmm *pmm, npages_t n)
{
    return is_refused(pmm) ? STATUS_NOMEM : pmm_promise(pmm, n);
}

enum status model_pmm_block_take(struct pmm *pmm, pfn_t first, struct pmm_block_frames *out)
{
    return is_refused(pmm) ? STATUS_NOMEM : pmm_block_take(pmm, first, out);
}

/* Half of what was asked for, since a few may be had where all cannot. */
unsigned model_pmm_alloc_partly(struct pmm *pmm, pfn_t *frames, unsigned n, pfn_t avoid, npages_t avoided)
{
    const unsigned got = pmm_alloc_partly(pmm, frames, is_refused(pmm) ? n / 2 : n, avoid, avoided);
    taken(pmm, STATUS_OK, frames, got);
    return got;
}

unsigned model_pmm_alloc_elsewhere(struct pmm *pmm, pfn_t *frames, unsigned n, pfn_t avoid, npages_t avoided)
{
    const unsigned got = pmm_alloc_elsewhere(pmm, frames, is_refused(pmm) ? n / 2 : n, avoid, avoided);
    taken(pmm, STATUS_OK, frames, got);
    return got;
}

/* ---- Giving back ---- */

enum status model_pmm_free(struct pmm *pmm, pfn_t frame)
{
    enum status s = pmm_free(pmm, frame);
    if (s == STATUS_OK && is_ours(pmm)) {
        model_frame_freed(model_machine, frame);
    }
    return s;
}

enum status model_pmm_release(struct pmm *pmm, pfn_t frame, bool *freed)
{
    bool gone = false;
    enum status s = pmm_release(pmm, frame, &gone);
    if (s == STATUS_OK && gone && is_ours(pmm)) {
        model_frame_freed(model_machine, frame);
    }
    if (freed != NULL) {
        *freed = gone;
    }
    return s;
}

enum status model_pmm_free_many(struct pmm *pmm, const pfn_t *frames, npages_t n, npages_t *done)
{
    npages_t freed = {0};
    enum status s = pmm_free_many(pmm, frames, n, &freed);
    for (uint64_t i = 0; i < freed.v && is_ours(pmm); i++) {
        model_frame_freed(model_machine, frames[i]);
    }
    if (done != NULL) {
        *done = freed;
    }
    return s;
}

enum status model_pmm_free_run(struct pmm *pmm, pfn_t first, npages_t n)
{
    enum status s = pmm_free_run(pmm, first, n);
    for (uint64_t i = 0; i < n.v && s == STATUS_OK && is_ours(pmm); i++) {
        model_frame_freed(model_machine, pfn_add(first, i));
    }
    return s;
}

enum status model_pmm_block_give(struct pmm *pmm, pfn_t first)
{
    enum status s = pmm_block_give(pmm, first);
    for (uint64_t i = 0; i < PMM_BLOCK_FRAMES && s == STATUS_OK && is_ours(pmm); i++) {
        model_frame_freed(model_machine, pfn_add(first, i));
    }
    return s;
}

static bool zero(void *ctx, pfn_t frame)
{
    struct model *m = model_machine;
    m->is_zeroing = true;
    m->zeroing = frame;
    enum status s = frame_zero(ctx, frame);
    m->is_zeroing = false;
    model_frame_freed(m, frame);
    return s == STATUS_OK;
}

uint64_t model_idle(struct model *m, struct vmm *vmm, unsigned class, npages_t most)
{
    npages_t filled = npages(0);
    return pmm_zero_fill(&m->pmm, class, most, zero, vmm, &filled) == STATUS_OK ? filled.v : 0;
}
