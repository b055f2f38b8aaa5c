/*
 * One size for all: slots as long as the longest block that there will ever be, which must be known beforehand. The
 * least that a heap can do, in time and in thought; memory pays.
 *
 * A slot is a power of two, so that any alignment up to it comes for nothing; slots of less than a page are cut from
 * runs of 16 pages, larger ones are got one by one. A run is aligned to its length and has its record behind its last
 * slot, so a slot finds it by its address: it counts the slots in use, and a shrink gives back the runs without any.
 * Free slots are on a list through their first words. Nothing is kept of a slot in use, so nothing wrong is seen but an
 * address that begins no slot.
 */
#include "rivals/heap/way.h"

enum { RUN_PAGES = 16 };

struct slot {
    struct slot *next;
};

struct one_size {
    struct way way;
    size_t slot_bytes;
    struct slot *free;
};

struct run {
    uint64_t used;
    uint64_t free; /* counted while a shrink is at work */
};

void one_size_start(void *state, struct heap_source source, size_t slot_bytes)
{
    struct one_size *o = state;
    memset(o, 0, sizeof *o);
    o->way.source = source;
    o->slot_bytes = 1UL << way_log2_up(slot_bytes < HEAP_ALIGN_BYTES ? HEAP_ALIGN_BYTES : slot_bytes);
}

static bool has_runs(const struct one_size *o) { return o->slot_bytes < PAGE_BYTES; }
static npages_t grant_pages(const struct one_size *o)
{
    return has_runs(o) ? npages(RUN_PAGES) : bytes_to_pages_up(o->slot_bytes);
}

static struct run *run_of(const void *slot)
{
    const uint64_t run_bytes = pages_to_bytes(npages(RUN_PAGES));
    return (struct run *)(((uintptr_t)slot | (run_bytes - 1)) + 1 - sizeof(struct run));
}

static void push(struct one_size *o, void *p)
{
    *(struct slot *)p = (struct slot){o->free};
    o->free = p;
}

static bool grow(struct one_size *o)
{
    const npages_t pages = grant_pages(o);
    const uint64_t bytes = pages_to_bytes(pages);
    uint8_t *base = way_get(&o->way, pages, way_log2_down(bytes));
    if (base == NULL) {
        return false;
    }
    size_t end = bytes;
    if (has_runs(o)) {
        *run_of(base) = (struct run){0, 0};
        end -= sizeof(struct run);
    }
    for (size_t slots = end / o->slot_bytes; slots-- > 0;) {
        push(o, base + slots * o->slot_bytes);
    }
    return true;
}

void *one_size_alloc_aligned(void *state, size_t bytes, size_t align_bytes)
{
    struct one_size *o = state;
    if (bytes > o->slot_bytes || align_bytes > o->slot_bytes || (o->free == NULL && !grow(o))) {
        return NULL;
    }
    struct slot *slot = o->free;
    o->free = slot->next;
    if (has_runs(o)) {
        run_of(slot)->used++;
    }
    o->way.allocs++;
    o->way.used_bytes += o->slot_bytes;
    return slot;
}

void *one_size_alloc(void *state, size_t bytes) { return one_size_alloc_aligned(state, bytes, 1); }

void *one_size_resize(void *state, void *block, size_t bytes)
{
    return bytes > ((struct one_size *)state)->slot_bytes ? NULL : block;
}

enum status one_size_release(void *state, void *block)
{
    struct one_size *o = state;
    if (((uintptr_t)block & (o->slot_bytes - 1)) != 0) {
        return STATUS_MISUSE;
    }
    if (has_runs(o)) {
        run_of(block)->used--;
    }
    push(o, block);
    o->way.frees++;
    o->way.used_bytes -= o->slot_bytes;
    return STATUS_OK;
}

size_t one_size_usable(void *state, const void *block)
{
    (void)block;
    return ((struct one_size *)state)->slot_bytes;
}

/* Free slots of runs without any in use come off the list; the last of each takes the run with it. */
npages_t one_size_shrink(void *state)
{
    struct one_size *o = state;
    const npages_t pages = grant_pages(o);
    const uint64_t bytes = pages_to_bytes(pages), held = o->way.held_pages;
    const uint64_t slots = has_runs(o) ? (bytes - sizeof(struct run)) / o->slot_bytes : 1;
    struct slot *list = o->free, *kept = NULL, **last = &kept;
    while (list != NULL) {
        struct slot *slot = list;
        list = slot->next;
        if (has_runs(o) && run_of(slot)->used != 0) {
            *last = slot;
            last = &slot->next;
        } else if (!has_runs(o) || ++run_of(slot)->free == slots) {
            way_put(&o->way, vaddr_to_ptr(vaddr(ptr_to_vaddr(slot).v & ~(bytes - 1))), pages);
        }
    }
    *last = NULL;
    o->free = kept;
    return npages(held - o->way.held_pages);
}
