/* What tasks_check finds: each invariant is broken by hand. */
#include "task/message.h"
#include "unit/task_bed.h"

static struct task_bed bed;

/* The validator says CORRUPT and names it. */
static void expect_broken(const char *name)
{
    static char text[1024];
    struct buffer_sink b;
    buffer_sink_init(&b, text, sizeof text);
    EXPECT_EQ(tasks_check(&bed.tasks, &b.sink), STATUS_CORRUPT);
    EXPECT_EQ(tasks_check(&bed.tasks, NULL), STATUS_CORRUPT);
    const char *at = text;
    while (*at != 0 && strncmp(at, name, strlen(name)) != 0) {
        at++;
    }
    if (!EXPECT(*at != 0)) {
        test_note("said is: %s", text);
    }
}

/* Breaks it, has it found, and puts it back. */
#define BROKEN(name, object, value)           \
    do {                                      \
        const __typeof__(object) was_ = (object); \
        (object) = (value);                   \
        expect_broken(name);                  \
        (object) = was_;                      \
        EXPECT(task_bed_check(&bed));         \
    } while (0)

TEST(task_check, a_ready_queue_that_differs_from_the_states_is_found_TASK_I1)
{
    REQUIRE(task_bed_open(&bed));
    REQUIRE(task_bed_run(&bed, bed.a));
    BROKEN("TASK-I1", bed.a->state, TASK_READY);
    BROKEN("TASK-I1", bed.b->state, TASK_RUNNING);
    BROKEN("TASK-I1", bed.b->state, TASK_WAITING);
    BROKEN("TASK-I1", bed.b->next_ready, NULL);
    BROKEN("TASK-I1", bed.tasks.ready_last, bed.b);
    BROKEN("TASK-I1", bed.tasks.running, NULL);
    BROKEN("TASK-I1", bed.c->next_ready, bed.b);
    task_bed_close(&bed);
}

TEST(task_check, an_id_that_is_not_its_own_is_found_TASK_I2)
{
    REQUIRE(task_bed_open(&bed));
    BROKEN("TASK-I2", bed.b->id, bed.a->id);
    BROKEN("TASK-I2", bed.b->id, 0);
    BROKEN("TASK-I2", bed.tasks.by_id[100], bed.a);
    BROKEN("TASK-I2", bed.tasks.count, 4);
    BROKEN("TASK-I2", bed.tasks.next_id, bed.a->id);
    BROKEN("TASK-I2", bed.b->previous, NULL);
    BROKEN("TASK-I2", bed.tasks.last, bed.b);
    BROKEN("TASK-I2", bed.c->next, bed.a);
    task_bed_close(&bed);
}

TEST(task_check, messages_out_of_order_or_count_are_found_TASK_I3)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 1, 2));
    EXPECT_OK(CALL(&bed, bed.c, TASK_SEND, bed.b->id, 3, 4));
    struct task_message *first = bed.b->first, *last = bed.b->last;
    BROKEN("TASK-I3", first->id, last->id);
    BROKEN("TASK-I3", last->id, bed.tasks.next_message);
    BROKEN("TASK-I3", last->id, last->id | 3UL << 56);
    BROKEN("TASK-I3", bed.b->messages, 1);
    BROKEN("TASK-I3", bed.tasks.messages, 3);
    BROKEN("TASK-I3", bed.b->limits.messages, 1);
    BROKEN("TASK-I3", bed.b->last, first);
    BROKEN("TASK-I3", last->next, first);
    EXPECT_EQ(CALL(&bed, bed.c, TASK_RECEIVE, 0), TASK_BED_WAITS);
    BROKEN("TASK-I3", bed.c->first, first); /* it waits, and has what it waits for */
    task_bed_close(&bed);
}

TEST(task_check, a_message_without_pages_and_a_wait_for_nobody_are_found_TASK_I4)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEND, bed.b->id, 0, 0, bed.page[0].v, PAGE_BYTES, TASK_GIVE | TRW));
    struct task_message *m = bed.b->first;
    BROKEN("TASK-I4", m->words[0], AT_PRIVATE);
    BROKEN("TASK-I4", m->words[0], m->words[0] + 1);
    BROKEN("TASK-I4", m->words[1], 0);
    BROKEN("TASK-I4", m->words[1], UINT64_MAX);
    EXPECT_EQ(CALL(&bed, bed.c, TASK_RECEIVE, bed.a->id), TASK_BED_WAITS);
    BROKEN("TASK-I4", bed.c->waits_for, 77);
    BROKEN("TASK-I4", bed.c->waits_for, bed.c->id);
    task_bed_close(&bed);
}

TEST(task_check, a_space_without_a_task_and_a_task_without_are_found_TASK_I5)
{
    REQUIRE(task_bed_open(&bed));
    BROKEN("TASK-I5", bed.b->space.limits.pages, npages(1));
    BROKEN("TASK-I5", bed.b->limits.ranges, 1);
    struct task *a = bed.tasks.first; /* one less in all lists of tasks, and its space is still there */
    bed.tasks.first = a->next;
    a->next->previous = NULL;
    bed.tasks.ready_first = a->next_ready;
    bed.tasks.by_id[a->id] = NULL;
    bed.tasks.count--;
    expect_broken("TASK-I5");
    bed.tasks.count++;
    bed.tasks.by_id[a->id] = a;
    bed.tasks.ready_first = a;
    a->next->previous = a;
    bed.tasks.first = a;
    struct aspace *newest = bed.spaces.system.first; /* a task's, which is not among the spaces */
    bed.spaces.system.first = newest->next;
    expect_broken("TASK-I5");
    bed.spaces.system.first = newest;
    task_bed_close(&bed);
}
