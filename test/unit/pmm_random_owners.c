/* Operations on a PMM held against the model: owners. */
#include "unit/pmm_random_ops.h"

/* ---- Owners ---- */

void play_owner_open(struct play *p)
{
    struct pmm_model *m = p->model;
    unsigned owner = 0;
    size_t open = 0;
    for (unsigned i = 1; i <= MODEL_OWNERS; i++) {
        open += m->owners[i].is_open;
    }
    play_calls(p, CALLS_NOBODY);
    enum status s = pmm_owner_open(p->pmm, &owner);
    if (play_answers(p, CALL_OWNER_OPEN, s, MAY(open < p->bed->owner_capacity ? STATUS_OK : STATUS_LIMIT)) &&
        AGREE(m, owner > 0 && owner <= p->bed->owner_capacity && !m->owners[owner].is_open)) {
        m->owners[owner] = (struct model_owner){.is_open = true};
    }
}

/* What its own blocks hold, and what of it goes with it. */
struct own {
    uint64_t blocks, shared_blocks; /* with a frame in use, all of them; those with a shared one */
    uint64_t frames, going;         /* in use; that will be taken back */
};

static struct own look_at_own(struct play *p, unsigned owner)
{
    struct pmm_model *m = p->model;
    struct own own = {.blocks = 0};
    for (uint64_t start = m->first; start < m->end; start += PMM_BLOCK_FRAMES) {
        bool is_own = false, is_shared = false, is_bad = false, all = true, none = true;
        for (uint64_t f = start; f < start + PMM_BLOCK_FRAMES; f++) {
            if (play_owner_of(p, f) != owner) {
                continue;
            }
            enum model_kind kind = model_kind(m, f);
            bool takes = pmm_owner_takes_back(p->pmm, owner, pfn(f));
            bool in_use = kind == MODEL_USED || kind == MODEL_ZERO;
            AGREE(m, in_use || !takes);
            is_own = true;
            is_shared = is_shared || kind == MODEL_ZERO ||
                        (model_marks(m, f) & (MARK_WAS_SHARED | MARK_GOES_BAD | MARK_CLAIMED)) != 0;
            is_bad = is_bad || kind == MODEL_BAD;
            all = all && (takes || !in_use);
            none = none && !takes;
            own.frames += in_use;
            own.going += takes;
        }
        own.blocks += is_own;
        own.shared_blocks += is_own && is_shared;
        /* All of a block or nothing; a frame that was bad before it was the owner's is in nobody's way. */
        if (is_own && !AGREE(m, is_shared ? none : is_bad ? all || none : all)) {
            test_note("block %#lx of owner %u: %s shared, %s bad", start / PMM_BLOCK_FRAMES, owner,
                      is_shared ? "some" : "none", is_bad ? "some" : "none");
        }
    }
    return own;
}

/* Those that will go, marked so while the PMM can still be asked. */
static void mark_going(struct play *p, unsigned owner)
{
    struct pmm_model *m = p->model;
    for (uint64_t f = m->first; f < m->end; f++) {
        if (pmm_owner_takes_back(p->pmm, owner, pfn(f))) {
            m->marks[f - m->first] |= MARK_GOING;
        }
    }
}

static void take_back(struct play *p)
{
    struct pmm_model *m = p->model;
    for (uint64_t f = m->first; f < m->end; f++) {
        if ((model_marks(m, f) & MARK_GOING) != 0) {
            model_released(m, f);
        }
    }
}

void play_owner_close(struct play *p)
{
    struct pmm_model *m = p->model;
    unsigned owner = play_owner(p);
    bool is_open = owner <= MODEL_OWNERS && m->owners[owner].is_open;
    struct pmm_owner_stats stats = {.own_blocks = npages(0)};
    struct pmm_owner_end end = {npages(1), npages(2), npages(3)};
    AGREE_EQ(m, pmm_owner_stats(p->pmm, owner, &stats), is_open);
    struct own own = {.blocks = 0};
    if (is_open) {
        own = look_at_own(p, owner);
        mark_going(p, owner);
        AGREE_EQ(m, own.blocks, stats.own_blocks.v);
    }
    play_calls(p, CALLS_NOBODY);
    enum status s = pmm_owner_close(p->pmm, owner, &end);
    if (!play_answers(p, CALL_OWNER_CLOSE, s, MAY(is_open ? STATUS_OK : STATUS_MISUSE))) {
        return;
    }
    AGREE_EQ(m, end.frames.v, own.going);
    AGREE_EQ(m, end.left.v, own.frames - own.going);
    AGREE(m, end.blocks.v <= own.blocks && end.blocks.v + own.shared_blocks >= own.blocks);
    if (!m->ok) {
        test_note("owner %u: %lu own blocks, %lu frames in them", owner, own.blocks, own.frames);
    }
    take_back(p);
    m->owners[owner] = (struct model_owner){.is_open = false};
}

void play_uncharge(struct play *p)
{
    struct pmm_model *m = p->model;
    unsigned owner = play_owner(p);
    struct pmm_owner_stats stats = {.elsewhere = npages(0)};
    bool is_open = pmm_owner_stats(p->pmm, owner, &stats);
    uint64_t n = dice_below(&p->dice, stats.elsewhere.v + 1 + dice_below(&p->dice, 3));
    play_calls(p, CALLS_NOBODY);
    enum status s = pmm_uncharge(p->pmm, owner, npages(n));
    if (play_answers(p, CALL_UNCHARGE, s, MAY(is_open && n <= stats.elsewhere.v ? STATUS_OK : STATUS_MISUSE))) {
        m->owners[owner].held -= n;
    }
}

void play_policy(struct play *p)
{
    static const uint16_t thresholds[] = {0, 1, 5, 50}, guards[] = {0, 0, 1, 2, 16};
    struct pmm_policy policy = {npages(thresholds[dice_below(&p->dice, ARRAY_LEN(thresholds))]),
                                guards[dice_below(&p->dice, ARRAY_LEN(guards))]};
    pmm_policy_set(p->pmm, policy);
    AGREE_EQ(p->model, pmm_policy(p->pmm).owner_threshold.v, policy.owner_threshold.v);
    AGREE_EQ(p->model, pmm_policy(p->pmm).owner_guard, policy.owner_guard);
}
