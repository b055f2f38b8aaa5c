/*
 * Opening a block: paying for the pages behind its descriptor and its states (see pmm.c, sections 5 and 6).
 */
#include "pmm/open.h"
#include "pmm/place.h"

/* The never-used frames that pay: usable ones of never-used blocks in [start, next), ascending. */
struct payer {
    struct pmm_region *r; /* of the block that is opened */
    uint64_t start, next;
    uint64_t stop;        /* frames [next, stop) are known to be usable, if any */
};

uint64_t open_cost_with(const struct pmm *pmm, uint64_t block, const void *states, uint64_t missing)
{
    const void *descriptor = descriptor_page(pmm, block);
    uint64_t d = pmm->backing.missing(pmm->backing.ctx, descriptor).v, s = missing, cost = d + s;
    if (d <= 1 || s <= 1) {
        return cost; /* no table is missing for both */
    }
    uint64_t d_unit = vaddr_page_number(ptr_to_vaddr(descriptor)), s_unit = vaddr_page_number(ptr_to_vaddr(states));
    for (uint64_t level = 1; level <= pmm->backing.table_levels; level++) {
        d_unit /= PAGES_PER_2M;
        s_unit /= PAGES_PER_2M;
        cost -= d > level && s > level && d_unit == s_unit; /* one table that both lack */
    }
    return cost;
}

npages_t open_cost(const struct pmm *pmm, uint64_t block)
{
    const void *states = states_page(pmm, block);
    return npages(open_cost_with(pmm, block, states, pmm->backing.missing(pmm->backing.ctx, states).v));
}

/* A block of the first region that gives such, or null. */
static struct pmm_block *first_of(struct pmm *pmm, enum pmm_supply kind)
{
    for (enum pmm_zone zone = PMM_ZONE_HIGH; zone > PMM_ZONE_1M; zone--) {
        unsigned nodes = nodes_with(pmm, zone, kind);
        if (nodes != 0) {
            return stack_first(pmm, &pmm->regions[pmm->supply[kind][zone][__builtin_ctz(nodes)]], kind);
        }
    }
    return NULL;
}

struct pmm_block *partly_free(struct pmm *pmm, unsigned class)
{
    for (unsigned bits = pmm->currents & CURRENTS_OF_CLASS << class; bits != 0; bits &= bits - 1) {
        struct pmm_block *b = pmm->current[(unsigned)__builtin_ctz(bits) / PMM_CLASSES][class];
        if (b->free > 0) {
            return b;
        }
    }
    return first_of(pmm, (enum pmm_supply)class);
}

static struct pmm_block *idle_block(struct pmm *pmm)
{
    struct pmm_block *b = first_of(pmm, PMM_SUPPLY_HOLED);
    return b != NULL ? b : first_of(pmm, PMM_SUPPLY_WHOLE);
}

/* Any opened block with a free frame that is not of the kernel class: idle, user, an owner's, last below 1 MiB. */
static struct pmm_block *any_opened(struct pmm *pmm)
{
    for (;;) {
        struct pmm_block *b = idle_block(pmm);
        b = b != NULL ? b : partly_free(pmm, 1);
        if (b != NULL) {
            return b;
        }
        if (!owners_give_block(pmm)) {
            return pmm->low.free > 0 ? &pmm->low : NULL;
        }
    }
}

/* FRAME_NONE: the block was corrupt and is closed now. */
static uint64_t take_opened(struct pmm *pmm, struct pmm_block *b)
{
    uint64_t frame;
    unsigned got = block_take_one(pmm, b, &frame, CODE_METADATA);
    if (b->stack != STACK_CURRENT) {
        block_restack(pmm, b);
    }
    return got > 0 ? frame : FRAME_NONE;
}

/* The first frames from payer->next on that can pay, where the hint fits, and none of the block is held or claimed. */
static inline bool hint_shows(const struct pmm *pmm, struct payer *payer, struct pmm_list_hint hint, uint64_t end)
{
    if (!hint_fits(pmm, hint, payer->next) || pmm->claim_first != pmm->claim_end
        || (hint.hold != pmm->hold_count && pmm->holds[hint.hold].first.v < end)) {
        return false;
    }
    const struct frame_run *run = &pmm->runs[hint.run];
    const uint64_t first = run->first.v > payer->next ? run->first.v : payer->next, stop = run_end(*run);
    if (first == 0 || first >= end) {
        return false;
    }
    payer->next = first;
    payer->stop = stop < end ? stop : end;
    return true;
}

/*
 * Can so many frames of this never-used block pay, from payer->next on? Then that is the first, and others follow it
 * up to payer->stop.
 */
__attribute__((noinline, cold)) static bool block_can_pay(const struct pmm *pmm, struct payer *payer, uint64_t block,
                                                          uint64_t wanted)
{
    uint64_t end = block_start(block + 1), count = 0;
    if (surely_whole(payer->r, block) && pmm->claim_first == pmm->claim_end) {
        payer->stop = end;
        return end - payer->next >= wanted;
    }
    const struct pmm_list_hint hint = *hint_of(payer->r, block);
    if (hint_shows(pmm, payer, hint, end) && payer->stop - payer->next >= wanted) {
        return true;
    }
    struct stretch s = stretch_near(pmm, payer->next, hint);
    while (count < wanted && stretch_next(pmm, &s, end)) {
        if (count == 0) {
            payer->next = s.first;
            payer->stop = s.stop;
        }
        count += s.stop - s.first;
    }
    return count >= wanted;
}

static uint64_t take_unopened(struct pmm *pmm, struct payer *payer, uint64_t frame)
{
    payer->next = frame + 1;
    bool is_near = block_of(frame) - payer->r->base < payer->r->blocks;
    untouched_taken(pmm, is_near ? payer->r : region_find(pmm, block_of(frame)), frame, 1);
    return frame;
}

/* One frame for the opening of `block`; FRAME_NONE only when a corrupt block took what should have paid. */
static uint64_t pay(struct pmm *pmm, uint64_t block, struct payer *payer)
{
    for (struct pmm_block *b = partly_free(pmm, 0); b != NULL; b = partly_free(pmm, 0)) {
        uint64_t frame = take_opened(pmm, b);
        if (frame != FRAME_NONE) {
            return frame;
        }
    }
    uint64_t end = block_start(block + 1);
    if (payer->next < payer->stop || (payer->next < end && block_can_pay(pmm, payer, block, 1))) {
        untouched_taken(pmm, payer->r, payer->next, 1);
        return payer->next++;
    }
    for (struct pmm_block *b = any_opened(pmm); b != NULL; b = any_opened(pmm)) {
        uint64_t frame = take_opened(pmm, b);
        if (frame != FRAME_NONE) {
            return frame;
        }
    }
    uint64_t ahead = unopened_next(pmm, payer->next > end ? payer->next : end);
    return ahead == FRAME_NONE ? FRAME_NONE : take_unopened(pmm, payer, ahead);
}

/* Something that must not be: nothing is opened from now on, since frames of never-used blocks may have paid. */
static enum status broke(struct pmm *pmm, const char *why, const void *page)
{
    pmm->broken = true;
    pmm->kinds_given = ~(KIND(PMM_SUPPLY_FRESH) | KIND(PMM_SUPPLY_FRESH_WHOLE)); /* opened blocks go on serving */
    report(REPORT_CORRUPT, "pmm: %s for the page at %p: no block will be opened any more", why, page);
    return STATUS_CORRUPT;
}

/* `n` frames are missing. */
__attribute__((noinline)) static enum status back_missing(struct pmm *pmm, uint64_t block, const void *page, npages_t n,
                                                          struct payer *payer)
{
    pfn_t frames[1 + PMM_TABLE_LEVELS_MAX];
    if (n.v > 1 + (uint64_t)pmm->backing.table_levels || n.v > pmm->earmarked) {
        return broke(pmm, "the backing asks for more frames than there can be tables", page);
    }
    for (uint64_t i = 0; i < n.v; i++) {
        uint64_t frame = pay(pmm, block, payer);
        if (frame == FRAME_NONE) {
            return broke(pmm, "no frame is left", page);
        }
        frames[i] = pfn(frame);
        pmm->metadata++;
        pmm->earmarked--;
    }
    if (pmm->backing.back(pmm->backing.ctx, page, frames, n) != STATUS_OK) {
        return broke(pmm, "the backing failed", page);
    }
    return STATUS_OK;
}

static inline enum status back_page(struct pmm *pmm, uint64_t block, const void *page, struct payer *payer)
{
    npages_t n = pmm->backing.missing(pmm->backing.ctx, page);
    return n.v == 0 ? STATUS_OK : back_missing(pmm, block, page, n, payer);
}

/* `cost`: pages and tables that are missing. */
__attribute__((always_inline)) static inline enum status open_one(struct pmm *pmm, uint64_t block, unsigned class,
                                                                  uint64_t cost, struct payer *payer)
{
    enum status s = STATUS_OK;
    if (cost > 0) {
        s = back_page(pmm, block, descriptor_page(pmm, block), payer);
        s = s == STATUS_OK ? back_page(pmm, block, states_page(pmm, block), payer) : s;
    }
    if (s != STATUS_OK) {
        return s;
    }
    struct pmm_region *r = payer->r;
    unsigned free = block_write(pmm, r, block, class, payer->start, payer->next);
    extent_take(pmm, r, block);
    untouched_sub(pmm, r, free);
    /* Of many blocks extent_take does it. What was to be said of the first one of a page of descriptors had no room. */
    bool is_first = cost > 1 && block % (PAGE_BYTES / PMM_BLOCK_BYTES) == 0;
    bool is_whole = pmm->blocks[block].usable == PMM_BLOCK_FRAMES
                    && pmm->claim_first == pmm->claim_end; /* whatever it paid, but what was claimed moved the hint */
    if (is_whole ? is_first : has_few_blocks(r) && !extent_is_bottom(pmm, r, block)) {
        extents_note(pmm, r, block);
    }
    return STATUS_OK;
}

/*
 * No single block may be able to pay for itself (tiny runs far apart). So open never-used blocks from the lowest up;
 * their frames pay, and where a frame of a block further up had to pay, go on up to that block.
 */
static enum status open_together(struct pmm *pmm, unsigned class)
{
    uint64_t at = unopened_next(pmm, 0);
    if (at == FRAME_NONE) {
        return broke(pmm, "no frame is left", NULL);
    }
    struct payer payer = {NULL, at, at, at};
    do {
        uint64_t block = block_of(at);
        payer.r = region_find(pmm, block);
        enum status s = open_one(pmm, block, class, open_cost(pmm, block).v, &payer);
        if (s != STATUS_OK) {
            return s;
        }
        block_restack(pmm, &pmm->blocks[block]);
        at = unopened_next(pmm, block_start(block + 1));
    } while (at < payer.next);
    return STATUS_OK;
}

enum status block_open_costing(struct pmm *pmm, struct pmm_region *r, uint64_t block, unsigned class, uint64_t cost,
                               struct pmm_block **opened)
{
    *opened = NULL;
    if (pmm->broken) {
        return STATUS_CORRUPT;
    }
    uint64_t start = block_start(block), end = block_start(block + 1);
    struct payer payer = {r, start, start, start};
    if (cost > 0) {
        if (cost == 1 && hint_is_said(&pmm->blocks[block])) { /* its descriptor is there, or more would be missing */
            hint_take(pmm, r, block);
            pmm->blocks[block].next = 0; /* it has been told */
        }
        uint64_t there = pmm_free_frames(pmm) + pmm->earmarked - pmm->untouched; /* free frames of opened blocks */
        bool claims = pmm->claim_first != pmm->claim_end;
        if (class != 0 && !claims && partly_free(pmm, 0) == NULL) {
            class = 0; /* user blocks do not pay while others can: this one is for the kernel then */
        }
        if (block == 0 && (there >= cost || there + usable_count(pmm, frames_below_1m(), end) >= cost)) {
            payer.start = payer.next = frames_below_1m(); /* memory below 1 MiB is for those who need it there */
        } else if (there < cost && !block_can_pay(pmm, &payer, block, cost - there)) {
            return open_together(pmm, class);
        }
    }
    enum status s = open_one(pmm, block, class, cost, &payer);
    *opened = s == STATUS_OK ? &pmm->blocks[block] : NULL;
    return s;
}

enum status block_open_off_stack(struct pmm *pmm, struct pmm_region *r, uint64_t block, unsigned class,
                                 struct pmm_block **opened)
{
    return block_open_costing(pmm, r, block, class, cost_now(pmm, r, block), opened);
}

enum status block_open(struct pmm *pmm, struct pmm_region *r, uint64_t block, unsigned class)
{
    struct pmm_block *opened;
    enum status s = block_open_off_stack(pmm, r, block, class, &opened);
    if (opened != NULL && opened->mode == PMM_BLOCK_OPEN) {
        block_place_opened(pmm, opened);
    }
    return s;
}
