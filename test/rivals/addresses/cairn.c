/*
 * The product's arena, behind the rivals' interface; and the list of all.
 *
 * Its steps are counted without a word in its sources: a second copy of them is compiled so that the compiler tells of
 * each access to memory (test/bench/arena_touched.c), and here it is said what lies where. A step is a thing of the
 * arena that a call touched, however often: a range's node, a node of the index, a word of the class map, the head of a
 * list, a stack of the cache. Counters and limits of the arena itself are not counted.
 */
#include "vmm/arena.h"

#include "rivals/addresses/addresses.h"
#ifdef ADDRESSES_TOUCHED
#include "bench/arena_touched.h"
#include "vmm/arena_node.h"
#endif

struct cairn {
    struct addresses head;
    struct arena arena;
};

/* ---- Counting ---- */

#ifdef ADDRESSES_TOUCHED
static void name_state(struct cairn *c)
{
    touched_know(&c->arena.class_words, sizeof c->arena.class_words, sizeof(uint64_t));
    touched_know(c->arena.class_map, sizeof c->arena.class_map, sizeof(uint64_t));
    touched_know(c->arena.classes, sizeof c->arena.classes, sizeof c->arena.classes[0]);
    touched_know(c->arena.cache, sizeof c->arena.cache, sizeof c->arena.cache[0]);
}

/* arena_reserve.c asks for a page of index nodes while it has not enough of them, and for the first page. */
static void name_page(const struct cairn *c, uint8_t *page)
{
    size_t nodes_bytes = PAGE_BYTES;
    if (c->arena.index == NULL || c->arena.spare_index_count < c->arena.index_below) {
        size_t indexes_bytes = PAGE_BYTES / sizeof(struct arena_index) * sizeof(struct arena_index);
        nodes_bytes = (PAGE_BYTES - indexes_bytes) / sizeof(struct arena_node) * sizeof(struct arena_node);
        touched_know(page + nodes_bytes, indexes_bytes, sizeof(struct arena_index));
    }
    touched_know(page, nodes_bytes, sizeof(struct arena_node));
}

static void begin(struct addresses *a)
{
    (void)a;
    touched_clear();
}
static void end(struct addresses *a) { a->steps = touched_things(); }
#else
static void name_state(struct cairn *c) { (void)c; }
static void name_page(const struct cairn *c, uint8_t *page) { (void)c, (void)page; }
static void begin(struct addresses *a) { (void)a; }
static void end(struct addresses *a) { (void)a; }
#endif

/* ---- The calls ---- */

static void *more(void *ctx)
{
    struct cairn *c = ctx;
    uint8_t *page = addresses_take(&c->head, PAGE_BYTES);
    if (page != NULL) {
        name_page(c, page);
    }
    return page;
}

static enum status start(void *memory, size_t bytes, uint64_t pages)
{
    size_t state_bytes = pages_to_bytes(bytes_to_pages_up(sizeof(struct cairn)));
    struct cairn *c = addresses_open(memory, bytes, state_bytes, pages);
    if (c == NULL) {
        return STATUS_NOMEM;
    }
    name_state(c);
    return arena_init(&c->arena, vaddr(0), vaddr_add_pages(vaddr(0), pages), (struct arena_source){c, more});
}

static enum status alloc(struct addresses *a, uint64_t pages, unsigned align_log2, uint64_t *first)
{
    struct cairn *c = ADDRESSES_STATE(cairn, a);
    if (!addresses_is_valid(pages, align_log2)) {
        return STATUS_INVALID;
    }
    begin(a);
    vaddr_t base;
    enum status s = arena_alloc(&c->arena, npages(pages), ARENA_ALIGN_PAGE + align_log2, "addresses", &base);
    if (s == STATUS_OK) {
        *first = vaddr_page_number(base);
    }
    end(a);
    return s;
}

static enum status free_range(struct addresses *a, uint64_t first)
{
    struct cairn *c = ADDRESSES_STATE(cairn, a);
    begin(a);
    enum status s = arena_free(&c->arena, vaddr_add_pages(vaddr(0), first));
    end(a);
    return s;
}

static bool find(struct addresses *a, uint64_t page, struct addresses_range *out)
{
    struct cairn *c = ADDRESSES_STATE(cairn, a);
    struct arena_range range;
    begin(a);
    bool found = arena_find(&c->arena, vaddr_add_pages(vaddr(0), page), &range) && range.tag != NULL;
    if (found) {
        *out = (struct addresses_range){vaddr_page_number(range.base), range.pages.v};
    }
    end(a);
    return found;
}

const struct addresses_subject ADDRESSES(cairn) = {"cairn", start, alloc, free_range, find};

const struct addresses_subject *const ADDRESSES(subjects)[ADDRESSES_SUBJECTS] = {
    &ADDRESSES(cairn),  &ADDRESSES(buddy2), &ADDRESSES(buddy4), &ADDRESSES(segments),
    &ADDRESSES(chunks), &ADDRESSES(list),   &ADDRESSES(tree),   &ADDRESSES(vmem),
};
