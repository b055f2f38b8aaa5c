/* Clones: a child has the private part as it was, of the global part what is named, a stack of its own, the limits. */
#include "unit/aspace_touch.h"
#include "unit/task_bed.h"

static struct task_bed bed;

#define P PAGE_BYTES

/* As a; null: refused. */
static struct task *clone_of_a(const struct task_keep *keep, unsigned count, uint64_t stack_bytes)
{
    EXPECT(count == 0 || task_bed_write(&bed, bed.a, bed.page[0], keep, count * sizeof *keep));
    if (!EXPECT_OK(CALL(&bed, bed.a, TASK_CLONE, TASK_BED_ENTRY, 1234, bed.page[0].v, count, stack_bytes))) {
        return NULL;
    }
    return tasks_find(&bed.tasks, (unsigned)task_value(bed.a));
}

TEST(task_clone, a_child_begins_at_its_entry_with_its_argument_and_a_stack)
{
    REQUIRE(task_bed_open(&bed));
    bed.a->context.frame.rbx = 77;
    bed.a->context.fpu[100] = 1;
    struct task *child = clone_of_a(NULL, 0, 2 * P + 1);
    REQUIRE(child != NULL);
    const uint64_t stack = child->context.frame.rsp;
    const struct interrupt_frame f = {.rip = TASK_BED_ENTRY, .rdi = 1234, .rdx = child->id, .rsp = stack};
    EXPECT(memcmp(&f, &child->context.frame, sizeof f) == 0);
    EXPECT(child->context.fpu[100] == 0 && child->state == TASK_READY && child->id > bed.c->id);
    EXPECT(strcmp(child->name, bed.a->name) == 0 && child->limits.pages.v == bed.a->limits.pages.v);
    uint64_t word = 1;
    EXPECT(stack % 16 == 0 && task_bed_write(&bed, child, vaddr(stack - 3 * P), &word, sizeof word));
    EXPECT(task_bed_write(&bed, child, vaddr(stack - 8), &word, sizeof word));
    struct aspace_fault fault;
    EXPECT_EQ(aspace_fault(&child->space, vaddr(stack - 3 * P - 8), VMM_WRITE | VMM_USER, &fault), STATUS_ABSENT);
    EXPECT(fault.in_guard);
    EXPECT(!task_bed_read(&bed, bed.a, vaddr(stack - 8), &word, sizeof word));
    EXPECT_EQ(child->space.pages.v, 3);
    task_bed_close(&bed);
}

TEST(task_clone, the_private_part_is_copied_when_one_of_them_writes)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT_OK(CALL(&bed, bed.a, TASK_ALLOC, 2 * P, TRW | TASK_PRIVATE, 0));
    const vaddr_t va = vaddr(task_value(bed.a));
    uint64_t word = 1, got = 0;
    EXPECT(task_bed_write(&bed, bed.a, va, &word, sizeof word));
    struct task *child = clone_of_a(NULL, 0, P);
    REQUIRE(child != NULL);
    EXPECT_EQ(frame_shown(&bed.a->space, va), frame_shown(&child->space, va));
    word = 2;
    EXPECT(task_bed_write(&bed, child, va, &word, sizeof word));
    EXPECT(task_bed_read(&bed, bed.a, va, &got, sizeof got) && got == 1);
    word = 3;
    EXPECT(task_bed_write(&bed, bed.a, va, &word, sizeof word));
    EXPECT(task_bed_read(&bed, child, va, &got, sizeof got) && got == 2);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_EXIT, 0), TASK_BED_WAITS);
    EXPECT(task_bed_read(&bed, child, va, &got, sizeof got) && got == 2);
    task_bed_close(&bed);
}

TEST(task_clone, of_the_global_part_a_child_has_what_is_named_by_the_page_with_these_rights)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT_OK(CALL(&bed, bed.a, TASK_ALLOC, 4 * P, TRW, 0));
    const uint64_t va = task_value(bed.a);
    uint64_t word = 41, got = 0;
    EXPECT(task_bed_write(&bed, bed.a, vaddr(va + P), &word, sizeof word));
    EXPECT_OK(CALL(&bed, bed.a, TASK_PROTECT, va + 2 * P, P, TASK_READ)); /* ranges need not begin where keeps do */
    const struct task_keep keep[] = {{va + P, 2 * P - 1, TASK_READ}, {va + 3 * P, P, TASK_WRITE}};
    struct task *child = clone_of_a(keep, ARRAY_LEN(keep), P);
    REQUIRE(child != NULL);
    EXPECT(!task_bed_read(&bed, child, vaddr(va), &got, sizeof got));
    EXPECT(task_bed_read(&bed, child, vaddr(va + P), &got, sizeof got) && got == 41);
    EXPECT(!task_bed_write(&bed, child, vaddr(va + P), &word, sizeof word));
    EXPECT(task_bed_read(&bed, child, vaddr(va + 2 * P), &got, sizeof got));
    EXPECT(task_bed_write(&bed, child, vaddr(va + 3 * P), &word, sizeof word));
    EXPECT(task_bed_read(&bed, bed.a, vaddr(va + 3 * P), &got, sizeof got) && got == 41);
    EXPECT(!task_bed_read(&bed, child, bed.page[0], &got, sizeof got));
    EXPECT_OK(CALL(&bed, bed.a, TASK_WITHDRAW, va + P, P, child->id)); /* the parent is the giver */
    EXPECT(!task_bed_read(&bed, child, vaddr(va + P), &got, sizeof got));
    task_bed_close(&bed);
}

TEST(task_clone, seals_and_limits_are_the_parents_and_messages_are_not)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT_OK(CALL(&bed, bed.a, TASK_ALLOC, P, TRW | TASK_PRIVATE, 0));
    const uint64_t va = task_value(bed.a);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEAL, va, P));
    EXPECT_OK(CALL(&bed, bed.b, TASK_SEND, bed.a->id, 1, 2));
    struct task *child = clone_of_a(NULL, 0, P);
    REQUIRE(child != NULL);
    EXPECT(child->messages == 0 && child->calls == 0 && child->space.pages.v == 2);
    EXPECT_EQ(CALL(&bed, child, TASK_FREE, va, P), STATUS_DENIED);
    EXPECT_EQ(CALL(&bed, child, TASK_ALLOC, (TASK_PAGES - 1UL) * P, TRW, 0), STATUS_LIMIT);
    EXPECT_EQ(CALL(&bed, child, TASK_RECEIVE, 0, 0, 0, TASK_NO_WAIT), STATUS_AGAIN);
    task_bed_close(&bed);
}

TEST(task_clone, a_clone_of_a_clone_and_the_death_of_both_leave_the_first_as_it_was)
{
    REQUIRE(task_bed_open(&bed));
    EXPECT_OK(CALL(&bed, bed.a, TASK_ALLOC, 600 * P, TRW | TASK_PRIVATE | TASK_POPULATE, 0));
    const vaddr_t va = vaddr(task_value(bed.a));
    uint64_t word = 6, got = 0;
    struct task *child = clone_of_a(NULL, 0, P);
    REQUIRE(child != NULL);
    EXPECT_OK(CALL(&bed, child, TASK_CLONE, TASK_BED_ENTRY, 5, 0, 0, P));
    struct task *grandchild = tasks_find(&bed.tasks, (unsigned)task_value(child));
    REQUIRE(grandchild != NULL);
    EXPECT(task_bed_write(&bed, grandchild, va, &word, sizeof word));
    EXPECT_EQ(CALL(&bed, child, TASK_EXIT, 0), TASK_BED_WAITS);
    EXPECT(task_bed_read(&bed, grandchild, va, &got, sizeof got) && got == 6);
    EXPECT_EQ(CALL(&bed, grandchild, TASK_EXIT, 0), TASK_BED_WAITS);
    EXPECT(task_bed_read(&bed, bed.a, va, &got, sizeof got) && got == 0);
    EXPECT(task_bed_write(&bed, bed.a, va, &word, sizeof word));
    task_bed_close(&bed);
}
