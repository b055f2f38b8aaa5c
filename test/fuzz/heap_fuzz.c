/*
 * libFuzzer: any bytes as a sequence of calls on a heap and its object caches, right and wrong ones, compared with a
 * plain list of what is held and what it contains.
 *
 * The first bytes say where in the span the pages lie, what the source can do and whether guard mode is on; from the
 * rest all dice are thrown until it is used up. A wrong call must be reported and change nothing, no other may be; null
 * is right only where the source refused something.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "heap_fuzz.h"

enum { STEPS_MAX = 300, CHECK_EVERY = 8, LARGE_PAGES = 210 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

uint64_t reports;
static unsigned step_number;

/* ---- The port ---- */

void arch_report(enum report_kind kind, const char *text)
{
    (void)text;
    reports += kind != REPORT_NOTE;
}

void arch_fatal(const char *text)
{
    fprintf(stderr, "fatal: %s\n", text);
    abort();
}

void finding(const char *text, const char *file, int line)
{
    fprintf(stderr, "%s:%d: step %u: expected %s\n", file, line, step_number, text);
    abort();
}

/* ---- Blocks ---- */

static size_t random_bytes(struct input *in)
{
    switch (take_below(in, 8)) {
    case 0:
    case 1: return 1 + take_below(in, HEAP_SLAB_MAX_BYTES);
    case 2: return 1 + take_below(in, 3000);
    case 3: return 1 + take_below(in, 20000);
    case 4: return pages_to_bytes(npages(1 + take_below(in, 8)));
    case 5:
    case 6: return pages_to_bytes(npages(1 + take_below(in, LARGE_PAGES))) - take_below(in, 4);
    default: return pages_to_bytes(npages(64 * (1 + take_below(in, 3)) + take_below(in, 3))) - 64;
    }
}

static void adopt(struct model *m, struct block *b, uint8_t *base, size_t bytes, size_t align_bytes)
{
    struct heap_guard_block found;
    struct heap_block owner;
    b->base = NULL;
    bool is_guarded = heap_guard_find(&m->heap, base, &found) && found.base == base && found.state == HEAP_GUARD_LIVE;
    size_t usable = heap_usable_size(&m->heap, base);
    MUST(ptr_to_vaddr(base).v % (align_bytes > HEAP_ALIGN_BYTES ? align_bytes : HEAP_ALIGN_BYTES) == 0);
    MUST(is_guarded ? usable == bytes && found.bytes == bytes : usable >= bytes);
    model_no_overlap(m, base, usable);
    const uint8_t *inside = base + take_below(&m->in, 256) * (usable - 1) / 255;
    MUST(heap_owner_of(&m->heap, inside, &owner) && owner.base == base && owner.allocated);
    MUST(owner.usable_bytes == usable && owner.cache_name == NULL);
    *b = (struct block){.base = base,
                        .bytes = bytes,
                        .usable = usable,
                        .stamp = m->next_stamp++,
                        .align_bytes = align_bytes >= PAGE_BYTES ? align_bytes : 0,
                        .is_guarded = is_guarded};
    model_stamp(base, bytes, b->stamp);
}

/* Memory was short, or it was not: nothing has changed. Guard mode may have emptied its quarantine. */
static void refused(const struct model *m, struct heap_stats before, uint64_t refusals)
{
    MUST(pages.refusals > refusals);
    MUST(m->heap.guard != NULL || model_unchanged(m, before));
    MUST(heap_check(&m->heap, NULL) == STATUS_OK);
}

static void step_alloc(struct model *m, struct block *b)
{
    const struct heap_stats before = heap_stats(&m->heap);
    const uint64_t refusals = pages.refusals, way = take_below(&m->in, 4);
    size_t bytes = random_bytes(&m->in), align_bytes = 1;
    uint8_t *base;
    switch (way) {
    case 0: base = heap_alloc(&m->heap, bytes); break;
    case 1: base = heap_zalloc(&m->heap, bytes); break;
    case 2: base = heap_alloc_array(&m->heap, bytes, 1); break;
    default: align_bytes = 1UL << take_below(&m->in, 23); base = heap_alloc_aligned(&m->heap, bytes, align_bytes);
    }
    if (base == NULL) {
        refused(m, before, refusals);
        return;
    }
    MUST((way != 1 && way != 2) || bytes_are(base, bytes, 0));
    adopt(m, b, base, bytes, align_bytes);
    m->blocks_used++;
}

static void step_realloc(struct model *m, struct block *b)
{
    const struct heap_stats before = heap_stats(&m->heap);
    const uint64_t refusals = pages.refusals;
    size_t bytes = random_bytes(&m->in);
    uint8_t *base = heap_realloc(&m->heap, b->base, bytes);
    if (base == NULL) {
        refused(m, before, refusals);
        MUST(model_stamped(b->base, b->bytes, b->bytes, b->stamp));
        return;
    }
    MUST(model_stamped(base, b->bytes, b->bytes < bytes ? b->bytes : bytes, b->stamp));
    m->freed = base != b->base ? b->base : m->freed;
    adopt(m, b, base, bytes, b->align_bytes > 0 ? b->align_bytes : 1);
}

static void step_free(struct model *m, struct block *b)
{
    MUST(model_stamped(b->base, b->bytes, b->bytes, b->stamp));
    uint64_t way = take_below(&m->in, 8);
    bool breaks = way == 0 && b->is_guarded && b->bytes % HEAP_ALIGN_BYTES != 0;
    if (breaks) {
        b->base[b->bytes] = 1; /* the red zone's byte is another */
        m->misuses++;
    }
    pages.forbids_requests = true;
    enum status s = way % 2 == 0 ? heap_free(&m->heap, b->base) : heap_free_sized(&m->heap, b->base, b->bytes);
    MUST(s == (breaks ? STATUS_MISUSE : STATUS_OK));
    if (way >= 4) {
        MUST(heap_free(&m->heap, b->base) == STATUS_MISUSE);
        m->misuses++;
    }
    pages.forbids_requests = false;
    m->freed = b->base;
    b->base = NULL;
    m->blocks_used--;
}

/* ---- Wrong calls ---- */

/* Wrong sizes and addresses, for a block in use. */
static void wrong_with_block(struct model *m, const struct block *b)
{
    struct heap *heap = &m->heap;
    uint8_t *inside = b->base + 1 + take(&m->in, 3) % b->bytes;
    bool is_next = inside == b->base + b->bytes && model_is_block(m, inside);
    m->misuses++;
    switch (is_next ? 3 : take_below(&m->in, 9)) {
    case 0: MUST(heap_free(heap, inside) == STATUS_MISUSE); break;
    case 1: MUST(heap_free_sized(heap, inside, b->bytes) == STATUS_MISUSE); break;
    case 2: MUST(heap_realloc(heap, inside, b->bytes + 1) == NULL); break;
    case 3: MUST(heap_free_sized(heap, b->base, b->usable + 1) == STATUS_MISUSE); break;
    case 4: MUST(heap_free_sized(heap, b->base, 0) == STATUS_MISUSE); break;
    case 5: MUST(heap_realloc(heap, b->base, 0) == NULL); break;
    case 6: MUST(heap_realloc(heap, b->base, (1UL << 47) + take(&m->in, 6) + 1) == NULL); break;
    case 7: MUST(heap_usable_size(heap, inside) == 0); break;
    default: /* so much is no misuse, and not to be had */
        m->misuses--;
        MUST(heap_realloc(heap, b->base, 1UL << (30 + take_below(&m->in, 18))) == NULL);
    }
    MUST(heap_usable_size(heap, b->base) == b->usable);
}

static void wrong_without_block(struct model *m)
{
    struct heap *heap = &m->heap;
    uint64_t way = take_below(&m->in, 8);
    void *address = way % 2 == 0 ? m->freed : pages_address(take(&m->in, 4));
    m->misuses++;
    if (address == NULL || model_is_block(m, address)) {
        way = 7;
    }
    switch (way) {
    case 0:
    case 1: MUST(heap_free(heap, address) == STATUS_MISUSE); break;
    case 2: MUST(heap_realloc(heap, address, random_bytes(&m->in)) == NULL); break;
    case 3: MUST(heap_usable_size(heap, address) == 0); break;
    case 4: MUST(heap_free_sized(heap, address, random_bytes(&m->in)) == STATUS_MISUSE); break;
    case 5: MUST(heap_alloc_aligned(heap, 16, 3UL << take_below(&m->in, 40)) == NULL); break;
    case 6: MUST(heap_alloc_array(heap, 1UL << 40, 1UL << (24 + take_below(&m->in, 30))) == NULL); break;
    default: MUST(heap_alloc(heap, (1UL << 47) + 1 + take(&m->in, 6)) == NULL);
    }
    MUST(heap_alloc(heap, 0) == NULL && heap_free(heap, NULL) == STATUS_OK);
}

/* Who holds it? Only what is held is said to be. */
static void ask_owner(struct model *m)
{
    const uint8_t *address = pages_address(take(&m->in, 4));
    struct heap_block found;
    bool is_used = heap_owner_of(&m->heap, address, &found) && found.allocated;
    bool is_held = false;
    for (unsigned i = 0; i < BLOCKS_MAX && !is_held; i++) {
        const struct block *b = &m->blocks[i];
        is_held = b->base != NULL && address >= b->base && address < b->base + b->usable;
        MUST(!is_held || (is_used && found.base == b->base));
    }
    MUST(is_held || !is_used || found.cache_name != NULL || found.base != address || model_is_object(m, address));
}

/* ---- The input ---- */

static void step_all(struct model *m)
{
    uint64_t held = pages.out, refusals = pages.refusals;
    switch (take_below(&m->in, 4)) {
    case 0:
        pages.forbids_requests = true;
        MUST(heap_shrink(&m->heap).v == held - pages.out);
        pages.forbids_requests = false;
        break;
    case 1:
        if (heap_prefill(&m->heap, pages_to_bytes(npages(take_below(&m->in, 24)))) != STATUS_OK) {
            MUST(pages.refusals > refusals && pages.out <= held); /* a spare page may have gone */
        }
        break;
    case 2: pages.prefer = take(&m->in, 2); break;
    default: pages.refuses_growth = !pages.refuses_growth;
    }
}

static void step(struct model *m)
{
    uint64_t what = take_below(&m->in, 16);
    struct block *b = &m->blocks[take_below(&m->in, BLOCKS_MAX)];
    if (what >= 14) {
        pages.fail_at = 1 + take_below(&m->in, 12);
        what = what == 14 ? 4 : take_below(&m->in, 12);
    }
    switch (what) {
    case 0: step_all(m); break;
    case 1: ask_owner(m); break;
    case 2: wrong_without_block(m); break;
    case 10:
    case 11:
    case 12: caches_step(m); break;
    default:
        if (b->base == NULL) {
            step_alloc(m, b);
        } else if (what == 3) {
            wrong_with_block(m, b);
        } else if (what <= 6) {
            step_realloc(m, b);
        } else {
            step_free(m, b);
        }
    }
    pages.fail_at = 0;
}

static void compare(const struct model *m, bool in_full)
{
    struct heap_stats stats = heap_stats(&m->heap);
    MUST(stats.blocks == m->blocks_used + m->objects_used);
    MUST(stats.held_bytes == pages_to_bytes(npages(pages.out)));
    MUST(stats.misuses == m->misuses && reports == m->misuses);
    MUST(stats.allocs - stats.frees == stats.blocks);
    if (in_full) {
        MUST(heap_check(&m->heap, NULL) == STATUS_OK);
    }
}

static void guard_begin(struct model *m, uint64_t way)
{
    struct heap_guard_config config = {
        .sample_every = way % 3 == 0   ? 0
                        : way % 3 == 1 ? 1
                                       : 4,
        .seed = way,
        .quarantine_bytes = way % 2 == 0 ? 16UL * 1024 : 512UL * 1024,
        .quarantine_count = 4 + way % 64,
        .has_guard_pages = way % 3 != 0,
        .pages_protect = way % 4 < 2 ? pages_protect : NULL,
    };
    MUST(heap_guard_start(&m->heap, &m->guard, &config) == STATUS_OK);
    MUST(heap_guard_start(&m->heap, &m->guard, &config) == STATUS_INVALID);
}

static void end(struct model *m)
{
    for (unsigned i = 0; i < BLOCKS_MAX; i++) {
        if (m->blocks[i].base != NULL) {
            step_free(m, &m->blocks[i]);
        }
    }
    caches_end(m);
    compare(m, true);
    uint64_t held = pages.out;
    MUST(heap_shrink(&m->heap).v == held && pages.out == 0 && pages.is_protected == 0);
    compare(m, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct model model;
    struct model *m = &model;
    if (size < 4) {
        return -1;
    }
    memset(m, 0, sizeof *m);
    m->in = (struct input){.at = data, .left = size};
    reports = 0;
    step_number = 0;
    uint64_t borders = take(&m->in, 1), way = take(&m->in, 1);
    MUST(heap_init(&m->heap, pages_begin(borders, way % 8 != 0)) == STATUS_OK);
    if (way >= 160) { /* from the start, or over blocks that stay unguarded */
        step_number = way % 2 == 0 ? 0 : 20;
    }
    const unsigned guard_at = step_number;
    for (step_number = 0; m->in.left > 0 && step_number < STEPS_MAX; step_number++) {
        if (way >= 160 && step_number == guard_at) {
            guard_begin(m, way - 160);
        }
        step(m);
        compare(m, step_number % CHECK_EVERY == 0);
    }
    end(m);
    return 0;
}
