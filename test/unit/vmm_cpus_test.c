/*
 * A second CPU under the VMM: what it may hold is flushed before it goes, and windows that it has open show what is
 * there. All edits are made by one CPU at a time; what the VMM keeps of a CPU goes with it. Host only: the model runs
 * both.
 */
#include "arch/arch.h"
#include "arch/layout.h"
#include "model/model.h"
#include "unit/vmm_bed.h"
#include "unit/vmm_two_cpus.h"

enum { RW = VMM_READ | VMM_WRITE };

static const pfn_t device = {0x80000000};

/* CPU 1 comes to life in the kernel's own space, and goes on to `space`. */
static bool open_bed(struct vmm_bed *bed, struct space *space)
{
    if (!vmm_bed_open(bed)) {
        return false;
    }
    struct vmm *vmm = bed->vmm;
    start_other_cpu(vmm);
    change_cpu(vmm);
    EXPECT_OK(space_switch(vmm, space));
    change_cpu(vmm);
    return true;
}

static void close_bed(struct vmm_bed *bed)
{
    change_cpu(bed->vmm);
    EXPECT_OK(space_switch(bed->vmm, &bed->vmm->kernel));
    change_cpu(bed->vmm);
    vmm_bed_close(bed);
}

static enum status map_one(struct vmm_bed *bed, struct space *space, uint64_t frame)
{
    return vmm_map_frames(bed->vmm, space, vaddr(VA_PRIVATE), pfn_add(device, frame), npages(1), RW, false);
}

TEST_HOST(vmm_cpus, a_space_that_is_current_elsewhere_is_not_destroyed)
{
    struct vmm_bed bed;
    REQUIRE(open_bed(&bed, &bed.a));
    EXPECT_OK(map_one(&bed, &bed.a, 0));
    test_expect_reports(1);
    EXPECT_EQ(space_destroy(bed.vmm, &bed.a), STATUS_MISUSE);
    EXPECT(bed.a.vmm == bed.vmm && bed.a.pages.v == 1);
    close_bed(&bed);
}

/* R15: it comes to a PML4 whose window another CPU has open. */
TEST_HOST(vmm_cpus, a_cpu_that_comes_to_an_open_window_is_told_when_its_tables_go)
{
    struct vmm_bed bed;
    REQUIRE(open_bed(&bed, &bed.b));
    EXPECT_OK(map_one(&bed, &bed.a, 0)); /* through the window of the kernel's own space */
    EXPECT_EQ(bed.a.reached.mask, 1);
    change_cpu(bed.vmm);
    EXPECT_OK(space_switch(bed.vmm, &bed.vmm->kernel));
    change_cpu(bed.vmm);
    EXPECT_EQ(bed.a.reached.mask, 3);
    const uint64_t ipis = bed.vmm->counters.ipis;
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(1)));
    EXPECT_EQ(bed.vmm->counters.ipis, ipis + 1);
    close_bed(&bed);
}

/* R15: its slot on a was closed, but it may follow the old value, and then the slot that a has open. */
TEST_HOST(vmm_cpus, who_may_follow_a_slot_to_the_opener_is_told_too)
{
    struct vmm_bed bed;
    REQUIRE(open_bed(&bed, &bed.a));
    struct vmm *vmm = bed.vmm;
    change_cpu(vmm);
    EXPECT_OK(space_switch(vmm, &vmm->kernel));
    change_cpu(vmm);
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr(VA_PRIVATE)), UINT64_MAX); /* both run on the opener */
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(map_one(&bed, &bed.b, 0));
    EXPECT_EQ(bed.b.reached.mask, 3);
    EXPECT_OK(vmm_unmap(vmm, &bed.b, vaddr(VA_PRIVATE), npages(1)));
    close_bed(&bed);
}

/* R15: a PML4 is a table too, for whoever had a slot on it. */
TEST_HOST(vmm_cpus, the_end_of_an_empty_space_is_told_to_who_reached_it)
{
    struct vmm_bed bed;
    REQUIRE(open_bed(&bed, &bed.b));
    vmm_bed_switch(&bed, &bed.b);
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr(VA_PRIVATE)), UINT64_MAX);
    const uint64_t ipis = bed.vmm->counters.ipis;
    EXPECT_OK(space_destroy(bed.vmm, &bed.a));
    EXPECT_EQ(bed.vmm->counters.ipis, ipis + 1);
    EXPECT_OK(space_create(bed.vmm, &bed.a));
    close_bed(&bed);
}

/* R9, R16: CPU 1 keeps its window on a open, and remembers its pages; CPU 0, which runs in a, makes a table anew. */
TEST_HOST(vmm_cpus, a_window_that_another_cpu_keeps_open_shows_the_new_table)
{
    struct vmm_bed bed;
    REQUIRE(open_bed(&bed, &bed.b));
    struct vmm *vmm = bed.vmm;
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(map_one(&bed, &bed.a, 1));
    change_cpu(vmm);
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr(VA_PRIVATE)), device.v + 1);
    change_cpu(vmm);
    EXPECT_OK(vmm_unmap(vmm, &bed.a, vaddr(VA_PRIVATE), npages(1)));
    EXPECT_OK(vmm_map(vmm, &bed.a, vaddr(VA_GLOBAL), npages(1), RW)); /* takes the tables' old frames */
    EXPECT_OK(map_one(&bed, &bed.a, 2));
    change_cpu(vmm);
    const uint64_t opens = vmm->counters.foreign_opens, invlpg = vmm->counters.invlpg;
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr(VA_PRIVATE)), device.v + 2);
    EXPECT(vmm->counters.foreign_opens == opens && vmm->counters.invlpg == invlpg); /* remembered, and right */
    EXPECT_OK(space_switch(vmm, &vmm->kernel));
    EXPECT_OK(space_switch(vmm, &bed.b));
    change_cpu(vmm);
    close_bed(&bed);
}
