/* What a heap is made of; heap.c tells the theory. Included by heap.h only. */
#ifndef CAIRN_HEAP_HEAP_TYPES_H
#define CAIRN_HEAP_HEAP_TYPES_H

enum {
    HEAP_CLASSES = 40, /* 16-byte steps to 128 bytes, then eight steps for each doubling, to HEAP_SMALL_MAX_BYTES */
    HEAP_SLAB_MAX_PAGES = 2,
    HEAP_SLAB_MAX_OBJECTS = 256, /* of 16 bytes in one page */
    HEAP_MASK_BITS = 64,
    HEAP_MASK_WORDS = HEAP_SLAB_MAX_OBJECTS / HEAP_MASK_BITS,
};

enum heap_desc_kind {
    HEAP_DESC_UNUSED,
    HEAP_DESC_SLAB,
    HEAP_DESC_LARGE,
};

/* One slab or one large block. Out of band, so that what callers do to their bytes cannot reach it. One cache line. */
struct heap_desc {
    struct heap_desc *next, *prev; /* slabs with room: the circular list of the class, else null */
    uint8_t *base;                 /* first byte of the pages */
    uint8_t kind;                  /* enum heap_desc_kind */
    uint8_t class_index;           /* slabs: [0, HEAP_CLASSES) */
    uint16_t free;                 /* slabs: set bits of free_mask */
    uint32_t unused;
    union {
        uint64_t free_mask[HEAP_MASK_WORDS]; /* slabs: bit i set: object i is free */
        struct {
            npages_t pages;
            size_t asked_bytes;  /* by the last alloc or realloc: what free_sized is compared with */
            unsigned align_log2; /* of the base, kept by realloc */
            bool is_aligned;     /* the caller asked for the alignment: realloc may not move it into a slab */
        } large;
    };
};

_Static_assert(sizeof(struct heap_desc) == 64, "descriptors fill cache lines");
_Static_assert(offsetof(struct heap_desc, free_mask) == 32, "half of it is the mask");

enum {
    HEAP_DESC_PAGE_SLOTS = PAGE_BYTES / (int)sizeof(struct heap_desc), /* the first is the page's head */
};

/* Slot 0 of a page of descriptors. */
struct heap_desc_head {
    struct heap_desc_head *next, *prev; /* circular; pages with a free slot before those without */
    uint64_t free_mask;                 /* bit i set: slot i is free; bit 0 never */
    uint64_t unused[5];
};

_Static_assert(sizeof(struct heap_desc_head) == sizeof(struct heap_desc), "it is a slot");
_Static_assert(HEAP_DESC_PAGE_SLOTS == (int)HEAP_MASK_BITS, "one word tells the free slots of a page");

/* A page that nobody uses yet says so itself. */
struct heap_idle_page {
    struct heap_idle_page *next;
    bool is_pooled; /* came from the pool and goes back there if it is not needed after all */
};

/* All slabs of one object size. */
struct heap_class {
    struct heap_desc
        *list; /* circular: slabs with room; new and nearly full ones in front, the wholly free one last; null: none */
    uint64_t allocs, frees; /* objects ever; the difference is in use */
    uint64_t slabs;
    uint32_t reciprocal; /* 2^32 / object_bytes, rounded up: index = offset * reciprocal / 2^32, exact within a slab */
    uint16_t object_bytes;
    uint16_t objects; /* a slab */
    uint8_t pages;    /* a slab, 1..HEAP_SLAB_MAX_PAGES */
};

struct heap {
    struct heap_class classes[HEAP_CLASSES];
    struct heap_source source;
    struct heap_guard *guard; /* null: guard mode is off */

    /*
     * The page table of the heap: three levels of pages with 512 entries. A non-leaf word is a page's address with the
     * number of its non-null entries in the low twelve bits; a leaf entry is a descriptor's address.
     */
    uint64_t root; /* 0: no node at all */

    struct heap_desc_head *desc_pages; /* circular; null: none */
    struct heap_idle_page *pool;       /* pages held ready by heap_prefill */

    uint64_t held_pages; /* from the source, everything included */
    uint64_t desc_page_count, node_count, pool_pages;
    uint64_t large_blocks, large_pages, large_allocs;
    uint64_t misuses;
};

#endif
