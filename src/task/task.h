/*
 * Tasks: programs in user mode, each in an address space of its own. Who runs next, what they may ask for, what they
 * send each other, and what is left when they die: nothing.
 *
 * A task has no kernel stack. What it has in registers lies in its context whenever it does not run; a system call is a
 * function of that context, and a task that waits is one that nobody picks. So the kernel is never left in the middle
 * of anything, and to kill a task is to take it off its lists. The price: one call is not interrupted, however long.
 *
 * The machine is behind struct task_port, so that all of this runs on the host too.
 *
 * Invariants, checked by tasks_check() and tested by name in test/unit/:
 *   TASK-I1 a task is on the ready queue exactly if it is READY; one at most is RUNNING
 *   TASK-I2 ids of tasks are unique, and no id is used again until 2^22 others were
 *   TASK-I3 what is counted as waiting for a task is on its queue, in the order of its ids, and within its limit; a
 *           task that waits has none that it asks for
 *   TASK-I4 a message with pages names pages that its receiver has had, and a task that waits for another waits for a
 *           living one
 *   TASK-I5 each living task has a space, and each space of tasks a task
 *
 * All or nothing, statuses as in abi.h. Misuse (of the kernel's own callers) is reported.
 * Context: thread, with interrupts as they are; one CPU. No call from a low-memory callback.
 */
#ifndef CAIRN_TASK_TASK_H
#define CAIRN_TASK_TASK_H

#include "arch/context.h"
#include "aspace/aspace.h"
#include "aspace/object.h"
#include "heap/cache.h"
#include "heap/heap.h"
#include "task/abi.h"

enum {
    TASKS_MAX = 1024,           /* that live at once: tasks_create says LIMIT */
    TASK_ENDS = 32,             /* deaths that are remembered */
    TASK_CAUSE_BYTES = 96,
    TASK_PAGES = 1 << 18,       /* limits of a task that is given none: pages (1 GiB), */
    TASK_RANGES = 4 << 10,      /* ranges, */
    TASK_MESSAGES = 64,         /* messages that wait */
};

enum task_state { TASK_NEW, TASK_READY, TASK_RUNNING, TASK_WAITING };

struct task_limits { /* 0: the above */
    npages_t pages;
    size_t ranges;
    unsigned messages;
};

struct task;
struct tasks;

/* What the machine does. */
struct task_port {
    void *ctx;
    /* Between the kernel and memory of `task`, which is the running one. => bytes that were not copied; these begin in
     * the first page that cannot be had. */
    uint64_t (*copy_in)(void *ctx, struct task *task, void *to, vaddr_t from, uint64_t bytes);
    uint64_t (*copy_out)(void *ctx, struct task *task, vaddr_t to, const void *from, uint64_t bytes);
    uint64_t (*ticks)(void *ctx);
    /* Text of a task's, not terminated; any bytes. */
    void (*log)(void *ctx, const struct task *task, const char *text, size_t bytes);
    /* A module by name, as an object that the machine holds. => OK; ABSENT; NOMEM. */
    enum status (*module)(void *ctx, const char *name, struct object **object);
    /* `space` is about to be destroyed: make another one current if it is this. */
    void (*leave)(void *ctx, struct aspace *space);
};

struct task_message; /* private, message.h */

/* Read-only but for src/task/. */
struct task {
    struct user_context context;
    struct aspace space;
    struct tasks *system;
    unsigned id;                       /* 1 and up */
    enum task_state state;
    char name[TASK_NAME_BYTES];
    struct task_limits limits;
    struct task *next, *previous;      /* all that live, the oldest first */
    struct task *next_ready;
    struct task_message *first, *last; /* messages that wait */
    unsigned messages;
    unsigned waits_for;                /* of one that waits; 0: anybody */
    uint64_t calls, switches;          /* switches: times that it was picked */
    uint64_t faults;                   /* counted by who runs it */
    uint64_t ticks, since;             /* until it was picked last, and when that was */
};

enum task_how { TASK_EXITED, TASK_KILLED, TASK_FAULTED };

struct task_end { /* how one ended */
    unsigned id;
    char name[TASK_NAME_BYTES];
    enum task_how how;
    int64_t code;                  /* of TASK_EXIT */
    char cause[TASK_CAUSE_BYTES];  /* in words; empty when it exited */
    uint64_t calls, faults, switches, ticks;
    npages_t pages;                /* that it had in ranges */
};

struct tasks {
    struct aspaces *aspaces;
    struct heap *heap;
    struct task_port port;
    struct heap_cache task_cache, message_cache;
    struct task *first, *last;
    struct task *ready_first, *ready_last;
    struct task *running;
    struct task *by_id[TASKS_MAX];     /* by the lower bits of the id */
    unsigned count, next_id;
    uint64_t next_message, messages;   /* messages: that wait anywhere */
    struct task_end ends[TASK_ENDS];   /* a ring */
    uint64_t ended;                    /* ever; the last is ends[(ended - 1) % TASK_ENDS] */
};

/* The struct stays in place. Object caches are made on the heap, no memory is taken. => OK; MISUSE. */
enum status tasks_init(struct tasks *tasks, struct aspaces *aspaces, struct heap *heap, const struct task_port *port);
/* All tasks are killed first. => OK; MISUSE: one is running. */
enum status tasks_end(struct tasks *tasks);

/* ---- Life ---- */

/* A NEW one with an empty space, for task_load (load.h) or by hand. The name is cut to fit. => OK; LIMIT; NOMEM. */
enum status task_create(struct tasks *tasks, const char *name, struct task_limits limits, struct task **task);
/* NEW becomes READY, at `entry` with `stack` (its end, 16-aligned) and three arguments. => OK; MISUSE: not NEW. */
enum status task_start(struct task *task, vaddr_t entry, vaddr_t stack, const uint64_t arguments[3]);
/*
 * It is no more: space, messages, whatever it held; who waits for it is told. `cause` in words, null when it exited.
 * The struct is gone. It may be running: then it is the caller's to pick another one. Cannot fail for want of memory.
 * What was NEW leaves no task_end. => OK; CORRUPT (reported), and as much as could be is back.
 */
enum status task_end(struct task *task, enum task_how how, int64_t code, const char *cause);
/* Null: no such task lives. O(1). */
struct task *tasks_find(const struct tasks *tasks, unsigned id);
/* How the task with this id ended; null: it lives, never was, or is forgotten. */
const struct task_end *tasks_find_end(const struct tasks *tasks, unsigned id);

/* ---- Turns ---- */

/*
 * The running one (if any) is READY again, behind all others, and the first of these RUNNING. => null: none is ready.
 * Round robin: each gets one turn of what the caller calls a turn.
 */
struct task *tasks_next(struct tasks *tasks);
/*
 * The system call that the running task's context asks for; the answer is in the context. => true: it goes on at once;
 * false: it yielded, waits, or is gone: tasks_next.
 */
bool task_call(struct tasks *tasks, struct task *task);

/* ---- Questions ---- */

/* => OK; CORRUPT, said to `out`. Does not look at spaces: aspaces_check does. */
enum status tasks_check(const struct tasks *tasks, struct sink *out);
/* Whose space this is; null: none's. O(tasks). */
struct task *tasks_of_space(const struct tasks *tasks, const struct aspace *space);

#endif
