/* System calls about segments: what they do when they work, and what tasks try that they may not. */
#include "unit/aspace_touch.h"
#include "unit/task_bed.h"

static struct task_bed bed;

#define P PAGE_BYTES

/* A segment of task a's, three pages, the second written to. */
static uint64_t open_bed(void)
{
    const uint64_t word = 5;
    if (!task_bed_open(&bed)) {
        return 0;
    }
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_CREATE, 2 * P + 1, TRW));
    const uint64_t va = task_value(bed.a);
    EXPECT(va % GIB == 0);
    EXPECT(task_bed_write(&bed, bed.a, vaddr(va + P), &word, sizeof word));
    return va;
}

static bool may_read(struct task *task, uint64_t va)
{
    uint64_t word = 0;
    return task_bed_read(&bed, task, vaddr(va), &word, sizeof word);
}

static bool may_write(struct task *task, uint64_t va)
{
    const uint64_t word = 6;
    return task_bed_write(&bed, task, vaddr(va), &word, sizeof word);
}

TEST(task_segment, one_is_granted_narrowed_revoked_and_resized)
{
    const uint64_t va = open_bed();
    REQUIRE(va != 0);
    uint64_t word = 0;
    EXPECT(!may_read(bed.b, va + P));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, bed.b->id, TRW));
    EXPECT(task_bed_read(&bed, bed.b, vaddr(va + P), &word, sizeof word) && word == 5);
    EXPECT(may_write(bed.b, va));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_NARROW, va, bed.b->id, TASK_READ));
    EXPECT(may_read(bed.b, va) && !may_write(bed.b, va));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_RESIZE, va, 5 * P));
    EXPECT(may_read(bed.b, va + 4 * P) && !may_read(bed.b, va + 5 * P));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_REVOKE, va, bed.b->id));
    EXPECT(!may_read(bed.b, va) && may_write(bed.a, va));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_RESIZE, va, P));
    EXPECT(!may_read(bed.a, va + P));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_REVOKE, va, bed.a->id));
    EXPECT(!may_read(bed.a, va));
    task_bed_close(&bed);
}

TEST(task_segment, what_a_task_may_not_is_refused)
{
    const uint64_t va = open_bed();
    REQUIRE(va != 0);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, bed.b->id, TASK_READ));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_CREATE, 0, TRW), STATUS_INVALID);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_CREATE, P, 8), STATUS_INVALID);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_CREATE, P, 0), STATUS_INVALID);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_CREATE, GIB + 1, TRW), STATUS_RANGE);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_CREATE, UINT64_MAX, TRW), STATUS_RANGE);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_CREATE, GIB, TRW), STATUS_LIMIT);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, bed.c->id, TASK_WRITE | TASK_EXECUTE), STATUS_INVALID);
    EXPECT_EQ(CALL(&bed, bed.b, TASK_SEGMENT_GRANT, va, bed.c->id, TASK_READ), STATUS_DENIED);
    EXPECT_EQ(CALL(&bed, bed.c, TASK_SEGMENT_GRANT, va, bed.b->id, TASK_READ), STATUS_ABSENT);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_NARROW, va, bed.c->id, TASK_READ), STATUS_ABSENT);
    EXPECT_EQ(CALL(&bed, bed.b, TASK_SEGMENT_REVOKE, va, bed.a->id), STATUS_DENIED);
    EXPECT_EQ(CALL(&bed, bed.b, TASK_SEGMENT_RESIZE, va, P), STATUS_DENIED);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_RESIZE, va, 0), STATUS_INVALID);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_FREE, va, P), STATUS_ABSENT);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_PROTECT, va, P, TASK_READ), STATUS_ABSENT);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_TRANSFER, va, 3 * P, bed.c->id, TASK_READ), STATUS_INVALID);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SHARE, va, P, bed.c->id, TASK_READ), STATUS_INVALID); /* not all of it */
    EXPECT_EQ(CALL(&bed, bed.b, TASK_SHARE, va, 3 * P, bed.c->id, TASK_READ), STATUS_DENIED);
    task_bed_close(&bed);
}

TEST(task_segment, granted_twice_it_is_refused_and_the_first_rights_stay)
{
    const uint64_t va = open_bed();
    REQUIRE(va != 0);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, bed.b->id, TASK_READ));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, bed.b->id, TASK_READ), STATUS_EXISTS);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, bed.b->id, TRW), STATUS_EXISTS);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, bed.a->id, TRW), STATUS_EXISTS);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SHARE, va, 3 * P, bed.b->id, TRW), STATUS_EXISTS);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 0, 0, va, 3 * P, TASK_LEND | TRW), STATUS_EXISTS);
    EXPECT(may_read(bed.b, va) && !may_write(bed.b, va));
    EXPECT_EQ(bed.b->messages, 0);
    task_bed_close(&bed);
}

TEST(task_segment, rights_wider_than_the_owners_are_given_to_nobody)
{
    const uint64_t va = open_bed();
    REQUIRE(va != 0);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, bed.b->id, TASK_READ | TASK_EXECUTE), STATUS_DENIED);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, bed.b->id, TASK_READ));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_NARROW, va, bed.b->id, TRW), STATUS_DENIED);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_NARROW, va, bed.a->id, TASK_READ)); /* now it has fewer itself */
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, bed.c->id, TRW), STATUS_DENIED);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SHARE, va, 3 * P, bed.c->id, TRW), STATUS_DENIED);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEND, bed.c->id, 0, 0, va, 3 * P, TASK_LEND | TRW), STATUS_DENIED);
    EXPECT(!may_write(bed.a, va) && !may_write(bed.b, va) && !may_read(bed.c, va));
    task_bed_close(&bed);
}

TEST(task_segment, resized_below_what_others_use_it_is_refused_until_they_have_it_no_more)
{
    const uint64_t va = open_bed();
    REQUIRE(va != 0);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, bed.b->id, TASK_READ));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_RESIZE, va, 2 * P)); /* nobody has used the third page */
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_RESIZE, va, P), STATUS_SHARED);
    EXPECT(may_read(bed.b, va + P));
    EXPECT_OK(CALL(&bed, bed.b, TASK_SEGMENT_REVOKE, va, bed.b->id)); /* it gives it up itself */
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_RESIZE, va, P));
    EXPECT(!may_read(bed.a, va + P));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_RESIZE, va, 2 * P));
    uint64_t word = 1;
    EXPECT(task_bed_read(&bed, bed.a, vaddr(va + P), &word, sizeof word) && word == 0);
    task_bed_close(&bed);
}

TEST(task_segment, it_is_granted_to_no_dead_task_and_a_deaths_are_cleared_away)
{
    const uint64_t va = open_bed();
    REQUIRE(va != 0);
    const unsigned dead = bed.b->id;
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, dead, TASK_READ));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, bed.c->id, TASK_READ));
    EXPECT_OK(task_end(bed.b, TASK_KILLED, 0, "test"));
    EXPECT(task_bed_check(&bed));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, dead, TASK_READ), STATUS_ABSENT);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_NARROW, va, dead, TASK_READ), STATUS_ABSENT);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_REVOKE, va, dead), STATUS_ABSENT);
    EXPECT(may_read(bed.c, va + P));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_EXIT, 0), TASK_BED_WAITS); /* the owner */
    EXPECT(!may_read(bed.c, va + P));
    EXPECT(task_bed_check(&bed));
    task_bed_close(&bed);
}

TEST(task_segment, revoked_while_a_message_that_names_it_waits_it_is_not_there_when_that_comes)
{
    const uint64_t va = open_bed();
    REQUIRE(va != 0);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 0, 0, va, 3 * P, TASK_LEND | TASK_READ));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.c->id, 0, 0, va, 3 * P, TASK_LEND | TASK_READ));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_REVOKE, va, bed.b->id));
    EXPECT_OK(CALL(&bed, bed.b, TASK_RECEIVE, 0, 0, 0, 0));
    EXPECT_EQ(bed.b->context.frame.r8, va);
    EXPECT_EQ(bed.b->context.frame.r9, 3 * P);
    EXPECT(!may_read(bed.b, va + P));
    EXPECT_OK(CALL(&bed, bed.c, TASK_RECEIVE, 0, 0, 0, 0));
    EXPECT(may_read(bed.c, va + P) && !may_write(bed.c, va + P));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 0, 0, va, 3 * P, TASK_GIVE | TASK_READ), STATUS_INVALID);
    task_bed_close(&bed);
}

TEST(task_segment, nobody_is_filled_up_with_segments_of_others)
{
    const uint64_t va = open_bed();
    REQUIRE(va != 0);
    const struct task_limits few = {.ranges = 2};
    vaddr_t page;
    struct task *task = task_bed_task(&bed, few, &page);
    REQUIRE(task != NULL);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, task->id, TASK_READ), STATUS_LIMIT);
    EXPECT_EQ(task->space.ranges, 1);
    task_bed_close(&bed);
}

TEST(task_segment, a_clone_keeps_what_it_is_to_keep)
{
    const uint64_t va = open_bed();
    REQUIRE(va != 0);
    const struct task_keep keep = {va, 3 * P, TASK_READ}, part = {va, P, TASK_READ}, more = {va, 3 * P, TRW};
    const uint64_t at = bed.page[1].v;
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, bed.b->id, TASK_READ));
    EXPECT(task_bed_write(&bed, bed.b, vaddr(at), &keep, sizeof keep));
    EXPECT_OK(CALL(&bed, bed.b, TASK_CLONE, TASK_BED_ENTRY, 0, at, 1, P));
    struct task *child = tasks_find(&bed.tasks, (unsigned)task_value(bed.b));
    REQUIRE(child != NULL);
    EXPECT(may_read(child, va + P) && !may_write(child, va + P));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_REVOKE, va, child->id));
    EXPECT(!may_read(child, va + P) && may_read(bed.b, va + P));
    EXPECT(task_bed_write(&bed, bed.b, vaddr(at), &part, sizeof part));
    EXPECT_EQ(CALL(&bed, bed.b, TASK_CLONE, TASK_BED_ENTRY, 0, at, 1, P), STATUS_ABSENT);
    EXPECT(task_bed_write(&bed, bed.b, vaddr(at), &more, sizeof more));
    EXPECT_EQ(CALL(&bed, bed.b, TASK_CLONE, TASK_BED_ENTRY, 0, at, 1, P), STATUS_DENIED);
    task_bed_close(&bed);
}
