/* Between the files of the heap; nobody else includes it. Section numbers are those of heap.c. */
#ifndef CAIRN_HEAP_HEAP_INTERNAL_H
#define CAIRN_HEAP_HEAP_INTERNAL_H

#include "heap/heap.h"
#include "lib/macros.h"
#include "lib/report.h"

enum {
    HEAP_PAGE_ALIGN_LOG2 = __builtin_ctz(PAGE_BYTES),
    HEAP_NODE_ENTRIES = PAGE_BYTES / (int)sizeof(uint64_t),
};

#define HEAP_ALIGN_MAX_BYTES GIB
#define HEAP_SPAN_BYTES      (512 * GIB)
#define HEAP_ABSURD_BYTES    (1UL << 47) /* above this nobody can mean it */

_Static_assert(HEAP_SPAN_BYTES / PAGE_BYTES == (uint64_t)HEAP_NODE_ENTRIES * HEAP_NODE_ENTRIES * HEAP_NODE_ENTRIES,
               "three levels reach over the span");

/* Count it, report it, answer MISUSE. */
#define HEAP_MISUSE(heap, ...) ((heap)->misuses++, misuse(__VA_ARGS__))

/* ---- Size classes (section 2) ---- */

/* The class of a request of 1..HEAP_SMALL_MAX_BYTES: of its granules of 16 bytes, the leading four bits decide. */
static inline unsigned heap_class_of(size_t bytes)
{
    unsigned last = (unsigned)((bytes - 1) / HEAP_ALIGN_BYTES);
    unsigned step = 28 - (unsigned)__builtin_clz(last | 8);
    return step * 8 + (last >> step);
}

static inline size_t heap_class_bytes(unsigned index)
{
    unsigned step = index < 16 ? 0 : index / 8 - 1;
    return ((index - step * 8 + 1UL) << step) * HEAP_ALIGN_BYTES;
}

/* The smallest class whose objects all have the alignment (a power of two) and room for `bytes`; both at most
 * HEAP_SMALL_MAX_BYTES. */
unsigned heap_class_of_aligned(size_t bytes, size_t align_bytes);

/* ---- The page table (section 4), radix.c ---- */

static inline uint64_t *heap_node(uint64_t tagged)
{
    return vaddr_to_ptr(vaddr_page(vaddr(tagged)));
}

/* The page's number in the span; HEAP_NODE_ENTRIES^3 or more: outside. */
static inline uint64_t heap_page_number(const struct heap *heap, const void *address)
{
    return vaddr_page_number(vaddr(ptr_to_vaddr(address).v - heap->source.span_base.v));
}

/* The descriptor of the slab or large block that holds the address, or null. O(1), any address. */
static inline struct heap_desc *heap_lookup(const struct heap *heap, const void *address)
{
    uint64_t page = heap_page_number(heap, address);
    uint64_t top = page / (HEAP_NODE_ENTRIES * HEAP_NODE_ENTRIES);
    if (top >= HEAP_NODE_ENTRIES || heap->root == 0) {
        return NULL;
    }
    uint64_t middle = heap_node(heap->root)[top];
    if (middle == 0) {
        return NULL;
    }
    uint64_t leaf = heap_node(middle)[page / HEAP_NODE_ENTRIES % HEAP_NODE_ENTRIES];
    if (leaf == 0) {
        return NULL;
    }
    return vaddr_to_ptr(vaddr(heap_node(leaf)[page % HEAP_NODE_ENTRIES]));
}

/* Nodes that must be made before [base, +pages) can be linked. */
uint64_t heap_radix_missing(const struct heap *heap, const void *base, npages_t pages);
/* Cannot fail: `nodes` holds what heap_radix_missing said. */
void heap_radix_link(struct heap *heap, struct heap_desc *desc, npages_t pages, struct heap_idle_page **nodes);
void heap_radix_unlink(struct heap *heap, const void *base, npages_t pages);
/* Give back the nodes that lead to nothing. */
void heap_radix_shrink(struct heap *heap);

/* ---- Pages (section 5), pages.c ---- */

/* One page, from the pool or the source; null when memory is short. */
void *heap_page_draw(struct heap *heap, bool guarded, bool *is_pooled);
/* It was not needed: as if it had never been drawn. */
void heap_page_undraw(struct heap *heap, void *page, bool is_pooled);
/* `count` pages in a list. => false: nothing drawn. */
bool heap_chain_draw(struct heap *heap, uint64_t count, struct heap_idle_page **chain);
void heap_chain_undraw(struct heap *heap, struct heap_idle_page **chain);
/* The next page of a chain that has one. */
void *heap_chain_take(struct heap_idle_page **chain);
/* From the source itself, its answer checked; null when memory is short. */
void *heap_source_get(struct heap *heap, npages_t pages, unsigned align_log2, bool guarded);
void heap_source_put(struct heap *heap, void *base, npages_t pages);
void heap_pool_empty(struct heap *heap);

/* ---- Descriptors, and pages with a descriptor (section 5), desc.c ---- */

/* Pages, a descriptor with `kind` and `base` set, and the table leading from one to the other. Null: memory is short,
 * nothing changed. */
struct heap_desc *heap_block_open(struct heap *heap, enum heap_desc_kind kind, npages_t pages, unsigned align_log2,
                                  bool guarded);
/* All of it away. Needs no memory. */
void heap_block_close(struct heap *heap, struct heap_desc *desc, npages_t pages);
/* Give back the pages whose descriptors are all free. */
void heap_desc_shrink(struct heap *heap);

static inline struct heap_desc *heap_desc_slot(struct heap_desc_head *page, unsigned slot)
{
    return (struct heap_desc *)(void *)page + slot;
}

/* ---- Slabs (section 3), slab.c ---- */

void heap_classes_init(struct heap *heap);
/* One object of the class, or null. */
void *heap_slab_alloc(struct heap *heap, unsigned class_index);
/* heap_slab_free when the slab was full, or becomes wholly free, or its count lies. */
enum status heap_slab_free_at_edge(struct heap *heap, struct heap_desc *slab, unsigned index);

/* `index` is an object in use. => OK; CORRUPT: the slab's own data is broken: reported, nothing changed. */
static inline enum status heap_slab_free(struct heap *heap, struct heap_desc *slab, unsigned index)
{
    struct heap_class *class = &heap->classes[slab->class_index];
    unsigned free = slab->free;
    if (__builtin_expect(free == 0 || free + 1 >= class->objects, 0)) {
        return heap_slab_free_at_edge(heap, slab, index);
    }
    slab->free_mask[index / HEAP_MASK_BITS] |= 1UL << index % HEAP_MASK_BITS;
    slab->free = (uint16_t)(free + 1);
    class->frees++;
    return STATUS_OK;
}

/* Close the wholly free slab that a class keeps, if it does. */
void heap_slab_shrink(struct heap *heap);

/* ---- Large blocks (section 3), large.c ---- */

void *heap_large_alloc(struct heap *heap, size_t bytes, unsigned align_log2, bool is_aligned);
void heap_large_free(struct heap *heap, struct heap_desc *large);

/* ---- Whose address is this (section 6), owner.c ---- */

/* The descriptor, when `block` is the start of an allocated block (and which object), else null. */
static inline struct heap_desc *heap_start_of(const struct heap *heap, const void *block, unsigned *index)
{
    struct heap_desc *desc = heap_lookup(heap, block);
    if (desc == NULL) {
        return NULL;
    }
    uint64_t offset = (uint64_t)((const uint8_t *)block - desc->base);
    if (desc->kind == HEAP_DESC_LARGE) {
        return offset == 0 ? desc : NULL;
    }
    const struct heap_class *class = &heap->classes[desc->class_index];
    unsigned i = (unsigned)((offset * class->reciprocal) >> 32);
    if (i * (uint64_t) class->object_bytes != offset || i >= class->objects) {
        return NULL;
    }
    *index = i;
    bool is_free = (desc->free_mask[i / HEAP_MASK_BITS] >> i % HEAP_MASK_BITS & 1) != 0;
    return is_free ? NULL : desc;
}

/* Report why `block`, given to `call`, is not the start of an allocated block. => MISUSE. */
enum status heap_refuse(struct heap *heap, const char *call, const void *block);

static inline size_t heap_desc_usable_bytes(const struct heap *heap, const struct heap_desc *desc)
{
    return desc->kind == HEAP_DESC_LARGE ? pages_to_bytes(desc->large.pages)
                                         : heap->classes[desc->class_index].object_bytes;
}

#endif
