/* What the system calls about memory do when they work. */
#include "arch/layout.h"
#include "unit/aspace_touch.h"
#include "unit/task_bed.h"

static struct task_bed bed;

#define P PAGE_BYTES
#define IS_GLOBAL(va) ((va) >= LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL))

/* The answer of TASK_QUERY, by way of the task's own memory. */
static struct task_range query(struct task *task, vaddr_t buffer, uint64_t va)
{
    struct task_range r = {0};
    EXPECT_OK(CALL(&bed, task, TASK_QUERY, va, buffer.v));
    EXPECT(task_bed_read(&bed, task, buffer, &r, sizeof r));
    return r;
}

TEST(task_memory, memory_is_zeros_at_global_addresses_unless_private_is_asked_for)
{
    REQUIRE(task_bed_open(&bed));
    uint64_t word = 1;
    EXPECT_OK(CALL(&bed, bed.a, TASK_ALLOC, 2 * P + 1, TRW, 0));
    const uint64_t global = task_value(bed.a);
    EXPECT(IS_GLOBAL(global));
    EXPECT(task_bed_read(&bed, bed.a, vaddr(global + 2 * P), &word, sizeof word) && word == 0);
    EXPECT(!task_bed_read(&bed, bed.b, vaddr(global), &word, sizeof word));
    EXPECT_OK(CALL(&bed, bed.a, TASK_ALLOC, P, TRW | TASK_PRIVATE | TASK_POPULATE, 21));
    const uint64_t private = task_value(bed.a);
    EXPECT(!IS_GLOBAL(private) && private % (2 * MIB) == 0);
    EXPECT(frame_shown(&bed.a->space, vaddr(private)) != UINT64_MAX);
    struct task_range r = query(bed.a, bed.page[0], global + P + 5);
    EXPECT(r.va == global && r.bytes == 3 * P && r.rights == TRW && r.allowed == TRW && r.flags == 0);
    EXPECT(r.is_sealed == 0 && r.giver == 0 && r.sharers == 1 && r.is_resident == 0);
    r = query(bed.a, bed.page[0], private);
    EXPECT(r.va == private && r.bytes == P && r.flags == TASK_PRIVATE && r.is_resident == 1);
    EXPECT_OK(CALL(&bed, bed.a, TASK_FREE, global + P, P));
    EXPECT(!task_bed_read(&bed, bed.a, vaddr(global + P), &word, sizeof word));
    EXPECT(task_bed_read(&bed, bed.a, vaddr(global + 2 * P), &word, sizeof word));
    task_bed_close(&bed);
}

TEST(task_memory, guards_are_nobodys_on_either_side)
{
    REQUIRE(task_bed_open(&bed));
    struct aspace_fault fault;
    static const uint64_t parts[] = {0, TASK_PRIVATE};
    for (unsigned i = 0; i < ARRAY_LEN(parts); i++) {
        EXPECT_OK(CALL(&bed, bed.a, TASK_ALLOC, P, TRW | TASK_GUARDS | parts[i], 0));
        const uint64_t va = task_value(bed.a);
        EXPECT_OK(CALL(&bed, bed.a, TASK_ALLOC, P, TRW | parts[i], 0));
        EXPECT_EQ(aspace_fault(&bed.a->space, vaddr(va - P), VMM_READ | VMM_USER, &fault), STATUS_ABSENT);
        EXPECT(fault.in_guard && fault.base.v == va);
        EXPECT_EQ(aspace_fault(&bed.a->space, vaddr(va + P), VMM_READ | VMM_USER, &fault), STATUS_ABSENT);
        EXPECT(fault.in_guard && fault.base.v == va);
    }
    task_bed_close(&bed);
}

TEST(task_memory, rights_can_be_less_and_come_back_and_a_seal_ends_that)
{
    REQUIRE(task_bed_open(&bed));
    uint64_t word = 5;
    EXPECT_OK(CALL(&bed, bed.a, TASK_PROTECT, bed.page[0].v, P, 0));
    EXPECT(!task_bed_read(&bed, bed.a, bed.page[0], &word, sizeof word));
    EXPECT_OK(CALL(&bed, bed.a, TASK_PROTECT, bed.page[0].v, P, TASK_WRITE));
    EXPECT(task_bed_write(&bed, bed.a, bed.page[0], &word, sizeof word));
    EXPECT_OK(CALL(&bed, bed.a, TASK_ALLOC, P, TASK_READ | TASK_EXECUTE, 0));
    const uint64_t code = task_value(bed.a);
    EXPECT_OK(touch(&bed.a->space, vaddr(code), VMM_EXECUTE | VMM_USER));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_PROTECT, code, P, TRW), STATUS_DENIED);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEAL, code, P));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_PROTECT, code, P, TASK_READ), STATUS_DENIED);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_FREE, code, P), STATUS_DENIED);
    EXPECT_EQ(query(bed.a, bed.page[0], code).is_sealed, 1);
    task_bed_close(&bed);
}

TEST(task_memory, a_module_is_the_same_pages_for_all_and_read_only)
{
    REQUIRE(task_bed_open(&bed));
    const char name[] = "module";
    uint64_t word = 0;
    struct task *const tasks[] = {bed.a, bed.b};
    uint64_t at[2];
    for (unsigned i = 0; i < 2; i++) {
        EXPECT(task_bed_write(&bed, tasks[i], bed.page[i], name, sizeof name));
        EXPECT_OK(CALL(&bed, tasks[i], TASK_MAP_MODULE, bed.page[i].v, sizeof name - 1, 0));
        at[i] = task_value(tasks[i]);
        EXPECT(task_bed_read(&bed, tasks[i], vaddr(at[i] + P), &word, sizeof word) && word == 0x1235);
        EXPECT(!task_bed_write(&bed, tasks[i], vaddr(at[i]), &word, sizeof word));
        EXPECT_EQ(CALL(&bed, tasks[i], TASK_PROTECT, at[i], P, TRW), STATUS_DENIED);
    }
    EXPECT(IS_GLOBAL(at[0]) && at[0] == at[1]);
    EXPECT_EQ(frame_shown(&bed.a->space, vaddr(at[0] + P)), frame_shown(&bed.b->space, vaddr(at[0] + P)));
    EXPECT_EQ(bed.pager.filled, 1 + (frame_shown(&bed.a->space, vaddr(at[0])) != UINT64_MAX));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_MAP_MODULE, bed.page[0].v, sizeof name - 1, 0), STATUS_EXISTS);
    EXPECT_OK(CALL(&bed, bed.a, TASK_MAP_MODULE, bed.page[0].v, sizeof name - 1, TASK_PRIVATE));
    EXPECT(!IS_GLOBAL(task_value(bed.a)));
    EXPECT(task_bed_read(&bed, bed.a, vaddr(task_value(bed.a) + P), &word, sizeof word) && word == 0x1235);
    EXPECT_EQ(query(bed.a, bed.page[0], at[0]).sharers, 3);
    task_bed_close(&bed);
}

TEST(task_memory, what_is_shared_transferred_and_withdrawn_is_where_it_was_said)
{
    REQUIRE(task_bed_open(&bed));
    uint64_t word = 99, got = 0;
    const uint64_t va = bed.page[0].v;
    EXPECT(task_bed_write(&bed, bed.a, vaddr(va), &word, sizeof word));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SHARE, va, P, bed.b->id, TASK_READ, 0));
    EXPECT(task_bed_read(&bed, bed.b, vaddr(va), &got, sizeof got) && got == 99);
    EXPECT(!task_bed_write(&bed, bed.b, vaddr(va), &word, sizeof word));
    struct task_range r = query(bed.b, bed.page[1], va);
    EXPECT(r.giver == bed.a->id && r.sharers == 2 && r.rights == TASK_READ);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SHARE, va, P, bed.c->id, TRW, AT_PRIVATE));
    word = 100;
    EXPECT(task_bed_write(&bed, bed.c, vaddr(AT_PRIVATE), &word, sizeof word));
    EXPECT(task_bed_read(&bed, bed.b, vaddr(va), &got, sizeof got) && got == 100);
    EXPECT_OK(CALL(&bed, bed.b, TASK_SHARE, va, P, bed.c->id, TASK_READ, 0)); /* on from b to c */
    EXPECT_OK(CALL(&bed, bed.a, TASK_WITHDRAW, va, P, bed.b->id));
    EXPECT(!task_bed_read(&bed, bed.b, vaddr(va), &got, sizeof got));
    EXPECT(!task_bed_read(&bed, bed.c, vaddr(va), &got, sizeof got)); /* from b alone: gone with it */
    EXPECT(task_bed_read(&bed, bed.c, vaddr(AT_PRIVATE), &got, sizeof got));
    EXPECT_OK(CALL(&bed, bed.a, TASK_TRANSFER, va, P, bed.b->id, TRW));
    EXPECT(!task_bed_read(&bed, bed.a, vaddr(va), &got, sizeof got));
    EXPECT(task_bed_read(&bed, bed.b, vaddr(va), &got, sizeof got) && got == 100);
    task_bed_close(&bed);
}

TEST(task_memory, a_task_learns_its_figures_and_writes_to_the_log)
{
    REQUIRE(task_bed_open(&bed));
    struct task_stats st;
    EXPECT_OK(CALL(&bed, bed.b, TASK_SEND, bed.a->id, 1, 2));
    EXPECT_OK(CALL(&bed, bed.a, TASK_STATS, bed.page[0].v));
    EXPECT(task_bed_read(&bed, bed.a, bed.page[0], &st, sizeof st));
    EXPECT(st.id == bed.a->id && st.messages == 1 && st.pages == TASK_BED_PAGES && st.pages_max == TASK_PAGES);
    EXPECT(st.ranges == 1 && st.ranges_max == TASK_RANGES && st.messages_max == TASK_MESSAGES && st.calls == 1);
    EXPECT(st.faults == 0 && st.switches == 2 && st.ticks > 0);
    EXPECT(task_bed_write(&bed, bed.a, bed.page[0], "a line", 6));
    EXPECT_OK(CALL(&bed, bed.a, TASK_LOG, bed.page[0].v, 6));
    EXPECT(bed.log_bytes == 6 && memcmp(bed.log, "a line", 6) == 0);
    task_bed_close(&bed);
}

TEST(task_memory, a_task_gets_no_more_pages_and_ranges_than_its_limits)
{
    REQUIRE(task_bed_open(&bed));
    const struct task_limits few = {.pages = npages(6), .ranges = 2};
    vaddr_t page;
    struct task *task = task_bed_task(&bed, few, &page);
    REQUIRE(task != NULL);
    EXPECT_EQ(CALL(&bed, task, TASK_ALLOC, 3 * P, TRW, 0), STATUS_LIMIT);
    EXPECT_OK(CALL(&bed, task, TASK_ALLOC, P, TRW, 0));
    EXPECT_EQ(CALL(&bed, task, TASK_ALLOC, P, TRW, 0), STATUS_LIMIT);
    EXPECT_EQ(CALL(&bed, task, TASK_PROTECT, page.v + P, P, TASK_READ), STATUS_LIMIT);
    EXPECT_EQ(CALL(&bed, task, TASK_FREE, page.v + P, P), STATUS_LIMIT);
    EXPECT_OK(CALL(&bed, task, TASK_FREE, page.v, P));
    task_bed_close(&bed);
}
