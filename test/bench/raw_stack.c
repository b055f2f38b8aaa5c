/* A translation unit of its own: it costs a call, as the PMM does. */
#include "bench/raw_stack.h"

__attribute__((noinline)) uint32_t raw_stack_alloc(struct raw_stack *stack) { return stack->frames[--stack->top]; }
__attribute__((noinline)) void raw_stack_free(struct raw_stack *stack, uint32_t frame)
{
    stack->frames[stack->top++] = frame;
}
