/* The page pool's validator: words, bits and counters are read separately and compared (POOL-I1..I3). */
#include "lib/bits.h"
#include "vmm/page_pool_span.h"

struct check {
    const struct page_pool *pool;
    struct sink *out; /* may be null */
    uint64_t used, wrong;
};

static void wrong(struct check *c, const char *rule, const struct page_pool_place *at, uint64_t said)
{
    c->wrong++;
    if (c->out != NULL) {
        sink_printf(c->out, "%s: span %u, chunk %u of the pool '%s': %#lx\n", rule, at->index, at->chunk, c->pool->tag,
                    said);
    }
}

static void check_chunk(struct check *c, const struct page_pool_place *at)
{
    const struct page_pool_span *span = at->span;
    const enum page_pool_kind kind = span->kinds[at->chunk];
    const bool is_idle = (span->idle >> at->chunk & 1) != 0;
    const uint64_t free = span->free[at->chunk], all = page_pool_all[kind % PAGE_POOL_KINDS];
    for (unsigned k = 0; k < PAGE_POOL_KINDS; k++) {
        const bool should = !is_idle && k == kind && free != 0;
        if ((span->room[k] >> at->chunk & 1) != should) {
            wrong(c, "POOL-I2: room is not as told", at, span->room[k]);
        }
    }
    if (!is_idle && (kind >= PAGE_POOL_KINDS || (free & ~all) != 0 || free == all)) {
        wrong(c, "POOL-I2: pieces are free that cannot be", at, free);
    }
    c->used += is_idle ? 0 : bits_set(all & ~free);
}

static void check_span(struct check *c, unsigned index)
{
    const struct page_pool *pool = c->pool;
    struct page_pool_place at = {.index = index, .span = pool->spans[index]};
    struct arena_range range;
    if (!arena_find(pool->arena, pool->bases[index], &range) || range.base.v != pool->bases[index].v ||
        range.pages.v != PAGE_POOL_SPAN_PAGES || range.tag != pool->tag || range.kind != pool->kind ||
        page_pool_place_of(pool, pool->bases[index]).index != index) {
        wrong(c, "POOL-I1: it is no such range of the arena", &at, pool->bases[index].v);
    }
    for (; at.chunk < PAGE_POOL_FANOUT; at.chunk++) {
        check_chunk(c, &at);
    }
}

/* What the pool's words say of a span, whether it is there or not. */
static void check_words(struct check *c, unsigned index)
{
    const struct page_pool *pool = c->pool;
    const struct page_pool_span *span = index < pool->span_count ? pool->spans[index] : NULL;
    for (unsigned kind = 0; kind <= PAGE_POOL_KINDS; kind++) {
        const bool is_idle = kind == PAGE_POOL_KINDS;
        const uint64_t word = is_idle ? pool->idle : pool->room[kind];
        const uint64_t below = span == NULL ? 0 : is_idle ? span->idle : span->room[kind];
        if ((word >> index & 1) != (below != 0)) {
            wrong(c, "POOL-I2: the pool's word is wrong", &(struct page_pool_place){.index = index}, word);
        }
    }
}

enum status page_pool_check(const struct page_pool *pool, struct sink *out)
{
    struct check c = {.pool = pool, .out = out};
    for (unsigned index = 0; index < pool->span_count; index++) {
        check_span(&c, index);
    }
    for (unsigned index = 0; index < PAGE_POOL_FANOUT; index++) {
        check_words(&c, index);
    }
    if (c.used != pool->used) {
        c.wrong++;
        if (out != NULL) {
            sink_printf(out, "POOL-I3: %lu pieces of the pool '%s' are in use, counted as %lu\n", c.used, pool->tag,
                        pool->used);
        }
    }
    return c.wrong == 0 ? STATUS_OK : STATUS_CORRUPT;
}
