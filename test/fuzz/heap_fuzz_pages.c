/*
 * The page source of the heap's fuzz program: some hundred pages in three places far apart, so that the heap's tree is
 * of all heights. Pages that are not given out, guards among them, are poisoned for AddressSanitizer: an access is a
 * finding. Everything that the heap may not do to its source is one.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "heap_fuzz.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAS_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_POISON 1
#endif
#endif
#ifdef HAS_POISON
#include <sanitizer/asan_interface.h>
#define POISON(at, bytes)   ASAN_POISON_MEMORY_REGION(at, bytes)
#define UNPOISON(at, bytes) ASAN_UNPOISON_MEMORY_REGION(at, bytes)
#else
#define POISON(at, bytes)   ((void)(at), (void)(bytes))
#define UNPOISON(at, bytes) ((void)(at), (void)(bytes))
#endif

enum state { IDLE, EDGE, HEAD, GUARD, GUARDED_HEAD, BODY }; /* EDGE: between two places, never given out */
enum { PLACES = 3, LEAF_PAGES = 64, NODE_LEAVES = 512, FRESH_PAGES = 2, FRESH_BYTE = 0xA5 };

/* Pages are numbered through all places; the last of each is an edge. */
static const struct {
    uint64_t first, count, offset_pages;
} places[PLACES] = {
    {0, 500, 0}, {500, 150, 1UL * LEAF_PAGES *NODE_LEAVES + 30}, {650, 90, 300UL * LEAF_PAGES *NODE_LEAVES}};
enum { PAGES = 740, RESERVED_PAGES = 301 * LEAF_PAGES * NODE_LEAVES };

struct pages pages;
static uint8_t *arena;
static uint8_t states[PAGES];
static bool read_only[PAGES];

static unsigned place_of(uint64_t page)
{
    return page < places[1].first ? 0 : page < places[2].first ? 1 : 2;
}

static uint8_t *at_page(uint64_t page)
{
    unsigned i = place_of(page);
    return arena + pages_to_bytes(npages(places[i].offset_pages + page - places[i].first));
}

/* PAGES: none of them. */
static uint64_t page_of(const void *address)
{
    uint64_t n = bytes_to_pages_down(ptr_to_vaddr(address).v - ptr_to_vaddr(arena).v).v;
    for (unsigned i = 0; i < PLACES; i++) {
        if (n >= places[i].offset_pages && n - places[i].offset_pages < places[i].count) {
            return places[i].first + n - places[i].offset_pages;
        }
    }
    return PAGES;
}

static bool is_refused(bool is_short)
{
    MUST(!pages.forbids_requests);
    bool refused = is_short || (pages.fail_at > 0 && --pages.fail_at == 0);
    pages.refusals += refused;
    return refused;
}

static void give(uint64_t first, uint64_t count)
{
    UNPOISON(at_page(first), pages_to_bytes(npages(count)));
    memset(&states[first], BODY, count);
    memset(at_page(first), FRESH_BYTE, pages_to_bytes(npages(count < FRESH_PAGES ? count : FRESH_PAGES)));
    pages.out += count;
}

static void take_back(uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count; i++) {
        MUST(!read_only[i]);
    }
    POISON(at_page(first), pages_to_bytes(npages(count)));
    memset(&states[first], IDLE, count);
    pages.out -= count;
}

static bool fits(uint64_t first, uint64_t count, unsigned align_log2, uint64_t margin)
{
    if (first < margin || first + count + margin > PAGES ||
        (ptr_to_vaddr(at_page(first)).v & ((1UL << align_log2) - 1)) != 0) {
        return false;
    }
    for (uint64_t i = first - margin; i < first + count + margin; i++) {
        if (states[i] != IDLE) {
            return false;
        }
    }
    return true;
}

static void *get(void *ctx, npages_t count, unsigned align_log2, bool guarded)
{
    (void)ctx;
    const uint64_t margin = guarded ? 1 : 0;
    MUST(count.v > 0 && align_log2 >= (unsigned)__builtin_ctz(PAGE_BYTES) && align_log2 <= 30);
    uint64_t tried = 0, first = pages.prefer % PAGES;
    while (count.v < PAGES && tried < PAGES && !fits(first, count.v, align_log2, margin)) {
        first = (first + 1) % PAGES;
        tried++;
    }
    if (is_refused(count.v >= PAGES || tried == PAGES)) {
        return NULL;
    }
    give(first, count.v);
    states[first] = guarded ? GUARDED_HEAD : HEAD;
    if (guarded) {
        states[first - 1] = states[first + count.v] = GUARD;
    }
    return at_page(first);
}

/* What was given out there is of as many pages. */
static uint64_t whole(const void *base, npages_t count)
{
    uint64_t first = page_of(base), end = first + 1;
    MUST(is_page_aligned(ptr_to_vaddr(base).v) && first < PAGES);
    MUST(states[first] == HEAD || states[first] == GUARDED_HEAD);
    while (end < PAGES && states[end] == BODY) {
        end++;
    }
    MUST(end - first == count.v);
    return first;
}

static void put(void *ctx, void *base, npages_t count)
{
    (void)ctx;
    uint64_t first = whole(base, count);
    if (states[first] == GUARDED_HEAD) {
        MUST(states[first - 1] == GUARD && states[first + count.v] == GUARD);
        states[first - 1] = states[first + count.v] = IDLE;
    }
    take_back(first, count.v);
}

static bool grow(void *ctx, void *base, npages_t old, npages_t count)
{
    (void)ctx;
    uint64_t first = whole(base, old), end = first + old.v, more = count.v - old.v;
    MUST(states[first] == GUARDED_HEAD && count.v > old.v);
    bool is_short = pages.refuses_growth || count.v >= PAGES || !fits(end + 1, more, 0, 0);
    if (is_refused(is_short)) {
        return false;
    }
    give(end, more);
    states[end + more] = GUARD;
    return true;
}

static bool trim(void *ctx, void *base, npages_t old, npages_t count)
{
    (void)ctx;
    uint64_t first = whole(base, old), end = first + count.v;
    MUST(states[first] == GUARDED_HEAD && count.v > 0 && count.v < old.v);
    if (is_refused(false)) {
        return false;
    }
    take_back(end, old.v - count.v);
    states[first + old.v] = IDLE;
    states[end] = GUARD;
    return true;
}

static void *move(void *ctx, void *base, npages_t old, npages_t count, unsigned align_log2)
{
    uint64_t first = whole(base, old);
    MUST(states[first] == GUARDED_HEAD && count.v >= old.v);
    void *to = get(ctx, count, align_log2, true);
    if (to != NULL) {
        memcpy(to, base, pages_to_bytes(old));
        put(ctx, base, old);
    }
    return to;
}

bool pages_protect(void *ctx, void *base, npages_t count, bool is_writable)
{
    (void)ctx;
    uint64_t first = page_of(base);
    MUST(first + count.v < PAGES);
    if (!is_writable && pages.fail_at > 0 && --pages.fail_at == 0) {
        return false;
    }
    for (uint64_t i = first; i < first + count.v; i++) {
        MUST(states[i] >= HEAD && states[i] != GUARD && read_only[i] == is_writable);
        read_only[i] = !is_writable;
        pages.is_protected += is_writable ? -1UL : 1UL;
    }
    return true;
}

void *pages_address(uint64_t random)
{
    uint64_t page = (random >> 16) % (PAGES + 1), offset = page_offset_bytes(random);
    return (page == PAGES ? (uint8_t *)&pages : at_page(page)) + (random % 3 == 0 ? offset : offset / 16 * 16);
}

struct heap_source pages_begin(uint64_t borders, bool full)
{
    /* Pages in the span before the first: borders of leaves and nodes come to lie at many places. */
    static const uint64_t before[] = {0, LEAF_PAGES - 37, 1UL * LEAF_PAGES * NODE_LEAVES - 100,
                                      1UL * LEAF_PAGES * NODE_LEAVES * NODE_LEAVES - 200};
    if (arena == NULL) {
        void *all = mmap(NULL, pages_to_bytes(npages(RESERVED_PAGES)) + GIB, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        MUST(all != MAP_FAILED);
        /* Alignments of blocks fall alike in each run. */
        arena = vaddr_to_ptr(vaddr((ptr_to_vaddr(all).v + GIB - 1) & ~(GIB - 1)));
    }
    for (unsigned i = 0; i < PLACES; i++) {
        POISON(at_page(places[i].first), pages_to_bytes(npages(places[i].count)));
    }
    memset(states, IDLE, sizeof states);
    memset(read_only, 0, sizeof read_only);
    for (unsigned i = 0; i < PLACES; i++) {
        states[places[i].first + places[i].count - 1] = EDGE;
    }
    memset(&pages, 0, sizeof pages);
    uint64_t skipped = before[borders % ARRAY_LEN(before)] + borders / ARRAY_LEN(before) % LEAF_PAGES;
    return (struct heap_source){
        .pages_get = get,
        .pages_put = put,
        .span_base = vaddr(ptr_to_vaddr(arena).v - pages_to_bytes(npages(skipped))),
        .pages_grow = full ? grow : NULL,
        .pages_trim = full ? trim : NULL,
        .pages_move = full ? move : NULL,
    };
}
