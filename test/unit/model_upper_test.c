/* Histories: paging-structure caches (SDM 3A 4.10.3, 4.10.4; APM 2 5.5), and what the makers see differently. */
#include "unit/mmu_bed.h"

/* The first address behind the next entry of a table of `level`. */
static uint64_t beside(unsigned level)
{
    return MMU_VA + level_span_bytes(level);
}

/* SDM 4.10.3.1: an upper entry serves pages that were never translated. */
TEST_HOST(model_upper, an_old_upper_entry_leads_to_pages_that_nobody_used)
{
    for (unsigned level = 2; level <= PAGING_LEVELS; level++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        mmu_map(&bed, bed.root, MMU_VA, mmu_page(&bed, 1), MMU_RW);
        paddr_t upper = mmu_entry(&bed, bed.root, MMU_VA, level);
        mmu_store(&bed, upper, 0);
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_STALE);
        model_invlpg(bed.m, vaddr(MMU_VA));
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_FAULT);
    }
}

/*
 * SDM 4.10.4.1: INVLPG drops all upper entries of the PCID, APM 5.5 with EFER.TCE=1 only those that lead to its page.
 * The page that is asked about became mapped after the change, so no translation of it can be old: only the upper
 * entry can.
 */
TEST_HOST(model_upper, invlpg_elsewhere_drops_upper_entries_but_not_with_tce)
{
    for (unsigned i = 0; i < MMU_MAKERS * 3; i++) {
        unsigned level = 2 + i % 3;
        struct mmu_bed bed = mmu_bed(mmu_makers[i / 3]);
        paddr_t upper = mmu_entry(&bed, bed.root, MMU_VA, level);
        paddr_t pte = mmu_entry(&bed, bed.root, MMU_VA, 1); /* not present so far */
        mmu_store(&bed, upper, 0);
        model_invlpg(bed.m, vaddr(beside(level)));
        mmu_store(&bed, pte, mmu_value(mmu_page(&bed, 1), MMU_RW));
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, bed.m->variant.tce ? MODEL_STALE : MODEL_FAULT);
        model_invlpg(bed.m, vaddr(MMU_VA)); /* leads there: drops it everywhere */
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_FAULT);
    }
}

/*
 * With TCE an address drops the entries that it shares, and leaves the ones below. What is below the old entry was not
 * there yet when it went, so it alone can lead to the page.
 */
TEST_HOST(model_upper, with_tce_the_level_that_two_addresses_share_decides)
{
    for (unsigned shared = 2; shared <= PAGING_LEVELS; shared++) {
        for (unsigned level = 2; level <= PAGING_LEVELS; level++) {
            struct mmu_bed bed = mmu_bed(&model_amd_tce);
            paddr_t upper = mmu_entry(&bed, bed.root, MMU_VA, level);
            paddr_t below = mmu_entry(&bed, bed.root, MMU_VA, level - 1);
            pfn_t ready = mmu_root(&bed); /* what will be linked there, as deep as needed */
            mmu_map(&bed, ready, MMU_VA, mmu_page(&bed, 1), MMU_RW);
            paddr_t from = mmu_entry(&bed, ready, MMU_VA, level - 1);
            mmu_store(&bed, upper, 0);
            model_invlpg(bed.m, vaddr(beside(shared - 1))); /* same entry of `shared`, another of the level below */
            mmu_store(&bed, below, model_phys_read64(bed.m, from));
            MMU_EXPECT(&bed, MMU_VA, MODEL_READ, level >= shared ? MODEL_FAULT : MODEL_STALE);
        }
    }
}

/* ... and an entry that an old one above led to stays of use when the one above is dropped. */
TEST_HOST(model_upper, with_tce_an_entry_below_outlives_the_one_above)
{
    for (unsigned shared = 2; shared <= 3; shared++) {
        struct mmu_bed bed = mmu_bed(&model_amd_tce);
        paddr_t pdpte = mmu_entry(&bed, bed.root, MMU_VA, 3), pte = mmu_entry(&bed, bed.root, MMU_VA, 1);
        mmu_store(&bed, pdpte, 0);
        model_invlpg(bed.m, vaddr(beside(shared - 1))); /* PML4E and PDPTE are shared in both cases */
        mmu_store(&bed, pte, mmu_value(mmu_page(&bed, 1), MMU_RW));
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, shared == 2 ? MODEL_FAULT : MODEL_STALE);
    }
}

/* SDM 4.10.4.2: "it remains necessary to execute INVLPG at least once", even if no page behind it was present. */
TEST_HOST(model_upper, a_table_without_any_page_is_cached_all_the_same)
{
    for (unsigned i = 0; i < MMU_MAKERS; i++) {
        struct mmu_bed bed = mmu_bed(mmu_makers[i]);
        paddr_t pde = mmu_entry(&bed, bed.root, MMU_VA, 2), pte = mmu_entry(&bed, bed.root, MMU_VA, 1);
        pfn_t table = paddr_to_pfn(pte);
        mmu_store(&bed, pde, 0);
        EXPECT(model_frame_is_held(bed.m, table, NULL));
        model_invlpg(bed.m, vaddr(MMU_VA));
        EXPECT(model_frame_is_held(bed.m, table, NULL)); /* its own window page still translates to it */
        model_invlpg(bed.m, vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF) + MMU_VA / PAGE_BYTES * ENTRY_BYTES));
        EXPECT(!model_frame_is_held(bed.m, table, NULL));
    }
}

/* SDM 4.10.4.2: for an entry that names a table, INVLPG for each page number with a translation behind it. */
TEST_HOST(model_upper, one_invlpg_does_not_drop_the_translations_behind_an_upper_entry)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t old = mmu_page(&bed, 1);
    mmu_map(&bed, bed.root, MMU_VA, old, MMU_RW);
    mmu_map(&bed, bed.root, MMU_VA + PAGE_BYTES, old, MMU_RW);
    mmu_store(&bed, mmu_entry(&bed, bed.root, MMU_VA, 2), 0);
    model_invlpg(bed.m, vaddr(MMU_VA));
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_FAULT);
    MMU_EXPECT(&bed, MMU_VA + PAGE_BYTES, MODEL_READ, MODEL_STALE);
    model_invlpg(bed.m, vaddr(MMU_VA + PAGE_BYTES));
    MMU_EXPECT(&bed, MMU_VA + PAGE_BYTES, MODEL_READ, MODEL_FAULT);
}

/* SDM 4.10.3.2: a walk may begin at a cached entry, and reads what is in memory below it at that time. */
TEST_HOST(model_upper, a_table_that_was_unhooked_is_walked_until_the_flush)
{
    for (unsigned flushed = 0; flushed < 2; flushed++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        pfn_t page = mmu_page(&bed, 1);
        paddr_t pde = mmu_entry(&bed, bed.root, MMU_VA, 2), pte = mmu_entry(&bed, bed.root, MMU_VA, 1);
        mmu_store(&bed, pde, 0);
        if (flushed != 0) {
            model_invlpg(bed.m, vaddr(MMU_VA));
        }
        mmu_store(&bed, pte, mmu_value(page, MMU_RW)); /* long after it was unhooked */
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, flushed != 0 ? MODEL_FAULT : MODEL_STALE);
        EXPECT_EQ(mmu_may_reach(&bed, MMU_VA, page), flushed == 0);
    }
}

/* Two values that were never in memory together, and no flush between: the older upper one was kept meanwhile. */
TEST_HOST(model_upper, values_of_different_times_combine_only_within_one_flush)
{
    for (unsigned flushed = 0; flushed < 2; flushed++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        pfn_t page = mmu_page(&bed, 1);
        paddr_t pdpte = mmu_entry(&bed, bed.root, MMU_VA, 3), pde = mmu_entry(&bed, bed.root, MMU_VA, 2);
        paddr_t pte = mmu_entry(&bed, bed.root, MMU_VA, 1);
        mmu_store(&bed, pdpte, 0);
        mmu_store(&bed, pde, 0);
        if (flushed != 0) {
            model_invlpg(bed.m, vaddr(beside(2)));
        }
        mmu_store(&bed, pte, mmu_value(page, MMU_RW));
        mmu_store(&bed, pte, 0);
        EXPECT_EQ(mmu_may_reach(&bed, MMU_VA, page), flushed == 0);
    }
}

/* However many flushes came before, and come afterwards. */
TEST_HOST(model_upper, a_drop_between_two_values_counts_among_hundreds)
{
    enum { BEFORE = 1, BETWEEN = 2, AFTER = 4, WAYS = 8, FLUSHES = 300 };
    for (unsigned way = 0; way < WAYS; way++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        pfn_t page = mmu_page(&bed, 1);
        paddr_t pde = mmu_entry(&bed, bed.root, MMU_VA, 2), pte = mmu_entry(&bed, bed.root, MMU_VA, 1);
        for (unsigned step = BEFORE; step <= AFTER; step *= 2) {
            for (unsigned i = 0; i < FLUSHES && (way & step) != 0; i++) {
                model_invlpg(bed.m, vaddr(beside(3) + i * (uint64_t)PAGE_BYTES));
            }
            if (step == BEFORE) {
                mmu_store(&bed, pde, 0);
            } else if (step == BETWEEN) {
                mmu_store(&bed, pte, mmu_value(page, MMU_RW));
            }
        }
        EXPECT_EQ(mmu_may_reach(&bed, MMU_VA, page), (way & BETWEEN) == 0);
    }
}

/*
 * Another PT in the place of the old one, without a flush: Intel may fault by the old one, where memory maps the page.
 * APM 5.5 "Use of cached entries when reporting a page fault": AMD walks again.
 */
TEST_HOST(model_upper, a_fault_by_an_old_table_is_real_on_intel_only)
{
    for (unsigned i = 0; i < MMU_MAKERS; i++) {
        struct mmu_bed bed = mmu_bed(mmu_makers[i]);
        paddr_t pde = mmu_entry(&bed, bed.root, MMU_VA, 2);
        mmu_entry(&bed, bed.root, MMU_VA, 1); /* the old PT, empty */
        pfn_t table = mmu_table(&bed);
        model_phys_write64(bed.m, pfn_to_paddr(table), mmu_value(mmu_page(&bed, 1), MMU_RW));
        mmu_store(&bed, pde, mmu_value(table, MMU_TABLE));
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, bed.m->variant.rewalks ? MODEL_NONE : MODEL_STALE_FAULT);
        model_page_fault(bed.m, vaddr(MMU_VA));
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_NONE);
    }
}

/* SDM 4.10.4.1: a page fault drops the upper entries that would be used for its address, no others. */
TEST_HOST(model_upper, a_page_fault_drops_only_what_led_to_it)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    const uint64_t other = beside(2); /* shares PML4E and PDPTE */
    paddr_t pde = mmu_entry(&bed, bed.root, other, 2), pte = mmu_entry(&bed, bed.root, other, 1);
    mmu_entry(&bed, bed.root, MMU_VA, 1);
    mmu_store(&bed, pde, 0);
    model_page_fault(bed.m, vaddr(MMU_VA));
    mmu_store(&bed, pte, mmu_value(mmu_page(&bed, 1), MMU_RW));
    MMU_EXPECT(&bed, other, MODEL_READ, MODEL_STALE);
}

/* SDM 4.6: rights are those of all entries on the way; 4.10.3.1: an upper entry is cached with its rights. */
TEST_HOST(model_upper, rights_taken_away_above_are_there_until_the_flush)
{
    for (unsigned level = 2; level <= PAGING_LEVELS; level++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        mmu_map(&bed, bed.root, MMU_VA, mmu_page(&bed, 1), MMU_RW);
        paddr_t upper = mmu_entry(&bed, bed.root, MMU_VA, level);
        mmu_store(&bed, upper, model_phys_read64(bed.m, upper) & ~PTE_W);
        MMU_EXPECT(&bed, MMU_VA, MODEL_WRITE, MODEL_STALE);
        model_invlpg(bed.m, vaddr(MMU_VA));
        MMU_EXPECT(&bed, MMU_VA, MODEL_WRITE, MODEL_FAULT_RIGHTS);
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_NONE);
    }
}
