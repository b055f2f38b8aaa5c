/* Cache types: one for each frame, RAM write-back only, kept until the last page is unmapped. */
#include "arch/layout.h"
#include "unit/vmm_bed.h"
#include "vmm/vmm_marks.h"

enum { RW = VMM_READ | VMM_WRITE, WB = 0, WC = VMM_WRITE_COMBINING, UC = VMM_UNCACHED };
enum { SPARE = 2048 }; /* frames of the device, the last that an entry can name */

static pfn_t device(const struct vmm_bed *bed, uint64_t n) { return pfn(bed->vmm->frames_end.v - SPARE + n); }
static vaddr_t page(uint64_t n) { return vaddr_add_pages(vaddr(VA_GLOBAL), n); }

static enum status map(struct vmm_bed *bed, struct space *space, uint64_t at, uint64_t first, uint64_t n, unsigned type)
{
    return vmm_map_frames(bed->vmm, space, page(at), device(bed, first), npages(n), RW | type, false);
}

static uint64_t leaf_bits(struct vmm_bed *bed, struct space *space, uint64_t n)
{
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed->vmm, space, page(n), &w));
    return w.present ? w.entry[w.level].v & (PTE_PWT | PTE_PCD | PTE_PS | PTE_G | PTE_DEVICE | PTE_OWNED) : UINT64_MAX;
}

TEST(vmm_cache, each_flag_is_its_bits_in_the_leaf)
{
    static const struct {
        unsigned flags;
        bool own;
        enum status expected;
        uint64_t bits;
    } cases[] = {
        {WB, false, STATUS_OK, PTE_DEVICE},
        {WC, false, STATUS_OK, PTE_DEVICE | PTE_PWT},
        {UC, false, STATUS_OK, PTE_DEVICE | PTE_PWT | PTE_PCD},
        {WC | UC, false, STATUS_INVALID, 0},
        {WC, true, STATUS_INVALID, 0},
        {UC, true, STATUS_INVALID, 0},
        {VMM_GLOBAL, false, STATUS_INVALID, 0}, /* the kernel half only */
        {VMM_GLOBAL | UC, false, STATUS_INVALID, 0},
        {1U << 30 | UC, false, STATUS_INVALID, 0},
        {VMM_EXECUTE | UC, false, STATUS_INVALID, 0}, /* with VMM_WRITE */
    };
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, page(0), device(&bed, 0), npages(1), RW | cases[i].flags,
                                 cases[i].own),
                  cases[i].expected);
        EXPECT_EQ(vmm_map(bed.vmm, &bed.a, page(1), npages(1), RW | cases[i].flags),
                  cases[i].flags == WB ? STATUS_OK : STATUS_INVALID);
        if (cases[i].expected == STATUS_OK) {
            EXPECT_EQ(leaf_bits(&bed, &bed.a, 0), cases[i].bits);
            EXPECT_OK(vmm_protect(bed.vmm, &bed.a, page(0), npages(1), VMM_READ)); /* says nothing of the type */
            EXPECT_EQ(leaf_bits(&bed, &bed.a, 0), cases[i].bits);
            EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page(0), npages(1)));
        }
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT(cases[i].flags != WB || vmm_unmap(bed.vmm, &bed.a, page(1), npages(1)) == STATUS_OK);
    }
    EXPECT(bed.a.pages.v == 0 && bed.a.tables.v == 1);
    vmm_bed_close(&bed);
}

TEST(vmm_cache, ram_is_write_back_only)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const unsigned ranges = bed.vmm->cache.count;
    pfn_t frame;
    REQUIRE(pmm_alloc(bed.vmm->pmm, PMM_USER, &frame) == STATUS_OK);
    for (unsigned in_use = 0; in_use < 2; in_use++) { /* whatever its state */
        if (in_use == 0) {
            EXPECT_OK(pmm_free(bed.vmm->pmm, frame));
        } else {
            EXPECT_OK(pmm_alloc(bed.vmm->pmm, PMM_USER, &frame));
        }
        EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, page(0), frame, npages(1), RW | WC, false), STATUS_CONFLICT);
        EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, page(0), frame, npages(1), RW | UC, false), STATUS_CONFLICT);
        EXPECT(bed.a.pages.v == 0 && bed.a.tables.v == 1);
        EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, page(0), frame, npages(1), RW, false));
        EXPECT_EQ(leaf_bits(&bed, &bed.a, 0), 0);
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page(0), npages(1)));
    }
    EXPECT_EQ(bed.vmm->cache.count, ranges);
    EXPECT_OK(pmm_free(bed.vmm->pmm, frame));
    vmm_bed_close(&bed);
}

/* Frames 10 to 19 are mapped write-combining, in one space; then others are asked for, in another. */
TEST(vmm_cache, another_type_of_any_frame_is_a_conflict)
{
    static const struct {
        uint64_t first, pages;
        unsigned type;
        enum status expected;
    } cases[] = {
        {10, 10, WC, STATUS_OK},       {10, 1, UC, STATUS_CONFLICT}, {19, 1, UC, STATUS_CONFLICT},
        {19, 1, WB, STATUS_CONFLICT},  {9, 1, UC, STATUS_OK},        {20, 1, WB, STATUS_OK},
        {9, 2, UC, STATUS_CONFLICT},   {19, 2, UC, STATUS_CONFLICT}, {0, 40, WB, STATUS_CONFLICT},
        {9, 12, WC, STATUS_OK},        {15, 1, WC, STATUS_OK},       {0, 10, UC, STATUS_OK},
        {1000, 1, UC, STATUS_OK},      {0, 1048, WB, STATUS_CONFLICT},
    };
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const unsigned ranges = bed.vmm->cache.count;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        EXPECT_OK(map(&bed, &bed.a, 0, 10, 10, WC));
        EXPECT_EQ(map(&bed, &bed.b, 0, cases[i].first, cases[i].pages, cases[i].type), cases[i].expected);
        EXPECT(vmm_bed_check(bed.vmm));
        if (cases[i].expected == STATUS_OK) {
            EXPECT_OK(vmm_unmap(bed.vmm, &bed.b, page(0), npages(cases[i].pages)));
        } else {
            EXPECT(bed.b.pages.v == 0 && bed.b.tables.v == 1);
            EXPECT_EQ(bed.vmm->cache.count, ranges + 1);
        }
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page(0), npages(10)));
        EXPECT_EQ(bed.vmm->cache.count, ranges);
    }
    vmm_bed_close(&bed);
}

TEST(vmm_cache, a_type_holds_until_the_last_page_of_its_range_is_unmapped)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const unsigned ranges = bed.vmm->cache.count;
    EXPECT_OK(map(&bed, &bed.a, 0, 0, 4, UC));
    EXPECT_OK(map(&bed, &bed.b, 100, 4, 4, UC)); /* one range with the first */
    EXPECT_OK(map(&bed, &bed.b, 200, 2, 4, UC)); /* the same frames once more */
    EXPECT_EQ(bed.vmm->cache.count, ranges + 1);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page(0), npages(4)));
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.b, page(100), npages(3)));
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.b, page(200), npages(4)));
    EXPECT_EQ(map(&bed, &bed.a, 0, 0, 1, WC), STATUS_CONFLICT); /* of frame 7 there is a mapping */
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.b, page(103), npages(1)));
    EXPECT_EQ(bed.vmm->cache.count, ranges);
    EXPECT_OK(map(&bed, &bed.a, 0, 0, 8, WC));
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed); /* with what is mapped there */
    EXPECT_EQ(bed.vmm->cache.count, ranges);
}

/* However leaves go: alone, in part, with their table, with their space; and in what order of frames. */
TEST(vmm_cache, every_way_to_unmap_is_counted)
{
    static const struct {
        uint64_t pages, first, cut;
    } cases[] = {{1, 0, 1}, {40, 0, 7}, {512, 0, 512}, {512, 0, 100}, {1500, 3, 1500}, {1500, 3, 700}, {1500, 511, 2}};
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const unsigned ranges = bed.vmm->cache.count;
    for (unsigned i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        const uint64_t n = cases[i / 2].pages, at = cases[i / 2].first, cut = cases[i / 2].cut;
        struct space *space = i % 2 == 0 ? &bed.a : &bed.b;
        vmm_bed_switch(&bed, &bed.a);
        EXPECT_OK(map(&bed, space, at, 0, n, WC));
        EXPECT_OK(vmm_unmap(bed.vmm, space, page(at + n - cut), npages(cut)));
        EXPECT_EQ(bed.vmm->cache.count, ranges + (cut < n));
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT(cut == n || vmm_unmap(bed.vmm, space, page(at), npages(n - cut)) == STATUS_OK);
        for (uint64_t k = 0; k < 12; k++) { /* backwards: no leaf continues the one before it */
            EXPECT_OK(map(&bed, space, at + k, 12 - k, 1, k % 5 != 0 ? UC : WC));
        }
        EXPECT_OK(vmm_unmap(bed.vmm, space, page(at), npages(12)));
        EXPECT_EQ(bed.vmm->cache.count, ranges);
    }
    EXPECT_OK(map(&bed, &bed.b, 0, 0, SPARE, UC)); /* goes with its space, tables as they are */
    vmm_bed_close(&bed);
    EXPECT_EQ(bed.vmm->cache.count, ranges);
}

TEST(vmm_cache, more_ranges_than_there_is_room_for_are_refused)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const unsigned before = bed.vmm->cache.count;
    for (uint64_t i = 0; before + i < VMM_CACHE_RANGES; i++) {
        EXPECT_OK(map(&bed, &bed.a, i, 2 * i, 1, i % 2 == 0 ? WC : UC));
    }
    EXPECT_EQ(map(&bed, &bed.b, 0, SPARE - 1, 1, WC), STATUS_LIMIT);
    EXPECT(bed.b.pages.v == 0 && bed.b.tables.v == 1);
    EXPECT_OK(map(&bed, &bed.b, 0, 1, 1, WC)); /* touches one that is there */
    EXPECT_OK(map(&bed, &bed.b, 1, 4, 1, WC));
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page(3), npages(1)));
    EXPECT_OK(map(&bed, &bed.b, 2, SPARE - 1, 1, WC));
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
    EXPECT_EQ(bed.vmm->cache.count, before);
}

TEST(vmm_cache, what_is_refused_leaves_no_range_behind)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const unsigned ranges = bed.vmm->cache.count;
    for (uint64_t k = 0; k < 4; k++) { /* three tables are missing */
        npages_t taken = vmm_bed_limit(&bed, k);
        EXPECT_EQ(map(&bed, &bed.a, 0, 0, 3, UC), k < 3 ? STATUS_NOMEM : STATUS_OK);
        vmm_bed_unlimit(&bed, taken);
        EXPECT_EQ(bed.vmm->cache.count, ranges + (k == 3));
        EXPECT_EQ(pmm_stats(bed.vmm->pmm).promised.v, 0);
    }
    EXPECT_EQ(map(&bed, &bed.a, 2, 100, 3, UC), STATUS_EXISTS);
    EXPECT_EQ(map(&bed, &bed.a, 600, 2, 1, WC), STATUS_CONFLICT); /* a table would have to be made */
    EXPECT_EQ(pmm_stats(bed.vmm->pmm).promised.v, 0);
    EXPECT_EQ(bed.vmm->cache.count, ranges + 1);
    EXPECT_EQ(bed.a.tables.v, 4);
    EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, page(9), bed.vmm->frames_end, npages(1), RW | UC, false), STATUS_RANGE);
    EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, page(9), device(&bed, SPARE - 1), npages(2), RW | UC, false),
              STATUS_RANGE);
    vmm_bed_close(&bed);
}

/* Temporary mappings are write-back: not of a frame that is mapped otherwise. */
TEST(vmm_cache, no_temporary_mapping_of_a_device)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(map(&bed, &bed.a, 0, 0, 2, UC));
    vaddr_t va;
    EXPECT_EQ(temp_map(bed.vmm, device(&bed, 1), &va), STATUS_CONFLICT);
    EXPECT_EQ(frame_zero(bed.vmm, device(&bed, 0)), STATUS_CONFLICT);
    EXPECT_EQ(frame_copy(bed.vmm, bed.a.root, device(&bed, 0)), STATUS_CONFLICT);
    EXPECT_EQ(frame_copy(bed.vmm, device(&bed, 0), bed.a.root), STATUS_CONFLICT);
    EXPECT_OK(temp_map(bed.vmm, device(&bed, 2), &va));
    EXPECT_OK(temp_unmap(bed.vmm, va));
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, page(0), npages(2)));
    EXPECT_OK(temp_map(bed.vmm, device(&bed, 1), &va));
    EXPECT_OK(temp_unmap(bed.vmm, va));
    vmm_bed_close(&bed);
}

/* The kernel half: global where asked, in the arena; a CR3 load is not enough to be rid of many. */
TEST(vmm_cache, global_pages_are_dropped_with_everything)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct space *kernel = space_find(bed.vmm, 0);
    static const uint64_t lengths[] = {1, VMM_FLUSH_PAGES_MAX, VMM_FLUSH_PAGES_MAX + 1, 600};
    for (unsigned i = 0; i < ARRAY_LEN(lengths); i++) {
        const npages_t n = npages(lengths[i]);
        const bool many = n.v > VMM_FLUSH_PAGES_MAX;
        vaddr_t va;
        struct vmm_walk w;
        REQUIRE(arena_alloc(&bed.vmm->arena, n, ARENA_ALIGN_PAGE, "global", &va) == STATUS_OK);
        EXPECT_OK(vmm_map(bed.vmm, kernel, va, n, RW | VMM_GLOBAL));
        EXPECT_OK(vmm_translate(bed.vmm, kernel, va, &w));
        EXPECT_EQ(w.entry[1].v & (PTE_G | PTE_OWNED), PTE_G | PTE_OWNED);
        EXPECT_EQ(w.entry[2].v & PTE_G, 0);
        const struct vmm_counters before = bed.vmm->counters;
        EXPECT_OK(vmm_protect(bed.vmm, kernel, va, n, VMM_READ));
        EXPECT_OK(vmm_unmap(bed.vmm, kernel, va, n));
        EXPECT_EQ(bed.vmm->counters.global_flushes - before.global_flushes, many ? 2 : 0);
        EXPECT_EQ(bed.vmm->counters.cr3_loads, before.cr3_loads);
        EXPECT_EQ(vmm_map_frames(bed.vmm, kernel, va, device(&bed, 0), n, RW | VMM_GLOBAL | UC, false), STATUS_OK);
        EXPECT_OK(vmm_unmap(bed.vmm, kernel, va, n));
        EXPECT_OK(arena_free(&bed.vmm->arena, va));
    }
    EXPECT_EQ(vmm_map(bed.vmm, &bed.a, page(0), npages(1), RW | VMM_GLOBAL), STATUS_INVALID);
    EXPECT_EQ(vmm_map(bed.vmm, kernel, page(0), npages(1), RW | VMM_GLOBAL), STATUS_INVALID);
    EXPECT_EQ(vmm_protect(bed.vmm, &bed.a, page(0), npages(1), RW | VMM_GLOBAL), STATUS_INVALID);
    vmm_bed_close(&bed);
}
