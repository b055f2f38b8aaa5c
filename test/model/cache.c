/* What a model CPU remembers. */
#include "model/cache.h"

static size_t place_of(uint64_t key) { return (size_t)(key * 0x9E3779B97F4A7C15 >> (64 - MODEL_CACHE_LOG2)); }

/* The place of `key`, or the empty one where it would go. */
static struct model_cached *look_up(const struct model_cache *c, uint64_t key)
{
    size_t at = place_of(key);
    while (c->entry[at].epoch == c->epoch && c->entry[at].key != key) {
        at = (at + 1) % MODEL_CACHE_ENTRIES;
    }
    return &c->entry[at];
}

bool cache_find(const struct model_cache *c, uint64_t key, pte_t *value)
{
    const struct model_cached *e = look_up(c, key);
    if (e->epoch != c->epoch || e->gone) {
        return false;
    }
    *value = e->value;
    return true;
}

void cache_add(struct model_cache *c, uint64_t key, pte_t value)
{
    if (c->used > MODEL_CACHE_ENTRIES / 2) {
        cache_empty(c); /* a CPU may forget at any time; this one does only when it is full */
    }
    struct model_cached *e = look_up(c, key);
    if (e->epoch != c->epoch) {
        c->order[c->used++] = (uint32_t)(e - c->entry);
    }
    *e = (struct model_cached){.key = key, .epoch = c->epoch, .value = value};
}

void cache_remove(struct model_cache *c, uint64_t key)
{
    struct model_cached *e = look_up(c, key);
    if (e->epoch == c->epoch) {
        e->gone = true;
    }
}

void cache_each(struct model_cache *c, void (*visit)(struct model *m, const struct model_cached *e), struct model *m)
{
    for (size_t i = 0; i < c->used; i++) {
        const struct model_cached *e = &c->entry[c->order[i]];
        if (!e->gone) {
            visit(m, e);
        }
    }
}
