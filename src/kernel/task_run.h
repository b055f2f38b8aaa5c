/*
 * Tasks run here: one after the other, until there is something else to do. What a task is: task/task.h.
 */
#ifndef CAIRN_KERNEL_TASK_RUN_H
#define CAIRN_KERNEL_TASK_RUN_H

#include "kernel/current.h"
#include "kernel/machine.h"
#include "task/task.h"

/* machine.tasks; after spaces and heap. Panics when memory is short. Once. */
void task_run_init(void);

enum task_run {
    TASK_RUN_TURN,  /* a turn is over: others may do something, and call again */
    TASK_RUN_ENDED, /* a task has ended */
    TASK_RUN_NONE,  /* none is ready */
};
/*
 * Tasks run by turns, in their spaces, until one of these is so. Faults that end one are reported. Before and after it
 * the same space is current, or the kernel's own, where that is no more. Context: thread, interrupts off.
 */
enum task_run task_run(void);
/* The same without a timer: until one ends, or none is ready. For those that time what they do. */
enum task_run task_run_alone(void);

/*
 * A task from the boot module that the first word of `args` names: the first word of the module's own arguments, or
 * what stands in that behind the last slash. One word alone: the module's own arguments are the task's. It is READY,
 * and judged at its end. => OK, *task; as task_load, *why says more or is null; ABSENT: no such module;
 * UNSUPPORTED: no SYSCALL.
 */
enum status task_run_module(const char *args, struct task **task, const char **why);

/* Those that task_run_module made, in their order: how they ended. Others of their making are not judged. */
enum task_verdict { TASK_LIVES, TASK_WELL, TASK_BADLY };
enum { TASK_JUDGED = 256 }; /* that are remembered */
struct task_judged {
    unsigned id;
    enum task_verdict verdict;
    bool told; /* at the end of a `wait` */
};
/* Null: not, or no longer, known. */
struct task_judged *task_judged(unsigned id);
/* The next one after `at` (null: the first) that ended badly and was not told of; null: none. */
struct task_judged *task_judged_badly(struct task_judged *at);

/* How it ended, in a line: "task 3 (hello): exited with 0, ...". */
void task_print_end(const struct task_end *end);

/* ---- task_port.c ---- */

/* *before: the space to return to after task_run; the kernel's own instead, where a task's end takes that away. */
struct task_port task_port_of_machine(struct current *before);
/* A module whose name this is; null: none. `bytes` of the name. */
struct module *task_module_find(const char *name, size_t bytes);
/* Its pages, as an object that the machine holds for ever. => OK; NOMEM; INVALID: empty. */
enum status task_module_object(struct module *module, struct object **object);

#endif
