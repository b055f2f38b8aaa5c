/* Guard mode's validator (GUARD-I1..I4), and questions about records. Every walk ends (guard_walk_next). */
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
        sink_printf(c->out, " (block %p of %zu bytes", (void *)r->block, r->bytes);
        if (r->cache != NULL) {
            sink_printf(c->out, " of the cache '%s'", r->cache->type.name);
        }
        sink_printf(c->out, ", allocated at %s", guard_site_text(c->heap, where, r->alloc_site));
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
    struct guard_walk walk = {.guard = heap->guard};
    for (const struct heap_guard_record *r = guard_walk_next(&walk); r != NULL; r = guard_walk_next(&walk)) {
        check_record(&c, r);
    }
    check_counters(&c);
    return c.wrong == 0 ? STATUS_OK : STATUS_CORRUPT;
}

uint64_t heap_guard_cache_count(const struct heap_cache *cache)
{
    struct guard_walk walk = {.guard = cache->heap->guard};
    const struct heap_guard_record *r;
    uint64_t count = 0;
    while ((r = guard_walk_next(&walk)) != NULL) {
        count += r->cache == cache && r->state == HEAP_GUARD_LIVE;
    }
    return count;
}

bool heap_guard_find(const struct heap *heap, const void *address, struct heap_guard_block *out)
{
    struct guard_walk walk = {.guard = heap->guard};
    const struct heap_guard_record *r;
    uint64_t best = UINT64_MAX;
    while (best > 0 && (r = guard_walk_next(&walk)) != NULL) {
        uint64_t at = ptr_to_vaddr(address).v, first = ptr_to_vaddr(r->memory).v, end = first + r->memory_bytes;
        uint64_t margin = r->class_bytes == 0 ? PAGE_BYTES : 0;
        uint64_t distance = at < first ? first - at : at >= end ? at - end + 1 : 0;
        /* At the same place the one in use, or the youngest, comes first. */
        if (distance <= margin && distance < best) {
            best = distance;
            *out = (struct heap_guard_block){.base = r->block,
                                             .bytes = r->bytes,
                                             .alloc_site = r->alloc_site,
                                             .free_site = r->free_site,
                                             .state = (enum heap_guard_state)r->state,
                                             .cache_name = r->cache == NULL ? NULL : r->cache->type.name};
        }
    }
    return best != UINT64_MAX;
}

bool heap_guard_site_next(const struct heap *heap, const void *above, struct heap_guard_site *out)
{
    struct guard_walk walk = {.guard = heap->guard};
    const struct heap_guard_record *r;
    *out = (struct heap_guard_site){0};
    while ((r = guard_walk_next(&walk)) != NULL) {
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

bool heap_guard_owner_of(const struct heap *heap, const void *address, struct heap_block *out)
{
    if (heap_raw_owner_of(heap, address, out) == NULL || guard_is_own(heap, address)) {
        return false;
    }
    const struct heap_guard_record *r = guard_record_of(heap, address);
    if (r == NULL) {
        return true;
    }
    const uint8_t *at = address;
    out->allocated = r->state == HEAP_GUARD_LIVE;
    out->cache_name = r->cache == NULL ? NULL : r->cache->type.name;
    if (at < r->block || at >= r->block + r->bytes) { /* in a red zone: no block */
        out->base = at < r->block ? r->memory : r->block + r->bytes;
        out->usable_bytes = 0;
        out->allocated = false;
        return true;
    }
    out->base = r->block;
    out->usable_bytes = r->bytes;
    return true;
}

void heap_guard_correct_stats(const struct heap *heap, struct heap_stats *stats)
{
    const struct heap_guard *guard = heap->guard;
    stats->blocks -= guard->own_blocks + guard->kept_blocks;
    stats->used_bytes -= guard->own_bytes + guard->kept_bytes + guard->zone_bytes;
    stats->metadata_bytes += guard->own_bytes;
    stats->allocs -= guard->own_allocs;
    stats->frees = stats->allocs - stats->blocks;
}
