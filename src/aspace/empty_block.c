/*
 * Emptying one block: compact.c, section 2.
 */
#include "aspace/mapping.h"
#include "aspace/move_page.h"

enum { BATCH = 32 };

const char *aspace_move_name(enum aspace_move move)
{
    static const char *const names[] = {"not drawn", "unknown", "pinned", "shared", "zero", "device", "no memory"};
    static_assert(ARRAY_LEN(names) == ASPACE_MOVES, "one each");
    return (size_t)move < ARRAY_LEN(names) ? names[move] : "?";
}

static bool is_whole(const struct victim *v)
{
    uint64_t all = UINT64_MAX;
    for (unsigned w = 0; w < ARRAY_LEN(v->frames.free); w++) {
        all &= v->frames.free[w];
    }
    return all == UINT64_MAX;
}

/* What the mover holds goes back to the PMM. => it is a whole block */
static bool give_back(const struct victim *v)
{
    struct pmm *pmm = v->system->vmm->pmm;
    const bool whole = is_whole(v);
    enum status s = whole ? pmm_block_give(pmm, v->first) : STATUS_OK;
    for (unsigned i = 0; i < PMM_BLOCK_FRAMES && !whole && s == STATUS_OK; i++) {
        if ((v->frames.free[i / 64] >> i % 64 & 1) != 0) {
            s = pmm_free(pmm, pfn_add(v->first, i));
        }
    }
    ASSERT(s == STATUS_OK); /* they are used once, by us */
    return whole && s == STATUS_OK;
}

/* Does each page in the way look as if it could move? What the index was told once is not compared. */
static bool look(const struct victim *v, enum aspace_move *why)
{
    for (unsigned w = 0; w < ARRAY_LEN(v->frames.used); w++) {
        if ((v->frames.free[w] | v->frames.used[w]) != UINT64_MAX) { /* the zero frame, one that goes bad, metadata */
            *why = ASPACE_MOVE_UNKNOWN;
            return false;
        }
        for (uint64_t left = v->frames.used[w]; left != 0; left &= left - 1) {
            const unsigned bit = (unsigned)__builtin_ctzll(left);
            const enum frame_kind kind = reverse_kind(v->system, pfn_add(v->first, w * 64 + bit));
            if (kind == FRAME_UNKNOWN || (kind == FRAME_PRIVATE && (v->frames.once[w] >> bit & 1) == 0)) {
                *why = kind == FRAME_UNKNOWN ? ASPACE_MOVE_UNKNOWN : ASPACE_MOVE_SHARED;
                return false;
            }
        }
    }
    return true;
}

/* The pages of one word of the map, from this one on, as many as there are frames for. => MOVED, or why not */
static enum aspace_move move_some(struct victim *v, unsigned w)
{
    struct pmm *pmm = v->system->vmm->pmm;
    pfn_t to[BATCH];
    unsigned wanted = 0;
    for (uint64_t left = v->frames.used[w]; left != 0 && wanted < BATCH; left &= left - 1) {
        wanted++;
    }
    const unsigned got = v->fetch(pmm, to, wanted, v->avoid, v->avoided);
    enum aspace_move move = got < wanted ? ASPACE_MOVE_NOMEM : ASPACE_MOVED;
    unsigned done = 0;
    while (move == ASPACE_MOVED && done < got) {
        const uint64_t bit = v->frames.used[w] & -v->frames.used[w];
        const pfn_t frame = pfn_add(v->first, w * 64 + (unsigned)__builtin_ctzll(bit));
        const unsigned references = (v->frames.once[w] & bit) != 0 ? 1 : (v->frames.twice[w] & bit) != 0 ? 2 : 0;
        const uint64_t block = to[done].v / PMM_BLOCK_FRAMES;
        if (block != v->prepared && move_prepare(v->system, to[done]) != STATUS_OK) {
            move = ASPACE_MOVE_NOMEM;
            break;
        }
        v->prepared = block;
        move = move_page(v->system, frame, to[done], references);
        if (move == ASPACE_MOVED) {
            v->frames.used[w] &= ~bit;
            v->frames.free[w] |= bit;
            done++;
        }
    }
    v->out->moved += done;
    for (unsigned i = done; i < got; i++) {
        must(pmm_free(pmm, to[i])); /* it was fetched for a page that stays */
    }
    return move;
}

enum aspace_move empty_block(struct victim *v, pfn_t first, bool looks)
{
    enum aspace_move move = ASPACE_MOVED;
    v->first = first;
    v->out->tried++;
    if (pmm_block_take(v->system->vmm->pmm, first, &v->frames) != STATUS_OK) {
        v->out->refused[move]++;
        return move;
    }
    const bool goes = !looks || look(v, &move);
    for (unsigned w = 0; w < ARRAY_LEN(v->frames.used) && goes && move == ASPACE_MOVED; w++) {
        while (v->frames.used[w] != 0 && move == ASPACE_MOVED) {
            move = move_some(v, w);
        }
    }
    const bool won = give_back(v);
    v->out->won += won;
    v->out->refused[move] += !won;
    return move;
}
