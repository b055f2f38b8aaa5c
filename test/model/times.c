/* When each step of a walk can have been done (possible.c, section 3). */
#include "arch/arch.h"
#include "model/mmu.h"

/* The slot that follows the present one: where time ends. */
static uint64_t end_of_time(const struct walker *w)
{
    return w->m->clock + 1;
}

static void add(struct spans *s, uint64_t from, uint64_t to)
{
    if (from >= to) {
        return;
    }
    if (s->count > 0 && from <= s->at[s->count - 1].to) {
        s->at[s->count - 1].to = to > s->at[s->count - 1].to ? to : s->at[s->count - 1].to;
        return;
    }
    if (s->count == MODEL_SPANS) {
        arch_fatal("a CPU came back to a PCID too often without flushing it: MODEL_SPANS is too small");
    }
    s->at[s->count].from = from;
    s->at[s->count++].to = to;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}
static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The slots in which the entry had this value; null: the present slot, whatever it has. */
static uint64_t value_from(const struct walker *w, const struct model_record *r)
{
    return later(w->after, r == NULL ? w->m->clock : r->from);
}
static uint64_t value_to(const struct walker *w, const struct model_record *r)
{
    return r == NULL ? end_of_time(w) : earlier(end_of_time(w), r->to);
}

struct spans spans_begin(const struct walker *w, uint64_t root, const struct model_record *r)
{
    struct spans s = {0};
    for (unsigned i = 0; i < w->context->stints; i++) {
        const struct model_stint *stint = &w->context->stint[i];
        if (stint->root == root) {
            add(&s, later(stint->from, value_from(w, r)), earlier(stint->to, value_to(w, r)));
        }
    }
    return s;
}

/* Do both lie behind one entry of a table of `level`? */
static bool same_prefix(vaddr_t a, vaddr_t b, unsigned level)
{
    while (level <= PAGING_LEVELS && table_index(a, level) == table_index(b, level)) {
        level++;
    }
    return level > PAGING_LEVELS;
}

static bool drops(const struct model_flush *f, vaddr_t va, unsigned level)
{
    if (f->page == MODEL_EVERY_PAGE) {
        return true;
    }
    return same_prefix(vaddr_add_pages(vaddr(0), f->page), va, level);
}

/* The event that dropped what an upper entry of `level` for this address was in slot `at`. */
static uint64_t dropped(const struct walker *w, unsigned level, uint64_t at)
{
    const struct model_context *c = w->context;
    unsigned low = 0, high = c->flushes; /* the first flush after `at` is in [low, high] */
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (c->flush[middle].time <= at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    while (low < c->flushes && !drops(&c->flush[low], w->va, level)) {
        low++;
    }
    return low < c->flushes ? c->flush[low].time : MODEL_NOW;
}

struct spans spans_below(const struct walker *w, const struct spans *above, unsigned level,
                         const struct model_record *r)
{
    struct spans s = {0};
    uint64_t until[MODEL_SPANS];
    for (unsigned k = 0; k < above->count; k++) {
        until[k] = dropped(w, level, above->at[k].to - 1);
    }
    for (unsigned i = 0; i < w->context->stints; i++) {
        const struct model_stint *stint = &w->context->stint[i];
        uint64_t from = later(stint->from, value_from(w, r)), to = earlier(stint->to, value_to(w, r));
        for (unsigned k = 0; k < above->count; k++) {
            add(&s, later(from, above->at[k].from), earlier(to, until[k]));
        }
    }
    return s;
}

bool spans_reach(const struct spans *s, uint64_t at)
{
    return s->count > 0 && s->at[s->count - 1].to > at;
}

bool spans_kept(const struct walker *w, const struct spans *s, unsigned level)
{
    return s->count > 0 && dropped(w, level, s->at[s->count - 1].to - 1) == MODEL_NOW;
}
