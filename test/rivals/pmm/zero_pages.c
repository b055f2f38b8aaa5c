/*
 * One bitmap over all memory, of which only the pages that cover RAM are there: the pages of never-RAM are all mapped
 * to one frame of zeros, and a zero says "not free". So holes cost page tables but no memory, and the code is that of
 * the bitmap; only its start differs. The frames behind the others are the first ones of RAM.
 *
 * A frame in a hole that is freed anyhow ends in a page fault: nobody may write to zeros that many share.
 */
#include "rivals/pmm/bits.h"
#include "rivals/pmm/machine.h"

struct zero_pages {
    struct bits bits;
    uint64_t own;     /* frames behind the bitmap and the one of zeros */
    pfn_t own_end;    /* they are all of RAM below */
};

/* The page covers RAM, or the word that ends searches. */
static bool is_there(const struct frame_run *runs, size_t run_count, const struct bits *b, uint64_t page)
{
    uint64_t first = page * BITS_PAGE_FRAMES, end = first + BITS_PAGE_FRAMES;
    for (size_t i = 0; i < run_count; i++) {
        if (ranges_overlap(first, end, runs[i].first.v, run_end(runs[i]))) {
            return true;
        }
    }
    return page == b->count / BITS_PAGE_WORDS;
}

void *zero_pages_start(const struct frame_run *runs, size_t run_count)
{
    uint64_t frames = frames_end(runs, run_count), pages = bytes_to_pages_up(bits_bytes(frames)).v;
    if (frames == 0) {
        return NULL;
    }
    machine_begin(frames);
    struct zero_pages *z = machine_memory(sizeof *z);
    uint8_t *map = machine_addresses(pages_to_bytes(npages(pages)), NULL, NULL);
    z->bits = (struct bits){(uint64_t *)(void *)map, bits_words(frames), 0, 0};
    struct frames_fresh fresh = frames_fresh(runs, run_count);
    const pfn_t zero = frames_fresh_take(&fresh);
    machine_show_zeroed(map, zero);
    z->own = 1;
    for (uint64_t page = 0; page < pages; page++) {
        bool there = is_there(runs, run_count, &z->bits, page);
        pfn_t frame = there ? frames_fresh_take(&fresh) : zero;
        if (frame.v == FRAMES_NONE.v) {
            return NULL;
        }
        z->own += there;
        if (there) {
            machine_show_zeroed(map + pages_to_bytes(npages(page)), frame);
        } else {
            machine_show(map + pages_to_bytes(npages(page)), zero, false);
        }
    }
    z->bits.words[z->bits.count] = ~0ULL;
    fresh = frames_fresh(runs, run_count);
    for (uint64_t i = 0; i < z->own; i++) {
        z->own_end = pfn_add(frames_fresh_take(&fresh), 1);
    }
    for (pfn_t first = frames_fresh_take(&fresh); first.v != FRAMES_NONE.v; first = frames_fresh_take(&fresh)) {
        bits_add(z->bits.words, first.v, fresh.end);
        fresh.next = fresh.end;
    }
    return z;
}

FRAMES_HOT pfn_t zero_pages_alloc(void *state) { return bits_take_lowest(&((struct zero_pages *)state)->bits); }

FRAMES_HOT enum status zero_pages_free(void *state, pfn_t frame)
{
    return bits_give_lowest(&((struct zero_pages *)state)->bits, frame.v);
}

pfn_t zero_pages_alloc_block(void *state)
{
    struct bits *b = &((struct zero_pages *)state)->bits;
    return bits_take_block(b, b->at);
}

enum status zero_pages_free_block(void *state, pfn_t first)
{
    return bits_give_block_lowest(&((struct zero_pages *)state)->bits, first.v);
}

uint64_t zero_pages_own(const void *state) { return ((const struct zero_pages *)state)->own; }
uint64_t zero_pages_kept(const void *state) { return zero_pages_own(state); }

bool zero_pages_keeps(const void *state, pfn_t frame)
{
    const struct zero_pages *z = state;
    return frame.v < z->own_end.v;
}
