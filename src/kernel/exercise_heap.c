/*
 * The exercise's third part: the heap.
 *
 * The record is a table of blocks: address, size, and the key of the pattern that fills it. A step ends or moves or
 * makes a block; before a block goes (and after one moved) every byte of it is compared. Blocks that overlap would
 * spoil each other's bytes, so no interval tree is needed.
 */
#include "kernel/console.h"
#include "kernel/exercise.h"
#include "kernel/exercise_port.h"
#include "lib/string.h"

enum {
    BLOCKS = 384,
    STEPS = 6000,
    OBJECT_MAX_BYTES = 400, /* objects of one size share slabs up to about there, in some heaps */
    LIVE_DIVISOR = 4, /* at most this part of what is free is alive at a time ... */
    WORD_BYTES = sizeof(uint64_t),
};
#define LIVE_MAX_BYTES (4 * MIB) /* ... and never more than this */

struct block {
    uint8_t *at; /* null: no block */
    uint64_t bytes, key;
    uint64_t align_bytes;
};

struct record {
    struct block blocks[BLOCKS];
    uint64_t live_bytes, live_max_bytes, keys;
};

/* ---- Contents ---- */

static void write_block(struct exercise *ex, struct record *r, struct block *b)
{
    b->key = ++r->keys;
    uint64_t words = b->bytes / WORD_BYTES, rest = b->bytes % WORD_BYTES;
    for (uint64_t i = 0; i < words; i++) {
        uint64_t word = exercise_word(ex, b->key, i);
        memcpy(b->at + i * WORD_BYTES, &word, WORD_BYTES);
    }
    uint64_t last = exercise_word(ex, b->key, words);
    memcpy(b->at + words * WORD_BYTES, &last, rest);
    exercise_port_written(b->at, b->bytes);
}

/* Are the first `bytes` of the block as written under its key? */
static bool verify_block(struct exercise *ex, const struct block *b, uint64_t bytes, const char *when)
{
    for (uint64_t at = 0; at < bytes; at += WORD_BYTES) {
        uint64_t word = exercise_word(ex, b->key, at / WORD_BYTES);
        uint64_t len = bytes - at < WORD_BYTES ? bytes - at : WORD_BYTES;
        if (memcmp(b->at + at, &word, len) != 0) {
            return exercise_failed(ex, "EX-7: block %p of %lu bytes is not as written near byte %lu, %s", (void *)b->at,
                                   b->bytes, at, when);
        }
    }
    ex->bytes_verified += bytes;
    return true;
}

/* A block that was just handed out. */
static bool check_new(struct exercise *ex, const struct block *b)
{
    uint64_t align = b->align_bytes > HEAP_ALIGN_BYTES ? b->align_bytes : HEAP_ALIGN_BYTES;
    if (ptr_to_vaddr(b->at).v % align != 0) {
        return exercise_failed(ex, "EX-7: block %p is not aligned to %lu", (void *)b->at, align);
    }
    size_t usable = heap_usable_size(&machine.heap, b->at);
    if (usable < b->bytes) {
        return exercise_failed(ex, "EX-7: block %p of %lu bytes has %lu usable", (void *)b->at, b->bytes, usable);
    }
    struct heap_block owner;
    const uint8_t *inside = b->at + rng_below(&ex->rng, b->bytes);
    if (!heap_owner_of(&machine.heap, inside, &owner) || owner.base != b->at || !owner.allocated) {
        return exercise_failed(ex, "EX-7: address %p in block %p is not known to be of it", (const void *)inside,
                               (void *)b->at);
    }
    return true;
}

/* ---- Steps ---- */

/* Mostly small; every so often some pages. */
static uint64_t random_bytes(struct exercise *ex)
{
    switch (rng_below(&ex->rng, 16)) {
    case 0: return 1 + rng_below(&ex->rng, 64 * KIB);
    case 1:
    case 2: return 1 + rng_below(&ex->rng, 8 * KIB);
    case 3:
    case 4:
    case 5:
    case 6: return 1 + rng_below(&ex->rng, HEAP_SMALL_MAX_BYTES);
    default: return 1 + rng_below(&ex->rng, OBJECT_MAX_BYTES);
    }
}

static bool is_zero(const uint8_t *at, uint64_t bytes)
{
    uint8_t all = 0;
    for (uint64_t i = 0; i < bytes; i++) {
        all |= at[i];
    }
    return all == 0;
}

static bool step_alloc(struct exercise *ex, struct record *r, struct block *b)
{
    *b = (struct block){.bytes = random_bytes(ex), .align_bytes = 1};
    if (r->live_bytes + b->bytes > r->live_max_bytes) {
        return true;
    }
    bool zeroed = false;
    switch (rng_below(&ex->rng, 4)) {
    case 0:
        b->align_bytes = 1ULL << rng_below(&ex->rng, 14);
        b->at = heap_alloc_aligned(&machine.heap, b->bytes, b->align_bytes);
        break;
    case 1:
        zeroed = true;
        b->at = heap_zalloc(&machine.heap, b->bytes);
        break;
    default: b->at = heap_alloc(&machine.heap, b->bytes); break;
    }
    if (b->at == NULL) {
        return exercise_failed(ex, "EX-7: no block of %lu bytes, %lu frames are free", b->bytes,
                               pmm_stats(&machine.pmm).free.v);
    }
    if (zeroed && !is_zero(b->at, b->bytes)) {
        return exercise_failed(ex, "EX-7: block %p of heap_zalloc is not zero", (void *)b->at);
    }
    r->live_bytes += b->bytes;
    if (!check_new(ex, b)) {
        return false;
    }
    write_block(ex, r, b);
    return true;
}

static bool step_free(struct exercise *ex, struct record *r, struct block *b)
{
    if (!verify_block(ex, b, b->bytes, "before it goes")) {
        return false;
    }
    enum status s =
        rng_below(&ex->rng, 2) == 0 ? heap_free(&machine.heap, b->at) : heap_free_sized(&machine.heap, b->at, b->bytes);
    r->live_bytes -= b->bytes;
    struct block was = *b;
    b->at = NULL;
    return s == STATUS_OK || exercise_failed(ex, "EX-7: block %p of %lu bytes does not go back: %s", (void *)was.at,
                                             was.bytes, status_name(s));
}

static bool step_realloc(struct exercise *ex, struct record *r, struct block *b)
{
    uint64_t bytes = random_bytes(ex);
    if (r->live_bytes + bytes > r->live_max_bytes) {
        return true;
    }
    uint64_t kept = bytes < b->bytes ? bytes : b->bytes;
    uint8_t *moved = heap_realloc(&machine.heap, b->at, bytes);
    if (moved == NULL) {
        return exercise_failed(ex, "EX-7: block %p of %lu bytes cannot become %lu, %lu frames are free", (void *)b->at,
                               b->bytes, bytes, pmm_stats(&machine.pmm).free.v);
    }
    r->live_bytes += bytes - b->bytes;
    b->at = moved;
    b->bytes = bytes;
    /* Only page-aligned blocks keep more than the least alignment. */
    b->align_bytes = b->align_bytes >= PAGE_BYTES ? b->align_bytes : 1;
    if (!check_new(ex, b) || !verify_block(ex, b, kept, "after realloc")) {
        return false;
    }
    write_block(ex, r, b);
    return true;
}

static bool step(struct exercise *ex, struct record *r)
{
    struct block *b = &r->blocks[rng_below(&ex->rng, BLOCKS)];
    if (b->at == NULL) {
        return step_alloc(ex, r, b);
    }
    switch (rng_below(&ex->rng, 4)) {
    case 0: return step_realloc(ex, r, b);
    case 1: return verify_block(ex, b, b->bytes, "in use");
    default: return step_free(ex, r, b);
    }
}

/* All that is left, in an order of its own. */
static bool free_all(struct exercise *ex, struct record *r)
{
    uint64_t order[BLOCKS];
    for (uint64_t i = 0; i < BLOCKS; i++) {
        order[i] = i;
    }
    exercise_shuffle(ex, order, BLOCKS);
    for (uint64_t i = 0; i < BLOCKS; i++) {
        struct block *b = &r->blocks[order[i]];
        if (b->at != NULL && !step_free(ex, r, b)) {
            return false;
        }
    }
    return true;
}

bool exercise_heap(struct exercise *ex)
{
    struct record *r = exercise_record(ex, sizeof *r, "exercise: heap");
    if (r == NULL) {
        return false;
    }
    uint64_t share = pages_to_bytes(pmm_stats(&machine.pmm).free) / LIVE_DIVISOR;
    r->live_max_bytes = share < LIVE_MAX_BYTES ? share : LIVE_MAX_BYTES;
    uint64_t blocks_before = heap_stats(&machine.heap).blocks, verified = ex->bytes_verified;
    for (unsigned i = 0; i < STEPS; i++) {
        if (!step(ex, r)) {
            return false;
        }
    }
    if (heap_check(&machine.heap, console) != STATUS_OK) {
        return exercise_failed(ex, "heap_check in the middle of the churn");
    }
    if (!free_all(ex, r)) {
        return false;
    }
    uint64_t blocks = heap_stats(&machine.heap).blocks;
    if (blocks != blocks_before) {
        return exercise_failed(ex, "EX-8: the heap had %lu blocks, after all went back it has %lu", blocks_before,
                               blocks);
    }
    exercise_note(ex, "%u heap steps, %lu bytes verified", STEPS, ex->bytes_verified - verified);
    return exercise_record_free(ex);
}
