/*
 * Traces of requests for addresses, as an IPC-heavy system makes them. They are made once and played to every subject:
 * what one of them refuses is neither there to be freed nor asked for again.
 */
#ifndef CAIRN_TEST_BENCH_ARENA_TRACE_H
#define CAIRN_TEST_BENCH_ARENA_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Of 100 messages 90 have a range of 1 to 4 pages, which is freed with the next message; 9 have one of 256 pages, one
 * has 1 MiB to 1 GiB (a power of two, or any size). These stay until a random one must go, to keep to the limit.
 */
struct trace_shape {
    const char *name, *title;
    uint64_t space_pages;
    uint32_t ranges_most;    /* of those that stay; 0: no limit */
    unsigned percent_most;   /* pages of all that stay, of the space; 0: no limit */
    bool any_size;
    uint32_t aging;          /* messages after the limit was reached first that are not measured, */
    uint32_t messages;       /* and those that are */
};

struct trace_event {
    uint32_t id;    /* of the range */
    uint32_t pages; /* wanted; 0: it is freed */
};

struct trace {
    struct trace_event *events;
    size_t count, measured; /* events [measured, count) are measured */
    uint32_t ids;
    uint32_t aged;          /* ranges freed before the measured part, of those that stay */
};

/* Ends the program without memory. */
struct trace trace_make(const struct trace_shape *shape, uint64_t seed);
void trace_free(struct trace *trace);

#endif
