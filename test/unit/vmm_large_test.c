/* Pages of 2 MiB and 1 GiB: mapping, unmapping and protecting whole ones and parts. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "pmm/pmm_runs.h"
#include "unit/vmm_bed.h"
#include "vmm/entry.h"
#include "vmm/vmm_large.h"

enum { RW = VMM_READ | VMM_WRITE };

/* Frames above all RAM, aligned to 1 GiB: mapped, never accessed. */
static const pfn_t device = {0xC000000};

static vaddr_t page_at(uint64_t page) { return vaddr_add_pages(vaddr(VA_PRIVATE), page); }

static struct vmm_walk walk(struct vmm_bed *bed, struct space *space, uint64_t page)
{
    struct vmm_walk w = {0};
    EXPECT_OK(vmm_translate(bed->vmm, space, page_at(page), &w));
    return w;
}

/* The page at this number is mapped by a leaf of `level` to the device's frame of the same number. */
static void expect_page(struct vmm_bed *bed, struct space *space, uint64_t page, unsigned level, unsigned rights)
{
    struct vmm_walk w = walk(bed, space, page);
    bool ok = EXPECT(w.present) && EXPECT_EQ(w.level, level) && EXPECT_EQ(w.rights, rights) &&
              EXPECT_EQ(paddr_to_pfn(w.address).v, device.v + page) && EXPECT_EQ(w.page_bytes, level_span_bytes(level));
    if (!ok) {
        test_note("page %lu", page);
    }
}

static void expect_absent(struct vmm_bed *bed, struct space *space, uint64_t page)
{
    if (!EXPECT(!walk(bed, space, page).present)) {
        test_note("page %lu", page);
    }
}

static enum status map_device(struct vmm_bed *bed, struct space *space, uint64_t page, uint64_t pages, unsigned flags)
{
    return vmm_map_frames(bed->vmm, space, page_at(page), pfn_add(device, page), npages(pages), RW | flags, false);
}

static enum status unmap(struct vmm_bed *bed, struct space *space, uint64_t page, uint64_t pages)
{
    return vmm_unmap(bed->vmm, space, page_at(page), npages(pages));
}

struct piece {
    uint64_t page;
    unsigned level;
};

/* A range with the pages that VMM_LARGE gives it. */
struct shape {
    uint64_t first, pages, tables; /* tables beside the PML4 */
    struct piece piece[8];         /* ends with level 0 */
};

static const struct shape shapes[] = {
    {0, 512, 2, {{0, 2}, {511, 2}}},
    {0, 511, 3, {{0, 1}, {510, 1}}},
    {1, 1024, 4, {{1, 1}, {511, 1}, {512, 2}, {1023, 2}, {1024, 1}}},
    {512, 1024, 2, {{512, 2}, {1024, 2}}},
    {0, PAGES_PER_1G, 1, {{0, 3}, {PAGES_PER_1G - 1, 3}}},
    {PAGES_PER_1G - 512, PAGES_PER_1G + 1024, 3,
     {{PAGES_PER_1G - 512, 2}, {PAGES_PER_1G, 3}, {2 * PAGES_PER_1G - 1, 3}, {2 * PAGES_PER_1G, 2}}},
    {PAGES_PER_1G - 513, PAGES_PER_1G + 1026, 5,
     {{PAGES_PER_1G - 513, 1}, {PAGES_PER_1G - 512, 2}, {PAGES_PER_1G, 3}, {2 * PAGES_PER_1G, 2},
      {2 * PAGES_PER_1G + 512, 1}}},
};

TEST(vmm_large, a_range_gets_the_largest_pages_that_fit)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    for (unsigned i = 0; i < 2 * ARRAY_LEN(shapes); i++) {
        const struct shape *s = &shapes[i / 2];
        struct space *space = i % 2 == 0 ? &bed.a : &bed.b;
        EXPECT_OK(map_device(&bed, space, s->first, s->pages, VMM_LARGE));
        EXPECT_EQ(space->pages.v, s->pages);
        EXPECT_EQ(space->tables.v, 1 + s->tables);
        for (const struct piece *p = s->piece; p->level != 0; p++) {
            expect_page(&bed, space, p->page, p->level, RW);
        }
        expect_absent(&bed, space, s->first + s->pages);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_EQ(map_device(&bed, space, s->first + s->pages - 1, 1, 0), STATUS_EXISTS);
        EXPECT_EQ(map_device(&bed, space, 0, PAGES_PER_1G * 4, VMM_LARGE), STATUS_EXISTS);
        EXPECT_OK(unmap(&bed, space, s->first, s->pages));
        EXPECT(space->pages.v == 0 && space->tables.v == 1);
    }
    vmm_bed_close(&bed);
}

TEST(vmm_large, frames_that_are_not_aligned_as_their_pages_are_mapped_small)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, page_at(0), pfn_add(device, 1), npages(1024), RW | VMM_LARGE, false));
    EXPECT_EQ(walk(&bed, &bed.a, 0).level, 1);
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.b, page_at(0), pfn_add(device, 512), npages(PAGES_PER_1G), RW | VMM_LARGE,
                             false));
    EXPECT_EQ(walk(&bed, &bed.b, 0).level, 2);
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

static const struct {
    uint64_t page, frame, pages;
    unsigned flags;
    enum status expected;
} bad_maps[] = {
    {1, 1, 512, VMM_2M, STATUS_INVALID},          /* address */
    {0, 1, 512, VMM_2M, STATUS_INVALID},          /* frame */
    {0, 0, 513, VMM_2M, STATUS_INVALID},          /* length */
    {0, 0, 1, VMM_2M, STATUS_INVALID},
    {512, 512, PAGES_PER_1G, VMM_1G, STATUS_INVALID},
    {0, 512, PAGES_PER_1G, VMM_1G, STATUS_INVALID},
    {0, 0, 512, VMM_1G, STATUS_INVALID},
    {0, 0, 512, VMM_2M | VMM_LARGE, STATUS_INVALID},
    {0, 0, PAGES_PER_1G, VMM_2M | VMM_1G, STATUS_INVALID},
    {0, 0, 512, VMM_2M | VMM_EXECUTE, STATUS_INVALID}, /* and writable */
    {0, 0, 512, VMM_2M | 1U << 20, STATUS_INVALID},
    {0, 1ULL << 52, 512, VMM_2M, STATUS_RANGE},
    {0, 0, 0, VMM_2M, STATUS_INVALID},
};

TEST(vmm_large, bad_requests_change_nothing)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const uint64_t stores = bed.vmm->counters.table_stores;
    for (unsigned i = 0; i < ARRAY_LEN(bad_maps); i++) {
        enum status s = vmm_map_frames(bed.vmm, &bed.a, page_at(bad_maps[i].page), pfn_add(device, bad_maps[i].frame),
                                       npages(bad_maps[i].pages), RW | bad_maps[i].flags, false);
        if (!EXPECT_EQ(s, bad_maps[i].expected)) {
            test_note("row %u", i);
        }
        if (bad_maps[i].frame == bad_maps[i].page) { /* nothing is wrong with the frame: fresh ones, the same */
            EXPECT_EQ(vmm_map(bed.vmm, &bed.a, page_at(bad_maps[i].page), npages(bad_maps[i].pages),
                              RW | bad_maps[i].flags),
                      bad_maps[i].expected);
        }
    }
    EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, vaddr(LAYOUT_ARENA_BASE), device, npages(512), RW | VMM_2M, false),
              STATUS_RANGE);
    EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.vmm->kernel, vaddr(LAYOUT_ARENA_BASE), device, npages(512),
                             RW | VMM_2M | VMM_USER, false),
              STATUS_INVALID);
    EXPECT_EQ(bed.vmm->counters.table_stores, stores);
    vmm_bed_close(&bed);
}

/* Parts of a range that begins at 512 with one page of 1 GiB or two of 2 MiB around: what is left, and as what. */
static const struct {
    uint64_t first, pages;   /* the part */
    uint64_t tables;         /* made by it */
    struct piece left[8];
} parts_of_1g[] = {
    {0, PAGES_PER_1G, 0, {{0, 0}}},
    {0, 1, 2, {{1, 1}, {511, 1}, {512, 2}, {PAGES_PER_1G - 1, 2}}},
    {0, 512, 1, {{512, 2}, {PAGES_PER_1G - 1, 2}}},
    {511, 2, 3, {{0, 1}, {510, 1}, {513, 1}, {1023, 1}, {1024, 2}}},
    {700, 5, 2, {{0, 2}, {512, 1}, {699, 1}, {705, 1}, {1023, 1}, {1024, 2}}},
    {PAGES_PER_1G - 1, 1, 2, {{0, 2}, {PAGES_PER_1G - 512, 1}, {PAGES_PER_1G - 2, 1}}},
    {512, PAGES_PER_1G - 1024, 1, {{0, 2}, {PAGES_PER_1G - 512, 2}}},
};

static void expect_left(struct vmm_bed *bed, struct space *space, const struct piece *left, uint64_t first,
                        uint64_t pages)
{
    expect_absent(bed, space, first);
    expect_absent(bed, space, first + pages - 1);
    for (const struct piece *p = left; p->level != 0; p++) {
        expect_page(bed, space, p->page, p->level, RW);
    }
    EXPECT_EQ(space->pages.v, PAGES_PER_1G - pages);
}

TEST(vmm_large, a_part_that_is_unmapped_leaves_the_rest_in_pages_as_large_as_can_be)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    for (unsigned i = 0; i < 2 * ARRAY_LEN(parts_of_1g); i++) {
        struct space *space = i % 2 == 0 ? &bed.a : &bed.b;
        const uint64_t first = parts_of_1g[i / 2].first, pages = parts_of_1g[i / 2].pages;
        EXPECT_OK(map_device(&bed, space, 0, PAGES_PER_1G, VMM_1G));
        const uint64_t made = bed.vmm->counters.tables_made;
        EXPECT_OK(unmap(&bed, space, first, pages));
        EXPECT_EQ(bed.vmm->counters.tables_made - made, parts_of_1g[i / 2].tables);
        expect_left(&bed, space, parts_of_1g[i / 2].left, first, pages);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT(first == 0 || unmap(&bed, space, 0, first) == STATUS_OK);
        EXPECT(first + pages == PAGES_PER_1G ||
               unmap(&bed, space, first + pages, PAGES_PER_1G - first - pages) == STATUS_OK);
        EXPECT(space->pages.v == 0 && space->tables.v == 1);
    }
    vmm_bed_close(&bed);
}

TEST(vmm_large, a_part_gets_rights_of_its_own)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    for (unsigned i = 0; i < 2; i++) {
        struct space *space = i == 0 ? &bed.a : &bed.b;
        EXPECT_OK(map_device(&bed, space, 0, PAGES_PER_1G + 1024, VMM_LARGE));
        EXPECT_OK(vmm_protect(bed.vmm, space, page_at(0), npages(PAGES_PER_1G), VMM_READ));
        expect_page(&bed, space, PAGES_PER_1G - 1, 3, VMM_READ);
        EXPECT_OK(vmm_protect(bed.vmm, space, page_at(PAGES_PER_1G - 1), npages(2), VMM_READ | VMM_EXECUTE));
        expect_page(&bed, space, 0, 2, VMM_READ);
        expect_page(&bed, space, PAGES_PER_1G - 2, 1, VMM_READ);
        expect_page(&bed, space, PAGES_PER_1G - 1, 1, VMM_READ | VMM_EXECUTE);
        expect_page(&bed, space, PAGES_PER_1G, 1, VMM_READ | VMM_EXECUTE);
        expect_page(&bed, space, PAGES_PER_1G + 1, 1, RW);
        expect_page(&bed, space, PAGES_PER_1G + 512, 2, RW);
        EXPECT_EQ(space->pages.v, PAGES_PER_1G + 1024);
        EXPECT(vmm_bed_check(bed.vmm));
    }
    vmm_bed_close(&bed);
}

/* A hole, or the end of what is mapped, in the range: nothing is cut. */
TEST(vmm_large, a_range_that_is_not_mapped_throughout_is_not_cut)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(map_device(&bed, &bed.a, 0, 1024, VMM_2M));
    EXPECT_OK(map_device(&bed, &bed.a, 1024, 5, 0));
    const uint64_t stores = bed.vmm->counters.table_stores, tables = bed.a.tables.v;
    EXPECT_EQ(unmap(&bed, &bed.a, 1, 1029), STATUS_ABSENT);
    EXPECT_EQ(unmap(&bed, &bed.a, 1, 4000), STATUS_ABSENT);
    EXPECT_EQ(vmm_protect(bed.vmm, &bed.a, page_at(3), npages(1030), VMM_READ), STATUS_ABSENT);
    EXPECT(bed.vmm->counters.table_stores == stores && bed.a.tables.v == tables);
    EXPECT_OK(unmap(&bed, &bed.a, 1, 1028));
    expect_page(&bed, &bed.a, 0, 1, RW);
    EXPECT_EQ(bed.a.pages.v, 1);
    vmm_bed_close(&bed);
}

TEST(vmm_large, cutting_takes_all_its_tables_or_none)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (unsigned i = 1; i < ARRAY_LEN(parts_of_1g); i++) {
        const uint64_t first = parts_of_1g[i].first, pages = parts_of_1g[i].pages, need = parts_of_1g[i].tables;
        EXPECT_OK(map_device(&bed, &bed.a, 0, PAGES_PER_1G, VMM_1G));
        for (uint64_t k = 0; k <= need; k++) {
            const uint64_t stores = bed.vmm->counters.table_stores;
            npages_t taken = vmm_bed_limit(&bed, k);
            enum status s = i % 2 == 0 ? unmap(&bed, &bed.a, first, pages)
                                       : vmm_protect(bed.vmm, &bed.a, page_at(first), npages(pages), VMM_READ);
            vmm_bed_unlimit(&bed, taken);
            EXPECT_EQ(s, k < need ? STATUS_NOMEM : STATUS_OK);
            EXPECT(k == need || (bed.vmm->counters.table_stores == stores && bed.a.tables.v == 2));
            EXPECT_EQ(pmm_stats(bed.vmm->pmm).promised.v, 0);
        }
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_OK(space_destroy(bed.vmm, &bed.a));
        EXPECT_OK(space_create(bed.vmm, &bed.a));
    }
    vmm_bed_close(&bed);
}

TEST(vmm_large, an_empty_table_that_is_kept_makes_way)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    for (unsigned i = 0; i < 2; i++) {
        struct space *space = i == 0 ? &bed.a : &bed.b;
        EXPECT_OK(space_keep_tables(bed.vmm, space, true));
        EXPECT_OK(map_device(&bed, space, 0, 1024, 0));
        EXPECT_OK(unmap(&bed, space, 0, 1024));
        EXPECT_EQ(space->tables.v, 5);
        EXPECT_OK(map_device(&bed, space, 0, 512, VMM_2M));
        expect_page(&bed, space, 0, 2, RW);
        EXPECT_EQ(space->tables.v, 4);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_EQ(map_device(&bed, space, 0, PAGES_PER_1G, VMM_1G), STATUS_EXISTS);
        EXPECT_OK(unmap(&bed, space, 0, 512));
        EXPECT_OK(map_device(&bed, space, 0, PAGES_PER_1G, VMM_1G)); /* a PD with an empty PT */
        expect_page(&bed, space, 5, 3, RW);
        EXPECT_EQ(space->tables.v, 2);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_OK(unmap(&bed, space, 0, PAGES_PER_1G));
        EXPECT_OK(map_device(&bed, space, 1, 1, 0));
        EXPECT_EQ(map_device(&bed, space, 0, 512, VMM_2M), STATUS_EXISTS);
        EXPECT_EQ(map_device(&bed, space, 0, PAGES_PER_1G, VMM_1G), STATUS_EXISTS);
        EXPECT_OK(unmap(&bed, space, 1, 1));
        EXPECT_OK(space_keep_tables(bed.vmm, space, false));
        EXPECT_EQ(space->tables.v, 1);
    }
    vmm_bed_close(&bed);
}
