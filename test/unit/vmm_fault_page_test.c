/* What a page fault asks for: one fresh page, and the leaf that is there. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/vmm_share_bed.h"
#include "vmm/vmm_large.h"
#include "vmm/vmm_share.h"

enum { R = VMM_READ, RW = VMM_READ | VMM_WRITE, RX = VMM_READ | VMM_EXECUTE, PART = PAGES_PER_2M };

#define VA vaddr(VA_PRIVATE)

static const pfn_t device = {0xC000000};

static pte_t leaf_of(struct vmm_bed *bed, struct space *space, vaddr_t va)
{
    pte_t leaf = {UINT64_MAX};
    EXPECT_OK(vmm_leaf(bed->vmm, space, va, &leaf));
    return leaf;
}

/* It says what vmm_translate says: mapped, which frame, which rights. */
static void expect_agreement(struct vmm_bed *bed, struct space *space, vaddr_t va)
{
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed->vmm, space, va, &w));
    const pte_t leaf = leaf_of(bed, space, va);
    EXPECT_EQ(pte_is_present(leaf), w.present);
    if (w.present) {
        EXPECT_EQ(pte_pfn(leaf).v, paddr_to_pfn(w.address).v);
        EXPECT_EQ((leaf.v & PTE_W) != 0, (w.rights & VMM_WRITE) != 0);
        EXPECT_EQ((leaf.v & PTE_XD) == 0, (w.rights & VMM_EXECUTE) != 0);
        EXPECT_EQ((leaf.v & PTE_U) != 0, (w.rights & VMM_USER) != 0);
        EXPECT_EQ((leaf.v ^ w.entry[w.level].v) & (PTE_OWNED | PTE_COW | PTE_COW_WRITE), 0);
    }
}

TEST(vmm_fault_page, a_leaf_is_found_behind_whatever_is_on_the_way)
{
    static struct vmm_loan loan;
    struct vmm_bed bed;
    loan = (struct vmm_loan){0};
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    EXPECT_OK(vmm_map(vmm, &bed.a, VA, npages(2), RW | VMM_USER));
    EXPECT_OK(vmm_map_frames(vmm, &bed.a, vaddr_add_pages(VA, 5), device, npages(1), RX, false));
    const unsigned all = RX | RW | VMM_USER | VMM_WRITE_EXECUTE; /* as tables have */
    EXPECT_OK(vmm_map_frames(vmm, &bed.a, vaddr_add_pages(VA, PART), device, npages(PART), all | VMM_2M, false));
    EXPECT_OK(vmm_map(vmm, &bed.a, vaddr(VA_GLOBAL), npages(3), RW)); /* to be lent */
    EXPECT_OK(vmm_lend(vmm, &bed.a, vaddr(VA_GLOBAL), &bed.b, vaddr(VA_GLOBAL), 2, R, &loan));
    EXPECT_OK(vmm_map(vmm, &bed.a, vaddr(VA_GLOBAL + GIB), npages(3), RW)); /* to be shared for copy on write */
    EXPECT_OK(vmm_clone(vmm, &bed.a, &bed.b, vaddr(VA_GLOBAL + GIB), npages(PART)));
    const uint64_t asked[] = {VA_PRIVATE, VA_PRIVATE + 123, VA_PRIVATE + 2 * PAGE_BYTES, VA_PRIVATE + 5 * PAGE_BYTES,
                              VA_PRIVATE + PART * PAGE_BYTES, VA_PRIVATE + (PART + 77) * PAGE_BYTES + 7, VA_GLOBAL,
                              VA_GLOBAL + 5 * PAGE_BYTES, VA_GLOBAL + GIB, VA_GLOBAL + GIB + 4 * PAGE_BYTES,
                              VA_PRIVATE + 2 * PART * PAGE_BYTES, VA_PRIVATE - GIB, VA_PRIVATE - 600 * GIB,
                              LAYOUT_USER_FIRST, LAYOUT_USER_END - 1};
    struct space *const spaces[] = {&bed.a, &bed.b};
    for (unsigned i = 0; i < 4 * ARRAY_LEN(asked); i++) {
        if (i % (2 * ARRAY_LEN(asked)) == 0) {
            vmm_bed_switch(&bed, spaces[i / (2 * ARRAY_LEN(asked))]);
        }
        expect_agreement(&bed, spaces[i / ARRAY_LEN(asked) % 2], vaddr(asked[i % ARRAY_LEN(asked)]));
    }
    EXPECT_OK(vmm_withdraw(vmm, &loan));
    vmm_bed_close(&bed);
}

TEST(vmm_fault_page, a_leaf_costs_four_loads)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, VA, npages(2), RW));
    EXPECT_OK(vmm_map(bed.vmm, &bed.b, VA, npages(2), RW));
    struct space *const spaces[] = {&bed.a, &bed.b};
    for (unsigned i = 0; i < 2; i++) {
        EXPECT(pte_is_present(leaf_of(&bed, spaces[i], VA)));
        bed.vmm->counters = (struct vmm_counters){0};
        EXPECT(pte_is_present(leaf_of(&bed, spaces[i], vaddr_add_pages(VA, 1))));
        EXPECT(!pte_is_present(leaf_of(&bed, spaces[i], vaddr_add_pages(VA, 2))));
        const struct vmm_counters c = bed.vmm->counters;
        EXPECT(c.table_loads == 8 && c.table_stores == 0 && c.invlpg == 0 && c.cr3_loads == 0);
    }
    vmm_bed_close(&bed);
}

TEST(vmm_fault_page, wrong_questions_are_refused)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    static const uint64_t bad[] = {0, LAYOUT_USER_FIRST - 1, LAYOUT_USER_END, 0x0000800000000000, LAYOUT_ARENA_BASE,
                                   LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF), UINT64_MAX};
    pte_t leaf;
    pfn_t frame;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        EXPECT_EQ(vmm_leaf(bed.vmm, &bed.a, vaddr(bad[i]), &leaf), STATUS_RANGE);
        EXPECT_EQ(vmm_map_page(bed.vmm, &bed.a, vaddr_page(vaddr(bad[i])), RW, &frame), STATUS_RANGE);
    }
    EXPECT_EQ(vmm_map_page(bed.vmm, &bed.a, vaddr(VA_PRIVATE + 1), RW, &frame), STATUS_INVALID);
    static const unsigned rights[] = {RW | VMM_EXECUTE, RW | VMM_2M, RW | VMM_COPY, RW | VMM_GLOBAL, 1U << 20};
    for (unsigned i = 0; i < ARRAY_LEN(rights); i++) {
        EXPECT_EQ(vmm_map_page(bed.vmm, &bed.a, VA, rights[i], &frame), STATUS_INVALID);
    }
    struct space stranger = {0};
    test_expect_reports(3);
    EXPECT_EQ(vmm_leaf(bed.vmm, NULL, VA, &leaf), STATUS_MISUSE);
    EXPECT_EQ(vmm_leaf(bed.vmm, &stranger, VA, &leaf), STATUS_MISUSE);
    EXPECT_EQ(vmm_map_page(bed.vmm, &stranger, VA, RW, &frame), STATUS_MISUSE);
    EXPECT(bed.a.pages.v == 0 && bed.a.tables.v == 1);
    vmm_bed_close(&bed);
}

static bool ask_inside(void *ctx, const struct vmm_mapping *m)
{
    struct vmm_bed *bed = ctx;
    pfn_t frame;
    EXPECT_EQ(pte_pfn(leaf_of(bed, &bed->a, m->base)).v, paddr_to_pfn(m->address).v);
    (void)leaf_of(bed, &bed->b, m->base); /* the window may move: a visit shows its space again */
    EXPECT_EQ(vmm_map_page(bed->vmm, &bed->b, m->base, RW, &frame), STATUS_MISUSE);
    return true;
}

/* A visitor may ask, and not edit. */
TEST(vmm_fault_page, a_visitor_may_ask_for_leaves)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, VA, npages(1), RW));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(1), RW));
    test_expect_reports(2);
    vmm_visit(bed.vmm, &bed.a, vaddr(0), vaddr(LAYOUT_USER_END), ask_inside, &bed);
    vmm_bed_close(&bed);
}

/* Own and foreign; with the tables there and not; the frame is the one that is mapped, and zero. */
TEST(vmm_fault_page, a_fresh_page_says_its_frame)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    struct space *const spaces[] = {&bed.a, &bed.b};
    vmm_bed_switch(&bed, &bed.a);
    for (unsigned i = 0; i < 2; i++) {
        for (uint64_t k = 0; k < 4; k++) {
            const vaddr_t va = vaddr_add_pages(VA, k * 300);
            pfn_t frame = {0};
            EXPECT_OK(vmm_map_page(vmm, spaces[i], va, RW | VMM_USER, &frame));
            EXPECT(frame.v != 0 && vmm_bed_frame_of(&bed, spaces[i], va) == frame.v);
            EXPECT_EQ(rights_of(&bed, spaces[i], va), RW | VMM_USER);
            EXPECT_EQ(pmm_query(vmm->pmm, frame).references, 1);
            EXPECT(word_of(&bed, spaces[i], va) == 0 && spaces[i]->pages.v == k + 1);
            EXPECT_EQ(vmm_map_page(vmm, spaces[i], va, RW, &frame), STATUS_EXISTS);
        }
        EXPECT_EQ(spaces[i]->tables.v, 5);
    }
    pfn_t frame;
    /* Its tables are remembered again, whichever of the other space's had their places. */
    EXPECT_OK(vmm_map_page(vmm, &bed.a, vaddr_add_pages(VA, 2), RW, &frame));
    vmm->counters = (struct vmm_counters){0};
    EXPECT_OK(vmm_map_page(vmm, &bed.a, vaddr_add_pages(VA, 1), RW, &frame));
    EXPECT(vmm->counters.table_loads == 4 && vmm->counters.table_stores == 2 + 2 && vmm->counters.invlpg == 1);
    EXPECT(vmm_bed_check(vmm));
    vmm_bed_close(&bed);
}

TEST(vmm_fault_page, a_fresh_page_takes_all_its_frames_or_none)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (unsigned there = 0; there < 2; there++) {
        const uint64_t need = there != 0 ? 1 : 4;
        for (uint64_t k = 0; k <= need; k++) {
            pfn_t frame;
            npages_t taken = vmm_bed_limit(&bed, k);
            EXPECT_EQ(vmm_map_page(bed.vmm, &bed.a, vaddr_add_pages(VA, there), RW, &frame),
                      k < need ? STATUS_NOMEM : STATUS_OK);
            vmm_bed_unlimit(&bed, taken);
            EXPECT_EQ(bed.a.pages.v, there + (k == need));
            EXPECT_EQ(pmm_stats(bed.vmm->pmm).promised.v, 0);
        }
    }
    EXPECT_EQ(bed.a.tables.v, 4);
    vmm_bed_close(&bed);
}
