/*
 * A bitmap that page faults back on first touch. Its addresses are reserved for all of memory and nothing is there; the
 * first access to a page of it faults, and the handler needs a frame, from the allocator that just faulted. The circle
 * is closed by where it takes it: a page covers 32,768 frames, and the first of them that is RAM backs the page. So
 * each page describes itself first, nobody is asked, and the start costs the same for any size of memory.
 *
 * A page that covers no RAM shows the zero frame (a frame of zeros: nothing free there) when a search comes along. The
 * start allocates it, and the one behind the word that ends searches; by that it faults the first page in.
 *
 * The handler runs inside alloc and free, where a bit is about to change; it changes no word that can be under way,
 * since the page was not there. A kernel marks the entries of these addresses when it reserves them, so that a fault
 * there is told from a wild pointer, and must not fault on the way to this handler.
 */
#include "rivals/pmm/bits.h"
#include "rivals/pmm/machine.h"

struct faulted {
    struct bits bits;
    uint8_t *map;
    const struct frame_run *runs;
    size_t run_count;
    pfn_t zero; /* FRAMES_NONE: not yet */
    pfn_t last; /* behind the word that ends searches */
    uint64_t own, backed;
};

/* The first of frames [first, end) that is RAM. => FRAMES_NONE: none is. */
static pfn_t first_ram(const struct faulted *f, uint64_t first, uint64_t end)
{
    for (size_t i = 0; i < f->run_count; i++) {
        if (ranges_overlap(first, end, f->runs[i].first.v, run_end(f->runs[i]))) {
            return f->runs[i].first.v > first ? f->runs[i].first : pfn(first);
        }
    }
    return FRAMES_NONE;
}

pfn_t faulted_page_frame(const void *state, pfn_t covered)
{
    uint64_t first = covered.v / BITS_PAGE_FRAMES * BITS_PAGE_FRAMES;
    return first_ram(state, first, first + BITS_PAGE_FRAMES);
}

static void describe(struct faulted *f, uint64_t first, uint64_t end, pfn_t self)
{
    for (size_t i = 0; i < f->run_count; i++) {
        uint64_t from = f->runs[i].first.v, to = run_end(f->runs[i]);
        from = from > first ? from : first;
        to = to < end ? to : end;
        bits_add(f->bits.words, from, from < to ? to : from);
    }
    f->bits.words[self.v / BITS_WORD] &= ~(1ULL << self.v % BITS_WORD);
}

static bool on_fault(void *ctx, void *page)
{
    struct faulted *f = ctx;
    uint64_t number = bytes_to_pages_down((uint64_t)((uint8_t *)page - f->map)).v;
    uint64_t first = number * BITS_PAGE_FRAMES, end = first + BITS_PAGE_FRAMES;
    pfn_t self = first_ram(f, first, end);
    f->backed++;
    if (self.v == FRAMES_NONE.v) {
        machine_show(page, f->zero, false);
        return f->zero.v != FRAMES_NONE.v;
    }
    f->own++;
    machine_show_zeroed(page, self);
    describe(f, first, end, self);
    return true;
}

/* The first run with room for its page's frame and two more there. => null: there is none. */
static const struct frame_run *roomy_run(const struct frame_run *runs, size_t run_count)
{
    enum { ROOM = 3 };
    for (size_t i = 0; i < run_count; i++) {
        if (runs[i].frames.v >= ROOM && runs[i].first.v % BITS_PAGE_FRAMES <= BITS_PAGE_FRAMES - ROOM) {
            return &runs[i];
        }
    }
    return NULL;
}

void *faulted_start(const struct frame_run *runs, size_t run_count)
{
    uint64_t frames = frames_end(runs, run_count);
    const struct frame_run *roomy = roomy_run(runs, run_count);
    if (roomy == NULL) {
        return NULL;
    }
    machine_begin(frames);
    struct faulted *f = machine_memory(sizeof *f);
    *f = (struct faulted){.runs = runs, .run_count = run_count, .zero = FRAMES_NONE};
    uint64_t pages = (frames - 1) / BITS_PAGE_FRAMES + 1;
    f->map = machine_addresses(pages_to_bytes(npages(pages + 1)), on_fault, f);
    const uint64_t at = roomy->first.v / BITS_WORD;
    f->bits = (struct bits){(uint64_t *)(void *)f->map, pages * BITS_PAGE_WORDS, at, at};
    /* The first fault. */
    f->zero = bits_take_lowest(&f->bits);
    machine_show_zeroed(f->map + pages_to_bytes(npages(pages)), f->zero);
    f->last = bits_take_lowest(&f->bits);
    machine_show_zeroed(f->map + pages_to_bytes(npages(pages)), f->last);
    f->bits.words[f->bits.count] = ~0ULL;
    f->own += 2;
    f->bits.at = f->bits.next = runs[0].first.v / BITS_WORD;
    return f;
}

/* A frame for each page that covers RAM, the zero frame, and the one behind the word that ends searches. */
uint64_t faulted_kept(const void *state)
{
    const struct faulted *f = state;
    uint64_t kept = 2, next = 0; /* pages below are counted */
    for (size_t i = 0; i < f->run_count; i++) {
        const uint64_t first = f->runs[i].first.v / BITS_PAGE_FRAMES;
        const uint64_t end = (run_end(f->runs[i]) - 1) / BITS_PAGE_FRAMES + 1;
        kept += end - (first > next ? first : next);
        next = end;
    }
    return kept;
}

bool faulted_keeps(const void *state, pfn_t frame)
{
    const struct faulted *f = state;
    return frame.v == f->zero.v || frame.v == f->last.v || frame.v == faulted_page_frame(state, frame).v;
}

uint64_t faulted_own(const void *state) { return ((const struct faulted *)state)->own; }
uint64_t faulted_backed(const void *state) { return ((const struct faulted *)state)->backed; }

FRAMES_HOT pfn_t faulted_alloc(void *state) { return bits_take_lowest(&((struct faulted *)state)->bits); }

FRAMES_HOT enum status faulted_free(void *state, pfn_t frame)
{
    return bits_give_lowest(&((struct faulted *)state)->bits, frame.v);
}

pfn_t faulted_alloc_block(void *state)
{
    struct bits *b = &((struct faulted *)state)->bits;
    return bits_take_block(b, b->at);
}

enum status faulted_free_block(void *state, pfn_t first)
{
    return bits_give_block_lowest(&((struct faulted *)state)->bits, first.v);
}
