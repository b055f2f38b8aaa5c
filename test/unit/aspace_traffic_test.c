/*
 * Processes come, grow and go, and memory is scattered: what the mover wins of it, and what that costs.
 *
 * Eight processes grow at a time, a random one by 1 to 32 frames a turn, to sizes from 16 frames to a 32nd of the N of
 * memory, or a 256th (as many of each magnitude). They climb to 95 % of memory; then random finished ones exit until
 * half of it is used, or 80 %; that is held for N / 2 allocations, and they climb again. Measured then: all pages keep
 * what they say. Each process is an owner of the PMM, or all are alike (docs/design/0041-owner-policy.md).
 */
#include <stdlib.h>

#include "aspace/compact.h"
#include "aspace/mapping.h"
#include "model/model.h"
#include "pmm/pmm_owners.h"
#include "pmm/pmm_pressure.h"
#include "unit/aspace_touch.h"

enum { GROWING = 8, TURN_MAX = 32, SIZE_LOG2_MIN = 4, PROCESSES_MAX = 3000, PEAK = 95 };
enum { WON_PERCENT = 90, MOVES_TENTHS = 11, SMALL = 1 << 14 };

struct kind {
    unsigned level;       /* percent of memory in use when it is measured */
    unsigned log2_of_max; /* the largest process has one in 2^this of memory */
    bool are_owners;
};

struct process {
    struct aspace space;
    uint64_t size, pages; /* as it will be; so far */
    unsigned owner;
    bool lives;
};

static struct {
    struct vmm vmm;
    struct aspaces system;
    struct process *process;
    struct process *growing[GROWING];
    struct rng rng;
    uint64_t frames; /* of memory */
    struct kind kind;
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
    if (traffic.kind.are_owners) {
        EXPECT_OK(pmm_owner_open(traffic.vmm.pmm, &p->owner));
    }
    (void)map_it(&p->space, want_at(AT_PRIVATE, npages(p->size), ARW, 0));
    return p;
}

static void end(struct process *p)
{
    EXPECT_OK(aspace_destroy(&p->space));
    if (traffic.kind.are_owners) {
        EXPECT_OK(pmm_owner_close(traffic.vmm.pmm, p->owner, NULL));
    }
    p->lives = false;
}

/* A write to its next page. */
static bool grow_by_one(struct process *p)
{
    const uint64_t value = word(p, p->pages);
    model_machine->owner = p->owner;
    const enum status s = touch(&p->space, page(p->pages), VMM_WRITE);
    model_machine->owner = 0;
    if (s == STATUS_OK) {
        EXPECT_OK(space_poke(&traffic.vmm, &p->space.tables, page(p->pages++), &value, sizeof value));
    }
    return s == STATUS_OK;
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
        if (!grow_by_one(*p)) {
            return i + 1;
        }
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
    end(chosen);
    return true;
}

static void climb(void)
{
    while (percent_used() < PEAK) {
        (void)grow();
    }
    while (percent_used() > traffic.kind.level && end_one()) {
    }
}

static void hold(void)
{
    for (uint64_t done = 0; done < traffic.frames / 2; done += grow()) {
        while (percent_used() > traffic.kind.level && end_one()) {
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

/* First as many as make nine tenths of the ideal, then all that can be won. */
static void measure(void)
{
    const struct picture before = look();
    struct aspace_compaction c = {0};
    const uint64_t used = pmm_stats(traffic.vmm.pmm).used.v;
    /* In the smallest machine what is free beside kernel frames is more than one block of the few. */
    const uint64_t kernels = traffic.frames > SMALL ? 0 : before.kernels;
    const uint64_t ideal = (before.free - kernels) / PMM_BLOCK_FRAMES, wanted = (ideal * WON_PERCENT + 99) / 100;
    if (wanted > before.whole) {
        EXPECT_OK(aspaces_compact(&traffic.system, wanted - before.whole, &c));
    }
    const struct aspace_compaction first = c;
    EXPECT_OK(aspaces_compact(&traffic.system, UINT64_MAX, &c));
    const struct picture after = look();
    const uint64_t least = fewest(&before, c.won);
    test_note("%lu frames, %lu %% used%s: %lu whole blocks of %lu before, %lu after; %lu pages moved, %lu in the way; "
              "to %u %%: %lu blocks, %lu pages; %lu blocks given up; %lu frames free beside kernel frames",
              traffic.frames, percent_used(), traffic.kind.are_owners ? " by owners" : "", before.whole,
              before.free / PMM_BLOCK_FRAMES, after.whole, c.moved, least, (unsigned)WON_PERCENT, first.won,
              first.moved, c.tried - c.won, before.kernels);
    EXPECT_EQ(after.whole, before.whole + c.won);
    EXPECT(100 * after.whole >= WON_PERCENT * ideal);
    EXPECT(10 * c.moved <= MOVES_TENTHS * least);
    EXPECT(pmm_stats(traffic.vmm.pmm).used.v - used < 64); /* pages of the reverse index */
}

static void play(unsigned frames_log2, uint64_t seed, struct kind kind)
{
    const uint64_t frames = 1ULL << frames_log2;
    struct model *m = model_start(pages_to_bytes(npages(frames)));
    model_be_plain(m);
    memset(traffic.growing, 0, sizeof traffic.growing);
    traffic.frames = frames;
    traffic.kind = kind;
    traffic.size_log2_max = frames_log2 - kind.log2_of_max;
    traffic.rng = rng_seeded(seed);
    traffic.process = calloc(PROCESSES_MAX, sizeof *traffic.process);
    REQUIRE(traffic.process != NULL && vmm_init_with(&traffic.vmm, &m->pmm, model_pointer, model_address) == STATUS_OK);
    struct pmm_policy policy = pmm_policy(&m->pmm); /* which is for 4 GiB, and processes as large as are played there */
    policy.owner_threshold.v = (policy.owner_threshold.v << frames_log2) / bytes_to_pages_down(4 * GIB).v;
    pmm_policy_set(&m->pmm, policy);
    EXPECT_OK(aspaces_init(&traffic.system, &traffic.vmm));
    climb();
    hold();
    climb();
    measure();
    for (unsigned i = 0; i < PROCESSES_MAX; i++) {
        if (traffic.process[i].lives) {
            check_process(&traffic.process[i]);
            end(&traffic.process[i]);
        }
    }
    EXPECT_OK(aspaces_end(&traffic.system));
    EXPECT_OK(pmm_check(traffic.vmm.pmm, NULL));
    free(traffic.process);
}

static unsigned size_most(void) { return 14 + test_effort() / 2; }

TEST_HOST(aspace_traffic, nine_tenths_of_the_ideal_are_won_with_hardly_more_moves_than_pages_in_the_way)
{
    for (unsigned frames_log2 = 14; frames_log2 <= size_most(); frames_log2++) {
        play(frames_log2, test_seed() + frames_log2, (struct kind){.level = 50, .log2_of_max = 5});
    }
}

TEST_HOST(aspace_traffic, the_same_of_processes_that_are_owners)
{
    static const struct kind kinds[] = {{50, 5, true}, {80, 5, true}, {50, 8, true}, {80, 8, true}};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        play(size_most(), test_seed() + i, kinds[i]);
    }
}
