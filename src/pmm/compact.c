/*
 * Blocks from the mover's side (pmm_compact.h): looked at in order of address, emptied, filled up.
 *
 * A block that is to be won is first drawn empty: its free frames are the caller's, so nobody is served from it while
 * its pages leave. Where they go to is what would be served last else: the fullest of the partly free blocks.
 */
#include "pmm/pmm_compact.h"

#include "pmm/account.h"
#include "pmm/never.h"
#include "pmm/run.h"

static_assert((int)PMM_FULLNESS_STEP == (int)STACK_FRAMES, "by stacks");

/* ---- Looking ---- */

/* The first block of r at or behind `block` that is open; the end of r: none. */
static uint64_t open_from(const struct pmm *pmm, const struct pmm_region *r, uint64_t block)
{
    uint64_t end = region_end(r);
    while (block < end && !block_is_open(pmm, r, block)) {
        block = unopened_end(pmm, r, block);
    }
    return r->left_out || block > end ? end : block;
}

static struct pmm_block_info info_of(const struct pmm *pmm, uint64_t block)
{
    const struct pmm_block *b = &pmm->blocks[block];
    const bool is_in_use = block_has_stack(b) && b->owner == 0 && class_of(b) == PMM_USER && b->free < b->usable;
    return (struct pmm_block_info){
        .first = pfn(block_start(block)),
        .free = b->free,
        .used = b->usable - b->free,
        .is_movable = is_in_use && b->usable == PMM_BLOCK_FRAMES,
        .gives = is_in_use && b->free > 0,
    };
}

bool pmm_block_next(struct pmm *pmm, pfn_t from, struct pmm_block_info *out)
{
    bool found = false;
    lock_take(&pmm->lock);
    uint64_t block = block_of(from.v + PMM_BLOCK_FRAMES - 1);
    block = block == 0 ? 1 : block;
    const struct pmm_region *r = region_find(pmm, block);
    for (size_t place = r != NULL ? region_place(pmm, r) : 0; place < pmm->region_count && !found; place++) {
        r = region_at(pmm, place);
        if (region_end(r) > block) {
            const uint64_t at = open_from(pmm, r, block > r->base ? block : r->base);
            found = at < region_end(r);
            *out = found ? info_of(pmm, at) : *out;
        }
    }
    lock_drop(&pmm->lock);
    return found;
}

/* ---- Emptying ---- */

/* The 64 frames from `first` on, of which those in `free` are; they become used once. */
static void take_64(struct pmm *pmm, uint64_t first, struct pmm_block_frames *out, unsigned w)
{
    uint64_t used = 0, once = 0, twice = 0;
    for (uint64_t left = ~out->free[w]; left != 0; left &= left - 1) {
        const uint64_t bit = left & -left;
        const unsigned code = code_get(pmm, first + (unsigned)__builtin_ctzll(left));
        if (code_is_unshared(code) || code == CODE_SHARED_ONCE) {
            once |= bit;
        } else if (code_is_count(code)) {
            used |= bit;
            twice |= code == 2 ? bit : 0;
        }
    }
    for (uint64_t left = out->free[w]; left != 0; left &= left - 1) {
        code_set(pmm, first + (unsigned)__builtin_ctzll(left), 1);
    }
    for (uint64_t left = pmm->trace != NULL ? out->free[w] : 0; left != 0; left &= left - 1) {
        trace(pmm, PMM_EVENT_ALLOC, first + (unsigned)__builtin_ctzll(left), 1);
    }
    out->used[w] = used | once;
    out->once[w] = once;
    out->twice[w] = twice;
}

static enum status take_locked(struct pmm *pmm, uint64_t first, struct pmm_block_frames *out)
{
    drain_locked(pmm);
    currents_retire(pmm);
    struct pmm_block *b = block_find(pmm, first);
    if (b == NULL || index_in_block(first) != 0 || first == 0 || !block_has_stack(b) || b->owner != 0) {
        return STATUS_ABSENT;
    }
    const unsigned free = b->free;
    if (free > available(pmm, PMM_KERNEL)) {
        return STATUS_NOMEM;
    }
    block_be_written(pmm, b);
    const struct block_map map = block_free_map(pmm, b);
    for (unsigned w = 0; w < ARRAY_LEN(map.word); w++) {
        out->free[w] = map.word[w];
        take_64(pmm, first + w * 64, out, w);
    }
    block_unstack(pmm, b);
    b->free = b->top = 0;
    b->loose = 0;
    carved_set(b, PMM_BLOCK_FRAMES);
    count_free_in(pmm, b, -(int64_t)free);
    account_pay(pmm, &pmm->spare, free);
    pmm->allocated += free;
    return STATUS_OK;
}

enum status pmm_block_take(struct pmm *pmm, pfn_t first, struct pmm_block_frames *out)
{
    lock_take(&pmm->lock);
    const enum status s = take_locked(pmm, first.v, out);
    lock_drop(&pmm->lock);
    return s;
}

/* Are all its frames used once? Counts what free_once would take off `retained`. */
static bool is_used_once(const struct pmm *pmm, const struct pmm_block *b, uint64_t first, unsigned *retained)
{
    const bool is_open = b != NULL && index_in_block(first) == 0 && block_has_stack(b) &&
                         b->usable == PMM_BLOCK_FRAMES && b->carved == PMM_BLOCK_FRAMES && b->owner == 0;
    for (uint64_t frame = first; is_open && frame < first + PMM_BLOCK_FRAMES; frame++) {
        const unsigned code = code_get(pmm, frame);
        if (!code_is_unshared(code)) {
            if (code != CODE_SHARED_ONCE) {
                return false;
            }
            ++*retained;
        }
    }
    return is_open;
}

enum status pmm_block_give(struct pmm *pmm, pfn_t first)
{
    unsigned retained = 0;
    lock_take(&pmm->lock);
    struct pmm_block *b = block_find(pmm, first.v);
    const bool ok = is_used_once(pmm, b, first.v, &retained);
    if (ok) { /* it lies nowhere, as nothing of it is free: restacked it starts anew */
        b->retained = (b->retained - retained) & PMM_COUNT_MASK;
        b->free = PMM_BLOCK_FRAMES;
        count_free_in(pmm, b, PMM_BLOCK_FRAMES);
        pmm->spare += PMM_BLOCK_FRAMES;
        pmm->freed += PMM_BLOCK_FRAMES;
        block_restack(pmm, b);
        emergency_top_up(pmm);
        trace(pmm, PMM_EVENT_FREE, first.v, PMM_BLOCK_FRAMES);
    }
    lock_drop(&pmm->lock);
    return ok ? STATUS_OK
              : pmm_complain(pmm, "pmm_block_give", first.v, "not a block of frames in use exactly once",
                             __builtin_return_address(0));
}

/* ---- Filling up ---- */

/* Blocks: no region that begins there. */
struct avoided {
    uint64_t first, end;
};

/* The first region that gives this kind of block, in the order of zones; null: none. */
__attribute__((cold)) static struct pmm_region *giving_region(const struct pmm *pmm, struct avoided avoid,
                                                              enum pmm_supply kind)
{
    enum { ZONES = PMM_ZONE_HIGH - PMM_ZONE_1M }; /* that have blocks */
    for (unsigned n = 0; n < pmm->node_count * ZONES; n++) {
        const enum pmm_zone zone = (enum pmm_zone)(PMM_ZONE_HIGH - n % ZONES);
        uint16_t i = pmm->supply[kind][zone][pmm->node_order[home_node(pmm)][n / ZONES]];
        while (i != PMM_NO_REGION && pmm->regions[i].base - avoid.first < avoid.end - avoid.first) {
            i = pmm->regions[i].links[kind].next;
        }
        if (i != PMM_NO_REGION && zone_leaves(pmm, zone, PMM_USER, 1)) {
            return &pmm->regions[i];
        }
    }
    return NULL;
}

/*
 * The fullest of the partly free blocks wherever it is, as far as a few looks tell (a stack is not in order): a page
 * that goes to a block which is to be emptied itself moves twice. Null: none.
 */
static struct pmm_block *fullest(struct pmm *pmm, struct avoided avoid)
{
    enum { LOOKS = 16 };
    struct pmm_block *best = NULL;
    for (size_t place = 0; place < pmm->region_count; place++) {
        const struct pmm_region *r = region_at(pmm, place);
        if (r->masks[PMM_USER] == 0 || r->base - avoid.first < avoid.end - avoid.first ||
            !zone_leaves(pmm, (enum pmm_zone)r->zone, PMM_USER, 1)) {
            continue;
        }
        uint32_t at = (uint32_t)(stack_fullest(pmm, r, PMM_USER) - pmm->blocks);
        for (unsigned i = 0; i < LOOKS && at != PMM_NO_BLOCK; i++, at = pmm->blocks[at].next) {
            best = best == NULL || pmm->blocks[at].free < best->free ? &pmm->blocks[at] : best;
        }
    }
    return best;
}

/* A block that nobody uses, for users, on no stack; a never-used one is opened. Null: none. */
__attribute__((cold)) static struct pmm_block *unused(struct pmm *pmm, struct avoided avoid)
{
    for (;;) {
        struct pmm_region *r;
        for (enum pmm_supply kind = PMM_SUPPLY_HOLED; kind <= PMM_SUPPLY_WHOLE; kind++) {
            r = giving_region(pmm, avoid, kind);
            if (r != NULL) {
                struct pmm_block *b = stack_pop(pmm, r, kind);
                lane_set(b, (b->lane & ~(unsigned)LANE_CLASS) | PMM_USER);
                return b;
            }
        }
        r = giving_region(pmm, avoid, PMM_SUPPLY_FRESH);
        const uint64_t block = r == NULL || pmm->broken ? FRAME_NONE : fresh_block(pmm, r, extent_bottom(pmm, r));
        if (block == FRAME_NONE || block_open(pmm, r, block, PMM_USER) != STATUS_OK) {
            return NULL;
        }
    }
}

typedef struct pmm_block *find_fn(struct pmm *pmm, struct avoided avoid);

static unsigned alloc_from(struct pmm *pmm, pfn_t *frames, unsigned n, struct avoided avoid, find_fn *otherwise)
{
    enum { BATCH = 64 };
    uint64_t batch[BATCH];
    unsigned got = 0;
    lock_take(&pmm->lock);
    currents_retire(pmm);
    while (got < n) {
        const uint64_t most = available(pmm, PMM_USER), wanted = n - got < BATCH ? n - got : (uint64_t)BATCH;
        struct pmm_block *b = most > 0 ? fullest(pmm, avoid) : NULL;
        if (b != NULL) {
            block_unstack(pmm, b);
        } else if (most == 0 || otherwise == NULL || (b = otherwise(pmm, avoid)) == NULL) {
            break;
        }
        const unsigned taken = block_take(pmm, b, batch, (unsigned)(wanted < most ? wanted : most), 1);
        block_place(pmm, b);
        account_pay(pmm, &pmm->spare, taken);
        pmm->allocated += taken;
        for (unsigned i = 0; i < taken; i++) {
            frames[got++] = pfn(batch[i]);
            trace(pmm, PMM_EVENT_ALLOC, batch[i], 1);
        }
    }
    lock_drop(&pmm->lock);
    return got;
}

unsigned pmm_alloc_partly(struct pmm *pmm, pfn_t *frames, unsigned n, pfn_t avoid, npages_t avoided)
{
    (void)avoid;
    (void)avoided;
    return alloc_from(pmm, frames, n, (struct avoided){0, 0}, NULL);
}

unsigned pmm_alloc_elsewhere(struct pmm *pmm, pfn_t *frames, unsigned n, pfn_t avoid, npages_t avoided)
{
    const struct avoided blocks = {block_of(avoid.v), block_of(avoid.v + avoided.v + PMM_BLOCK_FRAMES - 1)};
    return alloc_from(pmm, frames, n, blocks, unused);
}

/* ---- Who moves ---- */

bool mover_makes_run(struct pmm *pmm, unsigned flags, const struct pmm_run_wish *wish, unsigned rounds, unsigned *asked)
{
    pmm_mover_fn *mover = NULL;
    lock_take(&pmm->lock);
    if ((flags & PMM_NO_RECLAIM) == 0 && *asked <= rounds && available(pmm, flags) >= wish->frames) {
        mover = pmm->mover;
        *asked = rounds + 1;
    }
    lock_drop(&pmm->lock);
    return mover != NULL && mover(pmm->mover_ctx, wish);
}

void pmm_mover_set(struct pmm *pmm, pmm_mover_fn *mover, void *ctx)
{
    lock_take(&pmm->lock);
    pmm->mover = mover;
    pmm->mover_ctx = ctx;
    lock_drop(&pmm->lock);
}
