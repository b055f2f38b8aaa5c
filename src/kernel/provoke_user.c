/*
 * Violations by user mode, with the report that its end gets. The machine is none the worse: each runs in a space of
 * its own, which is gone afterwards.
 */
#include "arch/layout.h"
#include "kernel/console.h"
#include "kernel/fault.h"
#include "kernel/program.h"
#include "kernel/provoke.h"
#include "lib/macros.h"
#include "lib/string.h"

/* RDI: the address. */
USER_CODE(provoke_reads, "mov (%rdi), %rax\n int $0x80");
USER_CODE(provoke_writes, "mov %rax, (%rdi)\n int $0x80");
USER_CODE(provoke_jumps, "jmp *%rdi");
USER_CODE(provoke_recurses, "1: call 1b");
USER_CODE(provoke_divides, "div %rdi");
USER_CODE(provoke_halts, "hlt");

static const struct violation {
    const char *name;
    const uint8_t *code, *end;
    uint64_t address;
} violations[] = {
    {"user-null", provoke_reads, provoke_reads_end, 0},
    {"user-absent", provoke_reads, provoke_reads_end, PROGRAM_DATA + PROGRAM_DATA_PAGES * PAGE_BYTES},
    {"user-kernel", provoke_reads, provoke_reads_end, LAYOUT_IMAGE_BASE},
    {"user-write-code", provoke_writes, provoke_writes_end, PROGRAM_CODE},
    {"user-execute-data", provoke_jumps, provoke_jumps_end, PROGRAM_DATA},
    {"user-stack-overflow", provoke_recurses, provoke_recurses_end, 0},
    {"user-divide", provoke_divides, provoke_divides_end, 0},
    {"user-hlt", provoke_halts, provoke_halts_end, 0},
};

void provoke_user_names(void)
{
    for (size_t i = 0; i < ARRAY_LEN(violations); i++) {
        print(" %s", violations[i].name);
    }
}

static void run_violation(const struct violation *v)
{
    static struct program program;
    enum status s = program_make(&program, v->code, v->end);
    if (s != STATUS_OK) {
        print("provoke: no space for it: %s\n", status_name(s));
        return;
    }
    program.context.frame.rdi = v->address;
    s = program_run(&program);
    if (s != STATUS_OK || program.context.frame.vector == INTERRUPT_FROM_USER) {
        print("provoke: %s should have been a violation, and user mode went on\n", v->name);
    } else {
        fault_print_user(&program.space, &program.context, &program.fault);
    }
    s = program_end(&program);
    enum status checked = aspaces_check(&machine.aspaces, console);
    print("provoke: its space is gone (%s); the validator finds %s\n", status_name(s),
          checked == STATUS_OK ? "nothing" : "DAMAGE");
}

bool provoke_user(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(violations); i++) {
        if (strcmp(violations[i].name, name) == 0) {
            run_violation(&violations[i]);
            return true;
        }
    }
    return false;
}
