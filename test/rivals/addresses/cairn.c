/*
 * The product's arena, behind the rivals' interface; and the list of all.
 *
 * Its steps are counted without a word in its sources: a second copy of them is compiled so that the compiler tells of
 * each access to memory (test/bench/arena_touched.c), and here it is said what lies where. A step is a thing of the
 * arena that a call touched, however often: a range's node, a node of the index, a word of the class map, the head of a
 * list, a stack of the cache. Counters and limits of the arena itself are not counted.
 *
 * `bestfit` is the arena asked for the best fit each time; `imports` an arena that gets spans of 2 MiB from another,
 * as the arena of one space would get them from one for all.
 */
#include "vmm/arena.h"

#include "rivals/addresses/addresses.h"
#ifdef ADDRESSES_TOUCHED
#include "bench/arena_touched.h"
#include "vmm/arena_node.h"
#endif

struct cairn {
    struct addresses head;
    struct arena arena;  /* that is asked */
    struct arena parent; /* where its spans come from, and its nodes; index null: it imports nothing */
};

/* ---- Counting ---- */

#ifdef ADDRESSES_TOUCHED
static void name_arena(struct arena *a)
{
    touched_know(&a->class_words, sizeof a->class_words, sizeof(uint64_t));
    touched_know(a->class_map, sizeof a->class_map, sizeof(uint64_t));
    touched_know(a->classes, sizeof a->classes, sizeof a->classes[0]);
    touched_know(a->cache, sizeof a->cache, sizeof a->cache[0]);
}

static void name_state(struct cairn *c)
{
    name_arena(&c->arena);
    name_arena(&c->parent);
}

/* arena_reserve.c asks for a page of index nodes while it has not enough of them, and for the first page. */
static void name_page(const struct cairn *c, uint8_t *page)
{
    size_t nodes_bytes = PAGE_BYTES;
    const struct arena *a = c->parent.reserve != NULL ? &c->parent : &c->arena; /* who has the nodes */
    if (a->index == NULL || a->reserve->index_count < a->index_below) {
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

/* => null: too little memory. */
static struct cairn *open(void *memory, size_t bytes, uint64_t pages)
{
    size_t state_bytes = pages_to_bytes(bytes_to_pages_up(sizeof(struct cairn)));
    struct cairn *c = addresses_open(memory, bytes, state_bytes, pages);
    if (c != NULL) {
        name_state(c);
    }
    return c;
}

static enum status start(void *memory, size_t bytes, uint64_t pages)
{
    struct cairn *c = open(memory, bytes, pages);
    struct arena_source source = {c, more};
    return c == NULL ? STATUS_NOMEM : arena_init(&c->arena, vaddr(0), vaddr_add_pages(vaddr(0), pages), source);
}

static enum status get_span(void *ctx, npages_t pages, vaddr_t *base)
{
    struct cairn *c = ctx;
    return arena_alloc(&c->parent, pages, ARENA_ALIGN_PAGE + ARENA_LARGE_PAGES_LOG2, "span", base);
}

static void put_span(void *ctx, vaddr_t base, npages_t pages)
{
    struct cairn *c = ctx;
    (void)pages;
    enum status s = arena_free(&c->parent, base); /* it was whole when it was got */
    (void)s;
}

static enum status start_imports(void *memory, size_t bytes, uint64_t pages)
{
    struct cairn *c = open(memory, bytes, pages);
    struct arena_source source = {c, more};
    const vaddr_t end = vaddr_add_pages(vaddr(0), pages);
    enum status s = c == NULL ? STATUS_NOMEM : arena_init(&c->parent, vaddr(0), end, source);
    struct arena_spans spans = {c, npages(ARENA_LARGE_PAGES), get_span, put_span};
    return s == STATUS_OK ? arena_init_spans(&c->arena, vaddr(0), end, c->parent.reserve, spans) : s;
}

static enum status ask(struct addresses *a, uint64_t pages, unsigned align_log2, bool best_fit, uint64_t *first)
{
    struct cairn *c = ADDRESSES_STATE(cairn, a);
    if (!addresses_is_valid(pages, align_log2)) {
        return STATUS_INVALID;
    }
    struct arena_request r = {.pages = npages(pages),
                              .align_log2 = ARENA_ALIGN_PAGE + align_log2,
                              .tag = "addresses",
                              .best_fit = best_fit};
    begin(a);
    vaddr_t base;
    enum status s = best_fit ? arena_request(&c->arena, &r, &base)
                             : arena_alloc(&c->arena, r.pages, r.align_log2, r.tag, &base);
    if (s == STATUS_OK) {
        *first = vaddr_page_number(base);
    }
    end(a);
    return s;
}

static enum status alloc(struct addresses *a, uint64_t pages, unsigned align_log2, uint64_t *first)
{
    return ask(a, pages, align_log2, false, first);
}

static enum status alloc_best(struct addresses *a, uint64_t pages, unsigned align_log2, uint64_t *first)
{
    return ask(a, pages, align_log2, true, first);
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
const struct addresses_subject ADDRESSES(bestfit) = {"bestfit", start, alloc_best, free_range, find};
const struct addresses_subject ADDRESSES(imports) = {"imports", start_imports, alloc, free_range, find};

const struct addresses_subject *const ADDRESSES(subjects)[ADDRESSES_SUBJECTS] = {
    &ADDRESSES(cairn),  &ADDRESSES(bestfit), &ADDRESSES(imports), &ADDRESSES(buddy2), &ADDRESSES(buddy4),
    &ADDRESSES(segments), &ADDRESSES(chunks), &ADDRESSES(list),   &ADDRESSES(tree),   &ADDRESSES(vmem),
};
