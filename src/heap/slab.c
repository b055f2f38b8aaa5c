/* Slabs (heap.c, section 3): objects of one size in a page. */
#include "heap/heap_internal.h"

static uint64_t whole_word(const struct heap_class *class, unsigned word)
{
    return word + 1 == class->words ? class->last_full : UINT64_MAX;
}

static void forget_current(struct heap *heap, struct heap_class *class)
{
    class->current = class->stays = NULL;
    class->word = &heap->no_room;
}

HEAP_RARE void heap_class_init(struct heap *heap, struct heap_class *class, size_t object_bytes)
{
    unsigned objects = (unsigned)(PAGE_BYTES / object_bytes);
    class->reciprocal = (uint32_t)(((1UL << 32) + object_bytes - 1) / object_bytes);
    class->object_bytes = (uint16_t)object_bytes;
    class->limit_bytes = (uint32_t)(objects * object_bytes);
    class->objects = (uint16_t)objects;
    class->words = (uint16_t)((objects + HEAP_WORD_BITS - 1) / HEAP_WORD_BITS);
    class->rare_left = HEAP_RARE_ALLOCS;
    class->last_full = UINT64_MAX >> (-objects % HEAP_WORD_BITS);
    forget_current(heap, class);
}

static void list_remove(struct heap_class *class, struct heap_desc *slab)
{
    struct heap_desc *next = slab->next, *prev = slab->prev;
    if (next != NULL) {
        next->prev = prev;
    } else {
        class->last = prev;
    }
    if (prev != NULL) {
        prev->next = next;
    } else {
        class->list = next;
    }
}

static void list_push(struct heap_class *class, struct heap_desc *slab)
{
    struct heap_desc *last = class->last;
    slab->next = NULL;
    slab->prev = last;
    if (last != NULL) {
        last->next = slab;
    } else {
        class->list = slab;
    }
    class->last = slab;
    slab->base_and_kind |= HEAP_DESC_ACTIVE;
}

/* The class that takes from this slab, its own or one that borrowed it; null: none does. */
static struct heap_class *user_of(struct heap *heap, struct heap_class *class, const struct heap_desc *slab)
{
    for (unsigned i = 0; i <= HEAP_BORROW_CLASSES && i <= class - heap->classes; i++) {
        if (class[-(int)i].current == slab) {
            return &class[-(int)i];
        }
    }
    return NULL;
}

/* A mask with bits beyond its objects, or with none where there should be some: something overwrote it. It is taken out
 * of use; what it holds stays. */
HEAP_RARE static void isolate(const struct heap_class *class, struct heap_desc *slab)
{
    report(REPORT_CORRUPT,
           "heap: slab %p of class %u has %u objects, yet its mask is %#lx %#lx %#lx %#lx: taken out of use",
           (void *)heap_desc_base(slab), class->object_bytes, class->objects, slab->free_mask[0], slab->free_mask[1],
           slab->free_mask[2], slab->free_mask[3]);
    for (unsigned i = 0; i < HEAP_SLAB_WORDS; i++) {
        slab->free_mask[i] = 0;
    }
    slab->base_and_kind &= ~(uint64_t)HEAP_DESC_ACTIVE; /* it is on no list now; a free lists it again, with that */
}

/* The next word with room of the slab, which is of class `from`, serves `class`. => false: it has no room, or one that
 * cannot be. */
static inline bool use(struct heap_class *class, struct heap_desc *slab, const struct heap_class *from)
{
    unsigned word = 0;
    while (slab->free_mask[word] == 0) {
        if (++word == from->words) {
            return false;
        }
    }
    class->word_valid = whole_word(from, word);
    if (UNLIKELY((slab->free_mask[word] & ~class->word_valid) != 0)) {
        return false;
    }
    class->current = class->stays = slab;
    class->word = &slab->free_mask[word];
    class->word_base = heap_desc_base(slab) + (size_t)word * HEAP_WORD_BITS * from->object_bytes;
    class->step_bytes = from->object_bytes;
    return true;
}

/* The first slab of `from`, a class of this size or a larger one, is what `class` takes from next. => false: it has
 * none. */
__attribute__((noinline)) static bool take_from(struct heap_class *class, struct heap_class *from)
{
    struct heap_desc *slab;
    while ((slab = from->list) != NULL) {
        struct heap_desc *next = slab->next;
        from->list = next;
        *(next != NULL ? &next->prev : &from->last) = NULL;
        if (LIKELY(use(class, slab, from))) {
            return true;
        }
        isolate(from, slab);
    }
    return false;
}

__attribute__((noinline)) static bool borrow(struct heap *heap, struct heap_class *class)
{
    const struct heap_class *end = heap->classes + HEAP_CLASSES;
    for (struct heap_class *larger = class + 1; larger < end && larger - class <= HEAP_BORROW_CLASSES; larger++) {
        if (larger->list != NULL && take_from(class, larger)) {
            return true;
        }
    }
    return false;
}

__attribute__((noinline)) static bool open_slab(struct heap *heap, struct heap_class *class)
{
    struct heap_desc *slab = heap_pages_open(heap, HEAP_DESC_SLAB, npages(1), HEAP_PAGE_ALIGN_LOG2, false);
    if (slab == NULL) {
        return false;
    }
    slab->class = class;
    for (unsigned word = 0; word < class->words; word++) {
        slab->free_mask[word] = whole_word(class, word);
    }
    class->slabs++;
    heap_note_most(&class->most_slabs, class->slabs);
    slab->base_and_kind |= HEAP_DESC_ACTIVE;
    return use(class, slab, class);
}

/* The current slab has no object left in the current word. => one in another word serves the class now. */
static bool leave_word(struct heap *heap, struct heap_class *class)
{
    struct heap_desc *slab = class->current;
    if (UNLIKELY(slab == NULL)) {
        return false;
    }
    if (slab->class->words > 1 && use(class, slab, slab->class)) {
        return true;
    }
    forget_current(heap, class);
    if (UNLIKELY((slab->free_mask[0] | slab->free_mask[1] | slab->free_mask[2] | slab->free_mask[3]) != 0)) {
        isolate(slab->class, slab);
    }
    slab->base_and_kind &= ~(uint64_t)HEAP_DESC_ACTIVE;
    return false;
}

/* There are few objects of the class, and few were asked for until now: they share pages with others. */
static bool is_rare(const struct heap *heap, struct heap_class *class)
{
    if (class->rare_left == 0 || !heap_mixed_takes_few(heap, class->object_bytes)) {
        return false;
    }
    class->rare_left--;
    return true;
}

void *heap_slab_alloc_slowly(struct heap *heap, struct heap_class *class)
{
    if (!leave_word(heap, class) && !take_from(class, class)) {
        bool lies_with_others = is_rare(heap, class);
        if (lies_with_others || (!borrow(heap, class) && !open_slab(heap, class))) {
            void *block = heap_mixed_alloc(heap, &heap->mixed[0], class->object_bytes);
            if (block != NULL || !lies_with_others || !borrow(heap, class)) {
                return block;
            }
        }
    }
    return heap_slab_take(heap, class);
}

__attribute__((noinline)) void *heap_slab_take(struct heap *heap, struct heap_class *class)
{
    return heap_slab_alloc(heap, class);
}

void *heap_slab_alloc_aligned(struct heap *heap, size_t bytes, size_t align_bytes)
{
    /* Slabs are page-aligned, and so is each object whose size is a multiple of the alignment. */
    size_t rounded = heap_round_up(bytes, align_bytes);
    if (rounded > HEAP_SLAB_MAX_BYTES) {
        return NULL;
    }
    struct heap_class *class = &heap->classes[heap_class_of(rounded)];
    bool is_there = (*class->word & class->word_valid) != 0 && (class->step_bytes & (align_bytes - 1)) == 0;
    return is_there ? heap_slab_take(heap, class) : NULL;
}

static bool is_wholly_free(const struct heap_desc *slab, const struct heap_class *class)
{
    for (unsigned word = 0; word < class->words; word++) {
        if (slab->free_mask[word] != whole_word(class, word)) {
            return false;
        }
    }
    return true;
}

/* A slab that is wholly free is its class's no more. => false: it is not wholly free. */
static bool leave_if_idle(struct heap *heap, struct heap_desc *slab)
{
    struct heap_class *class = slab->class;
    if (!is_wholly_free(slab, class)) {
        return false;
    }
    struct heap_class *user = user_of(heap, class, slab);
    if (user != NULL) {
        forget_current(heap, user);
    } else {
        list_remove(class, slab);
    }
    class->slabs--;
    return true;
}

void heap_slab_freed_at_edge(struct heap *heap, struct heap_desc *slab)
{
    struct heap_class *class = slab->class;
    if ((slab->base_and_kind & HEAP_DESC_ACTIVE) == 0) {
        list_push(class, slab); /* it had no room for the shortest time */
    }
    bool may_be_idle = slab->free_mask[class->words - 1] == class->last_full; /* a call for few */
    if (may_be_idle && leave_if_idle(heap, slab)) {
        heap_pages_close(heap, slab, npages(1), false);
    }
}

void heap_slab_shrink_next(struct heap *heap)
{
    if (heap->turn == 0) {
        heap->turn = HEAP_CLASSES;
    }
    struct heap_class *class = &heap->classes[--heap->turn];
    struct heap_desc *slab = class->current;
    class->stays = NULL;
    if (slab != NULL && leave_if_idle(heap, slab)) {
        heap_pages_give_back(heap, slab, npages(1));
    }
}

HEAP_RARE void heap_slab_owner_of(const struct heap_desc *slab, const void *address, struct heap_block *out)
{
    const struct heap_class *class = slab->class;
    uint32_t offset = (uint32_t)((const uint8_t *)address - heap_desc_base(slab));
    uint32_t index = offset / class->object_bytes;
    bool is_object = index < class->objects;
    uint64_t mask = is_object ? slab->free_mask[index / HEAP_WORD_BITS] : 0;
    heap_describe(out, heap_desc_base(slab) + index * class->object_bytes, is_object ? class->object_bytes : 0,
                  is_object && (mask >> index % HEAP_WORD_BITS & 1) == 0, class->object_bytes);
}
