/* System calls about files in segments: they begin as modules do, and grow for all who have them at once. */
#include "unit/aspace_touch.h"
#include "unit/task_bed.h"

static struct task_bed bed;

#define P PAGE_BYTES
#define MODULE_BYTES ((uint64_t)TASK_BED_MODULE_PAGES * P)

/* A file of task a's, which b may read. */
static uint64_t open_bed(void)
{
    if (!task_bed_open(&bed) || !EXPECT(task_bed_write(&bed, bed.a, bed.page[0], "module", 6)) ||
        !EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_FILE, bed.page[0].v, 6, TRW))) {
        return 0;
    }
    const uint64_t va = task_value(bed.a);
    EXPECT(va % GIB == 0);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, bed.b->id, TASK_READ));
    return va;
}

/* The word that a page begins with; UINT64_MAX: the task may not read it. */
static uint64_t word_at(struct task *task, uint64_t va)
{
    uint64_t word = 0;
    return task_bed_read(&bed, task, vaddr(va), &word, sizeof word) ? word : UINT64_MAX;
}

static bool put(struct task *task, uint64_t va, uint64_t word)
{
    return task_bed_write(&bed, task, vaddr(va), &word, sizeof word);
}

TEST(task_segment_file, it_begins_as_the_module_and_what_is_written_is_its_own)
{
    const uint64_t va = open_bed(), seed = bed.pager.seed;
    REQUIRE(va != 0);
    EXPECT_EQ(word_at(bed.c, va), UINT64_MAX);
    EXPECT_EQ(bed.a->space.pages.v, TASK_BED_PAGES + TASK_BED_MODULE_PAGES);
    EXPECT_EQ(bed.pager.filled, 0); /* as yet */
    EXPECT_EQ(word_at(bed.b, va + P), seed + 1);
    EXPECT(put(bed.a, va + P, 5) && !put(bed.b, va + P, 6));
    EXPECT_EQ(word_at(bed.b, va + P), 5);
    EXPECT_EQ(bed.pager.filled, 1);
    EXPECT_OK(CALL(&bed, bed.a, TASK_MAP_MODULE, bed.page[0].v, 6, 0)); /* it has an address of its own */
    EXPECT_EQ(word_at(bed.a, task_value(bed.a) + P), seed + 1);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_FILE, bed.page[0].v, 6, TASK_READ)); /* and there may be more files */
    EXPECT_EQ(word_at(bed.a, task_value(bed.a) + P), seed + 1);
    EXPECT(!put(bed.a, task_value(bed.a) + P, 7));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_EXIT, 0), TASK_BED_WAITS);
    EXPECT_EQ(word_at(bed.b, va), UINT64_MAX);
    EXPECT_EQ(bed.pager.gone, 0); /* the machine has the module still */
    task_bed_close(&bed);
}

TEST(task_segment_file, it_grows_for_all_who_have_it_without_a_store_in_any_table)
{
    const uint64_t va = open_bed();
    REQUIRE(va != 0);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_GRANT, va, bed.c->id, TASK_READ));
    for (uint64_t bytes = MODULE_BYTES; bytes < 700 * P; bytes += 233 * P) {
        EXPECT_EQ(word_at(bed.b, va + bytes), UINT64_MAX); /* behind the end */
        EXPECT_EQ(CALL(&bed, bed.b, TASK_LOG, va + bytes, 1), STATUS_DENIED);
        const uint64_t *stores = &bed.spaces.vmm->counters.table_stores;
        EXPECT(task_bed_run(&bed, bed.a));
        const uint64_t before = *stores;
        bed.is_lax = true; /* the validators have slots of their own */
        EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_RESIZE, va, bytes + P - 1));
        bed.is_lax = false;
        EXPECT_EQ(*stores - before, 0);
        EXPECT(put(bed.a, va + bytes, bytes));
        EXPECT_EQ(word_at(bed.b, va + bytes), bytes);
        EXPECT_EQ(word_at(bed.c, va + bytes), bytes);
        EXPECT_OK(CALL(&bed, bed.b, TASK_LOG, va + bytes, 1));
        EXPECT_EQ(word_at(bed.c, va + bytes + P), UINT64_MAX);
        EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_RESIZE, va, bytes + 233 * P));
    }
    EXPECT_EQ(word_at(bed.b, va), bed.pager.seed);
    task_bed_close(&bed);
}

TEST(task_segment_file, what_is_cut_off_is_as_in_the_beginning_when_it_comes_again)
{
    const uint64_t va = open_bed();
    REQUIRE(va != 0);
    EXPECT(put(bed.a, va + 2 * P, 5) && word_at(bed.b, va + 2 * P) == 5);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_RESIZE, va, P), STATUS_SHARED);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_REVOKE, va, bed.b->id));
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_RESIZE, va, P));
    EXPECT_EQ(word_at(bed.a, va + 2 * P), UINT64_MAX);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_RESIZE, va, MODULE_BYTES));
    EXPECT_EQ(word_at(bed.a, va + 2 * P), bed.pager.seed + 2);
    task_bed_close(&bed);
}

TEST(task_segment_file, what_names_no_module_is_refused)
{
    const uint64_t va = open_bed(), name = bed.page[0].v;
    REQUIRE(va != 0);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_FILE, name, 5, TRW), STATUS_ABSENT);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_FILE, name, 0, TRW), STATUS_INVALID);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_FILE, name, TASK_NAME_BYTES, TRW), STATUS_LIMIT);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_FILE, name, UINT64_MAX, TRW), STATUS_LIMIT);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_FILE, bed.page[1].v, 6, TRW), STATUS_DENIED); /* not its to read */
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_FILE, 0, 6, TRW), STATUS_RANGE);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_FILE, name, 6, 0), STATUS_INVALID);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_FILE, name, 6, 8), STATUS_INVALID);
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_FILE, name, 6, TASK_WRITE | TASK_EXECUTE), STATUS_INVALID);
    EXPECT_OK(CALL(&bed, bed.a, TASK_SEGMENT_RESIZE, va, (TASK_PAGES - TASK_BED_PAGES) * (uint64_t)P));
    EXPECT_EQ(CALL(&bed, bed.a, TASK_SEGMENT_FILE, name, 6, TRW), STATUS_LIMIT); /* it has all that it may have */
    task_bed_close(&bed);
}
