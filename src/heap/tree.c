/*
 * From a page to its descriptor (heap.c, section 4): a tree of nodes that leads to leaves of HEAP_LEAF_PAGES
 * descriptors, no higher than what it holds lies apart.
 *
 * A word that leads to a node or leaf is its address with twice the number of non-null entries (leaf: linked pages) in
 * the low bits, so that what is empty is known without a look at it. A stretch that lies inside one large block has no
 * leaf: its word is the address of the block's descriptor, and odd.
 */
#include "heap/tree.h"

#include "lib/string.h"

struct heap_desc heap_no_leaf[HEAP_LEAF_PAGES];

static bool is_empty(uint64_t word)
{
    return page_offset_bytes(word) == 0;
}

/* Which entry of a node whose entries are `level` nodes above the leaves. */
static unsigned entry_of(uint64_t number, unsigned level)
{
    return (unsigned)(number >> (HEAP_NODE_ENTRIES_LOG2 * level)) % HEAP_NODE_ENTRIES;
}

static bool is_below_root(const struct heap *heap, uint64_t number)
{
    return heap->root != 0 && (number - heap->origin) >> (HEAP_NODE_ENTRIES_LOG2 * heap->height) == 0;
}

static void forget_at(struct heap *heap, unsigned at)
{
    heap->recent[at] = heap_no_leaf;
    heap->recent_words[at].number = UINT64_MAX;
}

void heap_forget_all(struct heap *heap)
{
    for (unsigned i = 0; i < HEAP_RECENT_LEAVES; i++) {
        forget_at(heap, i);
    }
}

uint64_t *heap_path_to(const struct heap *heap, uint64_t number, struct heap_path *path)
{
    uint64_t *word = (uint64_t *)&heap->root; /* who only looks does not write through it */
    path->last = 0;
    path->words[0] = word;
    if (!is_below_root(heap, number)) {
        return NULL;
    }
    for (unsigned level = heap->height; level > 0;) {
        if (*word == 0) {
            return NULL;
        }
        level--;
        word = &node_of(*word)[entry_of(number, level)];
        path->words[++path->last] = word;
    }
    return word;
}

struct heap_desc *heap_find_slowly(const struct heap *heap, uint64_t page)
{
    struct heap_path path;
    const uint64_t *word = heap_path_to(heap, page / HEAP_LEAF_PAGES, &path);
    if (word == NULL || *word == 0) {
        return heap_no_leaf;
    }
    return (*word & HEAP_INSIDE) != 0 ? vaddr_to_ptr(vaddr(*word - HEAP_INSIDE))
                                      : &leaf_of(*word)[page % HEAP_LEAF_PAGES];
}

struct heap_desc *heap_find(const struct heap *heap, const void *address)
{
    struct heap_desc *desc = heap_find_page(heap, address);
    return heap_desc_kind(desc) == HEAP_DESC_TAIL ? heap_find_page(heap, heap_desc_base(desc)) : desc;
}

/* The word of the leaf or of the stretch inside a block. => null: the way there ends before. */
static uint64_t *find_word(struct heap *heap, uint64_t number, struct heap_path *path)
{
    uint64_t *word = heap_path_to(heap, number, path);
    if (word != NULL && *word != 0 && (*word & HEAP_INSIDE) == 0) {
        unsigned at = number % HEAP_RECENT_LEAVES;
        heap->recent[at] = leaf_of(*word);
        heap->recent_words[at].number = number;
        heap->recent_words[at].word = word;
    }
    return word;
}

void heap_remember(struct heap *heap, uint64_t number)
{
    struct heap_path path;
    (void)find_word(heap, number, &path);
}

/* The word of the page's leaf if that is at hand and this is the only page. Mostly it is. */
__attribute__((always_inline)) static inline uint64_t *word_of_one(const struct heap *heap, uint64_t page,
                                                                   npages_t pages)
{
    return pages.v == 1 ? heap_recent_word(heap, page / HEAP_LEAF_PAGES) : NULL;
}

/* An entry of the word above, if there is one, has become non-null or null. */
static void count_above(struct heap_path *path, unsigned at, int entries)
{
    if (at > 0) {
        *path->words[at - 1] += (uint64_t)((int64_t)entries * HEAP_COUNT_ONE);
    }
}

bool heap_tree_grow_to(struct heap *heap, uint64_t number)
{
    if (heap->root == 0) {
        heap->height = 0;
        heap->origin = number;
        return true;
    }
    while (!is_below_root(heap, number)) {
        uint64_t node = heap_tree_new_page(heap, false);
        if (node == 0) {
            return false;
        }
        uint64_t first = heap->origin, *word = &node_of(node)[entry_of(first, heap->height)];
        *word = heap->root;
        heap->root = node + HEAP_COUNT_ONE;
        if (heap->height++ == 0) {
            heap->recent_words[first % HEAP_RECENT_LEAVES].word = word; /* the only leaf's has moved */
        }
        heap->origin &= ~0UL << (HEAP_NODE_ENTRIES_LOG2 * heap->height);
    }
    return true;
}

/* Nodes down to the leaf's word, and the leaf if it is wanted. => false: memory is short. */
static bool ensure(struct heap *heap, uint64_t number, bool with_leaf)
{
    if (!heap_tree_grow_to(heap, number)) {
        return false;
    }
    for (;;) {
        struct heap_path path;
        (void)find_word(heap, number, &path); /* a leaf that is there is a recent one: who links its page finds it */
        uint64_t *word = path.words[path.last];
        bool is_leaf = path.last == heap->height;
        if (*word != 0 || (is_leaf && !with_leaf)) {
            return true;
        }
        *word = heap_tree_new_page(heap, is_leaf);
        if (*word == 0) {
            return false;
        }
        count_above(&path, path.last, 1);
    }
}

/* What is empty on the way to the leaf becomes spare pages. */
static void trim(struct heap *heap, uint64_t number)
{
    struct heap_path path;
    (void)heap_path_to(heap, number, &path);
    for (unsigned at = path.last + 1; at-- > 0;) {
        uint64_t word = *path.words[at];
        if (!is_empty(word)) {
            return;
        }
        if (word != 0) {
            *path.words[at] = 0;
            count_above(&path, at, -1);
            forget_at(heap, number % HEAP_RECENT_LEAVES); /* be it this one or another */
            heap_tree_retire(heap, word, at == heap->height);
        }
    }
}

/* Levels with nothing but one entry become spare pages, down to so many levels. */
static void lower(struct heap *heap, unsigned height)
{
    while (heap->height > height && page_offset_bytes(heap->root) == HEAP_COUNT_ONE) {
        uint64_t *node = node_of(heap->root), word = heap->root;
        unsigned only = 0;
        while (node[only] == 0) {
            only++;
        }
        if ((node[only] & HEAP_INSIDE) != 0) {
            return;
        }
        heap->height--;
        heap->origin += (uint64_t)only << (HEAP_NODE_ENTRIES_LOG2 * heap->height);
        heap->root = node[only];
        heap_remember(heap, heap->origin); /* if it is a leaf now, its word has moved */
        heap_tree_retire(heap, word, false);
    }
}

void heap_tree_shrink(struct heap *heap)
{
    lower(heap, 0);
    heap_tree_drop_spares(heap, 0);
}

/* Does the block [first, end) hold all of this stretch and begin before it? */
static bool lies_inside(uint64_t number, uint64_t first, uint64_t end)
{
    return number * HEAP_LEAF_PAGES > first && (number + 1) * HEAP_LEAF_PAGES <= end;
}

void heap_tree_uncover(struct heap *heap, const void *base, npages_t pages, struct heap_tree_mark before)
{
    uint64_t first = heap_page_number(heap, base), end = first + pages.v;
    for (uint64_t number = first / HEAP_LEAF_PAGES; number * HEAP_LEAF_PAGES < end; number++) {
        trim(heap, number);
    }
    lower(heap, before.height);
    heap_tree_drop_spares(heap, before.spares);
}

bool heap_tree_cover(struct heap *heap, const void *base, npages_t pages)
{
    uint64_t first = heap_page_number(heap, base), end = first + pages.v;
    struct heap_tree_mark before = heap_tree_mark(heap);
    for (uint64_t number = first / HEAP_LEAF_PAGES; number * HEAP_LEAF_PAGES < end; number++) {
        if (!ensure(heap, number, !lies_inside(number, first, end))) {
            heap_tree_uncover(heap, base, pages, before);
            return false;
        }
    }
    return true;
}

/* The word of the leaf or of the stretch inside a block, which there is. */
static uint64_t *word_of(struct heap *heap, uint64_t number, struct heap_path *path)
{
    uint64_t *word = heap_recent_word(heap, number);
    return word != NULL ? word : find_word(heap, number, path);
}

/* Pages [page, end) belong to the block that begins at `base` with the descriptor `head`; null: it is the first one's.
 * => head. */
static struct heap_desc *link_pages(struct heap *heap, const void *base, struct heap_desc *head, uint64_t page,
                                    uint64_t end)
{
    uint64_t first = page;
    while (page < end) {
        struct heap_path path;
        uint64_t *word = word_of(heap, page / HEAP_LEAF_PAGES, &path);
        if (*word == 0) {
            ASSERT(lies_inside(page / HEAP_LEAF_PAGES, first, end));
            *word = ptr_to_vaddr(head).v + HEAP_INSIDE;
            count_above(&path, path.last, 1);
            page += HEAP_LEAF_PAGES;
            continue;
        }
        struct heap_desc *leaf = leaf_of(*word);
        head = head == NULL ? &leaf[page % HEAP_LEAF_PAGES] : head;
        do {
            ASSERT(leaf[page % HEAP_LEAF_PAGES].base_and_kind == 0);
            leaf[page % HEAP_LEAF_PAGES].base_and_kind = ptr_to_vaddr(base).v + HEAP_DESC_TAIL;
            *word += HEAP_COUNT_ONE;
            page++;
        } while (page < end && page % HEAP_LEAF_PAGES != 0);
    }
    return head;
}

__attribute__((noinline)) struct heap_desc *heap_desc_begin(struct heap_desc *desc, uint64_t base_and_kind)
{
    /* Word by word, from a register: where code is to be small the compiler makes of a whole one a string instruction,
     * and of stores of 0 what reads first. Both take longer. */
    uint64_t none = 0;
    __asm__("" : "+r"(none));
    for (unsigned i = 0; i < HEAP_SLAB_WORDS; i++) {
        desc->free_mask[i] = none;
    }
    desc->class = vaddr_to_ptr(vaddr(none));
    desc->next = desc->prev = vaddr_to_ptr(vaddr(none));
    desc->base_and_kind = base_and_kind;
    return desc;
}

struct heap_desc *heap_tree_link(struct heap *heap, void *base, npages_t pages, enum heap_desc_kind kind)
{
    uint64_t first = heap_page_number(heap, base);
    uint64_t *only = word_of_one(heap, first, pages);
    struct heap_desc *head;
    if (LIKELY(only != NULL)) {
        head = &leaf_of(*only)[first % HEAP_LEAF_PAGES];
        *only += HEAP_COUNT_ONE;
    } else if (heap_tree_cover(heap, base, pages)) {
        head = link_pages(heap, base, NULL, first, first + pages.v);
    } else {
        return NULL;
    }
    return heap_desc_begin(head, ptr_to_vaddr(base).v + kind);
}

void heap_tree_extend(struct heap *heap, struct heap_desc *head, npages_t old, npages_t pages)
{
    uint64_t first = heap_page_number(heap, heap_desc_base(head));
    (void)link_pages(heap, heap_desc_base(head), head, first + old.v, first + pages.v);
}

void heap_tree_unlink(struct heap *heap, const void *base, npages_t pages)
{
    uint64_t page = heap_page_number(heap, base), end = page + pages.v;
    uint64_t *only = word_of_one(heap, page, pages);
    if (LIKELY(only != NULL)) {
        leaf_of(*only)[page % HEAP_LEAF_PAGES].base_and_kind = 0;
        *only -= HEAP_COUNT_ONE;
        if (UNLIKELY(is_empty(*only))) {
            trim(heap, page / HEAP_LEAF_PAGES);
        }
        return;
    }
    while (page < end) {
        struct heap_path path;
        uint64_t number = page / HEAP_LEAF_PAGES;
        uint64_t *word = word_of(heap, number, &path);
        if ((*word & HEAP_INSIDE) != 0) {
            *word = 0;
            count_above(&path, path.last, -1);
            page = (number + 1) * HEAP_LEAF_PAGES;
        } else {
            struct heap_desc *leaf = leaf_of(*word);
            do {
                leaf[page % HEAP_LEAF_PAGES].base_and_kind = 0;
                *word -= HEAP_COUNT_ONE;
                page++;
            } while (page < end && page % HEAP_LEAF_PAGES != 0);
        }
        if (is_empty(*word)) {
            trim(heap, number);
        }
    }
}

bool heap_tree_split_at(struct heap *heap, struct heap_desc *head, npages_t pages)
{
    uint64_t end = heap_page_number(heap, heap_desc_base(head)) + pages.v, number = end / HEAP_LEAF_PAGES;
    struct heap_path path;
    uint64_t *word = word_of(heap, number, &path);
    if (end % HEAP_LEAF_PAGES == 0 || (*word & HEAP_INSIDE) == 0) {
        return true;
    }
    uint64_t leaf = heap_tree_new_page(heap, true);
    if (leaf == 0) {
        return false;
    }
    for (unsigned i = 0; i < HEAP_LEAF_PAGES; i++) {
        leaf_of(leaf)[i].base_and_kind = ptr_to_vaddr(heap_desc_base(head)).v + HEAP_DESC_TAIL;
    }
    *word = leaf + (uint64_t)HEAP_LEAF_PAGES * HEAP_COUNT_ONE;
    return true;
}
