/*
 * Boundary tags: what first fit and TLSF's idea have in common.
 *
 * 1. Blocks tile a span. Each begins with a word: its length, a multiple of 16, and flags. What callers hold begins
 *    behind that word and ends at the next one, so a block in use costs 8 bytes and its rounding. A free one, a hole,
 *    keeps two links in what was the caller's, and its length again in its last word:
 *
 *        | head | caller's bytes ...                    | head | next | prev | ...  length | head ...
 *        '---------- in use ---------------------------- '---------- hole -----------------'
 *
 *    A head says whether the block before is a hole, so a free finds both neighbours at once and merges with them: two
 *    holes are never neighbours.
 * 2. A span is a stretch of pages from the source: its record, blocks, and an end mark, a head of length 0. Pages that
 *    happen to lie behind the youngest span lengthen it, up to SPAN_PAGES. The source takes back what it gave as it
 *    gave it, so the record has a bit for each page where a grant begins.
 * 3. Growing. Pages are asked for one block at a time: what it needs, less the hole that the youngest span ends with.
 *    If they do not lie behind it, they go back and the whole need is asked for. Nothing is linked before all is there.
 * 4. Shrinking. Spans without a block in use go back, and of the others the last grants if they hold nothing. Pages in
 *    the middle of a span never do: what the idea pays for a word a block.
 * 5. How holes are found is the difference between those that include this: struct tags_index. All functions here are
 *    inline, so that the compiler sees through it.
 */
#ifndef CAIRN_RIVALS_HEAP_TAGS_H
#define CAIRN_RIVALS_HEAP_TAGS_H

#include "rivals/heap/way.h"

enum {
    TAGS_HOLE = 1,        /* this block is one */
    TAGS_AFTER_HOLE = 2,  /* the block before it is */
    TAGS_END = 4,         /* no block: the span's end */
    TAGS_INSIDE = 8,      /* no block: the rest of the word is the way back to the head of the one around */
    TAGS_FLAGS = 15,
    TAGS_HEAD_BYTES = 8,
    TAGS_LEAST_BYTES = 32, /* of a hole: head, links, length */
    TAGS_SPAN_PAGES = 1024,
    TAGS_SPAN_WORDS = TAGS_SPAN_PAGES / 64,
};
#define TAGS_MOST_BYTES (1UL << 38) /* of a request */

struct tags_block {
    uint64_t head;
    struct tags_block *next, *prev; /* of a hole; and of end marks, for the index */
};

struct tags_span {
    struct tags_span *next; /* older ones */
    uint8_t *end;
    uint64_t begins[TAGS_SPAN_WORDS]; /* bit i: a grant begins at page i. Pages from TAGS_SPAN_PAGES on begin none */
};

struct tags {
    struct way way;
    struct tags_span *spans; /* the youngest first */
};

struct tags_index {
    void (*insert)(struct tags *t, struct tags_block *hole);
    void (*remove)(struct tags *t, struct tags_block *hole);
    /* A hole of at least so many bytes, still in the index; null: none is found. */
    struct tags_block *(*find)(struct tags *t, size_t bytes);
    /* A span's end mark is somewhere else now; from null: a new one; to null: gone. Both addresses can be written. */
    void (*end_moved)(struct tags *t, struct tags_block *from, struct tags_block *to);
};

#define TAGS_INLINE __attribute__((always_inline)) static inline

/* ---- Blocks ---- */

TAGS_INLINE size_t tags_bytes(const struct tags_block *b) { return b->head & ~(uint64_t)TAGS_FLAGS; }
TAGS_INLINE struct tags_block *tags_at(const void *base, size_t offset)
{
    return (struct tags_block *)((uintptr_t)base + offset);
}
TAGS_INLINE struct tags_block *tags_behind(const struct tags_block *b) { return tags_at(b, tags_bytes(b)); }
TAGS_INLINE struct tags_block *tags_of(const void *block) { return tags_at(block, -(size_t)TAGS_HEAD_BYTES); }
TAGS_INLINE void *tags_body(const struct tags_block *b) { return tags_at(b, TAGS_HEAD_BYTES); }
TAGS_INLINE uint64_t *tags_tail(const struct tags_block *b) /* of a hole: its length again */
{
    return (uint64_t *)tags_at(b, tags_bytes(b) - sizeof(uint64_t));
}
TAGS_INLINE size_t tags_need(size_t bytes)
{
    const size_t need = way_round_up(bytes + TAGS_HEAD_BYTES, HEAP_ALIGN_BYTES);
    return need < TAGS_LEAST_BYTES ? TAGS_LEAST_BYTES : need;
}

/* What lies there becomes a hole of the index; the block behind learns it. Its neighbours are none. */
TAGS_INLINE void tags_open(const struct tags_index *index, struct tags *t, struct tags_block *b, size_t bytes)
{
    b->head = bytes | TAGS_HOLE;
    *tags_tail(b) = bytes;
    tags_behind(b)->head |= TAGS_AFTER_HOLE;
    index->insert(t, b);
}

/* A block of `bytes` that is on no list: use the first `need` of them, the rest becomes a hole. */
TAGS_INLINE void *tags_use(const struct tags_index *index, struct tags *t, struct tags_block *b, size_t bytes,
                           size_t need)
{
    const uint64_t flags = b->head & TAGS_AFTER_HOLE;
    if (bytes - need >= TAGS_LEAST_BYTES) {
        b->head = need | flags;
        tags_open(index, t, tags_behind(b), bytes - need);
    } else {
        b->head = bytes | flags;
        tags_behind(b)->head &= ~(uint64_t)TAGS_AFTER_HOLE;
    }
    return tags_body(b);
}

/* ---- Spans ---- */

TAGS_INLINE uint8_t *tags_page(const struct tags_span *s, size_t page)
{
    return vaddr_to_ptr(vaddr_add_pages(ptr_to_vaddr(s), page));
}
TAGS_INLINE size_t tags_pages(const struct tags_span *s, const void *end)
{
    return bytes_to_pages_down((uintptr_t)end - (uintptr_t)s).v;
}
TAGS_INLINE struct tags_block *tags_first(const struct tags_span *s)
{
    return tags_at(s, way_round_up(sizeof *s, HEAP_ALIGN_BYTES) + TAGS_HEAD_BYTES);
}
/* Far enough from the end that an index can keep links in it; its body is aligned like any other's. */
TAGS_INLINE struct tags_block *tags_end(const uint8_t *span_end)
{
    return tags_at(span_end, -(size_t)(TAGS_LEAST_BYTES - TAGS_HEAD_BYTES));
}
enum { TAGS_SPAN_COST = sizeof(struct tags_span) + TAGS_LEAST_BYTES + HEAP_ALIGN_BYTES };

/* The hole that the span ends with; null: none. */
TAGS_INLINE struct tags_block *tags_last_hole(const struct tags_span *s)
{
    const struct tags_block *end = tags_end(s->end);
    return (end->head & TAGS_AFTER_HOLE) == 0 ? NULL : tags_at(end, -((const uint64_t *)end)[-1]);
}

/* The pages lie behind the span. => a block up to its new end, on no list. */
TAGS_INLINE struct tags_block *tags_lengthen(const struct tags_index *index, struct tags *t, struct tags_span *s,
                                             npages_t pages)
{
    struct tags_block *b = tags_end(s->end), *hole = tags_last_hole(s);
    const size_t page = tags_pages(s, s->end);
    s->begins[page / 64] |= 1UL << page % 64;
    s->end = tags_page(s, page + pages.v);
    index->end_moved(t, b, tags_end(s->end));
    tags_end(s->end)->head = TAGS_END;
    if (hole != NULL) {
        index->remove(t, hole);
        b = hole;
    }
    b->head = (uintptr_t)tags_end(s->end) - (uintptr_t)b;
    return b;
}

TAGS_INLINE struct tags_block *tags_begin_span(const struct tags_index *index, struct tags *t, void *base,
                                               npages_t pages)
{
    struct tags_span *s = base;
    *s = (struct tags_span){.next = t->spans, .end = (uint8_t *)base + pages_to_bytes(pages), .begins = {1}};
    t->spans = s;
    index->end_moved(t, NULL, tags_end(s->end));
    tags_end(s->end)->head = TAGS_END;
    struct tags_block *b = tags_first(s);
    b->head = (uintptr_t)tags_end(s->end) - (uintptr_t)b;
    return b;
}

/* A block of at least `need` bytes, its head set, on no list; null: memory is short. */
TAGS_INLINE struct tags_block *tags_grow(const struct tags_index *index, struct tags *t, size_t need)
{
    struct tags_span *s = t->spans;
    const bool can_lengthen = s != NULL && tags_pages(s, s->end) < TAGS_SPAN_PAGES;
    struct tags_block *hole = can_lengthen ? tags_last_hole(s) : NULL;
    if (hole != NULL && tags_bytes(hole) >= need) { /* the index did not find it, since it rounds */
        index->remove(t, hole);
        return hole;
    }
    const npages_t whole = bytes_to_pages_up(need + TAGS_SPAN_COST);
    npages_t pages = can_lengthen ? bytes_to_pages_up(need - (hole == NULL ? 0 : tags_bytes(hole))) : whole;
    void *base = way_get(&t->way, pages, WAY_PAGE_LOG2);
    if (base != NULL && can_lengthen && base != s->end && pages.v < whole.v) {
        way_put(&t->way, base, pages);
        pages = whole;
        base = way_get(&t->way, pages, WAY_PAGE_LOG2);
    }
    if (base == NULL) {
        return NULL;
    }
    return can_lengthen && base == s->end ? tags_lengthen(index, t, s, pages) : tags_begin_span(index, t, base, pages);
}

/* ---- The calls ---- */

TAGS_INLINE void *tags_count(struct tags *t, void *body)
{
    t->way.allocs++;
    t->way.used_bytes += tags_bytes(tags_of(body)) - TAGS_HEAD_BYTES;
    return body;
}

TAGS_INLINE struct tags_block *tags_take(const struct tags_index *index, struct tags *t, size_t need)
{
    struct tags_block *b = index->find(t, need);
    if (b == NULL) {
        return tags_grow(index, t, need);
    }
    index->remove(t, b);
    return b;
}

TAGS_INLINE void *tags_alloc(const struct tags_index *index, struct tags *t, size_t bytes)
{
    if (bytes > TAGS_MOST_BYTES) {
        return NULL;
    }
    const size_t need = tags_need(bytes);
    struct tags_block *b = tags_take(index, t, need);
    return b == NULL ? NULL : tags_count(t, tags_use(index, t, b, tags_bytes(b), need));
}

/* A longer block is found, and what lies before and behind the aligned one becomes holes: nothing is lost. */
TAGS_INLINE void *tags_alloc_carved(const struct tags_index *index, struct tags *t, size_t bytes, size_t align)
{
    if (align <= HEAP_ALIGN_BYTES) {
        return tags_alloc(index, t, bytes);
    }
    if (bytes > TAGS_MOST_BYTES) {
        return NULL;
    }
    const size_t need = tags_need(bytes);
    struct tags_block *b = tags_take(index, t, need + align + TAGS_LEAST_BYTES);
    if (b == NULL) {
        return NULL;
    }
    size_t whole = tags_bytes(b), before = -(uintptr_t)tags_body(b) & (align - 1);
    if (before != 0) {
        before += before < TAGS_LEAST_BYTES ? align : 0;
        struct tags_block *front = b;
        b = tags_at(front, before);
        whole -= before;
        b->head = whole;
        tags_open(index, t, front, before);
    }
    return tags_count(t, tags_use(index, t, b, whole, need));
}

TAGS_INLINE enum status tags_release(const struct tags_index *index, struct tags *t, void *body)
{
    struct tags_block *b = tags_of(body);
    if (((uintptr_t)body & (HEAP_ALIGN_BYTES - 1)) != 0 || (b->head & TAGS_HOLE) != 0) {
        return STATUS_MISUSE;
    }
    size_t bytes = tags_bytes(b);
    t->way.frees++;
    t->way.used_bytes -= bytes - TAGS_HEAD_BYTES;
    struct tags_block *behind = tags_behind(b);
    if ((behind->head & TAGS_HOLE) != 0) {
        index->remove(t, behind);
        bytes += tags_bytes(behind);
    }
    if ((b->head & TAGS_AFTER_HOLE) != 0) {
        b->head |= TAGS_HOLE; /* so that a second free of it is seen, for as long as the word is not in use again */
        const uint64_t before = ((const uint64_t *)b)[-1];
        b = tags_at(b, -before);
        index->remove(t, b);
        bytes += before;
    }
    tags_open(index, t, b, bytes);
    return STATUS_OK;
}

/* Stays, shorter or longer, where it can. => is it so? */
TAGS_INLINE bool tags_resize_here(const struct tags_index *index, struct tags *t, struct tags_block *b, size_t need)
{
    const size_t had = tags_bytes(b);
    struct tags_block *behind = tags_behind(b);
    const bool has_hole = (behind->head & TAGS_HOLE) != 0;
    const size_t whole = had + (has_hole ? tags_bytes(behind) : 0);
    if (need > whole) {
        return false;
    }
    if (need > had || had - need >= TAGS_LEAST_BYTES) {
        if (has_hole) {
            index->remove(t, behind);
        }
        tags_use(index, t, b, whole, need);
        t->way.used_bytes += tags_bytes(b) - had;
    }
    return true;
}

TAGS_INLINE void *tags_resize(const struct tags_index *index, struct tags *t, void *body, size_t bytes)
{
    struct tags_block *b = tags_of(body);
    if (bytes > TAGS_MOST_BYTES) {
        return NULL;
    }
    if (tags_resize_here(index, t, b, tags_need(bytes))) {
        return body;
    }
    void *moved = tags_alloc(index, t, bytes);
    if (moved != NULL) {
        memcpy(moved, body, tags_bytes(b) - TAGS_HEAD_BYTES); /* it is longer */
        (void)!tags_release(index, t, body);
    }
    return moved;
}

/* ---- Shrinking ---- */

/* The span's last grant begins at which page? */
TAGS_INLINE size_t tags_last_grant(const struct tags_span *s)
{
    for (size_t i = TAGS_SPAN_WORDS; i-- > 0;) {
        if (s->begins[i] != 0) {
            return i * 64 + way_log2_down(s->begins[i]);
        }
    }
    return 0;
}

/* The last grant goes back if it holds nothing. => how many pages went. */
TAGS_INLINE size_t tags_trim_once(const struct tags_index *index, struct tags *t, struct tags_span *s)
{
    struct tags_block *hole = tags_last_hole(s);
    const size_t page = tags_last_grant(s), pages = tags_pages(s, s->end) - page;
    uint8_t *grant = tags_page(s, page);
    struct tags_block *end = tags_end(grant);
    const size_t rest = (uintptr_t)end - (uintptr_t)hole;
    if (page == 0 || hole == NULL || hole > end || (rest != 0 && rest < TAGS_LEAST_BYTES)) {
        return 0;
    }
    index->remove(t, hole);
    index->end_moved(t, tags_end(s->end), end);
    end->head = TAGS_END;
    s->begins[page / 64] &= ~(1UL << page % 64);
    s->end = grant;
    if (rest != 0) {
        tags_open(index, t, hole, rest);
    }
    way_put(&t->way, grant, npages(pages));
    return pages;
}

TAGS_INLINE npages_t tags_shrink(const struct tags_index *index, struct tags *t)
{
    uint64_t gone = 0;
    for (struct tags_span **at = &t->spans; *at != NULL;) {
        struct tags_span *s = *at;
        for (size_t pages = 1; pages != 0; gone += pages) {
            pages = tags_trim_once(index, t, s);
        }
        if (tags_last_hole(s) != tags_first(s)) {
            at = &s->next;
            continue;
        }
        const size_t pages = tags_pages(s, s->end);
        index->remove(t, tags_first(s));
        index->end_moved(t, tags_end(s->end), NULL);
        *at = s->next;
        way_put(&t->way, s, npages(pages));
        gone += pages;
    }
    return npages(gone);
}

#endif
