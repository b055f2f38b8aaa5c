/*
 * Processes come, grow and go, and memory is scattered: what the mover wins of it, and what that costs.
 *
 * Eight processes grow at a time, a random one by 1 to 32 frames a turn, to sizes from 16 frames to a 32nd of the N of
 * memory (as many of each magnitude). They climb to 95 % of memory; then random finished ones exit until half of it is
 * used; that is held for N / 2 allocations, and they climb again. Measured at 50 %: all pages keep what they say.
 */
#include <stdlib.h>

#include "aspace/compact.h"
#include "aspace/mapping.h"
#include "model/model.h"
#include "pmm/pmm_pressure.h"
#include "unit/aspace_touch.h"

enum { GROWING = 8, TURN_MAX = 32, SIZE_LOG2_MIN = 4, MEMORY_LOG2_OF_SIZE = 5, PROCESSES_MAX = 3000 };
enum { PEAK = 95, LEVEL = 50 };
enum { WON_PERCENT = 90, MOVES_TENTHS = 11, SMALL = 1 << 14 };

struct process {
    struct aspace space;
    uint64_t size, pages; /* as it will be; so far */
    bool lives;
};

static struct {
    struct vmm vmm;
    struct aspaces system;
    struct process *process;
    struct process *growing[GROWING];
    struct rng rng;
    uint64_t frames; /* of memory */
    unsigned size_log2_max;
} traffic;

static vaddr_t page(uint64_t i) { return vaddr_add_pages(vaddr(AT_PRIVATE), i); }
static uint64_t word(const struct process *p, uint64_t i) { return p->space.tables.id * 1000003ULL + i; }

static uint64_t percent_used(void)
{
    const struct pmm_stats s = pmm_stats(traffic.vmm.pmm);
    return 100 - 100 * s.free.v / s.ram.v;
}

/* Between two powers of two each size is as likely: near enough to what is the same for each magnitude. */
static uint64_t draw_size(void)
{
    const uint64_t least = 1ULL << (SIZE_LOG2_MIN + rng_below(&traffic.rng, traffic.size_log2_max - SIZE_LOG2_MIN));
    return least + rng_below(&traffic.rng, least);
}

static struct process *begin(void)
{
    struct process *p = traffic.process;
    while (p->lives) {
        p++;
    }
    *p = (struct process){.lives = true, .size = draw_size()};
    EXPECT_OK(aspace_create(&traffic.system, &p->space, (struct aspace_limits){0}));
    (void)map_it(&p->space, want_at(AT_PRIVATE, npages(p->size), ARW, 0));
    return p;
}

/* => frames that it took */
static uint64_t grow(void)
{
    struct process **p = &traffic.growing[rng_below(&traffic.rng, GROWING)];
    if (*p == NULL || (*p)->pages == (*p)->size) {
        *p = begin();
    }
    const uint64_t turn = 1 + rng_below(&traffic.rng, TURN_MAX), left = (*p)->size - (*p)->pages;
    const uint64_t n = turn < left ? turn : left;
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t value = word(*p, (*p)->pages);
        if (touch(&(*p)->space, page((*p)->pages), VMM_WRITE) != STATUS_OK) {
            return i + 1;
        }
        EXPECT_OK(space_poke(&traffic.vmm, &(*p)->space.tables, page((*p)->pages++), &value, sizeof value));
    }
    return n;
}

static bool is_growing(const struct process *p)
{
    for (unsigned i = 0; i < GROWING; i++) {
        if (traffic.growing[i] == p) {
            return p->pages < p->size;
        }
    }
    return false;
}

static void check_process(const struct process *p)
{
    uint64_t value, wrong = 0;
    for (uint64_t i = 0; i < p->pages; i++) {
        const enum status s = space_peek(&traffic.vmm, (struct space *)(uintptr_t)&p->space.tables, page(i), &value,
                                         sizeof value);
        wrong += s != STATUS_OK || value != word(p, i);
    }
    EXPECT_EQ(wrong, 0);
}

/* A random finished one. false: there is none */
static bool end_one(void)
{
    struct process *chosen = NULL;
    unsigned seen = 0;
    for (unsigned i = 0; i < PROCESSES_MAX; i++) {
        struct process *p = &traffic.process[i];
        if (p->lives && !is_growing(p) && rng_below(&traffic.rng, ++seen) == 0) {
            chosen = p;
        }
    }
    if (chosen == NULL) {
        return false;
    }
    for (unsigned i = 0; i < GROWING; i++) {
        traffic.growing[i] = traffic.growing[i] == chosen ? NULL : traffic.growing[i];
    }
    check_process(chosen);
    EXPECT_OK(aspace_destroy(&chosen->space));
    chosen->lives = false;
    return true;
}

static void climb(void)
{
    while (percent_used() < PEAK) {
        (void)grow();
    }
    while (percent_used() > LEVEL && end_one()) {
    }
}

static void hold(void)
{
    for (uint64_t done = 0; done < traffic.frames / 2; done += grow()) {
        while (percent_used() > LEVEL && end_one()) {
        }
    }
}

/* ---- What is there to be won ---- */

struct picture {
    uint64_t whole, free, kernels;        /* blocks; frames; of these in blocks of kernel frames */
    uint32_t with[PMM_BLOCK_FRAMES + 1];  /* partly free blocks of users by pages in the way */
};

static struct picture look(void)
{
    struct picture p = {.whole = 0};
    struct pmm_block_info b = {.first = pfn(0)};
    pmm_drain(traffic.vmm.pmm);
    for (pfn_t at = pfn(0); pmm_block_next(traffic.vmm.pmm, at, &b); at = pfn_add(b.first, PMM_BLOCK_FRAMES)) {
        p.whole += b.free == PMM_BLOCK_FRAMES;
        p.free += b.free;
        p.kernels += b.used > 0 && !b.gives ? b.free : 0;
        p.with[b.used] += b.is_movable && b.gives;
    }
    const struct pmm_stats s = pmm_stats(traffic.vmm.pmm);
    p.whole += s.untouched.v / PMM_BLOCK_FRAMES;
    p.free += s.untouched.v;
    return p;
}

/* The fewest pages that so many blocks have. */
static uint64_t fewest(const struct picture *p, uint64_t blocks)
{
    uint64_t pages = 0;
    for (unsigned used = 1; used <= PMM_BLOCK_FRAMES && blocks > 0; used++) {
        const uint64_t n = p->with[used] < blocks ? p->with[used] : blocks;
        pages += n * used;
        blocks -= n;
    }
    return pages;
}

static void measure(void)
{
    const struct picture before = look();
    struct aspace_compaction c = {0};
    const uint64_t used = pmm_stats(traffic.vmm.pmm).used.v;
    EXPECT_OK(aspaces_compact(&traffic.system, UINT64_MAX, &c));
    const struct picture after = look();
    /* In the smallest machine what is free beside kernel frames is more than one block of the few. */
    const uint64_t kernels = traffic.frames > SMALL ? 0 : before.kernels;
    const uint64_t ideal = (before.free - kernels) / PMM_BLOCK_FRAMES, least = fewest(&before, c.won);
    test_note("%lu frames, %lu %% used: %lu whole blocks of %lu before, %lu after; %lu pages moved, %lu in the way; "
              "%lu blocks given up; %lu frames free beside kernel frames", traffic.frames, percent_used(), before.whole,
              before.free / PMM_BLOCK_FRAMES, after.whole, c.moved, least, c.tried - c.won, before.kernels);
    EXPECT_EQ(after.whole, before.whole + c.won);
    EXPECT(100 * after.whole >= WON_PERCENT * ideal);
    EXPECT(10 * c.moved <= MOVES_TENTHS * least);
    EXPECT(pmm_stats(traffic.vmm.pmm).used.v - used < 64); /* pages of the reverse index */
}

static void play(unsigned frames_log2, uint64_t seed)
{
    const uint64_t frames = 1ULL << frames_log2;
    struct model *m = model_start(pages_to_bytes(npages(frames)));
    model_be_plain(m);
    memset(traffic.growing, 0, sizeof traffic.growing);
    traffic.frames = frames;
    traffic.size_log2_max = frames_log2 - MEMORY_LOG2_OF_SIZE;
    traffic.rng = rng_seeded(seed);
    traffic.process = calloc(PROCESSES_MAX, sizeof *traffic.process);
    REQUIRE(traffic.process != NULL && vmm_init_with(&traffic.vmm, &m->pmm, model_pointer, model_address) == STATUS_OK);
    EXPECT_OK(aspaces_init(&traffic.system, &traffic.vmm));
    climb();
    hold();
    climb();
    measure();
    for (unsigned i = 0; i < PROCESSES_MAX; i++) {
        if (traffic.process[i].lives) {
            check_process(&traffic.process[i]);
            EXPECT_OK(aspace_destroy(&traffic.process[i].space));
        }
    }
    EXPECT_OK(aspaces_end(&traffic.system));
    EXPECT_OK(pmm_check(traffic.vmm.pmm, NULL));
    free(traffic.process);
}

TEST_HOST(aspace_traffic, nine_tenths_of_the_ideal_are_won_with_hardly_more_moves_than_pages_in_the_way)
{
    for (unsigned frames_log2 = 14; frames_log2 <= 14 + test_effort() / 2; frames_log2++) {
        play(frames_log2, test_seed() + frames_log2);
    }
}
