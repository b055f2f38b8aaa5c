/*
 * Lists of free frames, last in, first out; what was never handed out is not on them but still in its run, so that the
 * start costs nothing.
 *
 * `table_list`: the links lie in a table, a u32 a frame, 0.1 %. One word says all of a frame: used, or which frame is
 * below it. So every step is O(1) and a wrong free is seen, without touching the frame. (With u64 links, beyond 16 TiB,
 * 0.2 %.)
 *
 * `frame_list`: the links lie in the free frames themselves, and there is no metadata. It must see every frame: with a
 * direct map that is a miss in the cache, and in the TLB; without one, a mapping and an invalidation for each call. It
 * trusts what it finds there: who writes to a frame after freeing it decides what is handed out. A frame freed twice
 * makes a circle.
 */
#include "rivals/pmm/frames.h"
#include "rivals/pmm/machine.h"

/* ---- In a table ---- */

/* What a frame's word says. From LINK on: free, and frame word - LINK is below it; or, the last one, nothing is. */
enum { NEVER, USED, LAST, LINK };
#define TABLE_FRAMES_MAX (UINT32_MAX - LINK)

struct table_list {
    uint32_t *words;
    uint64_t frames; /* words that there are */
    uint32_t top;    /* as a word; LAST: the list is empty */
    struct frames_fresh fresh;
};

void *table_list_start(const struct frame_run *runs, size_t run_count)
{
    uint64_t frames = frames_end(runs, run_count);
    if (frames == 0 || frames > TABLE_FRAMES_MAX) {
        return NULL;
    }
    machine_begin(frames);
    struct table_list *t = machine_memory(sizeof *t);
    t->words = machine_memory(frames * sizeof *t->words);
    t->frames = frames;
    t->top = LAST;
    t->fresh = frames_fresh(runs, run_count);
    return t;
}

static __attribute__((noinline)) pfn_t table_fresh(struct table_list *t)
{
    pfn_t frame = frames_fresh_take(&t->fresh);
    if (frame.v != FRAMES_NONE.v) {
        t->words[frame.v] = USED;
    }
    return frame;
}

FRAMES_HOT pfn_t table_list_alloc(void *state)
{
    struct table_list *t = state;
    uint32_t top = t->top;
    if (__builtin_expect(top == LAST, 0)) {
        return table_fresh(t);
    }
    uint32_t *word = &t->words[top - LINK];
    t->top = *word;
    *word = USED;
    return pfn(top - LINK);
}

FRAMES_HOT enum status table_list_free(void *state, pfn_t frame)
{
    struct table_list *t = state;
    if (__builtin_expect(frame.v >= t->frames || t->words[frame.v] != USED, 0)) {
        return STATUS_MISUSE;
    }
    t->words[frame.v] = t->top;
    t->top = (uint32_t)frame.v + LINK;
    return STATUS_OK;
}

/* ---- Through the frames ---- */

struct frame_list {
    uint8_t *view;
    uint64_t frames;
    uint64_t top; /* FRAMES_NONE: the list is empty */
    struct frames_fresh fresh;
};

void *frame_list_start(const struct frame_run *runs, size_t run_count)
{
    uint64_t frames = frames_end(runs, run_count);
    if (frames == 0) {
        return NULL;
    }
    machine_begin(frames);
    struct frame_list *f = machine_memory(sizeof *f);
    *f = (struct frame_list){machine_view(), frames, FRAMES_NONE.v, frames_fresh(runs, run_count)};
    return f;
}

static inline uint64_t *link_of(const struct frame_list *f, uint64_t frame)
{
    return (uint64_t *)(void *)(f->view + pages_to_bytes(npages(frame)));
}

static __attribute__((noinline)) pfn_t frame_fresh(struct frame_list *f) { return frames_fresh_take(&f->fresh); }

FRAMES_HOT pfn_t frame_list_alloc(void *state)
{
    struct frame_list *f = state;
    uint64_t top = f->top;
    if (__builtin_expect(top == FRAMES_NONE.v, 0)) {
        return frame_fresh(f);
    }
    f->top = *link_of(f, top);
    return pfn(top);
}

FRAMES_HOT enum status frame_list_free(void *state, pfn_t frame)
{
    struct frame_list *f = state;
    if (__builtin_expect(frame.v >= f->frames, 0)) {
        return STATUS_MISUSE;
    }
    *link_of(f, frame.v) = f->top;
    f->top = frame.v;
    return STATUS_OK;
}
