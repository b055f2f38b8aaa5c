/* What map, unmap, protect and opening cost, counted exactly: the rows of the cost model. */
#include "arch/arch.h"
#include "unit/vmm_bed.h"

enum { RW = VMM_READ | VMM_WRITE };

/* A frame number above all RAM: mapped, not owned, never accessed. */
static const pfn_t device = {0xC000000}; /* 768 GiB: above the RAM of these tests */

struct cost {
    uint64_t loads, stores, invlpg, cr3_loads;
};

static struct vmm_counters before;

static void begin(struct vmm_bed *bed) { before = bed->vmm->counters; }

static void expect_cost(struct vmm_bed *bed, const char *what, struct cost c)
{
    const struct vmm_counters *now = &bed->vmm->counters;
    bool ok = EXPECT_EQ(now->table_loads - before.table_loads, c.loads);
    ok = EXPECT_EQ(now->table_stores - before.table_stores, c.stores) && ok;
    ok = EXPECT_EQ(now->invlpg - before.invlpg, c.invlpg) && ok;
    ok = EXPECT_EQ(now->cr3_loads - before.cr3_loads, c.cr3_loads) && ok;
    ok = EXPECT_EQ(now->ipis, before.ipis) && ok;
    if (!ok) {
        test_note("in: %s", what);
    }
}

static void map(struct vmm_bed *bed, struct space *space, uint64_t page, uint64_t pages)
{
    EXPECT_OK(
        vmm_map_frames(bed->vmm, space, vaddr_add_pages(vaddr(VA_GLOBAL), page), device, npages(pages), RW, false));
}

static void unmap(struct vmm_bed *bed, struct space *space, uint64_t page, uint64_t pages)
{
    EXPECT_OK(vmm_unmap(bed->vmm, space, vaddr_add_pages(vaddr(VA_GLOBAL), page), npages(pages)));
}

TEST(vmm_cost, map_own)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    map(&bed, &bed.a, 511, 1); /* the table is there, and not empty */
    begin(&bed);
    map(&bed, &bed.a, 0, 1);
    expect_cost(&bed, "1 page", (struct cost){3 + 1, 1 + 1, 0, 0});
    begin(&bed);
    map(&bed, &bed.a, 1, 510);
    expect_cost(&bed, "510 pages", (struct cost){3 + 510, 510 + 1, 0, 0});
    begin(&bed);
    map(&bed, &bed.a, 512, 512);
    /*
     * One table more: its link, its count in the parent, and zeroing it through a temporary slot (2 stores, 1 INVLPG).
     */
    expect_cost(&bed, "512 pages and their table", (struct cost){3, 512 + 1 + 1 + 2, 1, 0});
    begin(&bed);
    map(&bed, &bed.a, 1024, 8 * 512);
    expect_cost(&bed, "8 tables and their pages", (struct cost){1 + 1 + 8, 8 * 512 + 8 + 1 + 8 * 2, 8, 0});
    vmm_bed_close(&bed);
}

TEST(vmm_cost, map_a_gigabyte)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    map(&bed, &bed.a, 0, 1);
    begin(&bed);
    map(&bed, &bed.a, 512, PAGES_PER_1G); /* 511 PTs in the PD that is there, one in a new one */
    expect_cost(&bed, "1 GiB", (struct cost){1 + 2 + 511, PAGES_PER_1G + 512 + 3 + 513 * 2, 513, 0});
    begin(&bed);
    unmap(&bed, &bed.a, 512, PAGES_PER_1G);
    /* Counts of two PDs and the PDPT; tables beyond what the gather holds flush in between. */
    const struct vmm_counters *now = &bed.vmm->counters;
    EXPECT_EQ(now->table_loads - before.table_loads, 1 + 2 + 512 + PAGES_PER_1G);
    EXPECT_EQ(now->table_stores - before.table_stores, 512 + 3); /* no leaf: all of the tables go */
    EXPECT_EQ(now->tables_freed - before.tables_freed, 513);
    vmm_bed_close(&bed);
}

TEST(vmm_cost, unmap_and_protect_own)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    static const uint64_t lengths[] = {1, 31, 32, 33, 511};
    for (unsigned i = 0; i < ARRAY_LEN(lengths); i++) {
        uint64_t n = lengths[i], few = n <= VMM_FLUSH_PAGES_MAX;
        map(&bed, &bed.a, 0, 512);
        begin(&bed);
        EXPECT_OK(vmm_protect(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(n), VMM_READ));
        expect_cost(&bed, "protect", (struct cost){3 + n, n, few ? n : 0, few ? 0 : 1});
        begin(&bed);
        unmap(&bed, &bed.a, 0, n);
        expect_cost(&bed, "unmap", (struct cost){3 + n, n + 1, few ? n : 0, few ? 0 : 1});
        unmap(&bed, &bed.a, n, 512 - n);
    }
    map(&bed, &bed.a, 0, 513);
    begin(&bed);
    unmap(&bed, &bed.a, 512, 1);
    expect_cost(&bed, "unmap the last page of a table", (struct cost){3 + 1, 1 + 1, 1 + 1, 0});
    begin(&bed);
    unmap(&bed, &bed.a, 0, 512);
    /* The PT goes as it is: none of its 512 entries is stored to. */
    expect_cost(&bed, "unmap all", (struct cost){3 + 512, 3, 0, 1});
    vmm_bed_close(&bed);
}

/* Only leaves that change are stored to and flushed, wherever they lie; a PT whose count leaves no room is not read. */
TEST(vmm_cost, what_does_not_change_costs_a_load_or_nothing)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(12), RW));
    static const uint64_t same[] = {0, 3, 4, 9};
    for (unsigned i = 0; i < ARRAY_LEN(same); i++) {
        EXPECT_OK(vmm_protect(bed.vmm, &bed.a, vaddr_add_pages(vaddr(VA_GLOBAL), same[i]), npages(1), VMM_READ));
    }
    for (uint64_t i = 0; i < 12; i++) {
        EXPECT_EQ(arch_read64(vaddr_add_pages(vaddr(VA_GLOBAL), i)), 0); /* the TLB has all of them */
    }
    begin(&bed);
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(12), VMM_READ));
    expect_cost(&bed, "8 of 12 pages change", (struct cost){3 + 12, 8, 8, 0});
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(12), RW));
    for (uint64_t i = 0; i < 12; i++) {
        arch_write64(vaddr_add_pages(vaddr(VA_GLOBAL), i), i); /* the model fails this where one was forgotten */
    }
    map(&bed, &bed.a, 12, 490);
    begin(&bed);
    EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, vaddr_add_pages(vaddr(VA_GLOBAL), 500), device, npages(12), RW, false),
              STATUS_EXISTS);
    expect_cost(&bed, "12 pages where 10 are free", (struct cost){3, 0, 0, 0});
    vmm_bed_close(&bed);
}

TEST(vmm_cost, foreign)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.b);
    map(&bed, &bed.a, 511, 1);
    struct vmm_walk w;
    EXPECT_OK(
        vmm_translate(bed.vmm, space_find(bed.vmm, 0), vaddr(VA_GLOBAL), &w)); /* the window shows another space */
    begin(&bed);
    map(&bed, &bed.a, 0, 510);
    expect_cost(&bed, "map 510 pages", (struct cost){3 + 510, 2 + 510 + 1, 1 + 1 + 2, 0});
    begin(&bed);
    map(&bed, &bed.a, 510, 1);
    expect_cost(&bed, "map, kept open", (struct cost){3 + 1, 1 + 1, 0, 0});
    begin(&bed);
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(512), VMM_READ));
    expect_cost(&bed, "protect, kept open", (struct cost){3 + 512, 512, 0, 0});
    begin(&bed);
    unmap(&bed, &bed.a, 0, 512);
    expect_cost(&bed, "unmap, kept open: the window pages of 3 tables", (struct cost){3 + 512, 3, 3, 0});
    EXPECT_EQ(bed.vmm->counters.foreign_opens - before.foreign_opens, 0);
    EXPECT_EQ(bed.vmm->counters.foreign_reopens - before.foreign_reopens, 1);
    begin(&bed);
    vmm_bed_switch(&bed, &bed.a);
    expect_cost(&bed, "switch with the window open", (struct cost){0, 1, 0, 1});
    begin(&bed);
    vmm_bed_switch(&bed, &bed.b);
    vmm_bed_switch(&bed, &bed.b);
    expect_cost(&bed, "switch, then to where we are", (struct cost){0, 0, 0, 1});
    vmm_bed_close(&bed);
}

/* The two rows of a foreign map in one call: up to 32 window pages an INVLPG each, more: 32 and one reload. */
TEST(vmm_cost, foreign_batches_on_both_sides_of_the_ceiling)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm_walk w;
    static const uint64_t counts[] = {1, 2, 29, 30, 31, 40};
    for (unsigned i = 0; i < ARRAY_LEN(counts); i++) {
        const uint64_t tables = counts[i], pages = tables * 512;
        const bool few = 3 + tables <= VMM_WINDOW_PAGES_MAX;
        EXPECT_OK(space_keep_tables(bed.vmm, &bed.a, true));
        map(&bed, &bed.a, 0, pages);
        unmap(&bed, &bed.a, 0, pages); /* the tables stay, empty */
        EXPECT_OK(vmm_translate(bed.vmm, &bed.b, vaddr(VA_GLOBAL), &w)); /* the window shows another space */
        begin(&bed);
        map(&bed, &bed.a, 0, pages);
        expect_cost(&bed, "map into present tables",
                    (struct cost){2 + tables, 2 + pages + tables, few ? 3 + tables : VMM_WINDOW_PAGES_MAX, !few});
        begin(&bed);
        EXPECT_OK(vmm_protect(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(pages), VMM_READ));
        expect_cost(&bed, "protect, pages remembered", (struct cost){2 + tables + pages, pages, 0, 0});
        begin(&bed);
        unmap(&bed, &bed.a, 0, pages);
        expect_cost(&bed, "unmap, tables kept", (struct cost){2 + tables + pages, pages + tables, 0, 0});
        begin(&bed);
        EXPECT_OK(space_keep_tables(bed.vmm, &bed.a, false));
        /* All PTs, the PD and the PDPT go: a window page each to flush, until one reload is cheaper. */
        EXPECT_EQ(bed.vmm->counters.tables_freed - before.tables_freed, tables + 2);
        EXPECT_EQ(bed.vmm->counters.cr3_loads - before.cr3_loads, tables + 2 > VMM_FLUSH_PAGES_MAX);
    }
    vmm_bed_close(&bed);
}

/* With the slot switched before each call, by way of 0: what a call costs that finds nothing remembered. */
TEST(vmm_cost, foreign_unmap_and_protect_with_the_slot_switched)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm_walk w;
    static const uint64_t lengths[] = {1, 32, 33, 510};
    map(&bed, &bed.a, 511, 1);
    for (unsigned i = 0; i < ARRAY_LEN(lengths); i++) {
        const uint64_t n = lengths[i];
        map(&bed, &bed.a, 0, n);
        EXPECT_OK(vmm_translate(bed.vmm, &bed.b, vaddr(VA_GLOBAL), &w));
        begin(&bed);
        EXPECT_OK(vmm_protect(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(n), VMM_READ));
        /* The space runs nowhere: its own pages need no flush. */
        expect_cost(&bed, "protect", (struct cost){3 + n, 2 + n, 4, 0});
        EXPECT_OK(vmm_translate(bed.vmm, &bed.b, vaddr(VA_GLOBAL), &w));
        begin(&bed);
        unmap(&bed, &bed.a, 0, n);
        expect_cost(&bed, "unmap", (struct cost){3 + n, 2 + n + 1, 4, 0});
    }
    EXPECT_OK(vmm_translate(bed.vmm, &bed.b, vaddr(VA_GLOBAL), &w));
    begin(&bed);
    unmap(&bed, &bed.a, 511, 1);
    expect_cost(&bed, "unmap, and 3 tables go", (struct cost){3 + 1, 2 + 3, 4 + 3, 0});
    vmm_bed_close(&bed);
}

/* Opening by a question, and closing by a switch or by the end of the space: no frame is taken or given back. */
TEST(vmm_cost, opening_and_closing_take_no_frame)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    map(&bed, &bed.a, 0, 1);
    const struct pmm_stats was = pmm_stats(bed.vmm->pmm);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr(VA_GLOBAL)), device.v);
        EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.b, vaddr(VA_GLOBAL)), UINT64_MAX);
        vmm_bed_switch(&bed, i % 2 == 0 ? &bed.b : bed.home);
    }
    const struct pmm_stats now = pmm_stats(bed.vmm->pmm);
    EXPECT(now.allocated == was.allocated && now.freed == was.freed && now.promised.v == was.promised.v);
    vmm_bed_close(&bed);
}

/* A page mapped and unmapped in turn, alone in its tables: with kept tables none is made, none freed. */
TEST(vmm_cost, kept_tables_are_not_made_again)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct space *spaces[] = {&bed.a, &bed.b};
    vmm_bed_switch(&bed, &bed.a);
    for (unsigned i = 0; i < 2; i++) { /* own, then foreign */
        struct space *space = spaces[i];
        map(&bed, space, 0, 1);
        begin(&bed);
        unmap(&bed, space, 0, 1);
        EXPECT_EQ(bed.vmm->counters.tables_freed - before.tables_freed, 3);
        EXPECT_OK(space_keep_tables(bed.vmm, space, true));
        map(&bed, space, 0, 1);
        unmap(&bed, space, 0, 1);
        EXPECT_EQ(space->tables.v, 4);
        EXPECT(vmm_bed_check(bed.vmm));
        begin(&bed);
        for (unsigned turn = 0; turn < 10; turn++) {
            map(&bed, space, 0, 1);
            unmap(&bed, space, 0, 1);
        }
        /* Each turn: 3 loads to map, nothing to look at; 4 to unmap; a leaf and a count each. */
        expect_cost(&bed, "10 turns", (struct cost){10 * (3 + 4), 10 * (2 + 2), i == 0 ? 10 : 0, 0});
        const struct vmm_counters *now = &bed.vmm->counters;
        EXPECT(now->tables_made == before.tables_made && now->tables_freed == before.tables_freed);
        EXPECT_OK(space_keep_tables(bed.vmm, space, false));
        EXPECT_EQ(space->tables.v, 1);
    }
    vmm_bed_close(&bed);
}

TEST(vmm_cost, more_window_pages_than_are_remembered_cost_one_reload)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const uint64_t tables = 40;
    for (uint64_t i = 0; i < tables; i++) {
        map(&bed, &bed.a, i * 512, 1);
        map(&bed, &bed.b, i * 512, 2);
    }
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed.vmm, &bed.b, vaddr(VA_PRIVATE), &w));
    begin(&bed);
    for (uint64_t i = 0; i < tables; i++) {
        map(&bed, &bed.a, i * 512 + 1, 1);
    }
    /* Open once; 3 upper pages and 29 PTs are invalidated one by one, the 30th PT takes the reload. */
    expect_cost(&bed, "40 tables", (struct cost){tables * 4, 2 + tables * 2, VMM_WINDOW_PAGES_MAX, 1});
    begin(&bed);
    for (uint64_t i = 0; i < tables; i++) {
        EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr_add_pages(vaddr(VA_GLOBAL), i * 512 + 1)), device.v);
    }
    expect_cost(&bed, "again", (struct cost){tables * 4, 0, 0, 0});
    vmm_bed_close(&bed);
}

TEST(vmm_cost, temporary_mappings)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vaddr_t page;
    begin(&bed);
    EXPECT_OK(temp_map(bed.vmm, bed.a.root, &page));
    expect_cost(&bed, "temp_map", (struct cost){0, 1, 0, 0});
    begin(&bed);
    EXPECT_OK(temp_unmap(bed.vmm, page));
    expect_cost(&bed, "temp_unmap", (struct cost){0, 1, 1, 0});
    vmm_bed_close(&bed);
}
