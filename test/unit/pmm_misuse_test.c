/*
 * Wrong frames: every call that takes one says so by name, with the frame's values and who called, and changes nothing,
 * to the byte.
 */
#include "pmm/internal.h"
#include "unit/pmm_steps.h"

enum { LOW = 1024, HIGH = 8 * PMM_BLOCK_FRAMES, FAR = 40 * PMM_BLOCK_FRAMES, LEFT_OUT = 200 * PMM_BLOCK_FRAMES };

/* What there is to be wrong about. */
enum scene {
    SCENE_FREE, SCENE_NEVER_CARVED, SCENE_UNTOUCHED, SCENE_CACHED, SCENE_SHARED, SCENE_RUN, SCENE_ZERO, SCENE_RESERVED,
    SCENE_RESERVED_UNOPENED, SCENE_BAD, SCENE_LOST, SCENE_METADATA, SCENE_ABSENT, SCENE_ABSENT_UNOPENED, SCENE_LEFT_OUT,
    SCENE_BETWEEN, SCENE_FIRST, SCENE_FAR, SCENE_LAST, SCENES,
};

static const struct {
    const char *state;
    enum pmm_state answer;
} scenes[SCENES] = {
    [SCENE_FREE] = {"(free,", PMM_STATE_FREE},
    [SCENE_NEVER_CARVED] = {"(free,", PMM_STATE_FREE},
    [SCENE_UNTOUCHED] = {"(never used,", PMM_STATE_UNTOUCHED},
    [SCENE_CACHED] = {"(cached,", PMM_STATE_CACHED},
    [SCENE_SHARED] = {"(used, references 2", PMM_STATE_USED},
    [SCENE_RUN] = {"(part of a run, references 1", PMM_STATE_RUN},
    [SCENE_ZERO] = {"(the zero frame,", PMM_STATE_ZERO},
    [SCENE_RESERVED] = {"(reserved,", PMM_STATE_RESERVED},
    [SCENE_RESERVED_UNOPENED] = {"(reserved,", PMM_STATE_RESERVED},
    [SCENE_BAD] = {"(bad,", PMM_STATE_BAD},
    [SCENE_LOST] = {"(lost,", PMM_STATE_LOST},
    [SCENE_METADATA] = {"(metadata,", PMM_STATE_METADATA},
    [SCENE_ABSENT] = {"(absent,", PMM_STATE_ABSENT},
    [SCENE_ABSENT_UNOPENED] = {"(absent,", PMM_STATE_ABSENT},
    [SCENE_LEFT_OUT] = {"(reserved,", PMM_STATE_RESERVED},
    [SCENE_BETWEEN] = {"(outside RAM,", PMM_STATE_OUTSIDE},
    [SCENE_FIRST] = {"(outside RAM,", PMM_STATE_OUTSIDE},
    [SCENE_FAR] = {"(outside RAM,", PMM_STATE_OUTSIDE},
    [SCENE_LAST] = {"(outside RAM,", PMM_STATE_OUTSIDE},
};

struct stage {
    struct pmm_bed *bed;
    struct snap *snap;
    uint64_t frame[SCENES];
    unsigned reports; /* of setting it up */
};

/*
 * Blocks 2 and 3 with a hole [1100, 1200), opened by 1030 (used) and 1031 (metadata), [1040, 1050) reserved; blocks 8
 * to 13, the first frame of 8 and the last 5 of 13 reserved or absent; a region of one frame that is left out.
 */
static bool stage_map(struct stage *s)
{
    s->bed = bed_new(NULL, 0, 256, 0);
    if (s->bed == NULL) {
        return false;
    }
    bed_run(s->bed, LOW, 76);
    bed_run(s->bed, 1200, 336);
    bed_run(s->bed, HIGH, 6 * PMM_BLOCK_FRAMES - 5);
    bed_run(s->bed, LEFT_OUT + 9, 1);
    bed_hold(s->bed, 1030, 1, HOLD_USED);
    bed_hold(s->bed, 1031, 1, HOLD_METADATA);
    bed_hold(s->bed, 1040, 10, HOLD_RESERVED);
    bed_hold(s->bed, HIGH + 6 * PMM_BLOCK_FRAMES - 9, 2, HOLD_RESERVED);
    bed_with_zero_pool(s->bed, 4);
    bed_with_owners(s->bed, 2);
    return starts(s->bed);
}

static bool zeroes(void *ctx, pfn_t frame)
{
    *(uint64_t *)ctx = frame.v;
    return true;
}

/* A block of which all is used but one free frame, whose state is then broken: it is closed. */
static uint64_t close_a_block(struct stage *s)
{
    uint64_t first = HIGH + 3 * PMM_BLOCK_FRAMES;
    EXPECT_EQ(pmm_claim(&s->bed->pmm, pfn(first), npages(PMM_BLOCK_FRAMES)), STATUS_OK);
    free_one(s->bed, first + 5);
    s->bed->blocks[first / PMM_BLOCK_FRAMES].top = 7; /* no link */
    free_one(s->bed, first + 9);                      /* finds it */
    EXPECT_EQ(test_reports(), 1);
    s->reports = 1;
    return first + 9;
}

static bool stage_set(struct stage *s)
{
    if (!stage_map(s)) {
        return false;
    }
    struct pmm *pmm = &s->bed->pmm;
    uint64_t *frame = s->frame;
    npages_t filled;
    pfn_t run = pfn(0);
    frame[SCENE_LOST] = close_a_block(s);
    frame[SCENE_FREE] = 1060;
    EXPECT_EQ(pmm_claim(pmm, pfn(1060), npages(2)), STATUS_OK);
    frame[SCENE_SHARED] = 1061;
    EXPECT_EQ(pmm_retain(pmm, pfn(1061)), STATUS_OK);
    EXPECT_EQ(pmm_alloc_run(pmm, PMM_USER, npages(2 * PMM_BLOCK_FRAMES), npages(0), npages(0), PMM_NO_LIMIT, &run),
              STATUS_OK);
    frame[SCENE_RUN] = run.v + PMM_BLOCK_FRAMES + 3;
    frame[SCENE_ZERO] = 1062;
    EXPECT_EQ(pmm_claim(pmm, pfn(1062), npages(1)), STATUS_OK);
    EXPECT_EQ(pmm_zero_frame_set(pmm, pfn(1062)), STATUS_OK);
    frame[SCENE_BAD] = 1063;
    EXPECT_EQ(pmm_mark_bad(pmm, pfn(1063)), STATUS_OK);
    EXPECT_EQ(pmm_zero_fill(pmm, PMM_USER, npages(1), zeroes, &frame[SCENE_CACHED], &filled), STATUS_OK);
    EXPECT_EQ(pmm_free(pmm, pfn(1060)), STATUS_OK); /* the last: metadata would be paid with it */
    frame[SCENE_NEVER_CARVED] = 1530;
    frame[SCENE_RESERVED] = 1045;
    frame[SCENE_METADATA] = 1031;
    frame[SCENE_ABSENT] = 1150;
    frame[SCENE_UNTOUCHED] = HIGH + 5 * PMM_BLOCK_FRAMES;
    frame[SCENE_RESERVED_UNOPENED] = HIGH + 6 * PMM_BLOCK_FRAMES - 8;
    frame[SCENE_ABSENT_UNOPENED] = HIGH + 6 * PMM_BLOCK_FRAMES - 1;
    frame[SCENE_LEFT_OUT] = LEFT_OUT + 9;
    frame[SCENE_BETWEEN] = 4 * PMM_BLOCK_FRAMES;
    frame[SCENE_FIRST] = 0;
    frame[SCENE_FAR] = UINT64_MAX / 2;
    frame[SCENE_LAST] = UINT64_MAX;
    bool ok = true;
    for (unsigned i = 0; i < SCENES; i++) {
        if (!EXPECT_EQ(pmm_query(pmm, pfn(frame[i])).state, scenes[i].answer)) {
            test_note("scene %u, frame %#lx", i, frame[i]);
            ok = false;
        }
    }
    s->snap = snap_new(s->bed);
    return bed_sound(s->bed) && s->snap != NULL && ok;
}

enum call {
    CALL_FREE, CALL_FREE_AT, CALL_FREE_MANY, CALL_FREE_RUN, CALL_RELEASE, CALL_RETAIN, CALL_SPLIT, CALL_GIVE_BACK,
    CALLS,
};
static const char *const names[CALLS] = {
    "pmm_free: ",    "pmm_free_at: ", "pmm_free_many: ", "pmm_free_run: ",
    "pmm_release: ", "pmm_retain: ",  "pmm_split_run: ", "pmm_give_back: ",
};

/* What the call is wrong about: all but these. */
static bool is_right(enum call call, enum scene scene)
{
    bool counted = call == CALL_RELEASE || call == CALL_RETAIN || call == CALL_SPLIT;
    switch (scene) {
    case SCENE_SHARED: return counted;
    case SCENE_ZERO: return counted;
    case SCENE_RUN: return counted || call == CALL_FREE_RUN;
    case SCENE_RESERVED: return call == CALL_GIVE_BACK;
    case SCENE_RESERVED_UNOPENED: return call == CALL_GIVE_BACK;
    case SCENE_LEFT_OUT: return call == CALL_GIVE_BACK; /* no misuse: out of memory */
    default: return false;
    }
}

/* Never inlined: the caller that reports must name is in here. */
__attribute__((noinline)) static enum status make_call(struct pmm *pmm, enum call call, uint64_t frame)
{
    pfn_t f = pfn(frame);
    npages_t done = npages(9);
    enum status s = STATUS_OK;
    switch (call) {
    case CALL_FREE: s = pmm_free(pmm, f); break;
    case CALL_FREE_AT: s = pmm_free_at(pmm, pfn_to_paddr(f)); break;
    case CALL_FREE_MANY:
        s = pmm_free_many(pmm, &f, npages(1), &done);
        EXPECT_EQ(done.v, 0);
        break;
    case CALL_FREE_RUN: s = pmm_free_run(pmm, f, npages(1)); break;
    case CALL_RELEASE: s = pmm_release(pmm, f, NULL); break;
    case CALL_RETAIN: s = pmm_retain(pmm, f); break;
    case CALL_SPLIT: s = pmm_split_run(pmm, f, npages(1)); break;
    default: s = pmm_give_back(pmm, f, npages(1)); break;
    }
    return s;
}

/* The number behind "caller 0x" lies in make_call. */
static void expect_caller(void)
{
    const char *text = test_last_report();
    uint64_t caller = 0, start = (uintptr_t)make_call;
    for (; *text != '\0' && strncmp(text, "caller 0x", 9) != 0; text++) {
    }
    if (!EXPECT(*text != '\0')) {
        return;
    }
    for (text += 9; (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'f'); text++) {
        caller = caller * 16 + (uint64_t)(*text <= '9' ? *text - '0' : *text - 'a' + 10);
    }
    if (!EXPECT(caller > start && caller < start + 16 * KIB)) {
        test_note("%s: make_call is at %#lx", test_last_report(), start);
    }
}

TEST(pmm, every_call_with_a_wrong_frame_is_reported_with_its_values_and_changes_nothing)
{
    struct stage stage = {.bed = NULL};
    REQUIRE(stage_set(&stage));
    char address[32], block[32];
    for (unsigned scene = 0; scene < SCENES; scene++) {
        uint64_t frame = stage.frame[scene];
        fmt_text(address, sizeof address, "%#lx:", pfn_to_paddr(pfn(frame)).v);
        fmt_text(block, sizeof block, "block %#lx", frame / PMM_BLOCK_FRAMES);
        for (unsigned call = 0; call < CALLS; call++) {
            /* Addresses reach no further; that call is wrong about another frame then. */
            bool same = call != CALL_FREE_AT || paddr_to_pfn(pfn_to_paddr(pfn(frame))).v == frame;
            if (is_right((enum call)call, (enum scene)scene) || !same
                || (call == CALL_FREE_RUN && frame == UINT64_MAX) || (frame == UINT64_MAX && call >= CALL_SPLIT)) {
                continue; /* right, or a range that wraps: an invalid one */
            }
            unsigned reports = test_reports();
            snap_take(stage.snap, stage.bed);
            enum status s = make_call(&stage.bed->pmm, (enum call)call, frame);
            const char *const words[] = {names[call], scenes[scene].state, "references ", "region", block,
                                         frame == 0 ? ":" : address, "owner 0"};
            if (!misuse_is_sound(stage.snap, stage.bed, s, reports, words, ARRAY_LEN(words))) {
                test_note("scene %u, call %u", scene, call);
            }
            expect_caller();
        }
    }
    EXPECT(test_reports() > 120);
    test_expect_reports(test_reports());
}

TEST(pmm, what_is_right_about_odd_frames_is_done_without_a_report)
{
    struct stage stage = {.bed = NULL};
    REQUIRE(stage_set(&stage));
    struct pmm *pmm = &stage.bed->pmm;
    for (unsigned call = CALL_RELEASE; call <= CALL_SPLIT; call++) {
        EXPECT_EQ(make_call(pmm, (enum call)call, stage.frame[SCENE_ZERO]), STATUS_OK);
        EXPECT_EQ(state_of(stage.bed, stage.frame[SCENE_ZERO]), PMM_STATE_ZERO);
    }
    EXPECT_EQ(make_call(pmm, CALL_RELEASE, stage.frame[SCENE_SHARED]), STATUS_OK);
    EXPECT_EQ(make_call(pmm, CALL_FREE, stage.frame[SCENE_SHARED]), STATUS_OK);
    EXPECT_EQ(make_call(pmm, CALL_SPLIT, stage.frame[SCENE_RUN]), STATUS_OK);
    EXPECT_EQ(make_call(pmm, CALL_FREE, stage.frame[SCENE_RUN]), STATUS_OK);
    EXPECT_EQ(make_call(pmm, CALL_GIVE_BACK, stage.frame[SCENE_RESERVED]), STATUS_OK);
    EXPECT_EQ(make_call(pmm, CALL_GIVE_BACK, stage.frame[SCENE_RESERVED_UNOPENED]), STATUS_OK);
    EXPECT_EQ(make_call(pmm, CALL_GIVE_BACK, stage.frame[SCENE_LEFT_OUT]), STATUS_NOMEM);
    bed_sound(stage.bed);
    test_expect_reports(stage.reports);
}

TEST(pmm, an_address_that_is_not_the_start_of_a_frame_is_reported)
{
    struct stage stage = {.bed = NULL};
    REQUIRE(stage_set(&stage));
    struct pmm *pmm = &stage.bed->pmm;
    uint64_t start = pfn_to_paddr(pfn(1030)).v;
    static const uint64_t offsets[] = {1, 8, PAGE_BYTES - 1};
    for (unsigned i = 0; i < ARRAY_LEN(offsets); i++) {
        EXPECT_MISUSE(stage.snap, stage.bed, pmm_free_at(pmm, paddr(start + offsets[i])), "pmm_free_at: ", "(used,",
                      "caller");
    }
    EXPECT_EQ(pmm_free_at(pmm, paddr(start)), STATUS_OK);
}
