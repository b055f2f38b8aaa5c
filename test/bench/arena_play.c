/*
 * Times: calls in batches between two readings of the clock; a figure is the median of the batches. Steps: read after
 * each call. Neither sees the work of the other: the sources of the subjects are compiled twice.
 */
#include "bench/arena_play.h"

#include <x86intrin.h>

#include "bench/arena_touched.h"
#include "bench/bed.h"
#include "bench/bench.h"
#include "lib/rng.h"

enum { BATCH = 128, FIND_BATCHES = 101, FINDS = FIND_BATCHES * BATCH };

#define STATE_BYTES GIB /* addresses, not memory */
#define REFUSED UINT64_MAX

struct player {
    const struct addresses_subject *subject;
    const struct trace *trace;
    struct addresses *a;
    uint64_t pages;
    uint64_t *first;  /* of each range of the trace, or REFUSED */
    uint32_t *wanted; /* pages of each range; 0: it is free, or refused */
    struct arena_outcome out;
};

static struct player open_player(const struct addresses_subject *s, const struct trace *trace, uint64_t pages,
                                 bool is_counted)
{
    struct player p = {.subject = s, .trace = trace, .pages = pages};
    p.a = bed_reserve(STATE_BYTES);
    p.first = bed_reserve(trace->ids * sizeof *p.first);
    p.wanted = bed_reserve(trace->ids * sizeof *p.wanted);
    if (is_counted) {
        touched_open(p.a, STATE_BYTES, sizeof *p.a);
    }
    bed_must(s->start(p.a, STATE_BYTES, pages), s->name);
    return p;
}

static void close_player(struct player *p)
{
    bed_unreserve(p->a, STATE_BYTES);
    bed_unreserve(p->first, p->trace->ids * sizeof *p->first);
    bed_unreserve(p->wanted, p->trace->ids * sizeof *p->wanted);
}

static void at_most(uint64_t *most, uint64_t value) { *most = value > *most ? value : *most; }

/* => a call was made: what was refused is not freed. */
static inline bool play_event(struct player *p, struct trace_event e)
{
    uint64_t *first = &p->first[e.id];
    if (e.pages > 0) {
        if (p->subject->alloc(p->a, e.pages, 0, first) != STATUS_OK) {
            *first = REFUSED;
        }
        return true;
    }
    if (*first == REFUSED) {
        return false;
    }
    bed_must(p->subject->free(p->a, *first), p->subject->name);
    return true;
}

/* What the event did, outside the clock. */
static void record(struct player *p, struct trace_event e, bool is_measured)
{
    bool is_refused = p->first[e.id] == REFUSED;
    p->wanted[e.id] = is_refused ? 0 : e.pages;
    if (e.pages > 0 && is_measured) {
        p->out.asked++;
        p->out.asked_pages += e.pages;
        p->out.refused += is_refused;
        p->out.refused_pages += is_refused ? e.pages : 0;
    }
}

/* The steps of the call that the event was; before it, `bytes` were used. => the lines that it touched. */
static uint64_t record_steps(struct player *p, struct trace_event e, size_t bytes)
{
    struct arena_steps *steps = &p->out.steps;
    bool is_refused = p->first[e.id] == REFUSED;
    at_most(&steps->splits, p->a->splits);
    at_most(e.pages == 0 ? &steps->free : is_refused ? &steps->refused : &steps->alloc, p->a->steps);
    if (!is_refused) {
        at_most(&steps->lines, touched_lines());
    }
    if (!is_refused && e.pages > 0 && addresses_bytes(p->a) == bytes) {
        at_most(&steps->steady, p->a->steps);
    }
    return touched_lines();
}

static uint64_t now(void)
{
    _mm_lfence();
    uint64_t ticks = __rdtsc();
    _mm_lfence();
    return ticks;
}

static void time_events(struct player *p)
{
    const struct trace *t = p->trace;
    double *batches = bed_reserve((t->count / BATCH + 1) * sizeof *batches);
    unsigned count = 0;
    for (size_t at = 0; at < t->count;) {
        size_t border = at < t->measured ? t->measured : t->count;
        size_t end = border - at > BATCH ? at + BATCH : border;
        unsigned calls = 0;
        uint64_t begin = now();
        for (size_t i = at; i < end; i++) {
            calls += play_event(p, t->events[i]);
        }
        uint64_t ticks = now() - begin;
        for (size_t i = at; i < end; i++) {
            record(p, t->events[i], at >= t->measured);
        }
        if (at >= t->measured && calls > 0) {
            batches[count++] = (double)ticks / calls;
        }
        at = end;
    }
    p->out.cycles = bench_median(batches, count);
    bed_unreserve(batches, (t->count / BATCH + 1) * sizeof *batches);
}

static void count_events(struct player *p)
{
    const struct trace *t = p->trace;
    uint64_t lines = 0, calls = 0;
    for (size_t i = 0; i < t->count; i++) {
        bool is_measured = i >= t->measured;
        size_t bytes = addresses_bytes(p->a);
        touched_clear();
        if (play_event(p, t->events[i])) {
            uint64_t touched = record_steps(p, t->events[i], bytes);
            lines += is_measured ? touched : 0;
            calls += is_measured;
        }
        record(p, t->events[i], is_measured);
    }
    p->out.lines = (double)lines / (double)calls;
}

/* Addresses in ranges that are in use now. */
static void choose_pages(struct player *p, uint64_t pages[FINDS])
{
    struct rng rng = rng_seeded(p->trace->count);
    for (unsigned i = 0; i < FINDS;) {
        uint64_t id = rng_below(&rng, p->trace->ids);
        if (p->wanted[id] > 0) {
            pages[i++] = p->first[id] + rng_below(&rng, p->wanted[id]);
        }
    }
}

static void look_up(struct player *p)
{
    static uint64_t pages[FINDS];
    static double batches[FIND_BATCHES];
    if (p->subject->find == NULL) {
        return;
    }
    choose_pages(p, pages);
    for (unsigned batch = 0; batch < FIND_BATCHES; batch++) {
        bool right = true;
        uint64_t begin = now();
        for (unsigned i = batch * BATCH; i < (batch + 1) * BATCH; i++) {
            struct addresses_range range;
            right = p->subject->find(p->a, pages[i], &range) && pages[i] - range.first < range.pages && right;
            at_most(&p->out.steps.find, p->a->steps);
        }
        batches[batch] = (double)(now() - begin) / BATCH;
        bed_must(right ? STATUS_OK : STATUS_CORRUPT, p->subject->name);
    }
    p->out.find_cycles = bench_median(batches, FIND_BATCHES);
}

/* Halves the interval between what is granted and what is refused. */
static uint64_t largest_request(struct player *p)
{
    uint64_t granted = 0, refused = p->pages + 1;
    while (refused - granted > 1) {
        uint64_t first, pages = granted + (refused - granted) / 2;
        if (p->subject->alloc(p->a, pages, 0, &first) == STATUS_OK) {
            bed_must(p->subject->free(p->a, first), p->subject->name);
            granted = pages;
        } else {
            refused = pages;
        }
    }
    return granted;
}

static void look_at_what_is_left(struct player *p)
{
    p->out.bytes = addresses_bytes(p->a);
    p->out.free = p->pages;
    for (uint32_t id = 0; id < p->trace->ids; id++) {
        p->out.ranges += p->wanted[id] > 0;
        p->out.free -= p->wanted[id];
    }
    p->out.largest = largest_request(p);
}

struct arena_outcome arena_play_timed(const struct addresses_subject *s, const struct trace *trace, uint64_t pages)
{
    struct player p = open_player(s, trace, pages, false);
    time_events(&p);
    look_up(&p);
    close_player(&p);
    return p.out;
}

struct arena_outcome arena_play_counted(const struct addresses_subject *s, const struct trace *trace, uint64_t pages)
{
    struct player p = open_player(s, trace, pages, true);
    count_events(&p);
    look_up(&p);
    look_at_what_is_left(&p);
    close_player(&p);
    return p.out;
}

/* ---- Nobody ---- */

static enum status start(void *memory, size_t bytes, uint64_t pages)
{
    return addresses_open(memory, bytes, sizeof(struct addresses), pages) != NULL ? STATUS_OK : STATUS_NOMEM;
}

static enum status alloc(struct addresses *a, uint64_t pages, unsigned align_log2, uint64_t *first)
{
    (void)a, (void)align_log2;
    *first = pages;
    return STATUS_OK;
}

static enum status free_range(struct addresses *a, uint64_t first)
{
    (void)a, (void)first;
    return STATUS_OK;
}

static bool find(struct addresses *a, uint64_t page, struct addresses_range *out)
{
    (void)a;
    *out = (struct addresses_range){page, 1};
    return true;
}

const struct addresses_subject arena_nobody = {"nobody", start, alloc, free_range, find};
