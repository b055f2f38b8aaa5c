/*
 * The ends of a run: exit, reboot, panic; how a report is survived; and where the layers' reports arrive.
 */
#include "arch/arch.h"
#include "arch/x86_64/cpu.h"
#include "kernel/console.h"
#include "kernel/fault.h"
#include "kernel/machine.h"
#include "lib/fmt.h"
#include "lib/macros.h"

enum {
    DEBUG_EXIT_PORT = 0xF4,   /* QEMU's isa-debug-exit */
    DEBUG_EXIT_BASE = 16,     /* STATUS + 16, so that QEMU's own status is never 0 or 1 */
    KEYBOARD_PORT = 0x64,
    KEYBOARD_RESET = 0xFE,
};

/* The report under way. Static: the stack may be what is broken. */
static struct {
    const struct report_step *steps;
    unsigned count, next;
    bool running, telling; /* telling: of a fault inside the report; a fault in there is not told again */
} ending;

void machine_exit(int status)
{
    print("cairn-exit %d %s\n", status, machine.options.nonce);
    console_drain();
    out32(DEBUG_EXIT_PORT, (uint32_t)(status + DEBUG_EXIT_BASE));
    halt_for_ever();
}

void machine_reboot(void)
{
    console_drain();
    out8(KEYBOARD_PORT, KEYBOARD_RESET);
    halt_for_ever();
}

bool report_is_running(void) { return ending.running; }

static _Noreturn void run_steps(void)
{
    while (ending.next < ending.count) {
        ending.steps[ending.next++].run();
    }
    if (ending.next++ == ending.count) {
        machine_exit(1);
    }
    /* Not even that: without a word, but never as a success. */
    out32(DEBUG_EXIT_PORT, DEBUG_EXIT_BASE + 1);
    halt_for_ever();
}

void report_begin(const struct report_step *steps, unsigned count)
{
    ending.running = true;
    ending.steps = steps;
    ending.count = count;
    run_steps();
}

static const char *step_name(void)
{
    return ending.next == 0 || ending.next > ending.count ? "the end" : ending.steps[ending.next - 1].name;
}

void report_go_on(const char *what, uint64_t rip, uint64_t address)
{
    if (!ending.telling) {
        ending.telling = true;
        print("\n(inside the report, at '%s': %s at 0x%016lx, address 0x%016lx; it goes on)\n", step_name(), what, rip,
              address);
    }
    ending.telling = false;
    run_steps();
}

/* ---- Panic ---- */

static const char *panic_format;
static va_list panic_args;
static uint64_t panic_frame;

static void print_text(void)
{
    print("\npanic: ");
    sink_vprintf(console, panic_format, panic_args);
    print("\n");
}

static void print_callers(void) { backtrace_from(0, 0, panic_frame, true); }

static const struct report_step panic_steps[] = {
    {"text", print_text},
    {"backtrace", print_callers},
};

void panic(const char *format, ...)
{
    if (ending.running) {
        report_go_on(format, (uint64_t)(uintptr_t)__builtin_return_address(0), 0);
    }
    panic_format = format;
    panic_frame = (uint64_t)(uintptr_t)__builtin_frame_address(0);
    va_start(panic_args, format);
    report_begin(panic_steps, ARRAY_LEN(panic_steps));
}

void backtrace_here(void) { backtrace_from(0, 0, (uint64_t)(uintptr_t)__builtin_frame_address(0), true); }

void arch_fatal(const char *text) { panic("%s", text); }

void arch_report(enum report_kind kind, const char *text)
{
    static const char *const names[] = {"misuse", "corrupt", "firmware", "note"};
    if (machine.tests_running > 0) {
        selftest_report(kind, text);
        return;
    }
    if (kind == REPORT_MISUSE && machine.options.panic_on_misuse && !ending.running) {
        panic("misuse: %s", text);
    }
    log_at(kind == REPORT_NOTE ? LOG_INFO : kind == REPORT_FIRMWARE ? LOG_WARN : LOG_ERROR, "%s: %s", names[kind],
           text);
}
