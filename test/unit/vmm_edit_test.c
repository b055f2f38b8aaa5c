/*
 * What frames a call: one edit at a time, locks in order, the foreign window's rules (R15, R17, R18), who must flush,
 * and tables that the PMM does not know. Host only: it says of CPUs that they run, and breaks physical memory.
 */
#include "arch/layout.h"
#include "model/model.h"
#include "pmm/pmm_pressure.h"
#include "unit/vmm_bed.h"
#include "vmm/foreign.h"

enum { RW = VMM_READ | VMM_WRITE };

static const pfn_t device = {0x80000000};
static const struct vmm_cpus another_cpu = {2};

static enum status map_one(struct vmm_bed *bed, struct space *space, uint64_t page)
{
    return vmm_map_frames(bed->vmm, space, vaddr_add_pages(vaddr(VA_PRIVATE), page), device, npages(1), RW, false);
}

static enum status unmap_some(struct vmm_bed *bed, struct space *space, uint64_t page, uint64_t pages)
{
    return vmm_unmap(bed->vmm, space, vaddr_add_pages(vaddr(VA_PRIVATE), page), npages(pages));
}

TEST_HOST(vmm_edit, a_space_is_never_opened_on_itself)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    const uint64_t stores = bed.vmm->counters.table_stores;
    test_expect_reports(1);
    EXPECT_EQ(foreign_open(bed.vmm, &bed.a), STATUS_MISUSE);
    EXPECT_EQ(bed.vmm->counters.table_stores, stores);
    EXPECT(bed.vmm->foreign.space == NULL && bed.a.opens == NULL);
    vmm_bed_close(&bed);
}

/* As if another CPU ran in it and had its window open: through it, ours would show what that one shows. */
TEST_HOST(vmm_edit, a_space_whose_own_window_is_open_is_not_opened)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    bed.a.opens = &bed.b;
    test_expect_reports(3);
    EXPECT_EQ(map_one(&bed, &bed.a, 0), STATUS_MISUSE);
    EXPECT_EQ(unmap_some(&bed, &bed.a, 0, 1), STATUS_MISUSE);
    struct vmm_walk w;
    EXPECT_EQ(vmm_translate(bed.vmm, &bed.a, vaddr(VA_PRIVATE), &w), STATUS_MISUSE);
    EXPECT_EQ(vmm_check(bed.vmm, NULL), STATUS_CORRUPT); /* VMM-I2: its slot is 0 */
    bed.a.opens = NULL;
    EXPECT_OK(map_one(&bed, &bed.a, 0)); /* nothing is locked, nothing is being edited */
    vmm_bed_close(&bed);
}

TEST_HOST(vmm_edit, the_slot_is_known_to_the_space_that_it_is_in)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(map_one(&bed, &bed.b, 0));
    EXPECT(bed.a.opens == &bed.b && bed.b.opens == NULL);
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_switch(&bed, &bed.b);
    EXPECT(bed.a.opens == NULL && bed.vmm->foreign.space == NULL);
    EXPECT(bed.a.cpus.mask == 0 && bed.b.cpus.mask == bed.vmm->online.mask);
    vmm_bed_close(&bed);
}

/* R15: every CPU on the opener's PML4 may walk into the space that it opens. */
TEST_HOST(vmm_edit, all_cpus_on_the_opener_are_noted_and_flushed_when_tables_go)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.b);
    bed.b.cpus.mask |= another_cpu.mask;
    EXPECT_EQ(bed.a.reached.mask, 0);
    EXPECT_OK(map_one(&bed, &bed.a, 0));
    EXPECT_OK(map_one(&bed, &bed.a, 1));
    EXPECT_EQ(bed.a.reached.mask, bed.b.cpus.mask);
    bed.b.cpus = bed.vmm->online; /* it went elsewhere, without a word */
    const struct vmm_counters was = bed.vmm->counters;
    EXPECT_OK(unmap_some(&bed, &bed.a, 0, 1)); /* no table goes: nobody runs in the space */
    EXPECT(bed.vmm->counters.ipis == was.ipis && bed.vmm->counters.invlpg == was.invlpg);
    EXPECT_OK(unmap_some(&bed, &bed.a, 1, 1));
    EXPECT_EQ(bed.vmm->counters.ipis, was.ipis + 1); /* three tables, one message */
    EXPECT_EQ(bed.vmm->counters.invlpg, was.invlpg + 3 * 2); /* in both windows, since others are told */
    vmm_bed_close(&bed);
}

TEST_HOST(vmm_edit, pages_are_flushed_on_all_cpus_that_run_in_the_space)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(map_one(&bed, &bed.a, 0));
    EXPECT_OK(map_one(&bed, &bed.a, 1));
    bed.a.cpus = another_cpu;
    const uint64_t ipis = bed.vmm->counters.ipis;
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(2), RW)); /* no change */
    EXPECT_EQ(bed.vmm->counters.ipis, ipis);
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(2), VMM_READ));
    EXPECT_EQ(bed.vmm->counters.ipis, ipis + 1);
    EXPECT_OK(unmap_some(&bed, &bed.a, 0, 1));
    EXPECT_EQ(bed.vmm->counters.ipis, ipis + 2);
    EXPECT_EQ(bed.vmm->gather.cpus.mask, 0);
    bed.a.cpus.mask = 0;
    /* The kernel half is everybody's. */
    vaddr_t base;
    EXPECT_OK(kpages_alloc(bed.vmm, npages(1), ARENA_ALIGN_PAGE, 0, "test", &base));
    bed.vmm->online.mask |= another_cpu.mask;
    EXPECT_OK(kpages_free(bed.vmm, base));
    EXPECT_EQ(bed.vmm->counters.ipis, ipis + 3);
    bed.vmm->online.mask &= ~another_cpu.mask;
    vmm_bed_close(&bed);
}

/* ---- One at a time ---- */

struct nested {
    struct vmm_bed *bed;
    unsigned calls, inner;
};

static bool count_inner(void *ctx, const struct vmm_mapping *m)
{
    (void)m;
    ++((struct nested *)ctx)->inner;
    return true;
}

static bool edit_inside(void *ctx, const struct vmm_mapping *m)
{
    (void)m;
    struct nested *n = ctx;
    struct vmm_bed *bed = n->bed;
    n->calls++;
    EXPECT_EQ(map_one(bed, &bed->a, 8), STATUS_MISUSE);
    EXPECT_EQ(vmm_map(bed->vmm, &bed->b, vaddr(VA_PRIVATE), npages(1), RW), STATUS_MISUSE);
    EXPECT_EQ(unmap_some(bed, &bed->a, 0, 1), STATUS_MISUSE);
    EXPECT_EQ(vmm_protect(bed->vmm, &bed->a, vaddr(VA_PRIVATE), npages(1), VMM_READ), STATUS_MISUSE);
    EXPECT_EQ(space_switch(bed->vmm, &bed->b), STATUS_MISUSE);
    EXPECT_EQ(space_destroy(bed->vmm, &bed->b), STATUS_MISUSE);
    EXPECT_EQ(space_keep_tables(bed->vmm, &bed->b, true), STATUS_MISUSE);
    EXPECT_EQ(vmm_bed_frame_of(bed, &bed->b, vaddr(VA_PRIVATE)), UINT64_MAX);
    vmm_visit(bed->vmm, &bed->a, vaddr(0), vaddr(LAYOUT_USER_END), count_inner, n);
    return true;
}

TEST_HOST(vmm_edit, a_visitor_may_ask_but_not_edit)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(map_one(&bed, &bed.a, 0));
    EXPECT_OK(map_one(&bed, &bed.a, 2));
    struct nested n = {.bed = &bed};
    test_expect_reports(14);
    vmm_visit(bed.vmm, &bed.a, vaddr(0), vaddr(LAYOUT_USER_END), edit_inside, &n);
    EXPECT(n.calls == 2 && n.inner == 4);
    EXPECT_EQ(bed.a.pages.v, 2);
    EXPECT_OK(map_one(&bed, &bed.a, 8)); /* the visit is over */
    vmm_bed_close(&bed);
}

/* ---- The PMM asks for memory in the middle ---- */

struct giver {
    struct vmm_bed *bed;
    struct pmm_low low;
    bool maps, opens;
    unsigned calls;
};

/* Gives back pages at the far end; on demand it maps one in the range that is being mapped, or moves the window. */
static npages_t give(void *ctx, npages_t wanted)
{
    (void)wanted;
    struct giver *g = ctx;
    struct vmm_bed *bed = g->bed;
    if (g->calls++ > 0) {
        return npages(0);
    }
    EXPECT_OK(unmap_some(bed, &bed->a, 400, 4));
    if (g->maps) {
        EXPECT_OK(map_one(bed, &bed->a, 2));
    }
    if (g->opens) {
        EXPECT_OK(map_one(bed, &bed->b, 0));
    }
    return npages(4);
}

static enum status map_while_asked(struct vmm_bed *bed, bool maps, bool opens)
{
    static struct giver g;
    g = (struct giver){.bed = bed, .low = {.reclaim = give, .ctx = &g}, .maps = maps, .opens = opens};
    EXPECT_OK(vmm_map(bed->vmm, &bed->a, vaddr_add_pages(vaddr(VA_PRIVATE), 400), npages(4), RW));
    EXPECT_OK(map_one(bed, &bed->a, 300)); /* the tables stay */
    EXPECT_OK(map_one(bed, &bed->b, 300));
    EXPECT_OK(pmm_low_add(bed->vmm->pmm, &g.low));
    npages_t taken = vmm_bed_limit(bed, 2);
    enum status s = vmm_map(bed->vmm, &bed->a, vaddr(VA_PRIVATE), npages(4), RW);
    EXPECT_OK(pmm_low_remove(bed->vmm->pmm, &g.low));
    vmm_bed_unlimit(bed, taken);
    EXPECT_EQ(g.calls, 1);
    EXPECT_EQ(pmm_stats(bed->vmm->pmm).promised.v, 0);
    EXPECT(vmm_bed_check(bed->vmm));
    return s;
}

TEST_HOST(vmm_edit, who_gives_memory_back_may_edit_tables)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(map_while_asked(&bed, false, false));
    EXPECT_EQ(bed.a.pages.v, 5);
    EXPECT_OK(unmap_some(&bed, &bed.a, 0, 4));
    EXPECT_OK(unmap_some(&bed, &bed.a, 300, 1));
    EXPECT_OK(unmap_some(&bed, &bed.b, 300, 1));
    EXPECT_OK(map_while_asked(&bed, false, true)); /* the window showed another space in between */
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.b, vaddr_add_pages(vaddr(VA_PRIVATE), 1)), UINT64_MAX);
    EXPECT(bed.a.pages.v == 5 && bed.b.pages.v == 2);
    vmm_bed_close(&bed);
}

TEST_HOST(vmm_edit, what_was_mapped_while_memory_was_asked_for_is_seen)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_EQ(map_while_asked(&bed, true, false), STATUS_EXISTS);
    EXPECT_EQ(bed.a.pages.v, 2);
    vmm_bed_close(&bed);
}

/* ---- Frames that are no tables ---- */

static void refuse_all(struct vmm_bed *bed, const char *what)
{
    const struct pmm_stats was = pmm_stats(bed->vmm->pmm);
    struct vmm_walk w;
    EXPECT_EQ(vmm_translate(bed->vmm, &bed->a, vaddr(VA_PRIVATE), &w), STATUS_CORRUPT);
    EXPECT_EQ(map_one(bed, &bed->a, 1), STATUS_CORRUPT);
    EXPECT_EQ(vmm_map(bed->vmm, &bed->a, vaddr_add_pages(vaddr(VA_PRIVATE), 1), npages(600), RW), STATUS_CORRUPT);
    EXPECT_EQ(unmap_some(bed, &bed->a, 0, 1), STATUS_CORRUPT);
    EXPECT_EQ(vmm_protect(bed->vmm, &bed->a, vaddr(VA_PRIVATE), npages(1), VMM_READ), STATUS_CORRUPT);
    const struct pmm_stats now = pmm_stats(bed->vmm->pmm);
    EXPECT(now.free.v == was.free.v && now.promised.v == was.promised.v && now.allocated == was.allocated);
    bool found = false;
    for (const char *c = test_last_report(); *c != '\0'; c++) {
        found = found || strncmp(c, what, strlen(what)) == 0;
    }
    EXPECT(found);
}

TEST_HOST(vmm_edit, an_entry_that_names_no_table_in_use_is_reported_with_the_walk)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(map_one(&bed, &bed.a, 0));
    test_expect_reports(2 * 3 * 5);
    static const uint64_t bad[] = {0x7FFFFFFFF, 0}; /* outside all RAM; the last frame of it, which is free */
    for (unsigned level = 2; level <= PAGING_LEVELS; level++) {
        paddr_t at = model_entry_at(model_machine, bed.a.root, vaddr(VA_PRIVATE), level);
        const uint64_t old = model_phys_read64(model_machine, at);
        for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
            pfn_t frame = pfn(bad[i] != 0 ? bad[i] : model_machine->ram.v - 1);
            model_phys_write64(model_machine, at, (old & ~PTE_FRAME_MASK) | pte_make(frame, 0).v);
            refuse_all(&bed, "names a frame that is no table");
        }
        model_phys_write64(model_machine, at, old);
    }
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

/* An entry that was known once, back after its table was freed: what was remembered of it is forgotten. */
TEST_HOST(vmm_edit, a_table_that_was_freed_is_known_no_more)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(map_one(&bed, &bed.a, 0));
    EXPECT_OK(map_one(&bed, &bed.a, PAGES_PER_2M)); /* the PD stays */
    EXPECT_OK(map_one(&bed, &bed.a, 1));
    paddr_t at = model_entry_at(model_machine, bed.a.root, vaddr(VA_PRIVATE), 2);
    const uint64_t old = model_phys_read64(model_machine, at);
    EXPECT_OK(unmap_some(&bed, &bed.a, 0, 2));
    model_phys_write64(model_machine, at, old);
    test_expect_reports(1);
    EXPECT_EQ(map_one(&bed, &bed.a, 5), STATUS_CORRUPT);
    model_phys_write64(model_machine, at, 0);
    vmm_bed_close(&bed);
}

/* The PT's frame was freed by somebody: a question always asks the PMM, and then edits know it too. */
TEST_HOST(vmm_edit, a_table_that_was_freed_elsewhere_is_not_followed_by_questions)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(map_one(&bed, &bed.a, 0));
    paddr_t at = model_entry_at(model_machine, bed.a.root, vaddr(VA_PRIVATE), 2);
    pfn_t table = pte_pfn((pte_t){model_phys_read64(model_machine, at)});
    EXPECT_OK(pmm_free(bed.vmm->pmm, table));
    test_expect_reports(3);
    struct vmm_walk w;
    EXPECT_EQ(vmm_translate(bed.vmm, &bed.a, vaddr(VA_PRIVATE), &w), STATUS_CORRUPT);
    EXPECT_EQ(w.level, 2);
    EXPECT_EQ(map_one(&bed, &bed.a, 1), STATUS_CORRUPT);
    EXPECT_EQ(unmap_some(&bed, &bed.a, 0, 1), STATUS_CORRUPT);
    EXPECT_OK(pmm_claim(bed.vmm->pmm, table, npages(1)));
    vmm_bed_close(&bed);
}
