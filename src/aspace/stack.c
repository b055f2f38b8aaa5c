/*
 * Stacks: ranges that grow down when they are touched below (aspace.h).
 *
 * The addresses are the mapping's from the beginning, between its guard and its base (room_pages), so a stack never
 * meets anything while it grows. What it gains is a mapping as any other, which becomes one with the stack, unless the
 * pages above have become an object by being shared. First all that can fail: the record, then the page (fault.c).
 *
 * Rejected: a range of full size from the start (each thread would be counted with the most that it may need); to grow
 * only near the stack pointer (the kernel touches stacks too, and a large frame is touched at its far end).
 */
#include "aspace/mapping.h"

struct mapping *stack_at(const struct aspace *space, vaddr_t va)
{
    struct mapping *m = mapping_from(space, va);
    return m != NULL && m->base.v > va.v && bytes_to_pages_up(m->base.v - va.v).v <= m->room_pages ? m : NULL;
}

struct mapping stack_gain(const struct mapping *stack, vaddr_t page)
{
    struct mapping gain = *stack;
    gain.base = page;
    gain.pages = bytes_to_pages_down(stack->base.v - page.v);
    gain.room_pages = (uint32_t)(stack->room_pages - gain.pages.v);
    mapping_clear(&gain, ASPACE_GUARD_ABOVE);
    gain.object = NULL;
    gain.first = 0;
    gain.giver = 0;
    return gain;
}

enum status stack_prepare(const struct mapping *stack, const struct mapping *gain)
{
    const struct aspace *space = stack->space;
    const struct aspace_needs needs = {.mappings = 1};
    const size_t ranges = space->ranges + !mapping_joins(gain, stack);
    if (!limits_allow(space, gain->pages, ranges)) {
        return STATUS_LIMIT;
    }
    return aspaces_reserve(space->system, &needs);
}

void stack_grow(struct mapping *stack, const struct mapping *gain)
{
    mapping_clear(stack, ASPACE_GUARD_BELOW);
    stack->room_pages = 0;
    (void)mapping_merge(mapping_add(stack->space, gain));
}
