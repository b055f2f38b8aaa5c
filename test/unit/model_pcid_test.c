/* Histories: PCIDs, global pages, CR3 and CR4 (SDM 3A 4.10.1, 4.10.2.4, 4.10.4.1). */
#include "unit/mmu_bed.h"

enum { A = 1, B = 2 };

/* PCID A has a page mapped, then changed, without a flush; the CPU is in A. */
struct scene {
    struct mmu_bed bed;
    pfn_t other, old, new;
    paddr_t pte;
};

static struct scene scene(const struct model_variant *variant, uint64_t bits)
{
    struct scene s = {.bed = mmu_bed(variant)};
    model_global_pages(s.bed.m, true);
    s.other = mmu_root(&s.bed);
    s.old = mmu_page(&s.bed, 1);
    s.new = mmu_page(&s.bed, 2);
    mmu_load(&s.bed, s.bed.root, A, false);
    s.pte = mmu_map(&s.bed, s.bed.root, MMU_VA, s.old, bits);
    mmu_store(&s.bed, s.pte, mmu_value(s.new, bits));
    MMU_EXPECT(&s.bed, MMU_VA, MODEL_READ, MODEL_STALE);
    return s;
}

/* SDM 4.10.4.1, MOV to CR3: with bit 63 nothing is dropped; without, that PCID's, and only that. */
TEST_HOST(model_pcid, what_a_pcid_holds_waits_for_it_until_it_is_flushed)
{
    struct scene s = scene(&model_intel, MMU_RW);
    mmu_load(&s.bed, s.other, B, false);
    MMU_EXPECT(&s.bed, MMU_VA, MODEL_READ, MODEL_FAULT); /* nothing of A is used under B */
    mmu_load(&s.bed, s.bed.root, A, true);
    MMU_EXPECT(&s.bed, MMU_VA, MODEL_READ, MODEL_STALE);
    mmu_load(&s.bed, s.bed.root, A, false);
    MMU_EXPECT(&s.bed, MMU_VA, MODEL_READ, MODEL_NONE);
}

/* SDM 4.10.1: a CPU walks with the current PCID only. What A's tables say while B runs is not cached under A. */
TEST_HOST(model_pcid, nothing_is_cached_for_a_pcid_that_does_not_run)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t first = mmu_page(&bed, 1), second = mmu_page(&bed, 2), third = mmu_page(&bed, 3);
    mmu_load(&bed, bed.root, A, false);
    paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, first, MMU_RW);
    mmu_load(&bed, mmu_root(&bed), B, false);
    mmu_store(&bed, pte, mmu_value(second, MMU_RW));
    mmu_store(&bed, pte, mmu_value(third, MMU_RW));
    mmu_load(&bed, bed.root, A, true);
    EXPECT(mmu_may_reach(&bed, MMU_VA, first));
    EXPECT(!mmu_may_reach(&bed, MMU_VA, second)); /* came and went meanwhile */
    EXPECT(mmu_may_reach(&bed, MMU_VA, third));
}

/* SDM 4.10.4.1: INVLPG reaches the current PCID; INVPCID types 0 and 1 any. */
TEST_HOST(model_pcid, invlpg_under_another_pcid_does_not_reach_and_invpcid_does)
{
    for (unsigned type = 0; type < 3; type++) {
        struct scene s = scene(&model_intel, MMU_RW);
        mmu_load(&s.bed, s.other, B, false);
        if (type == 0) {
            model_invlpg(s.bed.m, vaddr(MMU_VA));
        } else {
            model_invpcid(s.bed.m, type == 1 ? MODEL_INVPCID_ADDRESS : MODEL_INVPCID_CONTEXT, A, vaddr(MMU_VA));
        }
        mmu_load(&s.bed, s.bed.root, A, true);
        MMU_EXPECT(&s.bed, MMU_VA, MODEL_READ, type == 0 ? MODEL_STALE : MODEL_NONE);
    }
}

/* The rules call for bit 63 clear when a PCID gets another root: what it holds is the old root's. */
TEST_HOST(model_pcid, a_pcid_given_to_another_root_shows_the_old_one)
{
    for (unsigned keep = 0; keep < 2; keep++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        pfn_t page = mmu_page(&bed, 1), other = mmu_root(&bed);
        mmu_load(&bed, bed.root, A, false);
        mmu_map(&bed, bed.root, MMU_VA, page, MMU_RW);
        mmu_load(&bed, other, A, keep != 0);
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, keep != 0 ? MODEL_STALE : MODEL_FAULT);
        EXPECT_EQ(model_frame_is_held(bed.m, page, NULL), keep != 0);
    }
}

/* SDM 4.10.4.1: single-address INVPCID drops the upper entries used for that address; APM: without TCE all of them. */
TEST_HOST(model_pcid, invpcid_of_an_address_leaves_other_upper_entries_on_intel)
{
    for (unsigned i = 0; i < MMU_MAKERS; i++) {
        struct mmu_bed bed = mmu_bed(mmu_makers[i]);
        paddr_t pde = mmu_entry(&bed, bed.root, MMU_VA, 2), pte = mmu_entry(&bed, bed.root, MMU_VA, 1);
        mmu_store(&bed, pde, 0);
        model_invpcid(bed.m, MODEL_INVPCID_ADDRESS, 0, vaddr(MMU_VA + level_span_bytes(2)));
        mmu_store(&bed, pte, mmu_value(mmu_page(&bed, 1), MMU_RW));
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, bed.m->variant.invpcid_drops_all ? MODEL_FAULT : MODEL_STALE);
        model_invpcid(bed.m, MODEL_INVPCID_ADDRESS, 0, vaddr(MMU_VA));
        MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_FAULT);
    }
}

/* SDM 4.10.2.4: a global translation serves every PCID and root, and outlives CR3 loads. */
TEST_HOST(model_pcid, a_global_translation_is_used_under_every_pcid)
{
    struct scene s = scene(&model_intel, MMU_RW | PTE_G);
    mmu_load(&s.bed, s.bed.root, A, false);
    MMU_EXPECT(&s.bed, MMU_VA, MODEL_READ, MODEL_STALE);
    mmu_load(&s.bed, s.other, B, false);
    MMU_EXPECT(&s.bed, MMU_VA, MODEL_READ, MODEL_STALE); /* nothing is mapped there */
    EXPECT(mmu_may_reach(&s.bed, MMU_VA, s.old));
    EXPECT(mmu_may_reach(&s.bed, MMU_VA, s.new));
}

/* ... and goes by INVLPG under any PCID, INVPCID type 2, a change of CR4.PGE; by nothing else. */
TEST_HOST(model_pcid, what_removes_a_global_translation)
{
    static const struct {
        enum { INVLPG, ADDRESS, CONTEXT, ALL, ALL_BUT_GLOBAL, PGE } by;
        bool removes;
    } way[] = {{INVLPG, true}, {ADDRESS, false}, {CONTEXT, false}, {ALL, true}, {ALL_BUT_GLOBAL, false}, {PGE, true}};
    for (unsigned i = 0; i < ARRAY_LEN(way); i++) {
        struct scene s = scene(mmu_makers[i % MMU_MAKERS], MMU_RW | PTE_G);
        mmu_load(&s.bed, s.other, B, false);
        if (way[i].by == INVLPG) {
            model_invlpg(s.bed.m, vaddr(MMU_VA));
        } else if (way[i].by == PGE) {
            model_global_pages(s.bed.m, false);
            model_global_pages(s.bed.m, true);
        } else {
            model_invpcid(s.bed.m, (enum model_invpcid)(way[i].by - ADDRESS), A, vaddr(MMU_VA));
        }
        MMU_EXPECT(&s.bed, MMU_VA, MODEL_READ, way[i].removes ? MODEL_FAULT : MODEL_STALE);
    }
}

/* A global translation is as old as its G bit: the walk that made it used nothing that was dropped before. */
TEST_HOST(model_pcid, the_first_global_entry_does_not_call_back_what_was_flushed)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    model_use_cpu(bed.m, 1); /* runs all the time and flushes nothing, so that nothing is forgotten */
    mmu_load(&bed, mmu_root(&bed), 0, false);
    model_use_cpu(bed.m, 0);
    model_global_pages(bed.m, true);
    paddr_t upper = mmu_entry(&bed, bed.root, MMU_VA, PAGING_LEVELS), pte = mmu_entry(&bed, bed.root, MMU_VA, 1);
    mmu_store(&bed, upper, 0);
    model_invpcid(bed.m, MODEL_INVPCID_CONTEXT, 0, vaddr(0));
    mmu_store(&bed, pte, mmu_value(mmu_page(&bed, 1), MMU_RW | PTE_G));
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_FAULT);
}

/* Without CR4.PGE the G bit means nothing (SDM 4.10.2.4). */
TEST_HOST(model_pcid, without_pge_there_are_no_global_translations)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, mmu_page(&bed, 1), MMU_RW | PTE_G);
    mmu_store(&bed, pte, 0);
    mmu_load(&bed, bed.root, 0, false);
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_FAULT);
}

/* The erratum of Alder Lake (Linux turns PCIDs off there): INVLPG leaves global entries. */
TEST_HOST(model_pcid, the_invlpg_erratum_can_be_put_on)
{
    struct model_variant variant = model_intel;
    variant.invlpg_keeps_globals = true;
    struct scene s = scene(&variant, MMU_RW | PTE_G);
    model_invlpg(s.bed.m, vaddr(MMU_VA));
    MMU_EXPECT(&s.bed, MMU_VA, MODEL_READ, MODEL_STALE);
}

/* SDM 4.10.4.2: an entry that several PCIDs use is flushed in each of them. */
TEST_HOST(model_pcid, a_shared_table_is_flushed_in_every_pcid)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t other = mmu_root(&bed), page = mmu_page(&bed, 1);
    paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, page, MMU_RW);
    paddr_t slot = mmu_entry(&bed, bed.root, MMU_VA, PAGING_LEVELS);
    mmu_store(&bed, mmu_entry(&bed, other, MMU_VA, PAGING_LEVELS), model_phys_read64(bed.m, slot));
    mmu_load(&bed, other, B, false);
    mmu_load(&bed, bed.root, A, false);
    mmu_store(&bed, pte, 0);
    model_invlpg(bed.m, vaddr(MMU_VA));
    EXPECT(model_frame_is_held(bed.m, page, NULL));
    struct model_report by;
    EXPECT(model_frame_is_held(bed.m, page, &by) && by.pcid == B && by.table.v == paddr_to_pfn(pte).v);
    mmu_load(&bed, other, B, true);
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_STALE);
    model_invpcid(bed.m, MODEL_INVPCID_ALL_BUT_GLOBAL, 0, vaddr(0));
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_FAULT);
    EXPECT(!model_frame_is_held(bed.m, page, NULL));
}
