/*
 * What a change of a large page leaves behind: nothing that any CPU could still use, in the page or in the windows. The
 * model's MMU judges; each case is as short as it can be. Host only.
 */
#include "arch/arch.h"
#include "arch/layout.h"
#include "model/model.h"
#include "unit/vmm_bed.h"
#include "unit/vmm_two_cpus.h"
#include "vmm/entry.h"
#include "vmm/vmm_large.h"

enum { RW = VMM_READ | VMM_WRITE };

static const pfn_t device = {0xC000000}; /* above all RAM, aligned to 1 GiB */
static const vaddr_t va = {VA_PRIVATE};

static enum status map_device(struct vmm_bed *bed, struct space *space, unsigned level)
{
    return vmm_map_frames(bed->vmm, space, va, device, npages(level_span_pages(level)),
                          RW | (level == 3 ? VMM_1G : VMM_2M), false);
}

TEST_HOST(vmm_large_flush, a_right_taken_from_a_large_page_is_gone_at_once)
{
    for (unsigned level = 2; level <= 3; level++) {
        struct vmm_bed bed;
        REQUIRE(vmm_bed_open(&bed));
        vmm_bed_switch(&bed, &bed.a);
        EXPECT_OK(map_device(&bed, &bed.a, level));
        EXPECT(model_can_access(model_machine, vaddr_add_pages(va, 77), true));
        EXPECT_OK(vmm_protect(bed.vmm, &bed.a, va, npages(level_span_pages(level)), VMM_READ));
        EXPECT(!model_can_access(model_machine, va, true));
        EXPECT(!model_can_access(model_machine, vaddr_add_pages(va, level_span_pages(level) - 1), true));
        EXPECT(model_can_access(model_machine, va, false));
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, va, npages(level_span_pages(level))));
        EXPECT(!model_can_access(model_machine, va, false));
        vmm_bed_close(&bed);
    }
}

/* ---- A second CPU ---- */

/* CPU 1 starts, and runs in `space`. */
static void start_other(struct vmm_bed *bed, struct space *space)
{
    struct vmm *vmm = bed->vmm;
    start_other_cpu(vmm);
    change_cpu(vmm);
    EXPECT_OK(space_switch(vmm, space));
    change_cpu(vmm);
}

static void stop_other(struct vmm_bed *bed)
{
    change_cpu(bed->vmm);
    EXPECT_OK(space_switch(bed->vmm, &bed->vmm->kernel));
    change_cpu(bed->vmm);
}

/*
 * CPU 0 edits: in the space, out of another one that has it open, and out of one that does not; CPU 1 runs in it, or in
 * the one that has it open.
 */
TEST_HOST(vmm_large_flush, a_change_of_size_reaches_all_cpus_that_may_see_the_old_one)
{
    for (unsigned way = 0; way < 8; way++) {
        const unsigned level = 2 + way % 2;
        struct vmm_bed bed;
        REQUIRE(vmm_bed_open(&bed));
        vmm_bed_switch(&bed, way / 4 == 0 ? &bed.a : &bed.b);
        EXPECT_OK(map_device(&bed, &bed.a, level));
        start_other(&bed, way / 2 % 2 == 0 ? &bed.a : &bed.b);
        EXPECT_OK(vmm_demote(bed.vmm, &bed.a, va));
        EXPECT_OK(vmm_promote(bed.vmm, &bed.a, va, level, 0));
        EXPECT_OK(vmm_protect(bed.vmm, &bed.a, va, npages(1), VMM_READ)); /* cut */
        EXPECT_OK(vmm_protect(bed.vmm, &bed.a, va, npages(1), RW));
        EXPECT_OK(vmm_promote(bed.vmm, &bed.a, va, 2, 0));
        EXPECT(level == 2 || vmm_promote(bed.vmm, &bed.a, va, 3, 0) == STATUS_OK);
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, va, npages(level_span_pages(level))));
        change_cpu(bed.vmm);
        EXPECT(!model_can_access(model_machine, va, false));
        change_cpu(bed.vmm);
        EXPECT(vmm_bed_check(bed.vmm));
        stop_other(&bed);
        vmm_bed_close(&bed);
    }
}

/* The frames are RAM: each free is judged. */
TEST_HOST(vmm_large_flush, frames_go_back_after_the_flush)
{
    for (unsigned way = 0; way < 4; way++) {
        struct vmm_bed bed;
        REQUIRE(vmm_bed_open(&bed));
        vmm_bed_switch(&bed, way % 2 == 0 ? &bed.a : &bed.b);
        start_other(&bed, &bed.a);
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, va, npages(1024), RW | VMM_2M));
        if (way / 2 != 0) {
            EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr_add_pages(va, 511), npages(2)));
            EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, va, npages(511)));
            EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr_add_pages(va, 513), npages(511)));
        } else {
            EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, va, npages(1024)));
        }
        stop_other(&bed);
        vmm_bed_close(&bed);
    }
}

/*
 * Another space is open: its PML4 names the kernel's tables too, and so the foreign window shows them. Tables that go
 * are not flushed there; a large page that comes must find nothing of them.
 */
TEST_HOST(vmm_large_flush, a_large_page_of_the_kernel_half_finds_nothing_in_the_foreign_window)
{
    const vaddr_t kernel = {LAYOUT_KERNEL_END - 4 * level_span_bytes(3)};
    for (unsigned level = 2; level <= 3; level++) {
        struct vmm_bed bed;
        REQUIRE(vmm_bed_open(&bed));
        struct space *space = &bed.vmm->kernel;
        vmm_bed_switch(&bed, &bed.a);
        for (unsigned turn = 0; turn < 2; turn++) {
            struct vmm_walk w;
            EXPECT_OK(vmm_translate(bed.vmm, &bed.b, va, &w)); /* b is open */
            EXPECT_OK(vmm_map_frames(bed.vmm, space, kernel, device, npages(3), RW, false));
            EXPECT_OK(vmm_unmap(bed.vmm, space, kernel, npages(3)));
            EXPECT_OK(vmm_map_frames(bed.vmm, space, kernel, device, npages(level_span_pages(level)),
                                     RW | (level == 3 ? VMM_1G : VMM_2M), false));
            EXPECT_OK(vmm_unmap(bed.vmm, space, kernel, npages(level_span_pages(level))));
        }
        vmm_bed_close(&bed);
    }
}
