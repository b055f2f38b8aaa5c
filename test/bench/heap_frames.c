/* Frames that each heap holds over a trace. */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/heap_bench.h"
#include "lib/units.h"

void heap_in_child(void (*run)(const void *ctx, void *out), const void *ctx, void *out, size_t bytes, const char *what)
{
    int ends[2], status;
    fflush(NULL);
    const pid_t child = pipe(ends) == 0 ? fork() : -1;
    if (child == 0) {
        run(ctx, out);
        _exit(write(ends[1], out, bytes) == (ssize_t)bytes ? 0 : 1);
    }
    const bool is_done = child > 0 && waitpid(child, &status, 0) == child && status == 0;
    if (!is_done || read(ends[0], out, bytes) != (ssize_t)bytes) {
        fprintf(stderr, "bench: the process failed that plays %s\n", what);
        exit(1);
    }
    close(ends[0]);
    close(ends[1]);
}

static uint64_t resident_pages(void)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    char line[128];
    unsigned long kib = 0;
    while (file != NULL && kib == 0 && fgets(line, sizeof line, file) != NULL) {
        (void)!sscanf(line, "Rss: %lu", &kib);
    }
    if (kib == 0) {
        fprintf(stderr, "bench: /proc/self/smaps_rollup says nothing\n");
        exit(1);
    }
    fclose(file);
    return kib * KIB / PAGE_BYTES;
}

struct job {
    const struct heap_trace *trace;
    const struct heap_rival *rival;
    void **blocks;
};

/* All blocks are written where what is touched counts. Nothing goes back to the system. */
static uint64_t touched_pages(const struct job *job)
{
    const struct heap_trace *t = job->trace;
    malloc_trim(0); /* the C library's heap has been in use: all that is free there goes back to the system */
    const uint64_t before = resident_pages();
    for (uint32_t k = 0; k < t->op_count; k++) {
        const struct heap_op *op = &t->ops[k];
        heap_op_play(job->rival, op, job->blocks);
        if (op->bytes != 0) {
            memset(job->blocks[op->block], 1, op->bytes);
        }
    }
    return resident_pages() - before;
}

static void play(const void *ctx, void *out)
{
    const struct job *job = ctx;
    const struct heap_trace *t = job->trace;
    struct heap_frames *frames = out;
    memset(job->blocks, 0, t->block_count * sizeof *job->blocks); /* touched before it is counted */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    heap_begin(job->rival, t->largest_bytes);
    *frames = (struct heap_frames){0};
    if (job->rival->held_pages == NULL) {
        frames->most = touched_pages(job);
        return;
    }
    for (uint32_t k = 0; k < t->op_count; k++) {
        heap_op_play(job->rival, &t->ops[k], job->blocks);
        frames->freed = job->rival->held_pages();
        frames->most = frames->freed > frames->most ? frames->freed : frames->most;
    }
    frames->slabs = job->rival->slab_pages == NULL ? (struct heap_slab_pages){0, 0} : job->rival->slab_pages();
    job->rival->shrink();
    frames->shrunken = job->rival->held_pages();
}

struct heap_frames heap_measure_frames(const struct heap_trace *t, const struct heap_rival *rival)
{
    struct job job = {t, rival, heap_must(calloc(t->block_count, sizeof *job.blocks))};
    struct heap_frames frames;
    heap_in_child(play, &job, &frames, sizeof frames, rival->name);
    free(job.blocks);
    return frames;
}
