/* Accessed and dirty bits that another CPU sets at the worst moment, and large pages. Host only: the model runs it. */
#include "arch/arch.h"
#include "model/model.h"
#include "unit/vmm_bed.h"
#include "vmm/entry.h"
#include "vmm/vmm_marks.h"
#include "vmm/vmm_share.h"

enum { RW = VMM_READ | VMM_WRITE, BOTH = VMM_ACCESSED | VMM_DIRTY };

static unsigned times;

/* Twice for one leaf: A, then D. */
static void mark(struct model *m, pfn_t table, unsigned index, pte_t *entry)
{
    (void)m;
    (void)table;
    (void)index;
    uint64_t next = (entry->v & PTE_A) == 0 ? PTE_A : PTE_D;
    times += (entry->v & next) == 0;
    entry->v |= next;
}

/* Between the load and the store of a leaf: the change of rights must keep it. */
TEST_HOST(vmm_marks, what_comes_during_a_change_of_rights_is_kept)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    struct vmm_marks m;
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(3), RW));
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(3), BOTH, &m));
    times = 0;
    model_machine->before_replace = mark;
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(3), VMM_READ));
    model_machine->before_replace = NULL;
    EXPECT_EQ(times, 6);
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(3), 0, &m));
    EXPECT(m.accessed.v == 3 && m.dirty.v == 3);
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed.vmm, &bed.a, vaddr(VA_PRIVATE), &w));
    EXPECT_EQ(w.rights, VMM_READ);
    vmm_bed_close(&bed);
}

/* What comes while marks are cleared is counted with them, or stays. */
TEST_HOST(vmm_marks, what_comes_while_they_are_cleared_is_counted)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    struct vmm_marks m;
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(3), RW));
    for (uint64_t i = 0; i < 3; i++) {
        (void)arch_read64(vaddr_add_pages(vaddr(VA_PRIVATE), i));
    }
    model_machine->before_replace = mark; /* D, since A is there */
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(3), BOTH, &m));
    EXPECT(m.accessed.v == 3 && m.dirty.v == 3);
    model_machine->before_replace = NULL;
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(3), 0, &m));
    EXPECT(m.accessed.v == 0 && m.dirty.v == 0);
    vmm_bed_close(&bed);
}

/* One mark for all of a large page, of which any part may be asked about. */
TEST_HOST(vmm_marks, a_large_page_has_one_mark_for_all_its_pages)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    const vaddr_t base = vaddr(VA_PRIVATE), behind = vaddr(VA_PRIVATE + level_span_bytes(2));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, base, npages(1), RW)); /* tables above; the PD counts 1, or 2 */
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, behind, npages(1), RW));
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, base, npages(1)));
    paddr_t pde = model_entry_at(model_machine, bed.a.root, base, 2);
    const uint64_t large = pte_make(pfn(PAGES_PER_2M * 8), PTE_P | PTE_W | PTE_XD | PTE_PS | PTE_A | PTE_D).v;
    model_phys_write64(model_machine, pde, large);
    struct vmm_marks m;
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, vaddr_add_pages(base, 100), npages(412), 0, &m));
    EXPECT(m.accessed.v == 412 && m.dirty.v == 412);
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, vaddr_add_pages(base, 511), npages(2), VMM_DIRTY, &m));
    EXPECT_EQ(m.dirty.v, 1);
    EXPECT_EQ(model_phys_read64(model_machine, pde), large & ~PTE_D);
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, base, npages(512), BOTH, &m));
    EXPECT(m.accessed.v == 512 && m.dirty.v == 0);
    model_phys_write64(model_machine, pde, 0);
    vmm_bed_close(&bed);
}

static void expect_marks_kept(struct vmm_bed *bed, struct space *space, vaddr_t va)
{
    struct vmm_marks m = {{9}, {9}};
    EXPECT_EQ(vmm_marks(bed->vmm, space, va, npages(1), VMM_DIRTY, &m), STATUS_SHARED);
    EXPECT_OK(vmm_marks(bed->vmm, space, va, npages(1), 0, &m));
    EXPECT_EQ(m.dirty.v, 0);
}

/* Nobody clears marks behind a table that other spaces see; counting is good. */
TEST_HOST(vmm_marks, marks_behind_a_shared_table_are_counted_and_not_cleared)
{
    struct vmm_bed bed;
    struct vmm_marks m;
    struct vmm_loan loan = {0};
    const vaddr_t va = vaddr(VA_PRIVATE), part = vaddr(VA_PRIVATE & ~(level_span_bytes(3) - 1));
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, va, npages(1), RW));
    for (unsigned level = 2; level <= 3; level++) {
        EXPECT_OK(vmm_lend(bed.vmm, &bed.a, part, &bed.b, part, level, VMM_READ, &loan));
        expect_marks_kept(&bed, &bed.a, va);
        expect_marks_kept(&bed, &bed.b, va);
        EXPECT_OK(vmm_withdraw(bed.vmm, &loan));
    }
    EXPECT_OK(vmm_clone(bed.vmm, &bed.a, &bed.b, part, npages(PAGES_PER_2M)));
    expect_marks_kept(&bed, &bed.a, va);
    expect_marks_kept(&bed, &bed.b, va);
    EXPECT_OK(vmm_unshare(bed.vmm, &bed.a, va, npages(1)));
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, va, npages(1), BOTH, &m));
    vmm_bed_close(&bed);
}

/* A walker reads there, at the worst moment. */
static void mark_accessed(struct model *m, pfn_t table, unsigned index, pte_t *entry)
{
    (void)m;
    (void)table;
    (void)index;
    entry->v |= pte_is_present(*entry) ? PTE_A : 0;
}

/* In place, since it is alone with its frame, or into a copy: the marks that come meanwhile stay (R19). */
TEST_HOST(vmm_marks, what_comes_while_a_page_is_owned_is_kept)
{
    for (unsigned copied = 0; copied < 2; copied++) {
        struct vmm_bed bed;
        struct vmm_marks m;
        const vaddr_t va = vaddr(VA_PRIVATE);
        REQUIRE(vmm_bed_open(&bed));
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, va, npages(1), RW));
        EXPECT_OK(vmm_clone(bed.vmm, &bed.a, &bed.b, va, npages(PAGES_PER_2M)));
        EXPECT_OK(vmm_unshare(bed.vmm, &bed.a, va, npages(1)));
        if (copied == 0) {
            EXPECT_OK(space_destroy(bed.vmm, &bed.b));
            EXPECT_OK(space_create(bed.vmm, &bed.b));
        }
        model_machine->before_replace = mark_accessed;
        EXPECT_OK(vmm_own_page(bed.vmm, &bed.a, va));
        model_machine->before_replace = NULL;
        EXPECT_OK(vmm_marks(bed.vmm, &bed.a, va, npages(1), 0, &m));
        EXPECT_EQ(m.accessed.v, 1);
        vmm_bed_close(&bed);
    }
}
