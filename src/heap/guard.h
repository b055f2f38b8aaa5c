/*
 * Guard mode of a heap: who oversteps a block, frees it twice or writes to it afterwards is named, with the block, its
 * size, and the addresses that the calls came from. guard.c tells the theory.
 *
 * Two ways to run it. With sample_every = 0 every block lies between red zones. With N, one block of N (drawn at
 * random) lies at the end of a page before an unmapped one, so that an overrun faults at once, and all others go the
 * fast way: 1 puts every block at a page's edge, some thousands are for always-on use.
 *
 * Objects of caches (cache.h) are guarded as blocks are; of a cache with HEAP_CACHE_GUARD all, whatever N, or with
 * `only_caches` nothing but those.
 *
 * What changes for callers of heap.h: blocks are exactly as long as they were asked for (usable size, free_sized); a
 * freed block is written over and kept back a while; realloc moves. An alloc that fails may have emptied the
 * quarantine. heap_free of a block whose red zones are broken says MISUSE, and the block has gone nevertheless.
 *
 * Invariants, checked by heap_check() when guard mode is on:
 *   GUARD-I1  each record of a block names memory that the heap has given out, and the block lies within it
 *   GUARD-I2  the red zones of a block in use are as they were written
 *   GUARD-I3  each byte of a quarantined block is poison
 *   GUARD-I4  the counters are the sums over the records
 */
#ifndef CAIRN_HEAP_GUARD_H
#define CAIRN_HEAP_GUARD_H

#include "heap/heap.h"
#include "lib/rng.h"

#define HEAP_GUARD_SAMPLE_MAX (1UL << 32)

struct heap_guard_config {
    uint64_t sample_every;     /* see above; up to HEAP_GUARD_SAMPLE_MAX */
    uint64_t seed;             /* which blocks are drawn */
    size_t quarantine_bytes;   /* of freed blocks kept back, their red zones included; larger blocks go at once */
    uint64_t quarantine_count; /* ... and so many blocks */
    bool only_caches; /* with HEAP_CACHE_GUARD, all their objects; nothing else, which then pays nothing for it */
    bool has_guard_pages;      /* an access beside guarded pages of the source faults: blocks may end there */
    /*
     * Writes to these pages fault, or do not any more. With the source's ctx; may not call the heap. Null: cannot.
     * => false: nothing changed. Freed blocks at a page's edge are protected so, while they are quarantined.
     */
    bool (*pages_protect)(void *ctx, void *base, npages_t pages, bool is_writable);
    /* What stands at a code address, in at most size - 1 characters. Null: the number. */
    void (*site_text)(char *text, size_t size, const void *site);
};

enum heap_guard_state {
    HEAP_GUARD_LIVE,
    HEAP_GUARD_QUARANTINED, /* freed by its owner, kept back */
    HEAP_GUARD_GONE,        /* its pages are given back; remembered for who frees it again */
};

struct heap_guard_record; /* guard_internal.h */
struct heap_guard_page;

struct heap_guard {
    struct heap_guard_config config;
    struct heap_guard_record **buckets; /* by the address of the memory; null: none yet */
    uint64_t bucket_count;              /* a power of two */
    struct heap_guard_page *roomy;      /* circular: pages of records with a free one */
    struct heap_guard_record *oldest, *youngest; /* the quarantine */
    uint64_t kept_count, kept_blocks, kept_bytes; /* in it: all; not gone ones; their memory */
    uint64_t live_blocks, live_bytes, zone_bytes; /* in use; as asked for; what lies around them */
    uint64_t own_blocks, own_bytes, own_allocs;   /* pages of records, buckets */
    uint64_t until_sample;
    struct rng rng;
};

/*
 * From now on; blocks given out before stay unguarded. `guard` is the caller's, and in use as long as the heap is.
 * => OK; INVALID: guard mode is on already, or the config cannot be meant. Takes no page.
 */
enum status heap_guard_start(struct heap *heap, struct heap_guard *guard, const struct heap_guard_config *config);

struct heap_guard_block {
    const void *base;
    size_t bytes; /* as asked for */
    const void *alloc_site, *free_site; /* return addresses of the public calls; free_site is null in use */
    enum heap_guard_state state;
    const char *cache_name; /* of the object cache whose it is; null: none's, or that was destroyed */
};

/* The guarded block at, or beside, this address: its red zones and the page before and behind count too. Reads nothing
 * but records. O(records). */
bool heap_guard_find(const struct heap *heap, const void *address, struct heap_guard_block *out);

struct heap_guard_site {
    const void *site;
    uint64_t blocks, bytes; /* in use */
};

/* The site next to, and above, `above`. false: none, or guard mode is off. O(records). */
bool heap_guard_site_next(const struct heap *heap, const void *above, struct heap_guard_site *out);

#endif
