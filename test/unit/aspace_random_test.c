/*
 * Spaces under the adversarial MMU: random calls over eight spaces agree with a plain map in every answer, right and
 * content; at least half of them succeed, and every status that the contract names is seen.
 */
#include "lib/rng.h"
#include "unit/aspace_play.h"
#include "unit/test.h"

/* The rarest answers are seen once in some 10,000 calls: as many histories as that takes. */
enum { HISTORY = 5000, HISTORIES_MAX = 40 };
#define BIT(status) (1U << STATUS_##status)

static struct aplay_op ops[HISTORY];
static struct aplay_counts counts;

static bool play_one(uint64_t seed)
{
    struct rng rng = rng_seeded(seed);
    for (unsigned i = 0; i < HISTORY; i++) {
        ops[i] = aplay_draw(&rng);
    }
    const struct aplay_result r = aplay_run(ops, HISTORY, false, &counts);
    if (EXPECT(!r.failed)) {
        return true;
    }
    test_note("history of seed %#lx, operation %u: %s", seed, r.at, r.text);
    aplay_print(ops, aplay_shrink(ops, HISTORY));
    return false;
}

/*
 * What the contract names, but what random calls cannot reach (tables broken, 65,000 references to a frame), or hardly
 * (no memory to shrink an object: test aspace_object).
 */
static const struct {
    uint8_t kind;
    uint32_t answers;
} named[] = {
    {APLAY_CREATE, BIT(OK) | BIT(NOMEM) | BIT(MISUSE)},
    {APLAY_DESTROY, BIT(OK) | BIT(MISUSE)},
    {APLAY_CLONE, BIT(OK) | BIT(MISUSE) | BIT(DENIED) | BIT(NOMEM)},
    {APLAY_LIMITS, BIT(OK) | BIT(LIMIT) | BIT(MISUSE)},
    {APLAY_MAP, BIT(OK) | BIT(NOMEM) | BIT(MISUSE) | BIT(INVALID) | BIT(RANGE) | BIT(EXISTS) | BIT(LIMIT)},
    {APLAY_MAP_GLOBAL, BIT(OK) | BIT(NOMEM) | BIT(MISUSE) | BIT(INVALID) | BIT(LIMIT)},
    {APLAY_MAP_OBJECT, BIT(OK) | BIT(NOMEM) | BIT(MISUSE) | BIT(INVALID) | BIT(RANGE) | BIT(EXISTS) | BIT(LIMIT) |
                           BIT(ABSENT) | BIT(CONFLICT) | BIT(UNSUPPORTED)},
    {APLAY_UNMAP, BIT(OK) | BIT(NOMEM) | BIT(MISUSE) | BIT(INVALID) | BIT(RANGE) | BIT(ABSENT) | BIT(DENIED) |
                      BIT(LIMIT)},
    {APLAY_PROTECT, BIT(OK) | BIT(NOMEM) | BIT(MISUSE) | BIT(INVALID) | BIT(RANGE) | BIT(ABSENT) | BIT(DENIED) |
                        BIT(LIMIT)},
    {APLAY_SEAL, BIT(OK) | BIT(NOMEM) | BIT(MISUSE) | BIT(INVALID) | BIT(RANGE) | BIT(ABSENT) | BIT(LIMIT)},
    {APLAY_SHARE, BIT(OK) | BIT(NOMEM) | BIT(MISUSE) | BIT(INVALID) | BIT(RANGE) | BIT(EXISTS) | BIT(LIMIT) |
                      BIT(ABSENT) | BIT(DENIED) | BIT(NOT_GLOBAL)},
    {APLAY_TRANSFER, BIT(OK) | BIT(NOMEM) | BIT(MISUSE) | BIT(INVALID) | BIT(RANGE) | BIT(EXISTS) | BIT(LIMIT) |
                         BIT(ABSENT) | BIT(DENIED) | BIT(NOT_GLOBAL)},
    {APLAY_WITHDRAW, BIT(OK) | BIT(NOMEM) | BIT(MISUSE) | BIT(INVALID) | BIT(RANGE) | BIT(ABSENT)},
    {APLAY_TOUCH, BIT(OK) | BIT(NOMEM) | BIT(MISUSE) | BIT(RANGE) | BIT(ABSENT) | BIT(DENIED) | BIT(LIMIT) |
                      BIT(NOT_YET)},
    {APLAY_QUERY, BIT(OK) | BIT(MISUSE) | BIT(RANGE) | BIT(ABSENT)},
    {APLAY_FIND, BIT(OK) | BIT(ABSENT)},
    {APLAY_USERS, BIT(OK)},
    {APLAY_OBJECT_NEW, BIT(OK) | BIT(NOMEM) | BIT(MISUSE) | BIT(INVALID) | BIT(RANGE)},
    {APLAY_OBJECT_HOLD, BIT(OK)},
    {APLAY_OBJECT_RELEASE, BIT(OK) | BIT(MISUSE)},
    {APLAY_OBJECT_RESIZE, BIT(OK) | BIT(INVALID) | BIT(SHARED) | BIT(UNSUPPORTED)},
    {APLAY_OBJECT_POPULATE, BIT(OK) | BIT(NOMEM) | BIT(RANGE) | BIT(NOT_YET)},
};

/* Those that were never seen; told when it is time that they were. */
static unsigned unseen(bool says)
{
    unsigned n = 0;
    for (unsigned i = 0; i < ARRAY_LEN(named); i++) {
        for (unsigned s = 0; s < APLAY_STATUSES; s++) {
            const bool is_unseen = (named[i].answers >> s & 1) != 0 && counts.answers[named[i].kind][s] == 0;
            n += is_unseen;
            if (is_unseen && says) {
                test_note("%s never answered %s", aplay_kind_name(named[i].kind), status_name((enum status)s));
            }
        }
    }
    return n;
}

TEST_HOST(aspace_random, calls_over_eight_spaces_agree_with_a_plain_map)
{
    struct rng seeds = rng_seeded(test_seed());
    memset(&counts, 0, sizeof counts);
    for (unsigned i = 0; i < test_effort() || (i < HISTORIES_MAX && unseen(false) > 0); i++) {
        if (!play_one(rng_next(&seeds))) {
            return;
        }
    }
    EXPECT(2 * counts.succeeded >= counts.calls);
    EXPECT(counts.loans > 0 && counts.dropped > 0 && counts.moved > 0);
    EXPECT_EQ(unseen(true), 0);
}
