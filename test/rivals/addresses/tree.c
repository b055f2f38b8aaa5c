/*
 * A balanced tree (AVL) of the ranges in use by their first pages. Each node knows the gap behind its range, and the
 * largest gap in its subtree: so the lowest gap that is long enough is found on one way down, first fit in O(log n).
 * One node stands for the beginning of all: no pages, in use for ever, and behind it the first gap.
 *
 * An aligned request takes the lowest gap that is long enough if its place is in it, else the lowest one in which any
 * address would do. So it may be refused although a gap with a lucky address is there.
 */
#include "rivals/addresses/addresses.h"

struct node {
    struct node *child[2]; /* lower, higher */
    uint64_t first, pages;
    uint64_t gap, largest; /* pages free behind the range; the most in the subtree */
    int height;
};

struct tree {
    struct addresses head;
    struct node *root;
    struct addresses_pool nodes;
};

/* ---- Balance ---- */

static int height(const struct node *n) { return n != NULL ? n->height : 0; }
static uint64_t largest(const struct node *n) { return n != NULL ? n->largest : 0; }
static int lean(const struct node *n) { return height(n->child[1]) - height(n->child[0]); }

/* The sums of its children and of its own. */
static void sum_up(struct node *n)
{
    const struct node *low = n->child[0], *high = n->child[1];
    n->height = 1 + (height(low) > height(high) ? height(low) : height(high));
    uint64_t below = largest(low) > largest(high) ? largest(low) : largest(high);
    n->largest = n->gap > below ? n->gap : below;
}

/* The child of that side goes up. => it. */
static struct node *rotate(struct node *n, int side)
{
    struct node *up = n->child[side];
    n->child[side] = up->child[!side];
    up->child[!side] = n;
    sum_up(n);
    sum_up(up);
    return up;
}

static struct node *balance(struct tree *t, struct node *n)
{
    addresses_step(&t->head);
    sum_up(n);
    int tilt = lean(n);
    if (tilt >= -1 && tilt <= 1) {
        return n;
    }
    int side = tilt > 0;
    if (lean(n->child[side]) == (side ? -1 : 1)) {
        n->child[side] = rotate(n->child[side], !side);
    }
    return rotate(n, side);
}

static struct node *insert(struct tree *t, struct node *n, struct node *new)
{
    if (n == NULL) {
        sum_up(new);
        return new;
    }
    addresses_step(&t->head);
    int side = new->first >= n->first; /* the beginning of all may have the same first page */
    n->child[side] = insert(t, n->child[side], new);
    return balance(t, n);
}

/* => the subtree without its lowest node, which is told. */
static struct node *without_lowest(struct tree *t, struct node *n, struct node **lowest)
{
    addresses_step(&t->head);
    if (n->child[0] == NULL) {
        *lowest = n;
        return n->child[1];
    }
    n->child[0] = without_lowest(t, n->child[0], lowest);
    return balance(t, n);
}

/* `gone`, which is in the subtree. => the subtree without it. */
static struct node *without(struct tree *t, struct node *n, const struct node *gone)
{
    addresses_step(&t->head);
    if (n != gone) {
        int side = gone->first >= n->first;
        n->child[side] = without(t, n->child[side], gone);
        return balance(t, n);
    }
    if (n->child[0] == NULL || n->child[1] == NULL) {
        return n->child[n->child[0] == NULL];
    }
    struct node *next, *higher = without_lowest(t, n->child[1], &next);
    next->child[0] = n->child[0];
    next->child[1] = higher;
    return balance(t, next);
}

/* The gap of `changed` is another one: the sums on the way to it. */
static void sum_up_to(struct tree *t, struct node *n, struct node *changed)
{
    addresses_step(&t->head);
    if (n != changed) {
        sum_up_to(t, n->child[changed->first > n->first || n->pages == 0], changed);
    }
    sum_up(n);
}

/* ---- Calls ---- */

static enum status start(void *memory, size_t bytes, uint64_t pages)
{
    if (pages == 0) {
        return STATUS_INVALID;
    }
    struct tree *t = addresses_open(memory, bytes, sizeof *t, pages);
    if (t == NULL) {
        return STATUS_NOMEM;
    }
    t->nodes.node_bytes = sizeof(struct node);
    if (!addresses_pool_has(&t->head, &t->nodes, 1)) {
        return STATUS_NOMEM;
    }
    t->root = addresses_pool_take(&t->head, &t->nodes);
    *t->root = (struct node){.gap = pages};
    sum_up(t->root);
    return STATUS_OK;
}

/* The lowest range with so long a gap behind it; null: there is none. */
static struct node *lowest_gap(struct tree *t, uint64_t pages)
{
    struct node *n = t->root;
    addresses_step(&t->head);
    if (n->largest < pages) {
        return NULL;
    }
    while (largest(n->child[0]) >= pages || n->gap < pages) {
        n = n->child[largest(n->child[0]) < pages];
        addresses_step(&t->head);
    }
    return n;
}

/* Pages to leave free in its gap before the first aligned one. */
static uint64_t skip_in(const struct node *n, unsigned align_log2)
{
    return addresses_align_up(n->first + n->pages, align_log2) - (n->first + n->pages);
}

static enum status alloc(struct addresses *a, uint64_t pages, unsigned align_log2, uint64_t *first)
{
    struct tree *t = ADDRESSES_STATE(tree, a);
    addresses_begin(a);
    if (!addresses_is_valid(pages, align_log2)) {
        return STATUS_INVALID;
    }
    if (pages > a->pages || !addresses_pool_has(a, &t->nodes, 1)) {
        return STATUS_NOMEM;
    }
    struct node *n = lowest_gap(t, pages);
    if (n != NULL && n->gap - pages < skip_in(n, align_log2)) {
        n = lowest_gap(t, pages + (1ULL << align_log2) - 1);
    }
    if (n == NULL) {
        return STATUS_NOMEM;
    }
    struct node *new = addresses_pool_take(a, &t->nodes);
    uint64_t skip = skip_in(n, align_log2);
    *new = (struct node){.first = n->first + n->pages + skip, .pages = pages, .gap = n->gap - skip - pages};
    n->gap = skip;
    sum_up_to(t, t->root, n);
    t->root = insert(t, t->root, new);
    *first = new->first;
    return STATUS_OK;
}

/* The last range that starts at or below the page, and in *before, unless null, the one before that. */
static struct node *last_below(struct tree *t, uint64_t page, struct node **before)
{
    struct node *last = NULL, *previous = NULL;
    for (struct node *n = t->root; n != NULL;) {
        addresses_step(&t->head);
        bool is_below = n->first <= page;
        previous = is_below ? last : previous;
        last = is_below ? n : last;
        n = n->child[is_below];
    }
    if (before != NULL) {
        /* The highest of the lower subtree, if there is one, comes after the last right turn. */
        for (struct node *n = last->child[0]; n != NULL; n = n->child[1]) {
            addresses_step(&t->head);
            previous = n;
        }
        *before = previous;
    }
    return last;
}

static enum status free_range(struct addresses *a, uint64_t first)
{
    struct tree *t = ADDRESSES_STATE(tree, a);
    addresses_begin(a);
    struct node *before, *n = last_below(t, first, &before);
    if (n->first != first || n->pages == 0) {
        return STATUS_MISUSE;
    }
    t->root = without(t, t->root, n);
    before->gap += n->pages + n->gap;
    sum_up_to(t, t->root, before);
    addresses_pool_give(&t->nodes, n);
    return STATUS_OK;
}

static bool find(struct addresses *a, uint64_t page, struct addresses_range *out)
{
    struct tree *t = ADDRESSES_STATE(tree, a);
    addresses_begin(a);
    const struct node *n = last_below(t, page, NULL);
    if (page - n->first >= n->pages) {
        return false;
    }
    *out = (struct addresses_range){n->first, n->pages};
    return true;
}

const struct addresses_subject ADDRESSES(tree) = {"tree", start, alloc, free_range, find};
