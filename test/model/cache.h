/* What a model CPU remembers. A table with open addressing, emptied at once by a new epoch. */
#ifndef CAIRN_TEST_MODEL_CACHE_H
#define CAIRN_TEST_MODEL_CACHE_H

#include "model/model.h"

bool cache_find(const struct model_cache *c, uint64_t key, pte_t *value);
void cache_add(struct model_cache *c, uint64_t key, pte_t value);
void cache_remove(struct model_cache *c, uint64_t key);
/* All that is kept now, in no order that matters. */
void cache_each(struct model_cache *c, void (*visit)(struct model *m, const struct model_cached *e), struct model *m);
static inline void cache_empty(struct model_cache *c) { c->epoch++, c->used = 0; }

#endif
