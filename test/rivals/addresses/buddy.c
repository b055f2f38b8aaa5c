/*
 * Buddies: blocks of 1 page times a power of two (binary), or of 16 KiB times a power of four up to 4 GiB (4-way).
 *
 * A tree of nodes: a node that is split has 2 or 4 children, which come and go together. Wholly free blocks are on a
 * list by order, and one word says which lists are not empty. A request takes the smallest block that is large enough
 * and splits it, a level a step, until it has the order that holds the request; the rest of the block is lost until it
 * is free again. A free descends from the root to the block, and merges upwards while all siblings are free: here a
 * table of states a page would save the descent, and cost memory in proportion to the range.
 *
 * Roots. Binary: one, so the range is a power of two. 4-way: pieces of 4 GiB; what is larger gets neighbouring pieces,
 * found by walking over all of them.
 */
#include "rivals/addresses/addresses.h"

enum { ORDERS_MAX = 36, WAYS_MAX = 4 };
enum state { FREE, SPLIT, USED, IN_RUN }; /* IN_RUN: a root that is not the first of its run */

struct node {
    struct node *next, *back; /* free: the list of its order */
    struct node *parent;
    struct node *children; /* of one that is split */
    uint64_t first;
    uint16_t order, state;
    uint32_t run; /* roots that are handed out together, of the first of them */
};

struct buddy {
    struct addresses head;
    unsigned ways_log2, least_log2, top; /* pages of order k: 1 << (least_log2 + k * ways_log2); roots have order top */
    struct node *roots;
    uint64_t root_count;
    uint64_t free_orders; /* bit k: free[k] is not empty */
    struct node *free[ORDERS_MAX];
    struct addresses_pool families; /* the children of one node */
};

static unsigned order_log2(const struct buddy *b, unsigned order) { return b->least_log2 + order * b->ways_log2; }
static unsigned ways(const struct buddy *b) { return 1U << b->ways_log2; }

static void add_free(struct buddy *b, struct node *n)
{
    struct node *head = b->free[n->order];
    n->state = FREE;
    n->next = head;
    n->back = NULL;
    if (head != NULL) {
        head->back = n;
    }
    b->free[n->order] = n;
    b->free_orders |= 1ULL << n->order;
}

static void remove_free(struct buddy *b, struct node *n)
{
    if (n->next != NULL) {
        n->next->back = n->back;
    }
    if (n->back != NULL) {
        n->back->next = n->next;
        return;
    }
    b->free[n->order] = n->next;
    if (n->next == NULL) {
        b->free_orders &= ~(1ULL << n->order);
    }
}

static enum status start(void *memory, size_t bytes, uint64_t pages, unsigned ways_log2, unsigned least_log2,
                         unsigned top)
{
    struct buddy *b = addresses_open(memory, bytes, sizeof *b, pages);
    if (b == NULL) {
        return STATUS_NOMEM;
    }
    b->ways_log2 = ways_log2;
    b->least_log2 = least_log2;
    b->top = top;
    b->root_count = pages >> order_log2(b, top);
    b->families.node_bytes = ways(b) * sizeof(struct node);
    b->roots = addresses_take(&b->head, b->root_count * sizeof(struct node));
    if (b->roots == NULL) {
        return STATUS_NOMEM;
    }
    for (uint64_t i = b->root_count; i-- > 0;) { /* the lowest one is handed out first */
        b->roots[i] = (struct node){.first = i << order_log2(b, top), .order = (uint16_t)top};
        add_free(b, &b->roots[i]);
    }
    return STATUS_OK;
}

static enum status start2(void *memory, size_t bytes, uint64_t pages)
{
    if (pages == 0 || (pages & (pages - 1)) != 0 || addresses_log2_down(pages) >= ORDERS_MAX) {
        return STATUS_INVALID;
    }
    return start(memory, bytes, pages, 1, 0, addresses_log2_down(pages));
}

static enum status start4(void *memory, size_t bytes, uint64_t pages)
{
    const uint64_t least = 16 * KIB / PAGE_BYTES, most = 4 * GIB / PAGE_BYTES;
    unsigned least_log2 = addresses_log2_down(least), most_log2 = addresses_log2_down(most);
    if (pages == 0 || pages % most != 0) {
        return STATUS_INVALID;
    }
    return start(memory, bytes, pages, 2, least_log2, (most_log2 - least_log2) / 2);
}

/* => its first child, in use; the others are free. */
static struct node *split(struct buddy *b, struct node *n)
{
    addresses_step(&b->head);
    addresses_split(&b->head);
    n->state = SPLIT;
    n->children = addresses_pool_take(&b->head, &b->families);
    unsigned order = n->order - 1U;
    for (unsigned i = ways(b); i-- > 0;) {
        struct node *child = &n->children[i];
        *child = (struct node){.parent = n, .order = (uint16_t)order};
        child->first = n->first + ((uint64_t)i << order_log2(b, order));
        if (i > 0) {
            add_free(b, child);
        }
    }
    return n->children;
}

/* Neighbouring roots, the first fit. */
static enum status alloc_roots(struct buddy *b, uint64_t count, uint64_t *first)
{
    uint64_t run = 0;
    for (uint64_t i = 0; i < b->root_count; i++) {
        addresses_step(&b->head);
        run = b->roots[i].state == FREE ? run + 1 : 0;
        if (run < count) {
            continue;
        }
        struct node *n = &b->roots[i + 1 - count];
        for (uint64_t j = 0; j < count; j++) {
            addresses_step(&b->head);
            remove_free(b, &n[j]);
            n[j].state = j == 0 ? USED : IN_RUN;
        }
        n->run = (uint32_t)count;
        *first = n->first;
        return STATUS_OK;
    }
    return STATUS_NOMEM;
}

static enum status alloc(struct addresses *a, uint64_t pages, unsigned align_log2, uint64_t *first)
{
    struct buddy *b = ADDRESSES_STATE(buddy, a);
    addresses_begin(a);
    if (!addresses_is_valid(pages, align_log2)) {
        return STATUS_INVALID;
    }
    if (pages > a->pages) {
        return STATUS_NOMEM;
    }
    unsigned log2 = addresses_log2_up(pages), order = 0;
    log2 = log2 > align_log2 ? log2 : align_log2;
    while (order_log2(b, order) < log2) {
        order++;
    }
    if (order > b->top) {
        return alloc_roots(b, ((pages - 1) >> order_log2(b, b->top)) + 1, first);
    }
    addresses_step(a); /* the word */
    uint64_t orders = b->free_orders >> order;
    unsigned splits = orders == 0 ? 0 : (unsigned)__builtin_ctzll(orders);
    if (orders == 0 || !addresses_pool_has(a, &b->families, splits)) {
        return STATUS_NOMEM;
    }
    struct node *n = b->free[order + splits];
    addresses_step(a);
    remove_free(b, n);
    while (n->order > order) {
        n = split(b, n);
    }
    n->state = USED;
    n->run = 1;
    *first = n->first;
    return STATUS_OK;
}

/* The block that holds the page, not split; null: outside. */
static struct node *descend(struct buddy *b, uint64_t page)
{
    if (page >= b->root_count << order_log2(b, b->top)) {
        return NULL;
    }
    struct node *n = &b->roots[page >> order_log2(b, b->top)];
    addresses_step(&b->head);
    while (n->state == SPLIT) {
        addresses_step(&b->head);
        n = &n->children[(page - n->first) >> order_log2(b, n->order - 1U)];
    }
    return n;
}

/* `n`, on no list, is free from now on. */
static void merge(struct buddy *b, struct node *n)
{
    n->state = FREE;
    for (struct node *parent = n->parent; parent != NULL; n = parent, parent = n->parent) {
        struct node *family = parent->children;
        addresses_step(&b->head);
        for (unsigned i = 0; i < ways(b); i++) {
            if (family[i].state != FREE) {
                add_free(b, n);
                return;
            }
        }
        for (unsigned i = 0; i < ways(b); i++) {
            if (&family[i] != n) {
                remove_free(b, &family[i]);
            }
        }
        addresses_pool_give(&b->families, family);
        parent->state = FREE;
    }
    add_free(b, n);
}

static enum status free_range(struct addresses *a, uint64_t first)
{
    struct buddy *b = ADDRESSES_STATE(buddy, a);
    addresses_begin(a);
    struct node *n = descend(b, first);
    if (n == NULL || n->state != USED || n->first != first) {
        return STATUS_MISUSE;
    }
    for (uint32_t i = 1; i < n->run; i++) {
        addresses_step(a);
        add_free(b, &n[i]);
    }
    merge(b, n);
    return STATUS_OK;
}

static bool find(struct addresses *a, uint64_t page, struct addresses_range *out)
{
    struct buddy *b = ADDRESSES_STATE(buddy, a);
    addresses_begin(a);
    struct node *n = descend(b, page);
    if (n == NULL || n->state == FREE) {
        return false;
    }
    while (n->state == IN_RUN) {
        addresses_step(a);
        n--;
    }
    *out = (struct addresses_range){n->first, (uint64_t)n->run << order_log2(b, n->order)};
    return true;
}

const struct addresses_subject ADDRESSES(buddy2) = {"buddy2", start2, alloc, free_range, find};
const struct addresses_subject ADDRESSES(buddy4) = {"buddy4", start4, alloc, free_range, find};
