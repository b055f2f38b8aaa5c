/*
 * Cache types at the border of RAM, the validator on broken ones, and CPUs with fewer address bits. Host only: through
 * the model's physical memory and machine.
 */
#include "arch/arch.h"
#include "arch/layout.h"
#include "model/model.h"
#include "unit/vmm_bed.h"
#include "vmm/vmm_marks.h"

enum { RW = VMM_READ | VMM_WRITE };

/* RAM is 0-640 KiB and 1-64 MiB. */
TEST_HOST(vmm_cache, ram_is_what_the_pmms_runs_say)
{
    static const struct {
        uint64_t first, frames, ram;
    } cases[] = {
        {0, 1, 1},          {0, 160, 160},      {0, 161, 160},       {159, 2, 1},     {160, 96, 0}, {160, 97, 1},
        {100, 200, 60 + 44}, {256, 16128, 16128}, {16383, 1, 1}, {16384, 1, 0}, {16383, 5, 1}, {0, 20000, 16288},
        {1ULL << 40, 1, 0},
    };
    struct model *m = model_start(64 * MIB);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        EXPECT_EQ(pmm_count_ram(&m->pmm, pfn(cases[i].first), npages(cases[i].frames)).v, cases[i].ram);
    }
}

/* Frames some of which are RAM: write-back only, and counted all. */
TEST_HOST(vmm_cache, a_range_over_the_end_of_ram_is_write_back)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const pfn_t ends[] = {pfn(158), pfn(254), pfn(model_machine->ram.v - 2)};
    for (unsigned i = 0; i < ARRAY_LEN(ends); i++) {
        const pfn_t first = ends[i];
        EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_GLOBAL), first, npages(4), RW | VMM_UNCACHED, false),
                  STATUS_CONFLICT);
        EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_GLOBAL), first, npages(4), VMM_READ, false));
        EXPECT_EQ(bed.vmm->cache.count, 1);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.b, vaddr(VA_GLOBAL), i == 1 ? first : pfn_add(first, 3), npages(1),
                                 RW | VMM_UNCACHED, false),
                  STATUS_CONFLICT);
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(4)));
        EXPECT_EQ(bed.vmm->cache.count, 0);
    }
    vmm_bed_close(&bed);
}

/* A CPU that addresses less: the first frame behind its end is refused by every call, the last one is good. */
TEST_HOST(vmm_cache, frames_that_the_cpu_cannot_address_are_refused)
{
    static const unsigned widths[] = {36, 39, 40, 46, 51, 52};
    for (unsigned i = 0; i < ARRAY_LEN(widths); i++) {
        static struct vmm vmm;
        struct model *m = model_start(64 * MIB);
        m->variant.physical_bits = widths[i];
        REQUIRE(vmm_init_with(&vmm, &m->pmm, model_pointer, model_address) == STATUS_OK);
        const pfn_t end = paddr_to_pfn(paddr(1ULL << widths[i]));
        const vaddr_t va = vaddr(VA_PRIVATE);
        vaddr_t page;
        EXPECT_EQ(vmm.frames_end.v, end.v);
        for (unsigned flags = 0; flags < 2; flags++) {
            const unsigned rights = RW | (flags != 0 ? VMM_UNCACHED : 0);
            EXPECT_EQ(vmm_map_frames(&vmm, &vmm.kernel, va, end, npages(1), rights, false), STATUS_RANGE);
            EXPECT_EQ(vmm_map_frames(&vmm, &vmm.kernel, va, pfn(end.v - 1), npages(2), rights, false), STATUS_RANGE);
            EXPECT_EQ(vmm_map_frames(&vmm, &vmm.kernel, va, pfn(UINT64_MAX), npages(2), rights, false), STATUS_RANGE);
        }
        EXPECT_EQ(temp_map(&vmm, end, &page), STATUS_RANGE);
        EXPECT_OK(vmm_map_frames(&vmm, &vmm.kernel, va, pfn(end.v - 1), npages(1), RW | VMM_UNCACHED, false));
        EXPECT(model_judge(m, va, MODEL_READ).rule != MODEL_FAULT_RESERVED);
        model_phys_write64(m, model_entry_at(m, vmm.kernel.root, va, 1), pte_make(end, RW | PTE_P).v);
        EXPECT(model_judge(m, va, MODEL_READ).rule == MODEL_FAULT_RESERVED || widths[i] == 52); /* so it is refused */
    }
}

/* VMM-I8: broken in the tables, or in the table of ranges. */
TEST_HOST(vmm_cache, the_validator_sees_types_and_ranges_that_disagree)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    const pfn_t device = {0xF0000};
    EXPECT_OK(vmm_map(vmm, &bed.a, vaddr(VA_PRIVATE), npages(1), RW));
    EXPECT_OK(vmm_map_frames(vmm, &bed.a, vaddr(VA_GLOBAL), device, npages(2), RW | VMM_UNCACHED, false));
    const paddr_t ram = model_entry_at(model_machine, bed.a.root, vaddr(VA_PRIVATE), 1);
    const paddr_t first = model_entry_at(model_machine, bed.a.root, vaddr(VA_GLOBAL), 1);
    const struct {
        paddr_t at;
        uint64_t flips;
    } broken[] = {
        {ram, PTE_PWT}, {ram, PTE_PCD}, {ram, PTE_PS}, {ram, PTE_DEVICE},     {first, PTE_DEVICE},
        {first, PTE_PCD}, {first, PTE_PS}, {first, PTE_OWNED}, {first, 4ULL * PAGE_BYTES}, {first, PTE_P},
    };
    for (unsigned i = 0; i < ARRAY_LEN(broken); i++) {
        const uint64_t was = model_phys_read64(model_machine, broken[i].at);
        model_phys_write64(model_machine, broken[i].at, was ^ broken[i].flips);
        EXPECT_EQ(vmm_check(vmm, NULL), STATUS_CORRUPT);
        model_phys_write64(model_machine, broken[i].at, was);
        EXPECT(vmm_bed_check(vmm));
    }
    struct vmm_cache_range *r = &vmm->cache.range[0];
    const struct vmm_cache_range was = *r, wrong[] = {
        {was.first, was.end, was.mapped + 1},
        {was.first, was.end - 1, was.mapped},
        {was.first - (1ULL << 48), was.end - (1ULL << 48), was.mapped},
    };
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        *r = wrong[i];
        EXPECT_EQ(vmm_check(vmm, NULL), STATUS_CORRUPT);
        *r = was;
    }
    vmm->cache.range[vmm->cache.count++] = was;
    EXPECT_EQ(vmm_check(vmm, NULL), STATUS_CORRUPT);
    vmm->cache.range[--vmm->cache.count] = (struct vmm_cache_range){0};
    vmm_bed_close(&bed);
}

/* A temporary mapping is write-back: while there is one, another type is refused, in whatever order they come. */
TEST_HOST(vmm_cache, a_frame_that_is_mapped_temporarily_is_write_back)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const pfn_t device = pfn(0xC000000);
    const unsigned before = bed.vmm->cache.count;
    vaddr_t page[2];
    for (unsigned i = 0; i < 2; i++) {
        EXPECT_OK(temp_map(bed.vmm, pfn_add(device, 7 * i), &page[i]));
    }
    for (unsigned i = 0; i < 2; i++) {
        EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_GLOBAL), pfn_add(device, 6 * i), npages(3),
                                 RW | VMM_UNCACHED, false),
                  STATUS_CONFLICT);
    }
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_GLOBAL), pfn_add(device, 1), npages(6), RW | VMM_UNCACHED,
                             false));
    EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.b, vaddr(VA_GLOBAL), device, npages(3), RW | VMM_UNCACHED, false),
              STATUS_CONFLICT);
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.b, vaddr(VA_GLOBAL), pfn_add(device, 7), npages(3), RW, false));
    EXPECT_EQ(bed.vmm->cache.count, before + 2);
    for (unsigned i = 2; i-- > 0;) {
        EXPECT_OK(temp_unmap(bed.vmm, page[i]));
    }
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr_add_pages(vaddr(VA_GLOBAL), 9), device, npages(1),
                             RW | VMM_UNCACHED, false));
    vmm_bed_close(&bed);
}
