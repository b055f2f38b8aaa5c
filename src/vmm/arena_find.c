/* Look-ups in the arena: what is at an address, and all that is used (arena.c, section 4). */
#include "vmm/arena_node.h"

/*
 * Behind a range of the index, up to the next one there,
 * is one free range; or, in spans, two at most: what is free of its span, and of the next one, and a span that is kept.
 */
struct arena_node *arena_node_at(const struct arena *a, vaddr_t va)
{
    if (va.v < a->base.v || va.v >= a->end.v) {
        return NULL;
    }
    struct arena_node *n = arena_index_find_below(a, va);
    if (n == NULL) {
        n = a->first;
    }
    while (n != NULL && va.v >= node_end(n)) {
        n = n->next;
    }
    return n != NULL && va.v >= n->base.v ? n : NULL;
}

struct arena_node *arena_used_at(const struct arena *a, vaddr_t base, npages_t pages)
{
    struct arena_node *n = arena_node_at(a, base);
    return n != NULL && n->state == ARENA_USED && pages.v <= bytes_to_pages_down(node_end(n) - base.v).v ? n : NULL;
}

static bool is_open(const struct arena_node *n)
{
    return n != NULL && (n->state == ARENA_FREE || n->state == ARENA_CACHED);
}

bool arena_find(const struct arena *a, vaddr_t va, struct arena_range *out)
{
    const struct arena_node *n = arena_node_at(a, va);
    if (n == NULL) {
        return false;
    }
    *out = (struct arena_range){.base = n->base, .pages = n->pages};
    if (n->state == ARENA_USED) {
        out->tag = n->tag;
        out->kind = n->kind;
        return true;
    }
    for (const struct arena_node *p = n->prev; is_open(p); p = p->prev) {
        out->base = p->base;
        out->pages.v += p->pages.v;
    }
    for (n = n->next; is_open(n); n = n->next) {
        out->pages.v += n->pages.v;
    }
    return true;
}

void arena_visit(const struct arena *a, bool (*visit)(void *ctx, const struct arena_range *range), void *ctx)
{
    for (const struct arena_node *n = a->first; n != NULL; n = n->next) {
        struct arena_range range = {.base = n->base, .pages = n->pages, .tag = n->tag, .kind = n->kind};
        if (n->state == ARENA_USED && !visit(ctx, &range)) {
            return;
        }
    }
}
