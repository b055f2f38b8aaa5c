/*
 * Winning whole blocks: theory.
 *
 * 1. Which. With F frames free in all partly free blocks of users, F / 512 blocks can be won, whichever they are: each
 *    takes 512 of the free frames out of the scattered ones, its own first, and for its pages others'. So those with
 *    the fewest pages are won, and each page in the way moves once. How many blocks have how many pages is counted in
 *    one pass; that says up to which number `most` blocks are emptied. Fuller ones are told apart by steps when frames
 *    are fetched: so those of the same step as `most` go first, while there are fuller ones yet, or they would get
 *    pages that have to move again. Blocks that were refused have at most `most`, so what is left to do begins above
 *    it: nothing is remembered about blocks.
 *
 * 2. How. The block's free frames are drawn, all at once. Its pages are looked at: one that nobody is known to have
 *    ends it before anything moves. Then frames are fetched some at a time, from the fullest blocks, and pages moved
 *    there. The old frames stay the mover's until the last one has moved: then the block is free as a whole. Where a
 *    page is refused, or memory ends, what the mover holds goes back: nothing is lost, and each page is in one frame.
 *
 * 3. A run of several blocks: the window of neighbours that can be won, free ones among them, with the fewest pages.
 *
 * Rejected: a list of blocks in order (memory for each block, when memory is short); moving from the top of memory to
 * the bottom (Linux: each page moves that lies on the wrong side, whatever its block is worth); marks on blocks that
 * were refused.
 */
#include "aspace/mapping.h"
#include "aspace/move_page.h"
#include "pmm/pmm_pressure.h"

struct plan {
    uint64_t free;                      /* frames in partly free blocks of users */
    unsigned most;                      /* blocks with more pages in the way are left alone; */
    uint64_t last;                      /* of those that have just as many, so many are won */
    pfn_t begin, end;                   /* all that can be won are in here */
    uint32_t with[PMM_BLOCK_FRAMES + 1]; /* blocks that can be won, by their pages */
};

static bool is_candidate(const struct pmm_block_info *b, unsigned above)
{
    return b->is_movable && b->gives && b->used > above;
}

/* => there is something to be won among blocks with more than `above` pages. */
static bool make_plan(struct plan *p, struct pmm *pmm, unsigned above, uint64_t blocks)
{
    struct pmm_block_info b = {.first = pfn(0)};
    *p = (struct plan){.free = 0};
    for (pfn_t at = pfn(0); pmm_block_next(pmm, at, &b); at = pfn_add(b.first, PMM_BLOCK_FRAMES)) {
        p->free += b.gives ? b.free : 0;
        if (is_candidate(&b, above)) {
            p->begin = p->end.v == 0 ? b.first : p->begin;
            p->end = pfn_add(b.first, PMM_BLOCK_FRAMES);
            p->with[b.used]++;
        }
    }
    const uint64_t can = p->free / PMM_BLOCK_FRAMES;
    uint64_t left = can < blocks ? can : blocks;
    for (unsigned used = above + 1; used < PMM_BLOCK_FRAMES && left > 0; used++) {
        if (p->with[used] > 0) {
            p->most = used;
            p->last = p->with[used] < left ? p->with[used] : left;
            left -= p->last;
        }
    }
    return p->most > 0;
}

/* Of the blocks with more than `above` and at most `most` pages so many are won, while there is room elsewhere. */
static void win_those(struct victim *v, struct plan *p, unsigned above, unsigned most, uint64_t blocks)
{
    struct pmm_block_info b = {.first = pfn(0)};
    const uint64_t until = v->out->won + blocks;
    for (pfn_t at = p->begin; above < most && v->out->won < until && p->free >= PMM_BLOCK_FRAMES &&
                              at.v < p->end.v && pmm_block_next(v->system->vmm->pmm, at, &b);
         at = pfn_add(b.first, PMM_BLOCK_FRAMES)) {
        if (is_candidate(&b, above) && b.used <= most) {
            const uint64_t won = v->out->won;
            (void)empty_block(v, b.first, true);
            p->free -= v->out->won > won ? PMM_BLOCK_FRAMES : 0;
        }
    }
}

/* Section 1. Those that are as full as what their pages may go to are emptied first. */
static void win_planned(struct victim *v, struct plan *p, unsigned above)
{
    const unsigned step = PMM_FULLNESS_STEP, like = (p->most + step - 1) / step * step - step;
    const unsigned low = like > above ? like : above;
    const uint64_t blocks = UINT32_MAX; /* as many as there are */
    win_those(v, p, p->most - 1, p->most, p->last);
    win_those(v, p, low, p->most - 1, blocks);
    win_those(v, p, above, low, blocks);
}

enum status aspaces_compact(struct aspaces *system, uint64_t blocks, struct aspace_compaction *out)
{
    const enum status s = aspaces_begin(system, "aspaces_compact");
    if (s != STATUS_OK) {
        return s;
    }
    struct victim v = {.system = system, .out = out, .fetch = pmm_alloc_partly, .prepared = UINT64_MAX};
    const uint64_t before = out->won;
    struct plan p;
    pmm_drain(system->vmm->pmm);
    for (unsigned above = 0; make_plan(&p, system->vmm->pmm, above, blocks - (out->won - before)); above = p.most) {
        win_planned(&v, &p, above);
    }
    aspaces_done(system);
    return STATUS_OK;
}
