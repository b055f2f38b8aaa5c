/* The workloads of the benchmark `fragmentation`. */
#include <math.h>

#include "bench/bed.h"
#include "bench/fragmentation.h"
#include "lib/rng.h"

enum {
    FULL_PERCENT = 95, CHANGED_PERCENT = 5, MEASURED_ROUNDS = 10, /* the last tenth */
    GROWING = 8, GROW_MOST = 32, SIZE_LEAST = 16, WARM_UP = 4,    /* the first quarter of the traffic does not count */
    KERNEL_EACH = 50, KERNEL_PERCENT = 4,
};
#define NO_FRAME UINT32_MAX

struct process {
    uint32_t who;          /* the subject's number */
    uint32_t first;        /* its frames are a list in `next` */
    uint64_t count, wanted;
};

static struct {
    const struct frag_subject *subject;
    uint64_t frames, level, size_most, traffic;
    struct rng rng;
    bool with_kernel;
    uint32_t *held;        /* W1: frames in use; W2: of the kernel */
    uint64_t held_count;
    uint32_t *next;
    struct process *all;   /* growing ones first, then those that are finished */
    uint64_t finished;
    struct frag_figures sum;
    uint64_t samples;
} g;

static uint64_t percent_of(uint64_t n, unsigned percent) { return n * percent / 100; }

static void measure(void)
{
    struct frag_figures f = frag_measure(g.subject);
    g.sum.whole += f.whole;
    g.sum.runs_64k += f.runs_64k;
    g.sum.to_move = f.to_move < 0 || g.sum.to_move < 0 ? -1 : g.sum.to_move + f.to_move;
    g.samples++;
}

static uint64_t take(uint32_t who)
{
    uint64_t frame = g.subject->alloc(who);
    bed_must(frame == UINT64_MAX ? STATUS_NOMEM : STATUS_OK, g.subject->name);
    frag_used(frame, who == FRAG_KERNEL);
    g.traffic++;
    return frame;
}

static void give_held(bool by_kernel)
{
    uint64_t at = rng_below(&g.rng, g.held_count);
    uint32_t frame = g.held[at];
    g.held[at] = g.held[--g.held_count];
    frag_freed(frame, by_kernel);
    g.subject->free(frame);
}

/* ---- W1 ---- */

static void fill_to(uint64_t count)
{
    while (g.held_count < count) {
        g.held[g.held_count++] = (uint32_t)take(FRAG_NOBODY);
    }
    while (g.held_count > count) {
        give_held(false);
    }
}

static void play_w1(unsigned rounds)
{
    fill_to(percent_of(g.frames, FULL_PERCENT));
    for (unsigned i = 0; i < rounds; i++) {
        fill_to(g.level - percent_of(g.frames, CHANGED_PERCENT));
        fill_to(g.level);
        if (i >= rounds - rounds / MEASURED_ROUNDS) {
            measure();
        }
    }
}

/* ---- W2 ---- */

static struct process new_process(void)
{
    double unit = (double)(rng_next(&g.rng) >> 11) * 0x1p-53;
    double size = SIZE_LEAST * pow((double)g.size_most / SIZE_LEAST, unit);
    return (struct process){.who = g.subject->open == NULL ? FRAG_NOBODY : g.subject->open(),
                            .first = NO_FRAME, .wanted = (uint64_t)size};
}

static void grow(struct process *p)
{
    uint32_t frame = (uint32_t)take(p->who);
    g.next[frame] = p->first;
    p->first = frame;
    p->count++;
    if (g.with_kernel && g.traffic % (KERNEL_EACH + 1) == KERNEL_EACH) {
        g.held[g.held_count++] = (uint32_t)take(FRAG_KERNEL);
        while (g.held_count > percent_of(g.level, KERNEL_PERCENT)) {
            give_held(true);
        }
    }
}

static void turn(void)
{
    struct process *p = &g.all[rng_below(&g.rng, GROWING)];
    for (uint64_t n = 1 + rng_below(&g.rng, GROW_MOST); n > 0 && p->count < p->wanted; n--) {
        grow(p);
    }
    if (p->count >= p->wanted) {
        g.all[GROWING + g.finished++] = *p;
        *p = new_process();
    }
}

static void exit_one(void)
{
    struct process *p = &g.all[GROWING + rng_below(&g.rng, g.finished)];
    for (uint32_t frame = p->first; frame != NO_FRAME; frame = g.next[frame]) {
        frag_freed(frame, false);
        if (g.subject->leave != NULL) {
            g.subject->leave(p->who, frame);
        } else {
            g.subject->free(frame);
        }
    }
    if (g.subject->close != NULL) {
        g.subject->close(p->who);
    }
    *p = g.all[GROWING + --g.finished];
}

static void down_to_level(void)
{
    while (frag_in_use() > g.level && g.finished > 0) {
        exit_one();
    }
}

static void play_w2(uint64_t traffic)
{
    for (unsigned i = 0; i < GROWING; i++) {
        g.all[i] = new_process();
    }
    while (g.traffic < traffic) {
        while (frag_in_use() < percent_of(g.frames, FULL_PERCENT)) {
            turn();
        }
        down_to_level();
        for (uint64_t until = g.traffic + g.frames / 2; g.traffic < until;) {
            turn();
            down_to_level();
        }
        if (g.traffic > traffic / WARM_UP) {
            measure();
        }
    }
}

struct frag_figures frag_play(const struct frag_subject *s, enum frag_kind kind, unsigned percent,
                              const struct frag_play *play)
{
    const uint64_t n = play->frames, list = n * sizeof(uint32_t), processes = n / SIZE_LEAST + GROWING + 1;
    g.subject = s;
    g.frames = n;
    g.level = percent_of(n, percent);
    g.size_most = kind == FRAG_W2S ? n / 256 - 1 : n / 32;
    g.with_kernel = kind == FRAG_W2K;
    g.rng = rng_seeded(play->seed);
    g.traffic = g.held_count = g.finished = g.samples = 0;
    g.sum = (struct frag_figures){0};
    g.held = bed_reserve(list);
    g.next = bed_reserve(list);
    g.all = bed_reserve(processes * sizeof *g.all);
    frag_books_begin(n);
    s->start(s, n);
    if (kind == FRAG_W1) {
        play_w1(play->rounds);
    } else {
        play_w2(play->traffic);
    }
    double own = s->own == NULL || kind == FRAG_W1 ? -1 : s->own();
    s->end();
    frag_books_end();
    bed_unreserve(g.held, list);
    bed_unreserve(g.next, list);
    bed_unreserve(g.all, processes * sizeof *g.all);
    double count = (double)g.samples;
    return (struct frag_figures){g.sum.whole / count, g.sum.to_move < 0 ? -1 : g.sum.to_move / count,
                                 g.sum.runs_64k / count, own};
}
