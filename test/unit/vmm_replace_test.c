/* A page gets another frame with the same contents (vmm/replace.c). */
#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/vmm_share_bed.h"
#include "vmm/vmm_marks.h"
#include "vmm/vmm_share.h"

enum { R = VMM_READ, RW = VMM_READ | VMM_WRITE, PAGES = 3, PART = PAGES_PER_2M };

static struct vmm_bed bed;
#define PAGE(i) vaddr_add_pages(vaddr(VA_PRIVATE), (i))

/* a has three pages, of which the middle one is written to and begins with 11. */
static bool open_with_pages(void)
{
    if (!vmm_bed_open(&bed)) {
        return false;
    }
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, PAGE(0), npages(PAGES), RW));
    arch_write64(PAGE(1), 11);
    return true;
}

static pfn_t frame_of(struct space *space, vaddr_t va) { return pfn(vmm_bed_frame_of(&bed, space, va)); }

/* => the fresh one; the old one goes back. */
static pfn_t replace(struct space *space, vaddr_t va)
{
    pfn_t fresh = pfn(0);
    const pfn_t old = frame_of(space, va);
    EXPECT_OK(pmm_alloc(bed.vmm->pmm, PMM_USER, &fresh));
    EXPECT_OK(vmm_replace(bed.vmm, space, va, old, fresh));
    EXPECT_EQ(frame_of(space, va).v, fresh.v);
    EXPECT_EQ(pmm_query(bed.vmm->pmm, old).references, 1);
    EXPECT_OK(pmm_free(bed.vmm->pmm, old));
    return fresh;
}

TEST(vmm_replace, contents_rights_marks_and_neighbours_stay)
{
    REQUIRE(open_with_pages());
    struct vmm_marks m;
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, PAGE(2), npages(1), R | VMM_EXECUTE));
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, PAGE(0), npages(PAGES), VMM_ACCESSED | VMM_DIRTY, &m));
    arch_write64(PAGE(1), 12);
    (void)arch_read64(PAGE(2));
    const uint64_t neighbour = frame_of(&bed.a, PAGE(0)).v, pages = bed.a.pages.v, tables = bed.a.tables.v;
    (void)replace(&bed.a, PAGE(1));
    (void)replace(&bed.a, vaddr_add(PAGE(2), 77)); /* anywhere in it */
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, PAGE(0), npages(PAGES), 0, &m));
    EXPECT(m.accessed.v == 2 && m.dirty.v == 1);
    EXPECT_EQ(arch_read64(PAGE(1)), 12);
    EXPECT(rights_of(&bed, &bed.a, PAGE(1)) == RW && rights_of(&bed, &bed.a, PAGE(2)) == (R | VMM_EXECUTE));
    EXPECT_EQ(frame_of(&bed.a, PAGE(0)).v, neighbour);
    EXPECT(bed.a.pages.v == pages && bed.a.tables.v == tables);
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

TEST(vmm_replace, a_page_of_another_space_is_replaced_alike)
{
    REQUIRE(open_with_pages());
    vmm_bed_switch(&bed, &bed.b);
    (void)replace(&bed.a, PAGE(1));
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_EQ(arch_read64(PAGE(1)), 11);
    arch_write64(PAGE(1), 13);
    EXPECT_EQ(word_of(&bed, &bed.a, PAGE(1)), 13);
    vmm_bed_close(&bed);
}

/* Its copies for others have frames of their own by then; what the leaf says of that stays. */
TEST(vmm_replace, a_page_for_copy_on_write_stays_one)
{
    REQUIRE(open_with_pages());
    EXPECT_OK(vmm_clone(bed.vmm, &bed.a, &bed.b, vaddr(VA_PRIVATE), npages(PART)));
    write_word(&bed, &bed.b, PAGE(0), 1); /* a copy of the table */
    EXPECT_OK(vmm_unshare(bed.vmm, &bed.a, PAGE(0), npages(1)));
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.b, PAGE(1), npages(1))); /* a is alone with the frame, and does not know */
    EXPECT_EQ(rights_of(&bed, &bed.a, PAGE(1)), R);
    const pfn_t fresh = replace(&bed.a, PAGE(1));
    EXPECT_EQ(rights_of(&bed, &bed.a, PAGE(1)), R);
    EXPECT_OK(vmm_own_page(bed.vmm, &bed.a, PAGE(1)));
    EXPECT_EQ(frame_of(&bed.a, PAGE(1)).v, fresh.v);
    EXPECT_EQ(arch_read64(PAGE(1)), 11);
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

TEST(vmm_replace, a_page_that_is_lent_is_replaced_for_all)
{
    static struct vmm_loan loan;
    loan = (struct vmm_loan){0};
    REQUIRE(open_with_pages());
    EXPECT_OK(vmm_lend(bed.vmm, &bed.a, PAGE(0), &bed.b, vaddr(VA_GLOBAL), 2, R, &loan));
    vmm_bed_switch(&bed, &bed.b);
    EXPECT_EQ(arch_read64(vaddr(VA_GLOBAL)), 0);
    pfn_t fresh;
    EXPECT_OK(pmm_alloc(bed.vmm->pmm, PMM_USER, &fresh));
    const pfn_t old = frame_of(&bed.a, PAGE(1));
    EXPECT_EQ(vmm_replace(bed.vmm, &bed.b, vaddr_add_pages(vaddr(VA_GLOBAL), 1), old, fresh), STATUS_SHARED);
    EXPECT_OK(pmm_free(bed.vmm->pmm, fresh));
    EXPECT_EQ(arch_read64(vaddr_add_pages(vaddr(VA_GLOBAL), 1)), 11);
    fresh = replace(&bed.a, PAGE(1));
    EXPECT_EQ(frame_of(&bed.b, vaddr_add_pages(vaddr(VA_GLOBAL), 1)).v, fresh.v);
    EXPECT_EQ(arch_read64(vaddr_add_pages(vaddr(VA_GLOBAL), 1)), 11);
    EXPECT(vmm_bed_check(bed.vmm));
    EXPECT_OK(vmm_withdraw(bed.vmm, &loan));
    vmm_bed_close(&bed);
}

static bool ask_inside(void *ctx, const struct vmm_mapping *mapping)
{
    EXPECT_EQ(vmm_replace(bed.vmm, &bed.a, mapping->base, paddr_to_pfn(mapping->address), *(pfn_t *)ctx),
              STATUS_MISUSE);
    return false;
}

TEST(vmm_replace, what_is_refused_changes_nothing)
{
    static const pfn_t device = {0xC000000};
    REQUIRE(open_with_pages());
    struct vmm *vmm = bed.vmm;
    pfn_t fresh;
    EXPECT_OK(pmm_alloc(vmm->pmm, PMM_USER, &fresh));
    EXPECT_OK(vmm_map_frames(vmm, &bed.a, PAGE(5), device, npages(1), RW, false));
    EXPECT_OK(vmm_map_frames(vmm, &bed.a, PAGE(PART), device, npages(PART), RW | VMM_2M, false));
    EXPECT_OK(vmm_map(vmm, &bed.a, vaddr(VA_GLOBAL), npages(1), RW));
    EXPECT_OK(vmm_clone(vmm, &bed.a, &bed.b, vaddr(VA_GLOBAL), npages(PART)));
    const pfn_t old = frame_of(&bed.a, PAGE(1)), shared = frame_of(&bed.a, vaddr(VA_GLOBAL));
    const struct { vaddr_t va; pfn_t old; enum status answer; } wrong[] = {
        {PAGE(3), old, STATUS_ABSENT}, /* nothing is there */
        {PAGE(2), old, STATUS_ABSENT}, /* another page is */
        {PAGE(5), device, STATUS_ABSENT}, /* no memory of the space's */
        {PAGE(PART), device, STATUS_ABSENT}, /* a large page */
        {vaddr(VA_PRIVATE - GIB), old, STATUS_ABSENT}, /* no table */
        {vaddr(VA_GLOBAL), shared, STATUS_SHARED},
        {vaddr(LAYOUT_TEMP_BASE), old, STATUS_RANGE},
        {vaddr(LAYOUT_USER_END), old, STATUS_RANGE},
    };
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        EXPECT_EQ(vmm_replace(vmm, &bed.a, wrong[i].va, wrong[i].old, fresh), wrong[i].answer);
        EXPECT_EQ(vmm_replace(vmm, &bed.b, wrong[i].va, wrong[i].old, fresh), wrong[i].answer);
    }
    vmm_visit(vmm, &bed.a, PAGE(0), PAGE(1), ask_inside, &fresh);
    EXPECT_EQ(vmm_replace(vmm, NULL, PAGE(1), old, fresh), STATUS_MISUSE);
    test_expect_reports(2);
    EXPECT(frame_of(&bed.a, PAGE(1)).v == old.v && arch_read64(PAGE(1)) == 11);
    EXPECT_EQ(frame_of(&bed.b, vaddr(VA_GLOBAL)).v, shared.v);
    EXPECT_OK(pmm_free(vmm->pmm, fresh));
    EXPECT(vmm_bed_check(vmm));
    vmm_bed_close(&bed);
}

TEST(vmm_replace, it_takes_six_stores_and_two_flushes_and_one_where_the_space_runs)
{
    REQUIRE(open_with_pages());
    struct space *const running[] = {&bed.a, &bed.b};
    for (unsigned i = 0; i < 2; i++) {
        vmm_bed_switch(&bed, running[i]);
        (void)replace(&bed.a, PAGE(0));
        const pfn_t old = frame_of(&bed.a, PAGE(1));
        pfn_t fresh;
        EXPECT_OK(pmm_alloc(bed.vmm->pmm, PMM_USER, &fresh));
        bed.vmm->counters = (struct vmm_counters){0};
        EXPECT_OK(vmm_replace(bed.vmm, &bed.a, PAGE(1), old, fresh));
        const struct vmm_counters c = bed.vmm->counters;
        EXPECT(c.table_loads == PAGING_LEVELS && c.table_stores == 6 && c.cr3_loads == 0 && c.ipis == 0);
        EXPECT_EQ(c.invlpg, 3 - i);
        EXPECT_OK(pmm_free(bed.vmm->pmm, old));
    }
    vmm_bed_close(&bed);
}
