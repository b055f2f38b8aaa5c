/*
 * Runs taken, freed in parts, split and shared at random, against a plain table that says whose each frame is.
 */
#include "unit/pmm_runs_bed.h"

enum { FIELD_BLOCKS = 10, FRAMES = FIELD_BLOCKS * BLOCK };

struct game {
    struct pmm_bed *bed;
    struct rng rng;
    uint16_t *run_of_frame; /* [frame - FIELD]: number of its run; 0: free */
    uint16_t *references;
    bool *is_whole;         /* [block]: handed out whole, and nothing was split off so far */
    uint16_t last_run;
    unsigned refused;       /* frees that had to be */
};

static uint64_t random_below(struct game *g, uint64_t n) { return rng_below(&g->rng, n); }

static void set_frames(struct game *g, uint64_t first, uint64_t n, uint16_t run)
{
    for (uint64_t i = first; i < first + n; i++) {
        g->run_of_frame[i] = run;
        g->references[i] = run != 0;
    }
}

/* These blocks are not in one piece any more where a part of them was touched. */
static void touch_blocks(struct game *g, uint64_t first, uint64_t n)
{
    for (uint64_t block = first / BLOCK; block <= (first + n - 1) / BLOCK; block++) {
        g->is_whole[block] = false;
    }
}

static bool take_run(struct game *g)
{
    uint64_t n = random_below(g, 3) == 0 ? 1 + random_below(g, 511) : BLOCK + random_below(g, 2 * BLOCK);
    n = random_below(g, 3) == 0 ? (1 + random_below(g, 3)) * BLOCK : n;
    pfn_t first;
    uint64_t most = pmm_largest_run(&g->bed->pmm, PMM_NO_LIMIT).v;
    enum status s = pmm_alloc_run(&g->bed->pmm, (unsigned)random_below(g, 2), npages(n), npages(0), npages(0),
                                  PMM_NO_LIMIT, &first);
    if (!EXPECT_EQ(s, n <= most ? STATUS_OK : STATUS_NOMEM) || s == STATUS_NOMEM) {
        return s == STATUS_NOMEM;
    }
    uint64_t at = first.v - FIELD;
    bool ok = EXPECT(at < FRAMES && at + n <= FRAMES);
    for (uint64_t i = 0; ok && i < n; i++) {
        ok = EXPECT_EQ(g->run_of_frame[at + i], 0);
    }
    if (ok) {
        set_frames(g, at, n, ++g->last_run);
        for (uint64_t i = 0; n >= BLOCK && i + BLOCK <= n; i += BLOCK) {
            g->is_whole[(at + i) / BLOCK] = true;
        }
    }
    return ok;
}

/* What the words of pmm_free_run say of [first, first + n): 0 refuse, 1 free, 2 the words leave it open. */
static unsigned verdict(const struct game *g, uint64_t first, uint64_t n)
{
    unsigned answer = 1;
    for (uint64_t i = first; i < first + n; i++) {
        bool begins = i > first && i % BLOCK == 0 && g->is_whole[i / BLOCK];
        bool same = g->run_of_frame[i] == g->run_of_frame[first];
        if (g->references[i] != 1 || (begins && !same && g->is_whole[(i - 1) / BLOCK])) {
            return 0;
        }
        answer = same ? answer : 2;
    }
    return answer;
}

/* The first frame that is in use from a random one on; FRAMES: none is. */
static uint64_t used_frame(struct game *g)
{
    uint64_t at = random_below(g, FRAMES), left = FRAMES;
    while (left > 0 && g->run_of_frame[at] == 0) {
        at = (at + 1) % FRAMES;
        left--;
    }
    return left > 0 ? at : FRAMES;
}

/* A run or a part of one; at times beyond its end. */
static bool free_part(struct game *g)
{
    uint64_t at = used_frame(g), end = at, run;
    if (at == FRAMES) {
        return true;
    }
    run = g->run_of_frame[at];
    uint64_t start = at;
    while (start > 0 && g->run_of_frame[start - 1] == run) {
        start--;
    }
    while (end < FRAMES && g->run_of_frame[end] == run) {
        end++;
    }
    at = random_below(g, 4) != 0 ? start : at; /* else from somewhere inside */
    uint64_t n = end - at;
    n = random_below(g, 3) == 0 ? 1 + random_below(g, n) : n;
    n += random_below(g, 6) == 0 && at + n + BLOCK <= FRAMES ? random_below(g, BLOCK) : 0;
    unsigned expected = verdict(g, at, n);
    if (expected == 2) {
        return true;
    }
    g->refused += expected == 0;
    enum status s = free_run(g->bed, FIELD + at, n);
    if (!EXPECT_EQ(s, expected == 1 ? STATUS_OK : STATUS_MISUSE)) {
        test_note("free of %lu frames at %lu.%lu", n, at / BLOCK, at % BLOCK);
        return false;
    }
    if (s == STATUS_OK) {
        set_frames(g, at, n, 0);
        touch_blocks(g, at, n);
    }
    return true;
}

/* One frame: freed, retained or released. */
static bool touch_frame(struct game *g, unsigned kind)
{
    uint64_t at = used_frame(g);
    if (at == FRAMES) {
        return true;
    }
    pfn_t frame = pfn(FIELD + at);
    bool whole = g->is_whole[at / BLOCK], freed = false, last = g->references[at] == 1;
    if (kind == 0) {
        g->refused += whole || !last;
        EXPECT_EQ(pmm_free(&g->bed->pmm, frame), whole || !last ? STATUS_MISUSE : STATUS_OK);
        g->references[at] = (uint16_t)(g->references[at] - (!whole && last));
    } else if (kind == 1) {
        g->references[at]++;
        EXPECT_EQ(pmm_retain(&g->bed->pmm, frame), STATUS_OK);
    } else {
        g->references[at]--;
        EXPECT(pmm_release(&g->bed->pmm, frame, &freed) == STATUS_OK && freed == last);
    }
    if (kind != 0) {
        touch_blocks(g, at, 1);
    }
    g->run_of_frame[at] = g->references[at] == 0 ? 0 : g->run_of_frame[at];
    return EXPECT_EQ(pmm_query(&g->bed->pmm, frame).references, g->references[at]);
}

static bool split_some(struct game *g)
{
    uint64_t at = used_frame(g), n = 0, most = 1 + random_below(g, 2 * BLOCK);
    while (n < most && at + n < FRAMES && g->run_of_frame[at + n] != 0) {
        n++;
    }
    if (n == 0) {
        return true;
    }
    touch_blocks(g, at, n);
    return EXPECT_EQ(pmm_split_run(&g->bed->pmm, pfn(FIELD + at), npages(n)), STATUS_OK);
}

static bool agrees(const struct game *g)
{
    for (uint64_t i = 0; i < FRAMES; i++) {
        struct pmm_frame q = pmm_query(&g->bed->pmm, pfn(FIELD + i));
        enum pmm_state state = g->is_whole[i / BLOCK] ? PMM_STATE_RUN : PMM_STATE_USED;
        state = g->run_of_frame[i] == 0 ? PMM_STATE_FREE : state;
        bool same = q.state == state || (state == PMM_STATE_FREE && q.state == PMM_STATE_CACHED);
        if (!EXPECT(same) || !EXPECT_EQ(q.references, g->references[i])) {
            test_note("frame %lu.%lu is %s with %u", i / BLOCK, i % BLOCK, pmm_state_name(q.state), q.references);
            return false;
        }
    }
    return true;
}

/* All of it goes, and the field is whole again. */
static bool release_all(struct game *g)
{
    for (uint64_t i = 0; i < FRAMES; i++) {
        for (; g->references[i] > 0; g->references[i]--) {
            if (!EXPECT_EQ(pmm_release(&g->bed->pmm, pfn(FIELD + i), NULL), STATUS_OK)) {
                return false;
            }
        }
        g->run_of_frame[i] = 0;
    }
    memset(g->is_whole, 0, FIELD_BLOCKS * sizeof *g->is_whole);
    return EXPECT_EQ(pmm_largest_run(&g->bed->pmm, PMM_NO_LIMIT).v, FRAMES) && bed_sound(g->bed);
}

TEST(pmm_run_parts, any_play_of_parts_splits_and_shares_ends_as_a_plain_table_says)
{
    for (unsigned cpus = 0; cpus <= 1; cpus++) {
        struct game g = {.bed = runs_bed_full(FIELD_BLOCKS, cpus), .rng = rng_seeded(test_seed() + cpus)};
        g.run_of_frame = test_pages(bytes_to_pages_up(FRAMES * sizeof *g.run_of_frame).v);
        g.references = test_pages(bytes_to_pages_up(FRAMES * sizeof *g.references).v);
        g.is_whole = test_pages(1);
        REQUIRE(g.bed != NULL && g.run_of_frame != NULL && g.references != NULL && g.is_whole != NULL);
        REQUIRE(free_run(g.bed, FIELD, FRAMES) == STATUS_OK);
        unsigned rounds = 300 * test_effort();
        for (unsigned i = 0; i < rounds; i++) {
            unsigned kind = (unsigned)random_below(&g, 16);
            kind = kind < 6 ? 0 : kind < 11 ? 1 : kind - 9;
            kind = kind == 0 && pmm_largest_run(&g.bed->pmm, PMM_NO_LIMIT).v < BLOCK ? 1 : kind;
            bool ok = kind == 0   ? take_run(&g)
                      : kind == 1 ? free_part(&g)
                      : kind < 6  ? touch_frame(&g, kind % 3)
                                  : split_some(&g);
            REQUIRE(ok && bed_sound(g.bed) && (i % 8 != 0 || agrees(&g)));
            REQUIRE(i % 64 != 63 || release_all(&g));
        }
        REQUIRE(agrees(&g));
        EXPECT(g.refused > rounds / 40);
        EXPECT(g.last_run > rounds / 20);
        REQUIRE(release_all(&g));
    }
    test_expect_reports(test_reports());
}
