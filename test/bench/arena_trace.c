#include "bench/arena_trace.h"

#include "bench/bed.h"
#include "lib/rng.h"

/* Addresses, not memory, are reserved for a trace of any length. */
enum { EVENTS_MAX = 1 << 26, STAYING_MAX = 1 << 22 };

struct staying {
    uint32_t id, pages;
};

struct maker {
    const struct trace_shape *shape;
    struct trace trace;
    struct rng rng;
    struct staying *staying;
    uint32_t count;
    uint64_t pages;   /* of them */
    uint32_t message; /* the range of the last one, and 1; 0: none */
    bool is_full;     /* the limit was reached */
};

static void event(struct maker *m, uint32_t id, uint32_t pages)
{
    if (m->trace.count == EVENTS_MAX) {
        bed_fail("EVENTS_MAX is too small", STATUS_LIMIT);
    }
    m->trace.events[m->trace.count++] = (struct trace_event){id, pages};
}

static uint32_t ask(struct maker *m, uint32_t pages)
{
    event(m, m->trace.ids, pages);
    return m->trace.ids++;
}

static bool is_over(const struct maker *m, uint32_t pages)
{
    const struct trace_shape *s = m->shape;
    bool many = s->ranges_most > 0 && m->count >= s->ranges_most;
    return many || (s->percent_most > 0 && m->pages + pages > s->space_pages / 100 * s->percent_most);
}

static void stay(struct maker *m, uint32_t pages)
{
    while (is_over(m, pages)) {
        m->is_full = true;
        uint64_t which = rng_below(&m->rng, m->count);
        event(m, m->staying[which].id, 0);
        m->pages -= m->staying[which].pages;
        m->staying[which] = m->staying[--m->count];
        m->trace.aged++;
    }
    if (m->count == STAYING_MAX) {
        bed_fail("STAYING_MAX is too small", STATUS_LIMIT);
    }
    m->staying[m->count++] = (struct staying){ask(m, pages), pages};
    m->pages += pages;
}

static void message(struct maker *m)
{
    enum { ALL = 100, SMALL = 90, MIDDLE = 99, SMALL_PAGES = 4, MIB_PAGES = 256, DOUBLINGS = 11 };
    if (m->message != 0) {
        event(m, m->message - 1, 0);
        m->message = 0;
    }
    uint64_t what = rng_below(&m->rng, ALL);
    if (what < SMALL) {
        m->message = ask(m, 1 + (uint32_t)rng_below(&m->rng, SMALL_PAGES)) + 1;
    } else if (what < MIDDLE) {
        stay(m, MIB_PAGES);
    } else if (!m->shape->any_size) {
        stay(m, (uint32_t)MIB_PAGES << rng_below(&m->rng, DOUBLINGS));
    } else {
        uint32_t low = (uint32_t)MIB_PAGES << rng_below(&m->rng, DOUBLINGS - 1);
        stay(m, low + (uint32_t)rng_below(&m->rng, low + 1));
    }
}

struct trace trace_make(const struct trace_shape *shape, uint64_t seed)
{
    struct maker m = {.shape = shape, .rng = rng_seeded(seed)};
    m.trace.events = bed_reserve((uint64_t)EVENTS_MAX * sizeof *m.trace.events);
    m.staying = bed_reserve((uint64_t)STAYING_MAX * sizeof *m.staying);
    m.message = ask(&m, 1) + 1; /* out of all that there is: a buddy splits as often as it ever does */
    while (!m.is_full) {
        message(&m);
    }
    for (uint32_t i = 0; i < shape->aging; i++) {
        message(&m);
    }
    uint32_t aged = m.trace.aged;
    m.trace.measured = m.trace.count;
    for (uint32_t i = 0; i < shape->messages; i++) {
        message(&m);
    }
    m.trace.aged = aged;
    bed_unreserve(m.staying, (uint64_t)STAYING_MAX * sizeof *m.staying);
    return m.trace;
}

void trace_free(struct trace *trace)
{
    bed_unreserve(trace->events, (uint64_t)EVENTS_MAX * sizeof *trace->events);
}
