/* Many spaces in one arena, or with one each that imports spans: how many page tables their ranges touch. */
#ifndef CAIRN_TEST_BENCH_ARENA_SPACES_H
#define CAIRN_TEST_BENCH_ARENA_SPACES_H

#include "bench/bench.h"

void arena_spaces(const struct bench_options *options);

#endif
