/* All or nothing: with every number of frames that is too small, and with the one that is enough. */
#include "arch/layout.h"
#include "pmm/pmm_runs.h"
#include "unit/vmm_bed.h"

enum { RW = VMM_READ | VMM_WRITE };

struct shape {
    uint64_t va, pages, tables; /* missing in an empty space */
};

static const struct shape shapes[] = {
    {VA_PRIVATE, 1, 3},
    {VA_PRIVATE + PAGE_BYTES, 3, 3},
    {VA_PRIVATE + 510ULL * PAGE_BYTES, 4, 4},             /* over the end of a PT */
    {VA_PRIVATE - 2ULL * PAGE_BYTES, 4, 5},               /* over the end of a PD */
    {LAYOUT_SLOT_BASE(8) - 2ULL * PAGE_BYTES, 4, 6},      /* over the end of a PDPT */
    {VA_GLOBAL, 600, 4},
};

static void expect_untouched(struct vmm_bed *bed, struct space *space, const struct shape *s, uint64_t free)
{
    EXPECT(space->pages.v == 0 && space->tables.v == 1);
    EXPECT_EQ(pmm_stats(bed->vmm->pmm).free.v, free);
    EXPECT_EQ(vmm_bed_frame_of(bed, space, vaddr(s->va)), UINT64_MAX);
}

static void map_with_every_number_of_frames(struct vmm_bed *bed, struct space *space, const struct shape *s)
{
    uint64_t need = s->pages + s->tables;
    for (uint64_t k = 0; k <= need; k++) {
        if (k > 8 && k + 8 < need) {
            continue; /* the middle is all alike */
        }
        uint64_t free = pmm_stats(bed->vmm->pmm).free.v;
        npages_t taken = vmm_bed_limit(bed, k);
        EXPECT_EQ(vmm_map(bed->vmm, space, vaddr(s->va), npages(s->pages), RW), k < need ? STATUS_NOMEM : STATUS_OK);
        vmm_bed_unlimit(bed, taken);
        if (k < need) {
            expect_untouched(bed, space, s, free);
            continue;
        }
        EXPECT_EQ(space->tables.v, 1 + s->tables);
        EXPECT_EQ(pmm_stats(bed->vmm->pmm).promised.v, 0);
        EXPECT(vmm_bed_check(bed->vmm));
        EXPECT_OK(vmm_unmap(bed->vmm, space, vaddr(s->va), npages(s->pages)));
        expect_untouched(bed, space, s, free);
    }
}

TEST(vmm, a_map_takes_all_its_frames_or_none)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        map_with_every_number_of_frames(&bed, &bed.a, &shapes[i]);
        map_with_every_number_of_frames(&bed, &bed.b, &shapes[i]);
    }
    vmm_bed_close(&bed);
}

TEST(vmm, frames_keep_their_references_when_tables_run_out)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    pfn_t frame;
    REQUIRE(pmm_alloc(bed.vmm->pmm, PMM_USER, &frame) == STATUS_OK);
    for (uint64_t k = 0; k <= 3; k++) {
        npages_t taken = vmm_bed_limit(&bed, k);
        EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_GLOBAL), frame, npages(1), RW, true),
                  k < 3 ? STATUS_NOMEM : STATUS_OK);
        vmm_bed_unlimit(&bed, taken);
        EXPECT_EQ(pmm_query(bed.vmm->pmm, frame).references, k < 3 ? 1 : 2);
    }
    EXPECT_OK(pmm_release(bed.vmm->pmm, frame, NULL));
    vmm_bed_close(&bed);
}

/* The same with frames that are given: only tables are taken. Own, foreign, with kept tables there already. */
static void map_frames_with_every_number(struct vmm_bed *bed, struct space *space, const struct shape *s, bool own)
{
    pfn_t first;
    REQUIRE(pmm_alloc_run(bed->vmm->pmm, PMM_USER, npages(s->pages), npages(1), npages(0), PMM_NO_LIMIT, &first) ==
            STATUS_OK);
    for (uint64_t k = 0; k <= s->tables; k++) {
        const uint64_t free = pmm_stats(bed->vmm->pmm).free.v, made = bed->vmm->counters.tables_made;
        npages_t taken = vmm_bed_limit(bed, k);
        EXPECT_EQ(vmm_map_frames(bed->vmm, space, vaddr(s->va), first, npages(s->pages), RW, own),
                  k < s->tables ? STATUS_NOMEM : STATUS_OK);
        vmm_bed_unlimit(bed, taken);
        EXPECT_EQ(pmm_query(bed->vmm->pmm, pfn_add(first, s->pages - 1)).references, k < s->tables || !own ? 1 : 2);
        EXPECT_EQ(pmm_stats(bed->vmm->pmm).promised.v, 0);
        if (k < s->tables) {
            expect_untouched(bed, space, s, free);
            EXPECT_EQ(bed->vmm->counters.tables_made, made);
        }
    }
    EXPECT_EQ(space->tables.v, 1 + s->tables);
    EXPECT(vmm_bed_check(bed->vmm));
    EXPECT_OK(vmm_unmap(bed->vmm, space, vaddr(s->va), npages(s->pages)));
    EXPECT_OK(pmm_free_run(bed->vmm->pmm, first, npages(s->pages)));
}

TEST(vmm, a_map_of_given_frames_takes_all_its_tables_or_none)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    for (unsigned i = 0; i + 1 < ARRAY_LEN(shapes); i++) {
        map_frames_with_every_number(&bed, &bed.a, &shapes[i], i % 2 == 0);
        map_frames_with_every_number(&bed, &bed.b, &shapes[i], i % 2 != 0);
    }
    vmm_bed_close(&bed);
}

static bool see_all(void *ctx, const struct vmm_mapping *m)
{
    *(uint64_t *)ctx += m->pages.v;
    return true;
}

TEST(vmm, all_that_takes_no_frame_works_when_there_is_none)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    EXPECT_OK(vmm_map(vmm, &bed.a, vaddr(VA_GLOBAL), npages(700), RW));
    EXPECT_OK(space_keep_tables(vmm, &bed.a, true));
    npages_t taken = vmm_bed_limit(&bed, 0);
    EXPECT_OK(vmm_protect(vmm, &bed.a, vaddr(VA_GLOBAL), npages(700), VMM_READ));
    EXPECT(vmm_bed_frame_of(&bed, &bed.a, vaddr(VA_GLOBAL)) != UINT64_MAX);
    uint64_t seen = 0;
    vmm_visit(vmm, &bed.a, vaddr(0), vaddr(LAYOUT_USER_END), see_all, &seen);
    EXPECT_EQ(seen, 700);
    vmm_bed_switch(&bed, &bed.a);
    vaddr_t page;
    EXPECT_OK(temp_map(vmm, bed.a.root, &page));
    EXPECT_OK(temp_unmap(vmm, page));
    const pfn_t device = {0xC000000}; /* tables are there and stay: not even a map needs one */
    EXPECT_OK(vmm_unmap(vmm, &bed.a, vaddr(VA_GLOBAL), npages(700)));
    vmm_bed_unlimit(&bed, taken);
    taken = vmm_bed_limit(&bed, 0);
    EXPECT_OK(vmm_map_frames(vmm, &bed.a, vaddr(VA_GLOBAL), device, npages(700), RW, false));
    EXPECT_EQ(vmm_map(vmm, &bed.a, vaddr(VA_PRIVATE), npages(1), RW), STATUS_NOMEM);
    EXPECT_OK(vmm_unmap(vmm, &bed.a, vaddr(VA_GLOBAL), npages(700)));
    EXPECT_OK(space_keep_tables(vmm, &bed.a, false));
    vmm_bed_switch(&bed, &bed.b);
    EXPECT_OK(space_destroy(vmm, &bed.a));
    vmm_bed_unlimit(&bed, taken);
    EXPECT_OK(space_create(vmm, &bed.a));
    vmm_bed_close(&bed);
}

TEST(vmm, a_space_is_not_made_without_a_frame)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    static struct space space;
    npages_t taken = vmm_bed_limit(&bed, 0);
    EXPECT_EQ(space_create(bed.vmm, &space), STATUS_NOMEM);
    vmm_bed_unlimit(&bed, taken);
    EXPECT(bed.b.next == NULL);
    taken = vmm_bed_limit(&bed, 1);
    EXPECT_OK(space_create(bed.vmm, &space));
    vmm_bed_unlimit(&bed, taken);
    EXPECT_OK(space_destroy(bed.vmm, &space));
    vmm_bed_close(&bed);
}

TEST(vmm, unmapping_and_destroying_need_no_memory)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(700), RW));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(100), RW));
    npages_t taken = vmm_bed_limit(&bed, 0);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(700)));
    EXPECT_OK(space_destroy(bed.vmm, &bed.a));
    vmm_bed_unlimit(&bed, taken);
    EXPECT_OK(space_create(bed.vmm, &bed.a));
    vmm_bed_close(&bed);
}

TEST(vmm, kernel_pages_are_given_whole_or_not_at_all)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vaddr_t base = vaddr(1);
    uint64_t used = bed.vmm->arena.used.v;
    enum status s = STATUS_NOMEM;
    for (uint64_t k = 0; s == STATUS_NOMEM && k < 12; k++) {
        npages_t taken = vmm_bed_limit(&bed, k);
        s = kpages_alloc(bed.vmm, npages(5), ARENA_ALIGN_PAGE, KPAGES_GUARDED | KPAGES_ZEROED, "test", &base);
        vmm_bed_unlimit(&bed, taken);
        EXPECT_EQ(bed.vmm->arena.used.v, s == STATUS_OK ? used + 7 : used);
        EXPECT(s == STATUS_OK || base.v == 1);
    }
    REQUIRE(s == STATUS_OK);
    EXPECT_OK(kpages_free(bed.vmm, base));
    vmm_bed_close(&bed);
}
