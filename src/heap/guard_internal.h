/* Between the files of guard mode, and from the public calls to them; section numbers are those of guard.c. */
#ifndef CAIRN_HEAP_GUARD_INTERNAL_H
#define CAIRN_HEAP_GUARD_INTERNAL_H

#include "heap/guard.h"
#include "heap/heap_internal.h"
#include "heap/raw.h"

enum {
    GUARD_ZONE_BYTES = 32,  /* least red zone */
    GUARD_ZONE_BYTE = 0xBD, /* not zero, which most overruns by one write */
    GUARD_ALLOC_BYTE = 0xA7,
    GUARD_FREE_BYTE = 0xDF,
};

/* One guarded block. The memory is that of the heap beneath. */
struct heap_guard_record {
    struct heap_guard_record *next;    /* of the bucket, younger ones first */
    struct heap_guard_record *younger; /* in the quarantine */
    uint8_t *memory;                   /* the whole of it: red zone, block, red zone */
    size_t memory_bytes;
    uint8_t *block; /* what the caller has */
    size_t bytes;   /* as asked for, at least 1 */
    const void *alloc_site, *free_site;
    const struct heap_cache *cache; /* whose object it is; null: nobody's, or the cache was destroyed */
    uint32_t class_bytes; /* of the memory, or its size in a mixed slab; 0: whole pages */
    uint8_t state;        /* enum heap_guard_state */
    uint8_t align_log2;   /* of the block, as asked for */
    bool is_protected;
};

struct heap_guard_page {
    const struct heap_guard_page *self; /* with `guard`: tells a page of records from any other */
    const struct heap_guard *guard;
    struct heap_guard_page *next, *prev; /* in the circle of roomy ones */
    uint64_t free_mask;                  /* bit i: record i is free */
};

enum {
    GUARD_PAGE_RECORDS = (PAGE_BYTES - (int)sizeof(struct heap_guard_page)) / (int)sizeof(struct heap_guard_record),
};

_Static_assert(GUARD_PAGE_RECORDS < (int)HEAP_WORD_BITS, "one word tells the free records of a page");

/* ---- Records (section 3), guard_records.c ---- */

/* A free record, and room in the table for it. Null: memory is short, nothing changed. */
struct heap_guard_record *guard_record_draw(struct heap *heap);
/* Not needed after all, or not in the table any more. */
void guard_record_undraw(struct heap *heap, struct heap_guard_record *r);
/* Into the table; `memory` is set. */
void guard_record_add(struct heap_guard *guard, struct heap_guard_record *r);
void guard_record_remove(struct heap *heap, struct heap_guard_record *r);
/* Whose memory the address is in, or was. Null: nobody's. */
struct heap_guard_record *guard_record_of(const struct heap *heap, const void *address);
/* Does the address lie in a page of records or in the table? */
bool guard_is_own(const struct heap *heap, const void *address);
/* Pages of records without any. With no record left the table goes too. */
void guard_records_shrink(struct heap *heap);
/* Over all records, in no order, and over no more than are counted: chains may be what is broken. */
struct guard_walk {
    const struct heap_guard *guard; /* null: no record */
    const struct heap_guard_record *at;
    uint64_t bucket, taken;
};
/* Null: no more. Begins with all but `guard` zero. */
const struct heap_guard_record *guard_walk_next(struct guard_walk *walk);
/* Is the record what the heap beneath says of its memory? */
bool guard_record_is_sound(const struct heap *heap, const struct heap_guard_record *r);

/* ---- Quarantine (section 5), guard_quarantine.c ---- */

/* The block is its owner's no more. */
void guard_retire(struct heap *heap, struct heap_guard_record *r, const void *site);
void guard_quarantine_drain(struct heap *heap);
/* First byte in [at, at + bytes) that is not `byte`, as its offset; `bytes`: none. */
size_t guard_first_other(const uint8_t *at, size_t bytes, uint8_t byte);

/* ---- Reports (section 6), guard_report.c ---- */

/* "CALL: block P of N bytes (class C): WHAT; allocated at A, freed at F, now at S", counted. => MISUSE. */
__attribute__((format(printf, 5, 6))) enum status guard_misuse(struct heap *heap, const char *call,
                                                               const struct heap_guard_record *r, const void *site,
                                                               const char *what, ...);
/* What stands at a site: as the config says it, or its number. */
enum { GUARD_SITE_TEXT = 56 };
const char *guard_site_text(const struct heap *heap, char text[static GUARD_SITE_TEXT], const void *site);
/* Are the red zones whole? Else `text` says in words which byte is not. Reads memory only. */
enum { GUARD_WHAT_TEXT = 80 };
bool guard_zones_are_whole(const struct heap_guard_record *r, char text[static GUARD_WHAT_TEXT]);

/* ---- The public calls when heap->guard is not null; `site` is where they return to. guard.c ---- */

void *heap_guard_alloc(struct heap *heap, size_t bytes, size_t align_bytes, const void *site);
void *heap_guard_realloc(struct heap *heap, void *old, size_t bytes, const void *site);
/* `bytes` is null for heap_free. */
enum status heap_guard_free(struct heap *heap, void *block, const size_t *bytes, const void *site);
size_t heap_guard_usable_size(struct heap *heap, const void *block, const void *site);
bool heap_guard_owner_of(const struct heap *heap, const void *address, struct heap_block *out);
void heap_guard_shrink(struct heap *heap);
void heap_guard_correct_stats(const struct heap *heap, struct heap_stats *stats);
enum status heap_guard_check(const struct heap *heap, struct sink *out);

/* ---- Objects of caches (section 8), guard.c; heap->guard is not null ---- */

/* Not constructed. Null: memory is short. */
void *heap_guard_cache_alloc(const struct heap_cache *cache, const void *site);
/* The object is to be freed: from now on a second claim is a double free. => OK; ABSENT: no guarded memory is there;
 * MISUSE, CORRUPT: reported. */
enum status heap_guard_cache_claim(const struct heap_cache *cache, const char *call, const void *object,
                                   const void *site);
/* Not freed after all. => false: it was not claimed. */
bool heap_guard_cache_unclaim(const struct heap_cache *cache, const void *object);
/* One that was claimed goes. => OK; ABSENT: it was not; MISUSE: its red zones are broken; it has gone nevertheless. */
enum status heap_guard_cache_release(const struct heap_cache *cache, const char *call, const void *object,
                                     const void *site);
/* It is destroyed: what is still known of its objects does not lead to it any more. */
void heap_guard_cache_forget(const struct heap_cache *cache);
/* Is the next object of this heap one of the samples? */
bool heap_guard_draw(struct heap *heap);
/* Objects of it in use by the records. O(records). */
uint64_t heap_guard_cache_count(const struct heap_cache *cache);

/* Where the public call returns to. */
#define GUARD_SITE() __builtin_return_address(0)

#endif
