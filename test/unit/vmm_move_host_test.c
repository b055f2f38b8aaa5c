/* What other CPUs see of pages that move, and what they mark. Host only: the model machine runs them. */
#include "arch/arch.h"
#include "model/model.h"
#include "unit/vmm_bed.h"
#include "unit/vmm_two_cpus.h"
#include "vmm/entry.h"
#include "vmm/vmm_marks.h"

enum { RW = VMM_READ | VMM_WRITE, BOTH = VMM_ACCESSED | VMM_DIRTY };

static void mark(struct model *m, pfn_t table, unsigned index, pte_t *entry)
{
    (void)m;
    (void)table;
    (void)index;
    entry->v |= pte_is_present(*entry) ? PTE_A | PTE_D : 0;
}

/* Another CPU's walk marks a leaf after the new one was made of it: the new one has the mark too. */
TEST_HOST(vmm_move, what_is_marked_meanwhile_is_kept)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    struct vmm_marks m;
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(70), RW));
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(70), BOTH, &m));
    model_machine->before_replace = mark;
    EXPECT_OK(vmm_move(bed.vmm, &bed.a, vaddr(VA_PRIVATE), vaddr(VA_GLOBAL), npages(70)));
    model_machine->before_replace = NULL;
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(70), 0, &m));
    EXPECT(m.accessed.v == 70 && m.dirty.v == 70);
    vmm_bed_close(&bed);
}

/* The other CPU runs in the space, and has used both places: it uses the new one at once, and none of the old. */
TEST_HOST(vmm_move, the_old_addresses_are_flushed_on_all_cpus_that_run_in_the_space)
{
    static const uint64_t lengths[] = {1, 3, 40, 600};
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    start_other_cpu(vmm);
    vmm_bed_switch(&bed, &bed.a);
    change_cpu(vmm);
    vmm_bed_switch(&bed, &bed.a);
    change_cpu(vmm);
    for (unsigned i = 0; i < ARRAY_LEN(lengths); i++) {
        const vaddr_t from = vaddr(VA_PRIVATE), to = vaddr(VA_GLOBAL), end = vaddr_add_pages(from, lengths[i] - 1);
        EXPECT_OK(vmm_map(vmm, &bed.a, from, npages(lengths[i]), RW));
        change_cpu(vmm);
        arch_write64(from, 1);
        arch_write64(end, 2);
        change_cpu(vmm);
        const uint64_t ipis = vmm->counters.ipis;
        EXPECT_OK(vmm_move(vmm, &bed.a, from, to, npages(lengths[i])));
        EXPECT_EQ(vmm->counters.ipis, ipis + 1);
        for (unsigned cpu = 0; cpu < 2; cpu++) {
            EXPECT(!model_can_access(model_machine, from, false) && !model_can_access(model_machine, end, false));
            EXPECT_EQ(arch_read64(vaddr_add_pages(to, lengths[i] - 1)), 2);
            change_cpu(vmm);
        }
        EXPECT_OK(vmm_unmap(vmm, &bed.a, to, npages(lengths[i])));
    }
    change_cpu(vmm);
    vmm_bed_switch(&bed, bed.home);
    change_cpu(vmm);
    vmm_bed_close(&bed);
}

/* One flush for the whole of it: no page more than there are, and a reload beyond. */
TEST_HOST(vmm_move, a_page_costs_five_accesses_and_a_range_one_flush)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    vmm_bed_switch(&bed, &bed.a);
    const vaddr_t from = vaddr(VA_PRIVATE), to = vaddr(VA_GLOBAL);
    EXPECT_OK(vmm_map(vmm, &bed.a, from, npages(513), RW));
    EXPECT_OK(vmm_map(vmm, &bed.a, vaddr_add_pages(to, 511), npages(1), RW));
    for (uint64_t pages = 32; pages <= 256; pages *= 8) {
        vmm->counters = (struct vmm_counters){0};
        EXPECT_OK(vmm_move(vmm, &bed.a, from, to, npages(pages)));
        const struct vmm_counters c = vmm->counters;
        enum { UPPER = 24 }; /* loads of entries above, a few times each; two live counts */
        EXPECT(c.table_loads >= 3 * pages && c.table_loads <= 4 * pages + pages + UPPER);
        EXPECT_EQ(c.table_stores, 2 * pages + 2);
        const bool one_by_one = pages <= VMM_FLUSH_PAGES_MAX;
        EXPECT(c.invlpg == (one_by_one ? pages : 0) && c.cr3_loads == (one_by_one ? 0 : 1));
        EXPECT_OK(vmm_move(vmm, &bed.a, to, from, npages(pages)));
    }
    vmm_bed_close(&bed);
}
