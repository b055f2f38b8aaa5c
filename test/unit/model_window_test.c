/*
 * Histories: windows (one entry used at several levels, SDM 3A 4.10.3.3), page sizes, and what must not be written into
 * paging structures. Addresses of window pages are made here from the four indices.
 */
#include "unit/mmu_bed.h"

static const uint64_t S = LAYOUT_SLOT_SELF, F = LAYOUT_SLOT_FOREIGN;

static uint64_t address(uint64_t i4, uint64_t i3, uint64_t i2, uint64_t i1)
{
    return LAYOUT_SLOT_BASE(i4) + i3 * level_span_bytes(3) + i2 * level_span_bytes(2) + i1 * level_span_bytes(1);
}

static uint64_t index_of(uint64_t va, unsigned level)
{
    return table_index(vaddr(va), level);
}

/* Where the PT for `va` appears. */
static uint64_t pt_window(uint64_t slot, uint64_t va)
{
    return address(slot, index_of(va, 4), index_of(va, 3), index_of(va, 2));
}

static paddr_t slot_of(pfn_t root, uint64_t slot)
{
    return paddr(pfn_to_paddr(root).v + slot * ENTRY_BYTES);
}

/* SDM 4.10.3.3: the self-referencing PML4E is a PML4E, a PDPTE, a PDE and a PTE; each use is dropped by itself. */
TEST_HOST(model_window, one_entry_is_cached_once_for_each_of_its_uses)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t old = mmu_table(&bed), new = mmu_table(&bed);
    paddr_t pde = mmu_entry(&bed, bed.root, MMU_VA, 2);
    mmu_store(&bed, pde, mmu_value(old, MMU_TABLE));
    mmu_store(&bed, pde, 0);
    model_invlpg(bed.m, vaddr(MMU_VA)); /* as a PDE */
    mmu_store(&bed, pde, mmu_value(new, MMU_TABLE));
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_FAULT);
    MMU_EXPECT(&bed, pt_window(S, MMU_VA), MODEL_READ, MODEL_STALE);
    model_invlpg(bed.m, vaddr(pt_window(S, MMU_VA))); /* as a PTE */
    MMU_EXPECT(&bed, pt_window(S, MMU_VA), MODEL_READ, MODEL_NONE);
    MMU_EXPECT_VIOLATIONS(&bed, 0, MODEL_NONE);
}

/* A PDPTE is used for its PD's window page and for the window pages of 512 PTs. */
TEST_HOST(model_window, an_upper_entry_of_a_window_is_dropped_by_any_invlpg_but_its_pages_are_not)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    mmu_entry(&bed, bed.root, MMU_VA, 1);
    mmu_entry(&bed, bed.root, MMU_VA + level_span_bytes(2), 1);
    mmu_store(&bed, mmu_entry(&bed, bed.root, MMU_VA, 3), 0);
    model_invlpg(bed.m, vaddr(pt_window(S, MMU_VA)));
    MMU_EXPECT(&bed, pt_window(S, MMU_VA), MODEL_READ, MODEL_FAULT);
    MMU_EXPECT(&bed, pt_window(S, MMU_VA + level_span_bytes(2)), MODEL_READ, MODEL_STALE);
    MMU_EXPECT(&bed, address(S, S, index_of(MMU_VA, 4), index_of(MMU_VA, 3)), MODEL_READ, MODEL_STALE);
    mmu_load(&bed, bed.root, 0, false);
    MMU_EXPECT(&bed, pt_window(S, MMU_VA + level_span_bytes(2)), MODEL_READ, MODEL_FAULT);
    MMU_EXPECT(&bed, address(S, S, index_of(MMU_VA, 4), index_of(MMU_VA, 3)), MODEL_READ, MODEL_FAULT);
}

struct two_spaces {
    struct mmu_bed bed;
    pfn_t a, b;
};

/* Spaces a and b have another PT each at MMU_VA; the current root has opened a and then b. */
static struct two_spaces switched(const struct model_variant *variant)
{
    struct two_spaces t = {.bed = mmu_bed(variant)};
    t.a = mmu_root(&t.bed);
    t.b = mmu_root(&t.bed);
    mmu_map(&t.bed, t.a, MMU_VA, mmu_page(&t.bed, 1), MMU_RW);
    mmu_map(&t.bed, t.b, MMU_VA, mmu_page(&t.bed, 2), MMU_RW);
    mmu_store(&t.bed, slot_of(t.bed.root, F), mmu_value(t.a, MMU_SLOT));
    mmu_store(&t.bed, slot_of(t.bed.root, F), 0);
    mmu_store(&t.bed, slot_of(t.bed.root, F), mmu_value(t.b, MMU_SLOT));
    return t;
}

/* R8: each window page before its first use in an opening; INVLPG of another one, or none, is not enough. */
TEST_HOST(model_window, a_foreign_window_page_shows_the_old_space_until_its_own_invlpg)
{
    const uint64_t pages[] = {pt_window(F, MMU_VA), address(S, F, index_of(MMU_VA, 4), index_of(MMU_VA, 3)),
                              address(S, S, F, index_of(MMU_VA, 4)), address(S, S, S, F)};
    for (unsigned i = 0; i < ARRAY_LEN(pages) * MMU_MAKERS; i++) {
        struct two_spaces t = switched(mmu_makers[i / ARRAY_LEN(pages)]);
        uint64_t page = pages[i % ARRAY_LEN(pages)];
        MMU_EXPECT(&t.bed, page, MODEL_READ, MODEL_STALE);
        model_invlpg(t.bed.m, vaddr(page + PAGE_BYTES));
        MMU_EXPECT(&t.bed, page, MODEL_READ, MODEL_STALE);
        model_invlpg(t.bed.m, vaddr(page));
        MMU_EXPECT(&t.bed, page, MODEL_READ, MODEL_NONE);
        MMU_EXPECT_VIOLATIONS(&t.bed, 0, MODEL_NONE);
    }
}

/* More than a few pages: one CR3 load makes all of them right. */
TEST_HOST(model_window, a_cr3_load_makes_the_whole_window_right)
{
    struct two_spaces t = switched(&model_amd_tce);
    mmu_load(&t.bed, t.bed.root, 0, false);
    MMU_EXPECT(&t.bed, pt_window(F, MMU_VA), MODEL_READ, MODEL_NONE);
    MMU_EXPECT(&t.bed, address(S, S, S, F), MODEL_READ, MODEL_NONE);
}

/*
 * R9: store 0, then one INVLPG, and no walker passes the slot any more, by Intel's rules and AMD's without TCE. With
 * TCE the INVLPG must lead through the slot; that of the PML4's window page leads through the self slot alone.
 */
TEST_HOST(model_window, closing_takes_one_invlpg_which_with_tce_must_lead_through_the_slot)
{
    for (unsigned i = 0; i < MMU_MAKERS; i++) {
        struct mmu_bed bed = mmu_bed(mmu_makers[i]);
        pfn_t a = mmu_root(&bed);
        mmu_store(&bed, slot_of(bed.root, F), mmu_value(a, MMU_SLOT));
        mmu_store(&bed, slot_of(bed.root, F), 0);
        EXPECT(model_frame_is_held(bed.m, a, NULL));
        model_invlpg(bed.m, vaddr(address(S, S, S, F)));
        mmu_free(&bed, a);
        MMU_EXPECT_VIOLATIONS(&bed, bed.m->variant.tce ? 1 : 0, MODEL_FREED_WINDOW);
    }
}

/* SDM 4.10.2.3, 4.10.4.2, R12: another page size only after everything of the old one was flushed. */
TEST_HOST(model_window, a_page_size_changes_by_break_flush_make)
{
    enum { NO_BREAK, NO_FLUSH, BASE_ONLY, NO_WINDOW, ALL_PAGES, RELOAD, WAYS };
    for (unsigned way = 0; way < WAYS; way++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        mmu_map(&bed, bed.root, MMU_VA, mmu_page(&bed, 1), MMU_RW);
        mmu_map(&bed, bed.root, MMU_VA + PAGE_BYTES, mmu_page(&bed, 1), MMU_RW);
        paddr_t pde = mmu_entry(&bed, bed.root, MMU_VA, 2);
        if (way != NO_BREAK) {
            mmu_store(&bed, pde, 0);
        }
        if (way == BASE_ONLY || way == NO_WINDOW || way == ALL_PAGES) {
            model_invlpg(bed.m, vaddr(MMU_VA));
        }
        if (way == NO_WINDOW || way == ALL_PAGES) {
            model_invlpg(bed.m, vaddr(MMU_VA + PAGE_BYTES));
        }
        if (way == ALL_PAGES) {
            model_invlpg(bed.m, vaddr(pt_window(S, MMU_VA)));
        }
        if (way == RELOAD) {
            mmu_load(&bed, bed.root, 0, false);
        }
        mmu_store(&bed, pde, level_span_bytes(2) | MMU_RW | PTE_PS);
        MMU_EXPECT_VIOLATIONS(&bed, way < ALL_PAGES ? 1 : 0, MODEL_PAGE_SIZE);
    }
}

/* ... and back: one INVLPG drops a large page, another its window page. */
TEST_HOST(model_window, a_large_page_is_split_by_break_flush_make)
{
    for (unsigned flushes = 0; flushes <= 2; flushes++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        pfn_t table = mmu_table(&bed);
        paddr_t pde = mmu_entry(&bed, bed.root, MMU_VA, 2);
        mmu_store(&bed, pde, level_span_bytes(2) | MMU_RW | PTE_PS);
        mmu_store(&bed, pde, 0);
        for (unsigned i = 0; i < flushes; i++) {
            model_invlpg(bed.m, vaddr(i == 0 ? MMU_VA + 77ULL * PAGE_BYTES : pt_window(S, MMU_VA)));
        }
        mmu_store(&bed, pde, mmu_value(table, MMU_TABLE));
        MMU_EXPECT_VIOLATIONS(&bed, flushes < 2 ? 1 : 0, MODEL_PAGE_SIZE);
    }
}

/* R3: the window page of a large page shows its data; a write there would be a write into the data. */
TEST_HOST(model_window, the_window_of_a_large_page_is_not_a_table)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    mmu_store(&bed, mmu_entry(&bed, bed.root, MMU_VA, 2), level_span_bytes(2) | MMU_RW | PTE_PS);
    model_read64(bed.m, vaddr(pt_window(S, MMU_VA)));
    EXPECT_EQ(bed.m->of_rule[MODEL_LARGE_AS_TABLE], 1);
    EXPECT_EQ(bed.m->last.level, 1); /* its PDE, read as a PTE */
}

/* R4, SDM 4.9.2, 12.12: a large page's bit 7 is the PAT bit of its window page. */
TEST_HOST(model_window, a_large_pages_window_has_its_cache_type_only_when_the_pat_is_mirrored)
{
    static const uint8_t like_linux[] = {MODEL_WB, MODEL_WC, MODEL_UC_MINUS, MODEL_UC,
                                         MODEL_WB, MODEL_WP, MODEL_UC_MINUS, MODEL_WT};
    for (unsigned mirrored = 0; mirrored < 2; mirrored++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        if (mirrored == 0) {
            memcpy(bed.m->variant.pat, like_linux, sizeof like_linux);
        }
        mmu_store(&bed, mmu_entry(&bed, bed.root, MMU_VA, 2), level_span_bytes(2) | MMU_RW | PTE_PS | PTE_PWT);
        MMU_EXPECT_VIOLATIONS(&bed, mirrored != 0 ? 0 : 1, MODEL_CACHE_ALIAS);
    }
}

/* SDM 12.12.4: no frame with two types. */
TEST_HOST(model_window, one_frame_with_two_cache_types_is_reported)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t page = mmu_page(&bed, 1);
    paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, page, MMU_RW | PTE_PWT);
    mmu_store(&bed, pte, 0);
    model_invlpg(bed.m, vaddr(MMU_VA));
    mmu_map(&bed, bed.root, MMU_VA + PAGE_BYTES, page, MMU_RW); /* one after the other */
    MMU_EXPECT_VIOLATIONS(&bed, 0, MODEL_NONE);
    mmu_store(&bed, pte, mmu_value(page, MMU_RW | PTE_PWT));
    MMU_EXPECT_VIOLATIONS(&bed, 1, MODEL_CACHE_ALIAS);
}

/* R2: an entry that narrows rights is a read-only leaf when seen through a window (SDM 4.6, CR0.WP=1). */
TEST_HOST(model_window, a_borrowed_table_is_not_written_through_the_borrowers_window)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    paddr_t pde = mmu_entry(&bed, bed.root, MMU_VA, 2);
    mmu_store(&bed, pde, mmu_value(mmu_table(&bed), PTE_P | PTE_U));
    model_read64(bed.m, vaddr(pt_window(S, MMU_VA)));
    MMU_EXPECT_VIOLATIONS(&bed, 0, MODEL_NONE);
    model_write64(bed.m, vaddr(pt_window(S, MMU_VA)), 0);
    MMU_EXPECT_VIOLATIONS(&bed, 1, MODEL_READ_ONLY_TABLE);
    EXPECT(bed.m->last.table.v == paddr_to_pfn(pde).v && bed.m->last.index == index_of(MMU_VA, 2));
}

/* R1, R2, R18, R19, R23: stores that are wrong whatever is cached. */
TEST_HOST(model_window, stores_that_break_a_rule_are_reported_at_once)
{
    enum { GLOBAL, UNCACHED, USER_SLOT, EXECUTABLE_SLOT, WRONG_SELF, BANK, ITSELF, OPEN_ONE, MOVED, UNZEROED, DEAD,
           CASES };
    static const enum model_rule rules[CASES] = {
        [GLOBAL] = MODEL_GLOBAL_TABLE,    [UNCACHED] = MODEL_UNCACHED_TABLE, [USER_SLOT] = MODEL_SLOT_BITS,
        [EXECUTABLE_SLOT] = MODEL_SLOT_BITS, [WRONG_SELF] = MODEL_SLOT_BITS, [BANK] = MODEL_SLOT_RESERVED,
        [ITSELF] = MODEL_WINDOW_NESTED,   [OPEN_ONE] = MODEL_WINDOW_NESTED,  [MOVED] = MODEL_WINDOW_MOVED,
        [UNZEROED] = MODEL_DIRTY_TABLE,   [DEAD] = MODEL_DIRTY_TABLE,
    };
    for (unsigned i = 0; i < CASES; i++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        pfn_t a = mmu_root(&bed), table = mmu_table(&bed), fresh;
        paddr_t pde = mmu_entry(&bed, bed.root, MMU_VA, 2);
        model_phys_write64(bed.m, slot_of(a, F), i == OPEN_ONE ? mmu_value(bed.root, MMU_SLOT) : 0);
        if (i == MOVED) {
            mmu_store(&bed, slot_of(bed.root, F), mmu_value(mmu_root(&bed), MMU_SLOT));
        }
        REQUIRE(pmm_alloc(&bed.m->pmm, PMM_KERNEL, &fresh) == STATUS_OK);
        const struct {
            paddr_t at;
            uint64_t value;
        } store[CASES] = {
            [GLOBAL] = {pde, mmu_value(table, MMU_TABLE | PTE_G)},
            [UNCACHED] = {pde, mmu_value(table, MMU_TABLE | PTE_PCD)},
            [USER_SLOT] = {slot_of(bed.root, F), mmu_value(a, MMU_SLOT | PTE_U)},
            [EXECUTABLE_SLOT] = {slot_of(bed.root, F), mmu_value(a, MMU_SLOT & ~PTE_XD)},
            [WRONG_SELF] = {slot_of(bed.root, S), mmu_value(a, MMU_SLOT)},
            [BANK] = {slot_of(bed.root, LAYOUT_SLOT_BANK_FIRST), mmu_value(table, MMU_TABLE)},
            [ITSELF] = {slot_of(bed.root, F), mmu_value(bed.root, MMU_SLOT)},
            [OPEN_ONE] = {slot_of(bed.root, F), mmu_value(a, MMU_SLOT)},
            [MOVED] = {slot_of(bed.root, F), mmu_value(a, MMU_SLOT)},
            [UNZEROED] = {pde, mmu_value(fresh, MMU_TABLE)},
            [DEAD] = {mmu_entry(&bed, bed.root, MMU_VA, 3), mmu_value(fresh, MMU_TABLE)},
        };
        mmu_store(&bed, store[i].at, store[i].value);
        MMU_EXPECT_VIOLATIONS(&bed, 1, rules[i]);
    }
}

/* R18: no switch while open. */
TEST_HOST(model_window, cr3_does_not_leave_an_open_window)
{
    for (unsigned closed = 0; closed < 2; closed++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        pfn_t a = mmu_root(&bed);
        mmu_store(&bed, slot_of(bed.root, F), mmu_value(a, MMU_SLOT));
        mmu_load(&bed, bed.root, 0, false); /* the same root: no switch */
        MMU_EXPECT_VIOLATIONS(&bed, 0, MODEL_NONE);
        if (closed != 0) {
            mmu_store(&bed, slot_of(bed.root, F), 0);
        }
        mmu_load(&bed, a, 0, false);
        MMU_EXPECT_VIOLATIONS(&bed, closed != 0 ? 0 : 1, MODEL_WINDOW_OPEN);
    }
}
