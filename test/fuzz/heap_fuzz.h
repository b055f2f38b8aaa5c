/* Between the files of the heap's fuzz program: the input, the page source, the model, the calls on object caches. */
#ifndef CAIRN_TEST_FUZZ_HEAP_FUZZ_H
#define CAIRN_TEST_FUZZ_HEAP_FUZZ_H

#include "heap/cache.h"
#include "heap/guard.h"
#include "heap/heap.h"
#include "lib/macros.h"

enum { BLOCKS_MAX = 48, CACHES = 3, OBJECTS_MAX = 40, STAMP_BYTES = 16 };

/* ---- Findings ---- */

_Noreturn void finding(const char *text, const char *file, int line);
#define MUST(c) ((c) ? (void)0 : finding(#c, __FILE__, __LINE__))

/* ---- The input, taken from the front; past its end all is zero ---- */

struct input {
    const uint8_t *at;
    size_t left;
};

uint64_t take(struct input *in, size_t bytes);
/* 0..limit - 1, limit up to 2^16. */
uint64_t take_below(struct input *in, uint64_t limit);

/* ---- The page source (heap_fuzz_pages.c) ---- */

struct pages {
    uint64_t out;      /* given and not given back */
    uint64_t fail_at;  /* so many requests from now one is refused; 0: none */
    uint64_t refusals; /* requests of all kinds that were refused */
    uint64_t prefer;   /* the page from which a place is looked for */
    uint64_t is_protected;
    bool forbids_requests; /* any request now is a finding */
    bool refuses_growth;
};

extern struct pages pages;

/* All pages idle. `borders`: any number, decides where in the span the pages lie, `full`: all functions. */
struct heap_source pages_begin(uint64_t borders, bool full);
/* Some address on the pages, or beside them. */
void *pages_address(uint64_t random);
bool pages_protect(void *ctx, void *base, npages_t count, bool is_writable);

/* ---- The model ---- */

struct block {
    uint8_t *base;        /* null: none */
    size_t bytes, usable; /* asked for; to be had */
    uint64_t stamp;
    size_t align_bytes; /* kept by realloc: a page or more; else 0 */
    bool is_guarded;
};

struct object {
    uint8_t *base;
    uint64_t stamp;
};

struct model {
    struct heap heap;
    struct heap_guard guard;
    struct input in;
    struct block blocks[BLOCKS_MAX];
    struct heap_cache caches[CACHES];
    bool has_cache[CACHES];
    struct object objects[CACHES][OBJECTS_MAX];
    uint8_t *freed; /* a block that went */
    uint64_t next_stamp, misuses;
    uint64_t blocks_used, objects_used;
};

/* Reports so far. */
extern uint64_t reports;

/* [base, +bytes) is no one's. */
void model_no_overlap(const struct model *m, const uint8_t *base, size_t bytes);
/* Is it the start of a block, or of an object? */
bool model_is_block(const struct model *m, const void *address);
bool model_is_object(const struct model *m, const void *address);
/* Contents by which a block is known: all of a short one, the ends of each page of others. */
void model_stamp(uint8_t *base, size_t bytes, uint64_t stamp);
/* Those of a block of `bytes`, as far as `kept`. */
bool model_stamped(const uint8_t *base, size_t bytes, size_t kept, uint64_t stamp);

/* As before a call, but that the heap may hold fewer pages for itself. */
bool model_unchanged(const struct model *m, struct heap_stats before);
bool bytes_are(const uint8_t *at, size_t bytes, uint8_t value);

/* One call on the object caches. */
void caches_step(struct model *m);
/* Everything goes back. */
void caches_end(struct model *m);

#endif
