/*
 * What tests of tasks begin and end with: spaces (aspace_bed.h), a heap, a system of tasks with a port that does in the
 * model, or in the live VMM, what a kernel's would: and every page and frame back in the end. No user mode: a test says
 * what a task has in its registers, and makes the call for it.
 */
#ifndef CAIRN_TEST_UNIT_TASK_BED_H
#define CAIRN_TEST_UNIT_TASK_BED_H

#include "task/task.h"
#include "unit/aspace_bed.h"

enum {
    TASK_BED_TASKS = 3,
    TASK_BED_PAGES = 4,        /* that each has at `page`, in the global part, touched */
    TASK_BED_MODULE_PAGES = 3, /* of the module "module" */
    TASK_BED_WAITS = 1000,     /* what task_bed_call answers beside statuses: it waits, or is no more */
    TASK_BED_HEAP_PAGES = 128,
};

#define TASK_BED_ENTRY 0x400000UL
#define TRW ((uint64_t)(TASK_READ | TASK_WRITE))

struct task_bed {
    struct aspace_bed spaces;
    struct heap heap;
    struct tasks tasks;
    struct task *a, *b, *c;       /* READY */
    vaddr_t page[TASK_BED_TASKS]; /* of each */
    struct object *module;
    struct test_pager pager;
    uint64_t ticks;               /* what the port says, one more each time */
    char log[TASK_LOG_BYTES];
    size_t log_bytes;
    unsigned logs, leaves;        /* calls of the port */
    bool is_lax;                  /* failed calls are not compared: for tests that do nothing else many times */
};

/* => false: the test has failed. The bed is large: static. */
bool task_bed_open(struct task_bed *bed);
/* The validators; then all that live are killed. */
void task_bed_close(struct task_bed *bed);
bool task_bed_check(struct task_bed *bed);

/* Another one, READY, with TASK_BED_PAGES pages at *page (null: none). */
struct task *task_bed_task(struct task_bed *bed, struct task_limits limits, vaddr_t *page);
/* It is the running one, its space current; others lose their turns. It must be READY, or running. */
bool task_bed_run(struct task_bed *bed, struct task *task);

/*
 * As this task, the call with up to six arguments; it runs afterwards, unless it waits, yields or is gone. The
 * validators follow. What is refused has changed nothing: no register but RAX (and RDX, of TASK_RECEIVE), nothing of
 * any task, space or message.
 * => the status, or TASK_BED_WAITS.
 */
struct task_words {
    uint64_t at[6];
};
unsigned task_bed_call(struct task_bed *bed, struct task *task, uint64_t number, struct task_words words);
#define CALL(bed, task, number, ...) \
    task_bed_call((bed), (task), (number), (struct task_words){{__VA_ARGS__}})
/* RDX after it. */
static inline uint64_t task_value(const struct task *task) { return task->context.frame.rdx; }

/* Memory of a task, as user mode would touch it. => false: it may not. */
bool task_bed_read(struct task_bed *bed, struct task *task, vaddr_t va, void *to, uint64_t bytes);
bool task_bed_write(struct task_bed *bed, struct task *task, vaddr_t va, const void *from, uint64_t bytes);

/* A number that stands for all that can be seen of tasks and spaces. */
uint64_t task_bed_digest(struct task_bed *bed);
/* Pages of the heap and frames, with nothing held ready: for comparisons over time. */
struct task_bed_memory {
    uint64_t heap_pages, frames;
};
struct task_bed_memory task_bed_memory(struct task_bed *bed);

#endif
