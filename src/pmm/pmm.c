/*
 * The physical memory manager: theory, and the start.
 *
 * 1. Words. Frame: 4 KiB. Block: 512 frames, aligned. Region: whole blocks under one descriptor; runs that touch the
 *    same block belong to one region; what of its blocks is not RAM is absent. A block is *open* once its descriptor
 *    and states are backed, before that it was *never used*. Carved: frames below a block's mark, which have been on
 *    its stack. Class: kernel or user; blocks are drawn from by one class at a time.
 *
 * 2. Data. states[frame], one u16:
 *        1..65000       in use, that many references    65001..65009  what is no link and no count (internal.h)
 *        0xFE00 + i     free; if it is on its block's stack, frame i is below it, or is it: bottom
 *    blocks[block], 32 bytes; a zeroed one was never used. The mode is read first: in an open block a code means
 *    something below the carve mark only, so that a block that is wholly free forgets its stack in one step; in one
 *    handed out whole none does. In a block with holes (`late`) the runs say what is RAM from the mark on; a hole
 *    below the mark has the code of fresh memory (docs/design/0023-late-codes.md). A free frame below the mark is on
 *    the stack or *loose*: its code says no more than that it is free, and its descriptor names the eighth of the
 *    block that it is in. So a range is taken out of the middle of a stack by forgetting the stack (block.c), and all
 *    searches look at four codes at once (codes.h). See docs/design/0013-loose-frames.md. Both arrays lie at computed
 *    addresses and are backed a page at a time: a page of states serves 4 blocks, a page of descriptors 128. Frames
 *    below 1 MiB have a descriptor of their own in struct pmm. A region is cut at 16 MiB, at 4 GiB and at borders of
 *    nodes; each piece has 8 stacks a class of partly free blocks by free count (fullest first, a mask finds it),
 *    stacks of blocks with nothing in use, and extents of never-used blocks (region.c). The pieces that can give
 *    something are listed by what, zone and node.
 *
 * 3. Alloc: from this CPU's magazine (section 10). Else pop the current block's top frame, take a loose one, or carve
 *    the next. Block exhausted: nodes by distance, in each HIGH before 4G, then 16M the same way: the fullest partly
 *    free block of the class, a block with nothing in use, a block never used. Then another CPU's current block; then
 *    an owner's block becomes everybody's, and the other class's blocks (for the kernel these come first); then memory
 *    below 1 MiB (take.c). Which nodes have what is a word of bits a zone. A list that gets its first entry only says
 *    that there are news: the next alloc looks whether its current block is outdone; one call for one frame moves one
 *    block at most (docs/design/0016-the-longest-alloc.md). An owner without a block to itself draws from one
 *    partly free block of its choice (near.c). O(1), plus O(log runs + log holds
 *    + stretches in the block) for each block opened, plus one step for each gap that holds nothing usable.
 *
 * 4. Free: the code must say once, below the mark of a block with a stack, else the caller is wrong. To the magazine,
 *    or push; at a few counts the block moves up one stack (stack.c). A frame that a magazine gave out has its own
 *    code, one a class (CODE_DRAWN), that no block forgets while it is in use: where all blocks are open and this
 *    CPU's magazines serve them, the code alone says which magazine takes it, and the block is not looked at (see
 *    docs/design/0017-freeing-in-random-order.md). Finding the block is O(1): its descriptor is at a computed address,
 *    and the backing says whether it is there. Allocating and freeing by turns at any count moves nothing: a current
 *    block lies on no stack.
 *
 * 5. Metadata. Block 0, with its two descriptors, is opened at the start (docs/design/0025-openings-in-one-go.md).
 *    Opening a block backs up to two pages, each with up to `table_levels` tables. The frames come from open
 *    kernel blocks, else from the new block itself, else from any open block. For a user block a kernel block is
 *    opened first, if need be: so user blocks stay whole. The last never-used block that could be a run does not pay
 *    for itself: it is opened as a claim is (run.c). At the start all pages and tables that will ever be needed
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
 * 10. Magazines (magazine.c, fast.h): two of 64 frames a CPU and class, and two whole blocks. The loaded one is used
 *    without the lock, interrupts on: a flag says that this CPU is inside, and who interrupts it goes to the blocks.
 *    Frames there are free and cached, out of all counts of blocks. Everything else holds the lock with interrupts off;
 *    no call waits; callbacks of memory pressure are called without it (pressure.c).
 *
 * 11. Who may have a frame. `spare` is what is free and not set aside; promises and the emergency reserve are other
 *    accounts. A request leaves the reserves of the zones below the one it asks for. What is short is looked for in the
 *    order: magazines and zero pool, owners' blocks, callbacks.
 *
 * 12. Corruption. A pop or push that meets what no correct code wrote closes the block: its free frames are lost and
 *    counted so, its used ones are lost when freed. How many were free it says itself, or, where that cannot be, its
 *    states. Where these were to pay the earmark, `debt` keeps the rest honest.
 *
 * Rejected: 16 extents a region with the smallest opened when there are more (16 TiB hold many; gaps in descriptors
 * cost nothing); a reserve of frames kept for metadata (six frames lie idle, and tiny runs can still exhaust it); an
 * exact plan of all that is to be opened before anything is (it needs memory); looking for a block that can pay for
 * itself (a scan).
 */
#include "lib/string.h"
#include "pmm/block.h"

enum {
    CACHE_ZONE_SHARE = 4,         /* 1/this of memory in a zone and above makes it the one of the magazines */
    OWNER_THRESHOLD_FRAMES = PMM_BLOCK_FRAMES / 2, /* see docs/design/0041-owner-policy.md */
    OWNER_GUARD = 24,
};

/* What the fast paths find where there are no magazines: one that is always busy. */
static const struct pmm_cpu no_cpu = {.inside = 2};

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
        if (!inside || h.first.v < at || h.frames == 0 || h.kind > HOLD_BAD) {
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
    bool nodes_fit = c->node_count <= PMM_NODES_MAX && (c->cpu_count == 0 || c->cpus != NULL) &&
                     c->owner_capacity <= PMM_OWNERS_MAX && (c->run_capacity == 0 || c->run_capacity >= c->run_count);
    for (size_t i = 0; i < c->cpu_count && c->cpu_nodes != NULL; i++) {
        nodes_fit = nodes_fit && (c->cpu_nodes[i] == 0 || c->cpu_nodes[i] < c->node_count);
    }
    for (size_t i = 0; i < c->node_range_count; i++) {
        const struct pmm_node_range *r = &c->node_ranges[i];
        bool sorted = i == 0 || r->first.v >= c->node_ranges[i - 1].first.v + c->node_ranges[i - 1].frames.v;
        bool wraps = r->first.v + r->frames.v < r->first.v;
        nodes_fit = nodes_fit && sorted && !wraps && (r->node == 0 || r->node < c->node_count);
    }
    enum status s = nodes_fit ? check_lists(c) : STATUS_INVALID;
    if (s != STATUS_OK) {
        return s;
    }
    size_t regions = pmm_count_descriptors(c->runs, c->run_count);
    return regions > c->region_capacity || regions > PMM_REGIONS_MAX ? STATUS_LIMIT : STATUS_OK;
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
        if (hold_is_live(pmm->holds[i])) {
            units_add_blocks(pmm, &counter, block_of(pmm->holds[i].first.v), block_of(hold_end(pmm->holds[i]) - 1) + 1);
        }
    }
    units_add_edge(pmm, &counter, last);
    return units_total(&counter);
}

/* Magazines hold frames of the zones that most of memory lies in; those of lower ones go back to their blocks. */
static void choose_cache_zone(struct pmm *pmm)
{
    uint64_t all = 0, above = 0;
    for (unsigned zone = PMM_ZONE_16M; zone < PMM_ZONES; zone++) {
        all += pmm->zone_free[zone];
    }
    pmm->cache_zone = PMM_ZONE_HIGH;
    for (; pmm->cache_zone > PMM_ZONE_16M; pmm->cache_zone--) {
        above += pmm->zone_free[pmm->cache_zone];
        if (above * CACHE_ZONE_SHARE >= all) {
            return;
        }
    }
}

/* Regions, units, counts. => OK; NOMEM: what is free does not cover the earmark. */
static enum status take_stock(struct pmm *pmm, bool strict)
{
    enum status s = make_regions(pmm);
    if (s != STATUS_OK) {
        return s;
    }
    count_units(pmm, strict);
    uint64_t existing = units_existing(pmm);
    pmm->earmarked = pmm->units - existing;
    if (pmm->earmarked > pmm->untouched) {
        return STATUS_NOMEM;
    }
    pmm->spare = pmm->untouched - pmm->earmarked;
    pmm->metadata = pmm->used_at_start = pmm->ram = pmm->bad = pmm->whole_total = 0;
    for (size_t i = 0; i < pmm->hold_count; i++) {
        pmm->metadata += pmm->holds[i].kind == HOLD_METADATA ? pmm->holds[i].frames : 0;
        pmm->used_at_start += pmm->holds[i].kind == HOLD_USED ? pmm->holds[i].frames : 0;
        pmm->bad += pmm->holds[i].kind == HOLD_BAD ? pmm->holds[i].frames : 0;
    }
    pmm->metadata_fixed = (int64_t)pmm->metadata - (int64_t)existing;
    choose_cache_zone(pmm);
    for (size_t i = 0; i < pmm->region_count; i++) {
        region_ready(pmm, &pmm->regions[i]);
        pmm->whole_total += pmm->regions[i].left_out ? 0 : pmm->regions[i].blocks;
    }
    for (size_t i = 0; i < pmm->run_count; i++) {
        pmm->ram += pmm->runs[i].frames.v;
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
        for (; hold_is_live(h) && block_start(block) < hold_end(h); block++) {
            if (open_cost(pmm, block).v > 0) {
                return STATUS_INVALID;
            }
            enum status s = block_open(pmm, region_find(pmm, block), block, 0);
            if (s != STATUS_OK) {
                return s;
            }
            next = block + 1;
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < pmm->hold_count; i++) {
        if (!hold_is_live(pmm->holds[i])) {
            pmm->holds[kept++] = pmm->holds[i];
        }
    }
    pmm->hold_count = kept;
    return STATUS_OK;
}

/*
 * Block 0 has two descriptors, and frames on both sides of a border: to open it takes twice as long as any other block.
 * So that no call has to, it is opened here, where it or what is open pays for that: memory below 1 MiB does not.
 */
static enum status open_block_0(struct pmm *pmm)
{
    struct pmm_region *r = region_at(pmm, 0);
    if (r->base != 0 || r->left_out || block_is_open(pmm, r, 0)) {
        return STATUS_OK;
    }
    uint64_t there = pmm_free_frames(pmm) + pmm->earmarked - pmm->untouched;
    bool pays = there + usable_count(pmm, frames_below_1m(), block_start(1)) >= open_cost(pmm, 0).v;
    return pays ? block_open(pmm, r, 0, PMM_KERNEL) : STATUS_OK;
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

static void order_nodes(struct pmm *pmm, const struct pmm_config *c)
{
    pmm->node_count = c->node_count == 0 ? 1 : c->node_count;
    for (unsigned from = 0; from < pmm->node_count; from++) {
        uint8_t *order = pmm->node_order[from];
        for (unsigned n = 0; n < pmm->node_count; n++) { /* insertion: few nodes, and equal ones stay in order */
            unsigned at = n;
            for (; at > 0; at--) {
                unsigned other = order[at - 1];
                bool nearer = n == from || (other != from && c->node_distance != NULL
                              && c->node_distance[from * pmm->node_count + n]
                                     < c->node_distance[from * pmm->node_count + other]);
                if (!nearer) {
                    break;
                }
                order[at] = order[at - 1];
            }
            order[at] = (uint8_t)n;
        }
        for (unsigned n = 0; n < pmm->node_count; n++) {
            pmm->node_bits[from] |= 1ULL << (n * 8 + order[n]);
        }
    }
}

static void set_up_cpus(struct pmm *pmm, const struct pmm_config *c)
{
    pmm->cpus = c->cpus;
    pmm->cpu_count = c->cpu_count;
    for (size_t i = 0; i < c->cpu_count; i++) {
        struct pmm_cpu *cpu = &c->cpus[i];
        memset(cpu, 0, sizeof *cpu);
        cpu->lane = c->cpu_nodes == NULL ? 0U : c->cpu_nodes[i] % (unsigned)PMM_NODES_MAX << LANE_NODE_SHIFT;
        for (unsigned class = 0; class < PMM_CLASSES; class++) {
            cpu->loaded[class].frames = cpu->rooms[class][0];
            cpu->second[class].frames = cpu->rooms[class][1];
        }
    }
    pmm->only_cpu = c->cpu_count == 1 ? c->cpus : (struct pmm_cpu *)(uintptr_t)&no_cpu; /* never written: it is busy */
}

static void take_config(struct pmm *pmm, const struct pmm_config *c)
{
    pmm->states = c->states;
    pmm->blocks = c->blocks;
    pmm->regions = c->regions;
    pmm->region_capacity = c->region_capacity;
    pmm->places = (struct pmm_place *)(c->regions + c->region_capacity);
    pmm->runs = c->runs;
    pmm->run_count = c->run_count;
    pmm->run_capacity = c->run_capacity == 0 ? c->run_count : c->run_capacity;
    pmm->holds = c->holds;
    pmm->hold_count = c->hold_count;
    pmm->hold_capacity = c->hold_capacity;
    pmm->backing = c->backing;
    pmm->owners = c->owners;
    pmm->owner_capacity = c->owner_capacity;
    pmm->owner_threshold = OWNER_THRESHOLD_FRAMES;
    pmm->owner_guard = OWNER_GUARD;
    pmm->zero_pool = c->zero_pool;
    pmm->zero_capacity = c->zero_capacity;
    pmm->zero_frame = FRAME_NONE;
    pmm->node_ranges = c->node_ranges;
    pmm->node_range_count = c->node_range_count;
    pmm->lock.shared = c->cpu_count > 1;
    pmm->kinds_given = ~0ULL;
    order_nodes(pmm, c);
    pmm->low.stack = pmm->none.stack = STACK_NONE;
    for (unsigned node = 0; node < PMM_NODES_MAX; node++) {
        pmm->current[node][0] = pmm->current[node][1] = &pmm->none;
    }
    memset(pmm->supply, 0xFF, sizeof pmm->supply); /* PMM_NO_REGION */
}

enum status pmm_init(struct pmm *pmm, const struct pmm_config *config)
{
    memset(pmm, 0, sizeof *pmm);
    enum status s = check_config(config);
    if (s != STATUS_OK) {
        return s;
    }
    take_config(pmm, config);
    set_up_cpus(pmm, config);
    for (size_t i = 0; i < config->owner_capacity; i++) {
        pmm->owners[i].is_open = 0;
    }
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
    pmm->node_ranges = NULL;
    const struct pmm_region *first = region_at(pmm, 0);
    pmm->low_untouched = first->base == 0 && !first->left_out ? usable_count(pmm, 0, frames_below_1m()) : 0;
    for (size_t i = 0; i < pmm->region_count; i++) {
        supply_update(pmm, &pmm->regions[i], PMM_SUPPLY_FRESH, pmm->regions[i].untouched > 0);
        supply_update(pmm, &pmm->regions[i], PMM_SUPPLY_FRESH_WHOLE, pmm->regions[i].fresh_whole > 0);
    }
    s = adopt(pmm);
    if (s == STATUS_OK) {
        say_what_is_left_out(pmm);
        s = open_block_0(pmm);
    }
    return s;
}
