/*
 * The ends of a run: exit, reboot, panic; and where the layers' reports arrive.
 */
#include "arch/arch.h"
#include "arch/x86_64/cpu.h"
#include "arch/layout.h"
#include "kernel/console.h"
#include "kernel/fault.h"
#include "kernel/machine.h"
#include "kernel/symbols.h"
#include "lib/fmt.h"

enum {
    DEBUG_EXIT_PORT = 0xF4,   /* QEMU's isa-debug-exit */
    DEBUG_EXIT_BASE = 16,     /* STATUS + 16, so that QEMU's own status is never 0 or 1 */
    KEYBOARD_PORT = 0x64,
    KEYBOARD_RESET = 0xFE,
    BACKTRACE_MAX = 32,
};

static unsigned panics; /* how deep: a panic may fault */

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

/* A return address may be the first byte behind a call that never returns: it belongs to the function of the byte
 * before. */
static void print_frame(unsigned number, uint64_t address, bool is_return)
{
    const char *name;
    uint64_t offset;
    if (symbols_find(address - is_return, &name, &offset)) {
        print("  #%-2u %#018lx %s+%#lx\n", number, address, name, offset + is_return);
    } else {
        print("  #%-2u %#018lx\n", number, address);
    }
}

/* A frame pointer that may be followed: in the kernel half, aligned, and mapped. */
static bool may_follow(uint64_t frame)
{
    struct vmm_walk walk;
    if (frame < LAYOUT_KERNEL_BASE || frame % sizeof(uint64_t) != 0 || machine.vmm.pmm == NULL) {
        return false;
    }
    return vmm_translate(&machine.vmm, &machine.vmm.kernel, vaddr(frame), &walk) == STATUS_OK && walk.present &&
           page_offset_bytes(frame) <= PAGE_BYTES - 2 * sizeof(uint64_t);
}

void backtrace_from(uint64_t rip, uint64_t rbp)
{
    print("backtrace:\n");
    unsigned number = 0;
    if (rip != 0) {
        print_frame(number++, rip, false);
    }
    /* Each frame begins with the caller's RBP and the return address; stacks grow down, so RBP must rise. */
    while (number < BACKTRACE_MAX && may_follow(rbp)) {
        uint64_t next = arch_read64(vaddr(rbp));
        uint64_t return_address = arch_read64(vaddr(rbp + sizeof(uint64_t)));
        if (return_address == 0) {
            break;
        }
        print_frame(number++, return_address, true);
        if (next <= rbp) {
            break;
        }
        rbp = next;
    }
}

void backtrace_here(void) { backtrace_from(0, (uint64_t)(uintptr_t)__builtin_frame_address(0)); }

bool panic_enter(void)
{
    panics++;
    if (panics == 1) {
        return true;
    }
    if (panics == 2) {
        print("\npanic: a fault inside the report above; ending here\n");
        machine_exit(1);
    }
    out32(DEBUG_EXIT_PORT, DEBUG_EXIT_BASE + 1);
    halt_for_ever();
}

void panic(const char *format, ...)
{
    panic_enter();
    print("\npanic: ");
    va_list args;
    va_start(args, format);
    sink_vprintf(console, format, args);
    va_end(args);
    print("\n");
    backtrace_here();
    machine_exit(1);
}

void arch_fatal(const char *text) { panic("%s", text); }

void arch_report(enum report_kind kind, const char *text)
{
    static const char *const names[] = {"misuse", "corrupt", "firmware", "note"};
    if (machine.tests_running > 0) {
        selftest_report(kind, text);
        return;
    }
    if (kind == REPORT_MISUSE && machine.options.panic_on_misuse) {
        panic("misuse: %s", text);
    }
    log_at(kind == REPORT_NOTE ? LOG_INFO : kind == REPORT_FIRMWARE ? LOG_WARN : LOG_ERROR, "%s: %s", names[kind],
           text);
}
