/*
 * The model against the MMU that copies (mmu_brute.h): random events on a few tables that may name each other at any
 * level, on two CPUs with PCIDs, global and large pages, by all makers' rules. After each event both must give the same
 * outcomes for each address, and say of the same frames that they are held. So the model neither misses anything nor
 * sees anything that cannot be.
 */
#include "model/mmu.h"
#include "unit/mmu_brute.h"

enum {
    TABLES = 5,
    PAGES = 3,
    LARGE = 2,
    FRAMES = TABLES + PAGES,
    EVENTS = 40,
    MANY_EVENTS = 240,
    PCIDS = 3,
    COMPARED = 8,
    MAX = 64
};

struct game {
    struct mmu_bed bed;
    struct rng rng;
    pfn_t frame[FRAMES]; /* tables first */
    unsigned variant;
};

static bool chance(struct game *g, unsigned one_in)
{
    return rng_below(&g->rng, one_in) == 0;
}

static uint64_t random_value(struct game *g)
{
    uint64_t bits = PTE_P | (rng_next(&g->rng) & (PTE_W | PTE_U | PTE_XD));
    bits |= chance(g, 4) ? PTE_G : 0;
    bits |= chance(g, 8) ? PTE_PWT : 0;
    if (chance(g, 4)) {
        return 0;
    }
    if (chance(g, 5)) { /* a large page of either size, with or without the PAT bit, sometimes misaligned */
        static const uint64_t large[] = {PAGES_PER_2M * 2, PAGES_PER_2M * 3 + 1, 0, 1, PAGES_PER_2M + 2,
                                         PAGES_PER_2M * PAGES_PER_2M};
        return mmu_value(pfn(large[rng_below(&g->rng, ARRAY_LEN(large))]), bits | PTE_PS);
    }
    return mmu_value(g->frame[rng_below(&g->rng, FRAMES)], bits);
}

static void random_store(struct game *g)
{
    pfn_t table = g->frame[rng_below(&g->rng, TABLES)];
    unsigned index = mmu_brute_index[rng_below(&g->rng, MMU_BRUTE_INDICES)];
    mmu_store(&g->bed, paddr(pfn_to_paddr(table).v + index * (uint64_t)ENTRY_BYTES), random_value(g));
    mmu_brute_stored();
}

static void random_load(struct game *g)
{
    pfn_t root = g->frame[rng_below(&g->rng, 2)];
    unsigned pcid = (unsigned)rng_below(&g->rng, PCIDS);
    bool keep = chance(g, 2);
    mmu_load(&g->bed, root, pcid, keep);
    mmu_brute_cr3(root, pcid, keep);
}

static void random_event(struct game *g)
{
    struct model *m = g->bed.m;
    vaddr_t va = mmu_brute_address((unsigned)rng_below(&g->rng, MMU_BRUTE_ADDRESSES));
    unsigned pcid = (unsigned)rng_below(&g->rng, PCIDS);
    switch (rng_below(&g->rng, 16)) {
    case 0:
    case 1: random_load(g); break;
    case 2:
    case 3:
        model_invlpg(m, va);
        mmu_brute_invlpg(va);
        break;
    case 4: {
        enum model_invpcid type = (enum model_invpcid)rng_below(&g->rng, 4);
        model_invpcid(m, type, pcid, va);
        mmu_brute_invpcid(type, pcid, va);
        break;
    }
    case 5:
        model_page_fault(m, va);
        mmu_brute_fault(va);
        break;
    case 6: {
        bool on = !chance(g, 4);
        model_global_pages(m, on);
        mmu_brute_pge(on);
        break;
    }
    default: random_store(g); break;
    }
}

static bool is_in(uint64_t value, const struct model_outcome *outcome, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t leaf = outcome[i].mapped ? outcome[i].leaf.v & ~PTE_G : 0;
        if (leaf == value) {
            return true;
        }
    }
    return false;
}

/* => the number of outcomes compared; 0: they differ. */
static unsigned compare_address(struct game *g, vaddr_t va)
{
    struct model_outcome outcome[MODEL_OUTCOMES];
    uint64_t leaf[MAX];
    unsigned mine = model_outcomes(g->bed.m, va, outcome), other = mmu_brute_outcomes(va, leaf, MAX);
    if (mine > MODEL_OUTCOMES || other > MAX) {
        return mine == other ? mine : 0;
    }
    bool same = mine == other;
    for (unsigned i = 0; i < other && same; i++) {
        same = is_in(leaf[i], outcome, mine);
    }
    if (!same) {
        test_note("CPU %u, %#lx: the model has %u outcomes, the other %u", g->bed.m->current_cpu, va.v, mine, other);
        for (unsigned i = 0; i < mine; i++) {
            test_note("  model: %#lx", outcome[i].mapped ? (uint64_t)(outcome[i].leaf.v & ~PTE_G) : 0);
        }
        for (unsigned i = 0; i < other; i++) {
            test_note("  other: %#lx", leaf[i]);
        }
    }
    return same ? mine : 0;
}

static bool compare(struct game *g, unsigned addresses, unsigned *seen)
{
    for (unsigned i = 0; i < addresses; i++) {
        unsigned n = addresses == MMU_BRUTE_ADDRESSES ? i : (unsigned)rng_below(&g->rng, MMU_BRUTE_ADDRESSES);
        unsigned outcomes = compare_address(g, mmu_brute_address(n));
        if (!EXPECT(outcomes > 0)) {
            return false;
        }
        *seen += outcomes > 1;
    }
    for (unsigned i = 0; i < FRAMES; i++) {
        bool held = model_frame_is_held(g->bed.m, g->frame[i], NULL);
        if (!EXPECT_EQ(held, mmu_brute_holds(g->frame[i]))) {
            test_note("frame %#lx, held by the model: %d", g->frame[i].v, held);
            return false;
        }
    }
    return true;
}

/* One history. => no difference. */
static bool play(uint64_t seed, unsigned *seen)
{
    static struct game g;
    g.rng = rng_seeded(seed);
    struct model_variant machine = *mmu_makers[rng_below(&g.rng, MMU_MAKERS)];
    machine.no_1g = chance(&g, 4);
    machine.no_nx = chance(&g, 8);
    machine.physical_bits = chance(&g, 4) ? 24 : 0; /* all of RAM, and not what is behind it */
    g.bed = mmu_bed(&machine);
    mmu_brute_start(g.bed.m);
    for (unsigned i = 0; i < FRAMES; i++) {
        g.frame[i] = mmu_table(&g.bed);
    }
    for (unsigned cpu = 0; cpu < MMU_BRUTE_CPUS; cpu++) {
        model_use_cpu(g.bed.m, cpu);
        mmu_load(&g.bed, g.frame[0], 0, false);
        mmu_brute_cr3(g.frame[0], 0, false);
    }
    bool is_long = chance(&g, 16), forgets = chance(&g, 2);
    unsigned events = is_long ? MANY_EVENTS : EVENTS;
    for (unsigned i = 0; i < events; i++) {
        if (forgets) {
            g.bed.m->history->sweep_at = 0; /* what nobody can hold is forgotten at the next store */
        }
        model_use_cpu(g.bed.m, (unsigned)rng_below(&g.rng, MMU_BRUTE_CPUS));
        random_event(&g);
        for (unsigned cpu = 0; cpu < MMU_BRUTE_CPUS; cpu++) {
            model_use_cpu(g.bed.m, cpu);
            if (!compare(&g, i + 1 == events ? MMU_BRUTE_ADDRESSES : COMPARED, seen)) {
                test_note("history of seed %#lx, after event %u", seed, i);
                return false;
            }
        }
    }
    return true;
}

TEST_HOST(model_agrees, random_histories_with_an_mmu_that_copies)
{
    struct rng seeds = rng_seeded(test_seed());
    unsigned seen = 0;
    for (unsigned i = 0; i < 10 * test_effort(); i++) {
        if (!play(rng_next(&seeds), &seen)) {
            return;
        }
    }
    EXPECT(seen > 0); /* addresses with more than one outcome */
}
