/* A page that passes from the current space to another one, the short way (vmm/pass.c). */
#include "arch/arch.h"
#include "unit/vmm_bed.h"
#include "vmm/vmm_share.h"

enum { RW = VMM_READ | VMM_WRITE, PAGES = 3 };

static struct vmm_bed bed;
#define PAGE(i) vaddr_add_pages(vaddr(VA_GLOBAL), (i))

/* a, which is current, has three pages; b has one beside where they would go. */
static bool open_with_pages(void)
{
    if (!vmm_bed_open(&bed)) {
        return false;
    }
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, PAGE(0), npages(PAGES), RW));
    EXPECT_OK(vmm_map(bed.vmm, &bed.b, PAGE(PAGES), npages(1), RW));
    vmm_bed_switch(&bed, &bed.a);
    arch_write64(PAGE(1), 11);
    return true;
}

static void close_unchanged(uint64_t frame)
{
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, PAGE(1)), frame);
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.b, PAGE(1)), UINT64_MAX);
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

TEST(vmm_pass, a_page_passes_with_its_frame_and_its_contents)
{
    REQUIRE(open_with_pages());
    const uint64_t frame = vmm_bed_frame_of(&bed, &bed.a, PAGE(1)), used = pmm_stats(bed.vmm->pmm).used.v;
    EXPECT(vmm_pass_page(bed.vmm, &bed.a, &bed.b, PAGE(1), VMM_READ));
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, PAGE(1)), UINT64_MAX);
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.b, PAGE(1)), frame);
    EXPECT_EQ(pmm_stats(bed.vmm->pmm).used.v, used);
    EXPECT(bed.a.pages.v == PAGES - 1 && bed.b.pages.v == 2);
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed.vmm, &bed.b, PAGE(1), &w));
    EXPECT_EQ(w.rights, VMM_READ);
    vmm_bed_switch(&bed, &bed.b);
    EXPECT_EQ(arch_read64(PAGE(1)), 11);
    EXPECT(vmm_bed_check(bed.vmm));
    EXPECT(vmm_pass_page(bed.vmm, &bed.b, &bed.a, PAGE(1), RW));
    vmm_bed_switch(&bed, &bed.a);
    arch_write64(PAGE(1), 12);
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.b, PAGE(1)), UINT64_MAX);
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

/* The translation that the giver's CPU has is gone: another frame at the address is what it sees. */
TEST(vmm_pass, the_giver_has_no_translation_left)
{
    REQUIRE(open_with_pages());
    EXPECT_EQ(arch_read64(PAGE(1)), 11);
    EXPECT(vmm_pass_page(bed.vmm, &bed.a, &bed.b, PAGE(1), RW));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, PAGE(1), npages(1), RW));
    EXPECT_EQ(arch_read64(PAGE(1)), 0);
    arch_write64(PAGE(1), 13);
    vmm_bed_switch(&bed, &bed.b);
    EXPECT_EQ(arch_read64(PAGE(1)), 11);
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

TEST(vmm_pass, what_would_take_more_than_two_leaves_is_left_as_it_is)
{
    REQUIRE(open_with_pages());
    const uint64_t frame = vmm_bed_frame_of(&bed, &bed.a, PAGE(1));
    EXPECT(!vmm_pass_page(bed.vmm, &bed.b, &bed.a, PAGE(PAGES), RW)); /* not of the current space */
    EXPECT(!vmm_pass_page(bed.vmm, &bed.a, &bed.b, PAGE(PAGES), RW)); /* nothing there */
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, PAGE(PAGES), npages(1), RW));
    EXPECT(!vmm_pass_page(bed.vmm, &bed.a, &bed.b, PAGE(PAGES), RW)); /* something there in the other one */
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.b, PAGE(PAGES), npages(1)));
    EXPECT(!vmm_pass_page(bed.vmm, &bed.a, &bed.b, PAGE(1), RW)); /* the other one has no table there */
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, PAGE(PAGES), npages(1)));
    close_unchanged(frame);
}

TEST(vmm_pass, the_last_page_of_a_table_does_not_leave_it)
{
    REQUIRE(open_with_pages());
    const uint64_t frame = vmm_bed_frame_of(&bed, &bed.a, PAGE(1));
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, PAGE(0), npages(1)));
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, PAGE(2), npages(1)));
    EXPECT(!vmm_pass_page(bed.vmm, &bed.a, &bed.b, PAGE(1), RW));
    close_unchanged(frame);
}

TEST(vmm_pass, frames_that_are_not_owned_do_not_pass)
{
    REQUIRE(open_with_pages());
    const pfn_t device = {0xC000000};
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, PAGE(1), npages(1)));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, PAGE(1), device, npages(1), RW, false));
    EXPECT(!vmm_pass_page(bed.vmm, &bed.a, &bed.b, PAGE(1), RW));
    close_unchanged(device.v);
}
