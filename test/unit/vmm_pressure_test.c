/*
 * Who is asked for memory while a call of the VMM waits for it does all that it may, and what it may not. Host only:
 * the model sees what the tables come to.
 */
#include "arch/arch.h"
#include "arch/layout.h"
#include "pmm/pmm_pressure.h"
#include "unit/arena_bed.h"
#include "unit/vmm_bed.h"
#include "vmm/vmm_large.h"
#include "vmm/vmm_share.h"

enum { RW = VMM_READ | VMM_WRITE, HOARD = 40 };

struct giver {
    struct vmm_bed *bed;
    struct pmm_low low;
    void (*act)(struct giver *g); /* called once, in the middle of the call */
    unsigned calls;
    vaddr_t hoard, taken[4]; /* kernel pages: given back, and taken instead */
};

static npages_t give(void *ctx, npages_t wanted)
{
    (void)wanted;
    struct giver *g = ctx;
    if (g->calls++ > 0) {
        return npages(0);
    }
    EXPECT_OK(kpages_free(g->bed->vmm, g->hoard));
    if (g->act != NULL) {
        g->act(g);
    }
    return npages(HOARD);
}

static bool start(struct giver *g, struct vmm_bed *bed, void (*act)(struct giver *g))
{
    *g = (struct giver){.bed = bed, .low = {.reclaim = give, .ctx = g}, .act = act};
    return vmm_bed_open(bed) &&
           EXPECT_OK(kpages_alloc(bed->vmm, npages(HOARD), ARENA_ALIGN_PAGE, 0, "hoard", &g->hoard)) &&
           EXPECT_OK(pmm_low_add(bed->vmm->pmm, &g->low));
}

static void finish(struct giver *g)
{
    EXPECT(g->calls >= 1);
    EXPECT_EQ(pmm_stats(g->bed->vmm->pmm).promised.v, 0);
    EXPECT_OK(pmm_low_remove(g->bed->vmm->pmm, &g->low));
    vmm_bed_close(g->bed);
}

/* Maps 600 pages in space a while there is no frame. */
static enum status map_without_frames(struct giver *g, npages_t pages)
{
    npages_t taken = vmm_bed_limit(g->bed, 0);
    enum status s = vmm_map(g->bed->vmm, &g->bed->a, vaddr(VA_PRIVATE), pages, RW);
    vmm_bed_unlimit(g->bed, taken);
    return s;
}

static void destroy_it(struct giver *g)
{
    EXPECT_EQ(space_destroy(g->bed->vmm, &g->bed->a), STATUS_MISUSE);
}

TEST_HOST(vmm_pressure, a_space_that_waits_for_memory_is_not_destroyed)
{
    struct vmm_bed bed;
    static struct giver g;
    REQUIRE(start(&g, &bed, destroy_it));
    test_expect_reports(1);
    EXPECT_OK(map_without_frames(&g, npages(4)));
    EXPECT(bed.a.pages.v == 4 && bed.a.vmm == bed.vmm);
    finish(&g);
}

static void destroy_the_other(struct giver *g)
{
    EXPECT_OK(space_destroy(g->bed->vmm, &g->bed->b));
    EXPECT_OK(space_create(g->bed->vmm, &g->bed->b));
    EXPECT_OK(space_keep_tables(g->bed->vmm, &g->bed->a, true));
}

TEST_HOST(vmm_pressure, other_spaces_may_end_meanwhile)
{
    struct vmm_bed bed;
    static struct giver g;
    REQUIRE(start(&g, &bed, destroy_the_other));
    EXPECT_OK(vmm_map(bed.vmm, &bed.b, vaddr(VA_PRIVATE), npages(20), RW));
    EXPECT_OK(map_without_frames(&g, npages(4)));
    EXPECT(bed.a.pages.v == 4 && bed.a.keeps_tables && bed.b.pages.v == 0);
    finish(&g);
}

static void switch_to_it(struct giver *g) { EXPECT_OK(space_switch(g->bed->vmm, &g->bed->a)); }
static void switch_from_it(struct giver *g) { EXPECT_OK(space_switch(g->bed->vmm, &g->bed->b)); }

/* What was foreign is our own now, and the reverse. */
TEST_HOST(vmm_pressure, the_space_may_become_current_meanwhile_or_another)
{
    struct vmm_bed bed;
    static struct giver g;
    REQUIRE(start(&g, &bed, switch_to_it));
    EXPECT_OK(map_without_frames(&g, npages(4)));
    arch_write64(vaddr(VA_PRIVATE), 5);
    finish(&g);
    REQUIRE(start(&g, &bed, switch_from_it));
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(map_without_frames(&g, npages(4)));
    EXPECT(bed.vmm->current == &bed.b && bed.a.pages.v == 4 && bed.b.pages.v == 0);
    EXPECT(vmm_bed_check(bed.vmm));
    finish(&g);
}

/* And memory is short all the same: nothing is changed, whatever the window shows now. */
TEST_HOST(vmm_pressure, a_call_that_fails_after_all_leaves_nothing)
{
    struct vmm_bed bed;
    static struct giver g;
    static void (*const acts[])(struct giver *g) = {switch_to_it, destroy_the_other};
    for (unsigned i = 0; i < ARRAY_LEN(acts); i++) {
        REQUIRE(start(&g, &bed, acts[i]));
        EXPECT_EQ(map_without_frames(&g, npages(600)), STATUS_NOMEM);
        EXPECT(bed.a.pages.v == 0 && bed.a.tables.v == 1);
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(1), RW)); /* no lock, no edit is left over */
        finish(&g);
    }
}

/* ---- The arena's nodes ---- */

static void take_kernel_pages(struct giver *g)
{
    for (unsigned i = 0; i < ARRAY_LEN(g->taken); i++) {
        EXPECT_OK(kpages_alloc(g->bed->vmm, npages(1), ARENA_ALIGN_PAGE, KPAGES_GUARDED, "taken", &g->taken[i]));
    }
}

/* The arena needs nodes, its page needs a frame, and who gives one takes addresses: the same nodes, the same page. */
TEST_HOST(vmm_pressure, who_gives_memory_for_nodes_may_take_kernel_pages)
{
    struct vmm_bed bed;
    static struct giver g;
    REQUIRE(start(&g, &bed, take_kernel_pages));
    struct vmm *vmm = bed.vmm;
    arena_bed_hide_nodes(&vmm->arena); /* some are wanted by who gives */
    npages_t taken = vmm_bed_limit(&bed, 0);
    vaddr_t base = vaddr(1);
    EXPECT_OK(kpages_alloc(vmm, npages(2), ARENA_ALIGN_PAGE, KPAGES_ZEROED, "outer", &base));
    vmm_bed_unlimit(&bed, taken);
    EXPECT_EQ(arch_read64(vaddr_add_pages(base, 1)), 0);
    EXPECT(vmm_bed_check(vmm));
    EXPECT_OK(kpages_free(vmm, base));
    for (unsigned i = 0; i < ARRAY_LEN(g.taken); i++) {
        EXPECT_OK(kpages_free(vmm, g.taken[i]));
    }
    finish(&g);
}

/* ---- Large pages ---- */

enum { PART = PAGES_PER_2M, REST = 2 * PART - 600 };

static const pfn_t device = {0xC000000};
static struct vmm_loan loan;

static vaddr_t page_at(uint64_t page) { return vaddr_add_pages(vaddr(VA_PRIVATE), page); }

static enum status unmap_a_part(struct vmm_bed *bed) { return vmm_unmap(bed->vmm, &bed->a, page_at(100), npages(600)); }
static enum status protect_a_part(struct vmm_bed *bed)
{
    return vmm_protect(bed->vmm, &bed->a, page_at(100), npages(600), VMM_READ);
}
static enum status demote_it(struct vmm_bed *bed) { return vmm_demote(bed->vmm, &bed->a, page_at(700)); }
static enum status map_more(struct vmm_bed *bed)
{
    return vmm_map_frames(bed->vmm, &bed->a, page_at(2 * PART), pfn_add(device, 2 * PART), npages(600),
                          VMM_READ | VMM_LARGE, false);
}

static void take_it_away(struct giver *g)
{
    EXPECT_OK(vmm_unmap(g->bed->vmm, &g->bed->a, page_at(PART), npages(PART)));
}
static void cut_it(struct giver *g) { EXPECT_OK(vmm_demote(g->bed->vmm, &g->bed->a, page_at(PART))); }
static void lend_it(struct giver *g)
{
    EXPECT_OK(vmm_lend(g->bed->vmm, &g->bed->a, page_at(0), &g->bed->b, page_at(0), 3, VMM_READ, &loan));
}
static void take_its_place(struct giver *g)
{
    EXPECT_OK(vmm_map(g->bed->vmm, &g->bed->a, page_at(3 * PART + 5), npages(1), RW));
}

/* a has two large pages; the second goes, is cut, or is lent in the middle of a call that cuts both, or maps behind. */
TEST_HOST(vmm_pressure, large_pages_that_change_meanwhile_are_looked_at_again)
{
    static const struct {
        enum status (*call)(struct vmm_bed *bed);
        void (*act)(struct giver *g);
        enum status expected;
        uint64_t pages;
    } cases[] = {
        {unmap_a_part, take_it_away, STATUS_ABSENT, PART},        {unmap_a_part, cut_it, STATUS_OK, REST},
        {unmap_a_part, lend_it, STATUS_SHARED, 2 * PART},         {unmap_a_part, switch_to_it, STATUS_OK, REST},
        {protect_a_part, take_it_away, STATUS_ABSENT, PART},      {protect_a_part, cut_it, STATUS_OK, 2 * PART},
        {protect_a_part, lend_it, STATUS_SHARED, 2 * PART},       {protect_a_part, switch_to_it, STATUS_OK, 2 * PART},
        {demote_it, take_it_away, STATUS_ABSENT, PART},           {demote_it, cut_it, STATUS_EXISTS, 2 * PART},
        {demote_it, lend_it, STATUS_SHARED, 2 * PART},            {demote_it, switch_to_it, STATUS_OK, 2 * PART},
        {map_more, take_its_place, STATUS_EXISTS, 2 * PART + 1},  {map_more, lend_it, STATUS_OK, 2 * PART + 600},
        {map_more, switch_to_it, STATUS_OK, 2 * PART + 600},      {map_more, take_it_away, STATUS_OK, PART + 600},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct vmm_bed bed;
        static struct giver g;
        REQUIRE(start(&g, &bed, cases[i].act));
        loan = (struct vmm_loan){0};
        EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, page_at(0), device, npages(2 * PART), RW | VMM_2M, false));
        npages_t taken = vmm_bed_limit(&bed, 0);
        bool ok = EXPECT_EQ(cases[i].call(&bed), cases[i].expected);
        vmm_bed_unlimit(&bed, taken);
        ok = EXPECT_EQ(bed.a.pages.v, cases[i].pages) && EXPECT(vmm_bed_check(bed.vmm)) && ok;
        if (!ok) {
            test_note("case %u", i);
        }
        EXPECT_OK(loan.lender != NULL ? vmm_withdraw(bed.vmm, &loan) : STATUS_OK);
        finish(&g);
    }
}
