/*
 * ends HOW [N]: one task, one way to end, or not to: exit with N, fault (a write to null), divide by zero, loop without
 * a call, spin on yield, wait for a message that nobody sends, log what a terminal would act upon, count N turns of a
 * loop in x87 and SSE registers while others run.
 */
#include "user/runtime.h"

static void write_null(void)
{
    volatile char *null = NULL;
    __asm__ volatile("" : "+r"(null));
    *null = 1;
}

static void divide(void)
{
    __asm__ volatile("xor %%ecx, %%ecx\n div %%ecx" : : : "eax", "ecx", "edx", "cc");
}

/* In registers that the kernel never uses: whoever else ran meanwhile, they are as they were. */
static int count(uint64_t turns)
{
    uint64_t in_sse = 0, in_x87 = 0;
    __asm__ volatile("pxor %%xmm7, %%xmm7\n pcmpeqd %%xmm6, %%xmm6\n psrlq $63, %%xmm6\n fldz\n"
                     "1: paddq %%xmm6, %%xmm7\n fld1\n faddp\n dec %2\n jnz 1b\n"
                     "movq %%xmm7, %0\n fistpll %1"
                     : "=r"(in_sse), "=m"(in_x87), "+r"(turns)
                     :
                     : "xmm6", "xmm7", "st", "st(1)", "cc");
    say("counted %lu, %lu", in_sse, in_x87);
    return in_sse == in_x87 ? 0 : 1;
}

int main(int argc, char **argv)
{
    uint64_t n = 0;
    const char *how = argc > 1 ? argv[1] : "";
    NEED(argc <= 2 || number_of(argv[2], &n));
    if (strcmp(how, "exit") == 0) {
        return (int)n;
    } else if (strcmp(how, "fault") == 0) {
        write_null();
    } else if (strcmp(how, "divide") == 0) {
        divide();
    } else if (strcmp(how, "loop") == 0) {
        for (;;) {
            __asm__ volatile("" : : : "memory");
        }
    } else if (strcmp(how, "yield") == 0) {
        for (;;) {
            NEED_OK(call_yield());
        }
    } else if (strcmp(how, "wait") == 0) {
        struct message m;
        NEED_OK(call_receive(0, NULL, 0, 0, &m));
    } else if (strcmp(how, "log") == 0) {
        static const char text[] = "one\n\033[31mtwo\\\tthree\377";
        NEED_OK(call_log(text, sizeof text - 1));
        return 0;
    } else if (strcmp(how, "count") == 0 && n > 0) {
        return count(n);
    }
    fail("there is no such end: '%s'", how);
}
