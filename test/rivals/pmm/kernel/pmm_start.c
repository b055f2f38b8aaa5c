/*
 * The start of the kernel on a way: what is free, the reserve for arrays, the table behind its addresses, the way.
 *
 * How much a way's arrays take it says only while it starts, over the memory that is left beside them. So the reserve
 * is what the dearest takes; what it does not use waits to be handed out. The table is backed whole: that is what late
 * backing saves.
 */
#include "lib/string.h"
#include "rivals/pmm/kernel/real.h"
#include "rivals/pmm/kernel/side.h"

/* A frame: the buddy's 9 bytes, the table's 2 and 4 a block; tables over these; a view's tables; some to round up. */
enum { RESERVE_BYTES = 12, TABLES_ONE_IN = 256, RESERVE_LEAST = 64 };

const struct frames_way *side_way;

static struct pmm *starting;

static pfn_t take_reserve(void)
{
    struct pmm *pmm = starting;
    if (pmm->reserve_used == pmm->reserve.frames.v) {
        arch_fatal("the reserve for the arrays of a way is too small (RESERVE_BYTES)");
    }
    return pfn_add(pmm->reserve.first, pmm->reserve_used++);
}

/* ---- What is free ---- */

/* Frames [first, end) are one more stretch. => false: there is no room. */
static bool add_given(struct pmm *pmm, uint64_t first, uint64_t end, size_t room)
{
    if (first >= end) {
        return true;
    }
    if (pmm->given_count == room) {
        return false;
    }
    pmm->given[pmm->given_count++] = (struct frame_run){pfn(first), npages(end - first)};
    return true;
}

/* The runs without the holds, both sorted. */
static bool find_free(struct pmm *pmm, const struct pmm_config *config, size_t room)
{
    size_t h = 0;
    bool fits = true;
    for (size_t i = 0; i < config->run_count; i++) {
        uint64_t at = config->runs[i].first.v;
        const uint64_t end = run_end(config->runs[i]);
        pmm->ram += config->runs[i].frames.v;
        for (; h < config->hold_count && config->holds[h].first.v < end; h++) {
            fits = fits && add_given(pmm, at, config->holds[h].first.v, room);
            at = hold_end(config->holds[h]);
        }
        fits = fits && add_given(pmm, at, end, room);
    }
    return fits;
}

/* Cut off the end of the longest stretch. => false: it is too short. */
static bool cut_reserve(struct pmm *pmm)
{
    struct frame_run *longest = pmm->given;
    for (size_t i = 1; i < pmm->given_count; i++) {
        longest = pmm->given[i].frames.v > longest->frames.v ? &pmm->given[i] : longest;
    }
    const uint64_t all = pmm_frames_end(pmm).v;
    const uint64_t frames = bytes_to_pages_up(all * RESERVE_BYTES).v + all / TABLES_ONE_IN + RESERVE_LEAST;
    if (pmm->given_count == 0 || longest->frames.v <= frames) {
        return false;
    }
    longest->frames.v -= frames;
    pmm->reserve = (struct frame_run){pfn(run_end(*longest)), npages(frames)};
    for (size_t i = 0; i < pmm->given_count; i++) {
        pmm->given_frames += pmm->given[i].frames.v;
    }
    return true;
}

/* ---- The table ---- */

static enum status back(struct pmm *pmm, const void *page)
{
    pfn_t frames[PMM_STACKS];
    const npages_t n = pmm->backing.missing(pmm->backing.ctx, page);
    for (uint64_t i = 0; i < n.v; i++) {
        frames[i] = take_reserve();
    }
    return n.v == 0 ? STATUS_OK : pmm->backing.back(pmm->backing.ctx, page, frames, n);
}

static enum status back_range(struct pmm *pmm, const void *first, const void *end)
{
    enum status s = STATUS_OK;
    for (vaddr_t page = vaddr_page(ptr_to_vaddr(first)); page.v < ptr_to_vaddr(end).v && s == STATUS_OK;
         page = vaddr_add_pages(page, 1)) {
        s = back(pmm, vaddr_to_ptr(page));
    }
    return s;
}

static enum status back_table(struct pmm *pmm)
{
    enum status s = STATUS_OK;
    for (size_t i = 0; i < pmm->run_count && s == STATUS_OK; i++) {
        const uint64_t first = pmm->runs[i].first.v, end = run_end(pmm->runs[i]);
        s = back_range(pmm, &pmm->states[first], &pmm->states[end]);
        if (s == STATUS_OK) {
            s = back_range(pmm, &pmm->taken[first / PMM_BLOCK_FRAMES], &pmm->taken[end / PMM_BLOCK_FRAMES + 1]);
        }
    }
    return s;
}

static void mark(struct pmm *pmm, uint64_t first, uint64_t frames, unsigned side)
{
    for (uint64_t i = 0; i < frames; i++) {
        pmm->states[first + i] = (uint16_t)side;
    }
}

static void mark_hold(struct pmm *pmm, struct frame_hold hold)
{
    static const uint16_t sides[] = {
        [HOLD_RESERVED] = SIDE_RESERVED, [HOLD_USED] = 1, [HOLD_METADATA] = SIDE_METADATA, [HOLD_BAD] = SIDE_BAD};
    mark(pmm, hold.first.v, hold.frames, sides[hold.kind]);
    pmm->used_at_start += hold.kind == HOLD_USED ? hold.frames : 0;
    pmm->metadata += hold.kind == HOLD_METADATA ? hold.frames : 0;
    pmm->reserved += hold.kind == HOLD_RESERVED || hold.kind == HOLD_BAD ? hold.frames : 0;
    pmm->bad += hold.kind == HOLD_BAD ? hold.frames : 0;
}

/* ---- All together ---- */

static enum status start_way(struct pmm *pmm)
{
    starting = pmm;
    enum status s = back_table(pmm);
    if (s != STATUS_OK) {
        return s;
    }
    real_use((struct real_source){.take = take_reserve}, pmm->given, pmm->given_count);
    pmm->way = side_way->start(pmm->given, pmm->given_count);
    return pmm->way == NULL ? STATUS_UNSUPPORTED : STATUS_OK;
}

enum status pmm_init(struct pmm *pmm, const struct pmm_config *config)
{
    side_way = frames_way(CAIRN_PMM_WAY);
    memset(pmm, 0, sizeof *pmm);
    pmm->runs = config->runs;
    pmm->run_count = config->run_count;
    pmm->hold_count = config->hold_count;
    pmm->states = config->states;
    pmm->taken = (uint32_t *)(void *)config->blocks;
    pmm->backing = config->backing;
    pmm->zero_frame = FRAMES_NONE.v;
    pmm->given = (struct frame_run *)(void *)config->regions; /* there are none */
    if (!find_free(pmm, config, config->region_capacity * PMM_REGION_BYTES / sizeof *pmm->given)) {
        return STATUS_LIMIT;
    }
    if (!cut_reserve(pmm)) {
        return STATUS_NOMEM;
    }
    enum status s = start_way(pmm);
    if (s != STATUS_OK) {
        return s;
    }
    for (size_t i = 0; i < config->hold_count; i++) {
        mark_hold(pmm, config->holds[i]);
    }
    mark(pmm, pmm->reserve.first.v, pmm->reserve_used, SIDE_METADATA);
    pmm->metadata += pmm->reserve_used;
    for (uint64_t i = pmm->reserve_used; i < pmm->reserve.frames.v; i++) {
        side_wait(pmm, pmm->reserve.first.v + i);
    }
    return STATUS_OK;
}

size_t pmm_count_descriptors(const struct frame_run *runs, size_t run_count)
{
    (void)runs;
    return run_count;
}
