/* Backtraces along the frame pointers, and the names of functions. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "kernel/console.h"
#include "kernel/fault.h"
#include "kernel/symbols.h"

enum {
    LINES_MAX = 40,
    FRAMES_MAX = 1 << 16, /* of a deep recursion only the first and the last are shown */
    FRAME_BYTES = 2 * sizeof(uint64_t),
};

struct trace {
    unsigned lines;
    bool full;
    uint64_t last;     /* return address of the last line */
    unsigned repeats;  /* how often it came again */
};

static void print_line(const struct trace *t, uint64_t address, const char *mark, bool is_return)
{
    const char *name;
    uint64_t offset;
    /* A return address may be the first byte behind a call that never returns: it belongs to the function of the byte
     * before. */
    if (t->full && symbols_find(address - is_return, &name, &offset)) {
        print("  #%-2u 0x%016lx %s+%#lx%s\n", t->lines, address, name, offset + is_return, mark);
    } else {
        print("  #%-2u 0x%016lx%s\n", t->lines, address, mark);
    }
}

static void flush_repeats(struct trace *t)
{
    if (t->repeats > 0) {
        print("      ... and %u more such frames\n", t->repeats);
    }
    t->repeats = 0;
}

static void add_return(struct trace *t, uint64_t address)
{
    if (address == t->last) {
        t->repeats++;
        return;
    }
    flush_repeats(t);
    print_line(t, address, "", true);
    t->last = address;
    t->lines++;
}

/* A frame pointer that may be followed: in the kernel half, aligned, and mapped. */
static bool may_follow(const struct trace *t, uint64_t frame)
{
    return frame >= LAYOUT_KERNEL_BASE && frame % sizeof(uint64_t) == 0 &&
           (!t->full || fault_can_read(frame, FRAME_BYTES));
}

void backtrace_from(uint64_t rip, uint64_t called_from, uint64_t rbp, bool full)
{
    struct trace t = {.full = full};
    print("backtrace:\n");
    if (rip != 0) {
        print_line(&t, rip, " (here)", false);
        t.lines++;
    }
    uint64_t first = may_follow(&t, rbp) ? arch_read64(vaddr(rbp + sizeof(uint64_t))) : 0;
    if (called_from != 0 && called_from != first) {
        add_return(&t, called_from);
    }
    /* Each frame begins with the caller's RBP and the return address; stacks grow down, so RBP must rise. */
    for (unsigned n = 0; n < FRAMES_MAX && t.lines < LINES_MAX && may_follow(&t, rbp); n++) {
        uint64_t next = arch_read64(vaddr(rbp));
        uint64_t return_address = arch_read64(vaddr(rbp + sizeof(uint64_t)));
        if (return_address == 0) {
            break;
        }
        add_return(&t, return_address);
        if (next <= rbp) {
            break;
        }
        rbp = next;
    }
    flush_repeats(&t);
}
