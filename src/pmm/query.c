/*
 * Questions: one frame, the totals, a region, all of memory in stretches. Nothing here changes anything.
 */
#include "lib/string.h"
#include "pmm/account.h"

enum pmm_state state_of_code(unsigned code)
{
    static const enum pmm_state states[] = {
        [CODE_METADATA - CODE_METADATA] = PMM_STATE_METADATA, [CODE_RESERVED - CODE_METADATA] = PMM_STATE_RESERVED,
        [CODE_ABSENT - CODE_METADATA] = PMM_STATE_ABSENT,     [CODE_CACHED - CODE_METADATA] = PMM_STATE_CACHED,
        [CODE_DRAWN - CODE_METADATA ... CODE_DRAWN_LAST - CODE_METADATA] = PMM_STATE_USED,
        [CODE_SHARED_ONCE - CODE_METADATA] = PMM_STATE_USED,  [CODE_BAD - CODE_METADATA] = PMM_STATE_BAD,
        [CODE_BAD_ONCE - CODE_METADATA] = PMM_STATE_USED,     [CODE_ZERO - CODE_METADATA] = PMM_STATE_ZERO,
        [CODE_LOST - CODE_METADATA] = PMM_STATE_LOST,
    };
    if (code_is_link(code)) {
        return PMM_STATE_FREE;
    }
    if (code == CODE_UNWRITTEN) {
        return PMM_STATE_ABSENT;
    }
    if (code_is_count(code)) {
        return PMM_STATE_USED;
    }
    return code - CODE_METADATA < ARRAY_LEN(states) ? states[code - CODE_METADATA] : PMM_STATE_LOST;
}

/* State of a frame in an open block. */
static enum pmm_state open_state(const struct pmm *pmm, const struct pmm_block *b, uint64_t frame)
{
    if (block_is_run(b) || b->mode == PMM_BLOCK_CACHED) {
        return block_is_run(b) ? PMM_STATE_RUN : PMM_STATE_CACHED;
    }
    unsigned index = index_in_block(frame);
    if (b->mode == PMM_BLOCK_OPEN && index >= b->carved) {
        return PMM_STATE_FREE;
    }
    enum pmm_state state = state_of_code(code_get(pmm, frame));
    return state == PMM_STATE_FREE && b->mode == PMM_BLOCK_CLOSED ? PMM_STATE_LOST : state;
}

static const struct pmm_block *open_block(const struct pmm *pmm, uint64_t frame)
{
    return frame < frames_below_1m() ? &pmm->low : &pmm->blocks[block_of(frame)];
}

enum pmm_state state_at(const struct pmm *pmm, const struct pmm_region *r, uint64_t frame, uint64_t *stop)
{
    uint64_t block = block_of(frame);
    if (!r->left_out && block_is_open(pmm, r, block)) {
        const struct pmm_block *b = open_block(pmm, frame);
        if (b->late && index_in_block(frame) >= b->carved) { /* what is RAM there is free */
            enum pmm_state there = unopened_state(pmm, frame, stop);
            *stop = part_end(frame, *stop);
            return there == PMM_STATE_ABSENT ? PMM_STATE_ABSENT : PMM_STATE_FREE;
        }
        bool all_alike = block_is_run(b) || b->mode == PMM_BLOCK_CACHED ||
                         (b->mode == PMM_BLOCK_OPEN && index_in_block(frame) >= b->carved);
        *stop = all_alike ? part_end(frame, FRAME_NONE) : frame + 1;
        return open_state(pmm, b, frame);
    }
    uint64_t extent_end = block_start(r->left_out ? region_end(r) : unopened_end(pmm, r, block));
    enum pmm_state state = unopened_state(pmm, frame, stop);
    *stop = *stop < extent_end ? *stop : extent_end;
    return r->left_out && state == PMM_STATE_UNTOUCHED ? PMM_STATE_RESERVED : state;
}

struct pmm_frame query_locked(const struct pmm *pmm, uint64_t frame)
{
    const struct pmm_region *r = region_find(pmm, block_of(frame));
    struct pmm_frame f = {PMM_STATE_OUTSIDE, 0, SIZE_MAX, 0, zone_of_block(block_of(frame)), 0, false};
    f.zone = frame < frames_below_1m() ? PMM_ZONE_1M : f.zone;
    if (r == NULL) {
        return f;
    }
    uint64_t stop;
    f.state = state_at(pmm, r, frame, &stop);
    f.region = pmm->places[region_place(pmm, r)].shown;
    f.node = r->node;
    if (r->left_out || !block_is_open(pmm, r, block_of(frame))) {
        return f;
    }
    f.owner = open_block(pmm, frame)->owner;
    if (f.state == PMM_STATE_RUN) {
        f.references = 1;
    } else if (f.state == PMM_STATE_USED) {
        unsigned code = code_get(pmm, frame);
        f.references = code_is_count(code) ? code : 1;
        f.goes_bad = code == CODE_BAD_ONCE || bad_is_waiting(pmm, frame);
    }
    return f;
}

struct pmm_frame pmm_query(const struct pmm *pmm, pfn_t frame)
{
    lock_take(lock_of(pmm));
    struct pmm_frame f = query_locked(pmm, frame.v);
    lock_drop(lock_of(pmm));
    return f;
}

bool pmm_is_used(struct pmm *pmm, pfn_t frame)
{
    lock_take(&pmm->lock);
    const struct pmm_block *b = block_find(pmm, frame.v);
    const bool is_used = b != NULL && open_state(pmm, b, frame.v) == PMM_STATE_USED;
    lock_drop(&pmm->lock);
    return is_used;
}

pfn_t pmm_frames_end(const struct pmm *pmm)
{
    lock_take(lock_of(pmm));
    const uint64_t end = run_end(pmm->runs[pmm->run_count - 1]);
    lock_drop(lock_of(pmm));
    return pfn(end);
}

npages_t pmm_count_ram(const struct pmm *pmm, pfn_t first, npages_t frames)
{
    const uint64_t end = first.v + frames.v;
    uint64_t count = 0;
    lock_take(lock_of(pmm));
    for (size_t i = run_at(pmm, first.v); i < pmm->run_count && pmm->runs[i].first.v < end; i++) {
        uint64_t from = pmm->runs[i].first.v, to = run_end(pmm->runs[i]);
        count += (to < end ? to : end) - (from > first.v ? from : first.v);
    }
    lock_drop(lock_of(pmm));
    return npages(count);
}

struct pmm_frame pmm_frame_state(const struct pmm *pmm, paddr_t address)
{
    return pmm_query(pmm, paddr_to_pfn(address));
}

static const char *mode_name(const struct pmm *pmm, const struct pmm_region *r, uint64_t frame)
{
    static const char *const names[] = {"never used", "open", "a run's first", "a run's", "cached", "closed"};
    if (r == NULL || r->left_out || !block_is_open(pmm, r, block_of(frame))) {
        return r == NULL ? "none" : r->left_out ? "left out" : names[PMM_BLOCK_NEVER];
    }
    unsigned mode = open_block(pmm, frame)->mode;
    return mode < ARRAY_LEN(names) ? names[mode] : "unknown";
}

enum status pmm_complain(struct pmm *pmm, const char *call, uint64_t frame, const char *why, const void *caller)
{
    lock_take(&pmm->lock);
    struct pmm_frame f = query_locked(pmm, frame);
    const char *mode = mode_name(pmm, region_find(pmm, block_of(frame)), frame);
    lock_drop(&pmm->lock);
    char region[] = "region 00000";
    fmt_text(region, sizeof region, f.region == SIZE_MAX ? "no region" : "region %zu", f.region);
    return pmm_misuse(pmm, "%s: frame at %#lx: %s (%s, references %u, %s, block %#lx %s, owner %u, caller %p)", call,
                      pfn_to_paddr(pfn(frame)).v, why, pmm_state_name(f.state), f.references, region, block_of(frame),
                      mode, f.owner, caller);
}

void pmm_walk(const struct pmm *pmm, bool (*visit)(void *ctx, pfn_t first, npages_t frames, enum pmm_state state),
              void *ctx)
{
    for (size_t i = 0; i < pmm->run_count; i++) {
        uint64_t first = pmm->runs[i].first.v, end = run_end(pmm->runs[i]);
        enum pmm_state state = PMM_STATE_OUTSIDE;
        uint64_t stop;
        for (uint64_t at = first; at < end; at = stop) {
            enum pmm_state next = state_at(pmm, region_find(pmm, block_of(at)), at, &stop);
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
