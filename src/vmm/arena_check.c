/*
 * The arena's validator: ARENA-I1 to I8. The list in address order is the view that the others are held against: the
 * index, the lists by size, the stacks of the cache, the counters.
 */
#include "vmm/arena_node.h"

enum { WORD_BITS = 8 * sizeof(uint64_t) };

static enum status corrupt(struct sink *out, const char *invariant, uint64_t at, uint64_t found, uint64_t expected)
{
    if (out != NULL) {
        sink_printf(out, "%s: at %#lx: %#lx where %#lx is expected\n", invariant, at, found, expected);
    }
    return STATUS_CORRUPT;
}

/* Counted along the list in address order. */
struct found {
    uint64_t used_pages, used, cached, free;
    bool kept; /* the span that is kept was met */
};

/* Where a tiling has come to: all of the arena, or a span. */
struct tiling {
    uint64_t at, end;
};

/* A mark: the span before it is tiled, and its own is one that the arena may have. */
static enum status check_mark(const struct arena *a, const struct arena_node *n, struct sink *out, struct tiling *t)
{
    const npages_t pages = a->spans.get == NULL ? npages(0) : arena_span_pages(a, n);
    if (t->at != t->end || n->pages.v != 0 || n->base.v < t->end) {
        return corrupt(out, "ARENA-I1 nodes end at a span's end", n->base.v, t->at, t->end);
    }
    if (pages.v == 0 || (vaddr_page_number(n->base) & (a->spans.pages.v - 1)) != 0 || n->base.v < a->base.v ||
        n->base.v >= a->end.v || pages.v > bytes_to_pages_down(a->end.v - n->base.v).v) {
        return corrupt(out, "ARENA-I8 place and size of a span", n->base.v, pages.v, a->spans.pages.v);
    }
    *t = (struct tiling){n->base.v, vaddr_add_pages(n->base, pages.v).v};
    return STATUS_OK;
}

/* A span that is wholly free is the one that is kept. */
static enum status check_kept(const struct arena *a, const struct arena_node *n, struct sink *out, struct found *f)
{
    const struct arena_node *mark = n->prev;
    if (n->state != ARENA_FREE || mark == NULL || mark->state != ARENA_SPAN ||
        n->pages.v != arena_span_pages(a, mark).v) {
        return STATUS_OK;
    }
    f->kept = true;
    return mark == a->kept && n->pages.v == a->spans.pages.v
               ? STATUS_OK
               : corrupt(out, "ARENA-I8 a span that is free is the kept one", n->base.v, n->pages.v,
                         a->kept == NULL ? 0 : a->kept->base.v);
}

static enum status check_node(const struct arena *a, const struct arena_node *n, struct sink *out, struct tiling *t,
                              struct found *f)
{
    const struct arena_node *before = n->prev;
    if (n->state == ARENA_SPAN) {
        return check_mark(a, n, out, t);
    }
    if (n->base.v != t->at || n->pages.v == 0 || n->pages.v > bytes_to_pages_down(t->end - t->at).v) {
        return corrupt(out, "ARENA-I1 nodes tile the arena", n->base.v, n->pages.v, t->at);
    }
    if (before != NULL && before->state == ARENA_FREE && n->state == ARENA_FREE) {
        return corrupt(out, "ARENA-I2 no two free neighbours", n->base.v, n->pages.v, before->pages.v);
    }
    if (n->state == ARENA_USED && n->tag == NULL) {
        return corrupt(out, "ARENA-I1 what is used has a tag", n->base.v, 0, 1);
    }
    if (n->state != ARENA_FREE && arena_index_find(a, n->base) != n) {
        return corrupt(out, "ARENA-I4 the index has no such range", n->base.v,
                       ptr_to_vaddr(arena_index_find(a, n->base)).v, ptr_to_vaddr(n).v);
    }
    f->used_pages += n->state == ARENA_USED ? n->pages.v : 0;
    f->used += n->state == ARENA_USED;
    f->cached += n->state == ARENA_CACHED;
    f->free += n->state == ARENA_FREE;
    t->at = node_end(n);
    return check_kept(a, n, out, f);
}

static enum status check_list(const struct arena *a, struct sink *out, struct found *f)
{
    struct tiling t = {a->base.v, a->spans.get == NULL ? a->end.v : a->base.v};
    const struct arena_node *before = NULL;
    for (const struct arena_node *n = a->first; n != NULL; before = n, n = n->next) {
        if (n->prev != before) {
            return corrupt(out, "ARENA-I1 a node's way back", n->base.v, ptr_to_vaddr(n->prev).v,
                           ptr_to_vaddr(before).v);
        }
        enum status s = check_node(a, n, out, &t, f);
        if (s != STATUS_OK) {
            return s;
        }
    }
    if (f->kept != (a->kept != NULL)) {
        return corrupt(out, "ARENA-I8 the span that is kept is free", 0, f->kept, a->kept != NULL);
    }
    return t.at == t.end ? STATUS_OK : corrupt(out, "ARENA-I1 nodes end at the arena's end", a->end.v, t.at, t.end);
}

static enum status check_counters(const struct arena *a, struct sink *out, const struct found *f)
{
    if (f->used_pages == a->used.v && f->used == a->ranges) {
        return STATUS_OK;
    }
    if (out != NULL) {
        sink_printf(out, "ARENA-I3: %lu pages in %lu ranges; the counters say %lu, %lu\n", f->used_pages, f->used,
                    a->used.v, (uint64_t)a->ranges);
    }
    return STATUS_CORRUPT;
}

/* The index node and all below. `left`: ranges that may still be met. Each range met is in the list: base and state. */
static enum status check_index(const struct arena *a, const struct arena_index *t, struct sink *out, uint64_t *left)
{
    if (t->depth > a->index_below || (t->present == 0 && t->parent != NULL)) {
        return corrupt(out, "ARENA-I4 depth and words of an index node", t->depth, t->present, a->index_below);
    }
    for (unsigned i = 0; i < INDEX_SLOTS; i++) {
        uint64_t word = t->word[i];
        if ((word != 0) != (t->present >> i & 1)) {
            return corrupt(out, "ARENA-I4 the bit of a word", i, t->present, word);
        }
        if (index_leads_below(word)) {
            const struct arena_index *below = index_below(word);
            if (below->parent != t || below->parent_slot != i || below->depth != t->depth + 1U) {
                return corrupt(out, "ARENA-I4 an index node's way back", below->depth, below->parent_slot, i);
            }
            enum status s = check_index(a, below, out, left); /* five levels deep at most */
            if (s != STATUS_OK) {
                return s;
            }
        } else if (word != 0) {
            const struct arena_node *n = index_node(word);
            if (n->state == ARENA_FREE || *left == 0) {
                return corrupt(out, "ARENA-I4 a range of the index is neither used nor cached", n->base.v, n->state,
                               *left);
            }
            --*left;
        }
    }
    return STATUS_OK;
}

static enum status check_sizes(const struct arena *a, struct sink *out, const struct found *f)
{
    uint64_t met = 0;
    for (unsigned class = 0; class < ARENA_CLASSES; class++) {
        const struct arena_node *back = NULL;
        for (const struct arena_node *n = a->classes[class]; n != NULL; back = n, n = n->peer) {
            if (++met > f->free || n->state != ARENA_FREE || n->back != back || arena_size_class(n->pages.v) != class) {
                return corrupt(out, "ARENA-I5 a free range on the list of its class", n->base.v, n->pages.v, class);
            }
        }
        bool bit = (a->class_map[class / WORD_BITS] >> class % WORD_BITS & 1) != 0;
        if (bit != (a->classes[class] != NULL)) {
            return corrupt(out, "ARENA-I5 the bit of a class", class, bit, !bit);
        }
    }
    for (unsigned i = 0; i < ARENA_CLASS_WORDS; i++) {
        if ((a->class_words >> i & 1) != (a->class_map[i] != 0)) {
            return corrupt(out, "ARENA-I5 the bit of a word of bits", i, a->class_words, a->class_map[i]);
        }
    }
    return met == f->free ? STATUS_OK : corrupt(out, "ARENA-I5 free ranges on lists", 0, met, f->free);
}

static enum status check_cache(const struct arena *a, struct sink *out, const struct found *f)
{
    uint64_t met = 0;
    for (unsigned class = 0; class < ARENA_CACHED_CLASSES; class++) {
        const unsigned most = arena_stack_room(class);
        uint64_t on_stack = 0;
        for (const struct arena_node *n = a->cache[class]; n != NULL; n = n->peer) {
            if (++on_stack > most || n->state != ARENA_CACHED || arena_stack(n->pages.v) != class ||
                n->stack != class) {
                return corrupt(out, "ARENA-I6 a range on the stack of its class", n->base.v, n->pages.v, class);
            }
        }
        if (on_stack + a->room[class] != most) {
            return corrupt(out, "ARENA-I6 ranges on a stack", class, on_stack, a->room[class]);
        }
        met += on_stack;
    }
    return met == f->cached ? STATUS_OK : corrupt(out, "ARENA-I6 cached ranges on stacks", 0, met, f->cached);
}

static enum status check_reserve(const struct arena *a, struct sink *out)
{
    const struct arena_reserve *r = a->reserve;
    uint64_t nodes = (uint64_t)(r->fresh_end - r->fresh), indexes = 0;
    for (const struct arena_node *n = r->nodes; n != NULL && nodes <= r->node_count; n = n->next) {
        nodes++;
    }
    for (const struct arena_index *t = r->indexes; t != NULL && indexes <= r->index_count; t = t->parent) {
        for (unsigned i = 0; i < INDEX_SLOTS; i++) {
            if (t->word[i] != 0 || t->present != 0) {
                return corrupt(out, "ARENA-I7 a spare index node is empty", i, t->word[i], 0);
            }
        }
        indexes++;
    }
    if (nodes != r->node_count) {
        return corrupt(out, "ARENA-I7 spare nodes", 0, nodes, r->node_count);
    }
    return indexes == r->index_count
               ? STATUS_OK
               : corrupt(out, "ARENA-I7 spare index nodes", 0, indexes, r->index_count);
}

enum status arena_check(const struct arena *a, struct sink *out)
{
    struct found f = {0};
    enum status s = check_list(a, out, &f);
    if (s == STATUS_OK) {
        s = check_counters(a, out, &f);
    }
    uint64_t left = f.used + f.cached;
    if (s == STATUS_OK) {
        s = check_index(a, a->index, out, &left);
    }
    if (s == STATUS_OK && left != 0) {
        s = corrupt(out, "ARENA-I4 ranges missing in the index", 0, left, 0);
    }
    if (s == STATUS_OK) {
        s = check_sizes(a, out, &f);
    }
    if (s == STATUS_OK) {
        s = check_cache(a, out, &f);
    }
    return s == STATUS_OK ? check_reserve(a, out) : s;
}
