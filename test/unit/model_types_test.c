/*
 * Histories: cache types of pages of all sizes (SDM 3A 12.12.4), what a CPU without a feature reserves (4.1.4, 4.5.4),
 * and tables with several parents (4.6.1).
 */
#include "unit/mmu_bed.h"

/* Frames of no RAM. */
static const uint64_t device = 0x80000000;

/* A large page and a small one in it; in either order, in RAM or not, of two sizes. */
TEST_HOST(model_types, a_large_page_and_a_small_one_in_it_have_one_type)
{
    for (unsigned i = 0; i < 16; i++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        const unsigned level = i % 2 + 2;
        const bool small_first = (i & 2) != 0, alike = (i & 4) != 0, in_ram = (i & 8) != 0 && level == 2;
        const uint64_t base = in_ram ? level_span_bytes(2) : device, inside = base + 300 * (uint64_t)PAGE_BYTES;
        paddr_t large = mmu_entry(&bed, bed.root, MMU_VA, level);
        paddr_t small = mmu_entry(&bed, bed.root, MMU_VA + (1ULL << 39), 1);
        const uint64_t in_large = base | MMU_RW | PTE_PS | PTE_PWT;
        const uint64_t in_small = inside | MMU_RW | (alike ? PTE_PWT : PTE_PWT | PTE_PCD);
        mmu_store(&bed, small_first ? small : large, small_first ? in_small : in_large);
        MMU_EXPECT_VIOLATIONS(&bed, 0, MODEL_NONE);
        mmu_store(&bed, small_first ? large : small, small_first ? in_large : in_small);
        MMU_EXPECT_VIOLATIONS(&bed, !alike, alike ? MODEL_NONE : MODEL_CACHE_ALIAS);
    }
}

/* The PAT bit is bit 12 in a large page and bit 7 in a small one: with the mirrored PAT neither changes a type. */
TEST_HOST(model_types, the_pat_bit_says_nothing_only_when_the_pat_is_mirrored)
{
    static const uint8_t like_linux[] = {MODEL_WB, MODEL_WC, MODEL_UC_MINUS, MODEL_UC,
                                         MODEL_WB, MODEL_WP, MODEL_UC_MINUS, MODEL_WT};
    for (unsigned i = 0; i < 4; i++) {
        struct model_variant machine = model_intel;
        const bool mirrored = i % 2 == 0, is_large = i / 2 == 1;
        if (!mirrored) {
            memcpy(machine.pat, like_linux, sizeof like_linux);
        }
        struct mmu_bed bed = mmu_bed(&machine);
        paddr_t first = mmu_entry(&bed, bed.root, MMU_VA, 1);
        paddr_t second = mmu_entry(&bed, bed.root, MMU_VA + (1ULL << 39), is_large ? 2 : 1);
        mmu_store(&bed, first, device | MMU_RW | PTE_PWT | PTE_PCD);
        const uint64_t pat_bit = is_large ? PTE_PS | (uint64_t)PAGE_BYTES : PTE_PS;
        mmu_store(&bed, second, device | MMU_RW | PTE_PWT | PTE_PCD | pat_bit);
        MMU_EXPECT_VIOLATIONS(&bed, !mirrored, mirrored ? MODEL_NONE : MODEL_CACHE_ALIAS);
    }
}

/* What is unmapped may be cached until it is flushed, with its type, on each CPU. */
TEST_HOST(model_types, a_type_may_change_after_the_flush_only)
{
    for (unsigned flushes = 0; flushes < 4; flushes++) { /* of this CPU, of the other, a set */
        struct mmu_bed bed = mmu_bed(&model_intel);
        paddr_t pte = mmu_entry(&bed, bed.root, MMU_VA, 1);
        model_use_cpu(bed.m, 1);
        mmu_load(&bed, bed.root, 0, false);
        model_use_cpu(bed.m, 0);
        mmu_store(&bed, pte, device | MMU_RW | PTE_PWT);
        mmu_store(&bed, pte, 0);
        for (unsigned cpu = 0; cpu < 2; cpu++) {
            model_use_cpu(bed.m, cpu);
            if ((flushes >> cpu & 1) != 0) {
                model_invlpg(bed.m, vaddr(MMU_VA));
            }
        }
        model_use_cpu(bed.m, 0);
        mmu_store(&bed, pte, device | MMU_RW | PTE_PWT | PTE_PCD);
        MMU_EXPECT_VIOLATIONS(&bed, flushes != 3, flushes == 3 ? MODEL_NONE : MODEL_CACHE_ALIAS);
    }
}

/* SDM 4.1.4, 4.5.4: address bits from MAXPHYADDR on; PS in a PDPTE without 1 GiB pages; XD without NXE. */
TEST_HOST(model_types, what_the_cpu_has_not_is_reserved_in_every_entry)
{
    static const unsigned widths[] = {36, 39, 40, 46, 48, 51};
    for (unsigned i = 0; i < ARRAY_LEN(widths) * PAGING_LEVELS; i++) {
        struct model_variant machine = model_intel;
        const unsigned bits = widths[i / PAGING_LEVELS], level = i % PAGING_LEVELS + 1;
        machine.physical_bits = bits;
        struct mmu_bed bed = mmu_bed(&machine);
        paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, mmu_page(&bed, 1), MMU_RW);
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_NONE);
        paddr_t at = level == 1 ? pte : mmu_entry(&bed, bed.root, MMU_VA, level);
        model_phys_write64(bed.m, at, model_phys_read64(bed.m, at) | 1ULL << bits);
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_FAULT_RESERVED);
        model_phys_write64(bed.m, at, 0);
        mmu_store(&bed, at, 1ULL << (bits - 1) | MMU_RW | (level == 2 ? PTE_PS : 0)); /* the highest that there is */
        EXPECT(model_judge(bed.m, vaddr(MMU_VA), MODEL_READ).rule != MODEL_FAULT_RESERVED);
    }
    for (unsigned feature = 0; feature < 2; feature++) {
        struct model_variant machine = model_intel;
        machine.no_1g = feature == 1;
        struct mmu_bed bed = mmu_bed(&machine);
        mmu_store(&bed, mmu_entry(&bed, bed.root, MMU_VA, 3), MMU_RW | PTE_PS);
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, feature == 1 ? MODEL_FAULT_RESERVED : MODEL_NONE);
    }
    struct mmu_bed bed = mmu_bed(&model_intel);
    paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, mmu_page(&bed, 1), MMU_RW);
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_NONE);
    bed.m->variant.no_nx = true;
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_FAULT_RESERVED);
    model_phys_write64(bed.m, pte, model_phys_read64(bed.m, pte) & ~PTE_XD);
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_NONE);
}

/* SDM 4.6.1: the rights of a walk are those that all of its entries give, and those of one parent alone. */
TEST_HOST(model_types, a_table_with_two_parents_gives_each_its_own_rights)
{
    static const uint64_t far = MMU_VA + (1ULL << 39);
    static const struct {
        uint64_t linked; /* bits of the second parent's entry */
        bool write, execute;
    } cases[] = {
        {MMU_TABLE, true, true},
        {MMU_TABLE & ~PTE_W, false, true},
        {MMU_TABLE | PTE_XD, true, false},
        {(MMU_TABLE & ~PTE_W) | PTE_XD, false, false},
    };
    for (unsigned i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        struct mmu_bed bed = mmu_bed(mmu_makers[i % MMU_MAKERS]);
        const unsigned level = i / ARRAY_LEN(cases) + 2, k = i % ARRAY_LEN(cases);
        mmu_map(&bed, bed.root, MMU_VA, mmu_page(&bed, 1), PTE_P | PTE_W);
        pfn_t table = pte_pfn((pte_t){model_phys_read64(bed.m, mmu_entry(&bed, bed.root, MMU_VA, level))});
        paddr_t borrowed = mmu_entry(&bed, bed.root, far, level);
        mmu_store(&bed, borrowed, mmu_value(table, cases[k].linked));
        MMU_EXPECT(&bed, MMU_VA, MODEL_WRITE, MODEL_NONE);
        MMU_EXPECT(&bed, MMU_VA, MODEL_EXECUTE, MODEL_NONE);
        MMU_EXPECT(&bed, far, MODEL_READ, MODEL_NONE);
        MMU_EXPECT(&bed, far, MODEL_WRITE, cases[k].write ? MODEL_NONE : MODEL_FAULT_RIGHTS);
        MMU_EXPECT(&bed, far, MODEL_EXECUTE, cases[k].execute ? MODEL_NONE : MODEL_FAULT_RIGHTS);
        /* The loan becomes narrower: what was cached through it is wider than memory's, until it is flushed. */
        mmu_store(&bed, borrowed, mmu_value(table, PTE_P | PTE_XD));
        bool was_wider = cases[k].write || cases[k].execute;
        MMU_EXPECT(&bed, far, MODEL_READ, was_wider ? MODEL_STALE : MODEL_NONE);
        MMU_EXPECT(&bed, MMU_VA, MODEL_WRITE, MODEL_NONE); /* the lender's way is as it was */
        model_invlpg(bed.m, vaddr(far));
        MMU_EXPECT(&bed, far, MODEL_READ, MODEL_NONE);
        MMU_EXPECT(&bed, far, MODEL_WRITE, MODEL_FAULT_RIGHTS);
        MMU_EXPECT_VIOLATIONS(&bed, 0, MODEL_NONE);
    }
}

/* An edit of the table is to be flushed on each way that leads to it. */
TEST_HOST(model_types, a_change_below_two_parents_is_flushed_behind_both)
{
    static const uint64_t far = MMU_VA + (1ULL << 39);
    struct mmu_bed bed = mmu_bed(&model_intel);
    paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, mmu_page(&bed, 1), MMU_RW);
    pfn_t table = pte_pfn((pte_t){model_phys_read64(bed.m, mmu_entry(&bed, bed.root, MMU_VA, 2))});
    mmu_store(&bed, mmu_entry(&bed, bed.root, far, 2), mmu_value(table, MMU_TABLE & ~PTE_W));
    mmu_store(&bed, pte, 0);
    model_invlpg(bed.m, vaddr(MMU_VA));
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_FAULT);
    MMU_EXPECT(&bed, far, MODEL_READ, MODEL_STALE);
    model_invlpg(bed.m, vaddr(far));
    MMU_EXPECT(&bed, far, MODEL_READ, MODEL_FAULT);
}

/* R11, SDM 4.10.2.4: the window page of a large global leaf is a global translation: a CR3 load leaves it. */
TEST_HOST(model_types, the_window_page_of_a_global_large_page_outlives_a_cr3_load)
{
    for (unsigned flush = 0; flush < 4; flush++) { /* CR3, INVLPG of the page, of the window page, CR4.PGE */
        struct mmu_bed bed = mmu_bed(&model_intel);
        model_global_pages(bed.m, true);
        const uint64_t window = LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF) + (MMU_VA >> 9 & ((1ULL << 39) - 1));
        pfn_t table = mmu_table(&bed);
        paddr_t pde = mmu_entry(&bed, bed.root, MMU_VA, 2);
        mmu_store(&bed, pde, level_span_bytes(2) | MMU_RW | PTE_PS | PTE_G);
        mmu_store(&bed, pde, 0);
        switch (flush) {
        case 0: mmu_load(&bed, bed.root, 0, false); break;
        case 1: model_invlpg(bed.m, vaddr(MMU_VA)); break;
        case 2: model_invlpg(bed.m, vaddr(window)); break;
        case 3:
            model_global_pages(bed.m, false);
            model_global_pages(bed.m, true);
            break;
        }
        bed.m->violations_wanted = true;
        mmu_store(&bed, pde, mmu_value(table, MMU_TABLE));
        MMU_EXPECT_VIOLATIONS(&bed, flush < 3, flush < 3 ? MODEL_PAGE_SIZE : MODEL_NONE); /* one of the two is left */
        MMU_EXPECT(&bed, window, MODEL_WRITE, flush < 2 ? MODEL_STALE : MODEL_NONE);
    }
}
