/*
 * The physical memory manager: theory, and the start.
 *
 * 1. Words. Frame: 4 KiB. Block: 512 frames, aligned. Region: whole blocks under one descriptor; runs that touch the
 *    same block belong to one region; what of its blocks is not RAM is absent. A block is *open* once its descriptor
 *    and states are backed, before that it was *never used*. Carved: frames below a block's mark, which have been on
 *    its stack. Class: kernel or user; blocks are drawn from by one class at a time.
 *
 * 2. Data. states[frame], one u16:
 *        0              never carved                    65001..65003  metadata, reserved, absent
 *        1..65000       in use, that many references    0xFE00 + i    free; frame i is below it, or is it: bottom
 *    blocks[block], 32 bytes; a zeroed one was never used. Both arrays lie at computed addresses and are backed a page
 *    at a time: a page of states serves 4 blocks, a page of descriptors 128. Frames below 1 MiB have a descriptor of
 *    their own in struct pmm, so that they are served last. A region has 8 stacks a class of partly free blocks by
 *    free count (fullest first, a mask finds it), stacks of blocks with nothing in use, and extents of never-used
 *    blocks (region.c). The PMM lists the regions that can give something, a list for each kind of thing, those at or
 *    above 4 GiB apart from those below.
 *
 * 3. Alloc: pop the current block's top frame, or carve the next. Block exhausted: from the first group that has one,
 *    the fullest partly free block of the class, a block with nothing in use, a block never used. Then the other
 *    class's blocks; then memory below 1 MiB. All list heads: O(1), plus O(log runs + log holds) for each block
 *    opened, plus one step for each gap that holds nothing usable.
 *
 * 4. Free: the frame's code must be 1 in an open block, else the caller is wrong. Push. When the free count passes
 *    `rise` the block moves up one stack. O(1); finding the block is O(1) in the stretch last used of each group, else
 *    O(log regions). Allocating and freeing by turns at any count moves nothing: a current block lies on no stack.
 *
 * 5. Metadata. Opening a block backs up to two pages, each with up to `table_levels` tables. The frames come from open
 *    kernel blocks, else from the new block itself, else from any open block. For a user block a kernel block is
 *    opened first, if need be: so user blocks stay whole. At the start all pages and tables that will ever be needed
 *    are counted (O(regions): only first and last pages matter) and those that exist are taken off; the rest is
 *    *earmarked*. Nothing else may put pages or tables between the first and the last page of an array, or the count
 *    would be too high (safe, but frames are lost). When a page is backed, `earmarked` falls and `metadata` grows by
 *    what it took.
 *
 * 6. Why an alloc cannot fail while free > promised. Let F be the free frames in open blocks, N those in never-used
 *    blocks, E the earmark: free = F + N - E, and opening a block changes neither side: each frame paid lowers F + N
 *    and E by one. All units still missing for never-used blocks are in E, so N + F >= E + 1 frames are there to pay
 *    whatever must be backed. If F > 0 the lists have a frame. If F = 0 a never-used block has a usable frame, and is
 *    opened. If F and that block's own frames cover its cost, they pay. If not (a few frames between holes),
 *    open_together() opens never-used blocks in ascending order, and lets usable frames of the *next* never-used
 *    blocks pay, up to the block whose frame paid last. Its supply is all of F + N in one sequence, its demand at most
 *    E: it cannot run dry. It opens at least one block, so this ends: at the latest with no usable never-used frame,
 *    when F = free + E > 0. It may walk over many tiny runs, once in the life of each. A claim (claim.c) lowers free
 *    first and names its frames in claim_first, so nothing is paid with them: the same argument holds for it.
 *
 * 7. Regions left out. A region that brings no more frames than new units is not worth having (in ascending order;
 *    shared pages count for the first). Regions with frames in use or metadata are always kept: their pages exist. If
 *    what is left is still not solvent, held frames no longer count as brought; if that does not help there is no
 *    memory to manage.
 *
 * 8. Holds. The list speaks for never-used blocks only. When a block is opened the list is written into its states,
 *    which are the truth from then on; what the list says of open blocks is history. So USED and METADATA holds, whose
 *    blocks are opened at the start, leave the list there.
 *
 * 9. When the backing fails, it lied in its contract: reported, and no block is opened any more, since frames of
 *    never-used blocks may have paid. Open blocks go on serving.
 *
 * 10. Context: one CPU, interrupts off; no call waits, allocates or calls back.
 *
 * Rejected: 16 extents a region with the smallest opened when there are more (16 TiB hold many; gaps in descriptors
 * cost nothing); a reserve of frames kept for metadata (six frames lie idle, and tiny runs can still exhaust it); an
 * exact plan of all that is to be opened before anything is (it needs memory); looking for a block that can pay for
 * itself (a scan).
 */
#include "lib/string.h"
#include "pmm/internal.h"

static enum status check_lists(const struct pmm_config *c)
{
    uint64_t at = 0;
    for (size_t i = 0; i < c->run_count; i++) {
        uint64_t first = c->runs[i].first.v, frames = c->runs[i].frames.v;
        bool apart = i == 0 || first > at;
        if (!apart || frames == 0 || first + frames < first || block_of(first + frames) >= PMM_NO_BLOCK - 1) {
            return STATUS_INVALID;
        }
        at = first + frames;
    }
    at = 0;
    size_t run = 0;
    for (size_t i = 0; i < c->hold_count; i++) {
        struct frame_hold h = c->holds[i];
        while (run < c->run_count && run_end(c->runs[run]) <= h.first.v) {
            run++;
        }
        bool inside = run < c->run_count && c->runs[run].first.v <= h.first.v && hold_end(h) <= run_end(c->runs[run]);
        if (!inside || h.first.v < at || h.frames == 0 || h.kind > HOLD_METADATA) {
            return STATUS_INVALID;
        }
        at = hold_end(h);
    }
    return STATUS_OK;
}

static enum status check_config(const struct pmm_config *c)
{
    bool aligned = is_page_aligned(ptr_to_vaddr(c->states).v) && is_page_aligned(ptr_to_vaddr(c->blocks).v);
    if (c->run_count == 0 || c->hold_count > c->hold_capacity || !aligned || c->backing.missing == NULL
        || c->backing.back == NULL || c->backing.table_levels > PMM_TABLE_LEVELS_MAX) {
        return STATUS_INVALID;
    }
    enum status s = check_lists(c);
    if (s != STATUS_OK) {
        return s;
    }
    size_t regions = pmm_count_regions(c->runs, c->run_count);
    return regions > c->region_capacity || regions > PMM_REGIONS_MAX ? STATUS_LIMIT : STATUS_OK;
}

size_t pmm_count_regions(const struct frame_run *runs, size_t run_count)
{
    size_t count = 0;
    for (size_t i = 0; i < run_count; i++) {
        count += i == 0 || block_of(runs[i].first.v) > block_of(run_end(runs[i - 1]) - 1);
    }
    return count;
}

/* Regions from the runs, every block never used, on no list. */
static void make_regions(struct pmm *pmm)
{
    struct pmm_region *r = NULL;
    pmm->region_count = 0;
    for (size_t i = 0; i < pmm->run_count; i++) {
        uint64_t first = block_of(pmm->runs[i].first.v), end = block_of(run_end(pmm->runs[i]) - 1) + 1;
        if (r == NULL || first >= region_end(r)) {
            r = &pmm->regions[pmm->region_count++];
            memset(r, 0xFF, sizeof *r); /* all lists and stacks none */
            r->base = (uint32_t)first;
            r->blocks = r->absent = 0;
            memset(r->masks, 0, sizeof r->masks);
            r->listed = r->left_out = 0;
        }
        r->absent += (uint32_t)((end - region_end(r)) * PMM_BLOCK_FRAMES - pmm->runs[i].frames.v);
        r->blocks = (uint32_t)(end - r->base);
    }
    pmm->untouched = 0;
    for (r = pmm->regions; r < pmm->regions + pmm->region_count; r++) {
        r->watermark = r->base;
        r->free = r->untouched = usable_count(pmm, block_start(r->base), block_start(region_end(r)));
        pmm->untouched += r->untouched;
    }
}

static bool has_live_holds(const struct pmm *pmm, const struct pmm_region *r)
{
    uint64_t end = block_start(region_end(r));
    for (size_t i = hold_at(pmm, block_start(r->base)); i < pmm->hold_count && pmm->holds[i].first.v < end; i++) {
        if (pmm->holds[i].kind != HOLD_RESERVED) {
            return true;
        }
    }
    return false;
}

static uint64_t region_frames(const struct pmm_region *r) { return block_start(r->blocks) - r->absent; }

/* Count the units of all regions worth having; leave the others out. `strict`: held frames do not count as brought. */
static void count_units(struct pmm *pmm, bool strict)
{
    struct unit_counter counter = {.levels = pmm->backing.table_levels};
    for (struct pmm_region *r = pmm->regions; r < pmm->regions + pmm->region_count; r++) {
        struct unit_counter with = counter;
        units_add_blocks(pmm, &with, r->base, region_end(r));
        uint64_t brought = strict ? r->untouched : region_frames(r);
        if (units_total(&with) - units_total(&counter) >= brought && !has_live_holds(pmm, r)) {
            r->left_out = 1;
            pmm->untouched -= r->untouched;
            r->free = r->untouched = 0;
        } else {
            counter = with;
        }
    }
    pmm->units = units_total(&counter);
}

/* Units that exist already: behind the blocks in use, and tables that the ends of the arrays share with others. */
static uint64_t units_existing(const struct pmm *pmm)
{
    struct unit_counter counter = {.levels = pmm->backing.table_levels};
    uint64_t first, last;
    if (!kept_edges(pmm, &first, &last)) {
        return 0;
    }
    units_add_edge(pmm, &counter, first);
    for (size_t i = 0; i < pmm->hold_count; i++) {
        if (pmm->holds[i].kind != HOLD_RESERVED) {
            units_add_blocks(pmm, &counter, block_of(pmm->holds[i].first.v), block_of(hold_end(pmm->holds[i]) - 1) + 1);
        }
    }
    units_add_edge(pmm, &counter, last);
    return units_total(&counter);
}

/* Regions, units, counts. => OK; NOMEM: what is free does not cover the earmark. */
static enum status take_stock(struct pmm *pmm, bool strict)
{
    make_regions(pmm);
    count_units(pmm, strict);
    uint64_t existing = units_existing(pmm);
    pmm->earmarked = pmm->units - existing;
    if (pmm->earmarked > pmm->untouched) {
        return STATUS_NOMEM;
    }
    pmm->spare = pmm->untouched - pmm->earmarked;
    pmm->metadata = pmm->used_at_start = pmm->ram = 0;
    for (size_t i = 0; i < pmm->hold_count; i++) {
        pmm->metadata += pmm->holds[i].kind == HOLD_METADATA ? pmm->holds[i].frames : 0;
        pmm->used_at_start += pmm->holds[i].kind == HOLD_USED ? pmm->holds[i].frames : 0;
    }
    pmm->metadata_fixed = (int64_t)pmm->metadata - (int64_t)existing;
    for (size_t i = 0; i < pmm->region_count; i++) {
        pmm->ram += region_frames(&pmm->regions[i]);
    }
    pmm->reserved = pmm->ram - pmm->untouched - pmm->metadata - pmm->used_at_start;
    return STATUS_OK;
}

/* Open the blocks with frames in use; then those holds are history. */
static enum status adopt(struct pmm *pmm)
{
    uint64_t next = 0;
    for (size_t i = 0; i < pmm->hold_count; i++) {
        struct frame_hold h = pmm->holds[i];
        uint64_t block = block_of(h.first.v) > next ? block_of(h.first.v) : next;
        for (; h.kind != HOLD_RESERVED && block_start(block) < hold_end(h); block++) {
            if (open_cost(pmm, block).v > 0) {
                return STATUS_INVALID;
            }
            enum status s = block_open(pmm, &pmm->regions[region_find(pmm, block)], block, 0);
            if (s != STATUS_OK) {
                return s;
            }
            next = block + 1;
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < pmm->hold_count; i++) {
        if (pmm->holds[i].kind == HOLD_RESERVED) {
            pmm->holds[kept++] = pmm->holds[i];
        }
    }
    pmm->hold_count = kept;
    return STATUS_OK;
}

static void say_what_is_left_out(const struct pmm *pmm)
{
    size_t regions = 0;
    uint64_t frames = 0;
    for (size_t i = 0; i < pmm->region_count; i++) {
        regions += pmm->regions[i].left_out;
        frames += pmm->regions[i].left_out ? region_frames(&pmm->regions[i]) : 0;
    }
    if (regions > 0) {
        report(REPORT_NOTE, "pmm: %zu regions of %lu frames in all are left out: their metadata would take as much",
               regions, frames);
    }
}

enum status pmm_init(struct pmm *pmm, const struct pmm_config *config)
{
    memset(pmm, 0, sizeof *pmm);
    enum status s = check_config(config);
    if (s != STATUS_OK) {
        return s;
    }
    pmm->states = config->states;
    pmm->blocks = config->blocks;
    pmm->regions = config->regions;
    pmm->runs = config->runs;
    pmm->run_count = config->run_count;
    pmm->holds = config->holds;
    pmm->hold_count = config->hold_count;
    pmm->hold_capacity = config->hold_capacity;
    pmm->backing = config->backing;
    pmm->none.rise = pmm->low.rise = RISE_NEVER;
    pmm->none.stack = pmm->low.stack = STACK_NONE;
    pmm->current[0] = pmm->current[1] = &pmm->none;
    memset(pmm->supply, 0xFF, sizeof pmm->supply); /* PMM_NO_REGION */
    uint64_t end = block_of(run_end(pmm->runs[pmm->run_count - 1]) - 1) + 1;
    if (!arrays_are_apart(pmm, block_of(pmm->runs[0].first.v), end)) {
        return STATUS_INVALID;
    }
    s = take_stock(pmm, false);
    if (s == STATUS_NOMEM) {
        s = take_stock(pmm, true);
    }
    if (s != STATUS_OK) {
        return s;
    }
    for (size_t i = 0; i < pmm->region_count; i++) {
        supply_update(pmm, &pmm->regions[i], PMM_SUPPLY_FRESH, pmm->regions[i].untouched > 0);
    }
    s = adopt(pmm);
    if (s == STATUS_OK) {
        say_what_is_left_out(pmm);
    }
    return s;
}
