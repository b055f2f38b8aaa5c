/* A failing list of operations, made as short as it can be: delta debugging (Zeller, "Simplifying and isolating
 * failure-inducing input"). */
#ifndef CAIRN_TEST_MODEL_SHRINK_H
#define CAIRN_TEST_MODEL_SHRINK_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Leaves out of items[0, n), each of `size` bytes, what is not needed for `fails` to say yes, in place. Must fail
 * whole.
 * => how many are left: none of them can be left out alone. O(n^2) calls of `fails` at worst, mostly O(n log n).
 */
unsigned shrink_list(void *items, unsigned n, size_t size, bool (*fails)(void *ctx, const void *items, unsigned n),
                     void *ctx);

#endif
