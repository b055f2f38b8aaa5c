/* System calls from inside. Private to src/task/. */
#ifndef CAIRN_TASK_CALL_H
#define CAIRN_TASK_CALL_H

#include "arch/layout.h"
#include "task/task.h"

/* ---- turns.c ---- */

/* It goes to the end of the ready queue. It is on none. */
void turns_add(struct task *task);
/* The running one is not running any more: waits, or goes. Its time is counted. */
void turns_leave(struct task *task);
/* A READY one leaves the queue. O(ready). */
void turns_remove(struct task *task);

/* ---- task.c ---- */

/* Memory for one, zeroed, with a name; not known to anybody, no space. => null: TASKS_MAX (*s LIMIT), or NOMEM. */
struct task *task_make(struct tasks *tasks, const char *name, struct task_limits limits, enum status *s);
/* It is NEW from now on, with an id, its space being there. */
void task_enroll(struct task *task);
/* Its memory goes; nobody knows it, and it has no space. */
void task_unmake(struct task *task);

/* ---- Calls: registers as in abi.h. What they answer goes to RAX, unless the task does not run any more ---- */

typedef enum status task_call_fn(struct task *task, struct interrupt_frame *f);
task_call_fn call_alloc, call_free, call_map_module, call_protect, call_query, call_seal; /* call_memory.c */
task_call_fn call_share, call_transfer, call_withdraw;                                   /* call_share.c */
task_call_fn call_segment_create, call_segment_grant, call_segment_narrow, call_segment_revoke,
    call_segment_resize, call_segment_file;                                              /* call_segment.c */
task_call_fn call_clone;                                                                 /* clone.c */
task_call_fn call_send, call_receive;                                                    /* message.c */

/* ---- Arguments ---- */

/* A living task; null: none. */
static inline struct task *call_find(const struct tasks *tasks, uint64_t id)
{
    struct task *task = tasks->by_id[id % TASKS_MAX];
    return task != NULL && task->id == id ? task : NULL;
}

/* Bytes in user mode's half, 1 at least. => OK; INVALID; RANGE */
static inline enum status call_check_bytes(uint64_t va, uint64_t bytes)
{
    if (bytes == 0 || va + (bytes - 1) < va) {
        return STATUS_INVALID;
    }
    return va >= LAYOUT_USER_FIRST && va + (bytes - 1) < LAYOUT_USER_END ? STATUS_OK : STATUS_RANGE;
}

static_assert((unsigned)TASK_READ == VMM_READ && (unsigned)TASK_WRITE == VMM_WRITE &&
                  (unsigned)TASK_EXECUTE == VMM_EXECUTE,
              "rights are passed on as they are");

/* enum task_rights as the spaces' own. => false: unknown ones, or write and execute together. */
static inline bool call_rights(uint64_t rights, unsigned *out)
{
    const uint64_t both = TASK_WRITE | TASK_EXECUTE;
    *out = rights != 0 ? (unsigned)rights | (unsigned)VMM_USER : 0;
    return rights <= (TASK_READ | both) && (rights & both) != both;
}

/* From and to the memory of the running task, all of it. => OK; INVALID; RANGE; DENIED; NOMEM */
enum status call_copy_in(struct task *task, void *to, uint64_t from, uint64_t bytes);
enum status call_copy_out(struct task *task, uint64_t to, const void *from, uint64_t bytes);
/* The module that the running task names; the machine holds it. => OK; LIMIT; ABSENT; as call_copy_in */
enum status call_module(struct task *task, uint64_t name, uint64_t bytes, struct object **module);

/*
 * Pages of `from` for `to`, within half of what `to` may have. `takes`: from has them no more. to_va 0: where they are.
 * => as aspace_share, aspace_transfer; INVALID: rights; LIMIT.
 */
struct task_gift {
    uint64_t va, bytes, rights, to_va;
    bool takes;
};
enum status call_give(struct task *from, struct task *to, const struct task_gift *gift);
/* The segment at `va`, within half of the ranges that `to` may have. => as segment_grant; INVALID: rights */
enum status call_segment_give(struct task *from, struct task *to, vaddr_t va, uint64_t rights);

#endif
