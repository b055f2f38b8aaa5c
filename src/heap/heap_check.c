/*
 * The validator: descriptors, class lists, page table and counters are read separately and compared (HEAP-I1..I4).
 * Nothing that is read decides how far the walk goes: every walk ends after as many steps as another view allows.
 */
#include "heap/guard_internal.h"
#include "heap/heap_internal.h"

struct class_sums {
    uint64_t slabs, slabs_with_room, used;
};

struct check {
    const struct heap *heap;
    struct sink *out; /* may be null */
    uint64_t wrong;
    struct class_sums sums[HEAP_CLASSES];
    uint64_t slab_pages, large_pages, large_blocks, desc_pages;
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

static unsigned bits_set(uint64_t mask)
{
    unsigned bits = 0;
    for (; mask != 0; mask &= mask - 1) {
        bits++;
    }
    return bits;
}

static void check_mask(struct check *c, const struct heap_desc *slab, const struct heap_class *class)
{
    unsigned bits = 0;
    for (unsigned word = 0; word < HEAP_MASK_WORDS; word++) {
        unsigned first = word * HEAP_MASK_BITS;
        unsigned room = class->objects > first ? class->objects - first : 0;
        uint64_t allowed = room >= HEAP_MASK_BITS ? ~0UL : (1UL << room) - 1;
        if ((slab->free_mask[word] & ~allowed) != 0) {
            wrong(c, "HEAP-I1: slab %p of class %u has only %u objects, mask word %u is %#lx", (void *)slab->base,
                  class->object_bytes, class->objects, word, slab->free_mask[word]);
        }
        bits += bits_set(slab->free_mask[word]);
    }
    if (bits != slab->free) {
        wrong(c, "HEAP-I1: slab %p of class %u counts %u free objects, its mask %u", (void *)slab->base,
              class->object_bytes, slab->free, bits);
    }
}

static void check_mapped(struct check *c, const struct heap_desc *desc, npages_t pages)
{
    for (uint64_t i = 0; i < pages.v; i++) {
        const uint8_t *page = desc->base + pages_to_bytes(npages(i));
        if (heap_lookup(c->heap, page) != desc) {
            wrong(c, "HEAP-I3: page %p of the block at %p leads to descriptor %p, not %p", (const void *)page,
                  (void *)desc->base, (void *)heap_lookup(c->heap, page), (const void *)desc);
        }
    }
}

static void check_desc(struct check *c, const struct heap_desc *desc)
{
    if (desc->kind == HEAP_DESC_LARGE) {
        c->large_blocks++;
        c->large_pages += desc->large.pages.v;
        if (desc->large.pages.v > HEAP_SPAN_BYTES / PAGE_BYTES || !is_page_aligned(ptr_to_vaddr(desc->base).v)) {
            wrong(c, "HEAP-I3: the large block %p has %lu pages", (void *)desc->base, desc->large.pages.v);
            return;
        }
        check_mapped(c, desc, desc->large.pages);
        return;
    }
    if (desc->kind != HEAP_DESC_SLAB || desc->class_index >= HEAP_CLASSES) {
        wrong(c, "HEAP-I4: descriptor %p is of no kind (%u) or class (%u)", (const void *)desc, desc->kind,
              desc->class_index);
        return;
    }
    const struct heap_class *class = &c->heap->classes[desc->class_index];
    struct class_sums *sums = &c->sums[desc->class_index];
    sums->slabs++;
    sums->used += class->objects - desc->free;
    sums->slabs_with_room += desc->free != 0;
    c->slab_pages += class->pages;
    check_mask(c, desc, class);
    check_mapped(c, desc, npages(class->pages));
    if (desc->free == 0 && (desc->next != NULL || desc->prev != NULL)) {
        wrong(c, "HEAP-I2: slab %p of class %u has no free object but links", (void *)desc->base, class->object_bytes);
    }
}

static void check_descs(struct check *c)
{
    const struct heap_desc_head *first = c->heap->desc_pages;
    struct heap_desc_head *page = c->heap->desc_pages;
    bool seen_full = false;
    for (; page != NULL && c->desc_pages <= c->heap->desc_page_count; page = page->next == first ? NULL : page->next) {
        c->desc_pages++;
        if (page->next->prev != page || (seen_full && page->free_mask != 0)) {
            wrong(c, "HEAP-I4: descriptor page %p is out of its circle or order", (void *)page);
            return;
        }
        seen_full = page->free_mask == 0;
        for (unsigned slot = 1; slot < HEAP_DESC_PAGE_SLOTS; slot++) {
            const struct heap_desc *desc = heap_desc_slot(page, slot);
            if ((page->free_mask >> slot & 1) == 0) {
                check_desc(c, desc);
            } else if (desc->kind != HEAP_DESC_UNUSED) {
                wrong(c, "HEAP-I4: free descriptor %p has kind %u", (const void *)desc, desc->kind);
            }
        }
    }
}

static void check_list(struct check *c, unsigned index)
{
    const struct heap_class *class = &c->heap->classes[index];
    const struct class_sums *sums = &c->sums[index];
    const struct heap_desc *slab = class->list;
    uint64_t listed = 0;
    for (; slab != NULL && listed <= sums->slabs; slab = slab->next == class->list ? NULL : slab->next) {
        listed++;
        if (slab->next == NULL || slab->next->prev != slab || slab->kind != HEAP_DESC_SLAB ||
            slab->class_index != index) {
            wrong(c, "HEAP-I2: descriptor %p does not belong on the list of class %u", (const void *)slab,
                  class->object_bytes);
            return;
        }
        if (slab->free == 0) {
            wrong(c, "HEAP-I2: slab %p is on the list of class %u without a free object", (void *)slab->base,
                  class->object_bytes);
        }
        if (slab->free == class->objects && slab != class->list->prev) {
            wrong(c, "HEAP-I2: slab %p of class %u is wholly free and not the last on the list", (void *)slab->base,
                  class->object_bytes);
        }
    }
    if (listed != sums->slabs_with_room) {
        wrong(c, "HEAP-I2: class %u lists %lu slabs, %lu have a free object", class->object_bytes, listed,
              sums->slabs_with_room);
    }
}

/* Non-null entries of a node. */
static uint64_t node_entries(const uint64_t *node)
{
    uint64_t entries = 0;
    for (unsigned i = 0; i < HEAP_NODE_ENTRIES; i++) {
        entries += node[i] != 0;
    }
    return entries;
}

static void check_node(struct check *c, uint64_t tagged, const char *level)
{
    uint64_t entries = node_entries(heap_node(tagged));
    if (entries != page_offset_bytes(tagged)) {
        wrong(c, "HEAP-I3: %s node %p counts %lu entries and has %lu", level, (void *)heap_node(tagged),
              page_offset_bytes(tagged), entries);
    }
}

/* With check_mapped: every page of a block leads to it, and there are no more entries than such pages, so none leads
 * astray. */
static void check_table(struct check *c)
{
    uint64_t nodes = 0, mapped = 0;
    if (c->heap->root != 0) {
        check_node(c, c->heap->root, "root");
        nodes++;
    }
    for (unsigned i = 0; c->heap->root != 0 && i < HEAP_NODE_ENTRIES; i++) {
        uint64_t middle = heap_node(c->heap->root)[i];
        if (middle == 0) {
            continue;
        }
        check_node(c, middle, "middle");
        nodes++;
        for (unsigned k = 0; k < HEAP_NODE_ENTRIES; k++) {
            uint64_t leaf = heap_node(middle)[k];
            if (leaf != 0) {
                check_node(c, leaf, "leaf");
                nodes++;
                mapped += node_entries(heap_node(leaf));
            }
        }
    }
    if (mapped != c->slab_pages + c->large_pages) {
        wrong(c, "HEAP-I3: the table has %lu pages, slabs %lu and large blocks %lu", mapped, c->slab_pages,
              c->large_pages);
    }
    if (nodes != c->heap->node_count) {
        wrong(c, "HEAP-I4: %lu nodes, counted as %lu", nodes, c->heap->node_count);
    }
}

static void check_counters(struct check *c)
{
    const struct heap *heap = c->heap;
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        const struct heap_class *class = &heap->classes[i];
        if (class->slabs != c->sums[i].slabs || class->allocs - class->frees != c->sums[i].used) {
            wrong(c, "HEAP-I4: class %u counts %lu slabs and %lu used objects, its slabs say %lu and %lu",
                  class->object_bytes, class->slabs, class->allocs - class->frees, c->sums[i].slabs, c->sums[i].used);
        }
    }
    if (heap->large_blocks != c->large_blocks || heap->large_pages != c->large_pages) {
        wrong(c, "HEAP-I4: %lu large blocks of %lu pages, counted as %lu of %lu", c->large_blocks, c->large_pages,
              heap->large_blocks, heap->large_pages);
    }
    uint64_t pooled = 0;
    for (const struct heap_idle_page *page = heap->pool; page != NULL && pooled <= heap->pool_pages;
         page = page->next) {
        pooled++;
    }
    if (pooled != heap->pool_pages || c->desc_pages != heap->desc_page_count) {
        wrong(c, "HEAP-I4: %lu pages in the pool and %lu of descriptors, counted as %lu and %lu", pooled, c->desc_pages,
              heap->pool_pages, heap->desc_page_count);
    }
    uint64_t held = c->slab_pages + c->large_pages + heap->desc_page_count + heap->node_count + heap->pool_pages;
    if (held != heap->held_pages) {
        wrong(c, "HEAP-I4: %lu pages held, counted as %lu", held, heap->held_pages);
    }
}

enum status heap_check(const struct heap *heap, struct sink *out)
{
    struct check c = {.heap = heap, .out = out};
    check_descs(&c);
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        check_list(&c, i);
    }
    check_table(&c);
    check_counters(&c);
    enum status guarded = heap->guard != NULL ? heap_guard_check(heap, out) : STATUS_OK;
    return c.wrong == 0 ? guarded : STATUS_CORRUPT;
}
