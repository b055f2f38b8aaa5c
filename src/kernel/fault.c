/*
 * Exceptions. A page fault that the tables permit by now is spurious (rule R6: a right was added, the TLB had not seen
 * it) and is simply left; everything else is a report in words and the end of the machine, until there are tasks that
 * can die alone.
 *
 * The order of the report: what happened; the walk, the registers, the code and the callers, which need nothing but
 * the registers and the self window; last the owner of the address, which asks the layers' own data.
 */
#include "kernel/fault.h"

#include "arch/layout.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/user.h"
#include "kernel/console.h"
#include "kernel/machine.h"
#include "lib/macros.h"

static const char *const exception_names[EXCEPTIONS] = {
    [0] = "divide error", [1] = "debug", [2] = "non-maskable interrupt", [3] = "breakpoint", [4] = "overflow",
    [5] = "bound range", [6] = "invalid opcode", [7] = "no coprocessor", [8] = "double fault", [10] = "invalid TSS",
    [11] = "segment not present", [12] = "stack segment fault", [13] = "general protection fault",
    [14] = "page fault", [16] = "x87 error", [17] = "alignment check", [18] = "machine check", [19] = "SIMD error",
    [20] = "virtualization", [21] = "control protection", [28] = "hypervisor injection", [29] = "VMM communication",
    [30] = "security",
};

/* What is reported: a copy, since the stack it came on may be used again by a fault inside the report. */
static struct interrupt_frame at;
static uint64_t at_cr2;
static bool named_callers; /* the backtrace with names came to its end */

extern const char image_text[], image_text_end[];

const char *fault_name(uint64_t vector)
{
    const char *name = vector < EXCEPTIONS ? exception_names[vector] : "unexpected interrupt";
    return name != NULL ? name : "reserved exception";
}

static void print_head(void)
{
    print("\npanic: %s (vector %lu, error %#lx) at 0x%016lx\n", fault_name(at.vector), at.vector, at.error, at.rip);
    fault_print_why(&at, at_cr2);
}

static void print_walk(void)
{
    if (at.vector == EXCEPTION_PAGE_FAULT) {
        fault_print_walk(vaddr(at_cr2), at.error);
    }
}

static void print_registers(void)
{
    const struct interrupt_frame *f = &at;
    print("rip %016lx  rsp %016lx  rflags %08lx  cs %lx ss %lx\n", f->rip, f->rsp, f->rflags, f->cs, f->ss);
    print("rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
    print("rsi %016lx  rdi %016lx  rbp %016lx  r8  %016lx\n", f->rsi, f->rdi, f->rbp, f->r8);
    print("r9  %016lx  r10 %016lx  r11 %016lx  r12 %016lx\n", f->r9, f->r10, f->r11, f->r12);
    print("r13 %016lx  r14 %016lx  r15 %016lx\n", f->r13, f->r14, f->r15);
    print("cr2 %016lx  cr3 %016lx  cr4 %016lx\n", at_cr2, read_cr3(), read_cr4());
}

static void print_code(void) { fault_print_code(&at); }

/*
 * The return address on top of the stack, when there is one: after a call to nowhere, and in a function that makes no
 * frame of its own because it calls nobody. 0: none. A call ends before it: E8 and a distance of 4 bytes, or FF /2 with
 * an operand of up to 5 bytes behind.
 */
static uint64_t caller_without_frame(void)
{
    enum { CALL_NEAR = 0xE8, CALL_NEAR_BYTES = 5, CALL_INDIRECT = 0xFF, CALL_BYTES_MAX = 7, TO_OPERATION = 3 };
    if (!fault_can_read(at.rsp, sizeof(uint64_t))) {
        return 0;
    }
    uint64_t address = *(const uint64_t *)(uintptr_t)at.rsp;
    const uint8_t *end = (const uint8_t *)(uintptr_t)address;
    if (address < ptr_to_vaddr(image_text).v + CALL_BYTES_MAX || address >= ptr_to_vaddr(image_text_end).v) {
        return 0;
    }
    for (int back = 2; back <= CALL_BYTES_MAX; back++) {
        bool indirect = end[-back] == CALL_INDIRECT && (end[1 - back] >> TO_OPERATION & 7) == 2;
        if (indirect || (back == CALL_NEAR_BYTES && end[-back] == CALL_NEAR)) {
            return address;
        }
    }
    return 0;
}

static void print_callers(void)
{
    backtrace_from(at.rip, caller_without_frame(), at.rbp, true);
    named_callers = true;
}

static void print_callers_again(void)
{
    if (!named_callers) {
        backtrace_from(at.rip, 0, at.rbp, false);
    }
}

static void print_place(void)
{
    if (at.vector == EXCEPTION_PAGE_FAULT) {
        fault_print_place(vaddr(at_cr2));
    } else if (at.vector == EXCEPTION_DOUBLE_FAULT) {
        fault_print_stack(at.rsp);
    }
}

static const struct report_step steps[] = {
    {"what happened", print_head},      {"the walk", print_walk},
    {"the registers", print_registers}, {"the code", print_code},
    {"the backtrace", print_callers},   {"the backtrace, simply", print_callers_again},
    {"the owner", print_place},
};

/*
 * Do the tables permit now what faulted? Not if that was the answer to the same fault before, and no entry was written
 * since: then they are not the reason. Only that answer is noted: a fault that is reported takes nothing from a later
 * one.
 */
static bool is_spurious(const struct interrupt_frame *f, vaddr_t va)
{
    static uint64_t left_rip, left_va, left_stores;
    const uint64_t stores = machine.vmm.counters.table_stores;
    const bool repeated = f->rip == left_rip && va.v == left_va && stores == left_stores;
    if (repeated || (f->error & FAULT_RESERVED_BIT) != 0 || !fault_is_permitted(va, f->error)) {
        return false;
    }
    left_rip = f->rip;
    left_va = va.v;
    left_stores = stores;
    return true;
}

/* What comes from user mode is the end of the run there, but for what the machine itself has to say. */
static bool ends_user_run(const struct interrupt_frame *f)
{
    return interrupt_is_from_user(f) && user_is_running() && f->vector != EXCEPTION_NMI &&
           f->vector != EXCEPTION_DOUBLE_FAULT && f->vector != EXCEPTION_MACHINE_CHECK;
}

void kernel_interrupt(struct interrupt_frame *f)
{
    static bool looking; /* at the tables: a fault there is none of them being late */
    vaddr_t va = vaddr(read_cr2());
    if (report_is_running()) {
        if (f->vector == EXCEPTION_NMI) {
            return; /* a button pressed in impatience: the report goes on where it was */
        }
        report_go_on(fault_name(f->vector), f->rip, va.v);
    }
    if (f->vector == EXCEPTION_PAGE_FAULT && !looking) {
        machine.page_faults++;
        if (fault_of_user(f, va)) {
            return;
        }
        at = *f; /* the look may fault: it is the tables that cannot be read then, and what led there is worth more */
        at_cr2 = va.v;
        looking = true;
        bool spurious = is_spurious(f, va);
        looking = false;
        if (spurious) {
            machine.spurious_faults++;
            return;
        }
    }
    if (ends_user_run(f)) {
        user_leave(f, va);
    }
    if (!looking || f->vector > EXCEPTION_PAGE_FAULT || f->vector < EXCEPTION_GENERAL_PROTECTION) {
        at = *f;
        at_cr2 = va.v;
    }
    report_begin(steps, ARRAY_LEN(steps));
}
