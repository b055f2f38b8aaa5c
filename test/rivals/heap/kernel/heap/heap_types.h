/* The kernel's heap where it is one of the ways (-DCAIRN_HEAP): found before src/heap/heap_types.h. */
#ifndef CAIRN_RIVALS_HEAP_KERNEL_HEAP_TYPES_H
#define CAIRN_RIVALS_HEAP_KERNEL_HEAP_TYPES_H

enum { HEAP_WAY_STATE_BYTES = 16 * 1024 }; /* more than any of them has */

struct heap {
    _Alignas(64) uint8_t state[HEAP_WAY_STATE_BYTES]; /* begins with a struct way */
    uint64_t misuses;
    struct heap_guard *guard; /* null: none of them has a guard mode */
};

#endif
