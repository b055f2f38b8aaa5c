/* The kernel on a way: questions. */
#include "rivals/pmm/kernel/side.h"

static enum pmm_state state_of(const struct pmm *pmm, uint64_t frame)
{
    switch (pmm->states[frame]) {
    case SIDE_WAY:
        return side_way->keeps != NULL && side_way->keeps(pmm->way, pfn(frame)) ? PMM_STATE_METADATA : PMM_STATE_FREE;
    case SIDE_WAITS:
    case SIDE_ASIDE:
        return PMM_STATE_FREE;
    case SIDE_RESERVED:
        return PMM_STATE_RESERVED;
    case SIDE_METADATA:
        return PMM_STATE_METADATA;
    case SIDE_BAD:
        return PMM_STATE_BAD;
    case SIDE_ZERO:
        return PMM_STATE_ZERO;
    default:
        return PMM_STATE_USED;
    }
}

static enum pmm_zone zone_of(uint64_t frame)
{
    const uint64_t at = pfn_to_paddr(pfn(frame)).v;
    return at < MIB ? PMM_ZONE_1M : at < 16 * MIB ? PMM_ZONE_16M : at < 4 * GIB ? PMM_ZONE_4G : PMM_ZONE_HIGH;
}

struct pmm_frame pmm_query(const struct pmm *pmm, pfn_t frame)
{
    const size_t run = side_run(pmm->runs, pmm->run_count, frame.v);
    struct pmm_frame f = {.state = PMM_STATE_OUTSIDE, .region = SIZE_MAX, .zone = zone_of(frame.v)};
    if (run < pmm->run_count) {
        const unsigned side = pmm->states[frame.v];
        f.state = state_of(pmm, frame.v);
        f.references = side_is_used(side) ? side : 0;
        f.region = run;
    }
    return f;
}

struct pmm_frame pmm_frame_state(const struct pmm *pmm, paddr_t address)
{
    return pmm_query(pmm, paddr_to_pfn(address));
}

bool pmm_is_used(struct pmm *pmm, pfn_t frame) { return side_is_used(side_of(pmm, frame.v)); }

pfn_t pmm_frames_end(const struct pmm *pmm) { return pfn(frames_end(pmm->runs, pmm->run_count)); }

npages_t pmm_count_ram(const struct pmm *pmm, pfn_t first, npages_t frames)
{
    uint64_t sum = 0, end = first.v + frames.v;
    for (size_t i = 0; i < pmm->run_count; i++) {
        const uint64_t from = pmm->runs[i].first.v > first.v ? pmm->runs[i].first.v : first.v;
        const uint64_t to = run_end(pmm->runs[i]) < end ? run_end(pmm->runs[i]) : end;
        sum += to > from ? to - from : 0;
    }
    return npages(sum);
}

struct pmm_stats pmm_stats(const struct pmm *pmm)
{
    const uint64_t kept = side_kept(pmm), own = side_way->own == NULL ? 0 : side_way->own(pmm->way);
    const uint64_t taken = own < kept ? own : kept;
    return (struct pmm_stats){
        .ram = npages(pmm->ram),
        .free = npages(side_free(pmm)),
        .used = npages(pmm->used_at_start + pmm->allocated - pmm->freed),
        .metadata = npages(pmm->metadata + taken),
        .earmarked = npages(kept - taken),
        .reserved = npages(pmm->reserved),
        .promised = npages(pmm->promised),
        .emergency = npages(pmm->emergency),
        .bad = npages(pmm->bad),
        .regions = pmm->run_count,
        .allocated = pmm->allocated,
        .freed = pmm->freed,
        .reclaims = pmm->reclaims,
        .misuses = pmm->misuses,
    };
}

bool pmm_region_stats(const struct pmm *pmm, size_t index, struct pmm_region_stats *out)
{
    if (index >= pmm->run_count) {
        return false;
    }
    *out = (struct pmm_region_stats){.base = pmm->runs[index].first, .frames = pmm->runs[index].frames,
                                     .span = pmm->runs[index].frames};
    for (uint64_t f = out->base.v; f < run_end(pmm->runs[index]); f++) {
        out->free.v += pmm->states[f] == SIDE_WAY || pmm->states[f] == SIDE_WAITS;
    }
    return true;
}

void pmm_walk(const struct pmm *pmm, bool (*visit)(void *ctx, pfn_t first, npages_t frames, enum pmm_state state),
              void *ctx)
{
    for (size_t i = 0; i < pmm->run_count; i++) {
        const uint64_t end = run_end(pmm->runs[i]);
        for (uint64_t at = pmm->runs[i].first.v, next; at < end; at = next) {
            const enum pmm_state state = state_of(pmm, at);
            for (next = at + 1; next < end && state_of(pmm, next) == state;) {
                next++;
            }
            if (!visit(ctx, pfn(at), npages(next - at), state)) {
                return;
            }
        }
    }
}

enum status pmm_check(const struct pmm *pmm, struct sink *out)
{
    npages_t counts[PMM_STATES];
    const struct pmm_stats s = pmm_stats(pmm);
    pmm_state_counts(pmm, counts);
    const uint64_t sum = s.free.v + s.used.v + s.metadata.v + s.earmarked.v + s.reserved.v;
    const uint64_t metadata = s.metadata.v + s.earmarked.v; /* what a way keeps is said to be that from the start */
    const bool ok = counts[PMM_STATE_USED].v + counts[PMM_STATE_ZERO].v == s.used.v &&
                    counts[PMM_STATE_FREE].v == s.free.v && counts[PMM_STATE_METADATA].v == metadata && sum == s.ram.v;
    if (out != NULL) {
        sink_printf(out, "pmm: nothing of %s can be checked\n", side_way->name);
    }
    if (!ok && out != NULL) {
        sink_printf(out, "PMM-I1: in the table beside it %lu frames are used, %lu free, %lu metadata; counted are %lu, "
                         "%lu, %lu; all together %lu of %lu\n",
                    counts[PMM_STATE_USED].v + counts[PMM_STATE_ZERO].v, counts[PMM_STATE_FREE].v,
                    counts[PMM_STATE_METADATA].v, s.used.v, s.free.v, metadata, sum, s.ram.v);
    }
    return ok ? STATUS_OK : STATUS_CORRUPT;
}

void pmm_dump(const struct pmm *pmm, struct sink *out)
{
    const struct pmm_stats s = pmm_stats(pmm);
    sink_printf(out, "pmm: %s: %lu frames, %lu free, %lu used, %lu metadata, %lu reserved\n", side_way->name, s.ram.v,
                s.free.v, s.used.v, s.metadata.v, s.reserved.v);
    sink_printf(out, "pmm: it has %lu, %lu of them handed out; %lu others wait\n", pmm->given_frames, pmm->out,
                pmm->waiting);
}

void pmm_trace(struct pmm *pmm, pmm_trace_fn *fn, void *ctx)
{
    pmm->trace = fn;
    pmm->trace_ctx = ctx;
}
