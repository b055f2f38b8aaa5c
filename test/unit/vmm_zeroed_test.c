/*
 * Frames that the PMM has zeroed ahead: tables and pages are made of them, at the cost of their one store.
 */
#include "arch/arch.h"
#include "model/model.h"
#include "pmm/pmm_pressure.h"
#include "unit/vmm_bed.h"
#include "vmm/vmm_large.h"

enum { RW = VMM_READ | VMM_WRITE };

static const pfn_t device = {0xC000000}; /* above all RAM: mapped, not owned, never accessed */

static uint64_t idle(struct vmm_bed *bed, unsigned class, uint64_t frames)
{
    return model_idle(model_machine, bed->vmm, class, npages(frames));
}

TEST(vmm_zeroed, a_new_table_costs_one_store_when_its_frame_was_zeroed_ahead)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_EQ(idle(&bed, PMM_KERNEL, 4), 4);
    struct vmm_counters before = bed.vmm->counters;
    /* PDPT, PD, PT and, after them, another PT; then the pool is empty. */
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_GLOBAL), device, npages(1), RW, false));
    EXPECT_EQ(bed.vmm->counters.table_stores - before.table_stores, 1 + 3);
    EXPECT_EQ(bed.vmm->counters.invlpg, before.invlpg);
    before = bed.vmm->counters;
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr_add_pages(vaddr(VA_GLOBAL), 512), device, npages(512), RW, false));
    EXPECT_EQ(bed.vmm->counters.table_stores - before.table_stores, 512 + 2);
    EXPECT_EQ(bed.vmm->counters.invlpg, before.invlpg);
    before = bed.vmm->counters;
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr_add_pages(vaddr(VA_GLOBAL), 1024), device, npages(512), RW, false));
    EXPECT_EQ(bed.vmm->counters.table_stores - before.table_stores, 512 + 2 + 2);
    EXPECT_EQ(bed.vmm->counters.invlpg - before.invlpg, 1);
    struct pmm_stats s = pmm_stats(bed.vmm->pmm);
    EXPECT_EQ(s.zeroed.v, 0);
    vmm_bed_close(&bed);
}

TEST(vmm_zeroed, fresh_pages_come_from_the_pool_while_it_has_some_and_all_are_zero)
{
    enum { ZEROED = 5, PAGES = 40 };
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr_add_pages(vaddr(VA_GLOBAL), 511), device, npages(1), RW, false));
    for (unsigned pages = 1; pages <= PAGES; pages += pages == 1 || pages == ZEROED ? 1 : pages == 2 ? 3 : 34) {
        EXPECT_EQ(idle(&bed, PMM_USER, ZEROED), ZEROED);
        struct vmm_counters before = bed.vmm->counters;
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(pages), RW | VMM_USER));
        unsigned missing = pages > ZEROED ? pages - ZEROED : 0;
        EXPECT_EQ(bed.vmm->counters.table_stores - before.table_stores, pages + 1 + 2 * missing);
        EXPECT_EQ(bed.vmm->counters.invlpg - before.invlpg, missing);
        for (unsigned i = 0; i < pages; i++) {
            vaddr_t page = vaddr_add_pages(vaddr(VA_GLOBAL), i);
            EXPECT_EQ(arch_read64(page), 0);
            EXPECT_EQ(arch_read64(vaddr_add(page, PAGE_BYTES - sizeof(uint64_t))), 0);
            arch_write64(page, UINT64_MAX); /* not zero when it comes again */
        }
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(pages)));
        pmm_drain(bed.vmm->pmm);
    }
    vmm_bed_close(&bed);
}

TEST(vmm_zeroed, a_range_that_memory_is_too_short_for_leaves_the_pool_as_it_was_or_drained)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_EQ(idle(&bed, PMM_KERNEL, 3), 3);
    for (unsigned frames = 0; frames < 4; frames++) { /* three tables and a page */
        npages_t taken = vmm_bed_limit(&bed, frames);
        EXPECT_EQ(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(1), RW), STATUS_NOMEM);
        EXPECT_EQ(bed.a.tables.v, 1);
        vmm_bed_unlimit(&bed, taken);
    }
    npages_t taken = vmm_bed_limit(&bed, 4);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(1), RW));
    vmm_bed_unlimit(&bed, taken);
    vmm_bed_close(&bed);
}

/* 512 stores into the new table, linked first, and 2 in its parent; without such a frame 2 and an INVLPG more. */
TEST(vmm_zeroed, a_demotion_fills_a_frame_that_was_zeroed_ahead_through_its_own_window_page)
{
    for (unsigned foreign = 0; foreign < 2; foreign++) {
        struct vmm_bed bed;
        REQUIRE(vmm_bed_open(&bed));
        vmm_bed_switch(&bed, foreign != 0 ? &bed.b : &bed.a);
        for (unsigned zeroed = 0; zeroed < 2; zeroed++) {
            EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_GLOBAL), device, npages(PAGES_PER_2M), RW | VMM_2M,
                                     false));
            EXPECT_EQ(idle(&bed, PMM_KERNEL, zeroed), zeroed);
            const struct vmm_counters before = bed.vmm->counters;
            EXPECT_OK(vmm_demote(bed.vmm, &bed.a, vaddr(VA_GLOBAL)));
            EXPECT_EQ(bed.vmm->counters.table_stores - before.table_stores, 512 + 2 + (zeroed != 0 ? 0 : 2));
            /* The page, where its space runs; its window page. */
            EXPECT_EQ(bed.vmm->counters.invlpg - before.invlpg, (foreign != 0 ? 2U : 3U) - zeroed);
            EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr_add_pages(vaddr(VA_GLOBAL), 511)), device.v + 511);
            EXPECT(vmm_bed_check(bed.vmm));
            EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(PAGES_PER_2M)));
        }
        vmm_bed_close(&bed);
    }
}
