/* What spaces take: bookkeeping is proportional to mappings. */
#include "unit/aspace_bed.h"

#include "aspace/mapping.h"

static struct aspace_bed bed;

TEST(aspace_size, records_are_small)
{
    test_note("a mapping %lu bytes, an object %lu, a family %lu, a loan %lu; a space %lu, the system %lu",
              sizeof(struct mapping), sizeof(struct object), sizeof(struct aspace_family), sizeof(struct vmm_loan),
              sizeof(struct aspace), sizeof(struct aspaces));
    EXPECT(sizeof(struct mapping) <= 160 && sizeof(struct object) <= 224);
}

/* Pages of the system: in pools, indexes, arenas, and nodes. */
static size_t pages_drawn(void) { return bed.system.stock.drawn; }

TEST(aspace_size, an_empty_space_has_no_page_but_its_pml4)
{
    enum { MANY = 40 };
    static struct aspace spaces[MANY];
    REQUIRE(aspace_bed_open(&bed));
    const size_t before = pages_drawn();
    for (unsigned i = 0; i < MANY; i++) {
        EXPECT_OK(aspace_create(&bed.system, &spaces[i], (struct aspace_limits){0}));
        EXPECT_EQ(spaces[i].tables.tables.v, 1);
    }
    EXPECT(pages_drawn() - before <= 1); /* of families */
    for (unsigned i = 0; i < MANY; i++) {
        EXPECT_OK(aspace_destroy(&spaces[i]));
    }
    aspace_bed_close(&bed);
}

TEST(aspace_size, bookkeeping_grows_with_mappings_and_not_with_addresses)
{
    enum { MANY = 1000 };
    REQUIRE(aspace_bed_open(&bed));
    (void)map_it(&bed.a, want(npages(1), ARW, 0)); /* the arena */
    size_t before = pages_drawn();
    (void)map_it(&bed.a, want(npages(1ULL << 33), ARW, 0)); /* 32 TiB */
    (void)map_it(&bed.b, want(npages(1ULL << 32), ARW, ASPACE_GLOBAL));
    EXPECT(pages_drawn() - before <= 3); /* of objects, their ids, nodes of an arena */
    before = pages_drawn();
    for (unsigned i = 0; i < MANY; i++) {
        (void)map_it(&bed.a, want(npages(1), i % 2 == 0 ? ARW : AR, 0));
    }
    const size_t bytes = pages_to_bytes(npages(pages_drawn() - before)) / MANY;
    test_note("a private range takes %lu bytes", bytes);
    EXPECT(bytes <= sizeof(struct mapping) + 128); /* its record, and nodes of the arena */
    aspace_bed_close(&bed);
}

TEST(aspace_size, nothing_is_left_of_ranges_that_are_gone)
{
    REQUIRE(aspace_bed_open(&bed));
    for (unsigned round = 0; round < 3; round++) {
        const vaddr_t private = map_it(&bed.a, want(npages(300), ARW, ASPACE_POPULATE)),
                      global = map_it(&bed.a, want(npages(300), ARW, ASPACE_GLOBAL | ASPACE_POPULATE));
        EXPECT_OK(aspace_unmap(&bed.a, private, npages(300)));
        EXPECT_OK(aspace_unmap(&bed.a, global, npages(300)));
        EXPECT(bed.system.mappings.used == 0 && bed.system.objects.used == 0 && bed.system.object_of.count == 0);
        EXPECT(bed.system.global.used.v == 0 && bed.a.arena->used.v == 0);
        EXPECT(bed.a.tables.tables.v == 1 && bed.a.tables.pages.v == 0);
    }
    aspace_bed_close(&bed);
}

TEST(aspace_size, what_many_spaces_took_for_their_records_goes_back_when_they_end)
{
    enum { MANY = 30, RANGES = 300 };
    static struct aspace spaces[MANY];
    REQUIRE(aspace_bed_open(&bed));
    const size_t before = bed.system.stock.drawn;
    for (unsigned i = 0; i < MANY; i++) {
        EXPECT_OK(aspace_create(&bed.system, &spaces[i], (struct aspace_limits){0}));
        for (unsigned k = 0; k < RANGES; k++) {
            (void)map_it(&spaces[i], want(npages(1), k % 2 == 0 ? ARW : AR, 0));
        }
    }
    const size_t most = bed.system.stock.drawn;
    for (unsigned i = 0; i < MANY; i++) {
        EXPECT_OK(aspace_destroy(&spaces[i]));
    }
    test_note("%lu pages before, %lu then, %lu and %lu in stock afterwards", before, most, bed.system.stock.drawn,
              bed.system.stock.count);
    EXPECT(most > before + 400);
    EXPECT(bed.system.stock.drawn <= before + 4 && bed.system.stock.count <= 64);
    const vaddr_t va = map_it(&bed.a, want(npages(1), ARW, 0)); /* and all goes on */
    const vaddr_t global = map_it(&bed.a, want(npages(3), ARW, ASPACE_GLOBAL));
    EXPECT(va.v != 0 && global.v != 0);
    aspace_bed_close(&bed);
}
