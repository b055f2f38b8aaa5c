/*
 * Guard mode: the theory, and the calls.
 *
 * 1. Words
 *    memory      what the heap beneath (raw.h) gave out for one guarded block: red zone, block, red zone
 *    red zone    bytes of one value around a block, compared when the block goes and by heap_check
 *    record      what is known of one guarded block; never in its memory
 *    site        where a public call returns to
 *    quarantine  blocks that their owners freed, full of poison, oldest first
 *    gone        freed, with its pages given back: only the record is kept
 *
 * 2. Placement. A small block lies between red zones of at least 32 bytes, or of its alignment in front; whatever the
 * class has left over is red zone too. A block that takes whole pages, or was drawn as a sample, ends where its pages
 * end, up to its alignment (the bytes in between are red zone): the page behind is unmapped where the source can do
 * that, and an overrun faults. One that was asked for with the alignment of a page begins its pages. Where accesses
 * beside the pages do not fault, a red zone stands at the end instead.
 *
 *        [zzzz|block.......|zzzzz]         [zzzzzzzzzz|block.....z][unmapped]
 *         object of a slab                   whole pages
 *
 * 3. Records are out of band, in pages that the heap beneath gives between guards: the very bugs that are looked for
 * write around blocks, and a header before each would have to be distrusted at every step. A table with chains leads
 * from the memory's address to its record; which memory an address is in, the heap beneath knows in O(1), so that
 * addresses inside a block are as good as its start. The table doubles when it can, and stays when memory is short. A
 * record whose memory is not as the heap beneath says is reported, believed no more, and left alone (CORRUPT).
 *
 * 4. Memory short in the middle. A record is drawn first, then the memory; when that fails the quarantine is emptied
 * and it is tried once more. A sample that cannot be had goes the fast way. A free never needs memory: the record goes
 * from the block to the quarantine.
 *
 * 5. Quarantine. A freed block is filled with poison and kept until younger ones push it out, or memory is short. Then
 * every byte is compared: who wrote to it is reported with both sites, and it stays for another round. Whole pages are
 * protected against writes meanwhile where the source can do that: the write itself faults. A block larger than the
 * quarantine goes at once, and leaves its record.
 *
 * 6. Wrong calls are reported as by the heap beneath, with the block, its size and class, and the sites of its
 * allocation, of its free, and of the call.
 *
 * 7. Cost. With guard mode off: one test in alloc and in free. Sampled: a countdown in alloc, a look at the heap's page
 * table in free. Full: two passes over a block's memory, and memory for zones and quarantine.
 *
 * 8. Objects of caches are guarded blocks with the cache in their record, in no slab of the cache's: the fast way of
 * heap_cache_free does not know them. They are aligned as their type is, no more, so that at a page's edge the byte
 * behind is in the next page. They are constructed each time, since poison takes the place of what a constructor left.
 * Guard mode can be on for caches alone: heap_alloc and heap_free then do not look at it, since a guarded object begins
 * where no block does; where one does, as whole pages, heap_free looks.
 *
 * 9. Rejected. Headers in front of blocks (see 3). A mark of sampling in the address: a page's edge is any address. A
 * second set of slabs for guarded blocks: all of it again, and the heap beneath would run without its own user.
 */
#include "heap/guard.h"

#include "heap/guard_internal.h"
#include "lib/string.h"

enum status heap_guard_start(struct heap *heap, struct heap_guard *guard, const struct heap_guard_config *config)
{
    if (heap->guard != NULL || config->sample_every > HEAP_GUARD_SAMPLE_MAX || config->quarantine_count == 0) {
        return STATUS_INVALID;
    }
    memset(guard, 0, sizeof *guard);
    guard->config = *config;
    guard->rng = rng_seeded(config->seed);
    heap->guard = guard;
    heap->guards_blocks = !config->only_caches;
    heap_caches_count_ample(heap);
    return STATUS_OK;
}

/* ---- Alloc ---- */

static size_t round_down(size_t bytes, size_t align_bytes) { return bytes & ~(align_bytes - 1); }

/* Is the next block to be a sample? In mean one of sample_every, at no fixed distance: callers have rhythms too. */
static bool is_drawn(struct heap_guard *guard)
{
    if (guard->until_sample == 0) {
        guard->until_sample = rng_below(&guard->rng, 2 * guard->config.sample_every - 1) + 1;
    }
    return --guard->until_sample == 0;
}

/* Memory for the record, and where the block lies in it (section 2). => false: none. */
static bool place(struct heap *heap, struct heap_guard_record *r, size_t align_bytes)
{
    const struct heap_guard *guard = heap->guard;
    const size_t zone = GUARD_ZONE_BYTES, in_front = align_bytes > zone ? align_bytes : zone;
    const size_t behind = guard->config.has_guard_pages ? 0 : zone;
    bool is_edge = guard->config.sample_every != 0 || in_front + r->bytes + zone > HEAP_SMALL_MAX_BYTES;
    if (align_bytes >= PAGE_BYTES || is_edge) {
        size_t raw_align = align_bytes > PAGE_BYTES ? align_bytes : PAGE_BYTES;
        r->memory = heap_raw_alloc_pages(heap, r->bytes + behind, (unsigned)__builtin_ctzl(raw_align));
    } else {
        r->memory = heap_raw_alloc_aligned(heap, in_front + r->bytes + zone, align_bytes);
    }
    struct heap_block owner;
    if (r->memory == NULL || heap_raw_owner_of(heap, r->memory, &owner) == NULL) {
        return false;
    }
    r->memory_bytes = owner.usable_bytes;
    r->class_bytes = (uint32_t)(owner.large || owner.class_bytes != 0 ? owner.class_bytes : owner.usable_bytes);
    size_t offset = align_bytes >= PAGE_BYTES ? 0
                    : is_edge                 ? round_down(r->memory_bytes - behind - r->bytes, align_bytes)
                                              : in_front;
    r->block = r->memory + offset;
    return true;
}

static void fill_behind(const struct heap_guard_record *r)
{
    uint8_t *end = r->block + r->bytes;
    memset(end, GUARD_ZONE_BYTE, (size_t)(r->memory + r->memory_bytes - end));
}

/* One guarded block. Null: memory is short. */
static void *make(struct heap *heap, size_t bytes, size_t align_bytes, const struct heap_cache *cache,
                  const void *site)
{
    struct heap_guard *guard = heap->guard;
    struct heap_guard_record *r = guard_record_draw(heap);
    if (r == NULL) {
        return NULL;
    }
    *r = (struct heap_guard_record){
        .bytes = bytes, .alloc_site = site, .cache = cache, .align_log2 = (uint8_t)__builtin_ctzl(align_bytes),
    };
    if (!place(heap, r, align_bytes)) {
        guard_record_undraw(heap, r);
        return NULL;
    }
    memset(r->memory, GUARD_ZONE_BYTE, (size_t)(r->block - r->memory));
    memset(r->block, GUARD_ALLOC_BYTE, bytes);
    fill_behind(r);
    guard_record_add(guard, r);
    guard->live_blocks++;
    guard->live_bytes += bytes;
    guard->zone_bytes += r->memory_bytes - bytes;
    return r->block;
}

static void *unguarded(struct heap *heap, size_t bytes, size_t align_bytes)
{
    return align_bytes <= HEAP_ALIGN_BYTES ? heap_raw_alloc(heap, bytes)
                                           : heap_raw_alloc_aligned(heap, bytes, align_bytes);
}

/* The same, if need be with what is quarantined. */
static void *make_or_drain(struct heap *heap, size_t bytes, size_t align_bytes, const struct heap_cache *cache,
                           const void *site)
{
    void *block = make(heap, bytes, align_bytes, cache, site);
    if (block == NULL && heap->guard->oldest != NULL) {
        guard_quarantine_drain(heap);
        block = make(heap, bytes, align_bytes, cache, site);
    }
    if (block == NULL) {
        guard_records_shrink(heap);
    }
    return block;
}

/* As heap_guard_alloc, a block that is to be guarded. */
__attribute__((noinline)) static void *alloc_guarded(struct heap *heap, size_t bytes, size_t align_bytes,
                                                     const void *site)
{
    if (bytes == 0 || bytes > HEAP_ABSURD_BYTES) {
        return unguarded(heap, bytes, align_bytes);
    }
    void *block = make_or_drain(heap, bytes, align_bytes > HEAP_ALIGN_BYTES ? align_bytes : HEAP_ALIGN_BYTES, NULL,
                                site);
    return block == NULL && heap->guard->config.sample_every > 1 ? unguarded(heap, bytes, align_bytes) : block;
}

bool heap_guard_draw(struct heap *heap) { return heap->guard->config.sample_every <= 1 || is_drawn(heap->guard); }

void *heap_guard_alloc(struct heap *heap, size_t bytes, size_t align_bytes, const void *site)
{
    /* Apart from the rest: with samples, this is the way of nearly all. */
    bool is_plain = !heap->guards_blocks || (heap->guard->config.sample_every > 1 && !is_drawn(heap->guard));
    return is_plain ? unguarded(heap, bytes, align_bytes)
                    : alloc_guarded(heap, bytes, align_bytes, site);
}

/* ---- What a caller brings ---- */

enum found { FOUND_BLOCK, FOUND_UNGUARDED, FOUND_MISUSE, FOUND_CORRUPT };

/* Samples are whole pages: nothing else has to be looked for. => the slab of a block that is none; null: it may be. */
static struct heap_desc *slab_of_unguarded(const struct heap *heap, const void *block)
{
    if (heap->guard->config.sample_every == 0) {
        return NULL;
    }
    struct heap_desc *desc = heap_find(heap, block);
    bool is_slab = heap_desc_kind(desc) == HEAP_DESC_SLAB || heap_desc_kind(desc) == HEAP_DESC_MIXED;
    return is_slab ? desc : NULL;
}

/* The record of a block (of the cache's object) in use that begins there. Else it is reported, or not guarded. */
static enum found find(struct heap *heap, const char *call, const void *block, const struct heap_cache *cache,
                       const void *site, struct heap_guard_record **out)
{
    struct heap_guard_record *r = guard_record_of(heap, block);
    *out = r;
    if (r == NULL) {
        if (guard_is_own(heap, block)) {
            (void)HEAP_MISUSE(heap, "%s: %p is in a page of guard mode's records, not a block", call, block);
            return FOUND_MISUSE;
        }
        return FOUND_UNGUARDED;
    }
    if (!guard_record_is_sound(heap, r)) {
        report(REPORT_CORRUPT, "%s: the record %p of memory %p is broken (block %p of %zu bytes): nothing done", call,
               (void *)r, (void *)r->memory, (void *)r->block, r->bytes);
        return FOUND_CORRUPT;
    }
    long offset = (const uint8_t *)block - r->block;
    if (r->state == HEAP_GUARD_LIVE && offset == 0 && r->cache == cache) {
        return FOUND_BLOCK;
    }
    if (offset == 0 && r->state == HEAP_GUARD_LIVE) {
        if (cache != NULL) {
            (void)guard_misuse(heap, call, r, site, "not of the cache '%s'", cache->type.name);
        } else {
            (void)guard_misuse(heap, call, r, site, "an object, which heap_cache_free takes");
        }
    } else if (offset == 0) {
        (void)guard_misuse(heap, call, r, site, "not allocated (double free)");
    } else {
        (void)guard_misuse(heap, call, r, site, "%p is byte %ld of it, not its start", block, offset);
    }
    return FOUND_MISUSE;
}

/* A block in use goes. */
static enum status release(struct heap *heap, const char *call, struct heap_guard_record *r, const void *site)
{
    char what[GUARD_WHAT_TEXT];
    enum status s = STATUS_OK;
    if (!guard_zones_are_whole(r, what)) {
        s = guard_misuse(heap, call, r, site, "%s", what);
    }
    guard_retire(heap, r, site);
    return s;
}

__attribute__((noinline)) static enum status free_guarded(struct heap *heap, void *block, const size_t *bytes,
                                                          const void *site)
{
    const char *call = bytes == NULL ? "heap_free" : "heap_free_sized";
    struct heap_guard_record *r = NULL;
    enum found found = find(heap, call, block, NULL, site, &r);
    if (found == FOUND_UNGUARDED) {
        return bytes == NULL ? heap_raw_free(heap, block) : heap_raw_free_sized(heap, block, *bytes);
    }
    if (found != FOUND_BLOCK) {
        return found == FOUND_CORRUPT ? STATUS_CORRUPT : STATUS_MISUSE;
    }
    if (bytes != NULL && *bytes != r->bytes) {
        return guard_misuse(heap, call, r, site, "was not asked for as %zu: size does not match", *bytes);
    }
    return release(heap, call, r, site);
}

enum status heap_guard_free(struct heap *heap, void *block, const size_t *bytes, const void *site)
{
    struct heap_desc *slab = slab_of_unguarded(heap, block);
    if (slab == NULL) {
        return free_guarded(heap, block, bytes, site);
    }
    return bytes == NULL ? heap_free_found(heap, slab, block) : heap_raw_free_sized(heap, block, *bytes);
}

/* Smaller where it stands, when nothing else can be had. */
static void *shrink_in_place(struct heap *heap, struct heap_guard_record *r, size_t bytes)
{
    heap->guard->live_bytes -= r->bytes - bytes;
    heap->guard->zone_bytes += r->bytes - bytes;
    r->bytes = bytes;
    fill_behind(r);
    return r->block;
}

void *heap_guard_realloc(struct heap *heap, void *old, size_t bytes, const void *site)
{
    struct heap_guard_record *r = NULL;
    if (old == NULL) {
        return heap_guard_alloc(heap, bytes, HEAP_ALIGN_BYTES, site);
    }
    enum found found = find(heap, "heap_realloc", old, NULL, site, &r);
    if (found != FOUND_BLOCK) {
        return found == FOUND_UNGUARDED ? heap_raw_realloc(heap, old, bytes) : NULL;
    }
    if (bytes == 0 || bytes > HEAP_ABSURD_BYTES) {
        (void)guard_misuse(heap, "heap_realloc", r, site, "to %zu bytes, a size that cannot be meant", bytes);
        return NULL;
    }
    char what[GUARD_WHAT_TEXT];
    if (!guard_zones_are_whole(r, what)) {
        (void)guard_misuse(heap, "heap_realloc", r, site, "%s", what);
    }
    size_t align_bytes = 1UL << r->align_log2;
    void *moved = heap_guard_alloc(heap, bytes, align_bytes >= PAGE_BYTES ? align_bytes : HEAP_ALIGN_BYTES, site);
    if (moved == NULL) {
        return bytes <= r->bytes ? shrink_in_place(heap, r, bytes) : NULL;
    }
    memcpy(moved, old, bytes < r->bytes ? bytes : r->bytes);
    guard_retire(heap, r, site);
    return moved;
}

size_t heap_guard_usable_size(struct heap *heap, const void *block, const void *site)
{
    struct heap_guard_record *r = NULL;
    enum found found = find(heap, "heap_usable_size", block, NULL, site, &r);
    return found == FOUND_BLOCK ? r->bytes : found == FOUND_UNGUARDED ? heap_raw_usable_size(heap, block) : 0;
}

/* ---- Objects of caches (section 8) ---- */

void *heap_guard_cache_alloc(const struct heap_cache *cache, const void *site)
{
    return make_or_drain(cache->heap, cache->type.object_bytes, cache->type.align_bytes, cache, site);
}

enum status heap_guard_cache_claim(const struct heap_cache *cache, const char *call, const void *object,
                                   const void *site)
{
    struct heap_guard_record *r = NULL;
    switch (find(cache->heap, call, object, cache, site, &r)) {
    case FOUND_BLOCK:
        r->state = HEAP_GUARD_QUARANTINED; /* found there when it is claimed once more */
        r->free_site = site;
        return STATUS_OK;
    case FOUND_UNGUARDED:
        return STATUS_ABSENT;
    case FOUND_CORRUPT:
        return STATUS_CORRUPT;
    default:
        return STATUS_MISUSE;
    }
}

/* In use again. Null: it was not claimed. */
static struct heap_guard_record *unclaim(const struct heap_cache *cache, const void *object)
{
    struct heap_guard_record *r = guard_record_of(cache->heap, object);
    if (r == NULL || r->cache != cache || r->state != HEAP_GUARD_QUARANTINED) {
        return NULL;
    }
    r->state = HEAP_GUARD_LIVE;
    r->free_site = NULL;
    return r;
}

bool heap_guard_cache_unclaim(const struct heap_cache *cache, const void *object)
{
    return unclaim(cache, object) != NULL;
}

enum status heap_guard_cache_release(const struct heap_cache *cache, const char *call, const void *object,
                                     const void *site)
{
    struct heap_guard_record *r = unclaim(cache, object);
    return r == NULL ? STATUS_ABSENT : release(cache->heap, call, r, site);
}

void heap_guard_cache_forget(const struct heap_cache *cache)
{
    for (struct heap_guard_record *r = cache->heap->guard->oldest; r != NULL; r = r->younger) {
        r->cache = r->cache == cache ? NULL : r->cache;
    }
}

void heap_guard_shrink(struct heap *heap)
{
    guard_quarantine_drain(heap);
    guard_records_shrink(heap);
}
