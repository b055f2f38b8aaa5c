/* Histories: several CPUs (SDM 3A 4.10.5), and frames that go back (4.10.4.4; APM 2 5.5). */
#include "unit/mmu_bed.h"

static void use(struct mmu_bed *bed, unsigned cpu)
{
    model_use_cpu(bed->m, cpu);
}

/* CPU 1 runs on the same root as CPU 0, or on another one. */
static void start_cpu_1(struct mmu_bed *bed, pfn_t root)
{
    use(bed, 1);
    mmu_load(bed, root, 0, false);
    use(bed, 0);
}

static paddr_t slot_of(pfn_t root, uint64_t slot)
{
    return paddr(pfn_to_paddr(root).v + slot * ENTRY_BYTES);
}

/* Flush the translation and the window page of its PT. */
static void flush_all(struct mmu_bed *bed)
{
    model_invlpg(bed->m, vaddr(MMU_VA));
    model_invlpg(bed->m, vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF) + MMU_VA / PAGE_BYTES * ENTRY_BYTES));
}

/* SDM 4.10.5: INVLPG and MOV CR3 act on their own CPU. */
TEST_HOST(model_cpus, a_flush_does_not_reach_another_cpu)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    start_cpu_1(&bed, bed.root);
    paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, mmu_page(&bed, 1), MMU_RW);
    mmu_store(&bed, pte, 0);
    model_invlpg(bed.m, vaddr(MMU_VA));
    mmu_load(&bed, bed.root, 0, false);
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_FAULT);
    use(&bed, 1);
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_STALE);
    model_invlpg(bed.m, vaddr(MMU_VA));
    MMU_EXPECT(&bed, MMU_VA, MODEL_READ, MODEL_FAULT);
}

/* SDM 4.10.5, R13: unhook, invalidate on all CPUs, free; in no other order. */
TEST_HOST(model_cpus, a_frame_goes_back_when_the_last_cpu_has_flushed)
{
    enum { FREE_FIRST, FREE_BEFORE_FLUSH, FREE_BEFORE_CPU_1, FREE_LAST, ORDERS };
    for (unsigned order = 0; order < ORDERS; order++) {
        struct mmu_bed bed = mmu_bed(mmu_makers[order % MMU_MAKERS]);
        start_cpu_1(&bed, bed.root);
        pfn_t page = mmu_page(&bed, 1);
        paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, page, MMU_RW);
        for (unsigned step = 0; step < ORDERS; step++) {
            if (step == order) {
                mmu_free(&bed, page);
            }
            if (step == 0) {
                mmu_store(&bed, pte, 0);
            } else if (step < 3) {
                use(&bed, step - 1);
                model_invlpg(bed.m, vaddr(MMU_VA));
            }
        }
        MMU_EXPECT_VIOLATIONS(&bed, order == FREE_LAST ? 0 : 1, MODEL_FREED_PAGE);
        EXPECT(order == FREE_LAST || (bed.m->last.frame.v == page.v && bed.m->last.va.v == MMU_VA));
        EXPECT_EQ(bed.m->last.cpu, order == FREE_BEFORE_CPU_1 ? 1 : 0);
    }
}

/* R14: the same for a table, which a CPU may hold that never used it. */
TEST_HOST(model_cpus, a_lazy_cpu_may_walk_a_freed_table)
{
    for (unsigned flushed = 0; flushed < 2; flushed++) {
        struct mmu_bed bed = mmu_bed(&model_amd);
        start_cpu_1(&bed, bed.root);
        paddr_t pde = mmu_entry(&bed, bed.root, MMU_VA, 2);
        pfn_t table = paddr_to_pfn(mmu_entry(&bed, bed.root, MMU_VA, 1));
        mmu_store(&bed, pde, 0);
        flush_all(&bed);
        if (flushed != 0) {
            use(&bed, 1);
            flush_all(&bed);
            use(&bed, 0);
        }
        mmu_free(&bed, table);
        MMU_EXPECT_VIOLATIONS(&bed, flushed != 0 ? 0 : 1, MODEL_FREED_TABLE);
        EXPECT(flushed != 0 || (bed.m->last.cpu == 1 && bed.m->last.level == 2));
    }
}

/* A CPU that came to the root after the entry went, or is off, or left the root by a flush, holds nothing. */
TEST_HOST(model_cpus, a_cpu_that_was_not_there_holds_nothing)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t other = mmu_root(&bed), page = mmu_page(&bed, 1);
    start_cpu_1(&bed, bed.root);
    paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, page, MMU_RW);
    start_cpu_1(&bed, other); /* left in time */
    mmu_store(&bed, pte, 0);
    model_invlpg(bed.m, vaddr(MMU_VA));
    start_cpu_1(&bed, bed.root); /* came too late */
    mmu_free(&bed, page);
    MMU_EXPECT_VIOLATIONS(&bed, 0, MODEL_NONE);
}

/* R15: the other CPU's root has its foreign slot on the dying space: its walker follows it, and sets A bits there. */
TEST_HOST(model_cpus, another_cpus_foreign_slot_leads_into_a_dying_space)
{
    for (unsigned flushed = 0; flushed < 2; flushed++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        pfn_t other = mmu_root(&bed), dying = mmu_root(&bed);
        start_cpu_1(&bed, other);
        paddr_t pde = mmu_entry(&bed, dying, MMU_VA, 2);
        pfn_t pd = paddr_to_pfn(pde);
        use(&bed, 1);
        mmu_store(&bed, slot_of(other, LAYOUT_SLOT_FOREIGN), mmu_value(dying, MMU_SLOT));
        mmu_store(&bed, slot_of(other, LAYOUT_SLOT_FOREIGN), 0);
        use(&bed, 0);
        mmu_store(&bed, mmu_entry(&bed, dying, MMU_VA, 3), 0);
        mmu_load(&bed, bed.root, 0, false);
        if (flushed != 0) {
            use(&bed, 1);
            mmu_load(&bed, other, 0, false);
            use(&bed, 0);
        }
        mmu_free(&bed, pd);
        mmu_free(&bed, dying);
        MMU_EXPECT_VIOLATIONS(&bed, flushed != 0 ? 0 : 2, MODEL_FREED_WINDOW);
        EXPECT(flushed != 0 || bed.m->last.cpu == 1);
    }
}

/* A frame that goes back by a way the model does not see is judged when it comes into use again. */
TEST_HOST(model_cpus, a_frame_that_comes_into_use_again_is_judged_too)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t page = mmu_page(&bed, 1);
    paddr_t pte = mmu_map(&bed, bed.root, MMU_VA, page, MMU_RW);
    mmu_store(&bed, pte, 0);
    model_frame_taken(bed.m, page);
    MMU_EXPECT_VIOLATIONS(&bed, 1, MODEL_FREED_PAGE);
    model_invlpg(bed.m, vaddr(MMU_VA));
    model_frame_taken(bed.m, page);
    MMU_EXPECT_VIOLATIONS(&bed, 1, MODEL_FREED_PAGE);
}

/* Part of a large page is named by it too. */
TEST_HOST(model_cpus, a_frame_inside_a_large_page_is_named_by_it)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t first = {PAGES_PER_2M * 3};
    paddr_t pde = mmu_entry(&bed, bed.root, MMU_VA, 2);
    mmu_store(&bed, pde, mmu_value(first, MMU_RW | PTE_PS));
    mmu_store(&bed, pde, 0);
    EXPECT(model_frame_is_held(bed.m, pfn_add(first, 99), NULL));
    EXPECT(!model_frame_is_held(bed.m, pfn_add(first, PAGES_PER_2M), NULL));
    flush_all(&bed);
    EXPECT(!model_frame_is_held(bed.m, pfn_add(first, 99), NULL));
}

/* R17: the slot lies in a PML4 that several CPUs may share. */
TEST_HOST(model_cpus, a_window_belongs_to_the_cpu_that_opened_it)
{
    const uint64_t self = LAYOUT_SLOT_SELF; /* the window page of the PML4 */
    const vaddr_t window = vaddr(LAYOUT_SLOT_BASE(self) + self * level_span_bytes(3) + self * level_span_bytes(2) +
                                 LAYOUT_SLOT_FOREIGN * level_span_bytes(1));
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t a = mmu_root(&bed);
    start_cpu_1(&bed, bed.root);
    mmu_store(&bed, slot_of(bed.root, LAYOUT_SLOT_FOREIGN), mmu_value(a, MMU_SLOT));
    use(&bed, 1);
    mmu_store(&bed, slot_of(bed.root, LAYOUT_SLOT_FOREIGN), 0);
    MMU_EXPECT_VIOLATIONS(&bed, 1, MODEL_WINDOW_TAKEN);
    mmu_store(&bed, slot_of(bed.root, LAYOUT_SLOT_FOREIGN), mmu_value(a, MMU_SLOT)); /* closed: anyone's */
    model_read64(bed.m, window);
    MMU_EXPECT_VIOLATIONS(&bed, 1, MODEL_WINDOW_TAKEN);
    use(&bed, 0);
    model_invlpg(bed.m, window);
    model_read64(bed.m, window);
    MMU_EXPECT_VIOLATIONS(&bed, 2, MODEL_WINDOW_TAKEN);
}

/* R18: who opened it closes it; another CPU may come and go meanwhile. */
TEST_HOST(model_cpus, an_open_window_is_left_by_others_but_not_by_its_opener)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t a = mmu_root(&bed), other = mmu_root(&bed);
    start_cpu_1(&bed, bed.root);
    mmu_store(&bed, slot_of(bed.root, LAYOUT_SLOT_FOREIGN), mmu_value(a, MMU_SLOT));
    start_cpu_1(&bed, other);
    MMU_EXPECT_VIOLATIONS(&bed, 0, MODEL_NONE);
    mmu_load(&bed, other, 0, false);
    MMU_EXPECT_VIOLATIONS(&bed, 1, MODEL_WINDOW_OPEN);
}

static bool has_slot, has_tables;
static bool is_locked(bool table) { return table ? has_tables : has_slot; }

/* R17: the slot is stored with one lock, what it shows is used with both. */
TEST_HOST(model_cpus, a_window_is_used_with_its_locks)
{
    struct mmu_bed bed = mmu_bed(&model_intel);
    pfn_t a = mmu_root(&bed);
    const uint64_t self = LAYOUT_SLOT_SELF;
    const vaddr_t window = vaddr(LAYOUT_SLOT_BASE(self) + self * level_span_bytes(3) + self * level_span_bytes(2) +
                                 LAYOUT_SLOT_FOREIGN * level_span_bytes(1));
    bed.m->is_locked = is_locked;
    has_slot = true;
    has_tables = false;
    mmu_store(&bed, slot_of(bed.root, LAYOUT_SLOT_FOREIGN), mmu_value(a, MMU_SLOT));
    MMU_EXPECT_VIOLATIONS(&bed, 0, MODEL_NONE);
    model_read64(bed.m, window);
    MMU_EXPECT_VIOLATIONS(&bed, 1, MODEL_WINDOW_UNLOCKED);
    has_tables = true;
    model_invlpg(bed.m, window);
    model_read64(bed.m, window);
    MMU_EXPECT_VIOLATIONS(&bed, 1, MODEL_WINDOW_UNLOCKED);
    has_slot = false;
    mmu_store(&bed, slot_of(bed.root, LAYOUT_SLOT_FOREIGN), 0);
    MMU_EXPECT_VIOLATIONS(&bed, 2, MODEL_WINDOW_UNLOCKED);
}

/* A temporary mapping is one CPU's: another may hold its translation, and never uses it. */
TEST_HOST(model_cpus, a_temporary_translation_counts_where_it_is_used)
{
    const uint64_t temporary = LAYOUT_TEMP_BASE;
    for (unsigned owner = 0; owner < 2; owner++) {
        struct mmu_bed bed = mmu_bed(&model_intel);
        bed.m->temporary_cpu = owner;
        start_cpu_1(&bed, bed.root);
        pfn_t page = mmu_page(&bed, 1);
        paddr_t pte = mmu_map(&bed, bed.root, temporary, page, MMU_RW);
        mmu_store(&bed, pte, 0);
        model_invlpg(bed.m, vaddr(temporary)); /* on CPU 0 */
        mmu_free(&bed, page);
        MMU_EXPECT_VIOLATIONS(&bed, owner, MODEL_FREED_PAGE);
    }
}
