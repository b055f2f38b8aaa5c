/* The foreign window: never a stale page (R8), never left open (R18), never a dead space behind it (R9, R15). */
#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/vmm_bed.h"

enum { RW = VMM_READ | VMM_WRITE };

static const pfn_t device = {0xC000000}; /* 768 GiB: above the RAM of these tests */

/* The window moves to a space by a question about another PT than that of va, whose leaf is asked for then. */
static void expect_leaf_after_another(struct vmm_bed *bed, struct space *space, vaddr_t va, pfn_t frame)
{
    pte_t leaf;
    EXPECT_OK(vmm_leaf(bed->vmm, space, vaddr_add_pages(va, PAGES_PER_2M), &leaf));
    for (unsigned times = 0; times < 2; times++) {
        EXPECT_OK(vmm_leaf(bed->vmm, space, va, &leaf));
        EXPECT_EQ(pte_pfn(leaf).v, frame.v);
    }
}

/*
 * The same window pages show the tables of a and b in turn; entries of one must never be taken for those of the other.
 */
TEST(vmm_foreign, two_spaces_in_turn_are_never_confused)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (uint64_t i = 0; i < 20; i++) {
        vaddr_t va = vaddr_add_pages(vaddr(VA_GLOBAL), i);
        EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, va, pfn_add(device, i), npages(1), RW, false));
        EXPECT_OK(vmm_map_frames(bed.vmm, &bed.b, va, pfn_add(device, 1000 + i), npages(1), RW, false));
    }
    for (uint64_t i = 0; i < 20; i++) {
        EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr_add_pages(vaddr(VA_GLOBAL), i)), device.v + i);
        EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.b, vaddr_add_pages(vaddr(VA_GLOBAL), i)), device.v + 1000 + i);
    }
    for (unsigned i = 0; i < 3; i++) {
        expect_leaf_after_another(&bed, &bed.a, vaddr(VA_GLOBAL), device);
        expect_leaf_after_another(&bed, &bed.b, vaddr(VA_GLOBAL), pfn_add(device, 1000));
    }
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

/*
 * Opened from two different spaces with a switch between: the slot of the PML4 that is left is 0, and nothing is
 * remembered.
 */
TEST(vmm_foreign, a_switch_closes_the_window)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    static struct space c;
    EXPECT_OK(space_create(bed.vmm, &c));
    EXPECT_OK(vmm_map_frames(bed.vmm, &c, vaddr(VA_GLOBAL), device, npages(3), RW, false));
    struct space *turns[] = {&bed.a, &bed.b, &c, &bed.a, bed.home};
    for (unsigned i = 0; i < ARRAY_LEN(turns); i++) {
        vmm_bed_switch(&bed, turns[i]);
        EXPECT(vmm_bed_check(bed.vmm)); /* VMM-I2 of all PML4s */
        EXPECT_EQ(vmm_bed_frame_of(&bed, &c, vaddr(VA_GLOBAL)), device.v);
        EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.b, vaddr(VA_GLOBAL)), UINT64_MAX);
        EXPECT(vmm_bed_check(bed.vmm));
    }
    EXPECT_OK(space_destroy(bed.vmm, &c));
    vmm_bed_close(&bed);
}

TEST(vmm_foreign, a_space_that_dies_while_open_is_closed_for_real)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(40), RW));
        uint64_t invlpg = bed.vmm->counters.invlpg, cr3_loads = bed.vmm->counters.cr3_loads;
        EXPECT_OK(space_destroy(bed.vmm, &bed.a));
        EXPECT(bed.vmm->counters.invlpg > invlpg && bed.vmm->counters.cr3_loads == cr3_loads);
        EXPECT(bed.vmm->foreign.space == NULL);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_OK(space_create(bed.vmm, &bed.a)); /* likely in the same frame */
        EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr(VA_PRIVATE)), UINT64_MAX);
    }
    vmm_bed_close(&bed);
}

TEST(vmm_foreign, an_empty_space_that_dies_while_open_is_forgotten)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr(VA_PRIVATE)), UINT64_MAX);
    uint64_t invlpg = bed.vmm->counters.invlpg;
    EXPECT_OK(space_destroy(bed.vmm, &bed.a));
    EXPECT_EQ(bed.vmm->counters.invlpg, invlpg + 1); /* no walker may still pass the slot's old value (R15) */
    EXPECT(vmm_bed_check(bed.vmm));
    EXPECT_OK(space_create(bed.vmm, &bed.a));
    vmm_bed_close(&bed);
}

/* A space that is foreign, then current, then foreign again, is edited through the window that fits. */
TEST(vmm_foreign, own_and_foreign_edits_of_one_space_agree)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (uint64_t i = 0; i < 12; i++) {
        vmm_bed_switch(&bed, i % 2 == 0 ? &bed.a : &bed.b);
        vaddr_t va = vaddr_add_pages(vaddr(VA_GLOBAL), i * 300);
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, va, npages(300), RW));
        if (i % 2 == 0) {
            arch_write64(va, i);
            for (uint64_t k = 0; k < i; k += 2) {
                EXPECT_EQ(arch_read64(vaddr_add_pages(vaddr(VA_GLOBAL), k * 300)), k);
                EXPECT_EQ(arch_read64(vaddr_add_pages(vaddr(VA_GLOBAL), (k + 1) * 300 + 299)), 0);
            }
        }
    }
    EXPECT_EQ(bed.a.pages.v, 3600);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(3600)));
    EXPECT(bed.a.tables.v == 1 && bed.a.pages.v == 0);
    vmm_bed_close(&bed);
}

TEST(vmm_foreign, many_tables_of_one_space_are_read_right_after_the_reload)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct space *spaces[] = {&bed.a, &bed.b};
    const uint64_t stride = 512ULL * 3;
    for (uint64_t i = 0; i < 50; i++) {
        for (unsigned s = 0; s < 2; s++) {
            vaddr_t va = vaddr_add_pages(vaddr(VA_PRIVATE), i * stride);
            EXPECT_OK(vmm_map_frames(bed.vmm, spaces[s], va, pfn_add(device, s * 100 + i), npages(1), RW, false));
        }
    }
    for (unsigned s = 0; s < 2; s++) {
        for (uint64_t i = 0; i < 50; i++) {
            EXPECT_EQ(vmm_bed_frame_of(&bed, spaces[s], vaddr_add_pages(vaddr(VA_PRIVATE), i * stride)),
                      device.v + s * 100 + i);
        }
    }
    vmm_bed_close(&bed);
}
