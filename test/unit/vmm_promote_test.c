/* Promotion and demotion: what they make, what they refuse, what they cost, and the marks that they keep. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "pmm/pmm_runs.h"
#include "unit/vmm_bed.h"
#include "vmm/entry.h"
#include "vmm/vmm_large.h"

enum { RW = VMM_READ | VMM_WRITE };

static const pfn_t device = {0xC000000}; /* above all RAM, aligned to 1 GiB */

static unsigned level_of(struct vmm_bed *bed, struct space *space, vaddr_t va)
{
    struct vmm_walk w = {0};
    EXPECT_OK(vmm_translate(bed->vmm, space, va, &w));
    return w.present ? w.level : 0;
}

static pte_t leaf_of(struct vmm_bed *bed, struct space *space, vaddr_t va)
{
    struct vmm_walk w = {0};
    EXPECT_OK(vmm_translate(bed->vmm, space, va, &w));
    return w.entry[w.level];
}

static enum status map_device(struct vmm_bed *bed, struct space *space, uint64_t va, uint64_t pages, unsigned flags)
{
    return vmm_map_frames(bed->vmm, space, vaddr(va), device, npages(pages), RW | flags, false);
}

/* Own, foreign, kernel arena. */
struct place {
    struct space *space;
    uint64_t va;
};

static unsigned places(struct vmm_bed *bed, struct place *place)
{
    vmm_bed_switch(bed, &bed->a);
    place[0] = (struct place){&bed->a, VA_PRIVATE};
    place[1] = (struct place){&bed->b, VA_GLOBAL};
    place[2] = (struct place){&bed->vmm->kernel, LAYOUT_KERNEL_END - 4 * level_span_bytes(3)};
    return 3;
}

TEST(vmm_promote, pages_become_one_and_again_many)
{
    struct vmm_bed bed;
    struct place place[3];
    REQUIRE(vmm_bed_open(&bed));
    const unsigned n = places(&bed, place);
    for (unsigned i = 0; i < 2 * n; i++) {
        const unsigned level = 2 + i % 2;
        struct space *space = place[i / 2].space;
        const vaddr_t va = vaddr(place[i / 2].va);
        const uint64_t pages = level_span_pages(level);
        const npages_t before = space->pages;
        EXPECT_OK(map_device(&bed, space, va.v, pages, level == 2 ? 0 : VMM_2M));
        const uint64_t tables = space->tables.v + bed.vmm->kernel_tables.v;
        EXPECT_OK(vmm_promote(bed.vmm, space, va, level, 0));
        EXPECT_EQ(level_of(&bed, space, va), level);
        EXPECT_EQ(space->tables.v + bed.vmm->kernel_tables.v, tables - 1);
        EXPECT_EQ(vmm_bed_frame_of(&bed, space, vaddr_add_pages(va, pages - 1)), device.v + pages - 1);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_EQ(vmm_promote(bed.vmm, space, va, level, 0), STATUS_EXISTS);
        EXPECT_OK(vmm_demote(bed.vmm, space, vaddr_add_pages(va, pages / 2 + 1)));
        EXPECT_EQ(level_of(&bed, space, va), level - 1);
        EXPECT_EQ(vmm_bed_frame_of(&bed, space, vaddr_add_pages(va, pages - 1)), device.v + pages - 1);
        EXPECT_EQ(space->tables.v + bed.vmm->kernel_tables.v, tables);
        EXPECT_EQ(space->pages.v, before.v + pages);
        EXPECT(vmm_bed_check(bed.vmm));
        EXPECT_EQ(vmm_demote(bed.vmm, space, va), level == 2 ? STATUS_EXISTS : STATUS_OK);
        EXPECT_OK(vmm_unmap(bed.vmm, space, va, npages(pages)));
        EXPECT_EQ(vmm_demote(bed.vmm, space, va), STATUS_ABSENT);
        EXPECT_EQ(space->pages.v, before.v);
    }
    vmm_bed_close(&bed);
}

/* ---- Refused ---- */

struct refusal {
    const char *what;
    void (*prepare)(struct vmm_bed *bed);
    unsigned level, flags;
    uint64_t offset_bytes;
    enum status expected;
};

static void nothing(struct vmm_bed *bed) { (void)bed; }
static void small(struct vmm_bed *bed) { EXPECT_OK(map_device(bed, &bed->a, VA_PRIVATE, 512, 0)); }
static void with_hole(struct vmm_bed *bed)
{
    small(bed);
    EXPECT_OK(vmm_unmap(bed->vmm, &bed->a, vaddr_add_pages(vaddr(VA_PRIVATE), 511), npages(1)));
}
static void with_read_only_page(struct vmm_bed *bed)
{
    small(bed);
    EXPECT_OK(vmm_protect(bed->vmm, &bed->a, vaddr_add_pages(vaddr(VA_PRIVATE), 511), npages(1), VMM_READ));
}
static void not_aligned(struct vmm_bed *bed)
{
    EXPECT_OK(vmm_map_frames(bed->vmm, &bed->a, vaddr(VA_PRIVATE), pfn_add(device, 1), npages(512), RW, false));
}
static void with_other_frame(struct vmm_bed *bed)
{
    with_hole(bed);
    EXPECT_OK(vmm_map_frames(bed->vmm, &bed->a, vaddr_add_pages(vaddr(VA_PRIVATE), 511), device, npages(1), RW, false));
}
static void large(struct vmm_bed *bed) { EXPECT_OK(map_device(bed, &bed->a, VA_PRIVATE, PAGES_PER_1G, VMM_1G)); }
static void with_table(struct vmm_bed *bed)
{
    EXPECT_OK(map_device(bed, &bed->a, VA_PRIVATE, PAGES_PER_1G, VMM_2M));
    EXPECT_OK(vmm_demote(bed->vmm, &bed->a, vaddr_add_pages(vaddr(VA_PRIVATE), PAGES_PER_1G - 1)));
}
static void first_is_table(struct vmm_bed *bed)
{
    EXPECT_OK(map_device(bed, &bed->a, VA_PRIVATE, PAGES_PER_1G, VMM_2M));
    EXPECT_OK(vmm_demote(bed->vmm, &bed->a, vaddr(VA_PRIVATE)));
}

static const struct refusal refusals[] = {
    {"nothing is mapped", nothing, 2, 0, 0, STATUS_ABSENT},
    {"nothing is mapped", nothing, 3, 0, 0, STATUS_ABSENT},
    {"a page is not mapped", with_hole, 2, 0, 0, STATUS_ABSENT},
    {"a page has other rights", with_read_only_page, 2, 0, 0, STATUS_CONFLICT},
    {"a page has other rights", with_read_only_page, 2, VMM_PROMOTE_COPY, 0, STATUS_CONFLICT},
    {"frames are not aligned", not_aligned, 2, 0, 0, STATUS_CONFLICT},
    {"frames do not follow each other", with_other_frame, 2, 0, 0, STATUS_CONFLICT},
    {"frames that are not owned are not copied", with_other_frame, 2, VMM_PROMOTE_COPY, 0, STATUS_CONFLICT},
    {"it is a larger page", large, 2, 0, 2 * MIB, STATUS_EXISTS},
    {"it is one page", large, 3, 0, 0, STATUS_EXISTS},
    {"a table among large pages", with_table, 3, 0, 0, STATUS_CONFLICT},
    {"a table first", first_is_table, 3, 0, 0, STATUS_CONFLICT},
    {"small pages to 1 GiB", small, 3, 0, 0, STATUS_ABSENT},
    {"level 1", small, 1, 0, 0, STATUS_INVALID},
    {"level 4", small, 4, 0, 0, STATUS_INVALID},
    {"level 0", small, 0, 0, 0, STATUS_INVALID},
    {"an unknown flag", small, 2, 2, 0, STATUS_INVALID},
    {"copying 1 GiB", large, 3, VMM_PROMOTE_COPY, 0, STATUS_INVALID},
    {"not aligned", small, 2, 0, PAGE_BYTES, STATUS_INVALID},
    {"no page", small, 2, 0, 1, STATUS_INVALID},
};

TEST(vmm_promote, what_does_not_qualify_is_refused_and_nothing_changes)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    for (unsigned i = 0; i < ARRAY_LEN(refusals); i++) {
        const struct refusal *r = &refusals[i];
        r->prepare(&bed);
        const uint64_t stores = bed.vmm->counters.table_stores, free = pmm_stats(bed.vmm->pmm).free.v;
        enum status s = vmm_promote(bed.vmm, &bed.a, vaddr(VA_PRIVATE + r->offset_bytes), r->level, r->flags);
        if (!EXPECT_EQ(s, r->expected)) {
            test_note("%s", r->what);
        }
        EXPECT(bed.vmm->counters.table_stores == stores && pmm_stats(bed.vmm->pmm).free.v == free);
        vmm_bed_switch(&bed, &bed.b);
        EXPECT_OK(space_destroy(bed.vmm, &bed.a));
        EXPECT_OK(space_create(bed.vmm, &bed.a));
        vmm_bed_switch(&bed, &bed.a);
    }
    static const struct {
        uint64_t va;
        enum status expected;
    } bad[] = {{LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF), STATUS_RANGE},  {0x0000800000000000, STATUS_RANGE},
               {LAYOUT_TEMP_BASE, STATUS_RANGE},                    {VA_PRIVATE + 1, STATUS_INVALID},
               {LAYOUT_ARENA_BASE, STATUS_RANGE}};
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        EXPECT_EQ(vmm_demote(bed.vmm, &bed.a, vaddr(bad[i].va)), bad[i].expected);
        EXPECT_EQ(vmm_promote(bed.vmm, &bed.a, vaddr(bad[i].va), 2, 0), bad[i].expected);
    }
    struct space stranger = {0};
    test_expect_reports(2);
    EXPECT_EQ(vmm_demote(bed.vmm, &stranger, vaddr(VA_PRIVATE)), STATUS_MISUSE);
    EXPECT_EQ(vmm_promote(bed.vmm, &stranger, vaddr(VA_PRIVATE), 2, 0), STATUS_MISUSE);
    vmm_bed_close(&bed);
}

TEST(vmm_promote, demotion_without_memory_changes_nothing)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(map_device(&bed, &bed.a, VA_PRIVATE, PAGES_PER_1G, VMM_1G));
    const uint64_t stores = bed.vmm->counters.table_stores;
    npages_t taken = vmm_bed_limit(&bed, 0);
    EXPECT_EQ(vmm_demote(bed.vmm, &bed.a, vaddr(VA_PRIVATE)), STATUS_NOMEM);
    vmm_bed_unlimit(&bed, taken);
    EXPECT_EQ(bed.vmm->counters.table_stores, stores);
    EXPECT_EQ(level_of(&bed, &bed.a, vaddr(VA_PRIVATE)), 3);
    vmm_bed_close(&bed);
}

/* ---- Marks ---- */

TEST(vmm_promote, accessed_and_dirty_are_joined_and_handed_down)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    const vaddr_t va = vaddr(VA_PRIVATE);
    pfn_t run;
    REQUIRE(STATUS_OK ==
            pmm_alloc_run(bed.vmm->pmm, PMM_USER, npages(512), npages(512), npages(0), PMM_NO_LIMIT, &run));
    for (unsigned turn = 0; turn < 3; turn++) { /* no access, a read, a write, to one page of the 512 */
        EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, va, run, npages(512), RW, false));
        if (turn == 1) {
            arch_read64(vaddr_add_pages(va, 300));
        } else if (turn == 2) {
            arch_write64(vaddr_add_pages(va, 300), turn);
        }
        /* Walks on nobody's account may mark pages as accessed, but not as dirty. */
        const uint64_t accessed = turn == 0 ? 0 : PTE_A, dirty = turn == 2 ? PTE_D : 0;
        const pte_t was = leaf_of(&bed, &bed.a, vaddr_add_pages(va, 300));
        EXPECT((was.v & PTE_D) == dirty && (was.v & accessed) == accessed);
        EXPECT_OK(vmm_promote(bed.vmm, &bed.a, va, 2, 0));
        const pte_t joined = leaf_of(&bed, &bed.a, va);
        EXPECT((joined.v & PTE_D) == dirty && (joined.v & accessed) == accessed);
        EXPECT_OK(vmm_demote(bed.vmm, &bed.a, va));
        const pte_t part = leaf_of(&bed, &bed.a, vaddr_add_pages(va, 511));
        EXPECT((part.v & PTE_D) == dirty && (part.v & accessed) == accessed && (part.v & PTE_PS) == 0);
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, va, npages(512)));
    }
    EXPECT_OK(pmm_free_run(bed.vmm->pmm, run, npages(512)));
    vmm_bed_close(&bed);
}

/* ---- Copying ---- */

static void write_numbers(struct vmm_bed *bed, vaddr_t va)
{
    vmm_bed_switch(bed, &bed->a);
    for (uint64_t i = 0; i < 512; i++) {
        arch_write64(vaddr_add_pages(va, i), 7000 + i);
    }
}

static void expect_numbers(struct vmm_bed *bed, vaddr_t va)
{
    bool ok = true;
    vmm_bed_switch(bed, &bed->a);
    for (uint64_t i = 0; i < 512 && ok; i++) {
        ok = EXPECT_EQ(arch_read64(vaddr_add_pages(va, i)), 7000 + i);
    }
}

TEST(vmm_promote, scattered_pages_are_copied_into_one_when_asked)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const vaddr_t va = vaddr(VA_PRIVATE);
    for (unsigned foreign = 0; foreign < 2; foreign++) {
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr_add_pages(va, 511), npages(1), RW)); /* frames in another order */
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, va, npages(511), RW));
        write_numbers(&bed, va);
        vmm_bed_switch(&bed, foreign != 0 ? &bed.b : &bed.a);
        const uint64_t free = pmm_stats(bed.vmm->pmm).free.v;
        EXPECT_EQ(vmm_promote(bed.vmm, &bed.a, va, 2, 0), STATUS_CONFLICT);
        const pfn_t shared = {vmm_bed_frame_of(&bed, &bed.a, vaddr_add_pages(va, 99))};
        EXPECT_OK(pmm_retain(bed.vmm->pmm, shared));
        EXPECT_EQ(vmm_promote(bed.vmm, &bed.a, va, 2, VMM_PROMOTE_COPY), STATUS_SHARED);
        EXPECT_OK(pmm_release(bed.vmm->pmm, shared, NULL));
        npages_t taken = vmm_bed_limit(&bed, 511);
        EXPECT_EQ(vmm_promote(bed.vmm, &bed.a, va, 2, VMM_PROMOTE_COPY), STATUS_NOMEM);
        vmm_bed_unlimit(&bed, taken);
        EXPECT_EQ(level_of(&bed, &bed.a, va), 1);
        EXPECT_EQ(pmm_stats(bed.vmm->pmm).free.v, free);
        EXPECT_OK(vmm_promote(bed.vmm, &bed.a, va, 2, VMM_PROMOTE_COPY));
        EXPECT_EQ(pmm_stats(bed.vmm->pmm).free.v, free + 1); /* the table */
        EXPECT_EQ(level_of(&bed, &bed.a, va), 2);
        EXPECT(vmm_bed_check(bed.vmm));
        expect_numbers(&bed, va);
        EXPECT_OK(vmm_demote(bed.vmm, &bed.a, vaddr_add_pages(va, 5)));
        expect_numbers(&bed, va);
        EXPECT_OK(vmm_promote(bed.vmm, &bed.a, va, 2, VMM_PROMOTE_COPY)); /* in place, now that they are a run */
        expect_numbers(&bed, va);
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, va, npages(512)));
    }
    vmm_bed_close(&bed);
}

/* ---- Costs ---- */

static struct vmm_counters before;

static void expect_cost(struct vmm_bed *bed, const char *what, uint64_t loads, uint64_t stores, uint64_t invlpg,
                        uint64_t cr3_loads)
{
    const struct vmm_counters *now = &bed->vmm->counters;
    bool ok = EXPECT_EQ(now->table_loads - before.table_loads, loads);
    ok = EXPECT_EQ(now->table_stores - before.table_stores, stores) && ok;
    ok = EXPECT_EQ(now->invlpg - before.invlpg, invlpg) && ok;
    ok = EXPECT_EQ(now->cr3_loads - before.cr3_loads, cr3_loads) && ok;
    if (!ok) {
        test_note("in: %s", what);
    }
    before = bed->vmm->counters;
}

TEST(vmm_promote, costs_are_those_of_the_rules)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    const vaddr_t va = vaddr(VA_GLOBAL);
    enum { ZEROING_STORES = 2, ZEROING_INVLPG = 1, GIB_OF_2M = TABLE_ENTRIES };
    EXPECT_OK(map_device(&bed, &bed.a, VA_GLOBAL + level_span_bytes(3), 512, VMM_2M)); /* PDPT and another PD */
    before = bed.vmm->counters;
    EXPECT_OK(map_device(&bed, &bed.a, va.v, PAGES_PER_1G, VMM_2M));
    expect_cost(&bed, "1 GiB of 2 MiB", 2, GIB_OF_2M + 1 + 1 + ZEROING_STORES, ZEROING_INVLPG, 0);
    EXPECT_OK(vmm_promote(bed.vmm, &bed.a, va, 3, 0));
    expect_cost(&bed, "promotion to 1 GiB", 2 + 512 + 1, 2, 0, 1);
    EXPECT_OK(vmm_demote(bed.vmm, &bed.a, va));
    expect_cost(&bed, "demotion of 1 GiB", 2 + 1, 512 + 2 + ZEROING_STORES, 3 + ZEROING_INVLPG, 0);
    EXPECT_OK(vmm_demote(bed.vmm, &bed.a, va));
    expect_cost(&bed, "demotion of 2 MiB", 3 + 1, 512 + 2 + ZEROING_STORES, 2 + ZEROING_INVLPG, 0);
    EXPECT_OK(vmm_promote(bed.vmm, &bed.a, va, 2, 0));
    expect_cost(&bed, "promotion to 2 MiB", 3 + 512 + 1, 2, 0, 1);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, va, npages(512)));
    expect_cost(&bed, "unmap 2 MiB", 3, 1 + 1, 2, 0);
    EXPECT_OK(map_device(&bed, &bed.a, va.v, 512, VMM_2M));
    expect_cost(&bed, "2 MiB", 3, 1 + 1, 0, 0);
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, va, npages(1024), VMM_READ));
    expect_cost(&bed, "protect 4 MiB", 2 + 2 + 2, 2, 4, 0);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, va, npages(PAGES_PER_1G)));
    before = bed.vmm->counters;
    EXPECT_OK(map_device(&bed, &bed.a, va.v, PAGES_PER_1G, VMM_1G));
    expect_cost(&bed, "1 GiB", 2, 1 + 1, 0, 0);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, va, npages(PAGES_PER_1G)));
    expect_cost(&bed, "unmap 1 GiB", 2, 1 + 1, 3, 0);
    vmm_bed_close(&bed);
}
