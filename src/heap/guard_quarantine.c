/* Freed blocks that are kept back a while (guard.c, section 5). */
#include "heap/guard_internal.h"
#include "lib/string.h"

size_t guard_first_other(const uint8_t *at, size_t bytes, uint8_t byte)
{
    const uint64_t all = byte * (UINT64_MAX / UINT8_MAX);
    uint64_t word;
    size_t i = 0;
    while (bytes - i >= sizeof word && (memcpy(&word, at + i, sizeof word), word == all)) {
        i += sizeof word;
    }
    while (i < bytes && at[i] == byte) {
        i++;
    }
    return i;
}

/* => false: they are as they were. */
static bool protect(struct heap *heap, const struct heap_guard_record *r, bool is_writable)
{
    return heap->guard->config.pages_protect(heap->source.ctx, r->memory, bytes_to_pages_up(r->memory_bytes),
                                             is_writable);
}

/* Its memory goes back; the record stays. */
static void give_back(struct heap *heap, struct heap_guard_record *r)
{
    if (heap_raw_free(heap, r->memory) != STATUS_OK) {
        /* Reported there: the heap's own data is broken, and the memory lost. */
    }
}

static void append(struct heap_guard *guard, struct heap_guard_record *r)
{
    r->younger = NULL;
    *(guard->youngest == NULL ? &guard->oldest : &guard->youngest->younger) = r;
    guard->youngest = r;
    guard->kept_count++;
    if (r->state != HEAP_GUARD_GONE) {
        guard->kept_blocks++;
        guard->kept_bytes += r->memory_bytes;
    }
}

static struct heap_guard_record *take_oldest(struct heap_guard *guard)
{
    struct heap_guard_record *r = guard->oldest;
    guard->oldest = r->younger;
    guard->youngest = guard->oldest == NULL ? NULL : guard->youngest;
    guard->kept_count--;
    if (r->state != HEAP_GUARD_GONE) {
        guard->kept_blocks--;
        guard->kept_bytes -= r->memory_bytes;
    }
    return r;
}

/* One that somebody wrote to stays for another round, since he may do so again. => false: the oldest cannot go. */
static bool evict(struct heap *heap)
{
    struct heap_guard_record *r = take_oldest(heap->guard);
    if (r->state == HEAP_GUARD_GONE) {
        guard_record_remove(heap, r);
        return true;
    }
    if (r->is_protected && !protect(heap, r, true)) {
        append(heap->guard, r);
        return false;
    }
    r->is_protected = false;
    size_t i = guard_first_other(r->memory, r->memory_bytes, GUARD_FREE_BYTE);
    if (i < r->memory_bytes) {
        (void)guard_misuse(heap, "heap", r, NULL, "write after free: byte %ld of it has become %#x",
                           (long)i - (r->block - r->memory), r->memory[i]);
        memset(r->memory, GUARD_FREE_BYTE, r->memory_bytes);
        append(heap->guard, r);
        return true;
    }
    give_back(heap, r);
    guard_record_remove(heap, r);
    return true;
}

void guard_quarantine_drain(struct heap *heap)
{
    while (heap->guard->oldest != NULL && evict(heap)) {
    }
}

static bool is_over_full(const struct heap_guard *guard)
{
    return guard->kept_bytes > guard->config.quarantine_bytes || guard->kept_count > guard->config.quarantine_count;
}

void guard_retire(struct heap *heap, struct heap_guard_record *r, const void *site)
{
    struct heap_guard *guard = heap->guard;
    guard->live_blocks--;
    guard->live_bytes -= r->bytes;
    guard->zone_bytes -= r->memory_bytes - r->bytes;
    r->free_site = site;
    if (r->memory_bytes > guard->config.quarantine_bytes) {
        /* Pages that are not there any more need no poison. A piece of a slab is a free object there, which is found
         * freed twice without us. */
        give_back(heap, r);
        r->state = HEAP_GUARD_GONE;
    } else {
        r->state = HEAP_GUARD_QUARANTINED;
        memset(r->memory, GUARD_FREE_BYTE, r->memory_bytes);
        r->is_protected = r->class_bytes == 0 && guard->config.pages_protect != NULL && protect(heap, r, false);
    }
    append(guard, r);
    while (is_over_full(guard) && evict(heap)) {
    }
}
