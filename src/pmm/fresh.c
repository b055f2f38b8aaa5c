/*
 * Blocks never used whose 512 frames are all usable: for requests of 2 MiB when no opened block is wholly free.
 *
 * The run list says where they are, and a search goes on from where the one before has found something. Where runs
 * are short it passes many that hold no such block. So a region of up to 64 blocks has a bit a block, and no search.
 */
#include "pmm/open.h"

uint64_t whole_bits_of(const struct pmm_region *r, uint64_t first, uint64_t end)
{
    return !has_few_blocks(r) ? 0 : bits_from(first - r->base) & ~bits_from(end - r->base);
}

void fresh_whole_add(struct pmm *pmm, struct pmm_region *r, uint64_t first, uint64_t blocks)
{
    if (blocks > 0) {
        r->fresh_whole += (uint32_t)blocks;
        r->fresh_whole_from = 0;
        if (!has_few_blocks(r)) {
            r->plain = r->plain_end = 0; /* there may be more of them now */
        }
        r->whole_bits |= whole_bits_of(r, first, first + blocks);
        supply_update(pmm, r, PMM_SUPPLY_FRESH_WHOLE, true);
    }
}

static bool has_whole_block(struct frame_run run) /* most runs that have none are short */
{
    return run.frames.v >= PMM_BLOCK_FRAMES
           && (run.frames.v >= 2 * PMM_BLOCK_FRAMES
               || block_of(run.first.v + PMM_BLOCK_FRAMES - 1) < block_of(run_end(run)));
}

/* The hint's run holds a block of r that is whole: so are all those beside it, up to the next hold. */
void plain_learn(const struct pmm *pmm, struct pmm_region *r, struct pmm_list_hint hint)
{
    if (has_few_blocks(r)) {
        return; /* each has a bit */
    }
    struct frame_run run = pmm->runs[hint.run];
    uint64_t first = run.first.v > 0 ? run.first.v : 1, stop = run_end(run);
    if (hint.hold > 0 && hold_end(pmm->holds[hint.hold - 1]) > first) {
        first = hold_end(pmm->holds[hint.hold - 1]);
    }
    if (hint.hold < pmm->hold_count && pmm->holds[hint.hold].first.v < stop) {
        stop = pmm->holds[hint.hold].first.v;
    }
    uint64_t from = block_of(first + PMM_BLOCK_FRAMES - 1), to = block_of(stop);
    r->plain = (uint32_t)(from > r->base ? from : r->base);
    r->plain_end = (uint32_t)(to < region_end(r) ? to : region_end(r));
}

static uint64_t whole_block_in(const struct pmm *pmm, struct pmm_region *r, uint64_t first_block, uint64_t end_block,
                               struct pmm_list_hint *hint)
{
    if (surely_whole(r, first_block)) {
        return first_block;
    }
    if (end_block - first_block == 1 && hint_fits(pmm, *hint, block_start(first_block))) {
        return is_whole_at(pmm, *hint, first_block) ? first_block : FRAME_NONE;
    }
    uint64_t found = FRAME_NONE, end = block_start(end_block);
    struct stretch s = stretch_near(pmm, block_start(first_block), *hint);
    const struct frame_run *run, *runs_end = &pmm->runs[pmm->run_count];
    do {
        for (run = &pmm->runs[s.run]; run < runs_end && !has_whole_block(*run); run++) {
        }
        s.run = (size_t)(run - pmm->runs);
        if (!stretch_next(pmm, &s, end)) {
            break;
        }
        found = whole_blocks(&s) > 0 ? whole_first(&s) : FRAME_NONE;
    } while (found == FRAME_NONE);
    if (found != FRAME_NONE) {
        plain_learn(pmm, r, stretch_hint(&s));
    }
    *hint = stretch_hint(&s);
    return found;
}

__attribute__((noinline)) static uint64_t search(const struct pmm *pmm, struct pmm_region *r)
{
    uint64_t from = r->fresh_whole_from > r->watermark ? r->fresh_whole_from : r->watermark;
    uint64_t end = region_end(r), block = FRAME_NONE;
    if (from < end) {
        block = whole_block_in(pmm, r, from, end, &r->fresh_whole_at);
    }
    r->fresh_whole_from = (uint32_t)(block == FRAME_NONE ? end : block);
    struct pmm_list_hint at = r->in_gap; /* which stays the first gap's */
    for (uint32_t d = r->gaps; d != PMM_NO_BLOCK && block == FRAME_NONE; d = pmm->blocks[d].gap_next) {
        block = whole_block_in(pmm, r, d - pmm->blocks[d].gap_blocks, d, &at);
    }
    return block;
}

uint64_t fresh_whole_block(const struct pmm *pmm, struct pmm_region *r)
{
    if (!has_few_blocks(r)) {
        uint64_t block = extent_bottom(pmm, r);
        if (block == r->plain_end && block + 1 == region_end(r) && r->gaps != PMM_NO_BLOCK) {
            block = r->gaps - pmm->blocks[r->gaps].gap_blocks; /* what ends the plain ones is no whole one */
        }
        return surely_whole(r, block) ? block : search(pmm, r); /* what is plain lies in the region */
    }
    return r->whole_bits != 0 ? r->base + (unsigned)__builtin_ctzll(r->whole_bits) : FRAME_NONE;
}
