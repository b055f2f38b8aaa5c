/* Guard mode's validator (GUARD-I1..I4), and questions about records. Every walk ends: chains are as long as there are
 * records. */
#include "heap/guard_internal.h"

struct sums {
    uint64_t live_blocks, live_bytes, zone_bytes, kept_blocks, kept_bytes, gone;
};

struct guard_check {
    const struct heap *heap;
    struct sink *out; /* may be null */
    uint64_t wrong;
    struct sums sums;
};

__attribute__((format(printf, 3, 4))) static void wrong(struct guard_check *c, const struct heap_guard_record *r,
                                                        const char *format, ...)
{
    c->wrong++;
    if (c->out == NULL) {
        return;
    }
    va_list args;
    va_start(args, format);
    sink_vprintf(c->out, format, args);
    va_end(args);
    if (r != NULL) {
        char where[GUARD_SITE_TEXT];
        sink_printf(c->out, " (block %p of %zu bytes, allocated at %s", (void *)r->block, r->bytes,
                    guard_site_text(c->heap, where, r->alloc_site));
        if (r->free_site != NULL) {
            sink_printf(c->out, ", freed at %s", guard_site_text(c->heap, where, r->free_site));
        }
        sink_printf(c->out, ")");
    }
    sink_printf(c->out, "\n");
}

static void check_record(struct guard_check *c, const struct heap_guard_record *r)
{
    char what[GUARD_WHAT_TEXT];
    struct sums *sums = &c->sums;
    if (!guard_record_is_sound(c->heap, r)) {
        wrong(c, r, "GUARD-I1: the record %p is not what the heap says of its memory %p", (const void *)r,
              (void *)r->memory);
        return;
    }
    if (r->state == HEAP_GUARD_GONE) {
        sums->gone++;
        return;
    }
    if (r->state == HEAP_GUARD_LIVE) {
        sums->live_blocks++;
        sums->live_bytes += r->bytes;
        sums->zone_bytes += r->memory_bytes - r->bytes;
        if (!guard_zones_are_whole(r, what)) {
            wrong(c, r, "GUARD-I2: %s", what);
        }
        return;
    }
    sums->kept_blocks++;
    sums->kept_bytes += r->memory_bytes;
    size_t i = guard_first_other(r->memory, r->memory_bytes, GUARD_FREE_BYTE);
    if (i < r->memory_bytes) {
        wrong(c, r, "GUARD-I3: write after free: byte %ld has become %#x", (long)i - (r->block - r->memory),
              r->memory[i]);
    }
}

static void check_counters(struct guard_check *c)
{
    const struct heap_guard *g = c->heap->guard;
    const struct sums *s = &c->sums;
    uint64_t listed = 0;
    for (const struct heap_guard_record *r = g->oldest; r != NULL && listed <= g->kept_count; r = r->younger) {
        listed++;
    }
    if (s->live_blocks != g->live_blocks || s->live_bytes != g->live_bytes || s->zone_bytes != g->zone_bytes) {
        wrong(c, NULL, "GUARD-I4: %lu blocks of %lu bytes and %lu around them, counted as %lu, %lu, %lu",
              s->live_blocks, s->live_bytes, s->zone_bytes, g->live_blocks, g->live_bytes, g->zone_bytes);
    }
    if (s->kept_blocks != g->kept_blocks || s->kept_bytes != g->kept_bytes || listed != g->kept_count ||
        s->kept_blocks + s->gone != listed) {
        wrong(c, NULL, "GUARD-I4: quarantine of %lu blocks, %lu bytes, %lu gone, counted as %lu, %lu, %lu in all",
              s->kept_blocks, s->kept_bytes, s->gone, g->kept_blocks, g->kept_bytes, g->kept_count);
    }
}

enum status heap_guard_check(const struct heap *heap, struct sink *out)
{
    struct guard_check c = {.heap = heap, .out = out};
    uint64_t bucket = 0, left = heap->guard->live_blocks + heap->guard->kept_count + 1;
    const struct heap_guard_record *r = guard_record_next(heap->guard, NULL, &bucket);
    for (; r != NULL && left > 0; left--, r = guard_record_next(heap->guard, r, &bucket)) {
        check_record(&c, r);
    }
    check_counters(&c);
    return c.wrong == 0 ? STATUS_OK : STATUS_CORRUPT;
}

bool heap_guard_find(const struct heap *heap, const void *address, struct heap_guard_block *out)
{
    uint64_t bucket = 0, best = UINT64_MAX;
    const struct heap_guard_record *r = NULL;
    while (heap->guard != NULL && best > 0 && (r = guard_record_next(heap->guard, r, &bucket)) != NULL) {
        uint64_t at = ptr_to_vaddr(address).v, first = ptr_to_vaddr(r->memory).v, end = first + r->memory_bytes;
        uint64_t margin = r->class_bytes == 0 ? PAGE_BYTES : 0;
        uint64_t distance = at < first ? first - at : at >= end ? at - end + 1 : 0;
        /* At the same place the one in use, or the youngest, comes first. */
        if (distance <= margin && distance < best) {
            best = distance;
            *out = (struct heap_guard_block){r->block, r->bytes, r->alloc_site, r->free_site,
                                             (enum heap_guard_state)r->state};
        }
    }
    return best != UINT64_MAX;
}

bool heap_guard_site_next(const struct heap *heap, const void *above, struct heap_guard_site *out)
{
    uint64_t bucket = 0;
    const struct heap_guard_record *r = NULL;
    *out = (struct heap_guard_site){0};
    while (heap->guard != NULL && (r = guard_record_next(heap->guard, r, &bucket)) != NULL) {
        if (r->state != HEAP_GUARD_LIVE || ptr_to_vaddr(r->alloc_site).v <= ptr_to_vaddr(above).v) {
            continue;
        }
        if (out->site == NULL || ptr_to_vaddr(r->alloc_site).v < ptr_to_vaddr(out->site).v) {
            *out = (struct heap_guard_site){.site = r->alloc_site};
        }
        if (out->site == r->alloc_site) {
            out->blocks++;
            out->bytes += r->bytes;
        }
    }
    return out->site != NULL;
}
