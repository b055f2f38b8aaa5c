/*
 * The binary buddy, over bytes.
 *
 * 1. A chunk is 64 KiB from the source, aligned to its size. Blocks are powers of two from 32 bytes to half a chunk; a
 *    block of 2^n lies at a multiple of 2^n, so every alignment comes for nothing. Its buddy's address differs in bit
 *    n: a free that finds the buddy free makes one block of the two, and goes on.
 * 2. Whether a block begins somewhere, of which order, and whether it is free, is a byte for each 32 bytes of the
 *    chunk, in a map at the chunk's beginning: 2 KiB of 64, out of the callers' way. What is left of the chunk at first
 *    is a block of each order from 2 KiB on.
 * 3. Free blocks of each order are on a list; a bitmap of the orders finds the least that is large enough. Alloc and
 *    free are O(orders).
 * 4. Longer blocks are pages straight from the source, a power of two of them, aligned to it (a buddy over pages would
 *    have no others). Such a block lies where a chunk's map would be, so its address tells; its length is on a list.
 * 5. A chunk without blocks in use goes back in a shrink: what is free there is its first shape again. That is found by
 *    the count of bytes in use.
 */
#include "rivals/heap/way.h"

enum {
    CHUNK_LOG2 = 16,
    LEAST_LOG2 = 5,
    MAP_LOG2 = CHUNK_LOG2 - LEAST_LOG2, /* the map's bytes, and the first block that is not its own */
    ORDERS = CHUNK_LOG2 - LEAST_LOG2,   /* order o: 2^(LEAST_LOG2 + o) bytes */
    UNITS = 1 << MAP_LOG2,
    IN_USE = 32, /* a byte of the map: 0 no block begins there; else 1 + order, and this */
    LARGE_A_PAGE = PAGE_BYTES / 16 - 2,
};
#define CHUNK_BYTES (1UL << CHUNK_LOG2)

struct hole {
    struct hole *next, *prev;
};

/* Lies at the chunk's beginning. The map's first bytes would tell of the map itself. */
struct chunk {
    union {
        uint8_t map[UNITS];
        struct {
            struct chunk *next;
            uint64_t used_bytes;
        };
    };
};
_Static_assert(sizeof(struct chunk) == UNITS && 16 <= UNITS >> LEAST_LOG2, "the map begins behind its own units");

struct large {
    uint8_t *base; /* null: an entry that is free */
    uint64_t pages;
};

struct large_page {
    struct large_page *next;
    uint64_t used;
    struct large entries[LARGE_A_PAGE];
};
_Static_assert(sizeof(struct large_page) <= PAGE_BYTES, "it is a page");

struct buddy {
    struct way way;
    struct hole *holes[ORDERS];
    uint32_t orders; /* bit o: holes[o] is not empty */
    struct chunk *chunks;
    struct large_page *large;
};
_Static_assert(sizeof(struct buddy) <= WAY_STATE_BYTES, "a state");

static size_t order_bytes(unsigned order) { return 1UL << (order + LEAST_LOG2); }
static struct chunk *chunk_of(const void *p) { return (struct chunk *)((uintptr_t)p & ~(CHUNK_BYTES - 1)); }
static uint8_t *byte_of(const void *p)
{
    return &chunk_of(p)->map[((uintptr_t)p & (CHUNK_BYTES - 1)) >> LEAST_LOG2];
}
static void *at(const void *base, size_t offset) { return (void *)((uintptr_t)base + offset); }

/* ---- Holes ---- */

static void push(struct buddy *b, void *p, unsigned order)
{
    struct hole *hole = p;
    *hole = (struct hole){b->holes[order], NULL};
    if (hole->next != NULL) {
        hole->next->prev = hole;
    }
    b->holes[order] = hole;
    b->orders |= 1U << order;
    *byte_of(p) = (uint8_t)(1 + order);
}

static void unlink_hole(struct buddy *b, struct hole *hole, unsigned order)
{
    *(hole->prev == NULL ? &b->holes[order] : &hole->prev->next) = hole->next;
    if (hole->next != NULL) {
        hole->next->prev = hole->prev;
    }
    b->orders &= ~((uint32_t)(b->holes[order] == NULL) << order);
    *byte_of(hole) = 0;
}

static bool add_chunk(struct buddy *b)
{
    struct chunk *chunk = way_get(&b->way, bytes_to_pages_up(CHUNK_BYTES), CHUNK_LOG2);
    if (chunk == NULL) {
        return false;
    }
    memset(chunk, 0, sizeof *chunk);
    chunk->next = b->chunks;
    b->chunks = chunk;
    for (unsigned log2 = MAP_LOG2; log2 < CHUNK_LOG2; log2++) {
        push(b, at(chunk, 1UL << log2), log2 - LEAST_LOG2);
    }
    return true;
}

static void *take(struct buddy *b, unsigned order)
{
    if (b->orders >> order == 0 && !add_chunk(b)) {
        return NULL;
    }
    unsigned from = order + (unsigned)__builtin_ctz(b->orders >> order);
    struct hole *hole = b->holes[from];
    unlink_hole(b, hole, from);
    while (from > order) {
        from--;
        push(b, at(hole, order_bytes(from)), from);
    }
    *byte_of(hole) = (uint8_t)(IN_USE | (1 + order));
    chunk_of(hole)->used_bytes += order_bytes(order);
    return hole;
}

/* ---- Large ones ---- */

static bool is_large(const void *p) { return chunk_of(p) == p; }

static struct large *find_large(struct buddy *b, const void *base)
{
    for (struct large_page *page = b->large; page != NULL; page = page->next) {
        for (size_t i = 0; i < LARGE_A_PAGE && (base == NULL ? page->used < LARGE_A_PAGE : page->used > 0); i++) {
            if (page->entries[i].base == base) {
                return &page->entries[i];
            }
        }
    }
    return NULL;
}

static struct large_page *page_of(const struct large *entry) { return vaddr_to_ptr(vaddr_page(ptr_to_vaddr(entry))); }

static struct large *free_entry(struct buddy *b)
{
    struct large *entry = find_large(b, NULL);
    if (entry == NULL) {
        struct large_page *page = way_get(&b->way, npages(1), WAY_PAGE_LOG2);
        if (page == NULL) {
            return NULL;
        }
        memset(page, 0, sizeof *page);
        page->next = b->large;
        b->large = page;
        entry = page->entries;
    }
    return entry;
}

static void *take_large(struct buddy *b, unsigned log2)
{
    struct large *entry = log2 > 30 ? NULL : free_entry(b);
    const npages_t pages = bytes_to_pages_up(1UL << log2);
    void *base = entry == NULL ? NULL : way_get(&b->way, pages, log2);
    if (base != NULL) {
        *entry = (struct large){base, pages.v};
        page_of(entry)->used++;
    }
    return base;
}

/* ---- The calls ---- */

void buddy_start(void *state, struct heap_source source, size_t slot_bytes)
{
    (void)slot_bytes;
    memset(state, 0, sizeof(struct buddy));
    ((struct way *)state)->source = source;
}

void *buddy_alloc_aligned(void *state, size_t bytes, size_t align_bytes)
{
    struct buddy *b = state;
    if (bytes > 1UL << 47) {
        return NULL;
    }
    unsigned log2 = way_log2_up(bytes > align_bytes ? bytes : align_bytes);
    log2 = log2 < LEAST_LOG2 ? LEAST_LOG2 : log2;
    void *p = log2 < CHUNK_LOG2 ? take(b, log2 - LEAST_LOG2) : take_large(b, log2);
    if (p != NULL) {
        b->way.allocs++;
        b->way.used_bytes += 1UL << log2;
    }
    return p;
}

void *buddy_alloc(void *state, size_t bytes) { return buddy_alloc_aligned(state, bytes, 1); }

size_t buddy_usable(void *state, const void *block)
{
    if (is_large(block)) {
        const struct large *entry = find_large(state, block);
        return entry == NULL ? 0 : pages_to_bytes(npages(entry->pages));
    }
    const uint8_t byte = *byte_of(block);
    return (byte & IN_USE) == 0 ? 0 : order_bytes((byte & (IN_USE - 1)) - 1U);
}

void *buddy_resize(void *state, void *block, size_t bytes)
{
    const size_t usable = buddy_usable(state, block);
    if (bytes <= usable && bytes > usable / 2) {
        return block;
    }
    void *moved = buddy_alloc(state, bytes);
    if (moved != NULL) {
        memcpy(moved, block, bytes < usable ? bytes : usable);
        (void)!buddy_release(state, block);
    }
    return moved;
}

static void release_large(struct buddy *b, struct large *entry)
{
    const struct large was = *entry;
    entry->base = NULL;
    page_of(entry)->used--;
    way_put(&b->way, was.base, npages(was.pages));
}

enum status buddy_release(void *state, void *block)
{
    struct buddy *b = state;
    const size_t usable = buddy_usable(b, block);
    if (usable == 0 || ((uintptr_t)block & ((1UL << LEAST_LOG2) - 1)) != 0) {
        return STATUS_MISUSE;
    }
    b->way.frees++;
    b->way.used_bytes -= usable;
    if (is_large(block)) {
        release_large(b, find_large(b, block));
        return STATUS_OK;
    }
    chunk_of(block)->used_bytes -= usable;
    *byte_of(block) = 0;
    unsigned order = way_log2_down(usable) - LEAST_LOG2;
    uintptr_t p = (uintptr_t)block;
    for (; order + 1 < ORDERS; order++) {
        struct hole *buddy = (struct hole *)(p ^ order_bytes(order));
        if (is_large(buddy) || *byte_of(buddy) != 1 + order) {
            break; /* the chunk's own map begins its first buddy */
        }
        unlink_hole(b, buddy, order);
        p &= ~order_bytes(order);
    }
    push(b, (void *)p, order);
    return STATUS_OK;
}

npages_t buddy_shrink(void *state)
{
    struct buddy *b = state;
    const uint64_t before = b->way.held_pages;
    for (struct chunk **link = &b->chunks; *link != NULL;) {
        struct chunk *chunk = *link;
        if (chunk->used_bytes != 0) {
            link = &chunk->next;
            continue;
        }
        for (unsigned log2 = MAP_LOG2; log2 < CHUNK_LOG2; log2++) {
            unlink_hole(b, at(chunk, 1UL << log2), log2 - LEAST_LOG2);
        }
        *link = chunk->next;
        way_put(&b->way, chunk, bytes_to_pages_up(CHUNK_BYTES));
    }
    for (struct large_page **link = &b->large; *link != NULL;) {
        struct large_page *page = *link;
        if (page->used != 0) {
            link = &page->next;
            continue;
        }
        *link = page->next;
        way_put(&b->way, page, npages(1));
    }
    return npages(before - b->way.held_pages);
}
