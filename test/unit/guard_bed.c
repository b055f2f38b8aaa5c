/* Heaps in guard mode, for its tests. */
#include "unit/guard_bed.h"

enum { NOTES = 64, FUNCTION_BYTES_MAX = 1024 };

static struct {
    void *base;
    uint64_t pages;
} notes[NOTES];
static uint64_t protected_pages;

static bool protect(void *ctx, void *base, npages_t pages, bool is_writable)
{
    struct heap_bed *bed = ctx;
    for (unsigned i = 0; i < NOTES; i++) {
        if (notes[i].base != (is_writable ? base : NULL)) {
            continue;
        }
        bed->wrong += is_writable && notes[i].pages != pages.v;
        notes[i].base = is_writable ? NULL : base;
        notes[i].pages = pages.v;
        protected_pages += is_writable ? -pages.v : pages.v;
        return true;
    }
    bed->wrong += is_writable; /* never protected */
    return false;
}

uint64_t guard_bed_protected_pages(void) { return protected_pages; }

bool guard_bed_is_protected(const void *address)
{
    for (unsigned i = 0; i < NOTES; i++) {
        uint64_t offset = ptr_to_vaddr(address).v - ptr_to_vaddr(notes[i].base).v;
        if (notes[i].base != NULL && offset < pages_to_bytes(npages(notes[i].pages))) {
            return true;
        }
    }
    return false;
}

__attribute__((noinline)) void *guard_bed_alloc(struct heap *heap, size_t bytes)
{
    void *block = heap_alloc(heap, bytes);
    __asm__ volatile("" ::: "memory"); /* a call, not a jump: this is where it returns to */
    return block;
}

__attribute__((noinline)) enum status guard_bed_free(struct heap *heap, void *block)
{
    enum status s = heap_free(heap, block);
    __asm__ volatile("" ::: "memory");
    return s;
}

/* By the function it is in: sites in the two above are told apart. */
static void site_text(char *text, size_t size, const void *site)
{
    const uint64_t at = ptr_to_vaddr(site).v;
    const uint64_t in_alloc = at - (uint64_t)(uintptr_t)guard_bed_alloc;
    const uint64_t in_free = at - (uint64_t)(uintptr_t)guard_bed_free;
    bool is_alloc = in_alloc < FUNCTION_BYTES_MAX && in_alloc < in_free;
    fmt_text(text, size, "%s", is_alloc ? "the-alloc" : in_free < FUNCTION_BYTES_MAX ? "the-free" : "elsewhere");
}

bool guard_bed_names_alloc(void) { return heap_bed_reported("; allocated at the-alloc"); }
bool guard_bed_names_free(void) { return heap_bed_reported(", freed at the-free"); }
bool guard_bed_names_now(void) { return heap_bed_reported(", now at the-free"); }

struct heap_guard_config guard_bed_config(enum guard_way way)
{
    return (struct heap_guard_config){
        .sample_every = way == GUARD_EDGE ? 1 : 0,
        .seed = test_seed(),
        .quarantine_bytes = GUARD_QUARANTINE_BYTES * (way == GUARD_EDGE ? 4UL : 1UL),
        .quarantine_count = GUARD_QUARANTINE_COUNT / (way == GUARD_EDGE ? 4U : 1U),
        .has_guard_pages = way == GUARD_EDGE,
        .pages_protect = way == GUARD_EDGE ? protect : NULL,
        .site_text = site_text,
    };
}

struct guard_bed *guard_bed_new(size_t pages, const struct heap_guard_config *config)
{
    struct guard_bed *g = test_pages(bytes_to_pages_up(sizeof *g).v);
    struct heap_bed *bed = heap_bed_new(pages);
    if (g == NULL || bed == NULL) {
        return NULL;
    }
    memset(notes, 0, sizeof notes);
    protected_pages = 0;
    g->bed = bed;
    g->heap = &bed->heap;
    EXPECT_EQ(heap_guard_start(g->heap, &g->guard, config), STATUS_OK);
    return g;
}

void guard_bed_end(struct guard_bed *g)
{
    heap_bed_end(g->bed);
    EXPECT_EQ(guard_bed_protected_pages(), 0);
}
