/* Histories: accessed and dirty bits (SDM 3A 4.8, 4.10.4.2). What may be lost, and what is not set again. */
#include "pmm/pmm_runs.h"
#include "unit/mmu_bed.h"

#define MARKED (MMU_RW | PTE_A | PTE_D)

/* The PTE of MMU_VA in the window of the root that runs. */
static vaddr_t window_pte_of(uint64_t va)
{
    return vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF) + (va >> 9 & (((1ULL << 39) - 1) & ~7ULL)));
}

static void run_second(struct mmu_bed *bed, pfn_t root)
{
    model_use_cpu(bed->m, 1);
    mmu_load(bed, root, 0, false);
    model_use_cpu(bed->m, 0);
}

/* SDM 4.8: "whenever there is a write to a linear address", by any CPU that can walk there, at any moment. */
TEST_HOST(model_marks, a_plain_store_to_what_another_cpu_may_mark_loses_it)
{
    static const struct {
        uint64_t old, new;
        bool lost; /* with another CPU that can walk there */
    } change[] = {
        {MMU_RW, MMU_RO, true},            /* A and D may have come */
        {MMU_RO, MMU_RW, true},            /* A */
        {MARKED, MMU_RO | PTE_A, true},    /* D */
        {MARKED, MMU_RO | PTE_A | PTE_D, false},
        {MMU_RO | PTE_A, MMU_RO | PTE_A | PTE_U, false}, /* D cannot come */
        {MMU_RW, 0, false},                /* it goes: what came late is nobody's */
    };
    for (unsigned i = 0; i < 3 * ARRAY_LEN(change); i++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        const unsigned k = i / 3, who = i % 3; /* nobody else; another root; this root */
        paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, mmu_page(&bed, 1), change[k].old);
        if (who > 0) {
            run_second(&bed, who == 1 ? mmu_root(&bed) : bed.root);
        }
        pfn_t frame = pte_pfn((pte_t){model_phys_read64(bed.m, pte)});
        mmu_store(&bed, pte, change[k].new == 0 ? 0 : mmu_value(frame, change[k].new));
        bool lost = who == 2 && change[k].lost;
        MMU_EXPECT_VIOLATIONS(&bed, lost, lost ? MODEL_MARK_LOST : MODEL_NONE);
    }
}

/* A CPU that has left the space may still write through what it holds. */
TEST_HOST(model_marks, a_cpu_that_holds_the_translation_marks_too)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t page = mmu_page(&bed, 1);
    paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, page, MMU_RW);
    run_second(&bed, bed.root);
    model_use_cpu(bed.m, 1);
    mmu_load(&bed, mmu_root(&bed), 1, true); /* another PCID: what PCID 0 holds stays */
    model_use_cpu(bed.m, 0);
    mmu_store(&bed, pte, mmu_value(page, MMU_RO));
    MMU_EXPECT_VIOLATIONS(&bed, 1, MODEL_MARK_LOST);
}

static void set_both(struct model *m, pfn_t table, unsigned index, pte_t *entry)
{
    (void)table;
    (void)index;
    entry->v |= PTE_A | PTE_D;
    m->before_replace = NULL;
}

/* Compare and exchange: what came in between makes it fail, and is seen. */
TEST_HOST(model_marks, compare_and_exchange_loses_nothing)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t page = mmu_page(&bed, 1);
    paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, page, MMU_RW | PTE_A);
    run_second(&bed, bed.root);
    uint64_t old = model_read64(bed.m, window_pte_of(MMU_VA));
    bed.m->before_replace = set_both;
    EXPECT(!model_replace64(bed.m, window_pte_of(MMU_VA), &old, mmu_value(page, MMU_RO)));
    EXPECT_EQ(old, mmu_value(page, MARKED));
    EXPECT_EQ(model_phys_read64(bed.m, pte), old);
    EXPECT(model_replace64(bed.m, window_pte_of(MMU_VA), &old, mmu_value(page, MMU_RO)));
    EXPECT_EQ(model_phys_read64(bed.m, pte) & ~PTE_A, mmu_value(page, MMU_RO));
    MMU_EXPECT_VIOLATIONS(&bed, 0, MODEL_NONE);
}

/* SDM 4.10.4.2: "software should [invalidate] [...] if it [...] clears the accessed [or dirty] flag". */
TEST_HOST(model_marks, a_mark_that_was_cleared_is_set_again_only_after_the_flush)
{
    static const struct {
        uint64_t cleared;
        enum model_kind kind;
        enum model_rule rule;
    } change[] = {
        {PTE_D, MODEL_WRITE, MODEL_MARK_STALE},
        {PTE_D, MODEL_READ, MODEL_NONE}, /* sets no D in any case */
        {PTE_A, MODEL_READ, MODEL_MARK_STALE},
        {PTE_A, MODEL_WRITE, MODEL_MARK_STALE},
    };
    for (unsigned i = 0; i < ARRAY_LEN(change); i++) {
        for (unsigned flush = 0; flush < 4; flush++) { /* none; another page; this page; all */
            struct mmu_bed bed = mmu_bed(mmu_makers[i % MMU_MAKERS]);
            pfn_t page = mmu_page(&bed, 1);
            paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, page, MMU_RW);
            model_write64(bed.m, vaddr(MMU_VA), 5);
            EXPECT_EQ(model_phys_read64(bed.m, pte) & (PTE_A | PTE_D), PTE_A | PTE_D);
            mmu_store(&bed, pte, mmu_value(page, MARKED & ~change[i].cleared));
            if (flush == 1 || flush == 2) {
                model_invlpg(bed.m, vaddr(MMU_VA + (2 - flush) * (uint64_t)PAGE_BYTES));
            } else if (flush == 3) {
                mmu_load(&bed, bed.root, 0, false);
            }
            EXPECT(model_access(bed.m, vaddr(MMU_VA), change[i].kind == MODEL_WRITE) != NULL);
            bool stale = flush < 2 && change[i].rule != MODEL_NONE;
            MMU_EXPECT_VIOLATIONS(&bed, stale, stale ? change[i].rule : MODEL_NONE);
        }
    }
}

/* Each CPU has its own translation. A large page is flushed by any address in it. A page mapped anew begins afresh. */
TEST_HOST(model_marks, the_flush_is_each_cpus_own_and_reaches_a_large_page_anywhere)
{
    for (unsigned level = 1; level <= 2; level++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        const uint64_t last = MMU_VA + level_span_bytes(level) - PAGE_BYTES;
        const uint64_t large = level > 1 ? PTE_PS : 0;
        pfn_t frame = pfn(PAGES_PER_2M * 2);
        REQUIRE(pmm_alloc_run(&bed.m->pmm, PMM_USER, npages(PAGES_PER_2M), npages(PAGES_PER_2M), npages(0),
                              PMM_NO_LIMIT, &frame) == STATUS_OK);
        paddr_t at = mmu_entry(&bed, bed.root, MMU_VA, level);
        mmu_store(&bed, at, mmu_value(frame, MARKED | large));
        run_second(&bed, bed.root);
        model_phys_write64(bed.m, at, mmu_value(frame, MARKED | large));
        vaddr_t entry = level > 1 ? window_pte_of(window_pte_of(MMU_VA).v) : window_pte_of(MMU_VA);
        uint64_t old = mmu_value(frame, MARKED | large);
        EXPECT(model_replace64(bed.m, entry, &old, mmu_value(frame, MMU_RW | PTE_A | large)));
        model_invlpg(bed.m, vaddr(last));
        model_write64(bed.m, vaddr(MMU_VA), 1);
        MMU_EXPECT_VIOLATIONS(&bed, 0, MODEL_NONE);
        model_phys_write64(bed.m, at, mmu_value(frame, MMU_RW | PTE_A | large));
        model_use_cpu(bed.m, 1);
        model_write64(bed.m, vaddr(MMU_VA), 1);
        MMU_EXPECT_VIOLATIONS(&bed, 1, MODEL_MARK_STALE);
        mmu_store(&bed, at, 0);
        model_invlpg(bed.m, vaddr(MMU_VA));
        mmu_store(&bed, at, mmu_value(frame, MMU_RW | large));
        model_write64(bed.m, vaddr(MMU_VA), 1);
        MMU_EXPECT_VIOLATIONS(&bed, 1, MODEL_MARK_STALE);
    }
}
