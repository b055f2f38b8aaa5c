/* The model machine itself: what its MMU keeps, what makes it forget, and what it calls a violation. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "model/model.h"
#include "model/overheard.h"
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

static void put(struct model *m, paddr_t at, uint64_t value)
{
    model_phys_store64(m, at, value);
}

/* So many violations so far, the last one of this rule. */
static void expect_violation(struct model *m, unsigned count, enum model_rule rule)
{
    EXPECT_EQ(m->violations, count);
    if (!EXPECT(m->last.rule == rule)) {
        test_note("wanted \"%s\", got: %s", model_rule_name(rule), m->last_violation);
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
    expect_violation(m, 1, MODEL_STALE);
    arch_invlpg(vaddr(DATA_PAGE + PAGE_BYTES)); /* another page: does not help */
    arch_read64(vaddr(DATA_PAGE));
    expect_violation(m, 2, MODEL_STALE);
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
    expect_violation(m, 1, MODEL_STALE);
    arch_root_load(arch_root());
    arch_write64(vaddr(DATA_PAGE), 2);
    expect_violation(m, 2, MODEL_FAULT_RIGHTS);
    EXPECT(model_can_access(m, vaddr(DATA_PAGE), false) && !model_can_access(m, vaddr(DATA_PAGE), true));
}

TEST_HOST(model, rights_are_narrowed_by_every_level)
{
    for (unsigned level = 2; level <= PAGING_LEVELS; level++) {
        struct model *m = start();
        paddr_t at = entry(m, DATA_PAGE, level);
        model_phys_write64(m, at, model_phys_read64(m, at) & ~PTE_W);
        arch_write64(vaddr(DATA_PAGE), 1);
        expect_violation(m, 1, MODEL_FAULT_RIGHTS);
    }
}

TEST_HOST(model, what_is_free_or_no_memory_is_not_touched_in_silence)
{
    struct model *m = start();
    paddr_t at = entry(m, DATA_PAGE, 1);
    uint64_t bits = model_phys_read64(m, at) & ~PTE_FRAME_MASK;
    model_phys_write64(m, at, pte_make(pfn(m->ram.v - 1), bits).v);
    arch_read64(vaddr(DATA_PAGE));
    expect_violation(m, 1, MODEL_DEAD_FRAME);
    model_phys_write64(m, at, pte_make(pfn(m->ram.v + 5), bits).v); /* no RAM there */
    arch_read64(vaddr(DATA_PAGE));
    expect_violation(m, 2, MODEL_DEAD_FRAME);
    at = entry(m, DATA_PAGE, 2);
    model_phys_write64(m, at, pte_make(pfn(m->ram.v - 1), PTE_P | PTE_W).v);
    arch_read64(vaddr(DATA_PAGE));
    expect_violation(m, 3, MODEL_DEAD_FRAME);
    model_root_load(m, pfn_to_paddr(pfn(m->ram.v - 1)));
    EXPECT_EQ(m->of_rule[MODEL_BAD_ROOT], 1);
}

/* The calls of the PMM are overheard, whatever the flush that comes afterwards. */
TEST_HOST(model, a_frame_that_goes_back_before_the_flush_is_seen)
{
    for (unsigned by_release = 0; by_release < 2; by_release++) {
        struct model *m = start();
        pfn_t frame;
        REQUIRE(pmm_alloc(&m->pmm, 0, &frame) == STATUS_OK);
        paddr_t at = entry(m, DATA_PAGE, 1);
        put(m, at, pte_make(frame, PTE_P | PTE_W).v);
        arch_write64(vaddr(DATA_PAGE), 1);
        put(m, at, 0);
        EXPECT_EQ(by_release != 0 ? model_pmm_release(&m->pmm, frame, NULL) : model_pmm_free(&m->pmm, frame),
                  STATUS_OK);
        expect_violation(m, m->of_rule[MODEL_STALE] + 1, MODEL_FREED_PAGE);
        EXPECT(m->last.frame.v == frame.v && m->last.va.v == DATA_PAGE && m->last.old_value.v != 0);
    }
}

TEST_HOST(model, frames_that_go_back_together_are_judged_one_by_one)
{
    for (unsigned way = 0; way < 2; way++) {
        struct model *m = start();
        pfn_t frames[3];
        npages_t done = {0};
        REQUIRE(model_pmm_alloc_many(&m->pmm, 0, frames, npages(2)) == STATUS_OK);
        if (way == 1) {
            REQUIRE(pmm_alloc_run(&m->pmm, 0, npages(2), npages(1), npages(0), PMM_NO_LIMIT, frames) == STATUS_OK);
            frames[1] = pfn_add(frames[0], 1);
        }
        frames[2] = pfn(0); /* reserved: refused */
        model_phys_write64(m, entry(m, DATA_PAGE, 1), pte_make(frames[1], PTE_P | PTE_W).v);
        if (way == 0) {
            test_expect_reports(1);
            EXPECT_EQ(model_pmm_free_many(&m->pmm, frames, npages(3), &done), STATUS_MISUSE);
            EXPECT_EQ(done.v, 2);
        } else {
            EXPECT_EQ(model_pmm_free_run(&m->pmm, frames[0], npages(2)), STATUS_OK);
        }
        expect_violation(m, 1, MODEL_FREED_PAGE);
        EXPECT_EQ(m->last.frame.v, frames[1].v);
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
    put(m, at, 0);
    EXPECT_EQ(model_pmm_free(&m->pmm, frame), STATUS_OK);
    expect_violation(m, 1, MODEL_FREED_TABLE);
}

/* A frame shared by two is freed by the last. */
TEST_HOST(model, a_release_that_frees_nothing_is_not_judged)
{
    struct model *m = start();
    pfn_t frame;
    REQUIRE(pmm_alloc(&m->pmm, 0, &frame) == STATUS_OK);
    REQUIRE(pmm_retain(&m->pmm, frame) == STATUS_OK);
    paddr_t at = entry(m, DATA_PAGE, 1);
    model_phys_write64(m, at, pte_make(frame, PTE_P | PTE_W).v);
    EXPECT_EQ(model_pmm_release(&m->pmm, frame, NULL), STATUS_OK);
    EXPECT_EQ(m->violations, 0);
    EXPECT_EQ(model_pmm_release(&m->pmm, frame, NULL), STATUS_OK); /* while it is mapped */
    expect_violation(m, 1, MODEL_FREED_PAGE);
}

TEST_HOST(model, faults_of_the_address_are_violations)
{
    struct model *m = start();
    arch_read64(vaddr(0x0000800000000000));
    expect_violation(m, 1, MODEL_FAULT_CANONICAL);
    arch_read64(vaddr(0x0000123400000000));
    expect_violation(m, 2, MODEL_FAULT);
    EXPECT(!model_can_access(m, vaddr(0x0000123400000000), false));
}
