/*
 * Four CPUs at once, host only: threads allocate, share, hand over and free, and what they know must hold: no frame is
 * handed out twice, none is lost, all totals come out. Meant for ThreadSanitizer; it finds nothing where none is
 * missed.
 */
#include <pthread.h>

#include "model/cpu.h"
#include "unit/pmm_steps.h"

enum {
    BASE = 8, BLOCKS = 24, FIRST = BASE * PMM_BLOCK_FRAMES, FRAMES = BLOCKS * PMM_BLOCK_FRAMES,
    MORE = 2 * PMM_BLOCK_FRAMES, AT = FIRST + FRAMES + MORE, WINDOW = FRAMES + 2 * MORE, /* what comes and goes */
    THREADS = 4, HELD_MAX = 2000, LETTERS = 64, RUN_MAX = 700, MANY_MAX = 40, POOL = 50, BAD_MAX = 20,
};

struct cpu_thread {
    struct shop *shop;
    unsigned cpu, owner;
    pthread_t thread;
    struct rng rng;
    uint64_t held[HELD_MAX], count; /* one reference each is this thread's */
    uint64_t steps, bad, added, removed;
    unsigned wrong_line;            /* first thing that was not as it must be; 0: all was */
    uint64_t wrong_value;
};

struct shop {
    struct pmm_bed *bed;
    uint32_t uses[WINDOW];               /* references that threads know of */
    uint8_t sent[WINDOW];                /* more than one thread had it since it was allocated */
    uint64_t letters[THREADS][LETTERS];  /* frames on their way to a thread; 0: none */
    struct cpu_thread threads[THREADS];
};

static void wrong(struct cpu_thread *t, unsigned line, uint64_t value)
{
    if (t->wrong_line == 0) {
        t->wrong_line = line;
        t->wrong_value = value;
    }
}

/* test.h's counters are not for threads: each keeps its own. */
#define HOLDS(t, condition, value)             \
    do {                                       \
        if (!(condition)) {                    \
            wrong((t), __LINE__, (value));     \
        }                                      \
    } while (0)

static void use(struct cpu_thread *t, uint64_t frame, uint32_t expected)
{
    uint32_t before = __atomic_fetch_add(&t->shop->uses[frame - FIRST], 1, __ATOMIC_RELAXED);
    HOLDS(t, expected == UINT32_MAX || before == expected, frame);
}

static void unuse(struct cpu_thread *t, uint64_t frame)
{
    HOLDS(t, __atomic_fetch_sub(&t->shop->uses[frame - FIRST], 1, __ATOMIC_RELAXED) > 0, frame);
}

/* A frame just allocated. */
static void hold_new(struct cpu_thread *t, uint64_t frame)
{
    use(t, frame, 0);
    __atomic_store_n(&t->shop->sent[frame - FIRST], 0, __ATOMIC_RELAXED);
    t->held[t->count++] = frame;
}

static uint64_t let_go(struct cpu_thread *t)
{
    uint64_t i = rng_below(&t->rng, t->count), frame = t->held[i];
    t->held[i] = t->held[--t->count];
    return frame;
}

static void do_alloc(struct cpu_thread *t, unsigned flags)
{
    pfn_t frame = pfn(0);
    bool is_zero = false;
    enum status s = rng_below(&t->rng, 8) == 0 ? pmm_alloc_zeroed(&t->shop->bed->pmm, flags, &frame, &is_zero)
                                               : pmm_alloc(&t->shop->bed->pmm, flags, &frame);
    HOLDS(t, s == STATUS_OK || s == STATUS_NOMEM, s);
    if (s == STATUS_OK) {
        hold_new(t, frame.v);
    }
}

/* What nobody else ever had can be freed, the rest is released. */
static void do_release(struct cpu_thread *t, uint64_t frame)
{
    struct pmm *pmm = &t->shop->bed->pmm;
    bool alone = __atomic_load_n(&t->shop->sent[frame - FIRST], __ATOMIC_RELAXED) == 0;
    unuse(t, frame);
    enum status s = alone ? pmm_free(pmm, pfn(frame)) : pmm_release(pmm, pfn(frame), NULL);
    HOLDS(t, s == STATUS_OK, frame);
}

static void do_many(struct cpu_thread *t)
{
    pfn_t frames[MANY_MAX];
    npages_t n = npages(1 + rng_below(&t->rng, MANY_MAX)), done;
    enum status s = pmm_alloc_many(&t->shop->bed->pmm, (unsigned)rng_below(&t->rng, 2), frames, n);
    HOLDS(t, s == STATUS_OK || s == STATUS_NOMEM, s);
    for (uint64_t i = 0; s == STATUS_OK && i < n.v; i++) {
        if (t->count < HELD_MAX / 2) {
            hold_new(t, frames[i].v);
            frames[i--] = frames[--n.v]; /* the others are freed together */
        } else {
            use(t, frames[i].v, 0);
        }
    }
    for (uint64_t i = 0; s == STATUS_OK && i < n.v; i++) {
        unuse(t, frames[i].v);
    }
    s = s == STATUS_OK ? pmm_free_many(&t->shop->bed->pmm, frames, n, &done) : STATUS_OK;
    HOLDS(t, s == STATUS_OK, n.v);
}

static void do_run(struct cpu_thread *t)
{
    struct pmm *pmm = &t->shop->bed->pmm;
    npages_t n = npages(1 + rng_below(&t->rng, rng_below(&t->rng, 2) == 0 ? 20 : RUN_MAX));
    pfn_t first;
    enum status s = pmm_alloc_run(pmm, PMM_USER, n, npages(0), npages(0), PMM_NO_LIMIT, &first);
    HOLDS(t, s == STATUS_OK || s == STATUS_NOMEM, s);
    for (uint64_t i = 0; s == STATUS_OK && i < n.v; i++) {
        use(t, first.v + i, 0);
    }
    for (uint64_t i = 0; s == STATUS_OK && i < n.v; i++) {
        unuse(t, first.v + i);
    }
    HOLDS(t, s != STATUS_OK || pmm_free_run(pmm, first, n) == STATUS_OK, first.v);
}

/* A frame of this thread's goes to another, or a second reference of it. */
static void do_send(struct cpu_thread *t)
{
    uint64_t *letter = &t->shop->letters[rng_below(&t->rng, THREADS)][rng_below(&t->rng, LETTERS)];
    uint64_t frame = t->held[rng_below(&t->rng, t->count)], none = 0;
    use(t, frame, UINT32_MAX);
    __atomic_store_n(&t->shop->sent[frame - FIRST], 1, __ATOMIC_RELAXED);
    HOLDS(t, pmm_retain(&t->shop->bed->pmm, pfn(frame)) == STATUS_OK, frame);
    if (!__atomic_compare_exchange_n(letter, &none, frame, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        do_release(t, frame); /* there is one in the box */
    } else if (rng_below(&t->rng, 2) == 0) {
        for (uint64_t i = 0; i < t->count; i++) {
            if (t->held[i] == frame) {
                t->held[i] = t->held[--t->count];
                do_release(t, frame);
                return;
            }
        }
    }
}

static void do_receive(struct cpu_thread *t)
{
    uint64_t frame =
        __atomic_exchange_n(&t->shop->letters[t->cpu][rng_below(&t->rng, LETTERS)], 0, __ATOMIC_ACQ_REL);
    if (frame != 0 && t->count < HELD_MAX) {
        t->held[t->count++] = frame;
    } else if (frame != 0) {
        do_release(t, frame);
    }
}

/* Memory comes and goes; only the first thread does that. A frame of one's own breaks. */
static void do_change(struct cpu_thread *t)
{
    struct pmm *pmm = &t->shop->bed->pmm;
    if (t->cpu == 0) {
        enum status s = t->added > t->removed ? pmm_region_remove(pmm, pfn(AT), npages(MORE), NULL)
                                              : pmm_region_add(pmm, pfn(AT), npages(MORE), 0);
        HOLDS(t, s == STATUS_OK || s == STATUS_EXISTS || s == STATUS_NOMEM, s);
        *(t->added > t->removed ? &t->removed : &t->added) += s == STATUS_OK;
    } else if (t->count > 0 && t->bad < BAD_MAX) {
        uint64_t frame = t->held[rng_below(&t->rng, t->count)];
        enum status s = pmm_mark_bad(pmm, pfn(frame));
        HOLDS(t, s == STATUS_OK || s == STATUS_EXISTS || s == STATUS_LIMIT, s);
        t->bad += s == STATUS_OK;
    }
}

static bool zeroes(void *ctx, pfn_t frame)
{
    struct cpu_thread *t = ctx;
    use(t, frame.v, 0);
    unuse(t, frame.v);
    return true;
}

static void do_rest(struct cpu_thread *t)
{
    struct pmm *pmm = &t->shop->bed->pmm;
    npages_t n = npages(rng_below(&t->rng, 9)), filled;
    struct pmm_stats stats;
    switch (rng_below(&t->rng, 7)) {
    case 6:
        do_change(t);
        break;
    case 0:
        pmm_drain(pmm);
        break;
    case 1:
        stats = pmm_stats(pmm);
        HOLDS(t, stats.ram.v == FRAMES || stats.ram.v == FRAMES + MORE, stats.ram.v);
        break;
    case 2:
        HOLDS(t, pmm_zero_fill(pmm, (unsigned)(n.v % PMM_CLASSES), n, zeroes, t, &filled) == STATUS_OK, n.v);
        break;
    case 3:
        if (pmm_promise(pmm, n) == STATUS_OK) {
            uint64_t drawn = 0;
            for (pfn_t frame; drawn < n.v && t->count < HELD_MAX; drawn++) {
                HOLDS(t, pmm_alloc(pmm, PMM_PROMISED | PMM_USER, &frame) == STATUS_OK, drawn);
                hold_new(t, frame.v);
            }
            HOLDS(t, pmm_unpromise(pmm, npages(n.v - drawn)) == STATUS_OK, n.v);
        }
        break;
    case 4:
        (void)pmm_query(pmm, pfn(FIRST + rng_below(&t->rng, WINDOW)));
        break;
    default:
        if (t->count > 0) {
            uint64_t frame = t->held[rng_below(&t->rng, t->count)];
            HOLDS(t, pmm_query(pmm, pfn(frame)).references > 0, frame);
        }
        break;
    }
}

static void *run_thread(void *ctx)
{
    struct cpu_thread *t = ctx;
    model_thread_is_cpu(t->cpu);
    for (uint64_t step = 0; step < t->steps && t->wrong_line == 0; step++) {
        /* Growing and shrinking by turns, so that memory runs out now and then. */
        uint64_t dice = rng_below(&t->rng, 100), allocs = step / 5000 % 2 == 0 ? 45 : 25;
        bool full = t->count + MANY_MAX >= HELD_MAX;
        if (dice < allocs) {
            full ? do_release(t, let_go(t)) : do_alloc(t, dice % 5 == 0 ? PMM_OWNER(t->owner) : dice & PMM_USER);
        } else if (dice < 75) {
            if (t->count > 0) {
                do_release(t, let_go(t));
            }
        } else if (dice < 80) {
            do_many(t);
        } else if (dice < 83) {
            do_run(t);
        } else if (dice < 88 && t->count > 0) {
            do_send(t);
        } else if (dice < 96) {
            do_receive(t);
        } else {
            do_rest(t);
        }
    }
    return NULL;
}

static struct shop *open_shop(void)
{
    struct shop *shop = test_pages(bytes_to_pages_up(sizeof *shop).v);
    struct pmm_bed *bed = bed_new(NULL, BASE, 128, 1);
    if (shop == NULL || bed == NULL) {
        return NULL;
    }
    bed_run(bed, FIRST, FRAMES);
    bed_with_room(bed, 2);
    bed_with_cpus(bed, THREADS);
    bed_with_owners(bed, THREADS);
    bed_with_zero_pool(bed, POOL);
    shop->bed = bed;
    return bed_starts(bed) ? shop : NULL;
}

/* Everything held or on its way is given back; CPU after CPU empties its magazines. */
static void close_shop(struct shop *shop)
{
    for (unsigned i = 0; i < THREADS; i++) {
        struct cpu_thread *t = &shop->threads[i];
        for (unsigned k = 0; k < LETTERS; k++) {
            if (shop->letters[i][k] != 0) {
                do_release(t, shop->letters[i][k]);
            }
        }
        while (t->count > 0) {
            do_release(t, let_go(t));
        }
        if (!EXPECT_EQ(t->wrong_line, 0)) {
            test_note("CPU %u, line %u: %#lx", i, t->wrong_line, t->wrong_value);
        }
    }
    for (unsigned i = 0; i < THREADS; i++) {
        model_thread_is_cpu(i);
        pmm_drain(&shop->bed->pmm);
    }
    model_thread_is_cpu(0);
}

static void run_threads(struct shop *shop, uint64_t steps)
{
    for (unsigned i = 0; i < THREADS; i++) {
        struct cpu_thread *t = &shop->threads[i];
        t->shop = shop;
        t->cpu = i;
        t->steps = steps;
        t->rng = rng_seeded(test_seed() + i);
        EXPECT_EQ(pmm_owner_open(&shop->bed->pmm, &t->owner), STATUS_OK);
        REQUIRE(pthread_create(&t->thread, NULL, run_thread, t) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        REQUIRE(pthread_join(shop->threads[i].thread, NULL) == 0);
    }
}

TEST_HOST(pmm, threads_on_four_cpus_lose_no_frame_and_get_none_twice)
{
    struct shop *shop = open_shop();
    REQUIRE(shop != NULL);
    struct pmm *pmm = &shop->bed->pmm;
    /* Few frames a holder are needed for a policy to give owners blocks of their own here. */
    pmm_policy_set(pmm, (struct pmm_policy){npages(100), 8});
    run_threads(shop, 10000 * test_effort());
    bed_sound(shop->bed);
    close_shop(shop);
    uint64_t bad = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        bad += shop->threads[i].bad;
        EXPECT_EQ(pmm_owner_close(pmm, shop->threads[i].owner, NULL), STATUS_OK);
    }
    for (uint64_t i = 0; i < WINDOW; i++) {
        EXPECT_EQ(shop->uses[i], 0);
    }
    struct pmm_stats s = pmm_stats(pmm);
    EXPECT(bad > 10);
    EXPECT_EQ(s.used.v, 0);
    EXPECT_EQ(s.cached.v, 0);
    EXPECT_EQ(s.promised.v, 0);
    EXPECT_EQ(s.allocated, s.freed);
    EXPECT_EQ(s.bad.v, bad);
    EXPECT_EQ(s.reserved.v, bad);
    EXPECT_EQ(s.free.v + s.metadata.v + s.earmarked.v + bad, s.ram.v);
    EXPECT(shop->threads[0].added > 0);
    EXPECT_EQ(s.misuses, 0);
    EXPECT(s.refills > 10 && s.flushes > 10 && s.drains > 10);
    EXPECT_EQ(bed_take_all(shop->bed, PMM_USER), s.free.v);
    bed_sound(shop->bed);
}
