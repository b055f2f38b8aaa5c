/*
 * The backing fails, at each call that opens blocks, the first time or later: that call says so, what is open goes on
 * serving, and nothing is handed out twice.
 */
#include "unit/pmm_steps.h"

enum { BASE = 8, BLOCKS = 24, FIRST = BASE * PMM_BLOCK_FRAMES, FRAMES = BLOCKS * PMM_BLOCK_FRAMES, MANY = 300 };

enum call {
    CALL_KERNEL, CALL_USER, CALL_OWNER, CALL_ZEROED, CALL_ZERO_FILL, CALL_MANY, CALL_RUN, CALL_LONG_RUN, CALL_CLAIM,
    CALL_BAD, CALL_GIVE_BACK, CALL_PROMISE, CALLS,
};

struct stage {
    struct pmm_bed *bed;
    uint8_t *seen; /* [frame - FIRST]: handed out */
    uint64_t step;
    unsigned owner;
};

static bool got(struct stage *s, uint64_t first, uint64_t n)
{
    for (uint64_t f = first; f < first + n; f++) {
        if (!EXPECT_EQ(s->seen[f - FIRST]++, 0)) {
            return false;
        }
    }
    return true;
}

static bool zeroes(void *ctx, pfn_t frame)
{
    struct stage *s = ctx;
    EXPECT_EQ(s->seen[frame.v - FIRST], 0);
    return true;
}

static struct pmm_bed *machine(struct bed_arena *arena, unsigned levels)
{
    struct pmm_bed *bed = bed_new(arena, BASE, BASE + BLOCKS, levels);
    if (bed != NULL) {
        bed_run(bed, FIRST, FRAMES);
        for (unsigned i = 1; i < BLOCKS; i += 2) {
            bed_hold(bed, FIRST + i * PMM_BLOCK_FRAMES + 200, 3, HOLD_RESERVED);
        }
        bed_with_owners(bed, 1);
        bed_with_zero_pool(bed, 100);
        if (!starts(bed)) {
            return NULL;
        }
        pmm_policy_set(&bed->pmm, (struct pmm_policy){npages(0), 0});
    }
    return bed;
}

static enum status one(struct stage *s, unsigned flags)
{
    pfn_t frame = pfn(0);
    enum status status = pmm_alloc(&s->bed->pmm, flags, &frame);
    EXPECT(status == STATUS_OK ? got(s, frame.v, 1) : frame.v == 0);
    return status;
}

static enum status many(struct stage *s)
{
    pfn_t frames[MANY];
    enum status status = pmm_alloc_many(&s->bed->pmm, PMM_USER, frames, npages(MANY));
    for (unsigned i = 0; status == STATUS_OK && i < MANY; i++) {
        got(s, frames[i].v, 1);
    }
    return status;
}

static enum status run(struct stage *s, uint64_t n)
{
    pfn_t first = pfn(0);
    enum status status =
        pmm_alloc_run(&s->bed->pmm, PMM_KERNEL, npages(n), npages(0), npages(0), PMM_NO_LIMIT, &first);
    EXPECT(status == STATUS_OK ? got(s, first.v, n) : first.v == 0);
    return status;
}

/* One call; on OK what it gave is noted. Every second block has reserved frames from its 200th on. */
static enum status make_call(struct stage *s, enum call call)
{
    struct pmm *pmm = &s->bed->pmm;
    pfn_t frame = pfn(FIRST + 2 * s->step++ * PMM_BLOCK_FRAMES);
    npages_t filled = npages(0);
    bool is_zero;
    enum status status = STATUS_OK;
    switch (call) {
    case CALL_KERNEL: return one(s, PMM_KERNEL);
    case CALL_USER: return one(s, PMM_USER);
    case CALL_OWNER: return one(s, PMM_OWNER(s->owner));
    case CALL_ZEROED:
        status = pmm_alloc_zeroed(pmm, PMM_USER, &frame, &is_zero);
        EXPECT(status != STATUS_OK || got(s, frame.v, 1));
        return status;
    case CALL_ZERO_FILL:
        status = pmm_zero_fill(pmm, PMM_USER, npages(20), zeroes, s, &filled);
        return filled.v == 20 || status != STATUS_OK ? one(s, PMM_USER) : one(s, PMM_KERNEL);
    case CALL_MANY: return many(s);
    case CALL_RUN: return run(s, 150);
    case CALL_LONG_RUN: return run(s, PMM_BLOCK_FRAMES);
    case CALL_CLAIM:
        status = pmm_claim(pmm, pfn(frame.v + 510), npages(5));
        EXPECT(status != STATUS_OK || got(s, frame.v + 510, 5));
        return status;
    case CALL_BAD:
        status = pmm_mark_bad(pmm, pfn(frame.v + 77));
        EXPECT(status != STATUS_OK || got(s, frame.v + 77, 1));
        return status;
    case CALL_GIVE_BACK:
        status = pmm_give_back(pmm, pfn(frame.v + PMM_BLOCK_FRAMES + 200), npages(3));
        EXPECT_EQ(status, STATUS_OK); /* opens nothing */
        return one(s, PMM_KERNEL);
    default:
        EXPECT_EQ(pmm_promise(pmm, npages(1)), STATUS_OK); /* opens nothing either */
        return one(s, PMM_PROMISED);
    }
}

/* After the failure: what is open is served to its end, each frame once; what was handed out can be given back. */
static bool serve_on(struct stage *s)
{
    struct pmm *pmm = &s->bed->pmm;
    enum status status;
    while ((status = one(s, PMM_KERNEL)) == STATUS_OK) {
    }
    EXPECT(status == STATUS_CORRUPT || status == STATUS_NOMEM);
    EXPECT_EQ(one(s, PMM_USER), status);
    uint64_t freed = 0;
    for (uint64_t f = FIRST; f < FIRST + FRAMES; f++) {
        enum pmm_state state = state_of(s->bed, f);
        EXPECT(s->seen[f - FIRST] <= 1);
        if (state == PMM_STATE_USED && freed < 50) {
            EXPECT_EQ(s->seen[f - FIRST], 1);
            free_one(s->bed, f);
            s->seen[f - FIRST] = 0;
            freed++;
        }
    }
    uint64_t served = 0;
    while (served < freed && one(s, served & PMM_USER) == STATUS_OK) {
        served++;
    }
    EXPECT_EQ(served, freed);
    EXPECT_EQ(pmm_check(pmm, NULL), STATUS_CORRUPT);
    return served == freed;
}

TEST(pmm, each_call_survives_a_backing_that_fails_the_first_second_or_a_later_time)
{
    struct bed_arena arena = bed_arena();
    uint8_t *seen = test_pages(bytes_to_pages_up(FRAMES).v);
    REQUIRE(seen != NULL);
    for (unsigned call = 0; call < CALLS; call++) {
        for (unsigned fail_at = 1; fail_at <= 5; fail_at++) {
            struct stage s = {.bed = machine(&arena, fail_at % 3), .seen = seen};
            REQUIRE(s.bed != NULL);
            memset(seen, 0, FRAMES);
            REQUIRE(pmm_owner_open(&s.bed->pmm, &s.owner) == STATUS_OK);
            unsigned reports = test_reports();
            s.bed->fail_at = fail_at;
            enum status status = STATUS_OK;
            while (status == STATUS_OK && s.step < 2 * FRAMES) {
                bool fits = s.step < BLOCKS / 2 || call < CALL_CLAIM || call > CALL_GIVE_BACK;
                status = fits ? make_call(&s, (enum call)call) : one(&s, PMM_KERNEL);
            }
            EXPECT_EQ(status, STATUS_CORRUPT);
            EXPECT_EQ(test_reports(), reports + 1);
            test_expect_reports(reports + 1);
            if (!serve_on(&s)) {
                test_note("call %u, failing at %u", call, fail_at);
            }
            EXPECT_EQ(test_reports(), reports + 1); /* said once */
        }
    }
}
