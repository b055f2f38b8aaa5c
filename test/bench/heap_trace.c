#include "bench/heap_trace.h"

#include <stdio.h>
#include <stdlib.h>

enum { PATH_MAX_BYTES = 512 };

static _Noreturn void bad_trace(const char *path, uint32_t line, const char *why)
{
    fprintf(stderr, "bench: %s, line %u: %s\n", path, line, why);
    exit(1);
}

static bool read_op(FILE *file, char kind, struct heap_op *op)
{
    unsigned align = 0;
    switch (kind) {
    case 'a': op->kind = HEAP_OP_ALLOC; return fscanf(file, "%u %u", &op->block, &op->bytes) == 2;
    case 'r': op->kind = HEAP_OP_RESIZE; return fscanf(file, "%u %u", &op->block, &op->bytes) == 2;
    case 'f': op->kind = HEAP_OP_FREE; return fscanf(file, "%u", &op->block) == 1;
    case 'm':
        op->kind = HEAP_OP_ALIGNED;
        if (fscanf(file, "%u %u %u", &op->block, &align, &op->bytes) != 3 || __builtin_popcount(align) != 1) {
            return false;
        }
        op->align_log2 = (uint8_t)__builtin_ctz(align);
        return true;
    default: return false;
    }
}

const char *heap_trace_measure(struct heap_trace *t)
{
    uint32_t *sizes = calloc(t->block_count, sizeof *sizes);
    uint64_t live = 0;
    const char *fault = sizes == NULL ? "no memory" : NULL;
    for (uint32_t i = 0; i < t->op_count && fault == NULL; i++) {
        const struct heap_op *op = &t->ops[i];
        const bool is_new = op->kind == HEAP_OP_ALLOC || op->kind == HEAP_OP_ALIGNED;
        if (op->block >= t->block_count || (op->bytes == 0) != (op->kind == HEAP_OP_FREE) ||
            (sizes[op->block] == 0) != is_new) {
            fault = "an operation that cannot be";
            break;
        }
        live = live - sizes[op->block] + op->bytes;
        sizes[op->block] = op->bytes;
        t->peak_bytes = live > t->peak_bytes ? live : t->peak_bytes;
        t->largest_bytes = op->bytes > t->largest_bytes ? op->bytes : t->largest_bytes;
        const size_t align = (size_t)1 << op->align_log2;
        t->largest_bytes = align > t->largest_bytes ? align : t->largest_bytes;
    }
    free(sizes);
    return fault != NULL ? fault : live != 0 ? "a block is left" : NULL;
}

struct heap_trace heap_trace_read(const char *folder, const char *name)
{
    char path[PATH_MAX_BYTES], kind;
    snprintf(path, sizeof path, "%s/%s.rep", folder, name);
    struct heap_trace t = {.name = name};
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        bad_trace(path, 0, "cannot be read");
    }
    if (fscanf(file, "%*u %u %u %*u", &t.block_count, &t.op_count) != 2) {
        bad_trace(path, 1, "no header");
    }
    t.ops = calloc(t.op_count, sizeof *t.ops);
    if (t.ops == NULL) {
        bad_trace(path, 3, "no memory for so many operations");
    }
    for (uint32_t i = 0; i < t.op_count; i++) {
        if (fscanf(file, " %c", &kind) != 1 || !read_op(file, kind, &t.ops[i])) {
            bad_trace(path, i + 5, "no operation");
        }
    }
    fclose(file);
    const char *fault = heap_trace_measure(&t);
    if (fault != NULL) {
        bad_trace(path, t.op_count, fault);
    }
    return t;
}

void heap_op_failed(const struct heap_rival *rival, const struct heap_op *op)
{
    fprintf(stderr, "bench: %s has no %u bytes\n", rival->name, op->bytes);
    exit(1);
}
