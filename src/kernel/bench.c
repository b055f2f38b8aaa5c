/* The clock of the benchmarks. */
#include "kernel/bench.h"

#include "arch/arch.h"

static uint64_t ticks_of_loop(uint64_t rounds)
{
    uint64_t start = arch_ticks();
    __asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(rounds) : : "cc");
    return arch_ticks() - start;
}

bool bench_counts_instructions(void)
{
    enum { IN_LOOP = 2, FEW = 100, MORE = 700, MANY = 5000 };
    uint64_t few = ticks_of_loop(FEW), more = ticks_of_loop(MORE), many = ticks_of_loop(MANY);
    return more - few == IN_LOOP * (MORE - FEW) && many - more == IN_LOOP * (MANY - MORE);
}

enum status bench_no_call(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    __asm__ volatile("" : : "r"(w) : "memory");
    return STATUS_OK;
}

enum status bench_nothing(struct bench_work *w, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        __asm__ volatile("" : : "r"(w) : "memory");
    }
    return STATUS_OK;
}

/* noinline: all bodies are called in one way. */
__attribute__((noinline)) static enum status time_body(bench_body *body, struct bench_work *w, uint64_t ops,
                                                       uint64_t *ticks)
{
    uint64_t start = arch_ticks();
    enum status s = body(w, ops);
    *ticks = arch_ticks() - start;
    return s;
}

enum status bench_add(struct bench_result *result, bench_body *body, bench_body *empty, struct bench_work *w,
                      uint64_t ops)
{
    uint64_t ticks = 0, off = 0;
    enum status s = empty(w, 1); /* an emulator translates it now: by the clock that is longer than many a body */
    if (s == STATUS_OK) {
        s = time_body(empty, w, ops, &off);
    }
    if (s == STATUS_OK) {
        s = time_body(body, w, ops, &ticks);
    }
    if (s == STATUS_OK) {
        result->ops += ops;
        result->ticks += ticks > off ? ticks - off : 0;
    }
    return s;
}
