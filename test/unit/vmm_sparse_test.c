/* Unmapping and protecting what is mapped of a range: absent parts cost nothing, shared ones are dropped or refused. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/vmm_share_bed.h"
#include "vmm/vmm_share.h"

enum { R = VMM_READ, RW = VMM_READ | VMM_WRITE, PART = PAGES_PER_2M };

#define VA vaddr(VA_PRIVATE)

static const pfn_t device = {0xC000000};

/* All addresses of spaces. */
#define USER_FIRST vaddr(LAYOUT_USER_FIRST)
#define USER_PAGES bytes_to_pages_down(LAYOUT_USER_END - LAYOUT_USER_FIRST)

/* Pages from VA on that are mapped: at ends of tables, alone, in runs. Every other one is a device's. */
static const struct {
    uint64_t first, pages;
} some[] = {{0, 1}, {5, 3}, {511, 2}, {600, 40}, {1024, 512}, {PAGES_PER_1G - 1, 2}, {PAGES_PER_1G + 700, 1}};

static void map_some(struct vmm_bed *bed, struct space *space)
{
    for (unsigned i = 0; i < ARRAY_LEN(some); i++) {
        const vaddr_t va = vaddr_add_pages(VA, some[i].first);
        const npages_t n = npages(some[i].pages);
        EXPECT_OK(i % 2 == 0 ? vmm_map(bed->vmm, space, va, n, RW)
                             : vmm_map_frames(bed->vmm, space, va, pfn_add(device, some[i].first), n, RW, false));
    }
}

/* Pages of `some` that lie in [first, end). */
static uint64_t count_some(uint64_t first, uint64_t end)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < ARRAY_LEN(some); i++) {
        for (uint64_t k = some[i].first; k < some[i].first + some[i].pages; k++) {
            count += k >= first && k < end;
        }
    }
    return count;
}

static bool is_mapped(struct vmm_bed *bed, struct space *space, uint64_t page)
{
    return vmm_bed_frame_of(bed, space, vaddr_add_pages(VA, page)) != UINT64_MAX;
}

static const struct {
    uint64_t first, end;
} ranges[] = {{0, 1},    {1, 5},      {0, 7},       {6, 512},   {0, 512},           {512, 1024},
              {3, 1100}, {1024, 1536}, {1030, 1040}, {0, 5000}, {700, PAGES_PER_1G}, {0, 2 * PAGES_PER_1G}};

/* In our own tables, in another space's; tables kept and not; twice, the second time there is nothing. */
TEST(vmm_sparse, what_is_mapped_of_a_range_is_unmapped)
{
    for (unsigned kind = 0; kind < 4; kind++) {
        struct vmm_bed bed;
        REQUIRE(vmm_bed_open(&bed));
        struct space *space = kind % 2 == 0 ? &bed.a : &bed.b;
        vmm_bed_switch(&bed, &bed.a);
        EXPECT_OK(space_keep_tables(bed.vmm, space, kind >= 2));
        const unsigned devices = bed.vmm->cache.count; /* in the kernel: the screen */
        for (unsigned i = 0; i < ARRAY_LEN(ranges); i++) {
            map_some(&bed, space);
            const uint64_t all = space->pages.v, in = count_some(ranges[i].first, ranges[i].end);
            const vaddr_t va = vaddr_add_pages(VA, ranges[i].first);
            const npages_t n = npages(ranges[i].end - ranges[i].first);
            EXPECT_OK(vmm_unmap_present(bed.vmm, space, va, n));
            EXPECT_EQ(space->pages.v, all - in);
            for (unsigned k = 0; k < ARRAY_LEN(some); k++) {
                const bool stays = some[k].first < ranges[i].first || some[k].first >= ranges[i].end;
                EXPECT_EQ(is_mapped(&bed, space, some[k].first), stays);
            }
            EXPECT(vmm_bed_check(bed.vmm));
            EXPECT_OK(vmm_unmap_present(bed.vmm, space, va, n));
            EXPECT_EQ(space->pages.v, all - in);
            EXPECT_OK(vmm_unmap_present(bed.vmm, space, USER_FIRST, USER_PAGES));
            EXPECT(space->pages.v == 0 && (kind >= 2 || space->tables.v == 1));
            EXPECT_EQ(bed.vmm->cache.count, devices);
        }
        vmm_bed_close(&bed);
    }
}

TEST(vmm_sparse, what_is_mapped_of_a_range_is_protected)
{
    for (unsigned kind = 0; kind < 2; kind++) {
        struct vmm_bed bed;
        REQUIRE(vmm_bed_open(&bed));
        struct space *space = kind == 0 ? &bed.a : &bed.b;
        vmm_bed_switch(&bed, &bed.a);
        map_some(&bed, space);
        for (unsigned i = 0; i < ARRAY_LEN(ranges); i++) {
            const vaddr_t va = vaddr_add_pages(VA, ranges[i].first);
            const npages_t n = npages(ranges[i].end - ranges[i].first);
            const uint64_t pages = space->pages.v;
            EXPECT_OK(vmm_protect_present(bed.vmm, space, USER_FIRST, USER_PAGES, RW));
            if (kind == 0) {
                arch_write64(VA, i); /* the TLB has it, writable */
            }
            EXPECT_OK(vmm_protect_present(bed.vmm, space, va, n, VMM_READ | VMM_EXECUTE));
            for (unsigned k = 0; k < ARRAY_LEN(some); k++) {
                const bool is_in = some[k].first >= ranges[i].first && some[k].first < ranges[i].end;
                EXPECT_EQ(rights_of(&bed, space, vaddr_add_pages(VA, some[k].first)), is_in ? R | VMM_EXECUTE : RW);
            }
            EXPECT_EQ(space->pages.v, pages);
            const uint64_t stores = bed.vmm->counters.table_stores;
            EXPECT_OK(vmm_protect_present(bed.vmm, space, va, n, VMM_READ | VMM_EXECUTE));
            EXPECT_EQ(bed.vmm->counters.table_stores, stores); /* nothing changes */
        }
        EXPECT(vmm_bed_check(bed.vmm));
        vmm_bed_close(&bed);
    }
}

/* 128 TiB cost what is there: an entry of each present upper table, and the leaves of PTs. */
TEST(vmm_sparse, all_of_the_user_half_costs_what_is_there)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(vmm_unmap_present(vmm, &bed.a, USER_FIRST, USER_PAGES));
    vmm->counters = (struct vmm_counters){0};
    EXPECT_OK(vmm_unmap_present(vmm, &bed.a, USER_FIRST, USER_PAGES));
    EXPECT(vmm->counters.table_loads == TABLE_ENTRIES / 2 && vmm->counters.table_stores == 0);
    EXPECT(vmm->counters.invlpg == 0 && vmm->counters.cr3_loads == 0);
    EXPECT_OK(vmm_map(vmm, &bed.a, vaddr_add_pages(VA, 511), npages(2), RW));
    EXPECT_OK(vmm_map(vmm, &bed.a, vaddr(VA_GLOBAL), npages(100), RW));
    vmm->counters = (struct vmm_counters){0};
    EXPECT_OK(vmm_protect_present(vmm, &bed.a, USER_FIRST, USER_PAGES, R));
    /* PML4, 2 PDPTs, 2 PDs, once or, beyond what the record holds, twice; 3 PTs until the last live leaf. */
    const uint64_t upper = TABLE_ENTRIES / 2 + 4 * TABLE_ENTRIES;
    EXPECT(vmm->counters.table_loads >= upper + 512 + 1 + 100 &&
           vmm->counters.table_loads <= 2 * upper - VMM_RECORD_ENTRIES + 512 + 1 + 100);
    EXPECT(vmm->counters.table_stores == 102 && vmm->counters.cr3_loads == 1);
    vmm->counters = (struct vmm_counters){0};
    EXPECT_OK(vmm_unmap_present(vmm, &bed.a, VA, npages(PAGES_PER_1G)));
    /* two leaves are flushed one by one; two PTs, a PD and a PDPT go, each by one store and with its window page */
    EXPECT(vmm->counters.table_stores == 4 && vmm->counters.invlpg == 2 + 4 && vmm->counters.cr3_loads == 0);
    EXPECT_EQ(bed.a.tables.v, 4);
    vmm_bed_close(&bed);
}

/* The short way: a range behind one PT that stays costs what vmm_unmap costs. */
TEST(vmm_sparse, a_few_pages_cost_as_much_as_when_all_are_there)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(vmm_map(vmm, &bed.a, VA, npages(20), RW));
    EXPECT_OK(vmm_unmap(vmm, &bed.a, vaddr_add_pages(VA, 3), npages(2)));
    vmm->counters = (struct vmm_counters){0};
    EXPECT_OK(vmm_unmap_present(vmm, &bed.a, VA, npages(8)));
    EXPECT(vmm->counters.table_loads == 3 + 8 && vmm->counters.table_stores == 6 + 1 && vmm->counters.invlpg == 6);
    vmm->counters = (struct vmm_counters){0};
    EXPECT_OK(vmm_unmap_present(vmm, &bed.a, VA, npages(8))); /* nothing is there */
    EXPECT(vmm->counters.table_loads == 3 + 8 && vmm->counters.table_stores == 0 && vmm->counters.invlpg == 0);
    EXPECT_EQ(bed.a.pages.v, 12);
    vmm_bed_close(&bed);
}

/* ---- Copy on write ---- */

/* a maps a page in each of three parts, and shares all of the GiB, by PT or by PD. */
static bool open_cloned(struct vmm_bed *bed, bool whole)
{
    if (!vmm_bed_open(bed)) {
        return false;
    }
    for (uint64_t i = 0; i < 3; i++) {
        EXPECT_OK(vmm_map(bed->vmm, &bed->a, vaddr_add_pages(VA, i * PART + 9), npages(1), RW));
    }
    return EXPECT_OK(vmm_clone(bed->vmm, &bed->a, &bed->b, VA, npages(whole ? PAGES_PER_1G : (uint64_t)3 * PART)));
}

TEST(vmm_sparse, a_parent_of_a_shared_table_goes_without_memory)
{
    for (unsigned whole = 0; whole < 2; whole++) {
        struct vmm_bed bed;
        REQUIRE(open_cloned(&bed, whole != 0));
        struct vmm *vmm = bed.vmm;
        vmm_bed_switch(&bed, &bed.a);
        EXPECT_EQ(arch_read64(vaddr_add_pages(VA, 9)), 0);
        npages_t taken = vmm_bed_limit(&bed, 0);
        EXPECT_OK(vmm_unmap_present(vmm, &bed.a, USER_FIRST, USER_PAGES));
        EXPECT(bed.a.tables.v == 1 && bed.a.pages.v == 0 && is_mapped(&bed, &bed.b, 9));
        EXPECT(!is_mapped(&bed, &bed.a, 9));
        EXPECT(vmm_bed_check(vmm));
        EXPECT_OK(vmm_unmap_present(vmm, &bed.b, VA, npages(PAGES_PER_1G))); /* the last one: all goes */
        EXPECT_EQ(bed.b.tables.v, 1);
        vmm_bed_unlimit(&bed, taken);
        vmm_bed_close(&bed);
    }
}

TEST(vmm_sparse, a_part_of_what_is_shared_is_refused_unless_nothing_is_there)
{
    for (unsigned whole = 0; whole < 2; whole++) {
        struct vmm_bed bed;
        REQUIRE(open_cloned(&bed, whole != 0));
        struct vmm *vmm = bed.vmm;
        const vaddr_t page = vaddr_add_pages(VA, 9);
        EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.b, VA), UINT64_MAX); /* its window is open */
        const uint64_t stores = vmm->counters.table_stores;
        EXPECT_OK(vmm_unmap_present(vmm, &bed.b, VA, npages(9)));
        EXPECT_OK(vmm_unmap_present(vmm, &bed.b, vaddr_add_pages(VA, 10), npages(PART - 1)));
        EXPECT_OK(vmm_protect_present(vmm, &bed.b, VA, npages(9), R));
        EXPECT_OK(vmm_unmap_present(vmm, &bed.b, vaddr_add_pages(VA, 3 * PART), npages(PART)));
        EXPECT_EQ(vmm_unmap_present(vmm, &bed.b, page, npages(1)), STATUS_SHARED);
        EXPECT_EQ(vmm_unmap_present(vmm, &bed.b, VA, npages(PART + 10)), STATUS_SHARED);
        EXPECT_EQ(vmm_protect_present(vmm, &bed.b, page, npages(1), R), STATUS_SHARED);
        EXPECT_EQ(vmm_protect_present(vmm, &bed.b, USER_FIRST, USER_PAGES, R), STATUS_SHARED);
        EXPECT_EQ(vmm_unmap_present(vmm, &bed.b, page, npages(PAGES_PER_1G)), STATUS_SHARED);
        EXPECT_EQ(vmm->counters.table_stores, stores);
        /* The tables of the ends become its own; what lies between goes by its links. */
        const npages_t range = npages(2 * PART);
        EXPECT_OK(vmm_unshare(vmm, &bed.b, page, npages(1)));
        EXPECT_OK(vmm_unshare(vmm, &bed.b, vaddr_add_pages(page, range.v - 1), npages(1)));
        EXPECT_OK(vmm_unmap_present(vmm, &bed.b, page, range));
        EXPECT(!is_mapped(&bed, &bed.b, 9) && !is_mapped(&bed, &bed.b, PART + 9));
        EXPECT(is_mapped(&bed, &bed.b, 2 * PART + 9));
        EXPECT(is_mapped(&bed, &bed.a, 9) && is_mapped(&bed, &bed.a, PART + 9));
        EXPECT(vmm_bed_check(vmm));
        vmm_bed_close(&bed);
    }
}

/* ---- Loans ---- */

TEST(vmm_sparse, what_is_lent_is_edited_by_its_lender_only)
{
    for (unsigned level = 2; level <= 3; level++) {
        static struct vmm_loan loan;
        struct vmm_bed bed;
        loan = (struct vmm_loan){0};
        REQUIRE(vmm_bed_open(&bed));
        struct vmm *vmm = bed.vmm;
        const vaddr_t to = vaddr(VA_GLOBAL);
        EXPECT_OK(vmm_map(vmm, &bed.a, vaddr_add_pages(VA, 3), npages(40), RW));
        EXPECT_OK(vmm_map(vmm, &bed.a, vaddr_add_pages(VA, 300), npages(2), RW));
        EXPECT_OK(vmm_lend(vmm, &bed.a, VA, &bed.b, to, level, RW, &loan));
        EXPECT_EQ(vmm_unmap_present(vmm, &bed.b, USER_FIRST, USER_PAGES), STATUS_SHARED);
        EXPECT_EQ(vmm_protect_present(vmm, &bed.b, USER_FIRST, USER_PAGES, R), STATUS_SHARED);
        EXPECT_OK(vmm_unmap_present(vmm, &bed.b, to, npages(3))); /* nothing is there */
        vmm_bed_switch(&bed, &bed.b);
        arch_write64(vaddr_add_pages(to, 300), 7); /* the TLB has it, writable */
        EXPECT_OK(vmm_protect_present(vmm, &bed.a, VA, npages(PART), R));
        EXPECT_EQ(rights_of(&bed, &bed.b, vaddr_add_pages(to, 300)), R);
        EXPECT_EQ(arch_read64(vaddr_add_pages(to, 300)), 7);
        EXPECT_OK(vmm_unmap_present(vmm, &bed.a, vaddr_add_pages(VA, 9), npages(PART)));
        EXPECT(bed.a.pages.v == 6 && vmm_bed_frame_of(&bed, &bed.b, vaddr_add_pages(to, 300)) == UINT64_MAX);
        EXPECT_OK(vmm_unmap_present(vmm, &bed.a, USER_FIRST, USER_PAGES));
        EXPECT(bed.a.pages.v == 0 && bed.a.tables.v == (level == 2 ? 4 : 3)); /* what is lent stays */
        EXPECT_OK(vmm_unmap_present(vmm, &bed.b, USER_FIRST, USER_PAGES)); /* nothing is there any more */
        EXPECT(vmm_bed_check(vmm));
        EXPECT_OK(vmm_withdraw(vmm, &loan));
        EXPECT_EQ(bed.a.tables.v, 1);
        vmm_bed_close(&bed);
    }
}

/* ---- Large pages ---- */

TEST(vmm_sparse, large_pages_over_the_ends_are_cut_all_or_nothing)
{
    for (unsigned kind = 0; kind < 2; kind++) {
        struct vmm_bed bed;
        REQUIRE(vmm_bed_open(&bed));
        struct vmm *vmm = bed.vmm;
        vmm_bed_switch(&bed, kind == 0 ? &bed.a : &bed.b);
        EXPECT_OK(vmm_map_frames(vmm, &bed.a, VA, pfn(0xC000000), npages(PART), RW | VMM_2M, false));
        EXPECT_OK(vmm_map_frames(vmm, &bed.a, vaddr_add_pages(VA, 2 * PART), pfn(0xC000000), npages(2 * PART),
                                 RW | VMM_2M, false));
        const vaddr_t first = vaddr_add_pages(VA, 5);
        const npages_t n = npages(3 * PART);
        for (uint64_t k = 0; k < 2; k++) {
            npages_t taken = vmm_bed_limit(&bed, k);
            EXPECT_EQ(vmm_unmap_present(vmm, &bed.a, first, n), STATUS_NOMEM);
            EXPECT_EQ(vmm_protect_present(vmm, &bed.a, first, n, R), STATUS_NOMEM);
            vmm_bed_unlimit(&bed, taken);
            EXPECT(bed.a.pages.v == 3 * PART && bed.a.tables.v == 3);
            EXPECT_EQ(pmm_stats(vmm->pmm).promised.v, 0);
        }
        npages_t taken = vmm_bed_limit(&bed, 2);
        EXPECT_OK(vmm_protect_present(vmm, &bed.a, first, n, R));
        EXPECT(rights_of(&bed, &bed.a, VA) == RW && rights_of(&bed, &bed.a, first) == R);
        EXPECT_EQ(rights_of(&bed, &bed.a, vaddr_add_pages(first, n.v)), RW);
        EXPECT_OK(vmm_unmap_present(vmm, &bed.a, first, n));
        vmm_bed_unlimit(&bed, taken);
        EXPECT_EQ(bed.a.pages.v, PART);
        EXPECT(is_mapped(&bed, &bed.a, 4) && !is_mapped(&bed, &bed.a, 5) && !is_mapped(&bed, &bed.a, 2 * PART));
        EXPECT(!is_mapped(&bed, &bed.a, 3 * PART + 4) && is_mapped(&bed, &bed.a, 3 * PART + 5));
        EXPECT(vmm_bed_check(vmm));
        vmm_bed_close(&bed);
    }
}

/* More frames than the gather holds, of tables at both ends and of tables that stay, all of them whole. */
TEST(vmm_sparse, more_frames_than_the_gather_holds)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (unsigned keep = 0; keep < 2; keep++) {
        vmm_bed_switch(&bed, keep != 0 ? &bed.a : &bed.b);
        EXPECT_OK(space_keep_tables(bed.vmm, &bed.a, keep != 0));
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr_add_pages(VA, 1), npages(5 * PART), RW));
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr_add_pages(VA, 300), npages(1)));
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr_add_pages(VA, PART + 300), npages(1)));
        EXPECT_OK(vmm_unmap_present(bed.vmm, &bed.a, vaddr_add_pages(VA, 2), npages(5 * PART - 2)));
        EXPECT(bed.a.pages.v == 2 && is_mapped(&bed, &bed.a, 1) && is_mapped(&bed, &bed.a, 5 * PART));
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_OK(vmm_unmap_present(bed.vmm, &bed.a, USER_FIRST, USER_PAGES));
        EXPECT_EQ(bed.a.tables.v, keep != 0 ? 3 + 6 : 1);
    }
    vmm_bed_close(&bed);
}

/* Space 0 has the kernel's arena too. */
TEST(vmm_sparse, kernel_pages_are_unmapped_and_flushed)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct space *kernel = space_find(bed.vmm, 0);
    vaddr_t va;
    REQUIRE(arena_alloc(&bed.vmm->arena, npages(700), ARENA_ALIGN_PAGE, "sparse", &va) == STATUS_OK);
    const uint64_t pages = kernel->pages.v;
    EXPECT_OK(vmm_map(bed.vmm, kernel, vaddr_add_pages(va, 3), npages(2), RW));
    EXPECT_OK(vmm_map(bed.vmm, kernel, vaddr_add_pages(va, 600), npages(50), RW));
    arch_write64(vaddr_add_pages(va, 610), 1);
    EXPECT_EQ(vmm_protect_present(bed.vmm, kernel, va, npages(700), RW | VMM_USER), STATUS_INVALID);
    EXPECT_OK(vmm_protect_present(bed.vmm, kernel, va, npages(700), R));
    EXPECT_EQ(arch_read64(vaddr_add_pages(va, 610)), 1);
    EXPECT_EQ(kernel->pages.v, pages + 52);
    EXPECT_OK(vmm_unmap_present(bed.vmm, kernel, va, npages(700)));
    EXPECT_EQ(kernel->pages.v, pages);
    EXPECT_EQ(vmm_unmap_present(bed.vmm, &bed.a, va, npages(700)), STATUS_RANGE);
    EXPECT_OK(arena_free(&bed.vmm->arena, va));
    vmm_bed_close(&bed);
}
