/*
 * Questions: one frame, the totals, a region, all of memory in stretches. Nothing here changes anything.
 */
#include "pmm/internal.h"

const char *pmm_state_name(enum pmm_state s)
{
    static const char *const names[] = {
        [PMM_STATE_OUTSIDE] = "outside RAM", [PMM_STATE_ABSENT] = "absent",     [PMM_STATE_UNTOUCHED] = "never used",
        [PMM_STATE_FREE] = "free",           [PMM_STATE_USED] = "used",         [PMM_STATE_RESERVED] = "reserved",
        [PMM_STATE_METADATA] = "metadata",
    };
    return (size_t)s < ARRAY_LEN(names) ? names[s] : "unknown";
}

enum pmm_state state_of_code(unsigned code)
{
    if (code_is_free(code)) {
        return PMM_STATE_FREE;
    }
    if (code_is_count(code)) {
        return PMM_STATE_USED;
    }
    return code == CODE_METADATA ? PMM_STATE_METADATA : code == CODE_RESERVED ? PMM_STATE_RESERVED : PMM_STATE_ABSENT;
}

/* State of a frame of region r, and up to where (at most) it is the same for sure. */
static enum pmm_state state_at(const struct pmm *pmm, const struct pmm_region *r, uint64_t frame, uint64_t *stop)
{
    uint64_t block = block_of(frame);
    if (!r->left_out && block_is_open(pmm, r, block)) {
        *stop = frame + 1;
        return state_of_code(pmm->states[frame]);
    }
    uint64_t extent_end = block_start(r->left_out ? region_end(r) : unopened_end(pmm, r, block));
    enum pmm_state state = unopened_state(pmm, frame, stop);
    *stop = *stop < extent_end ? *stop : extent_end;
    return r->left_out && state == PMM_STATE_UNTOUCHED ? PMM_STATE_RESERVED : state;
}

struct pmm_frame pmm_query(const struct pmm *pmm, pfn_t frame)
{
    size_t region = region_find(pmm, block_of(frame.v));
    if (region == SIZE_MAX) {
        return (struct pmm_frame){PMM_STATE_OUTSIDE, 0, SIZE_MAX};
    }
    uint64_t stop;
    enum pmm_state state = state_at(pmm, &pmm->regions[region], frame.v, &stop);
    return (struct pmm_frame){state, state == PMM_STATE_USED ? pmm->states[frame.v] : 0, region};
}

enum status pmm_complain(const struct pmm *pmm, const char *call, uint64_t frame, const char *why)
{
    struct pmm_frame f = pmm_query(pmm, pfn(frame));
    if (f.region == SIZE_MAX) {
        return misuse("%s: frame at %#lx: %s (%s, references %u, no region, block %#lx)", call,
                      pfn_to_paddr(pfn(frame)).v, why, pmm_state_name(f.state), f.references, block_of(frame));
    }
    return misuse("%s: frame at %#lx: %s (%s, references %u, region %zu, block %#lx)", call, pfn_to_paddr(pfn(frame)).v,
                  why, pmm_state_name(f.state), f.references, f.region, block_of(frame));
}

struct pmm_stats pmm_stats(const struct pmm *pmm)
{
    return (struct pmm_stats){
        .ram = npages(pmm->ram),
        .free = npages(pmm_free_frames(pmm)),
        .used = npages(pmm->used_at_start + pmm->allocated - pmm->freed),
        .metadata = npages(pmm->metadata),
        .earmarked = npages(pmm->earmarked),
        .reserved = npages(pmm->reserved),
        .promised = npages(pmm->promised),
        /* The earmark is paid from open blocks first: what they lack is not free in the others. */
        .untouched = npages(pmm->untouched < pmm_free_frames(pmm) ? pmm->untouched : pmm_free_frames(pmm)),
        .regions = pmm->region_count,
        .allocated = pmm->allocated,
        .freed = pmm->freed,
    };
}

bool pmm_region_stats(const struct pmm *pmm, size_t index, struct pmm_region_stats *out)
{
    if (index >= pmm->region_count) {
        return false;
    }
    const struct pmm_region *r = &pmm->regions[index];
    *out = (struct pmm_region_stats){
        .base = pmm->runs[run_at(pmm, block_start(r->base))].first,
        .frames = npages(block_start(r->blocks) - r->absent),
        .free = npages(r->free),
        .untouched = npages(r->untouched),
        .node = 0,
    };
    return true;
}

void pmm_walk(const struct pmm *pmm, bool (*visit)(void *ctx, pfn_t first, npages_t frames, enum pmm_state state),
              void *ctx)
{
    for (size_t i = 0; i < pmm->run_count; i++) {
        uint64_t first = pmm->runs[i].first.v, end = run_end(pmm->runs[i]);
        enum pmm_state state = PMM_STATE_OUTSIDE;
        uint64_t stop;
        for (uint64_t at = first; at < end; at = stop) {
            enum pmm_state next = state_at(pmm, &pmm->regions[region_find(pmm, block_of(at))], at, &stop);
            stop = stop < end ? stop : end;
            if (next != state && at > first) {
                if (!visit(ctx, pfn(first), npages(at - first), state)) {
                    return;
                }
                first = at;
            }
            state = next;
        }
        if (!visit(ctx, pfn(first), npages(end - first), state)) {
            return;
        }
    }
}
