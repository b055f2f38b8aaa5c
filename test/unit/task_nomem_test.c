/*
 * Memory runs out in the middle of every system call that takes some: after no frame, after one, two, ... and at each
 * request of the heap. Each time NOMEM, nothing changed, and the same call works when there is memory again. And a
 * death needs none.
 */
#include "pmm/pmm_pressure.h"
#include "task/message.h"
#include "unit/heap_pages.h"
#include "unit/task_bed.h"

static struct task_bed bed;

#define P PAGE_BYTES

/* All frames but so many are promised to others. */
static npages_t leave_frames(uint64_t frames)
{
    (void)aspaces_reclaim(&bed.spaces.system, npages(UINT64_MAX));
    const struct pmm_stats st = pmm_stats(bed.spaces.vmm->pmm);
    const npages_t taken = npages(st.free.v - st.promised.v - frames);
    EXPECT_OK(pmm_promise(bed.spaces.vmm->pmm, taken));
    return taken;
}

static void take_back(npages_t taken) { EXPECT_OK(pmm_unpromise(bed.spaces.vmm->pmm, taken)); }

/* => the number of frames that were enough */
static uint64_t with_every_number_of_frames_call(struct task *task, uint64_t number, struct task_words words)
{
    for (uint64_t k = 0;; k++) {
        const npages_t taken = leave_frames(k);
        const unsigned s = task_bed_call(&bed, task, number, words);
        take_back(taken);
        if (s != STATUS_NOMEM) {
            EXPECT_EQ(s, STATUS_OK);
            return k;
        }
    }
}
#define EACH_FRAME(task, number, ...) \
    with_every_number_of_frames_call((task), (number), (struct task_words){{__VA_ARGS__}})

TEST(task_nomem, calls_about_memory_change_nothing_when_frames_run_out)
{
    REQUIRE(task_bed_open(&bed));
    const uint64_t va = bed.page[0].v, id = bed.b->id;
    EXPECT(EACH_FRAME(bed.a, TASK_ALLOC, 20 * P, TRW | TASK_POPULATE, 0) > 20);
    EXPECT(EACH_FRAME(bed.a, TASK_ALLOC, 20 * P, TRW | TASK_POPULATE | TASK_PRIVATE, 0) > 20);
    const uint64_t private = task_value(bed.a);
    EXPECT(EACH_FRAME(bed.a, TASK_SHARE, private, 20 * P, id, TASK_READ, AT_PRIVATE) > 0);
    (void)EACH_FRAME(bed.a, TASK_SHARE, va, 4 * P, id, TASK_READ, 0);
    (void)EACH_FRAME(bed.a, TASK_PROTECT, va + P, P, TASK_READ);
    (void)EACH_FRAME(bed.a, TASK_WITHDRAW, va + P, P, id);
    (void)EACH_FRAME(bed.a, TASK_WITHDRAW, va, 4 * P, id);
    (void)EACH_FRAME(bed.a, TASK_TRANSFER, va + P, P, id, TASK_READ);
    (void)EACH_FRAME(bed.a, TASK_SEND, id, 0, 0, va, P, TASK_GIVE | TRW);
    (void)EACH_FRAME(bed.a, TASK_FREE, private + 5 * P, P);
    EXPECT(task_bed_write(&bed, bed.b, bed.page[1], "module", 6));
    (void)EACH_FRAME(bed.b, TASK_MAP_MODULE, bed.page[1].v, 6, 0);
    task_bed_close(&bed);
}

TEST(task_nomem, calls_about_segments_change_nothing_when_frames_run_out)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT(EACH_FRAME(bed.a, TASK_SEGMENT_CREATE, 5 * P, TRW) > 2); /* PDPT, PD, and a PT for a moment */
    const uint64_t va = task_value(bed.a);
    EXPECT(EACH_FRAME(bed.a, TASK_SEGMENT_GRANT, va, bed.b->id, TRW) > 0);
    EXPECT(EACH_FRAME(bed.a, TASK_SEND, bed.c->id, 0, 0, va, 5 * P, TASK_LEND | TASK_READ) > 0);
    EXPECT_EQ(EACH_FRAME(bed.a, TASK_SEGMENT_RESIZE, va, 600 * P), 0); /* a number */
    EXPECT_EQ(EACH_FRAME(bed.a, TASK_SEGMENT_NARROW, va, bed.b->id, TASK_READ), 0);
    EXPECT_EQ(EACH_FRAME(bed.a, TASK_SEGMENT_REVOKE, va, bed.b->id), 0);
    EXPECT(task_bed_write(&bed, bed.b, bed.page[1], "module", 6));
    EXPECT(EACH_FRAME(bed.b, TASK_SEGMENT_FILE, bed.page[1].v, 6, TRW) > 1);
    EXPECT_EQ(EACH_FRAME(bed.a, TASK_SEGMENT_REVOKE, va, bed.a->id), 0);
    task_bed_close(&bed);
}

TEST(task_nomem, a_buffer_whose_page_cannot_be_had_now_is_no_mistake_of_the_task)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT_OK(CALL(&bed, bed.a, TASK_ALLOC, 2 * P, TRW | TASK_PRIVATE, 0));
    const uint64_t va = task_value(bed.a) + P - 8; /* over two pages, none of them touched */
    bed.is_lax = true; /* a part of it may have come */
    EXPECT(EACH_FRAME(bed.a, TASK_STATS, va) > 1);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_STATS, va + P), STATUS_DENIED); /* and half of it is nowhere */
    task_bed_close(&bed);
}

TEST(task_nomem, a_clone_leaves_no_child_when_frames_run_out)
{
    REQUIRE(task_bed_open(&bed));
    const struct task_keep keep = {bed.page[0].v, 2 * P, TRW};
    EXPECT_OK(CALL(&bed, bed.a, TASK_ALLOC, 600 * P, TRW | TASK_PRIVATE | TASK_POPULATE, 0));
    EXPECT(task_bed_write(&bed, bed.a, bed.page[0], &keep, sizeof keep));
    bed.is_lax = true; /* the parent's tables may say read-only afterwards */
    unsigned s = STATUS_NOMEM;
    uint64_t k = 0;
    for (; s == STATUS_NOMEM; k++) {
        const unsigned count = bed.tasks.count, next_id = bed.tasks.next_id;
        const npages_t taken = leave_frames(k);
        s = CALL(&bed, bed.a, TASK_CLONE, TASK_BED_ENTRY, 0, bed.page[0].v, 1, P);
        take_back(taken);
        EXPECT(task_bed_check(&bed));
        EXPECT(s == STATUS_OK || (bed.tasks.count == count && bed.tasks.next_id == next_id));
    }
    EXPECT(s == STATUS_OK && k > 2);
    task_bed_close(&bed);
}

TEST(task_nomem, a_task_is_made_whole_or_not_at_all)
{
    REQUIRE(task_bed_open(&bed));
    enum status s = STATUS_NOMEM;
    struct task *task = NULL;
    unsigned refused = 0;
    for (uint64_t k = 0; s == STATUS_NOMEM; k++) {
        const uint64_t digest = task_bed_digest(&bed);
        const npages_t taken = leave_frames(k);
        s = task_create(&bed.tasks, "test", (struct task_limits){0}, &task);
        take_back(taken);
        refused += s != STATUS_OK;
        EXPECT(task_bed_check(&bed) && (s == STATUS_OK || task_bed_digest(&bed) == digest));
    }
    EXPECT(s == STATUS_OK && refused > 0 && task != NULL);
    for (unsigned i = 0; i < 20; i++) { /* and the heap refuses its first page: some of these need one */
        heap_pages_refuse_at(1);
        s = task_create(&bed.tasks, "test", (struct task_limits){0}, &task);
        EXPECT(s == STATUS_OK || s == STATUS_NOMEM);
        EXPECT(task_bed_check(&bed));
        heap_pages_refuse_at(0);
        refused += s == STATUS_NOMEM ? 1000 : 0;
    }
    EXPECT(refused > 1000);
    task_bed_close(&bed);
}

TEST(task_nomem, a_message_that_cannot_be_kept_is_not_sent_and_its_pages_stay)
{
    REQUIRE(task_bed_open(&bed));
    const uint64_t to = bed.b->id;
    const struct task_words sends[] = {
        {{to, 1, 2, 0, 0, 0}},
        {{to, 1, 2, bed.page[0].v, TASK_DATA_BYTES, TASK_DATA}},
        {{to, 1, 2, bed.page[0].v, P, TASK_GIVE | TRW}},
        {{to, 1, 2, bed.page[0].v + P, P, TASK_LEND | TASK_READ}},
    };
    for (unsigned i = 0; i < ARRAY_LEN(sends); i++) {
        unsigned refused = 0;
        while (bed.b->first != NULL) {
            EXPECT_OK(CALL(&bed, bed.b, TASK_RECEIVE, 0, bed.page[1].v, 2 * P));
        }
        (void)heap_shrink(&bed.heap);
        for (uint64_t k = 1;; k++) { /* each request for a page is refused in turn, of as many sends as may wait */
            heap_pages_refuse_at(k);
            const unsigned s = task_bed_call(&bed, bed.a, TASK_SEND, sends[i]);
            heap_pages_refuse_at(0);
            refused += s == STATUS_NOMEM;
            if (s != STATUS_NOMEM) {
                EXPECT_EQ(s, STATUS_OK);
                break;
            }
        }
        EXPECT(refused > 0);
    }
    EXPECT_EQ(bed.a->space.pages.v, TASK_BED_PAGES - 1);
    task_bed_close(&bed);
}

TEST(task_nomem, a_task_that_waits_gets_words_and_pages_without_memory)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 0, 0, bed.page[0].v, P, TASK_GIVE | TRW)); /* tables are there */
    EXPECT_OK(CALL(&bed, bed.b, TASK_RECEIVE, 0));
    (void)heap_shrink(&bed.heap);
    for (unsigned i = 1; i < 3; i++) {
        EXPECT_EQ(CALL(&bed, bed.b, TASK_RECEIVE, 0), TASK_BED_WAITS);
        heap_pages_refuse_at(1);
        EXPECT_OK(i == 1 ? CALL(&bed, bed.a, TASK_SEND, bed.b->id, 7, 8)
                         : CALL(&bed, bed.a, TASK_SEND, bed.b->id, 0, 0, bed.page[0].v + P, P, TASK_GIVE | TRW));
        heap_pages_refuse_at(0);
        EXPECT_EQ(bed.b->context.frame.rax, STATUS_OK);
    }
    task_bed_close(&bed);
}

TEST(task_nomem, a_death_needs_no_memory)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT_OK(CALL(&bed, bed.a, TASK_ALLOC, 600 * P, TRW | TASK_PRIVATE | TASK_POPULATE, 0));
    EXPECT_OK(CALL(&bed, bed.a, TASK_CLONE, TASK_BED_ENTRY, 0, 0, 0, P));
    struct task *child = tasks_find(&bed.tasks, (unsigned)task_value(bed.a));
    REQUIRE(child != NULL);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SHARE, bed.page[0].v, 3 * P, bed.b->id, TRW, 0));
    EXPECT_OK(CALL(&bed, bed.b, TASK_SHARE, bed.page[0].v + P, P, bed.c->id, TRW, 0));
    EXPECT_OK(CALL(&bed, bed.c, TASK_SEND, bed.b->id, 1, 2, bed.page[2].v, 8, TASK_DATA));
    const npages_t taken = leave_frames(0);
    heap_pages_refuse_at(1);
    EXPECT_OK(task_end(bed.b, TASK_KILLED, 0, "test"));
    EXPECT_OK(task_end(bed.a, TASK_KILLED, 0, "test"));
    EXPECT_OK(task_end(child, TASK_KILLED, 0, "test"));
    heap_pages_refuse_at(0);
    take_back(taken);
    task_bed_close(&bed);
}
