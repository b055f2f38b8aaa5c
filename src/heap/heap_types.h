/* What a heap is made of; heap.c tells the theory. Included by heap.h only. */
#ifndef CAIRN_HEAP_HEAP_TYPES_H
#define CAIRN_HEAP_HEAP_TYPES_H

enum {
    HEAP_SLAB_MAX_BYTES = 384, /* larger blocks lie in mixed slabs, or are pages */
    HEAP_CLASSES = HEAP_SLAB_MAX_BYTES / HEAP_ALIGN_BYTES,
    HEAP_WORD_BITS = 64,
    HEAP_SLAB_WORDS = PAGE_BYTES / HEAP_ALIGN_BYTES / HEAP_WORD_BITS,
    HEAP_MIXED_KINDS = 2,
    HEAP_RARE_ALLOCS = 256, /* a class that was asked for more often has a slab, however few of it are in use */
    HEAP_LEAF_PAGES = PAGE_BYTES / 64,
    HEAP_RECENT_LEAVES = 256, /* of 64 MiB */
    HEAP_READY_SHARE = 8, /* of the pages held one in so many may be kept ready, */
    HEAP_READY_PAGES = 64, /* but no more than these; and one always */
};

enum heap_desc_kind {
    HEAP_DESC_NONE,
    HEAP_DESC_SLAB,
    HEAP_DESC_MIXED,
    HEAP_DESC_LARGE,
    HEAP_DESC_TAIL,  /* a further page of what begins at `base` */
    HEAP_DESC_READY, /* held, and in no block */
    HEAP_DESC_CACHE, /* slab of an object cache: cache.c */
};

struct heap_cache;
struct heap_class;
struct heap_mixed;

/* In a ring with the head of a bin: what leaves it needs no look at who its neighbours are. */
struct heap_link {
    struct heap_link *next, *prev;
};

/* One page: a cache line, out of band, so that what callers do to their bytes cannot reach it. */
struct heap_desc {
    union {
        uint64_t free_mask[HEAP_SLAB_WORDS]; /* slab of either kind: bit i set: object i is free */
        struct {
            uint64_t free;   /* granules */
            uint64_t starts; /* of blocks in use, their first granules */
            uint8_t hole;    /* granules of the greatest hole: the bin that it is in; 0: none, and in no bin */
            uint8_t hole_at; /* where such a one begins */
        } mixed;
        struct {
            npages_t pages;
            size_t asked_bytes;  /* by the last alloc or realloc: what free_sized is compared with */
            uint32_t align_log2; /* of the base, kept by realloc */
            bool is_aligned;     /* the caller asked for the alignment: realloc may not move it into a slab */
            bool is_guarded;     /* it lies between guards */
        } large;
    };
    union {
        struct heap_class *class; /* slab */
        struct heap_mixed *owner; /* mixed */
        struct heap_cache *cache;
    };
    union {
        struct {
            struct heap_desc *next, *prev; /* slab: those of the class with room; else null */
        };
        struct heap_link link; /* mixed: those of the bin, and its head; in no bin: only the head of that one */
    };
    /* Low bits: enum heap_desc_kind, and from HEAP_DESC_DETAIL_SHIFT on what the kind wants; the rest: the first byte
     * of the slab or block. */
    uint64_t base_and_kind;
};

_Static_assert(sizeof(struct heap_desc) == 64, "descriptors fill cache lines");

/* All slabs of one object size. */
struct heap_class {
    /* Lines of its own. Where the next object comes from: a word of some slab's mask, the place of its bit 0, and from
     * bit to bit. */
    _Alignas(64) uint64_t *word; /* never null */
    uint64_t word_valid;         /* bits of it that stand for objects */
    uint8_t *word_base;
    uint32_t step_bytes;
    uint64_t allocs; /* objects ever */

    /* 2^32 / object_bytes, rounded up. For the product of it and an offset into a slab: the upper half is the object's
     * index, and the lower one is less than it exactly where an object begins. */
    uint32_t reciprocal;
    uint32_t limit_bytes; /* of all objects of a slab */
    uint64_t last_full; /* the last word of the mask of a slab that is wholly free */

    struct heap_desc *stays; /* the current slab, if it stays when it becomes wholly free; else null */
    struct heap_desc *list; /* slabs with room, but the current ones: those that had none for the longest time */
    struct heap_desc *last; /* of the list */
    struct heap_desc *current; /* the slab of `word`, of this class or a larger one; null: none, the word is empty */
    uint64_t slabs, most_slabs; /* now; at most at a time */
    uint16_t object_bytes;
    uint16_t objects; /* a slab */
    uint16_t words;   /* of the mask that are used */
    uint16_t rare_left; /* allocations that may still go to mixed slabs */
};

/* Slabs in which blocks of all sizes lie. */
struct heap_mixed {
    unsigned granule_log2, pages;
    bool stays; /* the first slab that is wholly free; others go, and so does it if it is a single page */
    uint64_t slabs, most_slabs, allocs;
    uint64_t nonempty;                         /* bit i: bins[i + 1] is not empty; the last one says nothing */
    struct heap_link bins[HEAP_WORD_BITS + 1]; /* heads; [n]: slabs whose greatest hole is of n granules; [0]: none */
    uint32_t lengths[HEAP_WORD_BITS + 1];      /* [n]: blocks of n granules in use */
};

/* A page for a node or leaf that is not used yet begins so. */
struct heap_spare {
    struct heap_spare *next;
    size_t dirty_bytes; /* at its beginning, this included, are not yet zero */
    bool was_leaf;      /* as a leaf it is clean but for those, as a node it is not */
};

struct heap {
    /* First what is often named in the code: offsets below 128 make it shorter. */
    struct heap_guard *guard; /* null: guard mode is off */
    bool guards_blocks;       /* it is on for more than object caches */
    uint8_t turn;             /* when pages go back: so many classes are still to be looked at */

    /* The tree that leads to the leaves (tree.c). */
    unsigned height;
    uint64_t root;
    uint64_t origin;           /* the first leaf's number below the root */
    struct heap_spare *spares; /* pages for nodes and leaves */
    uint64_t spare_pages;

    struct heap_desc *ready; /* singly linked */
    uint64_t ready_pages;
    uint64_t prefilled_pages; /* so many of them stay until they are used */
    uint64_t held_pages; /* from the source, everything included */
    void *got;           /* a page that is to become a spare one; null: none */
    uint64_t misuses;
    struct heap_source source; /* its first four */

    uint64_t most_held_pages; /* at a time */
    union {
        struct {
            uint64_t node_count, leaf_count;
        };
        uint64_t tree_pages[2]; /* [is it a leaf?] */
    };
    uint64_t large_blocks, large_pages, large_allocs;
    struct heap_cache *caches;  /* in the order they were made */
    uint64_t past_cache_allocs; /* of caches destroyed */
    uint64_t no_room;           /* always 0: the word of a class without a slab */

    struct heap_class classes[HEAP_CLASSES];
    /* Leaves found of late, by the low bits of their numbers; those of no leaf lead to heap_no_leaf. */
    struct heap_desc *recent[HEAP_RECENT_LEAVES];
    struct {
        uint64_t number; /* the page number / HEAP_LEAF_PAGES */
        uint64_t *word;  /* that leads to it */
    } recent_words[HEAP_RECENT_LEAVES];
    struct heap_mixed mixed[HEAP_MIXED_KINDS];
};

#endif
