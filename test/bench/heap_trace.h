/* Allocation traces: read from files, played on a heap. */
#ifndef CAIRN_TEST_BENCH_HEAP_TRACE_H
#define CAIRN_TEST_BENCH_HEAP_TRACE_H

#include "rivals/heap/heaps.h"

enum heap_op_kind { HEAP_OP_ALLOC, HEAP_OP_ALIGNED, HEAP_OP_RESIZE, HEAP_OP_FREE };

struct heap_op {
    uint32_t block; /* its number in the trace */
    uint32_t bytes; /* 0 of a free */
    uint8_t kind;   /* enum heap_op_kind */
    uint8_t align_log2;
};

struct heap_trace {
    const char *name;
    struct heap_op *ops;
    uint32_t op_count, block_count;
    uint64_t peak_bytes; /* most that is asked for at once */
    size_t largest_bytes; /* the largest size or alignment of a block */
};

/* FOLDER/NAME.rep; what is wrong with it ends the program. `name` is kept. */
struct heap_trace heap_trace_read(const char *folder, const char *name);

/*
 * Count what the operations ask for: peak_bytes, largest_bytes. => null, or what is wrong: each block is allocated
 * once, resized and freed while it is there, and gone in the end.
 */
const char *heap_trace_measure(struct heap_trace *trace);

/* One operation: `block` is what it is about, and becomes what it is now. A heap without memory ends the program. */
__attribute__((noreturn)) void heap_op_failed(const struct heap_rival *rival, const struct heap_op *op);
__attribute__((always_inline)) static inline void heap_op_call(const struct heap_rival *rival, const struct heap_op *op,
                                                               void **block)
{
    switch ((enum heap_op_kind)op->kind) {
    case HEAP_OP_ALLOC: *block = rival->alloc(op->bytes); break;
    case HEAP_OP_ALIGNED: *block = rival->alloc_aligned((size_t)1 << op->align_log2, op->bytes); break;
    case HEAP_OP_RESIZE: *block = rival->resize(*block, op->bytes); break;
    case HEAP_OP_FREE: rival->release(*block); return;
    }
    if (__builtin_expect(*block == NULL, 0)) {
        heap_op_failed(rival, op);
    }
}

/* The same; `blocks` has all of the trace. */
__attribute__((always_inline)) static inline void heap_op_play(const struct heap_rival *rival, const struct heap_op *op,
                                                               void **blocks)
{
    heap_op_call(rival, op, &blocks[op->block]);
}

#endif
