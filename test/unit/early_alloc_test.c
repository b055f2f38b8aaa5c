/*
 * The watermark allocator: carve-outs, order, hand-over, and random scripts against a frame-by-frame model.
 */
#include "unit/boot_again.h"

#include "boot/early.h"
#include "unit/test.h"

static struct early *early_new(void) { return test_pages(bytes_to_pages_up(sizeof(struct early)).v); }

static uint64_t bytes_of(uint64_t frames) { return pages_to_bytes(npages(frames)); }

static bool has_hold(const struct early *e, size_t index, uint64_t first, uint64_t frames, enum hold_kind kind)
{
    struct frame_hold none = {{0}, 0, 99};
    struct frame_hold h = index < e->hold_count ? e->holds[index] : none;
    if (h.first.v == first && h.frames == frames && h.kind == kind) {
        return true;
    }
    test_note("hold %lu of %lu: %#lx + %u kind %u, not %#lx + %lu kind %u", index, e->hold_count, h.first.v, h.frames,
              h.kind, first, frames, kind);
    return false;
}

static uint64_t next_frame(struct early *e)
{
    pfn_t frame = {UINT64_MAX};
    return early_alloc(e, HOLD_USED, &frame) == STATUS_OK ? frame.v : UINT64_MAX;
}

TEST(early, runs_must_be_sorted_apart_and_not_empty)
{
    struct early *e = early_new();
    REQUIRE(e != NULL);
    const struct frame_run bad[][2] = {
        {{{500}, {10}}, {{400}, {10}}},            /* not sorted */
        {{{500}, {10}}, {{509}, {10}}},            /* overlap */
        {{{500}, {10}}, {{510}, {10}}},            /* touch */
        {{{500}, {0}}, {{510}, {10}}},             /* empty */
        {{{500}, {10}}, {{600}, {UINT64_MAX}}},    /* wraps */
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        EXPECT(early_init(e, bad[i], 2) == STATUS_INVALID);
        EXPECT_EQ(early_free(e).v, 0);
        EXPECT_EQ(next_frame(e), UINT64_MAX);
    }
    struct frame_run *many = test_pages(bytes_to_pages_up((EARLY_RUNS_MAX + 1) * sizeof *many).v);
    REQUIRE(many != NULL);
    for (size_t i = 0; i <= EARLY_RUNS_MAX; i++) {
        many[i] = (struct frame_run){pfn(1 + 300 * i), npages(299)};
    }
    EXPECT(early_init(e, many, EARLY_RUNS_MAX + 1) == STATUS_LIMIT);
    EXPECT_EQ(next_frame(e), UINT64_MAX);
    EXPECT(early_init(e, many, EARLY_RUNS_MAX) == STATUS_OK);
    EXPECT_EQ(early_free(e).v, 299 * (uint64_t)EARLY_RUNS_MAX);
    EXPECT(early_init(e, NULL, 0) == STATUS_OK);
    EXPECT_EQ(next_frame(e), UINT64_MAX);
}

TEST(early, a_full_list_of_runs_with_one_across_1_mib_fits)
{
    struct early *e = early_new();
    struct frame_run *many = test_pages(bytes_to_pages_up(EARLY_RUNS_MAX * sizeof *many).v);
    REQUIRE(e != NULL && many != NULL);
    for (size_t i = 0; i < EARLY_RUNS_MAX; i++) {
        many[i] = (struct frame_run){pfn(200 * i), npages(199)};
    }
    REQUIRE(early_init(e, many, EARLY_RUNS_MAX) == STATUS_OK);
    EXPECT_EQ(e->left_count, EARLY_RUNS_MAX + 1);
    EXPECT_EQ(early_free(e).v, 199 * (uint64_t)EARLY_RUNS_MAX - 1);
    EXPECT_EQ(next_frame(e), 400);
}

TEST(early, frames_come_from_above_1_mib_first_then_across_it_then_below)
{
    static const struct frame_run runs[] = {{{0}, {3}}, {{254}, {4}}, {{300}, {2}}, {{400}, {1}}};
    struct early *e = early_new();
    REQUIRE(e != NULL && early_init(e, runs, ARRAY_LEN(runs)) == STATUS_OK);
    static const uint64_t order[] = {300, 301, 400, 256, 257, 1, 2, 254, 255};
    EXPECT_EQ(early_free(e).v, ARRAY_LEN(order));
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        EXPECT_EQ(next_frame(e), order[i]);
        EXPECT_EQ(early_free(e).v, ARRAY_LEN(order) - 1 - i);
    }
    pfn_t frame = {77};
    EXPECT(early_alloc(e, HOLD_USED, &frame) == STATUS_NOMEM);
    EXPECT_EQ(frame.v, 77);
    EXPECT_EQ(e->served.v, ARRAY_LEN(order));
}

TEST(early, a_run_used_up_leaves_its_list)
{
    static const struct frame_run runs[] = {{{512}, {2}}, {{600}, {3}}};
    struct early *e = early_new();
    REQUIRE(e != NULL && early_init(e, runs, 2) == STATUS_OK);
    EXPECT_EQ(e->left_count, 2);
    EXPECT_EQ(next_frame(e), 512);
    EXPECT_EQ(e->left_count, 2);
    EXPECT_EQ(next_frame(e), 513);
    EXPECT_EQ(e->left_count, 1);
    EXPECT_EQ(e->left[0].first.v, 600);
    REQUIRE(early_init(e, runs, 2) == STATUS_OK);
    REQUIRE(early_hold(e, bytes_of(512), bytes_of(514), HOLD_RESERVED) == STATUS_OK); /* used up by a carve-out */
    EXPECT_EQ(next_frame(e), 600);
    EXPECT_EQ(e->left_count, 1);
}

TEST(early, carve_outs_inside_across_and_at_the_end_of_a_run)
{
    static const struct frame_run runs[] = {{{1000}, {100}}, {{1200}, {100}}, {{1400}, {100}}};
    struct early *e = early_new();
    REQUIRE(e != NULL && early_init(e, runs, 3) == STATUS_OK);
    REQUIRE(early_hold(e, bytes_of(1010) + 1, bytes_of(1012) + 1, HOLD_RESERVED) == STATUS_OK); /* inside, outward */
    REQUIRE(early_hold(e, bytes_of(1090), bytes_of(1100), HOLD_RESERVED) == STATUS_OK);         /* the very end */
    REQUIRE(early_hold(e, bytes_of(1200), bytes_of(1201), HOLD_RESERVED) == STATUS_OK);         /* the very front */
    REQUIRE(early_hold(e, bytes_of(1290), bytes_of(1410), HOLD_RESERVED) == STATUS_OK);         /* over a gap */
    REQUIRE(early_hold(e, bytes_of(1100), bytes_of(1200), HOLD_RESERVED) == STATUS_OK);         /* only a gap */
    REQUIRE(early_hold(e, bytes_of(1500) - 1, UINT64_MAX, HOLD_RESERVED) == STATUS_OK);      /* past all */
    EXPECT_EQ(e->hold_count, 6);
    EXPECT(has_hold(e, 0, 1010, 3, HOLD_RESERVED) && has_hold(e, 1, 1090, 10, HOLD_RESERVED));
    EXPECT(has_hold(e, 2, 1200, 1, HOLD_RESERVED) && has_hold(e, 3, 1290, 10, HOLD_RESERVED));
    EXPECT(has_hold(e, 4, 1400, 10, HOLD_RESERVED) && has_hold(e, 5, 1499, 1, HOLD_RESERVED));
    EXPECT_EQ(early_free(e).v, 300 - 35);
    for (uint64_t frame = 1000; frame < 1010; frame++) {
        EXPECT_EQ(next_frame(e), frame);
    }
    EXPECT_EQ(next_frame(e), 1013); /* stepped over what is held */
}

TEST(early, a_carve_out_over_all_runs_leaves_nothing)
{
    static const struct frame_run runs[] = {{{0}, {100}}, {{1200}, {100}}};
    struct early *e = early_new();
    REQUIRE(e != NULL && early_init(e, runs, 2) == STATUS_OK);
    REQUIRE(early_hold(e, 0, UINT64_MAX, HOLD_RESERVED) == STATUS_OK);
    EXPECT(has_hold(e, 0, 0, 100, HOLD_RESERVED) && has_hold(e, 1, 1200, 100, HOLD_RESERVED));
    EXPECT_EQ(early_free(e).v, 0);
    EXPECT_EQ(next_frame(e), UINT64_MAX);
}

TEST(early, overlapping_carve_outs_are_joined_and_the_earlier_kind_wins)
{
    static const struct frame_run runs[] = {{{1000}, {1000}}};
    struct early *e = early_new();
    REQUIRE(e != NULL && early_init(e, runs, 1) == STATUS_OK);
    REQUIRE(early_hold(e, bytes_of(1100), bytes_of(1200), HOLD_RESERVED) == STATUS_OK);
    REQUIRE(early_hold(e, bytes_of(1150), bytes_of(1250), HOLD_RESERVED) == STATUS_OK);
    EXPECT(has_hold(e, 0, 1100, 150, HOLD_RESERVED) && e->hold_count == 1);
    REQUIRE(early_hold(e, bytes_of(1300), bytes_of(1400), HOLD_USED) == STATUS_OK);
    REQUIRE(early_hold(e, bytes_of(1050), bytes_of(1500), HOLD_METADATA) == STATUS_OK); /* fills what is between */
    EXPECT_EQ(e->hold_count, 5);
    EXPECT(has_hold(e, 0, 1050, 50, HOLD_METADATA) && has_hold(e, 1, 1100, 150, HOLD_RESERVED));
    EXPECT(has_hold(e, 2, 1250, 50, HOLD_METADATA) && has_hold(e, 3, 1300, 100, HOLD_USED));
    EXPECT(has_hold(e, 4, 1400, 100, HOLD_METADATA));
    REQUIRE(early_hold(e, bytes_of(1050), bytes_of(1500), HOLD_USED) == STATUS_OK); /* all held: nothing */
    EXPECT_EQ(e->hold_count, 5);
    REQUIRE(early_hold(e, bytes_of(1501), bytes_of(1502), HOLD_METADATA) == STATUS_OK);
    REQUIRE(early_hold(e, bytes_of(1500), bytes_of(1501), HOLD_METADATA) == STATUS_OK); /* joins both neighbours */
    EXPECT(has_hold(e, 4, 1400, 102, HOLD_METADATA) && e->hold_count == 5);
    EXPECT_EQ(early_free(e).v, 1000 - 452);
}

TEST(early, a_senseless_carve_out_changes_nothing)
{
    static const struct frame_run runs[] = {{{1000}, {1000}}};
    struct early *e = early_new();
    REQUIRE(e != NULL && early_init(e, runs, 1) == STATUS_OK);
    EXPECT(early_hold(e, bytes_of(1200), bytes_of(1100), HOLD_RESERVED) == STATUS_INVALID);
    EXPECT(early_hold(e, UINT64_MAX - 5, 10, HOLD_RESERVED) == STATUS_INVALID); /* a wrapped end */
    EXPECT(early_hold(e, bytes_of(1100), bytes_of(1200), (enum hold_kind)7) == STATUS_INVALID);
    EXPECT(early_hold(e, bytes_of(1100) + 5, bytes_of(1100) + 5, HOLD_RESERVED) == STATUS_OK); /* nothing */
    EXPECT_EQ(e->hold_count, 0);
    pfn_t frame = {77};
    EXPECT(early_alloc(e, HOLD_RESERVED, &frame) == STATUS_INVALID);
    EXPECT_EQ(frame.v, 77);
    EXPECT_EQ(next_frame(e), 1000);
    EXPECT(early_hold(e, bytes_of(1100), bytes_of(1200), HOLD_RESERVED) == STATUS_INVALID); /* too late */
    EXPECT_EQ(e->hold_count, 1);
}

TEST(early, a_hold_longer_than_its_field_is_split)
{
    static const struct frame_run runs[] = {{{256}, {3 * (uint64_t)UINT32_MAX}}};
    struct early *e = early_new();
    REQUIRE(e != NULL && early_init(e, runs, 1) == STATUS_OK);
    REQUIRE(early_hold(e, bytes_of(256), bytes_of(256 + 2 * (uint64_t)UINT32_MAX + 5), HOLD_RESERVED) == STATUS_OK);
    EXPECT_EQ(e->hold_count, 3);
    EXPECT(has_hold(e, 0, 256, UINT32_MAX, HOLD_RESERVED));
    EXPECT(has_hold(e, 1, 256 + (uint64_t)UINT32_MAX, UINT32_MAX, HOLD_RESERVED));
    EXPECT(has_hold(e, 2, 256 + 2 * (uint64_t)UINT32_MAX, 5, HOLD_RESERVED));
    EXPECT_EQ(early_free(e).v, (uint64_t)UINT32_MAX - 5);
    EXPECT_EQ(next_frame(e), 256 + 2 * (uint64_t)UINT32_MAX + 5);
}

TEST(early, without_room_for_a_hold_nothing_changes)
{
    enum { ISLANDS = EARLY_HOLDS_MAX - 3 };
    static const struct frame_run runs[] = {{{1000}, {2 * ISLANDS}}}; /* a free frame below each island */
    struct early *e = early_new();
    REQUIRE(e != NULL && early_init(e, runs, 1) == STATUS_OK);
    for (uint64_t i = 0; i < ISLANDS; i++) {
        REQUIRE(early_hold(e, bytes_of(1001 + 2 * i), bytes_of(1002 + 2 * i), HOLD_BAD) == STATUS_OK);
    }
    EXPECT_EQ(e->hold_count, ISLANDS);
    uint64_t end = 1000 + 2 * ISLANDS;
    EXPECT(early_hold(e, bytes_of(end - 8), UINT64_MAX, HOLD_RESERVED) == STATUS_LIMIT); /* four gaps, three places */
    EXPECT_EQ(e->hold_count, ISLANDS);
    REQUIRE(early_hold(e, bytes_of(end - 6), UINT64_MAX, HOLD_RESERVED) == STATUS_OK);
    EXPECT_EQ(e->hold_count, EARLY_HOLDS_MAX);
    EXPECT_EQ(early_free(e).v, ISLANDS - 3);
    pfn_t frame = {77};
    EXPECT(early_alloc(e, HOLD_USED, &frame) == STATUS_LIMIT);
    EXPECT_EQ(frame.v, 77);
    EXPECT_EQ(e->hold_count, EARLY_HOLDS_MAX);
    EXPECT_EQ(early_free(e).v, ISLANDS - 3);
    EXPECT_EQ(e->served.v, 0);
}

TEST(early, a_bad_frame_is_stepped_over_and_a_hold_of_its_own_kind)
{
    static const struct frame_run runs[] = {{{1000}, {10}}};
    struct early *e = early_new();
    REQUIRE(e != NULL && early_init(e, runs, 1) == STATUS_OK);
    REQUIRE(early_hold(e, bytes_of(1002), bytes_of(1003), HOLD_RESERVED) == STATUS_OK);
    REQUIRE(early_hold(e, bytes_of(1001), bytes_of(1004), HOLD_BAD) == STATUS_OK); /* what is in use stays in use */
    EXPECT(has_hold(e, 0, 1001, 1, HOLD_BAD) && has_hold(e, 1, 1002, 1, HOLD_RESERVED));
    EXPECT(has_hold(e, 2, 1003, 1, HOLD_BAD));
    EXPECT_EQ(next_frame(e), 1000);
    EXPECT_EQ(next_frame(e), 1004);
    pfn_t frame = {77};
    EXPECT(early_alloc(e, HOLD_BAD, &frame) == STATUS_INVALID);
    EXPECT_EQ(frame.v, 77);
}

TEST(early, neighbours_of_one_kind_are_one_hold)
{
    static const struct frame_run runs[] = {{{1000}, {100}}};
    struct early *e = early_new();
    REQUIRE(e != NULL && early_init(e, runs, 1) == STATUS_OK);
    REQUIRE(early_hold(e, bytes_of(1003), bytes_of(1004), HOLD_USED) == STATUS_OK);
    for (unsigned i = 0; i < 5; i++) {
        (void)next_frame(e); /* 1000, 1001, 1002, 1004, 1005 */
    }
    EXPECT(has_hold(e, 0, 1000, 6, HOLD_USED) && e->hold_count == 1);
    pfn_t frame;
    EXPECT(early_alloc(e, HOLD_METADATA, &frame) == STATUS_OK);
    EXPECT(has_hold(e, 1, 1006, 1, HOLD_METADATA) && e->hold_count == 2);
}

TEST(early, the_hand_over_gives_the_holds_and_ends_the_service)
{
    static const struct frame_run runs[] = {{{1000}, {100}}};
    struct frame_hold holds[4];
    size_t count = 0;
    struct early *e = early_new();
    REQUIRE(e != NULL && early_init(e, runs, 1) == STATUS_OK);
    REQUIRE(early_hold(e, bytes_of(1050), bytes_of(1060), HOLD_RESERVED) == STATUS_OK);
    EXPECT_EQ(next_frame(e), 1000);
    EXPECT(early_handover(e, holds, 1, &count) == STATUS_LIMIT);
    EXPECT_EQ(count, 2);
    EXPECT_EQ(next_frame(e), 1001); /* it still serves */
    REQUIRE(early_handover(e, holds, 2, &count) == STATUS_OK);
    EXPECT(count == 2 && holds[0].first.v == 1000 && holds[0].frames == 2 && holds[0].kind == HOLD_USED);
    EXPECT(holds[1].first.v == 1050 && holds[1].frames == 10 && holds[1].kind == HOLD_RESERVED);
    EXPECT_EQ(next_frame(e), UINT64_MAX);
    EXPECT_EQ(early_free(e).v, 0);
    EXPECT(early_hold(e, bytes_of(1090), bytes_of(1091), HOLD_RESERVED) == STATUS_INVALID);
}

/* Frames held by the PC's carve-outs, with 640 KiB of RAM below 1 MiB. */
static uint64_t pc_holds(uint16_t ebda_segment, bool efi)
{
    static const struct frame_run runs[] = {{{0}, {160}}, {{256}, {100}}};
    struct early *e = early_new();
    if (e == NULL || early_init(e, runs, 2) != STATUS_OK || early_hold_pc(e, ebda_segment, efi) != STATUS_OK) {
        return UINT64_MAX;
    }
    EXPECT(has_hold(e, 0, 0, 1, HOLD_RESERVED));
    EXPECT(e->hold_count == 1 || hold_end(e->holds[1]) == 160);
    return 260 - early_free(e).v;
}

TEST(early, the_ebda_is_held_only_where_its_pointer_is_sane)
{
    EXPECT_EQ(pc_holds(0x9FC0, false), 1 + 1);
    EXPECT_EQ(pc_holds(0x9D00, false), 1 + 3);
    EXPECT_EQ(pc_holds(0x8000, false), 1 + 32);
    EXPECT_EQ(pc_holds(0x9FFF, false), 1 + 1);
    EXPECT_EQ(pc_holds(0x7FFF, false), 1); /* below 512 KiB */
    EXPECT_EQ(pc_holds(0, false), 1);
    EXPECT_EQ(pc_holds(0x0040, false), 1);
    EXPECT_EQ(pc_holds(0xA000, false), 1); /* not RAM at all */
    EXPECT_EQ(pc_holds(0xFFFF, false), 1);
    EXPECT_EQ(pc_holds(0x9FC0, true), 1);  /* EFI leaves no EBDA, whatever lies at 0x40E */
}

enum { MODEL_FRAMES = 600 };

struct model {
    uint8_t frame[MODEL_FRAMES]; /* 0: not RAM, 1: free, 2 + kind: held */
};

/* The holds are sorted, disjoint, inside runs, and frame by frame what the model says; the rest of the runs is free. */
static bool matches(const struct early *e, const struct model *m)
{
    uint64_t at = 0, free = 0;
    for (size_t i = 0; i <= e->hold_count; i++) {
        uint64_t first = i < e->hold_count ? e->holds[i].first.v : MODEL_FRAMES;
        for (; at < first; at++) {
            if (m->frame[at] > 1) {
                test_note("frame %lu should be held", at);
                return false;
            }
            free += m->frame[at] == 1 && at > 0;
        }
        for (; i < e->hold_count && at < hold_end(e->holds[i]); at++) {
            if (at >= MODEL_FRAMES || m->frame[at] != 2 + e->holds[i].kind || at < first) {
                test_note("frame %lu should not be held as %u", at, e->holds[i].kind);
                return false;
            }
        }
    }
    return early_free(e).v == free;
}

static size_t random_runs(struct rng *rng, struct frame_run *runs, struct model *m)
{
    size_t count = 0;
    memset(m, 0, sizeof *m);
    for (uint64_t at = rng_below(rng, 3); at < MODEL_FRAMES && count < 20; count++) {
        uint64_t frames = 1 + rng_below(rng, rng_below(rng, 4) ? 30 : 200);
        frames = frames < MODEL_FRAMES - at ? frames : MODEL_FRAMES - at;
        runs[count] = (struct frame_run){pfn(at), npages(frames)};
        memset(m->frame + at, 1, frames);
        at += frames + 1 + rng_below(rng, 40);
    }
    return count;
}

static void random_hold(struct rng *rng, struct early *e, struct model *m)
{
    uint64_t start = rng_below(rng, bytes_of(MODEL_FRAMES)), end = start + rng_below(rng, bytes_of(60));
    enum hold_kind kind = (enum hold_kind)rng_below(rng, HOLD_BAD + 1);
    if (rng_below(rng, 2)) { /* whole frames meet each other more often */
        start -= page_offset_bytes(start);
        end -= page_offset_bytes(end);
    }
    EXPECT(early_hold(e, start, end, kind) == STATUS_OK);
    for (uint64_t frame = 0; frame < MODEL_FRAMES; frame++) {
        if (m->frame[frame] == 1 && ranges_overlap(bytes_of(frame), bytes_of(frame + 1), start, end)) {
            m->frame[frame] = (uint8_t)(2 + kind);
        }
    }
}

TEST(early, random_scripts_match_a_frame_by_frame_model_to_the_last_frame)
{
    struct rng rng = rng_seeded(test_seed());
    struct early *e = early_new();
    struct model *m = test_pages(1);
    struct frame_run runs[20];
    REQUIRE(e != NULL && m != NULL);
    for (unsigned round = 0; round < 30 * test_effort(); round++) {
        size_t count = random_runs(&rng, runs, m);
        REQUIRE(early_init(e, runs, count) == STATUS_OK);
        for (uint64_t holds = rng_below(&rng, 12); holds > 0; holds--) {
            random_hold(&rng, e, m);
            REQUIRE(matches(e, m));
        }
        for (uint64_t free = early_free(e).v; free > 0; free--) {
            enum hold_kind kind = rng_below(&rng, 8) ? HOLD_USED : HOLD_METADATA;
            pfn_t frame = {0};
            REQUIRE(early_alloc(e, kind, &frame) == STATUS_OK);
            REQUIRE(frame.v > 0 && frame.v < MODEL_FRAMES && m->frame[frame.v] == 1);
            m->frame[frame.v] = (uint8_t)(2 + kind);
            REQUIRE(matches(e, m));
        }
        EXPECT_EQ(next_frame(e), UINT64_MAX);
    }
}
