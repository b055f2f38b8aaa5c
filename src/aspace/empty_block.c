/*
 * Emptying one block: compact.c, section 2.
 */
#include "aspace/mapping.h"
#include "aspace/move_page.h"

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
            const enum frame_kind kind = reverse_kind(v->words != NULL ? v->words[w * 64 + bit] : 0);
            if (kind == FRAME_UNKNOWN || (kind == FRAME_PRIVATE && (v->frames.once[w] >> bit & 1) == 0)) {
                *why = kind == FRAME_UNKNOWN ? ASPACE_MOVE_UNKNOWN : ASPACE_MOVE_SHARED;
                return false;
            }
        }
    }
    return true;
}

/* The place of the reverse index for this frame is known, and there. => false: memory is short */
static bool prepare(struct victim *v, pfn_t to)
{
    const uint64_t block = to.v / PMM_BLOCK_FRAMES;
    if (block != v->prepared) {
        v->prepared = move_prepare(v->system, to) == STATUS_OK ? block : UINT64_MAX;
        v->to_words = NULL;
    }
    v->to_words = v->to_words == NULL ? reverse_words(v->system, to) : v->to_words;
    return v->prepared == block;
}

static enum aspace_move move_one(struct victim *v, unsigned w, uint64_t bit, pfn_t to)
{
    const unsigned index = w * 64 + (unsigned)__builtin_ctzll(bit);
    const struct moving m = {
        .frame = pfn_add(v->first, index),
        .to = to,
        .references = (v->frames.once[w] & bit) != 0 ? 1 : (v->frames.twice[w] & bit) != 0 ? 2 : 0,
        .word = v->words != NULL ? v->words[index] : 0,
        .to_word = v->to_words != NULL ? &v->to_words[to.v % PMM_BLOCK_FRAMES] : NULL,
    };
    return move_page(v->system, &m);
}

/* Frames for the pages that are left, some at a time. => false: memory is short */
static bool fetch(struct victim *v)
{
    unsigned wanted = 0;
    for (unsigned w = 0; w < ARRAY_LEN(v->frames.used); w++) {
        for (uint64_t left = v->frames.used[w]; left != 0 && wanted < ARRAY_LEN(v->to); left &= left - 1) {
            wanted++;
        }
    }
    v->next = 0;
    v->got = v->fetch(v->system->vmm->pmm, v->to, wanted, v->avoid, v->avoided);
    return v->got == wanted;
}

/* The first page of this word of the map. */
static enum aspace_move move_next(struct victim *v, unsigned w)
{
    const uint64_t bit = v->frames.used[w] & -v->frames.used[w];
    if ((v->next == v->got && !fetch(v)) || !prepare(v, v->to[v->next])) {
        return ASPACE_MOVE_NOMEM;
    }
    const enum aspace_move move = move_one(v, w, bit, v->to[v->next]);
    if (move == ASPACE_MOVED) {
        v->frames.used[w] &= ~bit;
        v->frames.free[w] |= bit;
        v->next++;
        v->out->moved++;
    }
    return move;
}

enum aspace_move empty_block(struct victim *v, pfn_t first, bool looks)
{
    enum aspace_move move = ASPACE_MOVED;
    v->first = first;
    v->words = reverse_words(v->system, first);
    v->next = v->got = 0;
    v->out->tried++;
    if (pmm_block_take(v->system->vmm->pmm, first, &v->frames) != STATUS_OK) {
        v->out->refused[move]++;
        return move;
    }
    const bool goes = !looks || look(v, &move);
    for (unsigned w = 0; w < ARRAY_LEN(v->frames.used) && goes; w++) {
        while (v->frames.used[w] != 0 && move == ASPACE_MOVED) {
            move = move_next(v, w);
        }
    }
    for (; v->next < v->got; v->next++) {
        must(pmm_free(v->system->vmm->pmm, v->to[v->next])); /* it was fetched for a page that stays */
    }
    const bool won = give_back(v);
    v->out->won += won;
    v->out->refused[move] += !won;
    return move;
}
