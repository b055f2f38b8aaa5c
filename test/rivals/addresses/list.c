/*
 * One list of all ranges in address order, used and free: first fit. What allocates walks to the first that is long
 * enough, what frees or looks up walks to the range it wants. A range that is freed is merged with its neighbours.
 */
#include "rivals/addresses/addresses.h"

struct node {
    struct node *next, *prev;
    uint64_t first, pages;
    bool is_used;
};

struct list {
    struct addresses head;
    struct node *all; /* they tile the range */
    struct addresses_pool nodes;
};

/* A node right behind `n`, for its pages from `pages` on; n keeps the others. */
static struct node *split_behind(struct list *l, struct node *n, uint64_t pages)
{
    struct node *behind = addresses_pool_take(&l->head, &l->nodes);
    *behind = (struct node){n->next, n, n->first + pages, n->pages - pages, false};
    if (n->next != NULL) {
        n->next->prev = behind;
    }
    n->next = behind;
    n->pages = pages;
    return behind;
}

/* The two are one from now on. */
static void join(struct list *l, struct node *n, struct node *next)
{
    n->pages += next->pages;
    n->next = next->next;
    if (n->next != NULL) {
        n->next->prev = n;
    }
    addresses_pool_give(&l->nodes, next);
}

static enum status start(void *memory, size_t bytes, uint64_t pages)
{
    if (pages == 0) {
        return STATUS_INVALID;
    }
    struct list *l = addresses_open(memory, bytes, sizeof *l, pages);
    if (l == NULL) {
        return STATUS_NOMEM;
    }
    l->nodes.node_bytes = sizeof(struct node);
    if (!addresses_pool_has(&l->head, &l->nodes, 1)) {
        return STATUS_NOMEM;
    }
    l->all = addresses_pool_take(&l->head, &l->nodes);
    *l->all = (struct node){.pages = pages};
    return STATUS_OK;
}

static enum status alloc(struct addresses *a, uint64_t pages, unsigned align_log2, uint64_t *first)
{
    struct list *l = ADDRESSES_STATE(list, a);
    addresses_begin(a);
    if (!addresses_is_valid(pages, align_log2)) {
        return STATUS_INVALID;
    }
    enum { CUT_NODES = 2 };
    if (!addresses_pool_has(a, &l->nodes, CUT_NODES)) {
        return STATUS_NOMEM;
    }
    for (struct node *n = l->all; n != NULL; n = n->next) {
        addresses_step(a);
        uint64_t skip = addresses_align_up(n->first, align_log2) - n->first;
        if (n->is_used || skip >= n->pages || n->pages - skip < pages) {
            continue;
        }
        n = skip > 0 ? split_behind(l, n, skip) : n;
        if (n->pages > pages) {
            split_behind(l, n, pages);
        }
        n->is_used = true;
        *first = n->first;
        return STATUS_OK;
    }
    return STATUS_NOMEM;
}

/* The used range that holds the page, or null. */
static struct node *walk_to(struct list *l, uint64_t page)
{
    struct node *n = l->all;
    addresses_step(&l->head);
    while (n != NULL && n->first + n->pages <= page) {
        n = n->next;
        addresses_step(&l->head);
    }
    return n != NULL && n->is_used ? n : NULL;
}

static enum status free_range(struct addresses *a, uint64_t first)
{
    struct list *l = ADDRESSES_STATE(list, a);
    addresses_begin(a);
    struct node *n = walk_to(l, first);
    if (n == NULL || n->first != first) {
        return STATUS_MISUSE;
    }
    n->is_used = false;
    if (n->next != NULL && !n->next->is_used) {
        join(l, n, n->next);
    }
    if (n->prev != NULL && !n->prev->is_used) {
        join(l, n->prev, n);
    }
    return STATUS_OK;
}

static bool find(struct addresses *a, uint64_t page, struct addresses_range *out)
{
    struct list *l = ADDRESSES_STATE(list, a);
    addresses_begin(a);
    const struct node *n = walk_to(l, page);
    if (n == NULL) {
        return false;
    }
    *out = (struct addresses_range){n->first, n->pages};
    return true;
}

const struct addresses_subject ADDRESSES(list) = {"list", start, alloc, free_range, find};
