/*
 * Chunks of 1 MiB at multiples of 1 MiB are cut into 64 slabs of 16 KiB; a slab has blocks of one size. So the slab
 * of a block follows from its address alone, and a block has no header. What describes the slabs is at the chunk's
 * start, in front of the first slab's blocks.
 *
 * A slab's blocks are taken from its list of freed ones, else from its never used rest. Slabs with room are on their
 * size's list; an empty slab goes back to its chunk, an empty chunk to the kernel, unless it is the last one with room.
 *
 * Large blocks are whole pages; of each there is a record, itself a small block, in a table by the address. A small
 * block may begin with a page too: who frees such a one looks into the table first.
 */
#include "user/malloc.h"

#include <stdint.h>

#include "lib/macros.h"
#include "lib/string.h"
#include "user/pages.h"

enum {
    SLAB_BYTES = 16 << 10,
    SLABS = MALLOC_CHUNK_BYTES / SLAB_BYTES,
    CHUNK_LOG2 = 20,
    /* Sizes: 16, 32 ... 128, then four steps to each double: 160, 192, 224, 256, 320 ... 8192. */
    EVEN_MAX_BYTES = 128,
    EVEN_MAX_LOG2 = 7,
    EVEN_CLASSES = EVEN_MAX_BYTES / MALLOC_ALIGN_BYTES,
    CLASSES = EVEN_CLASSES + 6 * 4,
    BUCKETS = 256,
};
static_assert(1 << CHUNK_LOG2 == MALLOC_CHUNK_BYTES && SLABS == 64, "a bit a slab");

struct slab {
    struct slab *next, *previous; /* with room, of its class */
    void *freed;                  /* each names the next */
    uint32_t fresh;               /* blocks from here on were never used */
    uint16_t used, blocks;
    uint32_t size;                /* of a block; 0: not a slab now */
};

struct chunk {
    const struct chunk *self;      /* so a stray address is seen */
    struct chunk *next, *previous; /* with a free slab */
    uint64_t free_slabs;           /* a bit each */
    struct slab slab[SLABS];
};

struct large {
    struct large *next;
    char *at;
    size_t bytes;
};

static struct {
    struct slab *with_room[CLASSES];
    struct chunk *roomy;
    struct large *bucket[BUCKETS];
    struct malloc_stats stats;
} heap;

void malloc_forget(void) { memset(&heap, 0, sizeof heap); }

struct malloc_stats malloc_stats(void) { return heap.stats; }

/* ---- Sizes ---- */

static unsigned class_of(size_t bytes)
{
    const size_t last = bytes > 0 ? bytes - 1 : 0;
    if (last < EVEN_MAX_BYTES) {
        return (unsigned)(last / MALLOC_ALIGN_BYTES);
    }
    const unsigned log2 = 63 - (unsigned)__builtin_clzll(last); /* 2^log2 < bytes <= 2^(log2 + 1) */
    return EVEN_CLASSES + (log2 - EVEN_MAX_LOG2) * 4 + (unsigned)(last >> (log2 - 2)) - 4;
}

static uint32_t size_of_class(unsigned class)
{
    if (class < EVEN_CLASSES) {
        return (class + 1) * MALLOC_ALIGN_BYTES;
    }
    const unsigned step = class - EVEN_CLASSES;
    return (step % 4 + 5) << (step / 4 + EVEN_MAX_LOG2 - 2);
}

/* ---- Chunks and slabs ---- */

static struct chunk *chunk_of(const void *block)
{
    return (struct chunk *)((uintptr_t)block & ~(uintptr_t)(MALLOC_CHUNK_BYTES - 1));
}

static unsigned slab_index(const struct chunk *c, const struct slab *s) { return (unsigned)(s - c->slab); }

static char *slab_blocks(const struct slab *s)
{
    struct chunk *c = chunk_of(s);
    const unsigned i = slab_index(c, s);
    static_assert(sizeof *c % MALLOC_ALIGN_BYTES == 0, "blocks lie behind it");
    return (char *)c + (i > 0 ? (size_t)i * SLAB_BYTES : sizeof *c);
}

static void chunk_link(struct chunk *c)
{
    c->next = heap.roomy;
    c->previous = NULL;
    if (c->next != NULL) {
        c->next->previous = c;
    }
    heap.roomy = c;
}

static void chunk_unlink(struct chunk *c)
{
    *(c->previous != NULL ? &c->previous->next : &heap.roomy) = c->next;
    if (c->next != NULL) {
        c->next->previous = c->previous;
    }
}

static struct chunk *chunk_with_room(void)
{
    if (heap.roomy == NULL) {
        struct chunk *c = pages_take(MALLOC_CHUNK_BYTES, CHUNK_LOG2);
        if (c != NULL) {
            c->self = c;
            c->free_slabs = UINT64_MAX;
            chunk_link(c);
            heap.stats.chunks++;
            heap.stats.bytes += MALLOC_CHUNK_BYTES;
        }
    }
    return heap.roomy;
}

static void slab_link(struct slab *s)
{
    struct slab **first = &heap.with_room[class_of(s->size)];
    s->next = *first;
    s->previous = NULL;
    if (s->next != NULL) {
        s->next->previous = s;
    }
    *first = s;
}

static void slab_unlink(struct slab *s)
{
    *(s->previous != NULL ? &s->previous->next : &heap.with_room[class_of(s->size)]) = s->next;
    if (s->next != NULL) {
        s->next->previous = s->previous;
    }
}

static struct slab *slab_new(unsigned class)
{
    struct chunk *c = chunk_with_room();
    if (c == NULL) {
        return NULL;
    }
    const unsigned i = (unsigned)__builtin_ctzll(c->free_slabs);
    c->free_slabs &= ~(1ULL << i);
    if (c->free_slabs == 0) {
        chunk_unlink(c);
    }
    struct slab *s = &c->slab[i];
    const size_t room = SLAB_BYTES - (i > 0 ? 0 : sizeof *c);
    *s = (struct slab){.size = size_of_class(class)};
    s->blocks = (uint16_t)(room / s->size);
    slab_link(s);
    return s;
}

/* It is empty. */
static void slab_end(struct slab *s)
{
    struct chunk *c = chunk_of(s);
    slab_unlink(s);
    s->size = 0;
    if (c->free_slabs == 0) {
        chunk_link(c);
    }
    c->free_slabs |= 1ULL << slab_index(c, s);
    if (c->free_slabs == UINT64_MAX && (c->next != NULL || c->previous != NULL)) {
        chunk_unlink(c);
        heap.stats.chunks--;
        heap.stats.bytes -= MALLOC_CHUNK_BYTES;
        pages_give_back(c, MALLOC_CHUNK_BYTES);
    }
}

static void *take_small(size_t bytes)
{
    const unsigned class = class_of(bytes);
    struct slab *s = heap.with_room[class];
    if (s == NULL && (s = slab_new(class)) == NULL) {
        return NULL;
    }
    char *block = s->freed;
    if (block != NULL) {
        memcpy(&s->freed, block, sizeof s->freed);
    } else {
        block = slab_blocks(s) + (size_t)s->fresh++ * s->size;
    }
    if (++s->used == s->blocks) {
        slab_unlink(s);
    }
    heap.stats.small++;
    return block;
}

/* The slab of a small block in use, as far as can be seen; null: it is none. */
static struct slab *slab_of(const void *block)
{
    struct chunk *c = chunk_of(block);
    const size_t offset = (size_t)((const char *)block - (const char *)c);
    struct slab *s = &c->slab[offset / SLAB_BYTES];
    if (offset < sizeof *c || c->self != c || s->size == 0 || s->used == 0) {
        return NULL;
    }
    const size_t at = (size_t)((const char *)block - slab_blocks(s));
    return at % s->size == 0 && at / s->size < s->fresh ? s : NULL;
}

static void give_small(struct slab *s, void *block)
{
    memcpy(block, &s->freed, sizeof s->freed);
    s->freed = block;
    if (s->used-- == s->blocks) {
        slab_link(s);
    }
    heap.stats.small--;
    if (s->used == 0) {
        slab_end(s);
    }
}

/* ---- Large blocks ---- */

/* Where the record is named; null behind it: there is none. */
static struct large **find_large(const void *block)
{
    struct large **at = &heap.bucket[(uintptr_t)block / PAGE_BYTES % BUCKETS];
    while (*at != NULL && (*at)->at != block) {
        at = &(*at)->next;
    }
    return at;
}

static struct large *large_of(const void *block)
{
    return is_page_aligned((uintptr_t)block) ? *find_large(block) : NULL;
}

static void *take_large(size_t bytes)
{
    const size_t whole = pages_to_bytes(bytes_to_pages_up(bytes));
    struct large *record = whole >= bytes ? take_small(sizeof *record) : NULL;
    if (record == NULL) {
        return NULL;
    }
    *record = (struct large){.at = pages_take(whole, 0), .bytes = whole};
    if (record->at == NULL) {
        give_small(slab_of(record), record);
        return NULL;
    }
    heap.stats.small--; /* the record is not the caller's */
    heap.stats.large++;
    heap.stats.bytes += whole;
    *find_large(record->at) = record;
    return record->at;
}

static void give_large(struct large *record)
{
    *find_large(record->at) = record->next;
    pages_give_back(record->at, record->bytes);
    heap.stats.small++;
    heap.stats.large--;
    heap.stats.bytes -= record->bytes;
    give_small(slab_of(record), record);
}

/* ---- What programs call ---- */

void *malloc(size_t bytes) { return bytes <= MALLOC_SMALL_MAX_BYTES ? take_small(bytes) : take_large(bytes); }

void *calloc(size_t count, size_t bytes)
{
    size_t all;
    if (__builtin_mul_overflow(count, bytes, &all)) {
        return NULL;
    }
    void *block = malloc(all);
    return block != NULL && all <= MALLOC_SMALL_MAX_BYTES ? memset(block, 0, all) : block;
}

/* 0: it is no block. */
static size_t room_of(void *block)
{
    const struct large *large = large_of(block);
    const struct slab *s = large == NULL ? slab_of(block) : NULL;
    return large != NULL ? large->bytes : s != NULL ? s->size : 0;
}

void *realloc(void *block, size_t bytes)
{
    if (block == NULL) {
        return malloc(bytes);
    }
    const size_t room = room_of(block);
    if (room == 0) {
        pages_complain("realloc", block);
        return NULL;
    }
    const bool was_small = room <= MALLOC_SMALL_MAX_BYTES, is_small = bytes <= MALLOC_SMALL_MAX_BYTES;
    const size_t wanted = is_small ? size_of_class(class_of(bytes)) : pages_to_bytes(bytes_to_pages_up(bytes));
    if (was_small == is_small && wanted == room) {
        return block;
    }
    void *other = malloc(bytes);
    if (other != NULL) {
        memcpy(other, block, bytes < room ? bytes : room);
        free(block);
    }
    return other;
}

void free(void *block)
{
    if (block == NULL) {
        return;
    }
    struct large *large = large_of(block);
    struct slab *s = large == NULL ? slab_of(block) : NULL;
    if (large != NULL) {
        give_large(large);
    } else if (s != NULL) {
        give_small(s, block);
    } else {
        pages_complain("free", block);
    }
}
