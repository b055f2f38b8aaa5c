/*
 * The trace: each thing done is told, with the frames it was done to, and magazines stand empty meanwhile.
 */
#include "unit/pmm_steps.h"

enum { BASE = 8, BLOCKS = 4, FIRST = BASE * PMM_BLOCK_FRAMES, FRAMES = BLOCKS * PMM_BLOCK_FRAMES, EVENTS_MAX = 1000 };
enum { EVENTS = PMM_EVENT_RECLAIM + 1, AT = 40 * PMM_BLOCK_FRAMES };

struct seen {
    unsigned count;
    struct { enum pmm_event event; uint64_t first, frames; } events[EVENTS_MAX];
};

static void see(void *ctx, enum pmm_event event, pfn_t first, npages_t frames)
{
    struct seen *s = ctx;
    if (EXPECT(s->count < EVENTS_MAX)) {
        s->events[s->count].event = event;
        s->events[s->count].first = first.v;
        s->events[s->count++].frames = frames.v;
    }
}

/* Frames of events of this kind since the last look that lie in [first, end). */
static uint64_t told(const struct seen *s, enum pmm_event event, uint64_t first, uint64_t end)
{
    uint64_t frames = 0;
    for (unsigned i = 0; i < s->count; i++) {
        uint64_t from = s->events[i].first, to = from + s->events[i].frames;
        if (s->events[i].event == event && ranges_overlap(from, to, first, end)) {
            frames += (to < end ? to : end) - (from > first ? from : first);
        }
    }
    return frames;
}

static unsigned told_times(const struct seen *s, enum pmm_event event)
{
    unsigned times = 0;
    for (unsigned i = 0; i < s->count; i++) {
        times += s->events[i].event == event;
    }
    return times;
}

static struct pmm_bed *machine(struct seen **seen)
{
    struct pmm_bed *bed = bed_new(NULL, BASE, 128, 0);
    *seen = test_pages(bytes_to_pages_up(sizeof **seen).v);
    if (bed == NULL || *seen == NULL) {
        return NULL;
    }
    bed_run(bed, FIRST, FRAMES);
    bed_hold(bed, FIRST + 5, 20, HOLD_RESERVED);
    bed_with_cpus(bed, 1);
    bed_with_owners(bed, 2);
    bed_with_room(bed, 1);
    return starts(bed) ? bed : NULL;
}

TEST(pmm, a_trace_tells_of_each_frame_allocated_and_freed)
{
    struct seen *seen;
    struct pmm_bed *bed = machine(&seen);
    REQUIRE(bed != NULL);
    free_one(bed, take_one(bed, PMM_KERNEL)); /* magazines are not empty */
    pmm_trace(&bed->pmm, see, seen);
    EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, 0);
    for (unsigned i = 0; i < 100; i++) {
        uint64_t frame = take_one(bed, i & PMM_USER);
        EXPECT_EQ(told(seen, PMM_EVENT_ALLOC, frame, frame + 1), 1);
        EXPECT_EQ(told(seen, PMM_EVENT_ALLOC, 0, UINT64_MAX), 1);
        EXPECT_EQ(told(seen, PMM_EVENT_FREE, 0, UINT64_MAX), 0);
        seen->count = 0;
        free_one(bed, frame);
        EXPECT_EQ(told(seen, PMM_EVENT_FREE, frame, frame + 1), 1);
        EXPECT_EQ(told(seen, PMM_EVENT_ALLOC, 0, UINT64_MAX), 0);
        EXPECT_EQ(seen->count, 1);
        EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, 0);
        seen->count = 0;
    }
    /* No more: magazines serve again. */
    pmm_trace(&bed->pmm, NULL, NULL);
    free_one(bed, take_one(bed, PMM_KERNEL));
    EXPECT_EQ(seen->count, 0);
    EXPECT(pmm_stats(&bed->pmm).cached.v > 0);
    bed_sound(bed);
}

TEST(pmm, a_trace_tells_of_arrays_and_runs_frame_by_frame_or_as_one)
{
    struct seen *seen;
    struct pmm_bed *bed = machine(&seen);
    REQUIRE(bed != NULL);
    open_all(bed);
    pmm_trace(&bed->pmm, see, seen);
    pfn_t frames[30], run;
    REQUIRE(pmm_alloc_many(&bed->pmm, PMM_USER, frames, npages(30)) == STATUS_OK);
    EXPECT_EQ(told(seen, PMM_EVENT_ALLOC, 0, UINT64_MAX), 30);
    for (unsigned i = 0; i < 30; i++) {
        EXPECT_EQ(told(seen, PMM_EVENT_ALLOC, frames[i].v, frames[i].v + 1), 1);
    }
    seen->count = 0;
    REQUIRE(pmm_free_many(&bed->pmm, frames, npages(30), NULL) == STATUS_OK);
    EXPECT_EQ(told(seen, PMM_EVENT_FREE, 0, UINT64_MAX), 30);
    static const unsigned sizes[] = {7, PMM_BLOCK_FRAMES, PMM_BLOCK_FRAMES + 9};
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        seen->count = 0;
        npages_t n = npages(sizes[i]);
        REQUIRE(pmm_alloc_run(&bed->pmm, 0, n, npages(0), npages(0), PMM_NO_LIMIT, &run) == STATUS_OK);
        EXPECT_EQ(told(seen, PMM_EVENT_ALLOC, run.v, run.v + n.v), n.v);
        EXPECT_EQ(told(seen, PMM_EVENT_ALLOC, 0, UINT64_MAX), n.v);
        REQUIRE(pmm_free_run(&bed->pmm, run, n) == STATUS_OK);
        EXPECT_EQ(told(seen, PMM_EVENT_FREE, run.v, run.v + n.v), n.v);
        EXPECT_EQ(told(seen, PMM_EVENT_FREE, 0, UINT64_MAX), n.v);
    }
}

TEST(pmm, a_trace_tells_of_everything_else_that_is_done_to_frames)
{
    struct seen *seen;
    struct pmm_bed *bed = machine(&seen);
    REQUIRE(bed != NULL);
    struct pmm *pmm = &bed->pmm;
    pmm_trace(pmm, see, seen);
    uint64_t frame = take_one(bed, PMM_KERNEL);
    EXPECT_EQ(told_times(seen, PMM_EVENT_OPEN_BLOCK), 1);
    EXPECT(told(seen, PMM_EVENT_OPEN_BLOCK, frame, frame + 1) == 1);
    EXPECT_EQ(pmm_retain(pmm, pfn(frame)), STATUS_OK);
    EXPECT_EQ(told(seen, PMM_EVENT_RETAIN, frame, frame + 1), 1);
    EXPECT_EQ(pmm_release(pmm, pfn(frame), NULL), STATUS_OK);
    EXPECT_EQ(told(seen, PMM_EVENT_RELEASE, frame, frame + 1), 1);
    EXPECT_EQ(told_times(seen, PMM_EVENT_FREE), 0);
    EXPECT_EQ(pmm_release(pmm, pfn(frame), NULL), STATUS_OK);
    EXPECT(told(seen, PMM_EVENT_RELEASE, frame, frame + 1) + told(seen, PMM_EVENT_FREE, frame, frame + 1) >= 2);
    EXPECT_EQ(pmm_claim(pmm, pfn(FIRST + 600), npages(3)), STATUS_OK);
    EXPECT_EQ(told(seen, PMM_EVENT_CLAIM, FIRST + 600, FIRST + 603), 3);
    EXPECT_EQ(told(seen, PMM_EVENT_CLAIM, 0, UINT64_MAX), 3);
    EXPECT_EQ(pmm_give_back(pmm, pfn(FIRST + 7), npages(4)), STATUS_OK);
    EXPECT_EQ(told(seen, PMM_EVENT_GIVE_BACK, FIRST + 7, FIRST + 11), 4);
    EXPECT_EQ(pmm_mark_bad(pmm, pfn(FIRST + 601)), STATUS_OK);
    EXPECT_EQ(pmm_mark_bad(pmm, pfn(FIRST + 700)), STATUS_OK);
    EXPECT_EQ(told(seen, PMM_EVENT_BAD, FIRST + 700, FIRST + 701), 1);
    free_one(bed, FIRST + 601);
    EXPECT(told(seen, PMM_EVENT_BAD, FIRST + 601, FIRST + 602) >= 1);
    EXPECT_EQ(pmm_region_add(pmm, pfn(AT), npages(2 * PMM_BLOCK_FRAMES), 0), STATUS_OK);
    EXPECT_EQ(told(seen, PMM_EVENT_REGION_ADD, AT, AT + 2 * PMM_BLOCK_FRAMES), 2 * PMM_BLOCK_FRAMES);
    EXPECT_EQ(pmm_region_remove(pmm, pfn(AT), npages(2 * PMM_BLOCK_FRAMES), NULL), STATUS_OK);
    EXPECT_EQ(told(seen, PMM_EVENT_REGION_REMOVE, AT, AT + 2 * PMM_BLOCK_FRAMES), 2 * PMM_BLOCK_FRAMES);
    unsigned owner;
    EXPECT_EQ(pmm_owner_open(pmm, &owner), STATUS_OK);
    EXPECT_EQ(told_times(seen, PMM_EVENT_OWNER_OPEN), 1);
    EXPECT_EQ(pmm_owner_close(pmm, owner, NULL), STATUS_OK);
    EXPECT_EQ(told_times(seen, PMM_EVENT_OWNER_CLOSE), 1);
    EXPECT_EQ(told_times(seen, PMM_EVENT_RECLAIM), 0);
    bed_sound(bed);
}

static npages_t give_nothing(void *ctx, npages_t wanted)
{
    *(uint64_t *)ctx = wanted.v;
    return npages(0);
}

TEST(pmm, a_trace_tells_of_callbacks_and_of_blocks_closed)
{
    struct seen *seen;
    struct pmm_bed *bed = machine(&seen);
    REQUIRE(bed != NULL);
    uint64_t wanted = 0, list[2] = {take_one(bed, PMM_KERNEL), take_one(bed, PMM_KERNEL)};
    struct pmm_low low = {.reclaim = give_nothing, .ctx = &wanted};
    REQUIRE(pmm_low_add(&bed->pmm, &low) == STATUS_OK);
    pmm_trace(&bed->pmm, see, seen);
    EXPECT_EQ(pmm_promise(&bed->pmm, npages(FRAMES)), STATUS_NOMEM);
    EXPECT(wanted > 0);
    EXPECT_EQ(told_times(seen, PMM_EVENT_RECLAIM), 1);
    EXPECT_EQ(told_times(seen, PMM_EVENT_CLOSE_BLOCK), 0);
    free_list(bed, list, 2);
    bed->states[list[1]] = 1; /* a free frame that says it is used */
    EXPECT(take_one(bed, PMM_KERNEL) != list[1]);
    uint64_t block = list[1] / PMM_BLOCK_FRAMES;
    EXPECT_EQ(told_times(seen, PMM_EVENT_CLOSE_BLOCK), 1);
    EXPECT(told(seen, PMM_EVENT_CLOSE_BLOCK, block * PMM_BLOCK_FRAMES, (block + 1) * PMM_BLOCK_FRAMES) > 0);
    test_expect_reports(1);
    bed_sound(bed);
}

TEST(pmm, each_event_has_a_name_of_its_own)
{
    for (unsigned i = 0; i < EVENTS; i++) {
        EXPECT(strlen(pmm_event_name((enum pmm_event)i)) > 0);
        for (unsigned j = 0; j < i; j++) {
            EXPECT(strcmp(pmm_event_name((enum pmm_event)i), pmm_event_name((enum pmm_event)j)) != 0);
        }
    }
}
