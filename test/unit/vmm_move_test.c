/* Pages that move: their frames are elsewhere, nothing else has changed. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/vmm_bed.h"
#include "vmm/vmm_large.h"
#include "vmm/vmm_share.h"

enum { RW = VMM_READ | VMM_WRITE, FRAMES_MAX = 1024, GAME_PAGES = 1400, GAME_MOVES = 60 };

struct place {
    uint64_t from, to, pages;
};

/* Alone in a table, in the same one, over the ends of tables of all levels, past what is flushed page by page. */
static const struct place places[] = {
    {VA_PRIVATE, VA_PRIVATE + PAGE_BYTES, 1},
    {VA_PRIVATE, VA_PRIVATE + 40ULL * PAGE_BYTES, 32},
    {VA_PRIVATE, VA_GLOBAL + 7ULL * PAGE_BYTES, 33},
    {VA_PRIVATE + 500ULL * PAGE_BYTES, VA_PRIVATE + 520ULL * PAGE_BYTES, 20},
    {VA_PRIVATE, VA_PRIVATE + 700ULL * PAGE_BYTES, 600},
    {VA_GLOBAL - 300ULL * PAGE_BYTES, VA_GLOBAL - 1000ULL * PAGE_BYTES, 700},
    {LAYOUT_SLOT_BASE(8) - 2ULL * PAGE_BYTES, VA_PRIVATE, 4},
    /* The new range's last pages lie in a directory that only the old one's first pages have kept. */
    {VA_GLOBAL - 100ULL * PAGE_BYTES, VA_GLOBAL - 612ULL * PAGE_BYTES, 512},
    {LAYOUT_SLOT_BASE(8) - 8ULL * PAGE_BYTES, LAYOUT_SLOT_BASE(8) - 600ULL * PAGE_BYTES, 592},
};

static uint64_t frames[FRAMES_MAX];

static void map_numbered(struct vmm_bed *bed, struct space *space, vaddr_t va, uint64_t pages)
{
    EXPECT_OK(vmm_map(bed->vmm, space, va, npages(pages), RW));
    for (uint64_t i = 0; i < pages; i++) {
        frames[i] = vmm_bed_frame_of(bed, space, vaddr_add_pages(va, i));
        if (space == bed->vmm->current) {
            arch_write64(vaddr_add_pages(va, i), 1000 + i);
        }
    }
}

static void expect_moved(struct vmm_bed *bed, struct space *space, vaddr_t old, vaddr_t new, uint64_t pages)
{
    for (uint64_t i = 0; i < pages; i++) {
        EXPECT_EQ(vmm_bed_frame_of(bed, space, vaddr_add_pages(new, i)), frames[i]);
        EXPECT_EQ(vmm_bed_frame_of(bed, space, vaddr_add_pages(old, i)), UINT64_MAX);
        if (space == bed->vmm->current) {
            EXPECT_EQ(arch_read64(vaddr_add_pages(new, i)), 1000 + i);
        }
    }
}

/* Tables of an empty space with just this range mapped. */
static uint64_t tables_for(struct vmm_bed *bed, struct space *space, vaddr_t va, uint64_t pages)
{
    EXPECT_OK(vmm_map(bed->vmm, space, va, npages(pages), RW));
    const uint64_t tables = space->tables.v;
    EXPECT_OK(vmm_unmap(bed->vmm, space, va, npages(pages)));
    return tables;
}

static void move_there_and_back(struct vmm_bed *bed, struct space *space, const struct place *p)
{
    const vaddr_t place[2] = {vaddr(p->from), vaddr(p->to)};
    const uint64_t tables[2] = {tables_for(bed, space, place[0], p->pages), tables_for(bed, space, place[1], p->pages)};
    const uint64_t held = vmm_bed_frames(bed->vmm) - space->tables.v + p->pages;
    map_numbered(bed, space, place[0], p->pages);
    for (unsigned to = 1; to < 2; to--) { /* 1, 0 */
        const vaddr_t old = place[1 - to], new = place[to];
        EXPECT_OK(vmm_move(bed->vmm, space, old, new, npages(p->pages)));
        expect_moved(bed, space, old, new, p->pages);
        EXPECT_EQ(space->pages.v, p->pages);
        EXPECT_EQ(space->tables.v, tables[to]);
        EXPECT_EQ(vmm_bed_frames(bed->vmm), held + tables[to]);
        EXPECT(vmm_bed_check(bed->vmm));
    }
    EXPECT_OK(vmm_unmap(bed->vmm, space, place[0], npages(p->pages)));
}

TEST(vmm_move, the_frames_are_elsewhere_and_the_old_addresses_are_free)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
        move_there_and_back(&bed, &bed.a, &places[i]);
        move_there_and_back(&bed, &bed.b, &places[i]);
    }
    EXPECT_OK(space_keep_tables(bed.vmm, &bed.a, true)); /* tables that are empty are there already, and stay */
    map_numbered(&bed, &bed.a, vaddr(VA_PRIVATE), 20);
    for (unsigned times = 0; times < 2; times++) {
        EXPECT_OK(vmm_move(bed.vmm, &bed.a, vaddr(VA_PRIVATE), vaddr(VA_GLOBAL), npages(20)));
        EXPECT_OK(vmm_move(bed.vmm, &bed.a, vaddr(VA_GLOBAL), vaddr(VA_PRIVATE), npages(20)));
        EXPECT(vmm_bed_check(bed.vmm));
    }
    expect_moved(&bed, &bed.a, vaddr(VA_GLOBAL), vaddr(VA_PRIVATE), 20);
    vmm_bed_close(&bed);
}

TEST(vmm_move, rights_kinds_and_marks_go_with_the_page)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    static const unsigned rights[] = {VMM_READ, RW, VMM_READ | VMM_EXECUTE, RW | VMM_USER};
    enum { OWNED = ARRAY_LEN(rights), ALL = OWNED + 1 };
    const vaddr_t from = vaddr(VA_PRIVATE), to = vaddr(VA_GLOBAL), last = vaddr_add_pages(from, OWNED);
    const pfn_t device = {0xC000000};
    for (uint64_t i = 0; i < OWNED; i++) {
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr_add_pages(from, i), npages(1), rights[i]));
    }
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, last, device, npages(1), RW | VMM_UNCACHED, false));
    arch_write64(vaddr_add_pages(from, 1), 5);
    pte_t old[ALL], new;
    for (uint64_t i = 0; i < ALL; i++) {
        EXPECT_OK(vmm_leaf(bed.vmm, &bed.a, vaddr_add_pages(from, i), &old[i]));
    }
    EXPECT((old[1].v & PTE_D) != 0 && (old[0].v & PTE_D) == 0);
    EXPECT_OK(vmm_move(bed.vmm, &bed.a, from, to, npages(ALL)));
    for (uint64_t i = 0; i < ALL; i++) {
        EXPECT_OK(vmm_leaf(bed.vmm, &bed.a, vaddr_add_pages(to, i), &new));
        EXPECT_EQ(new.v, old[i].v);
    }
    EXPECT(vmm_bed_check(bed.vmm)); /* VMM-I8: the device is mapped as often as before */
    vmm_bed_close(&bed);
}

static void expect_refused(struct vmm_bed *bed, uint64_t from, uint64_t to, uint64_t pages, enum status expected)
{
    const uint64_t free = pmm_stats(bed->vmm->pmm).free.v;
    const npages_t before = bed->a.pages, tables = bed->a.tables;
    if (!EXPECT_EQ(vmm_move(bed->vmm, &bed->a, vaddr(from), vaddr(to), npages(pages)), expected)) {
        test_note("%lu pages from %#lx to %#lx", pages, from, to);
    }
    EXPECT(bed->a.pages.v == before.v && bed->a.tables.v == tables.v);
    EXPECT_EQ(pmm_stats(bed->vmm->pmm).free.v, free);
    EXPECT_EQ(pmm_stats(bed->vmm->pmm).promised.v, 0);
    EXPECT(vmm_bed_check(bed->vmm));
}

TEST(vmm_move, what_cannot_be_moved_stays_as_it_is)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const uint64_t page = PAGE_BYTES, from = VA_PRIVATE + 500 * page, to = VA_GLOBAL;
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(from), npages(20), RW));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(to + 19 * page), npages(1), RW));
    expect_refused(&bed, from, to, 20, STATUS_EXISTS);
    expect_refused(&bed, from, to + 19 * page, 20, STATUS_EXISTS);
    expect_refused(&bed, from, to + 20 * page, 21, STATUS_ABSENT);
    expect_refused(&bed, from - page, to + 20 * page, 20, STATUS_ABSENT);
    expect_refused(&bed, VA_PRIVATE + GIB, to + 20 * page, 1, STATUS_ABSENT);
    expect_refused(&bed, from, to + 2 * GIB, 21, STATUS_ABSENT); /* tables were promised for it */
    expect_refused(&bed, from, from, 20, STATUS_INVALID);
    expect_refused(&bed, from, from + 19 * page, 20, STATUS_INVALID);
    expect_refused(&bed, from + 19 * page, from, 20, STATUS_INVALID);
    expect_refused(&bed, from, LAYOUT_ARENA_BASE, 1, STATUS_RANGE); /* of the kernel alone */
    expect_refused(&bed, from, to + 20 * page + 8, 1, STATUS_INVALID);
    expect_refused(&bed, from, to, 0, STATUS_INVALID);
    expect_refused(&bed, from, LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF), 1, STATUS_RANGE);
    EXPECT_EQ(vmm_move(bed.vmm, &bed.vmm->kernel, vaddr(from), vaddr(LAYOUT_KERNEL_END - page), npages(1)),
              STATUS_INVALID);
    test_expect_reports(1);
    EXPECT_EQ(vmm_move(bed.vmm, NULL, vaddr(from), vaddr(to), npages(1)), STATUS_MISUSE);
    EXPECT_OK(vmm_move(bed.vmm, &bed.a, vaddr(from), vaddr(to + 20 * page), npages(20)));
    vmm_bed_close(&bed);
}

/* Tables for the new place, which may be short: all frames or none are taken. */
TEST(vmm_move, without_memory_for_tables_nothing_moves)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct space *const spaces[] = {&bed.a, &bed.b};
    vmm_bed_switch(&bed, &bed.a);
    for (unsigned i = 0; i < ARRAY_LEN(spaces); i++) {
        const vaddr_t from = vaddr(VA_PRIVATE), to = vaddr(VA_GLOBAL - PAGE_BYTES); /* over the end of a PD: 5 tables */
        map_numbered(&bed, spaces[i], from, 40);
        for (uint64_t k = 0; k <= 5; k++) {
            const npages_t taken = vmm_bed_limit(&bed, k);
            EXPECT_EQ(vmm_move(bed.vmm, spaces[i], from, to, npages(40)), k < 5 ? STATUS_NOMEM : STATUS_OK);
            vmm_bed_unlimit(&bed, taken);
            EXPECT(vmm_bed_check(bed.vmm));
            if (k < 5) {
                expect_moved(&bed, spaces[i], to, from, 40);
            }
        }
        expect_moved(&bed, spaces[i], from, to, 40);
    }
    vmm_bed_close(&bed);
}

TEST(vmm_move, large_pages_arrive_in_pieces)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    const vaddr_t from = vaddr(VA_PRIVATE), to = vaddr_add_pages(vaddr(VA_GLOBAL), 3);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, from, npages(PAGES_PER_2M + 8), RW | VMM_LARGE));
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed.vmm, &bed.a, from, &w));
    EXPECT_EQ(w.level, 2);
    for (uint64_t i = 0; i < PAGES_PER_2M + 8; i++) {
        frames[i] = vmm_bed_frame_of(&bed, &bed.a, vaddr_add_pages(from, i));
        arch_write64(vaddr_add_pages(from, i), 1000 + i);
    }
    npages_t taken = vmm_bed_limit(&bed, 0);
    EXPECT_EQ(vmm_move(bed.vmm, &bed.a, from, to, npages(PAGES_PER_2M + 8)), STATUS_NOMEM);
    vmm_bed_unlimit(&bed, taken);
    EXPECT_OK(vmm_translate(bed.vmm, &bed.a, from, &w));
    EXPECT_EQ(w.level, 2);
    EXPECT_EQ(vmm_move(bed.vmm, &bed.a, from, vaddr_add_pages(from, PAGES_PER_2M + 4), npages(6)), STATUS_EXISTS);
    EXPECT_OK(vmm_move(bed.vmm, &bed.a, from, to, npages(PAGES_PER_2M + 8)));
    expect_moved(&bed, &bed.a, from, to, PAGES_PER_2M + 8);
    vmm_bed_close(&bed);
}

/* What others would see at once, or not at all. */
TEST(vmm_move, nothing_moves_behind_tables_that_are_shared)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const vaddr_t from = vaddr(VA_PRIVATE), to = vaddr(VA_GLOBAL), elsewhere = vaddr(VA_GLOBAL + GIB);
    struct vmm_loan loan = {0};
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, from, npages(3), RW));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, elsewhere, npages(3), RW));
    EXPECT_OK(vmm_map(bed.vmm, &bed.b, elsewhere, npages(3), RW));
    EXPECT_OK(vmm_lend(bed.vmm, &bed.a, from, &bed.b, to, 2, RW, &loan));
    expect_refused(&bed, from.v, elsewhere.v + MIB, 3, STATUS_SHARED);
    expect_refused(&bed, elsewhere.v, from.v + MIB, 3, STATUS_SHARED);
    EXPECT_EQ(vmm_move(bed.vmm, &bed.b, to, vaddr(elsewhere.v + MIB), npages(3)), STATUS_SHARED);
    EXPECT_EQ(vmm_move(bed.vmm, &bed.b, elsewhere, vaddr(to.v + MIB), npages(3)), STATUS_SHARED);
    EXPECT_OK(vmm_withdraw(bed.vmm, &loan));
    EXPECT_OK(vmm_move(bed.vmm, &bed.a, from, vaddr(elsewhere.v + MIB), npages(3)));
    vmm_bed_close(&bed);
}

/* ---- A game: which frame is where, as a list that is moved too ---- */

static uint64_t shown[GAME_PAGES]; /* page number + 1; 0: nothing */

static bool is_clear(uint64_t first, uint64_t pages)
{
    uint64_t any = 0;
    for (uint64_t i = first; i < first + pages; i++) {
        any |= shown[i];
    }
    return any == 0;
}

static bool is_full(uint64_t first, uint64_t pages)
{
    bool full = true;
    for (uint64_t i = first; i < first + pages; i++) {
        full = full && shown[i] != 0;
    }
    return full;
}

static void play_move(struct vmm_bed *bed, vaddr_t base, struct rng *rng)
{
    const uint64_t pages = 1 + rng_below(rng, rng_below(rng, 3) == 0 ? 300 : 40);
    const uint64_t from = rng_below(rng, GAME_PAGES - pages), to = rng_below(rng, GAME_PAGES - pages);
    const bool overlap = from < to + pages && to < from + pages;
    const enum status expected = overlap                   ? STATUS_INVALID
                                 : !is_clear(to, pages)    ? STATUS_EXISTS
                                 : !is_full(from, pages)   ? STATUS_ABSENT
                                                           : STATUS_OK;
    const enum status s = vmm_move(bed->vmm, &bed->a, vaddr_add_pages(base, from), vaddr_add_pages(base, to),
                                   npages(pages));
    EXPECT_EQ(s, expected);
    for (uint64_t i = 0; s == STATUS_OK && i < pages; i++) {
        shown[to + i] = shown[from + i];
        shown[from + i] = 0;
    }
}

static void expect_as_shown(struct vmm_bed *bed, vaddr_t base)
{
    for (uint64_t i = 0; i < GAME_PAGES; i++) {
        const vaddr_t va = vaddr_add_pages(base, i);
        if (shown[i] == 0) {
            EXPECT_EQ(vmm_bed_frame_of(bed, &bed->a, va), UINT64_MAX);
        } else {
            EXPECT_EQ(arch_read64(va), shown[i]);
        }
    }
    EXPECT(vmm_bed_check(bed->vmm));
}

TEST(vmm_move, random_moves_agree_with_a_record_of_pages)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vmm_bed_switch(&bed, &bed.a);
    struct rng rng = rng_seeded(test_seed());
    const vaddr_t base = vaddr(VA_GLOBAL - 700ULL * PAGE_BYTES);
    memset(shown, 0, sizeof shown);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr_add_pages(base, 500), npages(300), RW));
    for (uint64_t i = 500; i < 800; i++) {
        shown[i] = i;
        arch_write64(vaddr_add_pages(base, i), i);
    }
    for (unsigned n = 0; n < 40 * GAME_MOVES; n++) {
        play_move(&bed, base, &rng);
        if (n % GAME_MOVES == 0) {
            expect_as_shown(&bed, base);
        }
    }
    expect_as_shown(&bed, base);
    vmm_bed_close(&bed);
}
