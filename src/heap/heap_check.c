/*
 * The validator: descriptors, lists, bins, tree and counters are read separately and compared (HEAP-I1..I4). Nothing
 * that is read decides how far the walk goes: every walk ends after as many steps as another view allows.
 */
#include "heap/guard_internal.h"
#include "heap/heap_internal.h"

struct class_sums {
    uint64_t slabs, active;
};

struct mixed_sums {
    uint64_t slabs, with_room, lengths[HEAP_WORD_BITS + 1];
};

struct check {
    const struct heap *heap;
    struct sink *out; /* may be null */
    uint64_t wrong;
    struct class_sums classes[HEAP_CLASSES];
    struct mixed_sums mixed[HEAP_MIXED_KINDS];
    uint64_t large_pages, large_blocks, ready, pages, inside, leaves, nodes;
};

__attribute__((format(printf, 2, 3))) static void wrong(struct check *c, const char *format, ...)
{
    c->wrong++;
    if (c->out != NULL) {
        va_list args;
        va_start(args, format);
        sink_vprintf(c->out, format, args);
        va_end(args);
        sink_printf(c->out, "\n");
    }
}

/* ---- Descriptors ---- */

static void check_slab(struct check *c, const struct heap_desc *slab)
{
    const struct heap_class *class = slab->class;
    if (class < c->heap->classes || class >= c->heap->classes + HEAP_CLASSES) {
        wrong(c, "HEAP-I1: slab %p is of no class (%p)", (void *)heap_desc_base(slab), (const void *)class);
        return;
    }
    struct class_sums *sums = &c->classes[class - c->heap->classes];
    bool is_active = (slab->base_and_kind & HEAP_DESC_ACTIVE) != 0;
    uint64_t room = 0;
    for (unsigned word = 0; word < HEAP_SLAB_WORDS; word++) {
        uint64_t valid = word + 1U < class->words ? UINT64_MAX : word + 1U == class->words ? class->last_full : 0;
        if ((slab->free_mask[word] & ~valid) != 0) {
            wrong(c, "HEAP-I1: slab %p of class %u has only %u objects, mask word %u is %#lx",
                  (void *)heap_desc_base(slab), class->object_bytes, class->objects, word, slab->free_mask[word]);
        }
        room |= slab->free_mask[word];
    }
    if (room != 0 && !is_active) {
        wrong(c, "HEAP-I2: slab %p of class %u has room, and nobody knows it", (void *)heap_desc_base(slab),
              class->object_bytes);
    }
    sums->slabs++;
    sums->active += is_active;
}

static unsigned longest_hole(uint64_t free)
{
    unsigned longest = 0;
    for (unsigned i = 0, here = 0; i < HEAP_WORD_BITS; i++) {
        here = (free >> i & 1) != 0 ? here + 1 : 0;
        longest = here > longest ? here : longest;
    }
    return longest;
}

static void check_hole(struct check *c, const struct heap_desc *slab)
{
    unsigned hole = slab->mixed.hole, at = slab->mixed.hole_at, longest = longest_hole(slab->mixed.free);
    bool is_there = hole == 0 || (at + hole <= HEAP_WORD_BITS && longest_hole(slab->mixed.free >> at) >= hole &&
                                  (~(slab->mixed.free >> at) & (UINT64_MAX >> (HEAP_WORD_BITS - hole))) == 0);
    if (hole != longest || !is_there) {
        wrong(c, "HEAP-I2: mixed slab %p has a greatest hole of %u granules, not %u at %u",
              (void *)heap_desc_base(slab), longest, hole, at);
    }
}

static void check_mixed(struct check *c, const struct heap_desc *slab)
{
    const struct heap_mixed *mixed = slab->owner;
    if (mixed < c->heap->mixed || mixed >= c->heap->mixed + HEAP_MIXED_KINDS) {
        wrong(c, "HEAP-I1: mixed slab %p is of no kind (%p)", (void *)heap_desc_base(slab), (const void *)mixed);
        return;
    }
    struct mixed_sums *sums = &c->mixed[mixed - c->heap->mixed];
    uint64_t free = slab->mixed.free, starts = slab->mixed.starts;
    uint64_t first_used = ~free & (free << 1 | 1);
    if ((starts & free) != 0 || (first_used & ~starts) != 0) {
        wrong(c, "HEAP-I1: mixed slab %p: blocks begin at %#lx, free is %#lx", (void *)heap_desc_base(slab), starts,
              free);
    }
    check_hole(c, slab);
    sums->slabs++;
    sums->with_room += slab->mixed.hole != 0;
    for (unsigned at = 0, n = 0; at < HEAP_WORD_BITS; at++) {
        bool is_used = (free >> at & 1) == 0;
        bool ends = at + 1 == HEAP_WORD_BITS || ((free | starts) >> (at + 1) & 1) != 0;
        n += is_used;
        if (is_used && ends) {
            sums->lengths[n]++;
            n = 0;
        }
    }
}

static void check_large(struct check *c, const struct heap_desc *desc)
{
    c->large_blocks++;
    c->large_pages += desc->large.pages.v;
    if (desc->large.pages.v == 0 || desc->large.pages.v > HEAP_SPAN_BYTES / PAGE_BYTES) {
        wrong(c, "HEAP-I3: the large block %p has %lu pages", (void *)heap_desc_base(desc), desc->large.pages.v);
    }
}

/* How many pages the thing that begins here says that it has; 0: nothing does. */
static uint64_t pages_of(const struct check *c, const struct heap_desc *desc)
{
    switch (heap_desc_kind(desc)) {
    case HEAP_DESC_SLAB:
        return 1;
    case HEAP_DESC_READY:
        return 1;
    case HEAP_DESC_MIXED:
        return desc->owner == &c->heap->mixed[1] ? desc->owner->pages : 1;
    case HEAP_DESC_LARGE:
        return desc->large.pages.v;
    case HEAP_DESC_CACHE:
        return heap_cache_slab_pages(c->heap, desc);
    default:
        return 0;
    }
}

/* A further page: the first one is there, and reaches as far as here. */
static void check_tail(struct check *c, const struct heap_desc *desc, uint64_t page)
{
    const struct heap_desc *head = heap_find_page(c->heap, heap_desc_base(desc));
    uint64_t first = heap_page_number(c->heap, heap_desc_base(desc));
    if (page - first >= pages_of(c, head) || page == first) {
        wrong(c, "HEAP-I3: page %lu of the span belongs to what begins at %p, which has %lu pages", page,
              (void *)heap_desc_base(desc), pages_of(c, head));
    }
}

static void check_desc(struct check *c, const struct heap_desc *desc, uint64_t page)
{
    enum heap_desc_kind kind = heap_desc_kind(desc);
    c->pages += kind != HEAP_DESC_NONE;
    if (kind != HEAP_DESC_NONE && kind != HEAP_DESC_TAIL && heap_page_number(c->heap, heap_desc_base(desc)) != page) {
        wrong(c, "HEAP-I3: the descriptor of page %lu of the span says %p", page, (void *)heap_desc_base(desc));
        return;
    }
    switch (kind) {
    case HEAP_DESC_NONE:
    case HEAP_DESC_CACHE: /* heap_caches_check */
        break;
    case HEAP_DESC_SLAB:
        check_slab(c, desc);
        break;
    case HEAP_DESC_MIXED:
        check_mixed(c, desc);
        break;
    case HEAP_DESC_LARGE:
        check_large(c, desc);
        break;
    case HEAP_DESC_TAIL:
        check_tail(c, desc, page);
        break;
    case HEAP_DESC_READY:
        c->ready++;
        break;
    default:
        wrong(c, "HEAP-I3: page %lu of the span is of kind %u", page, kind);
    }
}

/* ---- The tree ---- */

static void visit_leaf(void *ctx, uint64_t number, struct heap_desc *leaf)
{
    struct check *c = ctx;
    c->leaves++;
    for (unsigned i = 0; i < HEAP_LEAF_PAGES; i++) {
        check_desc(c, &leaf[i], number * HEAP_LEAF_PAGES + i);
    }
}

static void visit_inside(void *ctx, uint64_t number, struct heap_desc *head)
{
    struct check *c = ctx;
    uint64_t first = heap_page_number(c->heap, heap_desc_base(head));
    c->pages += HEAP_LEAF_PAGES;
    if (heap_desc_kind(head) != HEAP_DESC_LARGE || (number + 1) * HEAP_LEAF_PAGES - first > head->large.pages.v) {
        wrong(c, "HEAP-I3: the stretch %lu of the span lies in no large block (%p)", number,
              (void *)heap_desc_base(head));
    }
}

static void visit_node(void *ctx, uint64_t counted, uint64_t entries)
{
    struct check *c = ctx;
    c->nodes++;
    if (counted != entries) {
        wrong(c, "HEAP-I3: a node counts %lu entries and has %lu", counted, entries);
    }
}

static void check_recent(struct check *c)
{
    for (unsigned i = 0; i < HEAP_RECENT_LEAVES; i++) {
        const struct heap_desc *leaf = c->heap->recent[i];
        uint64_t number = c->heap->recent_words[i].number;
        const struct heap_desc *right =
            number == UINT64_MAX ? heap_no_leaf : heap_find_slowly(c->heap, number * HEAP_LEAF_PAGES);
        if (leaf != right) {
            wrong(c, "HEAP-I3: the recent leaf %u is %p, not %p", i, (const void *)leaf, (const void *)right);
        }
    }
}

/* ---- Lists and bins ---- */

static void check_class(struct check *c, unsigned index)
{
    const struct heap_class *class = &c->heap->classes[index];
    const struct class_sums *sums = &c->classes[index];
    const struct heap_desc *before = NULL;
    uint64_t listed = 0, current = 0;
    for (const struct heap_desc *slab = class->list; slab != NULL && listed <= sums->slabs; slab = slab->next) {
        listed++;
        uint64_t room = slab->free_mask[0] | slab->free_mask[1] | slab->free_mask[2] | slab->free_mask[3];
        if (slab->prev != before || heap_desc_kind(slab) != HEAP_DESC_SLAB || slab->class != class || room == 0) {
            wrong(c, "HEAP-I2: descriptor %p does not belong on the list of class %u", (const void *)slab,
                  class->object_bytes);
            return;
        }
        before = slab;
    }
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        current += c->heap->classes[i].current != NULL && c->heap->classes[i].current->class == class;
    }
    if (class->last != before || listed + current != sums->active) {
        wrong(c, "HEAP-I2: class %u lists %lu slabs and %lu are current, of %lu with room", class->object_bytes, listed,
              current, sums->active);
    }
    if ((class->current == NULL) != (class->word == &c->heap->no_room) ||
        (class->stays != NULL && class->stays != class->current)) {
        wrong(c, "HEAP-I2: class %u takes from %p, its current slab is %p, which stays is %p", class->object_bytes,
              (void *)class->word, (void *)class->current, (void *)class->stays);
    }
    if (class->slabs != sums->slabs) {
        wrong(c, "HEAP-I4: class %u counts %lu slabs and has %lu", class->object_bytes, class->slabs, sums->slabs);
    }
}

static uint64_t check_bin(struct check *c, const struct heap_mixed *mixed, unsigned bin, uint64_t limit)
{
    uint64_t binned = 0;
    const struct heap_link *head = &mixed->bins[bin], *before = head;
    for (const struct heap_link *at = head->next; at != head && at != NULL && binned <= limit; at = at->next) {
        const struct heap_desc *slab = CONTAINER_OF(at, struct heap_desc, link);
        binned++;
        if (at->prev != before || slab->owner != mixed || slab->mixed.hole != bin) {
            wrong(c, "HEAP-I2: descriptor %p does not belong in the bin of %u granules", (const void *)slab, bin);
            return binned;
        }
        before = at;
    }
    return binned;
}

static void check_bins(struct check *c, unsigned index)
{
    const struct heap_mixed *mixed = &c->heap->mixed[index];
    const struct mixed_sums *sums = &c->mixed[index];
    uint64_t binned = 0;
    for (unsigned bin = 0; bin <= HEAP_WORD_BITS; bin++) {
        binned += check_bin(c, mixed, bin, sums->slabs);
        bool should_be_empty = bin == 0 || (bin < HEAP_WORD_BITS && (mixed->nonempty >> (bin - 1) & 1) == 0);
        bool is_told = bin < HEAP_WORD_BITS; /* the bit of the last one says nothing */
        if (is_told && (mixed->bins[bin].next == &mixed->bins[bin]) != should_be_empty) {
            wrong(c, "HEAP-I2: bin %u of mixed slabs begins with %p, the word of bins is %#lx", bin,
                  (void *)mixed->bins[bin].next, mixed->nonempty);
        }
    }
    if (binned != sums->with_room) {
        wrong(c, "HEAP-I2: %lu mixed slabs of %u pages are in bins, %lu have room", binned, mixed->pages,
              sums->with_room);
    }
    if (mixed->slabs != sums->slabs) {
        wrong(c, "HEAP-I4: %lu mixed slabs of %u pages, counted as %lu", sums->slabs, mixed->pages, mixed->slabs);
    }
    for (unsigned n = 1; n <= HEAP_WORD_BITS; n++) {
        if (mixed->lengths[n] != sums->lengths[n]) {
            wrong(c, "HEAP-I4: %lu blocks of %u granules in mixed slabs of %u pages, counted as %u", sums->lengths[n],
                  n, mixed->pages, mixed->lengths[n]);
        }
    }
}

static void check_high_water(struct check *c)
{
    const struct heap *heap = c->heap;
    bool is_below = heap->most_held_pages < heap->held_pages;
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        is_below |= heap->classes[i].most_slabs < heap->classes[i].slabs;
    }
    for (unsigned i = 0; i < HEAP_MIXED_KINDS; i++) {
        is_below |= heap->mixed[i].most_slabs < heap->mixed[i].slabs;
    }
    if (is_below) {
        wrong(c, "HEAP-I4: more is held than was ever held at most");
    }
}

static void check_counters(struct check *c)
{
    const struct heap *heap = c->heap;
    if (heap->large_blocks != c->large_blocks || heap->large_pages != c->large_pages) {
        wrong(c, "HEAP-I4: %lu large blocks of %lu pages, counted as %lu of %lu", c->large_blocks, c->large_pages,
              heap->large_blocks, heap->large_pages);
    }
    uint64_t ready = 0;
    for (const struct heap_desc *desc = heap->ready; desc != NULL && ready <= heap->ready_pages; desc = desc->next) {
        ready++;
    }
    if (ready != heap->ready_pages || c->ready != ready) {
        wrong(c, "HEAP-I4: %lu pages are ready, %lu listed, counted as %lu", c->ready, ready, heap->ready_pages);
    }
    if (c->leaves != heap->leaf_count || c->nodes != heap->node_count) {
        wrong(c, "HEAP-I4: %lu leaves and %lu nodes, counted as %lu and %lu", c->leaves, c->nodes, heap->leaf_count,
              heap->node_count);
    }
    uint64_t spares = 0;
    for (const struct heap_spare *s = heap->spares; s != NULL && spares <= heap->spare_pages; s = s->next) {
        spares++;
    }
    if (spares != heap->spare_pages) {
        wrong(c, "HEAP-I4: %lu spare pages are listed, counted as %lu", spares, heap->spare_pages);
    }
    uint64_t held = c->pages + c->leaves + c->nodes + spares + (heap->got != NULL);
    if (held != heap->held_pages) {
        wrong(c, "HEAP-I4: %lu pages held, counted as %lu", held, heap->held_pages);
    }
}

enum status heap_check(const struct heap *heap, struct sink *out)
{
    struct check c = {.heap = heap, .out = out};
    const struct heap_visitor visitor = {visit_leaf, visit_inside, visit_node, &c};
    heap_tree_walk(heap, &visitor);
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        check_class(&c, i);
    }
    for (unsigned i = 0; i < HEAP_MIXED_KINDS; i++) {
        check_bins(&c, i);
    }
    check_recent(&c);
    check_counters(&c);
    check_high_water(&c);
    c.wrong += heap_caches_check(heap, out) != STATUS_OK;
    enum status guarded = heap->guard != NULL ? heap_guard_check(heap, out) : STATUS_OK;
    return c.wrong == 0 ? guarded : STATUS_CORRUPT;
}
