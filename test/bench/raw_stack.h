/*
 * The floor that everything is measured against: a stack of frame numbers, without any check. It does not know an empty
 * stack, a double free, or a frame that is not its own.
 */
#ifndef CAIRN_TEST_BENCH_RAW_STACK_H
#define CAIRN_TEST_BENCH_RAW_STACK_H

#include <stdint.h>

struct raw_stack {
    uint32_t *frames; /* room for all frames */
    uint64_t top;     /* frames on the stack */
};

uint32_t raw_stack_alloc(struct raw_stack *stack);
void raw_stack_free(struct raw_stack *stack, uint32_t frame);

#endif
