/* Between the files of the heap; nobody else includes it. Section numbers are those of heap.c. */
#ifndef CAIRN_HEAP_HEAP_INTERNAL_H
#define CAIRN_HEAP_HEAP_INTERNAL_H

#include "heap/cache.h"
#include "heap/heap.h"
#include "lib/macros.h"
#include "lib/report.h"

enum {
    HEAP_MIXED_MAX_BYTES = 15 * 1024, /* larger ones are pages */
    HEAP_BORROW_CLASSES = 4, /* how much larger an object may be than what a request needs, in classes */
    HEAP_BORROW_BYTES = HEAP_BORROW_CLASSES * HEAP_ALIGN_BYTES,
    HEAP_SMALL_PAGES = 256, /* of a heap that holds less, each page counts; of a larger one, each cycle of a call */
    HEAP_LEVELS_MAX = 3, /* nodes on the way from the tree's root to a leaf */
    HEAP_PAGE_ALIGN_LOG2 = __builtin_ctz(PAGE_BYTES),
    HEAP_NODE_ENTRIES = PAGE_BYTES / (int)sizeof(uint64_t),
    HEAP_NODE_ENTRIES_LOG2 = __builtin_ctz(HEAP_NODE_ENTRIES),
    HEAP_KIND_MASK = 7,
    HEAP_DESC_DETAIL_SHIFT = 4, /* eight bits */
    HEAP_DESC_ACTIVE = 1 << HEAP_DESC_DETAIL_SHIFT, /* slab: listed, or somebody's current one */
    HEAP_CACHE_COLOUR_SHIFT = HEAP_DESC_DETAIL_SHIFT + 1,
};

#define HEAP_ALIGN_MAX_BYTES GIB
#define HEAP_SPAN_BYTES      (512 * GIB)
#define HEAP_ABSURD_BYTES    (1UL << 47) /* above this nobody can mean it */

/* Count it, report it, answer MISUSE. */
#define HEAP_MISUSE(heap, ...) ((heap)->misuses++, misuse(__VA_ARGS__))

#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
/* Not on the way that is measured: compiled small. */
#define HEAP_RARE __attribute__((noinline, cold))

/* ---- Size classes (section 2) ---- */

/* The class of a request of 1..HEAP_SLAB_MAX_BYTES. */
static inline unsigned heap_class_of(size_t bytes)
{
    return (unsigned)((bytes - 1) / HEAP_ALIGN_BYTES);
}

static inline size_t heap_class_bytes(unsigned index)
{
    return (index + 1UL) * HEAP_ALIGN_BYTES;
}

/* To a multiple of `align_bytes`, a power of two; bytes + align_bytes does not overflow. */
static inline size_t heap_round_up(size_t bytes, size_t align_bytes)
{
    return (bytes + align_bytes - 1) & ~(align_bytes - 1);
}

/* ---- Descriptors ---- */

static inline enum heap_desc_kind heap_desc_kind(const struct heap_desc *desc)
{
    return (enum heap_desc_kind)(desc->base_and_kind & HEAP_KIND_MASK);
}

static inline uint8_t *heap_desc_base(const struct heap_desc *desc)
{
    return vaddr_to_ptr(vaddr_page(vaddr(desc->base_and_kind)));
}

/* ---- From a page to its descriptor (section 4), tree.c ---- */

/* The page's number in the span; HEAP_SPAN_BYTES / PAGE_BYTES or more: outside. */
static inline uint64_t heap_page_number(const struct heap *heap, const void *address)
{
    return vaddr_page_number(vaddr(ptr_to_vaddr(address).v - heap->source.span_base.v));
}

struct heap_desc *heap_find_slowly(const struct heap *heap, uint64_t page);
/* Have the leaf of this number, if there is one, among the recent ones. */
void heap_remember(struct heap *heap, uint64_t number);
/* No leaf is a recent one. */
void heap_forget_all(struct heap *heap);

/* A leaf without pages, which every page that is not ours has: of kind HEAP_DESC_NONE. Never written. */
extern struct heap_desc heap_no_leaf[HEAP_LEAF_PAGES];

/* A descriptor that may be the one of the page that holds the address: it is if its `base` says so. */
static inline struct heap_desc *heap_find_recent(const struct heap *heap, const void *address)
{
    uint64_t page = heap_page_number(heap, address);
    return &heap->recent[page / HEAP_LEAF_PAGES % HEAP_RECENT_LEAVES][page % HEAP_LEAF_PAGES];
}

/* The descriptor of the page that holds the address; never null: of kind HEAP_DESC_NONE when it is no page of ours. */
static inline struct heap_desc *heap_find_page(const struct heap *heap, const void *address)
{
    return heap_find_slowly(heap, heap_page_number(heap, address));
}

/* The same, and from a further page of a slab or block to its first. */
struct heap_desc *heap_find(const struct heap *heap, const void *address);

/* It is of this kind from now on, and says nothing else. => desc. */
struct heap_desc *heap_desc_begin(struct heap_desc *desc, uint64_t base_and_kind);

/* Leaves for the pages of [base, +pages), none of which is linked. => false: memory is short, nothing changed. */
bool heap_tree_cover(struct heap *heap, const void *base, npages_t pages);
/* What was covered and not linked: the tree is as before. */
struct heap_tree_mark {
    unsigned height;
    uint64_t spares;
};
static inline struct heap_tree_mark heap_tree_mark(const struct heap *heap)
{
    return (struct heap_tree_mark){heap->height, heap->spare_pages};
}
void heap_tree_uncover(struct heap *heap, const void *base, npages_t pages, struct heap_tree_mark before);
/* => the first page's descriptor; null: memory is short, nothing changed. */
struct heap_desc *heap_tree_link(struct heap *heap, void *base, npages_t pages, enum heap_desc_kind kind);
/* The block of `old` pages has `pages` now; the new ones are covered. Cannot fail. */
void heap_tree_extend(struct heap *heap, struct heap_desc *head, npages_t old, npages_t pages);
/* Those from its page `pages` on can be unlinked by themselves from now on. => false: memory is short. */
bool heap_tree_split_at(struct heap *heap, struct heap_desc *head, npages_t pages);
/* Leaves and nodes that become empty are spare pages then: heap_tree_drop. */
void heap_tree_unlink(struct heap *heap, const void *base, npages_t pages);
/*
 * Before this page is linked: if its leaf fills up, what the next one will need is made ready, a step at each call. So
 * the call that begins it gets no more pages and clears no more lines than any other. Where memory is short nothing is
 * lost but time.
 */
void heap_tree_make_ready(struct heap *heap, const void *base);
/* All of it at once: by a call for many pages, which is long as it is, and may have used what the others made ready. */
void heap_tree_make_all_ready(struct heap *heap);
/* One more page for a node or leaf lies ready. => false: memory is short. */
bool heap_tree_spare(struct heap *heap);
/* So many stay. */
void heap_tree_drop_spares(struct heap *heap, uint64_t pages);
/* So many go, if there are more than the tree will soon need. */
void heap_tree_drop(struct heap *heap, npages_t pages);
/* Give back nodes above the only thing that is left, and spare pages. */
void heap_tree_shrink(struct heap *heap);
struct heap_visitor {
    void (*leaf)(void *ctx, uint64_t number, struct heap_desc *leaf);
    /* A leaf's stretch that lies inside a large block; may be null. */
    void (*inside)(void *ctx, uint64_t number, struct heap_desc *head);
    void (*node)(void *ctx, uint64_t counted, uint64_t entries); /* may be null */
    void *ctx;
};
void heap_tree_walk(const struct heap *heap, const struct heap_visitor *visitor);

/* A high-water mark. */
static inline void heap_note_most(uint64_t *most, uint64_t now)
{
    *most = now > *most ? now : *most;
}

/* ---- Pages (section 5), pages.c ---- */

/* Pages and a descriptor with kind and base, the rest zero. Null: memory is short: nothing changed, but that no page
 * lies ready. */
struct heap_desc *heap_pages_open(struct heap *heap, enum heap_desc_kind kind, npages_t pages, unsigned align_log2,
                                  bool guarded);
/* All of it away, or, if it is one page that has no guards, kept for the next. Needs no memory. */
void heap_pages_close(struct heap *heap, struct heap_desc *desc, npages_t pages, bool guarded);
/* From the source itself, its answer checked; null when memory is short. */
void *heap_source_get(struct heap *heap, npages_t pages, unsigned align_log2, bool guarded);
void heap_source_put(struct heap *heap, void *base, npages_t pages);
/* Unlinked, and to the source; last, for the heap is whole again when that runs. */
void heap_pages_give_back(struct heap *heap, struct heap_desc *desc, npages_t pages);
/* So many pages more, in a number that wraps, are held from the source. */
void heap_hold(struct heap *heap, uint64_t more);
/* Are all these pages, of which there are no more than the span has, within it? */
bool heap_span_holds(const struct heap *heap, const void *base, npages_t pages);
/* Are they, and aligned? A source that answers otherwise would make the tree lie: reported, with what comes of it. */
bool heap_source_is_right(const struct heap *heap, const void *base, npages_t pages, unsigned align_log2,
                          const char *else_what);
/* Where memory is short, pages that lie ready may be what is missing: all go, and the tree's spare ones with them. =>
 * there were some, another try is worth it. */
bool heap_ready_empty(struct heap *heap);

/* ---- Slabs (section 3), slab.c ---- */

/* Of zeros until now. */
void heap_class_init(struct heap *heap, struct heap_class *class, size_t object_bytes);
/* One object when the class's word has none, or null. */
void *heap_slab_alloc_slowly(struct heap *heap, struct heap_class *class);
/* A word of the mask was empty, or may tell that the slab is. */
void heap_slab_freed_at_edge(struct heap *heap, struct heap_desc *slab);
/* heap_slab_alloc, where nobody waits for it. */
void *heap_slab_take(struct heap *heap, struct heap_class *class);
/* An object with an alignment below a page's, if the slab that its class takes from has such; or null. Of any size. */
void *heap_slab_alloc_aligned(struct heap *heap, size_t bytes, size_t align_bytes);

static inline void *heap_slab_alloc(struct heap *heap, struct heap_class *class)
{
    uint64_t mask = *class->word & class->word_valid;
    if (UNLIKELY(mask == 0)) {
        return heap_slab_alloc_slowly(heap, class);
    }
    *class->word = mask & (mask - 1);
    class->allocs++;
    return class->word_base + (uint32_t)__builtin_ctzl(mask) * class->step_bytes;
}

/* => false: it is not the start of an object of this slab that is in use. */
static inline bool heap_slab_free(struct heap *heap, struct heap_desc *slab, const void *object)
{
    const struct heap_class *class = slab->class;
    uint64_t offset = (uint64_t)((const uint8_t *)object - heap_desc_base(slab));
    uint64_t product = offset * class->reciprocal;
    if (UNLIKELY(offset >= class->limit_bytes || (uint32_t)product >= class->reciprocal)) {
        return false;
    }
    uint64_t index = product >> 32;
    uint64_t *word = &slab->free_mask[index / HEAP_WORD_BITS];
    uint64_t before = *word, after = before | 1UL << index % HEAP_WORD_BITS;
    if (UNLIKELY(after == before)) {
        return false;
    }
    *word = after;
    if (UNLIKELY(before == 0 || after == class->last_full || after == UINT64_MAX) && slab != class->stays) {
        heap_slab_freed_at_edge(heap, slab);
    }
    return true;
}

void heap_slab_owner_of(const struct heap_desc *slab, const void *address, struct heap_block *out);
/* The next class in turn, heap->turn, keeps no slab that is wholly free: what it takes from goes now, or when it is. */
void heap_slab_shrink_next(struct heap *heap);
/* The same for slabs of four pages, whose turn it is at 0, when a page goes that is not between guards. All classes
 * have theirs again then. => one has gone. */
bool heap_mixed_shrink(struct heap *heap);

/* ---- Mixed slabs (section 3), mixed.c ---- */

void heap_mixed_init(struct heap *heap);
/* Who serves it; null: nobody, it takes pages. */
struct heap_mixed *heap_mixed_for(struct heap *heap, size_t bytes);
void *heap_mixed_alloc(struct heap *heap, struct heap_mixed *mixed, size_t bytes);
/* Are there so few objects of about this size in mixed slabs that one more may lie there, not in a slab of its own? */
bool heap_mixed_takes_few(const struct heap *heap, size_t bytes);
void *heap_mixed_alloc_aligned(struct heap *heap, struct heap_mixed *mixed, size_t bytes, size_t align_bytes);
void heap_mixed_owner_of(const struct heap_desc *slab, const void *address, struct heap_block *out);
/* Of all its blocks. O(slabs with room). */
uint64_t heap_mixed_used_bytes(const struct heap_mixed *mixed);
/* So many blocks are in use. */
uint64_t heap_mixed_blocks(const struct heap_mixed *mixed);
/* To another size where it is. => false: it cannot. */
bool heap_mixed_resize(struct heap *heap, struct heap_desc *slab, const void *block, size_t bytes);
/* => false: it is not the start of a block. */
bool heap_mixed_free(struct heap *heap, struct heap_desc *slab, const void *block);

/* Is this a size that is served by whole pages? raw.c */
bool heap_takes_pages(struct heap *heap, size_t bytes);

/* ---- Large blocks (section 3), large.c ---- */

enum {
    HEAP_LARGE_PLAIN = 0,
    HEAP_LARGE_ALIGNED = 1 << 0, /* the caller asked for the alignment, and keeps it */
    HEAP_LARGE_GUARDED = 1 << 1, /* between guards even if it is a single page; several always are */
};

void *heap_large_alloc(struct heap *heap, size_t bytes, unsigned align_log2, unsigned flags);
void heap_large_free(struct heap *heap, struct heap_desc *large);

/* A large block that stays one, of so many pages, and is not copied (resize.c). => where it is now; null: not possible,
 * or memory is short: nothing changed. */
void *heap_large_resize(struct heap *heap, struct heap_desc *large, npages_t pages);

/* ---- Object caches: cache_view.c, cache_check.c, cache_make.c ---- */

/* 0: it is of no cache of this heap. O(caches). */
uint64_t heap_cache_slab_pages(const struct heap *heap, const struct heap_desc *slab);
void heap_cache_owner_of(const struct heap_desc *slab, const void *address, struct heap_block *out);
void heap_caches_add_stats(const struct heap *heap, struct heap_stats *stats);
void heap_caches_shrink(struct heap *heap);
/* Guard mode is on from now on. */
void heap_caches_count_ample(struct heap *heap);

/* ---- Whose address is this (section 6), owner.c ---- */

/* What is found. That it is a large block, or whose cache's object, says the caller afterwards. */
void heap_describe(struct heap_block *out, void *base, size_t usable_bytes, bool allocated, size_t class_bytes);

/*
 * The descriptor of the allocated block that starts here, and its usable bytes. Null, 0 bytes: none does, which is
 * reported as misuse of `call`.
 */
struct heap_desc *heap_start_of(struct heap *heap, const char *call, const void *block, size_t *usable_bytes);

/* Report why `block`, given to `call`, is not the start of an allocated block. => MISUSE. */
enum status heap_refuse(struct heap *heap, const char *call, const void *block);

#endif
