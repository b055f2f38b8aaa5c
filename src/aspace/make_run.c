/*
 * The mover is asked for something certain: a run, or that a region be empty (compact.c, section 3).
 *
 * A run of several blocks needs neighbours. A window of so many blocks goes over memory in order; the one with the
 * fewest pages is emptied. Where that is refused the block that did it is left out, and the next window is tried.
 */
#include "aspace/mapping.h"
#include "aspace/move_page.h"

enum { TRIES = 16 };

struct refused {
    unsigned count;
    pfn_t block[TRIES];
};

static bool is_refused(const struct refused *r, pfn_t block)
{
    unsigned i = 0;
    while (i < r->count && r->block[i].v != block.v) {
        i++;
    }
    return i < r->count;
}

static bool fits(const struct pmm_run_wish *wish, uint64_t first)
{
    const uint64_t last = first + wish->frames - 1;
    return first % wish->align == 0 && last < wish->limit.v &&
           (wish->boundary == 0 || first / wish->boundary == last / wish->boundary);
}

static uint64_t blocks_of(const struct pmm_run_wish *wish)
{
    return (wish->frames + PMM_BLOCK_FRAMES - 1) / PMM_BLOCK_FRAMES;
}

/* => there is a window, and room for its pages elsewhere; *first: the one with the fewest. */
static bool find_window(struct pmm *pmm, const struct pmm_run_wish *wish, const struct refused *r, pfn_t *first)
{
    const uint64_t frames = blocks_of(wish) * PMM_BLOCK_FRAMES;
    struct pmm_block_info b = {.first = pfn(0)}, leaves;
    uint64_t free = 0, begin = 0, end = 0, used = 0, blocks = 0, best = UINT64_MAX, wins = 0;
    /* [begin, end): all can be won, with so many pages in `blocks` of them, the others being free */
    for (pfn_t at = pfn(0); pmm_block_next(pmm, at, &b); at = pfn(end)) {
        const bool good = (b.is_movable || b.free == PMM_BLOCK_FRAMES) && !is_refused(r, b.first);
        if (!good || b.first.v != end) {
            begin = good ? b.first.v : b.first.v + PMM_BLOCK_FRAMES;
            used = blocks = 0;
        }
        end = b.first.v + PMM_BLOCK_FRAMES;
        free += b.gives ? b.free : 0;
        used += good ? b.used : 0;
        blocks += good && b.used > 0;
        if (end - begin > frames && pmm_block_next(pmm, pfn(begin), &leaves)) {
            used -= leaves.used;
            blocks -= leaves.used > 0;
            begin += PMM_BLOCK_FRAMES;
        }
        if (end - begin == frames && used < best && fits(wish, begin)) {
            best = used;
            wins = blocks;
            *first = pfn(begin);
        }
    }
    return best != UINT64_MAX && wins <= free / PMM_BLOCK_FRAMES;
}

/* => all of its blocks are free; else *r knows which was refused */
static bool empty_window(struct victim *v, pfn_t first, uint64_t blocks, struct refused *r)
{
    struct pmm_block_info b;
    for (uint64_t i = 0; i < blocks; i++) {
        const pfn_t at = pfn_add(first, i * PMM_BLOCK_FRAMES);
        const uint64_t won = v->out->won;
        if (pmm_block_next(v->system->vmm->pmm, at, &b) && b.first.v == at.v && b.free == PMM_BLOCK_FRAMES) {
            continue;
        }
        (void)empty_block(v, at, true);
        if (v->out->won == won) {
            r->block[r->count++] = at;
            return false;
        }
    }
    return true;
}

bool aspaces_make_run(struct aspaces *system, const struct pmm_run_wish *wish, struct aspace_compaction *out)
{
    if (system == NULL || system->vmm == NULL || system->busy || system->vmm->editing != NULL ||
        aspaces_begin(system, "aspaces_make_run") != STATUS_OK) {
        return false;
    }
    struct victim v = {.system = system, .out = out, .fetch = pmm_alloc_partly, .prepared = UINT64_MAX};
    struct refused r = {.count = 0};
    pfn_t first;
    bool made = false;
    while (!made && r.count < TRIES && find_window(system->vmm->pmm, wish, &r, &first)) {
        made = empty_window(&v, first, blocks_of(wish), &r);
    }
    aspaces_done(system);
    return made;
}

/* ---- Regions that go ---- */

enum status aspaces_remove_region(struct aspaces *system, pfn_t first, npages_t frames, struct pmm_in_the_way *way,
                                  struct aspace_compaction *out)
{
    struct pmm *pmm = system->vmm->pmm;
    enum status s = pmm_region_remove(pmm, first, frames, way);
    if (s == STATUS_EXISTS) {
        s = aspaces_begin(system, "aspaces_remove_region");
        if (s != STATUS_OK) {
            return s;
        }
        struct victim v = {.system = system, .out = out, .fetch = pmm_alloc_elsewhere, .prepared = UINT64_MAX};
        v.avoid = first;
        v.avoided = frames;
        struct pmm_block_info b;
        const uint64_t end = first.v + frames.v;
        for (pfn_t at = pfn(first.v - first.v % PMM_BLOCK_FRAMES);
             pmm_block_next(pmm, at, &b) && b.first.v < end; at = pfn_add(b.first, PMM_BLOCK_FRAMES)) {
            if (b.used > 0) {
                (void)empty_block(&v, b.first, false);
            }
        }
        aspaces_done(system);
        s = pmm_region_remove(pmm, first, frames, way);
    }
    return s;
}
