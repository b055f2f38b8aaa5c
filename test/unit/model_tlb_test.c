/* Histories: translations (SDM 3A 4.10.2, 4.10.4; APM 2 5.5). What may be stale, what must be seen new. */
#include "unit/mmu_bed.h"

/* SDM 4.10.4.3, first item: no entry is made of one that is not present. */
TEST_HOST(model_tlb, what_becomes_present_needs_no_invalidation)
{
    for (unsigned i = 0; i < MMU_MAKERS; i++) {
        struct mmu_bed bed = mmu_bed(mmu_makers[i]);
        pfn_t page = mmu_page(&bed, 7);
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_FAULT);
        mmu_map(&bed, bed.root, MMU_VA, page, MMU_RW);
        MMU_EXPECT(&bed, MMU_VA, MODEL_WRITE, MODEL_NONE);
        EXPECT_EQ(model_read64(bed.m, vaddr(MMU_VA)), 7);
        MMU_EXPECT_VIOLATIONS(&bed, 0, MODEL_NONE);
    }
}

/* SDM 4.10.2.3, 4.10.4.1: the translation stays until INVLPG of an address in the page. APM 5.5 agrees. */
TEST_HOST(model_tlb, an_old_translation_wins_until_invlpg_of_its_page)
{
    for (unsigned i = 0; i < MMU_MAKERS; i++) {
        struct mmu_bed bed = mmu_bed(mmu_makers[i]);
        pfn_t old = mmu_page(&bed, 1), new = mmu_page(&bed, 2);
        paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, old, MMU_RW);
        mmu_store(&bed, pte, mmu_value(new, MMU_RW));
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_STALE);
        model_invlpg(bed.m, vaddr(MMU_VA + PAGE_BYTES));
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_STALE);
        EXPECT_EQ(model_read64(bed.m, vaddr(MMU_VA)), 1); /* and it is what the access gets */
        MMU_EXPECT_VIOLATIONS(&bed, 1, MODEL_STALE);
        model_invlpg(bed.m, vaddr(MMU_VA + 100));
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_NONE);
        EXPECT_EQ(model_read64(bed.m, vaddr(MMU_VA)), 2);
        MMU_EXPECT_VIOLATIONS(&bed, 1, MODEL_STALE);
    }
}

/* SDM 4.10.2.3, APM 5.5 "Speculative caching": entries come from accesses that never happen. */
TEST_HOST(model_tlb, a_page_that_was_never_touched_may_be_cached)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t page = mmu_page(&bed, 1);
    paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, page, MMU_RW);
    mmu_store(&bed, pte, 0);
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_STALE); /* mapped for one moment, used by nobody */
    EXPECT(mmu_may_reach(&bed, MMU_VA, page));
    model_invlpg(bed.m, vaddr(MMU_VA));
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_FAULT);
    EXPECT(!mmu_may_reach(&bed, MMU_VA, page));
}

/* All values that an entry had since the flush, none from before it. */
TEST_HOST(model_tlb, each_value_since_the_last_flush_is_possible_and_no_other)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t page[4];
    paddr_t pte = mmu_entry(&bed, bed.root, MMU_VA, 1);
    for (unsigned i = 0; i < ARRAY_LEN(page); i++) {
        page[i] = mmu_page(&bed, i);
        mmu_store(&bed, pte, mmu_value(page[i], MMU_RW));
        if (i == 1) {
            model_invlpg(bed.m, vaddr(MMU_VA));
        }
    }
    EXPECT(!mmu_may_reach(&bed, MMU_VA, page[0])); /* replaced before the flush */
    EXPECT(mmu_may_reach(&bed, MMU_VA, page[1]));  /* in memory when it happened */
    EXPECT(mmu_may_reach(&bed, MMU_VA, page[2]));
    EXPECT(mmu_may_reach(&bed, MMU_VA, page[3]));
}

/* SDM 4.10.4.2: taking a right away must be flushed; the access itself need not be the one that was forbidden. */
TEST_HOST(model_tlb, a_right_taken_away_is_there_until_the_flush)
{
    static const struct {
        uint64_t old, new;
    } change[] = {
        {MMU_RW, MMU_RO},
        {PTE_P, MMU_RO},
        {MMU_RW | PTE_U, MMU_RW},
        {MMU_RW, MMU_RW | PTE_PCD},
    };
    for (unsigned i = 0; i < ARRAY_LEN(change); i++) {
        struct mmu_bed bed = mmu_bed(mmu_makers[i % MMU_MAKERS]);
        pfn_t page = mmu_page(&bed, 1);
        paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, page, change[i].old);
        mmu_store(&bed, pte, mmu_value(page, change[i].new));
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_STALE);
        mmu_load(&bed, bed.root, 0, false);
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_NONE);
    }
}

/* SDM 4.10.4.3: R/W 0->1 and XD 1->0 may fault once, no worse. APM 5.5: "the hardware will detect the changes". */
TEST_HOST(model_tlb, a_right_given_may_fault_once_on_intel_and_never_on_amd)
{
    static const struct {
        uint64_t old, new;
        enum model_kind kind;
    } change[] = {
        {MMU_RO, MMU_RW, MODEL_WRITE},
        {MMU_RO, PTE_P, MODEL_EXECUTE},
    };
    for (unsigned i = 0; i < ARRAY_LEN(change) * MMU_MAKERS; i++) {
        struct mmu_bed bed = mmu_bed(mmu_makers[i / ARRAY_LEN(change)]);
        enum model_kind kind = change[i % ARRAY_LEN(change)].kind;
        pfn_t page = mmu_page(&bed, 1);
        paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, page, change[i % ARRAY_LEN(change)].old);
        mmu_store(&bed, pte, mmu_value(page, change[i % ARRAY_LEN(change)].new));
        MMU_EXPECT(&bed, MMU_VA, kind, MODEL_NONE);
        EXPECT_EQ(model_judge(bed.m, vaddr(MMU_VA), kind).may_fault_spuriously, !bed.m->variant.rewalks);
        EXPECT(!model_judge(bed.m, vaddr(MMU_VA), MODEL_READ).may_fault_spuriously); /* was allowed before */
        model_page_fault(bed.m, vaddr(MMU_VA)); /* SDM 4.10.4.1: it does not recur */
        EXPECT(!model_judge(bed.m, vaddr(MMU_VA), kind).may_fault_spuriously);
    }
}

/* The same by an access: counted, not a violation, and the access works. */
TEST_HOST(model_tlb, spurious_faults_are_counted_apart)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t page = mmu_page(&bed, 1);
    paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, page, MMU_RO);
    mmu_store(&bed, pte, mmu_value(page, MMU_RW));
    model_write64(bed.m, vaddr(MMU_VA), 5);
    EXPECT_EQ(bed.m->spurious, 1);
    EXPECT_EQ(model_read64(bed.m, vaddr(MMU_VA)), 5);
    MMU_EXPECT_VIOLATIONS(&bed, 0, MODEL_NONE);
    bed.m->spurious_is_forbidden = true; /* as a kernel without a handler for it needs */
    MMU_EXPECT(&bed, MMU_VA, MODEL_WRITE, MODEL_SPURIOUS);
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_NONE);
    model_write64(bed.m, vaddr(MMU_VA), 6);
    MMU_EXPECT_VIOLATIONS(&bed, 1, MODEL_SPURIOUS);
}

/* SDM 4.10.2.3: no TLB entry comes from a walk that ends at a reserved bit. */
TEST_HOST(model_tlb, entries_with_reserved_bits_are_not_cached)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t page = mmu_page(&bed, 1);
    paddr_t pde = mmu_entry(&bed, bed.root, MMU_VA, 2);
    mmu_store(&bed, pde, mmu_value(pfn_add(pfn(PAGES_PER_2M), 3), MMU_RW | PTE_PS)); /* not aligned */
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_FAULT_RESERVED);
    mmu_store(&bed, pde, 0);
    mmu_map(&bed, bed.root, MMU_VA, page, MMU_RW);
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_NONE);
}

/* SDM 4.10.2.3: accessed before it is cached; 4.8: dirty when written. APM 5.5: no speculation sets D. */
TEST_HOST(model_tlb, walks_set_accessed_and_writes_set_dirty)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    unsigned accessed = 0;
    for (unsigned i = 0; i < 64; i++) {
        paddr_t pte = mmu_map(&bed, bed.root, MMU_VA + i * (uint64_t)PAGE_BYTES, mmu_page(&bed, i), MMU_RW);
        accessed += (model_phys_read64(bed.m, pte) & PTE_A) != 0; /* by a walk that nobody asked for */
        EXPECT_EQ(model_phys_read64(bed.m, pte) & PTE_D, 0);
        model_read64(bed.m, vaddr(MMU_VA + i * (uint64_t)PAGE_BYTES));
        EXPECT_EQ(model_phys_read64(bed.m, pte) & (PTE_A | PTE_D), PTE_A);
        model_write64(bed.m, vaddr(MMU_VA + i * (uint64_t)PAGE_BYTES), i);
        EXPECT_EQ(model_phys_read64(bed.m, pte) & (PTE_A | PTE_D), PTE_A | PTE_D);
    }
    EXPECT(accessed > 0 && accessed < 64);
    EXPECT((model_phys_read64(bed.m, mmu_entry(&bed, bed.root, MMU_VA, PAGING_LEVELS)) & PTE_A) != 0);
}

/* SDM 4.10.2.3, 4.10.4.1: a large page may be cached in pieces; INVLPG anywhere in it drops them all. */
TEST_HOST(model_tlb, invlpg_anywhere_in_a_large_page_drops_all_of_it)
{
    for (unsigned level = 2; level <= 3; level++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        const uint64_t last = MMU_VA + level_span_bytes(level) - PAGE_BYTES;
        paddr_t at = mmu_entry(&bed, bed.root, MMU_VA, level);
        mmu_store(&bed, at, MMU_RW | PTE_PS);
        MMU_EXPECT(&bed, last, MODEL_READ, MODEL_NONE);
        mmu_store(&bed, at, 0);
        MMU_EXPECT(&bed, last, MODEL_READ, MODEL_STALE);
        model_invlpg(bed.m, vaddr(last + PAGE_BYTES)); /* the page behind it */
        MMU_EXPECT(&bed, last, MODEL_READ, MODEL_STALE);
        model_invlpg(bed.m, vaddr(MMU_VA));
        MMU_EXPECT(&bed, last, MODEL_READ, MODEL_FAULT);
    }
}

/* More flushes than fit anywhere at first; one page is left out. */
TEST_HOST(model_tlb, thousands_of_flushes_are_all_remembered)
{
    enum { PAGES = 2000, LEFT_OUT = 777 };
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t old = mmu_page(&bed, 1), new = mmu_page(&bed, 2);
    for (uint64_t i = 0; i < PAGES; i++) {
        paddr_t pte = mmu_map(&bed, bed.root, MMU_VA + i * PAGE_BYTES, old, MMU_RW);
        mmu_store(&bed, pte, mmu_value(new, MMU_RW));
    }
    for (uint64_t i = 0; i < PAGES; i++) {
        if (i != LEFT_OUT) {
            model_invlpg(bed.m, vaddr(MMU_VA + i * PAGE_BYTES));
        }
    }
    for (uint64_t i = 0; i < PAGES; i++) {
        MMU_EXPECT(&bed, MMU_VA + i * PAGE_BYTES, MODEL_READ, i == LEFT_OUT ? MODEL_STALE : MODEL_NONE);
    }
    mmu_load(&bed, bed.root, 0, false);
    MMU_EXPECT(&bed, MMU_VA + LEFT_OUT * (uint64_t)PAGE_BYTES, MODEL_READ, MODEL_NONE);
}
