/*
 * Many tasks at play: every answer, register, right and content agrees with a plain model, the validators find nothing,
 * every status that a call is said to answer is seen, and in the end all memory is back.
 */
#include "unit/task_play.h"

enum { STEPS = 1000, ROUNDS_MAX = 30 }; /* the runner has memory for 32 beds in a test */

static struct tplay play;

/* What is said of each call (abi.h), but for what takes a machine that is broken or far larger. */
static const struct {
    uint8_t number;
    uint32_t answers;
} named[] = {
    {TASK_ALLOC, BIT(OK) | BIT(INVALID) | BIT(LIMIT) | BIT(NOMEM)},
    {TASK_FREE, BIT(OK) | BIT(INVALID) | BIT(RANGE) | BIT(ABSENT) | BIT(DENIED)},
    {TASK_MAP_MODULE, BIT(OK) | BIT(INVALID) | BIT(LIMIT) | BIT(ABSENT) | BIT(EXISTS)},
    {TASK_PROTECT, BIT(OK) | BIT(INVALID) | BIT(RANGE) | BIT(ABSENT) | BIT(DENIED)},
    {TASK_QUERY, BIT(OK) | BIT(RANGE) | BIT(ABSENT)},
    {TASK_SHARE, BIT(OK) | BIT(INVALID) | BIT(RANGE) | BIT(ABSENT) | BIT(DENIED) | BIT(EXISTS) | BIT(NOT_GLOBAL) |
                     BIT(LIMIT)},
    {TASK_TRANSFER, BIT(OK) | BIT(INVALID) | BIT(RANGE) | BIT(ABSENT) | BIT(DENIED) | BIT(EXISTS) | BIT(NOT_GLOBAL) |
                        BIT(LIMIT)},
    {TASK_WITHDRAW, BIT(OK) | BIT(INVALID) | BIT(RANGE) | BIT(ABSENT)},
    {TASK_CLONE, BIT(OK) | BIT(INVALID) | BIT(RANGE) | BIT(ABSENT) | BIT(DENIED) | BIT(NOT_GLOBAL) | BIT(LIMIT) |
                     BIT(NOMEM)},
    {TASK_SEAL, BIT(OK) | BIT(INVALID) | BIT(RANGE) | BIT(ABSENT)},
    {TASK_SEND, BIT(OK) | BIT(INVALID) | BIT(RANGE) | BIT(ABSENT) | BIT(DENIED) | BIT(EXISTS) | BIT(NOT_GLOBAL) |
                    BIT(LIMIT) | BIT(NOMEM)},
    {TASK_RECEIVE, BIT(OK) | BIT(INVALID) | BIT(RANGE) | BIT(ABSENT) | BIT(LIMIT) | BIT(AGAIN)},
    {TASK_LOG, BIT(OK) | BIT(INVALID) | BIT(RANGE) | BIT(LIMIT)},
    {TASK_STATS, BIT(OK) | BIT(RANGE)},
    {TASK_SEGMENT_CREATE, BIT(OK) | BIT(INVALID) | BIT(RANGE) | BIT(LIMIT)},
    {TASK_SEGMENT_GRANT, BIT(OK) | BIT(INVALID) | BIT(ABSENT) | BIT(DENIED) | BIT(EXISTS)},
    {TASK_SEGMENT_NARROW, BIT(OK) | BIT(INVALID) | BIT(ABSENT) | BIT(DENIED)},
    {TASK_SEGMENT_REVOKE, BIT(OK) | BIT(ABSENT) | BIT(DENIED)},
    {TASK_SEGMENT_RESIZE, BIT(OK) | BIT(INVALID) | BIT(RANGE) | BIT(ABSENT) | BIT(DENIED) | BIT(SHARED) | BIT(LIMIT)},
    {TASK_SEGMENT_FILE, BIT(OK) | BIT(INVALID) | BIT(RANGE) | BIT(ABSENT) | BIT(LIMIT)},
    {TASK_CALLS, BIT(UNSUPPORTED)},
};

static unsigned unseen(bool says)
{
    unsigned n = 0;
    for (unsigned i = 0; i < ARRAY_LEN(named); i++) {
        for (unsigned s = 0; s < TPLAY_STATUSES; s++) {
            const bool is_unseen = (named[i].answers >> s & 1) != 0 && play.answers[named[i].number][s] == 0;
            n += is_unseen;
            if (is_unseen && says) {
                test_note("call %u never answered %s", named[i].number, status_name((enum status)s));
            }
        }
    }
    return n;
}

static bool tplay_one(uint64_t seed)
{
    bool ok = tplay_begin(&play, rng_seeded(seed));
    unsigned i = 0;
    for (; i < STEPS && ok; i++) {
        ok = tplay_step(&play);
    }
    if (!ok) {
        test_note("seed %#lx, step %u", seed, i);
        return false;
    }
    task_bed_close(&play.bed);
    return true;
}

TEST_HOST(task_random, tasks_at_play_agree_with_a_plain_model)
{
    struct rng seeds = rng_seeded(test_seed());
    memset(&play, 0, sizeof play);
    for (unsigned i = 0; i < test_effort() || (i < ROUNDS_MAX && unseen(false) > 0); i++) {
        REQUIRE(tplay_one(rng_next(&seeds)));
    }
    EXPECT_EQ(unseen(true), 0);
}
