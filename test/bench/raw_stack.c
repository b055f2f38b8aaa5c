/* A translation unit of its own: it costs a call, as the PMM does. Aligned, so that its speed is not by chance. */
#include "bench/raw_stack.h"

#define MEASURED __attribute__((noinline, aligned(64)))

MEASURED uint32_t raw_stack_alloc(struct raw_stack *stack) { return stack->frames[--stack->top]; }
MEASURED void raw_stack_free(struct raw_stack *stack, uint32_t frame) { stack->frames[stack->top++] = frame; }
