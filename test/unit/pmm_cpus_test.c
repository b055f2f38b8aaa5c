/*
 * Two CPUs by turns, host only: what lies in the magazines of the one, seen from the other.
 */
#include "model/cpu.h"
#include "unit/pmm_steps.h"

enum { BASE = 8, BLOCKS = 4, FIRST = BASE * PMM_BLOCK_FRAMES, FRAMES = BLOCKS * PMM_BLOCK_FRAMES };
enum { AT = 40 * PMM_BLOCK_FRAMES, MORE = 2 * PMM_BLOCK_FRAMES, CACHED = 30 };

/* CPU 1 has freed list[0..CACHED): they lie in its magazine. CPU 0 runs. */
static struct pmm_bed *machine(uint64_t list[CACHED])
{
    struct pmm_bed *bed = bed_new(NULL, BASE, 128, 0);
    if (bed != NULL) {
        bed_run(bed, FIRST, FRAMES);
        bed_with_room(bed, 2);
        bed_with_cpus(bed, 2);
        if (!starts(bed)) {
            return NULL;
        }
        open_all(bed);
        for (unsigned i = 0; i < CACHED; i++) {
            list[i] = take_one(bed, PMM_USER);
        }
        pmm_drain(&bed->pmm);
        model_thread_is_cpu(1);
        free_list(bed, list, CACHED);
        model_thread_is_cpu(0);
        EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, CACHED);
        EXPECT_EQ(state_of(bed, list[7]), PMM_STATE_CACHED);
    }
    return bed;
}

TEST_HOST(pmm, frames_in_the_magazine_of_another_cpu_are_free_and_serve_that_one)
{
    uint64_t list[CACHED];
    struct pmm_bed *bed = machine(list);
    REQUIRE(bed != NULL);
    uint64_t free = pmm_stats(&bed->pmm).free.v;
    EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), free - CACHED);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, CACHED);
    bed_sound(bed);
    model_thread_is_cpu(1);
    EXPECT_EQ(bed_take_all(bed, PMM_KERNEL), CACHED);
    EXPECT_EQ(pmm_stats(&bed->pmm).free.v, 0);
    bed_sound(bed);
    model_thread_is_cpu(0);
}

TEST_HOST(pmm, a_cpu_that_is_asked_to_drains_at_its_next_refill_or_flush)
{
    for (unsigned flush = 0; flush <= 1; flush++) {
        uint64_t list[CACHED], more[3 * PMM_MAGAZINE_FRAMES];
        struct pmm_bed *bed = machine(list);
        REQUIRE(bed != NULL);
        for (unsigned i = 0; i < ARRAY_LEN(more); i++) {
            more[i] = take_one(bed, PMM_KERNEL);
        }
        pmm_drain(&bed->pmm);
        EXPECT_EQ(pmm_stats(&bed->pmm).cached.v, CACHED);
        model_thread_is_cpu(1);
        uint64_t class_frames = flush != 0 ? ARRAY_LEN(more) : 0;
        free_list(bed, more, class_frames); /* of the other class */
        if (flush == 0) {
            take_one(bed, PMM_KERNEL);
        }
        EXPECT_EQ(state_of(bed, list[7]), PMM_STATE_FREE);
        bed_sound(bed);
        model_thread_is_cpu(0);
    }
}

static void see(void *ctx, enum pmm_event event, pfn_t first, npages_t frames)
{
    uint64_t *seen = ctx;
    EXPECT(event == PMM_EVENT_ALLOC || event == PMM_EVENT_FREE);
    EXPECT_EQ(frames.v, 1);
    seen[0]++;
    seen[1] = first.v;
}

TEST_HOST(pmm, a_trace_tells_of_what_other_cpus_do)
{
    uint64_t list[CACHED];
    struct pmm_bed *bed = machine(list);
    REQUIRE(bed != NULL);
    uint64_t seen[2] = {0, 0};
    pmm_trace(&bed->pmm, see, seen);
    model_thread_is_cpu(1);
    uint64_t frame = take_one(bed, PMM_USER);
    EXPECT_EQ(seen[0], 1);
    EXPECT_EQ(seen[1], frame);
    free_one(bed, frame);
    EXPECT_EQ(seen[0], 2);
    model_thread_is_cpu(0);
    pmm_trace(&bed->pmm, NULL, NULL);
    bed_sound(bed);
}

TEST_HOST(pmm, a_frame_in_the_magazine_of_another_cpu_can_be_marked_bad)
{
    uint64_t list[CACHED];
    struct pmm_bed *bed = machine(list);
    REQUIRE(bed != NULL);
    enum status s = pmm_mark_bad(&bed->pmm, pfn(list[7]));
    EXPECT(s == STATUS_OK || s == STATUS_LIMIT); /* nobody is wrong */
    EXPECT_EQ(test_reports(), 0);
    bed_sound(bed);
    model_thread_is_cpu(1);
    pmm_drain(&bed->pmm);
    s = s == STATUS_OK ? s : pmm_mark_bad(&bed->pmm, pfn(list[7]));
    EXPECT_EQ(s, STATUS_OK);
    EXPECT_EQ(state_of(bed, list[7]), PMM_STATE_BAD);
    bed_take_all(bed, PMM_USER);
    model_thread_is_cpu(0);
    bed_take_all(bed, PMM_USER);
    EXPECT_EQ(state_of(bed, list[7]), PMM_STATE_BAD);
    bed_sound(bed);
}

TEST_HOST(pmm, memory_with_frames_in_the_magazine_of_another_cpu_goes_once_that_one_has_drained)
{
    uint64_t list[CACHED];
    struct pmm_bed *bed = machine(list);
    REQUIRE(bed != NULL);
    struct pmm *pmm = &bed->pmm;
    REQUIRE(pmm_region_add(pmm, pfn(AT), npages(MORE), 0) == STATUS_OK);
    REQUIRE(pmm_claim(pmm, pfn(AT + 5), npages(3)) == STATUS_OK);
    model_thread_is_cpu(1);
    free_one(bed, AT + 5);
    free_one(bed, AT + 6);
    free_one(bed, AT + 7);
    model_thread_is_cpu(0);
    if (state_of(bed, AT + 5) == PMM_STATE_CACHED) {
        struct pmm_in_the_way way;
        bed_remember(bed);
        EXPECT_EQ(pmm_region_remove(pmm, pfn(AT), npages(MORE), &way), STATUS_EXISTS);
        bed_unchanged(bed);
        EXPECT_EQ(way.first.v, AT + 5);
        EXPECT_EQ(way.what.state, PMM_STATE_CACHED);
        EXPECT_EQ(way.used.v + way.reserved.v + way.metadata.v, 0);
        model_thread_is_cpu(1);
        pmm_drain(pmm);
        model_thread_is_cpu(0);
    }
    EXPECT_EQ(pmm_region_remove(pmm, pfn(AT), npages(MORE), NULL), STATUS_OK);
    model_thread_is_cpu(1);
    EXPECT_EQ(pmm_free(pmm, pfn(AT + 5)), STATUS_MISUSE); /* what that CPU knew of it is forgotten */
    model_thread_is_cpu(0);
    test_expect_reports(1);
    bed_sound(bed);
}
