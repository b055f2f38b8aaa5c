/* The slow, obvious model of the PMM: contiguous runs. */
#include "unit/pmm_model.h"

static uint64_t block_of(uint64_t frame) { return frame / PMM_BLOCK_FRAMES; }

/* The run that this frame's block was handed out in, as long as nothing else was handed out in it. */
static uint32_t run_of(const struct pmm_model *m, uint64_t frame)
{
    return frame < m->first || frame >= m->end ? MODEL_NONE_RUN : m->run[block_of(frame) - block_of(m->first)];
}

/* ---- What is free ---- */

static bool is_power_of_two(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

/* `sure`: this CPU can get at it. */
static bool is_there(const struct pmm_model *m, uint64_t frame, bool sure)
{
    return model_kind(m, frame) == MODEL_FREE && !(sure && m->bed->cpu_count > 1 && model_is_cached(m, frame));
}

/* May the PMM keep this frame and the one before apart? Regions, zones, and where ranges of nodes begin and end. */
static bool is_border(const struct pmm_model *m, uint64_t frame)
{
    bool is = model_zone(frame) != model_zone(frame - 1) ||
              model_region(m, block_of(frame)) != model_region(m, block_of(frame - 1));
    for (size_t i = 0; i < m->bed->node_range_count && frame % PMM_BLOCK_FRAMES == 0; i++) {
        const struct pmm_node_range *range = &m->bed->node_ranges[i];
        uint64_t ends[] = {range->first.v, range->first.v + range->frames.v};
        is = is || frame - ends[0] + PMM_BLOCK_FRAMES <= 2 * PMM_BLOCK_FRAMES ||
             frame - ends[1] + PMM_BLOCK_FRAMES <= 2 * PMM_BLOCK_FRAMES;
    }
    return is || model_node(m, frame) != model_node(m, frame - 1);
}

static bool is_whole(const struct pmm_model *m, uint64_t start, bool sure)
{
    uint64_t f = start;
    while (f < start + PMM_BLOCK_FRAMES && is_there(m, f, sure)) {
        f++;
    }
    return f == start + PMM_BLOCK_FRAMES;
}

/*
 * Free frames from `first` on, up to the end of the block or (`longer`) beyond it, at most `most`. Whether a run may
 * end in a block that is not wholly free is not said.
 */
static uint64_t stretch(const struct pmm_model *m, uint64_t first, uint64_t most, bool longer, bool sure)
{
    uint64_t n = 0;
    while (n < most && is_there(m, first + n, sure)) {
        n++;
        bool at_edge = (first + n) % PMM_BLOCK_FRAMES == 0;
        if ((at_edge && (!longer || (sure && !is_whole(m, first + n, true)))) || (sure && is_border(m, first + n))) {
            break;
        }
    }
    return n;
}

static bool meets(struct model_wish w, uint64_t first)
{
    uint64_t last = first + w.n - 1;
    return first % w.align == 0 && (w.boundary == 0 || first / w.boundary == last / w.boundary) && last < w.limit;
}

bool model_run_fits(const struct pmm_model *m, struct model_wish wish, uint64_t first)
{
    bool whole = wish.n >= PMM_BLOCK_FRAMES;
    bool placed = whole ? first % PMM_BLOCK_FRAMES == 0 : block_of(first) == block_of(first + wish.n - 1);
    return placed && is_power_of_two(wish.align) && meets(wish, first) &&
           stretch(m, first, wish.n, whole, false) == wish.n;
}

uint64_t model_find_run(const struct pmm_model *m, struct model_wish wish, bool sure)
{
    bool whole = wish.n >= PMM_BLOCK_FRAMES;
    for (uint64_t f = m->first; f < m->end; f += whole ? PMM_BLOCK_FRAMES : 1) {
        if (meets(wish, f) && stretch(m, f, wish.n, whole, sure) == wish.n &&
            (!sure || model_zone_leaves(m, model_zone(f), wish.flags, wish.n))) {
            return f;
        }
    }
    return MODEL_NO_FRAME;
}

uint64_t model_longest_run(const struct pmm_model *m, uint64_t limit, bool sure)
{
    uint64_t longest = 0;
    for (uint64_t f = m->first; f < m->end && f < limit;) {
        bool at_block = f % PMM_BLOCK_FRAMES == 0;
        uint64_t n = stretch(m, f, limit - f, at_block, sure);
        if (at_block && n < PMM_BLOCK_FRAMES) {
            n = stretch(m, f, limit - f, false, sure);
        }
        longest = n > longest ? n : longest;
        /* A longer run may begin at the next block. */
        uint64_t next_block = (block_of(f) + 1) * PMM_BLOCK_FRAMES, next = f + (n > 0 ? n : 1);
        f = next < next_block ? next : next_block;
    }
    return longest;
}

/* ---- Runs in use ---- */

void model_run_taken(struct pmm_model *m, uint64_t first, uint64_t n)
{
    uint64_t whole = n / PMM_BLOCK_FRAMES * PMM_BLOCK_FRAMES;
    m->runs_made++;
    for (uint64_t f = first; f < first + n; f++) {
        model_allocated(m, f);
        if (f < first + whole && model_kind(m, f) == MODEL_USED) {
            model_set(m, f, MODEL_RUN);
            m->run[block_of(f) - block_of(m->first)] = m->runs_made;
            m->is_head[block_of(f) - block_of(m->first)] = block_of(f) == block_of(first);
        }
    }
}

bool model_continues_run(const struct pmm_model *m, uint64_t frame)
{
    return frame > m->first && model_kind(m, frame) == MODEL_RUN && model_kind(m, frame - 1) == MODEL_RUN &&
           run_of(m, frame) == run_of(m, frame - 1);
}

static bool range_is_wrong(uint64_t first, uint64_t n) { return n == 0 || first + n < first; }

/* What the frames of [first, first + n) allow: all in use (`once`: exactly once). */
static unsigned in_use(const struct pmm_model *m, uint64_t first, uint64_t n, bool once)
{
    unsigned maybe = 0;
    for (uint64_t f = first; f < first + n; f++) {
        enum model_kind kind = model_kind(m, f);
        bool used = kind == MODEL_RUN || (kind == MODEL_USED && (!once || model_references(m, f) == 1));
        if (kind == MODEL_GONE || (kind == MODEL_ZERO && !once)) {
            maybe = MAY(STATUS_MISUSE);
        } else if (!used) {
            return MAY(STATUS_MISUSE);
        }
    }
    return maybe | MAY(STATUS_OK);
}

unsigned model_free_run(const struct pmm_model *m, uint64_t first, uint64_t n)
{
    if (range_is_wrong(first, n)) {
        return MAY(STATUS_INVALID);
    }
    unsigned answers = in_use(m, first, n, true);
    for (uint64_t f = (block_of(first) + 1) * PMM_BLOCK_FRAMES; f < first + n && answers != MAY(STATUS_MISUSE);
         f += PMM_BLOCK_FRAMES) {
        if (model_kind(m, f) == MODEL_RUN && run_of(m, f) != run_of(m, f - 1)) {
            bool is_head = m->is_head[block_of(f) - block_of(m->first)] || model_kind(m, f - 1) == MODEL_RUN;
            if (is_head) {
                return MAY(STATUS_MISUSE);
            }
            /* The part below was split, and somebody got frames of it since: nobody can tell. */
            answers |= MAY(STATUS_MISUSE);
        }
    }
    return answers;
}

unsigned model_split_run(const struct pmm_model *m, uint64_t first, uint64_t n)
{
    return range_is_wrong(first, n) ? MAY(STATUS_INVALID) : in_use(m, first, n, false);
}

void model_split(struct pmm_model *m, uint64_t first, uint64_t n)
{
    uint64_t end = (block_of(first + n - 1) + 1) * PMM_BLOCK_FRAMES;
    for (uint64_t f = block_of(first) * PMM_BLOCK_FRAMES; f < end; f++) {
        if (model_kind(m, f) == MODEL_RUN) {
            model_set(m, f, MODEL_USED);
        }
    }
}

void model_run_freed(struct pmm_model *m, uint64_t first, uint64_t n)
{
    for (uint64_t f = first; f < first + n; f++) {
        model_released(m, f);
    }
}
