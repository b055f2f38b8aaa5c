/*
 * The product and its rivals (test/rivals/paging/) play the same random history, each on a machine of its own. After
 * it, and now and then before, memory is read from the root: what each page is mapped to must be what a plain list
 * says. Pages are also accessed on the way, so that the model reports any flush that was forgotten.
 */
#include "arch/arch.h"
#include "model/model.h"
#include "pmm/pmm_runs.h"
#include "rivals/paging/rival.h"
#include "unit/test.h"

enum {
    AREAS = 3,
    AREA_PAGES = 1100,
    RAM_FRAMES = 256,  /* mapped again and again; the others are devices */
};

/* Each across a border: of PTs, of PDs, of PDPTs. */
static const vaddr_t areas[AREAS] = {{0x0000012340000000}, {0x00004000BFF00000}, {0x000041FFFFE80000}};

#define LEAF_MASK (PTE_P | PTE_W | PTE_U | PTE_XD | PTE_FRAME_MASK)

struct game {
    const struct paging_subject *subject;
    struct rng rng;
    pfn_t ram;
    unsigned current;
    uint64_t leaf[PAGING_SPACES][AREAS][AREA_PAGES]; /* as they must be, LEAF_MASK of them; 0: not mapped */
};

static struct game game;

static const pfn_t device = {0x80000000};
static const unsigned some_rights[] = {VMM_READ, VMM_READ | VMM_WRITE, VMM_READ | VMM_WRITE | VMM_USER,
                                       VMM_READ | VMM_EXECUTE | VMM_USER};

static uint64_t bits_of(unsigned rights)
{
    return PTE_P | ((rights & VMM_WRITE) != 0 ? PTE_W : 0) | ((rights & VMM_USER) != 0 ? PTE_U : 0) |
           ((rights & VMM_EXECUTE) != 0 ? 0 : PTE_XD);
}

static vaddr_t page_va(unsigned area, uint64_t page) { return vaddr_add_pages(areas[area], page); }

/* What memory maps there, rights of the way included. */
static uint64_t leaf_of(pfn_t root, vaddr_t va)
{
    uint64_t denied = 0, forbidden = 0, leaf = 0;
    for (unsigned level = PAGING_LEVELS; level > 0; level--) {
        paddr_t at = model_entry_at(model_machine, root, va, level);
        leaf = at.v == 0 ? 0 : model_phys_read64(model_machine, at);
        if ((leaf & PTE_P) == 0) {
            return 0;
        }
        denied |= ~leaf & (PTE_W | PTE_U);
        forbidden |= leaf & PTE_XD;
    }
    return ((leaf & ~denied) | forbidden) & LEAF_MASK;
}

/* Leaves below `table`, wherever they are. */
static uint64_t count_leaves(pfn_t table, unsigned level)
{
    uint64_t leaves = 0;
    unsigned entries = level == PAGING_LEVELS ? TABLE_ENTRIES / 2 : TABLE_ENTRIES;
    for (unsigned i = 0; i < entries; i++) {
        pte_t e = {
            model_phys_read64(model_machine, paddr(pfn_to_paddr(table).v + i * (uint64_t)ENTRY_BYTES)),
        };
        if (pte_is_present(e)) {
            leaves += level == 1 ? 1 : count_leaves(pte_pfn(e), level - 1);
        }
    }
    return leaves;
}

static void compare_all(void)
{
    for (unsigned space = 1; space < PAGING_SPACES; space++) {
        pfn_t root = game.subject->root(game.subject, space);
        uint64_t mapped = 0, wrong = 0;
        for (unsigned area = 0; area < AREAS; area++) {
            for (uint64_t i = 0; i < AREA_PAGES; i++) {
                mapped += game.leaf[space][area][i] != 0;
                wrong += game.leaf[space][area][i] != leaf_of(root, page_va(area, i));
            }
        }
        if (!EXPECT_EQ(wrong, 0) || !EXPECT_EQ(count_leaves(root, PAGING_LEVELS), mapped)) {
            test_note("%s, space %u", game.subject->name, space);
        }
    }
}

/* Some pages of the current space, as a program would: they are what the list says, and nothing else is to be had. */
static void access_some(unsigned area, uint64_t page, uint64_t pages)
{
    for (unsigned turn = 0; turn < 6; turn++) {
        uint64_t i = page + rng_below(&game.rng, pages);
        uint64_t leaf = game.leaf[game.current][area][i];
        vaddr_t va = page_va(area, i);
        pfn_t frame = pte_pfn((pte_t){leaf});
        bool ok = EXPECT_EQ(model_can_access(model_machine, va, false), leaf != 0) &&
                  EXPECT_EQ(model_can_access(model_machine, va, true), (leaf & PTE_W) != 0);
        if (ok && leaf != 0 && frame.v < device.v) {
            ok = EXPECT_EQ(arch_read64(va), frame.v);
        }
        if (!ok) {
            test_note("%s, space %u, %#lx", game.subject->name, game.current, va.v);
        }
    }
}

/* From a random page on, at most `most` pages that are all mapped, or all not. */
static uint64_t pages_alike(unsigned space, unsigned area, uint64_t page, uint64_t most)
{
    const uint64_t *leaf = game.leaf[space][area];
    uint64_t n = 1;
    while (n < most && page + n < AREA_PAGES && (leaf[page + n] != 0) == (leaf[page] != 0)) {
        n++;
    }
    return n;
}

static void map_some(unsigned space, unsigned area, uint64_t page)
{
    bool is_ram = rng_below(&game.rng, 3) != 0;
    uint64_t n = pages_alike(space, area, page, 1 + rng_below(&game.rng, is_ram ? RAM_FRAMES : AREA_PAGES));
    pfn_t first = is_ram ? pfn_add(game.ram, rng_below(&game.rng, RAM_FRAMES - n + 1)) : pfn_add(device, page);
    unsigned rights = some_rights[rng_below(&game.rng, ARRAY_LEN(some_rights))];
    EXPECT_EQ(game.subject->map(game.subject, space, page_va(area, page), first, npages(n), rights), STATUS_OK);
    for (uint64_t i = 0; i < n; i++) {
        game.leaf[space][area][page + i] = pte_make(pfn_add(first, i), bits_of(rights)).v;
    }
}

static void change_some(unsigned space, unsigned area, uint64_t page)
{
    uint64_t n = pages_alike(space, area, page, 1 + rng_below(&game.rng, rng_below(&game.rng, 2) == 0 ? 40 : 600));
    unsigned rights = some_rights[rng_below(&game.rng, ARRAY_LEN(some_rights))];
    bool is_unmap = rng_below(&game.rng, 2) == 0;
    if (space == game.current) {
        access_some(area, page, n);
    }
    const struct paging_subject *s = game.subject;
    enum status status = is_unmap ? s->unmap(s, space, page_va(area, page), npages(n))
                                  : s->protect(s, space, page_va(area, page), npages(n), rights);
    EXPECT_EQ(status, STATUS_OK);
    for (uint64_t i = page; i < page + n; i++) {
        uint64_t *leaf = &game.leaf[space][area][i];
        *leaf = is_unmap ? 0 : (*leaf & PTE_FRAME_MASK) | bits_of(rights);
    }
    if (space == game.current) {
        access_some(area, page, n);
    }
}

static void replace_space(unsigned space)
{
    if (space != game.current) {
        EXPECT_EQ(game.subject->destroy(game.subject, space), STATUS_OK);
        EXPECT_EQ(game.subject->create(game.subject, space), STATUS_OK);
        memset(game.leaf[space], 0, sizeof game.leaf[space]);
    }
}

static void play_one(void)
{
    unsigned space = 1 + (unsigned)rng_below(&game.rng, PAGING_SPACES - 1);
    unsigned area = (unsigned)rng_below(&game.rng, AREAS);
    uint64_t page = rng_below(&game.rng, AREA_PAGES), what = rng_below(&game.rng, 40);
    if (what == 0) {
        replace_space(space);
    } else if (what < 6) {
        EXPECT_EQ(game.subject->switch_to(game.subject, space), STATUS_OK);
        game.current = space;
        access_some(area, 0, AREA_PAGES);
    } else if (game.leaf[space][area][page] == 0) {
        map_some(space, area, page);
    } else {
        change_some(space, area, page);
    }
}

static bool start_game(const struct paging_subject *s)
{
    struct model *m = model_start(64 * MIB);
    if (s->maps_all_memory) {
        model_want_violations(m);
    }
    memset(&game, 0, sizeof game);
    game.subject = s;
    game.rng = rng_seeded(test_seed());
    bool ok = EXPECT_EQ(pmm_alloc_run(&m->pmm, 0, npages(RAM_FRAMES), npages(1), npages(0), PMM_NO_LIMIT, &game.ram),
                        STATUS_OK) &&
              EXPECT_EQ(s->start(s), STATUS_OK);
    for (unsigned i = 0; i < RAM_FRAMES && ok; i++) {
        pfn_t frame = pfn_add(game.ram, i);
        model_phys_write64(m, pfn_to_paddr(frame), frame.v);
    }
    for (unsigned space = 1; space < PAGING_SPACES && ok; space++) {
        ok = EXPECT_EQ(s->create(s, space), STATUS_OK);
    }
    return ok;
}

static void end_game(uint64_t used)
{
    const struct paging_subject *s = game.subject;
    EXPECT_EQ(s->switch_to(s, 0), STATUS_OK);
    for (unsigned space = 1; space < PAGING_SPACES; space++) {
        EXPECT_EQ(s->destroy(s, space), STATUS_OK);
    }
    EXPECT_EQ(pmm_stats(&model_machine->pmm).used.v, used);
    if (!EXPECT_EQ(paging_violations(s), 0)) {
        test_note("%s: the first is %s", s->name, model_machine->first_violation);
    }
    model_end();
}

TEST_HOST(rivals_paging, all_ways_to_edit_tables_map_the_same)
{
    for (unsigned i = 0; i < PAGING_SUBJECTS; i++) {
        const struct paging_subject *s = paging_subjects[i];
        REQUIRE(start_game(s));
        uint64_t frames = 0;
        for (unsigned space = 1; space < PAGING_SPACES; space++) {
            frames += EXPECT(s->root(s, space).v != 0);
        }
        const uint64_t used = pmm_stats(&model_machine->pmm).used.v - frames;
        for (unsigned turn = 0; turn < 100 * test_effort(); turn++) {
            if (turn % 32 == 0) {
                window_next = WINDOW_PAGES - 8; /* the end of a lap is near */
            }
            play_one();
            if (turn % 16 == 0) {
                compare_all();
            }
        }
        compare_all();
        end_game(used);
    }
}

/* A walk holds a page of the window for each level; the flush at the end of a lap does not end the use of those. */
TEST_HOST(rivals_paging, a_ring_page_held_across_the_end_of_a_lap_is_not_stale_in_the_next)
{
    const struct paging_subject *s = &paging_ring;
    REQUIRE(start_game(s));
    for (unsigned held = 1; held < PAGING_LEVELS; held++) {
        for (unsigned space = 1; space < PAGING_SPACES; space++) {
            window_next = WINDOW_PAGES - held; /* a lap each, without a flush between */
            EXPECT_EQ(s->map(s, space, page_va(0, held), device, npages(1), VMM_READ), STATUS_OK);
            EXPECT(window_next < WINDOW_TABLES + PAGING_LEVELS);
        }
    }
    for (unsigned space = 1; space < PAGING_SPACES; space++) {
        EXPECT_EQ(leaf_of(s->root(s, space), page_va(0, 1)), pte_make(device, bits_of(VMM_READ)).v);
    }
    EXPECT_EQ(model_machine->violations, 0);
    model_end();
}
