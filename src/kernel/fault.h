/*
 * Reports that end the machine: exceptions (fault.c and its helpers) and panics (panic.c).
 *
 * A report is a list of steps. A fault, or a panic, inside a step ends that step only: it is told in one line, and the
 * next step goes on, on the stack as it is. Each step is begun once, so a report ends, whatever is broken; the last one
 * is the exit line. Nothing in a step allocates, takes a lock or trusts a table: what it reads may be what is broken.
 */
#ifndef CAIRN_KERNEL_FAULT_H
#define CAIRN_KERNEL_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/paging.h"
#include "arch/x86_64/user.h"
#include "aspace/aspace.h"

enum page_fault_error { /* SDM 3A 4.7 */
    FAULT_PRESENT = 1 << 0,
    FAULT_WRITE = 1 << 1,
    FAULT_USER = 1 << 2,
    FAULT_RESERVED_BIT = 1 << 3,
    FAULT_FETCH = 1 << 4,
};

/* ---- panic.c: the steps ---- */

struct report_step {
    const char *name;
    void (*run)(void);
};

/* Is a report under way? */
bool report_is_running(void);
/* Begins one; after its steps the machine ends with status 1. */
_Noreturn void report_begin(const struct report_step *steps, unsigned count);
/* Inside one: `what` went wrong at `rip` (with `address`, as far as it means something); the next step goes on. */
_Noreturn void report_go_on(const char *what, uint64_t rip, uint64_t address);

/* ---- fault_walk.c: the tables of the current CR3, by themselves: no VMM needed ---- */

struct fault_walk {
    unsigned level;                 /* of the last entry read, 4 first */
    bool present;                   /* that one is a leaf */
    pte_t entry[PAGING_LEVELS + 1]; /* by level */
    bool user;                      /* U in all of them */
};
/* `va` canonical. */
struct fault_walk fault_walk(vaddr_t va);
/* May `bytes` from here on be read? */
bool fault_can_read(uint64_t address, uint64_t bytes);
/* Do the tables permit an access of this kind (page_fault_error) now? */
bool fault_is_permitted(vaddr_t va, uint64_t error);
/* A line a level; the access (page_fault_error) says what stops it. */
void fault_print_walk(vaddr_t va, uint64_t error);

/* ---- fault_place.c, fault_why.c ---- */

/* What lies at the address, or next to it. */
void fault_print_place(vaddr_t va);
/* The same for a stack pointer that could not be pushed to. */
void fault_print_stack(uint64_t rsp);
/* "page fault", "divide error", ... Never null. */
const char *fault_name(uint64_t vector);
/* In words, what the exception means with this error code and these registers. */
void fault_print_why(const struct interrupt_frame *f, uint64_t cr2);
/* The bytes that the CPU was to execute. */
void fault_print_code(const struct interrupt_frame *f);

/* ---- fault_user.c ---- */

/*
 * A page fault on a user address, by user mode or in a copy for it: does the code go on at f->rip, which may be another
 * place now? false: not such a fault, or an access violation of user mode.
 */
bool fault_of_user(struct interrupt_frame *f, vaddr_t va);
/* Of the last one that was not solved: what its space said of it. Never null; who asks a space himself may note it. */
struct aspace_fault *fault_of_user_last(void);
/*
 * An access of `kind` (VMM_READ, VMM_WRITE, VMM_EXECUTE) that a space refused, in words: why, and the mapping that
 * holds the address or is nearest to it.
 */
void fault_print_refusal(const struct aspace *space, vaddr_t va, unsigned kind, const struct aspace_fault *fault);
/* The end of a run of user mode in the space: what happened, where, the registers. */
void fault_print_user(const struct aspace *space, const struct user_context *context,
                      const struct aspace_fault *fault);

/* ---- backtrace.c ---- */

/*
 * "backtrace:", then a line a frame, "  #N 0xADDRESS name+0xOFFSET": return addresses, but for the one marked "(here)",
 * which is an instruction's own. scripts/symbolise reads it. `rip` 0: begin with the return address at `rbp`.
 * `called_from`: 0, or a return address that lies on the stack without a frame. Not `full`: without names, and
 * without a look at the tables before a frame is read; for when symbols or tables are what is broken.
 */
void backtrace_from(uint64_t rip, uint64_t called_from, uint64_t rbp, bool full);

#endif
