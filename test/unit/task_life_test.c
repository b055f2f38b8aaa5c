/* Tasks are born, take turns and die: ids, the ready queue, what a death gives back and whom it tells. */
#include "unit/task_bed.h"

static struct task_bed bed;

TEST(task_life, tasks_take_turns_in_the_order_they_became_ready)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT(bed.tasks.running == NULL);
    EXPECT(tasks_next(&bed.tasks) == bed.a);
    EXPECT_EQ(bed.a->state, TASK_RUNNING);
    EXPECT(tasks_next(&bed.tasks) == bed.b);
    EXPECT_EQ(bed.a->state, TASK_READY);
    EXPECT(tasks_next(&bed.tasks) == bed.c);
    EXPECT(tasks_next(&bed.tasks) == bed.a);
    EXPECT_EQ(bed.a->switches, 2);
    task_bed_close(&bed);
}

TEST(task_life, a_task_starts_with_its_arguments_and_nothing_else_in_registers)
{
    REQUIRE(task_bed_open(&bed));
    struct task *task;
    const uint64_t arguments[3] = {11, 22, 33};
    const struct task_limits few = {.pages = npages(7)};
    REQUIRE(EXPECT_OK(task_create(&bed.tasks, "a name that is longer than the thirty-one bytes", few, &task)));
    EXPECT_EQ(task->state, TASK_NEW);
    EXPECT_EQ(strlen(task->name), TASK_NAME_BYTES - 1);
    EXPECT_EQ(task->limits.pages.v, 7);
    EXPECT_EQ(task->limits.ranges, TASK_RANGES);
    EXPECT_EQ(task->space.limits.pages.v, 7);
    EXPECT(tasks_find(&bed.tasks, task->id) == task && tasks_of_space(&bed.tasks, &task->space) == task);
    EXPECT(tasks_of_space(&bed.tasks, &bed.spaces.a) == NULL);
    EXPECT_OK(task_start(task, vaddr(TASK_BED_ENTRY), vaddr(AT_PRIVATE), arguments));
    struct interrupt_frame f = {.rdi = 11, .rsi = 22, .rdx = 33, .rip = TASK_BED_ENTRY, .rsp = AT_PRIVATE};
    EXPECT(memcmp(&f, &task->context.frame, sizeof f) == 0);
    EXPECT_EQ(task_start(task, vaddr(1), vaddr(2), arguments), STATUS_MISUSE);
    EXPECT(memcmp(&f, &task->context.frame, sizeof f) == 0);
    test_expect_reports(1);
    task_bed_close(&bed);
}

TEST(task_life, a_task_alone_goes_on_when_it_yields)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_YIELD, 0), TASK_BED_WAITS);
    EXPECT_EQ(bed.a->context.frame.rax, STATUS_OK);
    EXPECT(tasks_next(&bed.tasks) == bed.b);
    EXPECT_OK(task_end(bed.a, TASK_KILLED, 0, "test"));
    EXPECT_OK(task_end(bed.c, TASK_KILLED, 0, "test"));
    EXPECT_EQ(CALL(&bed, bed.b, TASK_YIELD, 0), STATUS_OK);
    EXPECT(tasks_next(&bed.tasks) == bed.b);
    task_bed_close(&bed);
}

TEST(task_life, a_call_for_a_task_that_does_not_run_is_reported_and_changes_nothing)
{
    REQUIRE(task_bed_open(&bed));
    REQUIRE(task_bed_run(&bed, bed.a));
    const uint64_t digest = task_bed_digest(&bed);
    EXPECT(!task_call(&bed.tasks, bed.b));
    EXPECT(!task_call(&bed.tasks, NULL));
    EXPECT_EQ(tasks_end(&bed.tasks), STATUS_MISUSE);
    EXPECT_EQ(tasks_init(&bed.tasks, NULL, &bed.heap, &bed.tasks.port), STATUS_MISUSE);
    EXPECT_EQ(task_bed_digest(&bed), digest);
    test_expect_reports(4);
    task_bed_close(&bed);
}

TEST(task_life, the_end_of_a_task_is_told_with_its_cause_and_figures)
{
    REQUIRE(task_bed_open(&bed));
    const unsigned a = bed.a->id, b = bed.b->id;
    EXPECT(tasks_find_end(&bed.tasks, a) == NULL);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_EXIT, (uint64_t)-5), TASK_BED_WAITS);
    EXPECT(tasks_find(&bed.tasks, a) == NULL && bed.tasks.running == NULL);
    const struct task_end *end = tasks_find_end(&bed.tasks, a);
    REQUIRE(end != NULL);
    EXPECT(end->how == TASK_EXITED && end->code == -5 && end->calls == 1 && end->switches == 1 && end->ticks > 0);
    EXPECT(end->pages.v == TASK_BED_PAGES && end->cause[0] == 0 && strcmp(end->name, "test") == 0);
    EXPECT_OK(task_end(bed.b, TASK_FAULTED, 7, "page fault"));
    end = tasks_find_end(&bed.tasks, b);
    REQUIRE(end != NULL);
    EXPECT(end->how == TASK_FAULTED && strcmp(end->cause, "page fault") == 0);
    EXPECT_EQ(bed.leaves, 2);
    task_bed_close(&bed);
}

TEST(task_life, only_the_last_ends_are_remembered_and_none_of_what_never_started)
{
    REQUIRE(task_bed_open(&bed));
    const unsigned a = bed.a->id;
    unsigned first = 0;
    EXPECT_OK(task_end(bed.a, TASK_KILLED, 0, "test"));
    for (unsigned i = 0; i < TASK_ENDS; i++) {
        EXPECT(tasks_find_end(&bed.tasks, a) != NULL);
        struct task *task = task_bed_task(&bed, (struct task_limits){0}, NULL);
        REQUIRE(task != NULL);
        first = i == 0 ? task->id : first;
        EXPECT_OK(task_end(task, TASK_KILLED, 0, "test"));
    }
    EXPECT(tasks_find_end(&bed.tasks, a) == NULL && tasks_find_end(&bed.tasks, first) != NULL);
    struct task *task;
    REQUIRE(EXPECT_OK(task_create(&bed.tasks, "new", (struct task_limits){0}, &task)));
    const unsigned id = task->id;
    EXPECT_OK(task_end(task, TASK_KILLED, 0, "test"));
    EXPECT(tasks_find_end(&bed.tasks, id) == NULL && bed.tasks.ended == TASK_ENDS + 1);
    task_bed_close(&bed);
}

TEST(task_life, who_waits_for_a_task_that_dies_is_told)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_RECEIVE, bed.b->id), TASK_BED_WAITS);
    EXPECT_EQ(CALL(&bed, bed.c, TASK_RECEIVE, 0), TASK_BED_WAITS);
    EXPECT(bed.a->state == TASK_WAITING && bed.c->state == TASK_WAITING);
    EXPECT_EQ(CALL(&bed, bed.b, TASK_EXIT, 0), TASK_BED_WAITS);
    EXPECT_EQ(bed.a->state, TASK_READY);
    EXPECT_EQ(bed.a->context.frame.rax, STATUS_ABSENT);
    EXPECT_EQ(bed.c->state, TASK_WAITING);
    EXPECT(tasks_next(&bed.tasks) == bed.a);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_RECEIVE, bed.c->id), TASK_BED_WAITS);
    EXPECT(tasks_next(&bed.tasks) == NULL); /* all that live wait */
    task_bed_close(&bed);
}

/* A task in one of the states, with pages, pages shared both ways, and a message. */
static struct task *in_state(enum task_state state, unsigned id_of_b)
{
    vaddr_t page;
    struct task *task = NULL;
    if (state == TASK_NEW) {
        EXPECT_OK(task_create(&bed.tasks, "new", (struct task_limits){0}, &task));
        EXPECT(map_it(&task->space, want(npages(9), ARW | VMM_USER, ASPACE_GLOBAL)).v != 0);
        return task;
    }
    task = task_bed_task(&bed, (struct task_limits){0}, &page);
    EXPECT_OK(CALL(&bed, task, TASK_SHARE, page.v, PAGE_BYTES, id_of_b, TASK_READ, 0));
    EXPECT_OK(CALL(&bed, bed.b, TASK_SHARE, bed.page[1].v, PAGE_BYTES, task->id, TRW, 0));
    EXPECT_OK(CALL(&bed, task, TASK_ALLOC, 3 * PAGE_BYTES, TRW | TASK_PRIVATE | TASK_POPULATE, 0));
    if (state == TASK_WAITING) {
        EXPECT_EQ(CALL(&bed, task, TASK_RECEIVE, bed.a->id, 0, 0, 0), TASK_BED_WAITS);
    }
    const char text[] = "data";
    EXPECT(task_bed_write(&bed, bed.b, bed.page[1], text, sizeof text));
    EXPECT_OK(CALL(&bed, bed.b, TASK_SEND, task->id, 1, 2, bed.page[1].v, sizeof text, TASK_DATA));
    EXPECT_OK(CALL(&bed, bed.b, TASK_SEND, task->id, 1, 2, 0, 0, 0));
    if (state == TASK_RUNNING) {
        EXPECT(task_bed_run(&bed, task));
    }
    return task;
}

TEST(task_life, a_death_in_any_state_gives_back_all_there_was)
{
    REQUIRE(task_bed_open(&bed));
    static const enum task_state states[] = {TASK_NEW, TASK_READY, TASK_RUNNING, TASK_WAITING};
    for (unsigned i = 0; i < ARRAY_LEN(states); i++) {
        struct task_bed_memory second = {0}; /* indexes have grown to what is usual */
        for (unsigned round = 0; round < 5; round++) {
            struct task *task = in_state(states[i], bed.b->id);
            REQUIRE(task != NULL && EXPECT_EQ(task->state, states[i]));
            EXPECT(task_bed_check(&bed));
            EXPECT_OK(task_end(task, TASK_KILLED, 0, "test"));
            EXPECT(task_bed_check(&bed));
            if (states[i] != TASK_NEW) { /* what it had shared is b's until b gives it up */
                EXPECT_EQ(bed.b->space.pages.v, TASK_BED_PAGES + 1);
                vaddr_t va = vaddr(0);
                npages_t pages;
                EXPECT(aspace_find(&bed.b->space, vaddr(0), &va, &pages));
                va = va.v == bed.page[1].v ? vaddr_add_pages(va, TASK_BED_PAGES) : va;
                EXPECT(aspace_find(&bed.b->space, va, &va, &pages));
                EXPECT_OK(CALL(&bed, bed.b, TASK_FREE, va.v, PAGE_BYTES));
            }
            const struct task_bed_memory now = task_bed_memory(&bed);
            second = round == 1 ? now : second;
            EXPECT(round < 1 || (now.frames == second.frames && now.heap_pages == second.heap_pages));
        }
    }
    task_bed_close(&bed);
}

TEST(task_life, memory_is_equal_after_the_second_and_the_hundredth_life)
{
    REQUIRE(task_bed_open(&bed));
    struct task_bed_memory second = {0};
    bed.is_lax = true;
    for (unsigned i = 0; i < 100; i++) {
        vaddr_t page;
        struct task *task = task_bed_task(&bed, (struct task_limits){0}, &page);
        REQUIRE(task != NULL);
        EXPECT_OK(CALL(&bed, task, TASK_ALLOC, 5 * PAGE_BYTES, TRW | TASK_POPULATE | TASK_GUARDS, 0));
        EXPECT_OK(CALL(&bed, task, TASK_CLONE, TASK_BED_ENTRY, 0, 0, 0, PAGE_BYTES));
        struct task *child = tasks_find(&bed.tasks, (unsigned)task_value(task));
        REQUIRE(child != NULL);
        EXPECT_OK(CALL(&bed, task, TASK_SEND, child->id, 1, 2, page.v, 2 * PAGE_BYTES, TASK_GIVE | TRW));
        EXPECT_EQ(CALL(&bed, task, TASK_EXIT, 0), TASK_BED_WAITS);
        EXPECT_EQ(CALL(&bed, child, TASK_EXIT, 0), TASK_BED_WAITS);
        const struct task_bed_memory now = task_bed_memory(&bed);
        second = i == 1 ? now : second;
        EXPECT(i < 1 || (now.frames == second.frames && now.heap_pages == second.heap_pages));
    }
    task_bed_close(&bed);
}

TEST(task_life, an_id_is_another_tasks_only_after_all_others_were)
{
    REQUIRE(task_bed_open(&bed));
    const unsigned id = bed.a->id;
    EXPECT_OK(task_end(bed.a, TASK_KILLED, 0, "test"));
    for (unsigned i = 0; i < 3; i++) { /* the same place, and a stale id leads nowhere */
        bed.tasks.next_id = (i + 1) * TASKS_MAX + id;
        struct task *task = task_bed_task(&bed, (struct task_limits){0}, NULL);
        REQUIRE(task != NULL && EXPECT_EQ(task->id % TASKS_MAX, id % TASKS_MAX));
        EXPECT(tasks_find(&bed.tasks, id) == NULL && tasks_find(&bed.tasks, task->id) == task);
        EXPECT_EQ(CALL(&bed, bed.b, TASK_SEND, id, 1, 2), STATUS_ABSENT);
        EXPECT_EQ(CALL(&bed, bed.b, TASK_SEND, (1UL << 32) + task->id, 1, 2), STATUS_ABSENT);
        EXPECT_OK(task_end(task, TASK_KILLED, 0, "test"));
    }
    bed.tasks.next_id = UINT32_MAX; /* and 0 is nobody's; a place that is taken is passed over */
    struct task *last = task_bed_task(&bed, (struct task_limits){0}, NULL);
    struct task *first = task_bed_task(&bed, (struct task_limits){0}, NULL);
    REQUIRE(first != NULL);
    EXPECT_EQ(last->id, UINT32_MAX);
    EXPECT(first->id == id && first->id < bed.b->id);
    struct task *next = task_bed_task(&bed, (struct task_limits){0}, NULL);
    REQUIRE(next != NULL);
    EXPECT(next->id > bed.c->id);
    task_bed_close(&bed);
}
