/* The model machine itself: what its MMU keeps, what makes it forget, and what it calls a violation. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "model/model.h"
#include "unit/test.h"

#define DATA_PAGE (LAYOUT_IMAGE_BASE + 2ULL * PAGE_BYTES)

static struct model *start(void)
{
    struct model *m = model_start(16 * MIB);
    model_want_violations(m);
    return m;
}

static paddr_t entry(struct model *m, uint64_t va, unsigned level)
{
    return model_entry_at(m, m->boot_root, vaddr(va), level);
}

static void put(struct model *m, paddr_t at, uint64_t value) { model_phys_write64(m, at, value); }

/* Exactly one more violation, whose text holds `words`. */
static void expect_violation(struct model *m, unsigned count, const char *words)
{
    EXPECT_EQ(m->violations, count);
    bool found = false;
    for (const char *c = m->last_violation; *c != '\0'; c++) {
        found = found || strncmp(c, words, strlen(words)) == 0;
    }
    if (!EXPECT(found)) {
        test_note("wanted \"%s\", got: %s", words, m->last_violation);
    }
}

TEST_HOST(model, ordinary_accesses_are_no_violations)
{
    struct model *m = start();
    arch_write64(vaddr(DATA_PAGE + 8), 42);
    EXPECT_EQ(arch_read64(vaddr(DATA_PAGE + 8)), 42);
    EXPECT_EQ(model_phys_read64(m, entry(m, DATA_PAGE, 1)) & (PTE_A | PTE_D), PTE_A | PTE_D);
    EXPECT_EQ(model_phys_read64(m, entry(m, DATA_PAGE, 3)) & PTE_A, PTE_A);
    EXPECT_EQ(m->violations, 0);
}

TEST_HOST(model, a_kept_translation_wins_until_invlpg)
{
    struct model *m = start();
    paddr_t at = entry(m, DATA_PAGE, 1);
    uint64_t old = model_phys_read64(m, at);
    arch_write64(vaddr(DATA_PAGE), 1);
    put(m, at, pte_make(m->image_pt, old & ~PTE_FRAME_MASK).v);
    EXPECT_EQ(arch_read64(vaddr(DATA_PAGE)), 1); /* the old frame */
    expect_violation(m, 1, "kept translation");
    arch_invlpg(vaddr(DATA_PAGE + PAGE_BYTES)); /* another page: does not help */
    arch_read64(vaddr(DATA_PAGE));
    expect_violation(m, 2, "kept translation");
    arch_invlpg(vaddr(DATA_PAGE + 100));
    EXPECT(arch_read64(vaddr(DATA_PAGE)) != 1);
    EXPECT_EQ(m->violations, 2);
}

TEST_HOST(model, rights_of_a_kept_translation_count_too)
{
    struct model *m = start();
    paddr_t at = entry(m, DATA_PAGE, 1);
    arch_read64(vaddr(DATA_PAGE));
    put(m, at, model_phys_read64(m, at) & ~PTE_W);
    arch_write64(vaddr(DATA_PAGE), 1);
    expect_violation(m, 1, "kept translation");
    arch_root_load(arch_root());
    arch_write64(vaddr(DATA_PAGE), 2);
    expect_violation(m, 2, "read-only");
    EXPECT(model_can_access(m, vaddr(DATA_PAGE), false) && !model_can_access(m, vaddr(DATA_PAGE), true));
}

TEST_HOST(model, rights_are_narrowed_by_every_level)
{
    for (unsigned level = 2; level <= PAGING_LEVELS; level++) {
        struct model *m = start();
        paddr_t at = entry(m, DATA_PAGE, level);
        put(m, at, model_phys_read64(m, at) & ~PTE_W);
        arch_write64(vaddr(DATA_PAGE), 1);
        expect_violation(m, 1, "read-only");
    }
}

/* A page never read before, behind an upper entry that was: the kept entry is used. */
TEST_HOST(model, kept_upper_entries_win_until_any_invlpg)
{
    for (unsigned level = 2; level < PAGING_LEVELS; level++) {
        struct model *m = start();
        arch_read64(vaddr(LAYOUT_IMAGE_BASE));
        paddr_t at = entry(m, DATA_PAGE, level);
        uint64_t old = model_phys_read64(m, at);
        put(m, at, 0);
        arch_read64(vaddr(DATA_PAGE));
        expect_violation(m, 1, "kept upper entries");
        put(m, at, old);
        arch_invlpg(vaddr(DATA_PAGE));
        put(m, at, 0);
        arch_read64(vaddr(DATA_PAGE)); /* nothing was kept: a plain page fault */
        expect_violation(m, 2, "page fault");
    }
}

/* The window pages are translations like others: a table that was replaced still appears there. */
TEST_HOST(model, a_window_page_keeps_showing_the_old_table)
{
    struct model *m = start();
    paddr_t slot = paddr(pfn_to_paddr(m->boot_root).v + LAYOUT_SLOT_FOREIGN * (uint64_t)ENTRY_BYTES);
    vaddr_t window = vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF) + LAYOUT_SLOT_SELF * level_span_bytes(3) +
                           LAYOUT_SLOT_SELF * level_span_bytes(2) + LAYOUT_SLOT_FOREIGN * level_span_bytes(1));
    put(m, slot, pte_make(m->boot_root, PTE_P | PTE_W | PTE_XD).v);
    arch_table_load(window);
    EXPECT_EQ(m->violations, 0);
    put(m, slot, pte_make(m->image_pt, PTE_P | PTE_W | PTE_XD).v);
    arch_table_load(window);
    expect_violation(m, 1, "kept translation");
    arch_invlpg(window);
    EXPECT_EQ(arch_table_load(window).v, model_phys_read64(m, pfn_to_paddr(m->image_pt)));
    EXPECT_EQ(m->violations, 1);
}

TEST_HOST(model, what_is_free_or_no_memory_is_not_touched_in_silence)
{
    struct model *m = start();
    paddr_t at = entry(m, DATA_PAGE, 1);
    uint64_t bits = model_phys_read64(m, at) & ~PTE_FRAME_MASK;
    put(m, at, pte_make(pfn(m->ram.v - 1), bits).v);
    arch_read64(vaddr(DATA_PAGE));
    expect_violation(m, 1, "not in use");
    arch_invlpg(vaddr(DATA_PAGE));
    expect_violation(m, 2, "free already");
    put(m, at, pte_make(pfn(m->ram.v + 5), bits).v); /* no RAM there */
    arch_read64(vaddr(DATA_PAGE));
    expect_violation(m, 3, "not in use");
    at = entry(m, DATA_PAGE, 2);
    put(m, at, pte_make(pfn(m->ram.v - 1), PTE_P | PTE_W).v);
    arch_root_load(arch_root());
    arch_read64(vaddr(DATA_PAGE));
    EXPECT(m->violations > 3);
}

TEST_HOST(model, a_frame_that_goes_back_before_the_flush_is_seen)
{
    for (unsigned by_reload = 0; by_reload < 2; by_reload++) {
        struct model *m = start();
        pfn_t frame;
        REQUIRE(pmm_alloc(&m->pmm, 0, &frame) == STATUS_OK);
        paddr_t at = entry(m, DATA_PAGE, 1);
        put(m, at, pte_make(frame, PTE_P | PTE_W).v);
        arch_write64(vaddr(DATA_PAGE), 1);
        put(m, at, 0);
        EXPECT_EQ(pmm_free(&m->pmm, frame), STATUS_OK);
        EXPECT_EQ(m->violations, 0);
        if (by_reload != 0) {
            arch_root_load(arch_root());
        } else {
            arch_invlpg(vaddr(DATA_PAGE));
        }
        expect_violation(m, 1, "free already");
    }
}

TEST_HOST(model, a_table_that_goes_back_before_the_flush_is_seen)
{
    struct model *m = start();
    pfn_t frame;
    REQUIRE(pmm_alloc(&m->pmm, 0, &frame) == STATUS_OK);
    paddr_t at = entry(m, DATA_PAGE, 2);
    memcpy(model_frame(m, frame), model_frame(m, m->image_pt), PAGE_BYTES);
    put(m, at, pte_make(frame, PTE_P | PTE_W).v);
    arch_write64(vaddr(DATA_PAGE), 1);
    put(m, at, 0);
    EXPECT_EQ(pmm_free(&m->pmm, frame), STATUS_OK);
    arch_invlpg(vaddr(0)); /* any address drops the upper entries */
    expect_violation(m, 1, "its table");
}

TEST_HOST(model, faults_of_the_address_are_violations)
{
    struct model *m = start();
    arch_read64(vaddr(0x0000800000000000));
    expect_violation(m, 1, "not canonical");
    arch_read64(vaddr(0x0000123400000000));
    expect_violation(m, 2, "page fault");
    EXPECT(!model_can_access(m, vaddr(0x0000123400000000), false));
}
