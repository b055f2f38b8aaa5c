/* Slabs (heap.c, sections 2 and 3): objects of one size in a page or two. */
#include "heap/heap_internal.h"

unsigned heap_class_of_aligned(size_t bytes, size_t align_bytes)
{
    /*
     * Slabs are page-aligned, so object i has the alignment for every i exactly when the size is a multiple of it. A
     * size that is one gets a class that is one: either the alignment is a multiple of the classes' step there, and the
     * class is the size itself, or the step, and with it the class, is a multiple of the alignment.
     */
    return heap_class_of((bytes + align_bytes - 1) & ~(align_bytes - 1));
}

/* One page, unless more than an eighth of it would be left over and two pages leave a smaller share. */
static unsigned slab_pages(size_t object_bytes)
{
    size_t left_of_one = PAGE_BYTES % object_bytes;
    size_t left_of_two = 2 * PAGE_BYTES % object_bytes;
    return left_of_one > PAGE_BYTES / 8 && left_of_two < 2 * left_of_one ? 2 : 1;
}

void heap_classes_init(struct heap *heap)
{
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        size_t bytes = heap_class_bytes(i);
        unsigned pages = slab_pages(bytes);
        heap->classes[i] = (struct heap_class){
            .reciprocal = (uint32_t)(((1UL << 32) + bytes - 1) / bytes),
            .object_bytes = (uint16_t)bytes,
            .objects = (uint16_t)(pages_to_bytes(npages(pages)) / bytes),
            .pages = (uint8_t)pages,
        };
    }
}

static void list_remove(struct heap_class *class, struct heap_desc *slab)
{
    if (class->list == slab) {
        class->list = slab->next == slab ? NULL : slab->next;
    }
    slab->prev->next = slab->next;
    slab->next->prev = slab->prev;
    slab->next = slab->prev = NULL;
}

/* Before the first, which is also behind the last; the caller says which it is to be. */
static void list_insert(struct heap_class *class, struct heap_desc *slab)
{
    struct heap_desc *first = class->list;
    if (first == NULL) {
        slab->next = slab->prev = class->list = slab;
        return;
    }
    slab->next = first;
    slab->prev = first->prev;
    first->prev->next = slab;
    first->prev = slab;
}

static struct heap_desc *slab_open(struct heap *heap, unsigned class_index)
{
    struct heap_class *class = &heap->classes[class_index];
    struct heap_desc *slab = heap_block_open(heap, HEAP_DESC_SLAB, npages(class->pages), HEAP_PAGE_ALIGN_LOG2, false);
    if (slab == NULL) {
        return NULL;
    }
    slab->class_index = (uint8_t)class_index;
    slab->free = class->objects;
    for (unsigned i = 0; i < class->objects; i++) {
        slab->free_mask[i / HEAP_MASK_BITS] |= 1UL << i % HEAP_MASK_BITS;
    }
    class->slabs++;
    list_insert(class, slab);
    return slab;
}

/* `slab` is wholly free and on the list. */
static void slab_close(struct heap *heap, struct heap_desc *slab)
{
    struct heap_class *class = &heap->classes[slab->class_index];
    list_remove(class, slab);
    class->slabs--;
    heap_block_close(heap, slab, npages(class->pages));
}

/* A slab on the list without a free object: something overwrote it. It is taken out of use; what it may still hold is
 * lost. */
static void isolate(struct heap_class *class, struct heap_desc *slab)
{
    report(REPORT_CORRUPT,
           "heap: slab %p of class %u has %u free objects by its count and none by its mask: taken out of use",
           (void *)slab->base, class->object_bytes, slab->free);
    list_remove(class, slab);
    slab->free = 0;
}

/* The lowest free object of mask word `word`, which has one. */
static inline void *take(struct heap_class *class, struct heap_desc *slab, unsigned word)
{
    uint64_t mask = slab->free_mask[word];
    unsigned index = word * HEAP_MASK_BITS + (unsigned)__builtin_ctzl(mask);
    slab->free_mask[word] = mask & (mask - 1);
    uint8_t *object = slab->base + (size_t)index * class->object_bytes;
    class->allocs++;
    if (--slab->free == 0) {
        list_remove(class, slab);
    }
    return object;
}

/* No slab with room, or none whose first word has any: kept out of the way of the common case. */
__attribute__((noinline)) static void *slab_alloc_slowly(struct heap *heap, unsigned class_index)
{
    struct heap_class *class = &heap->classes[class_index];
    for (;;) {
        struct heap_desc *slab = class->list;
        if (slab == NULL) {
            slab = slab_open(heap, class_index);
            if (slab == NULL) {
                return NULL;
            }
        }
        for (unsigned word = 0; word < HEAP_MASK_WORDS; word++) {
            if (slab->free_mask[word] != 0) {
                return take(class, slab, word);
            }
        }
        isolate(class, slab);
    }
}

void *heap_slab_alloc(struct heap *heap, unsigned class_index)
{
    struct heap_class *class = &heap->classes[class_index];
    struct heap_desc *slab = class->list;
    if (__builtin_expect(slab == NULL || slab->free_mask[0] == 0, 0)) {
        return slab_alloc_slowly(heap, class_index);
    }
    return take(class, slab, 0);
}

/* The last object in use has just come back. One wholly free slab is kept, last on the list, so that a class at the
 * edge does not thrash. */
static void slab_emptied(struct heap *heap, struct heap_class *class, struct heap_desc *slab)
{
    if (class->list->prev == slab) {
        return; /* last already */
    }
    if (class->list->prev->free == class->objects) {
        slab_close(heap, slab);
        return;
    }
    list_remove(class, slab);
    list_insert(class, slab);
}

enum status heap_slab_free_at_edge(struct heap *heap, struct heap_desc *slab, unsigned index)
{
    struct heap_class *class = &heap->classes[slab->class_index];
    if (__builtin_expect(slab->free >= class->objects, 0)) {
        report(REPORT_CORRUPT,
               "heap: slab %p of class %u has %u free objects of %u, yet object %u is in use: nothing done",
               (void *)slab->base, class->object_bytes, slab->free, class->objects, index);
        return STATUS_CORRUPT;
    }
    slab->free_mask[index / HEAP_MASK_BITS] |= 1UL << index % HEAP_MASK_BITS;
    class->frees++;
    if (slab->free++ == 0) {
        list_insert(class, slab);
        class->list = slab; /* nearly full: in front, to be filled before emptier ones */
    }
    if (slab->free == class->objects) {
        slab_emptied(heap, class, slab);
    }
    return STATUS_OK;
}

void heap_slab_shrink(struct heap *heap)
{
    for (unsigned i = 0; i < HEAP_CLASSES; i++) {
        struct heap_class *class = &heap->classes[i];
        if (class->list != NULL && class->list->prev->free == class->objects) {
            slab_close(heap, class->list->prev);
        }
    }
}
