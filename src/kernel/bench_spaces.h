/* What the benchmarks of spaces share: a system of their own, with one space in it, or a few. */
#ifndef CAIRN_KERNEL_BENCH_SPACES_H
#define CAIRN_KERNEL_BENCH_SPACES_H

#include "aspace/object.h"
#include "kernel/bench.h"
#include "lib/rng.h"

enum { BENCH_SPACES_MORE = 3 };

struct bench_space {
    struct aspaces system;
    struct aspace space;
    struct aspace more[BENCH_SPACES_MORE]; /* ended, as the first one, if they were made */
    struct object *object; /* released in the end, if there is one */
    struct rng rng;
};

/* `measure` on a fresh system with a space, which ends afterwards. => what it answers, or why there is none */
typedef enum status bench_spaces_fn(const struct bench *bench, struct bench_result *result, struct bench_space *b);
enum status bench_on_system(const struct bench *bench, struct bench_result *result, bench_spaces_fn *measure);

#endif
