/* The arena's index (arena.c, section 4): which used or cached range an address is in. */
#include "vmm/arena_node.h"

static unsigned highest(uint64_t bits) { return 63U - (unsigned)__builtin_clzll(bits); }

/* The last range under these words of `t`. */
static struct arena_node *last_of(const struct arena_index *t, uint64_t words)
{
    uint64_t word = t->word[highest(words)];
    while (index_leads_below(word)) {
        t = index_below(word);
        word = t->word[highest(t->present)];
    }
    return index_node(word);
}

struct arena_node *arena_index_find_below(const struct arena *a, vaddr_t va)
{
    uint64_t key = index_key(a, va), word = ptr_to_vaddr(a->index).v + INDEX_BELOW;
    const struct arena_index *t, *last = NULL; /* the node with the nearest words that are below the way down, */
    uint64_t lower, last_lower = 0;            /* and these */
    do {
        t = index_below(word);
        key = index_next_digit(key);
        lower = t->present & ((1ULL << index_digit(key)) - 1);
        if (lower != 0) {
            last = t;
            last_lower = lower;
        }
        word = t->word[index_digit(key)];
    } while (index_leads_below(word));
    struct arena_node *n = index_node(word);
    if (n != NULL && n->base.v <= va.v) {
        return n;
    }
    return last != NULL ? last_of(last, last_lower) : NULL;
}

static void set(struct arena_index *t, unsigned slot, uint64_t word)
{
    t->word[slot] = word;
    t->present |= 1ULL << slot;
}

/* Both ranges are under `slot` of `t`: index nodes below it until their digits differ. Keys: the digits up to there are
 * turned away. */
static void tell_apart(struct arena *a, struct arena_index *t, uint64_t key, struct arena_node *n, uint64_t other_key,
                       struct arena_node *other)
{
    do {
        struct arena_index *below = arena_take_index(a->reserve);
        below->parent = t;
        below->parent_slot = (uint16_t)index_digit(key);
        below->depth = (uint16_t)(t->depth + 1);
        set(t, index_digit(key), ptr_to_vaddr(below).v + INDEX_BELOW);
        t = below;
        key = index_next_digit(key);
        other_key = index_next_digit(other_key);
    } while (index_digit(key) == index_digit(other_key));
    set(t, index_digit(key), ptr_to_vaddr(n).v);
    set(t, index_digit(other_key), ptr_to_vaddr(other).v);
}

void arena_index_insert(struct arena *a, struct arena_node *n)
{
    uint64_t key = index_key(a, n->base), word = ptr_to_vaddr(a->index).v + INDEX_BELOW;
    struct arena_index *t;
    do {
        t = index_below(word);
        key = index_next_digit(key);
        word = t->word[index_digit(key)];
    } while (index_leads_below(word));
    if (word == 0) {
        set(t, index_digit(key), ptr_to_vaddr(n).v);
        return;
    }
    struct arena_node *other = index_node(word);
    uint64_t other_key = index_key(a, other->base);
    unsigned turns = INDEX_DIGIT * (t->depth + 1U); /* from 6 to 30: there is a digit left that differs */
    tell_apart(a, t, key, n, other_key << turns | other_key >> (64 - turns), other);
}

void arena_index_remove(struct arena *a, const struct arena_node *n)
{
    uint64_t key = index_key(a, n->base), word = ptr_to_vaddr(a->index).v + INDEX_BELOW;
    struct arena_index *t;
    do {
        t = index_below(word);
        key = index_next_digit(key);
        word = t->word[index_digit(key)];
    } while (index_leads_below(word));
    unsigned slot = index_digit(key);
    t->word[slot] = 0;
    t->present &= ~(1ULL << slot);
    while (t->present == 0 && t->parent != NULL) {
        struct arena_index *gone = t;
        t = gone->parent;
        slot = gone->parent_slot;
        t->word[slot] = 0;
        t->present &= ~(1ULL << slot);
        arena_spare_index(a->reserve, gone);
    }
}
