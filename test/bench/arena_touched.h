/*
 * Which things in a stretch of memory a piece of code touches: for sources that are compiled with -fsanitize=thread and
 * not linked with its library. Here are the functions that the compiler then calls at each access.
 */
#ifndef CAIRN_TEST_BENCH_ARENA_TOUCHED_H
#define CAIRN_TEST_BENCH_ARENA_TOUCHED_H

#include <stddef.h>
#include <stdint.h>

/*
 * [memory, memory + bytes), aligned to a page, is looked at from now on but for its first `blind` bytes, and nothing
 * else; no things are known yet.
 */
void touched_open(const void *memory, size_t bytes, size_t blind);
/* `bytes` from `first` on hold things of `each` bytes, multiples of 8. */
void touched_know(const void *first, size_t bytes, size_t each);
void touched_clear(void);
/* Known things, and lines of TOUCHED_LINE_BYTES, touched since touched_clear; each counted once. */
uint64_t touched_things(void);
uint64_t touched_lines(void);

enum { TOUCHED_LINE_BYTES = 64 };

#endif
