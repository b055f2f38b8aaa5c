/*
 * The inverted bitmap: a bit is set while its frame is free, so a page of it whose frames are all in use is a page of
 * zeros. Then the zero frame can stand for it, and its own frame is won: it is handed out like any other. When one of
 * the frames it covers is freed, the page must be written again, and there is a frame for it without asking anybody:
 * the one that is being freed. So nothing can fail, and memory that is full has no bitmap at all.
 *
 *   frames free in a page   behind it            the frame of it that is freed next
 *   some                    a frame of its own   gets its bit
 *   none ("hollow")         a frame of its own   gets its bit
 *   none                    the zero frame       becomes the page's own, which is hollow then
 *
 * A hollow page is retired when nothing else is free, and not before. At once would be the same in the end, and dear on
 * the way: with the lowest frames handed out first, pages at the bottom are full long before memory is, and each frame
 * that comes and goes there would cost a mapping, an invalidation and 4 KiB of zeros, back and forth.
 *
 * Each call keeps a count a page. A frame freed twice in a row is seen, also where it became a page of the bitmap,
 * unless that page was retired since.
 */
#include "rivals/pmm/bits.h"
#include "rivals/pmm/machine.h"

struct inverted {
    struct bits bits;
    uint8_t *map;
    pfn_t zero;
    uint32_t *in_page;  /* per page of the map: frames that are free */
    uint32_t *ram;      /* frames of RAM */
    pfn_t *behind;      /* FRAMES_NONE: the zero frame */
    uint64_t pages;     /* all that the map has */
    uint64_t hollow;    /* pages with a frame of their own and nothing free */
    uint64_t retire_at; /* the page after the one retired last */
    struct inverted_stats stats;
};

static void *page_at(const struct inverted *v, uint64_t page) { return v->map + pages_to_bytes(npages(page)); }

/* Page `page` gets a frame of its own, with nothing free in it. */
static void back(struct inverted *v, uint64_t page, pfn_t frame)
{
    machine_show_zeroed(page_at(v, page), frame);
    v->behind[page] = frame;
    v->stats.backed++;
    v->stats.won--;
}

/* => the frame that it had. */
static pfn_t retire(struct inverted *v, uint64_t page)
{
    pfn_t frame = v->behind[page];
    machine_show(page_at(v, page), v->zero, false);
    v->behind[page] = FRAMES_NONE;
    v->stats.retired++;
    v->stats.won++;
    return frame;
}

/* The page with the word that ends searches is none. */
static bool is_hollow(const struct inverted *v, uint64_t page)
{
    return page < v->pages - 1 && v->behind[page].v != FRAMES_NONE.v && v->in_page[page] == 0;
}

/* Frames [first, end) are so many more of their pages' count. */
static void count(uint32_t *counts, uint64_t first, uint64_t end)
{
    while (first < end) {
        uint64_t page = first / BITS_PAGE_FRAMES, n = BITS_PAGE_FRAMES - first % BITS_PAGE_FRAMES;
        n = n < end - first ? n : end - first;
        counts[page] += (uint32_t)n;
        first += n;
    }
}

static struct inverted *open_state(uint64_t frames)
{
    machine_begin(frames);
    struct inverted *v = machine_memory(sizeof *v);
    /* One page more, for the word that ends searches, so that no page that covers RAM has it. */
    v->pages = frames / BITS_PAGE_FRAMES + 2;
    v->map = machine_addresses(pages_to_bytes(npages(v->pages)), NULL, NULL);
    v->in_page = machine_memory(v->pages * sizeof *v->in_page);
    v->ram = machine_memory(v->pages * sizeof *v->ram);
    v->behind = machine_memory(v->pages * sizeof *v->behind);
    v->bits = (struct bits){(uint64_t *)(void *)v->map, (v->pages - 1) * BITS_PAGE_WORDS, 0, 0};
    return v;
}

/* All pages that must be there, out of the first frames of RAM. => false: RAM is too small for its bitmap. */
static bool back_all(struct inverted *v, struct frames_fresh *fresh)
{
    v->zero = frames_fresh_take(fresh);
    machine_show_zeroed(v->map, v->zero);
    for (uint64_t page = 0; page < v->pages; page++) {
        v->behind[page] = FRAMES_NONE;
        bool there = v->ram[page] != 0 || page == v->pages - 1;
        v->stats.pages += v->ram[page] != 0;
        if (!there) {
            machine_show(page_at(v, page), v->zero, false);
            continue;
        }
        pfn_t frame = frames_fresh_take(fresh);
        if (frame.v == FRAMES_NONE.v) {
            return false;
        }
        back(v, page, frame);
    }
    v->stats.backed = v->stats.won = 0;
    return true;
}

void *inverted_start(const struct frame_run *runs, size_t run_count)
{
    uint64_t frames = frames_end(runs, run_count);
    if (frames == 0) {
        return NULL;
    }
    struct inverted *v = open_state(frames);
    for (size_t i = 0; i < run_count; i++) {
        count(v->ram, runs[i].first.v, run_end(runs[i]));
    }
    struct frames_fresh fresh = frames_fresh(runs, run_count);
    if (!back_all(v, &fresh)) {
        return NULL;
    }
    v->bits.words[v->bits.count] = ~0ULL;
    for (pfn_t first = frames_fresh_take(&fresh); first.v != FRAMES_NONE.v; first = frames_fresh_take(&fresh)) {
        bits_add(v->bits.words, first.v, fresh.end);
        count(v->in_page, first.v, fresh.end);
        fresh.next = fresh.end;
    }
    for (uint64_t page = 0; page < v->pages; page++) {
        v->hollow += is_hollow(v, page);
    }
    return v;
}

/* Nothing has a bit. The frame of a hollow page is still to be had. */
static __attribute__((noinline)) pfn_t retire_one(struct inverted *v)
{
    if (v->hollow == 0) {
        return FRAMES_NONE;
    }
    while (!is_hollow(v, v->retire_at)) {
        v->retire_at = (v->retire_at + 1) % v->pages;
    }
    v->hollow--;
    return retire(v, v->retire_at);
}

FRAMES_HOT pfn_t inverted_alloc(void *state)
{
    struct inverted *v = state;
    pfn_t frame = bits_take_lowest(&v->bits);
    if (__builtin_expect(frame.v == FRAMES_NONE.v, 0)) {
        return retire_one(v);
    }
    v->hollow += --v->in_page[frame.v / BITS_PAGE_FRAMES] == 0;
    return frame;
}

/* The first frame free again of a page that the zero frame stands for, if it is RAM's. */
static __attribute__((noinline)) enum status back_by(struct inverted *v, uint64_t page, pfn_t frame)
{
    if (v->ram[page] == 0) {
        return STATUS_MISUSE;
    }
    back(v, page, frame);
    v->hollow++;
    return STATUS_OK;
}

FRAMES_HOT enum status inverted_free(void *state, pfn_t frame)
{
    struct inverted *v = state;
    uint64_t page = frame.v / BITS_PAGE_FRAMES;
    if (__builtin_expect(page >= v->pages - 1 || frame.v == v->behind[page].v, 0)) {
        return STATUS_MISUSE;
    }
    if (__builtin_expect(v->in_page[page] == 0, 0)) {
        if (v->behind[page].v == FRAMES_NONE.v) {
            return back_by(v, page, frame);
        }
        v->hollow--;
    }
    enum status s = bits_give_lowest(&v->bits, frame.v);
    v->in_page[page] += s == STATUS_OK;
    return s;
}

struct inverted_stats inverted_stats(const void *state) { return ((const struct inverted *)state)->stats; }

uint64_t inverted_own(const void *state)
{
    const struct inverted *v = state;
    return v->stats.pages - v->stats.won + inverted_kept(state);
}

uint64_t inverted_kept(const void *state)
{
    (void)state;
    return 2; /* the zero frame, and the page that ends searches */
}

bool inverted_keeps(const void *state, pfn_t frame)
{
    const struct inverted *v = state;
    return frame.v == v->zero.v || frame.v == v->behind[v->pages - 1].v;
}
