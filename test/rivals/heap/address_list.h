/*
 * For tags.h: all holes on one list, in address order within a span, the spans' end marks among them. The lowest hole
 * that is long enough is taken: the search walks. A new hole finds its place by two walks at the same time, whichever
 * ends first: along the blocks behind it to the next hole or end mark, which is near where there are many holes; and
 * along the list from the last place, which is near where blocks go in the order they came.
 *
 * Rejected: new holes in front of the list. A free costs nothing then, but of the frames held a quarter less is used.
 */
#ifndef CAIRN_RIVALS_HEAP_ADDRESS_LIST_H
#define CAIRN_RIVALS_HEAP_ADDRESS_LIST_H

#include "rivals/heap/tags.h"

struct address_list {
    struct tags tags;
    struct tags_block *lowest, *last;
    struct tags_block *recent; /* of the list, where the last hole was put; null: anywhere */
};

static inline struct address_list *address_list_of(struct tags *t) { return (struct address_list *)(void *)t; }

/* Between the two; null: nothing is there. */
static inline void address_list_link(struct address_list *l, struct tags_block *prev, struct tags_block *b,
                                     struct tags_block *next)
{
    b->prev = prev;
    b->next = next;
    *(prev == NULL ? &l->lowest : &prev->next) = b;
    *(next == NULL ? &l->last : &next->prev) = b;
}

/* Whatever lies between two neighbours of the list is in their span. */
static inline bool address_list_is_behind(const struct tags_block *hole, const struct tags_block *b)
{
    return b != NULL && (b->head & TAGS_END) == 0 && b < hole && hole < b->next;
}

static inline void address_list_insert(struct tags *t, struct tags_block *hole)
{
    struct address_list *l = address_list_of(t);
    struct tags_block *next = tags_behind(hole), *near = l->recent;
    while ((next->head & (TAGS_HOLE | TAGS_END)) == 0) {
        if (address_list_is_behind(hole, near)) {
            next = near->next;
            break;
        }
        next = tags_behind(next);
        near = near == NULL ? NULL : near < hole ? near->next : near->prev;
    }
    address_list_link(l, next->prev, hole, next);
    l->recent = hole;
}

static inline void address_list_remove(struct tags *t, struct tags_block *b)
{
    struct address_list *l = address_list_of(t);
    *(b->prev == NULL ? &l->lowest : &b->prev->next) = b->next;
    *(b->next == NULL ? &l->last : &b->next->prev) = b->prev;
    l->recent = l->recent == b ? b->prev : l->recent;
}

static inline struct tags_block *address_list_find(struct tags *t, size_t bytes)
{
    struct tags_block *b = address_list_of(t)->lowest;
    while (b != NULL && tags_bytes(b) < bytes) {
        b = b->next;
    }
    return b;
}

static inline void address_list_end_moved(struct tags *t, struct tags_block *from, struct tags_block *to)
{
    struct address_list *l = address_list_of(t);
    if (from == NULL) {
        address_list_link(l, l->last, to, NULL);
    } else if (to == NULL) {
        address_list_remove(t, from);
    } else {
        address_list_link(l, from->prev, to, from->next);
        l->recent = l->recent == from ? NULL : l->recent;
    }
}

static const struct tags_index address_list_index = {address_list_insert, address_list_remove, address_list_find,
                                                     address_list_end_moved};

static inline void address_list_start(void *state, struct heap_source source)
{
    memset(state, 0, sizeof(struct address_list));
    ((struct way *)state)->source = source;
}

#endif
