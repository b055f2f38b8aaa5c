/*
 * Contiguous runs: taking them (pmm_runs.h). A run inside a block is a range of frames; a longer one is whole blocks,
 * each of them taken in O(1), and the first frames of one more.
 */
#include "pmm/fast.h"
#include "pmm/run.h"
#include "pmm/whole.h"

enum { FLAGS_RUN = PMM_USER | PMM_BELOW_1M | PMM_BELOW_16M | PMM_BELOW_4G | PMM_EMERGENCY | PMM_NO_RECLAIM };

/* ---- Inside a block ---- */

/* A place in the part of a block that was never carved, without a look at a code; 512: none there. */
static unsigned beyond_the_mark(const struct pmm *pmm, const struct pmm_block *b, uint64_t start,
                                const struct run_wish *wish)
{
    unsigned limit = part_limit(pmm, b);
    if (wish->align > PMM_BLOCK_FRAMES || wish->boundary != 0) {
        return PMM_BLOCK_FRAMES;
    }
    uint64_t index = (b->carved + wish->align - 1) / wish->align * wish->align;
    bool fits = index + wish->frames <= limit && start + index + wish->frames <= wish->end;
    return fits ? (unsigned)index : (unsigned)PMM_BLOCK_FRAMES;
}

static bool take_in_block(struct pmm *pmm, struct pmm_block *b, const struct run_wish *wish, unsigned class,
                          uint64_t *first)
{
    if (b->free < wish->frames || !block_has_stack(b) || b->owner != 0) {
        return false;
    }
    block_be_written(pmm, b);
    uint64_t start = block_first(pmm, b);
    unsigned index = beyond_the_mark(pmm, b, start, wish);
    struct block_map map;
    bool has_map = index == PMM_BLOCK_FRAMES;
    if (has_map) {
        map = block_free_map(pmm, b);
        index = map_find(&map, start, wish);
    }
    if (index == PMM_BLOCK_FRAMES) {
        return false;
    }
    if (b->free == b->usable && b != &pmm->low && b->stack != STACK_CURRENT) {
        block_unstack(pmm, b);
        lane_set(b, (b->lane & ~(unsigned)LANE_CLASS) | class);
    }
    *first = start + index;
    block_take_range(pmm, b, *first, *first + wish->frames, has_map ? &map : NULL);
    return true;
}

/* The fullest blocks of the class, then the emptiest, before an idle one is broken. A few, in one zone of one node. */
static bool try_zone(struct pmm *pmm, enum pmm_zone zone, unsigned node, const struct run_wish *wish, unsigned class,
                     uint64_t *first)
{
    unsigned tried = 1; /* the emptiest */
    for (uint16_t i = pmm->supply[class][zone][node]; i != PMM_NO_REGION && tried < PMM_RUN_BLOCKS_TRIED;
         i = pmm->regions[i].links[class].next) {
        const struct pmm_region *r = &pmm->regions[i];
        for (unsigned level = (unsigned)(wish->frames - 1) / STACK_FRAMES; level < PMM_STACKS; level++) {
            uint32_t at = r->stacks[class][level];
            for (; at != PMM_NO_BLOCK && tried < PMM_RUN_BLOCKS_TRIED; at = pmm->blocks[at].next, tried++) {
                if (take_in_block(pmm, &pmm->blocks[at], wish, class, first)) {
                    return true;
                }
            }
        }
    }
    for (unsigned kind = class, next = PMM_SUPPLY_HOLED; kind <= PMM_SUPPLY_WHOLE; kind = next++) {
        uint16_t i = pmm->supply[kind][zone][node];
        struct pmm_region *r = i != PMM_NO_REGION ? &pmm->regions[i] : NULL;
        if (r != NULL && take_in_block(pmm, kind == class ? stack_emptiest(pmm, r, class) : stack_first(pmm, r, kind),
                                       wish, class, first)) {
            return true;
        }
    }
    return false;
}

/* Opened blocks; `any_block`: those below 16 MiB come after whole ones above, which the caller tries next. */
static bool try_quickly(struct pmm *pmm, unsigned flags, const struct run_wish *wish, bool any_block, uint64_t *first)
{
    enum pmm_zone lowest = any_block && has_whole_above_16m(pmm, flags, wish->frames) ? PMM_ZONE_4G : PMM_ZONE_16M;
    unsigned class = flags & PMM_USER, home = home_node(pmm);
    struct pmm_block *b = pmm->current[home][class];
    bool may = zone_leaves(pmm, (enum pmm_zone)pmm->regions[b->region].zone, flags, wish->frames);
    if (may && b != &pmm->none && take_in_block(pmm, b, wish, class, first)) {
        return true;
    }
    for (unsigned i = 0; i < pmm->node_count; i++) {
        for (enum pmm_zone zone = PMM_ZONE_HIGH; zone >= lowest; zone--) {
            if (zone_leaves(pmm, zone, flags, wish->frames)
                && try_zone(pmm, zone, pmm->node_order[home][i], wish, class, first)) {
                return true;
            }
        }
    }
    return false;
}

/*
 * The never-used frames of r in [from, end): the first place that serves, in one part of a block, is opened; no frame
 * of the run pays for that.
 */
static enum status try_stretches(struct pmm *pmm, struct pmm_region *r, uint64_t from, uint64_t end,
                                 const struct run_wish *wish, uint64_t *first)
{
    if (pmm->broken) {
        return STATUS_CORRUPT; /* nothing can be opened, and some of these frames may have paid */
    }
    for (uint64_t at = unopened_next(pmm, from); at < end;) {
        uint64_t stop = at, limit = part_end(at, end);
        uint64_t start = usable_next(pmm, at, limit, &stop);
        uint64_t run = start < limit ? fit_in_stretch(start, stop, wish) : FRAME_NONE;
        if (run != FRAME_NONE) {
            *first = run;
            untouched_taken(pmm, r, run, wish->frames);
            return open_claimed(pmm, r, run, wish->frames, 0);
        }
        at = unopened_next(pmm, start < limit ? stop : limit);
    }
    return STATUS_NOMEM;
}

static enum status try_below_1m(struct pmm *pmm, unsigned flags, const struct run_wish *wish, uint64_t *first)
{
    if (!zone_leaves(pmm, PMM_ZONE_1M, flags, wish->frames)) {
        return STATUS_NOMEM;
    }
    if (pmm->low.mode != PMM_BLOCK_NEVER) {
        return take_in_block(pmm, &pmm->low, wish, flags & PMM_USER, first) ? STATUS_OK : STATUS_NOMEM;
    }
    struct pmm_region *r = region_at(pmm, 0);
    bool is_there = r->base == 0 && !r->left_out;
    return is_there ? try_stretches(pmm, r, 0, frames_below_1m(), wish, first) : STATUS_NOMEM;
}

/* Every opened block, whatever it is; then never-used ones; memory below 1 MiB last. */
static enum status try_everything(struct pmm *pmm, unsigned flags, const struct run_wish *wish, uint64_t *first)
{
    unsigned class = flags & PMM_USER;
    for (size_t place = pmm->region_count; place-- > 0;) {
        struct pmm_region *r = region_at(pmm, place);
        if (r->left_out || !zone_leaves(pmm, (enum pmm_zone)r->zone, flags, wish->frames)) {
            continue;
        }
        for (uint64_t block = r->base; block < r->watermark; block++) {
            if (!block_is_open(pmm, r, block)) {
                block = unopened_end(pmm, r, block) - 1;
            } else if (take_in_block(pmm, &pmm->blocks[block], wish, class, first)) {
                return STATUS_OK;
            }
        }
        uint64_t from = r->base == 0 ? frames_below_1m() : block_start(r->base);
        enum status s = try_stretches(pmm, r, from, block_start(region_end(r)), wish, first);
        if (s != STATUS_NOMEM) {
            return s;
        }
    }
    return try_below_1m(pmm, flags, wish, first);
}

static enum status run_in_block(struct pmm *pmm, unsigned flags, const struct run_wish *wish, bool hard,
                                uint64_t *first)
{
    bool any_block = zone_limit(flags) > PMM_ZONE_1M && wish->align <= PMM_BLOCK_FRAMES && wish->end == FRAME_NONE;
    if (zone_limit(flags) > PMM_ZONE_1M && try_quickly(pmm, flags, wish, any_block, first)) {
        return STATUS_OK;
    }
    enum status s = STATUS_OK;
    uint64_t last = FRAME_NONE;
    struct pmm_block *b = any_block ? take_whole_block(pmm, flags, &s, &last) : NULL;
    if (last != FRAME_NONE) {
        return open_last(pmm, last, wish->frames, flags & PMM_USER, first);
    }
    if (b != NULL) { /* a whole block can serve any such wish */
        block_restack(pmm, b);
        return take_in_block(pmm, b, wish, flags & PMM_USER, first) ? STATUS_OK : STATUS_NOMEM;
    }
    if (s != STATUS_OK) {
        return s;
    }
    return hard ? try_everything(pmm, flags, wish, first) : STATUS_NOMEM;
}

/* ---- Whole blocks ---- */

/* The only block there is, never used, is a run. */
static enum status last_block(struct pmm *pmm, uint64_t block, unsigned class, uint64_t *first)
{
    enum status s = open_last(pmm, block, PMM_BLOCK_FRAMES, class, first);
    if (s == STATUS_OK) {
        struct pmm_block *b = &pmm->blocks[block];
        lane_set(b, (b->lane & ~(unsigned)LANE_CLASS) | class);
        b->mode = PMM_BLOCK_RUN_HEAD;
        b->next = RUN_OF_ONE_BLOCK;
    }
    return s;
}

/* `is_usual`: most calls come here, and it is worth having all of it inline. */
__attribute__((always_inline)) static inline enum status one_block(struct pmm *pmm, unsigned flags, bool is_usual,
                                                                   uint64_t *first)
{
    enum status s;
    uint64_t last;
    struct pmm_block *b = is_usual ? take_whole(pmm, flags, &s, &last) : take_whole_block(pmm, flags, &s, &last);
    if (b == NULL) {
        return last != FRAME_NONE ? last_block(pmm, last, flags & PMM_USER, first) : s == STATUS_OK ? STATUS_NOMEM : s;
    }
    lane_set(b, (b->lane & ~(unsigned)LANE_CLASS) | (flags & PMM_USER));
    hand_out_whole(pmm, b, PMM_BLOCK_RUN_HEAD);
    b->next = RUN_OF_ONE_BLOCK;
    *first = block_start((uint64_t)(b - pmm->blocks));
    return STATUS_OK;
}

/*
 * Take [first, first + frames), wholly free blocks found before. First what is opened, then the others' frames stop
 * being free, then they are opened: nothing of the run can pay for that.
 */
static enum status take_blocks(struct pmm *pmm, struct pmm_region *r, uint64_t first, uint64_t frames, unsigned class)
{
    uint64_t end = first + frames;
    for (uint64_t at = first; at < end; at += PMM_BLOCK_FRAMES) {
        uint64_t stop = part_end(at, end);
        struct pmm_block *b = &pmm->blocks[block_of(at)];
        if (!block_is_open(pmm, r, block_of(at))) {
            untouched_taken(pmm, r, at, stop - at);
            continue;
        }
        block_unstack(pmm, b);
        lane_set(b, (b->lane & ~(unsigned)LANE_CLASS) | class);
        if (stop - at == PMM_BLOCK_FRAMES) {
            hand_out_whole(pmm, b, at == first ? PMM_BLOCK_RUN_HEAD : PMM_BLOCK_RUN_PART);
        } else {
            block_take_range(pmm, b, at, stop, NULL);
        }
    }
    pmm->claim_whole = true;
    enum status s = open_claimed(pmm, r, first, frames, class);
    pmm->claim_whole = false;
    if (s == STATUS_OK && block_is_run(&pmm->blocks[block_of(first)])) {
        pmm->blocks[block_of(first)].mode = PMM_BLOCK_RUN_HEAD;
    }
    return s;
}

static enum status many_blocks(struct pmm *pmm, unsigned flags, const struct run_wish *wish, uint64_t *first)
{
    uint64_t blocks = (wish->frames + PMM_BLOCK_FRAMES - 1) / PMM_BLOCK_FRAMES;
    unsigned home = home_node(pmm);
    for (unsigned i = 0; i < pmm->node_count; i++) {
        for (size_t place = pmm->region_count; place-- > 0;) { /* the highest zone first */
            struct pmm_region *r = region_at(pmm, place);
            if (r->node != pmm->node_order[home][i] || r->free < wish->frames || block_start(r->base) >= wish->end
                || !zone_leaves(pmm, (enum pmm_zone)r->zone, flags, wish->frames)) {
                continue;
            }
            uint64_t block = region_find_blocks(pmm, r, blocks, wish);
            if (block != FRAME_NONE) {
                *first = block_start(block);
                return take_blocks(pmm, r, *first, wish->frames, flags & PMM_USER);
            }
        }
    }
    return STATUS_NOMEM;
}

/* A whole block of any kind, past the cache: the short way of alloc_run_locked. => OK; else all is to be tried. */
static enum status any_block(struct pmm *pmm, unsigned flags, pfn_t *first)
{
    uint64_t taken;
    enum status s = STATUS_NOMEM;
    lock_take(&pmm->lock);
    if (account_for(pmm, flags, PMM_BLOCK_FRAMES) != NULL) {
        pmm->spare -= PMM_BLOCK_FRAMES; /* first: what opens blocks must see it gone */
        s = one_block(pmm, flags, true, &taken);
        if (s == STATUS_OK) {
            *first = pfn(taken);
            pmm->allocated += PMM_BLOCK_FRAMES;
            trace(pmm, PMM_EVENT_ALLOC, taken, PMM_BLOCK_FRAMES);
        } else {
            pmm->spare += PMM_BLOCK_FRAMES;
        }
    }
    lock_drop(&pmm->lock);
    if (s == STATUS_OK && pmm->low_first != NULL) {
        low_look(pmm, flags);
    }
    return s;
}

/* ---- The call ---- */

static bool is_power_of_two(uint64_t x) { return x != 0 && (x & (x - 1)) == 0; }

static enum status try_run(struct pmm *pmm, unsigned flags, const struct run_wish *wish, bool hard, uint64_t *first)
{
    if (wish->frames < PMM_BLOCK_FRAMES) {
        return run_in_block(pmm, flags, wish, hard, first);
    }
    bool any_block = wish->frames == PMM_BLOCK_FRAMES && wish->align <= PMM_BLOCK_FRAMES && wish->end == FRAME_NONE;
    return any_block ? one_block(pmm, flags, false, first) : many_blocks(pmm, flags, wish, first);
}

static enum status alloc_run_locked(struct pmm *pmm, unsigned flags, const struct run_wish *wish, uint64_t *first)
{
    enum status s = STATUS_NOMEM;
    bool tried = false;
    for (unsigned attempt = 0; attempt < 2; attempt++) {
        if (attempt > 0) { /* before it is refused: frames of magazines and of owners' blocks may be what is missing */
            drain_locked(pmm);
            currents_retire(pmm);
            while (owners_give_block(pmm)) {
            }
        }
        uint64_t *account = account_for(pmm, flags, wish->frames);
        if (account == NULL) {
            continue;
        }
        account_pay(pmm, account, wish->frames); /* first: what opens blocks must see it gone */
        s = try_run(pmm, flags, wish, attempt > 0, first);
        if (s == STATUS_OK) {
            pmm->allocated += wish->frames;
            trace(pmm, PMM_EVENT_ALLOC, *first, wish->frames);
            break;
        }
        *account += wish->frames;
        emergency_top_up(pmm);
        tried = true;
        if (s != STATUS_NOMEM) {
            break;
        }
    }
    return s == STATUS_NOMEM && tried && pmm->broken ? STATUS_CORRUPT : s; /* what cannot be opened may have it */
}

static inline bool is_any_block(unsigned flags, npages_t n, npages_t align, npages_t boundary, pfn_t limit)
{
    return flags <= PMM_USER && n.v == PMM_BLOCK_FRAMES && limit.v == UINT64_MAX && align.v <= PMM_BLOCK_FRAMES &&
           ((align.v & (align.v - 1)) | boundary.v) == 0;
}

__attribute__((noinline)) static enum status alloc_run(struct pmm *pmm, unsigned flags, npages_t n, npages_t align,
                                                       npages_t boundary, pfn_t limit, pfn_t *first,
                                                       const void *caller)
{
    enum status s = check_flags(pmm, "pmm_alloc_run", flags, FLAGS_RUN, caller);
    if (s != STATUS_OK || flags >> PMM_OWNER_SHIFT != 0) {
        return s != STATUS_OK ? s
                              : pmm_misuse(pmm, "pmm_alloc_run: a run has no owner: %#x (caller %p)", flags, caller);
    }
    static const uint64_t zone_bytes[] = {MIB, 16 * MIB, 4 * GIB};
    enum pmm_zone zone = zone_limit(flags);
    uint64_t zone_end = zone < PMM_ZONE_HIGH ? bytes_to_pages_down(zone_bytes[zone]).v : FRAME_NONE;
    struct run_wish wish = {n.v, align.v == 0 ? 1 : align.v, boundary.v, limit.v >= zone_end ? FRAME_NONE : limit.v};
    const struct pmm_run_wish moved = {n.v, wish.align, boundary.v, limit.v < zone_end ? limit : pfn(zone_end)};
    if (n.v == 0 || n.v > UINT64_MAX / 2 || !is_power_of_two(wish.align)
        || (boundary.v != 0 && (!is_power_of_two(boundary.v) || boundary.v < n.v))) {
        return STATUS_INVALID;
    }
    uint64_t taken = 0;
    unsigned rounds = 0, asked = 0;
    do {
        lock_take(&pmm->lock);
        s = alloc_run_locked(pmm, flags, &wish, &taken);
        lock_drop(&pmm->lock);
    } while (s == STATUS_NOMEM &&
             (mover_makes_run(pmm, flags, &moved, rounds, &asked) || low_reclaim(pmm, flags, n.v, &rounds)));
    if (s == STATUS_OK) {
        *first = pfn(taken);
        low_look(pmm, flags);
    }
    return s;
}

/* The same of what is_any_block says. */
__attribute__((noinline)) static enum status alloc_block(struct pmm *pmm, unsigned flags, pfn_t *first,
                                                         const void *caller)
{
    const npages_t n = npages(PMM_BLOCK_FRAMES);
    return any_block(pmm, flags, first) == STATUS_OK
               ? STATUS_OK
               : alloc_run(pmm, flags, n, n, npages(0), PMM_NO_LIMIT, first, caller);
}

/* The way through the cache saves no register: all else is called, last. */
CACHE_LINE_ALIGNED enum status pmm_alloc_run(struct pmm *pmm, unsigned flags, npages_t n, npages_t align,
                                             npages_t boundary, pfn_t limit, pfn_t *first)
{
    if (!is_any_block(flags, n, align, boundary, limit)) {
        return alloc_run(pmm, flags, n, align, boundary, limit, first, __builtin_return_address(0));
    }
    return cached_block(pmm, flags, first) ? STATUS_OK
                                           : alloc_block(pmm, flags, first, __builtin_return_address(0));
}
