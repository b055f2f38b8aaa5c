/*
 * Callers that mean harm, and entries that no correct code wrote: frames that page tables cannot name, ranges of every
 * shape, counts that are wrong. Host only where physical memory is broken for it.
 */
#include "arch/arch.h"
#include "arch/layout.h"
#include "model/model.h"
#include "unit/vmm_bed.h"

enum { RW = VMM_READ | VMM_WRITE };

static paddr_t entry_of(const struct space *s, uint64_t va, unsigned level)
{
    return model_entry_at(model_machine, s->root, vaddr(va), level);
}

static uint64_t word_at(paddr_t at) { return model_phys_read64(model_machine, at); }

TEST_HOST(vmm_hostile, a_space_at_no_address_is_refused_by_every_call)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    struct vmm_walk w;
    uint64_t word = 0;
    const vaddr_t va = vaddr(VA_PRIVATE);
    test_expect_reports(11);
    EXPECT_EQ(space_create(vmm, NULL), STATUS_MISUSE);
    EXPECT_EQ(space_destroy(vmm, NULL), STATUS_MISUSE);
    EXPECT_EQ(space_switch(vmm, NULL), STATUS_MISUSE);
    EXPECT_EQ(space_keep_tables(vmm, NULL, true), STATUS_MISUSE);
    EXPECT_EQ(vmm_map(vmm, NULL, va, npages(1), RW), STATUS_MISUSE);
    EXPECT_EQ(vmm_map_frames(vmm, NULL, va, pfn(1), npages(1), RW, false), STATUS_MISUSE);
    EXPECT_EQ(vmm_unmap(vmm, NULL, va, npages(1)), STATUS_MISUSE);
    EXPECT_EQ(vmm_protect(vmm, NULL, va, npages(1), RW), STATUS_MISUSE);
    EXPECT_EQ(vmm_translate(vmm, NULL, va, &w), STATUS_MISUSE);
    EXPECT_EQ(space_clear(vmm, NULL, va, 8), STATUS_MISUSE);
    EXPECT_EQ(space_peek(vmm, NULL, va, &word, 8), STATUS_MISUSE);
    vmm_bed_close(&bed);
}

/* A frame number that wraps would be another frame's; one too large would set bits that are no address. */
TEST_HOST(vmm_hostile, frames_that_no_entry_can_name_are_not_mapped_zeroed_or_copied)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    const uint64_t end = paddr_to_pfn(paddr(PTE_FRAME_MASK)).v + 1;
    const uint64_t bad[] = {end, end << 20, UINT64_MAX, end + bed.a.root.v};
    const uint64_t stores = vmm->counters.table_stores;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        vaddr_t page = vaddr(1);
        EXPECT_EQ(temp_map(vmm, pfn(bad[i]), &page), STATUS_RANGE);
        EXPECT_EQ(page.v, 1);
        EXPECT_EQ(frame_zero(vmm, pfn(bad[i])), STATUS_RANGE);
        EXPECT_EQ(frame_copy(vmm, pfn(bad[i]), bed.a.root), STATUS_RANGE);
        EXPECT_EQ(frame_copy(vmm, bed.a.root, pfn(bad[i])), STATUS_RANGE);
        EXPECT_EQ(vmm_map_frames(vmm, &bed.a, vaddr(VA_PRIVATE), pfn(bad[i]), npages(1), RW, false), STATUS_RANGE);
    }
    EXPECT_EQ(vmm->counters.table_stores, stores);
    /* A CPU with fewer address bits: the others are reserved in its entries (SDM 3A 4.4.2). */
    const pfn_t all = vmm->frames_end, few = {1ULL << 24};
    vmm->frames_end = few;
    vaddr_t page;
    EXPECT_EQ(temp_map(vmm, few, &page), STATUS_RANGE);
    EXPECT_EQ(vmm_map_frames(vmm, &bed.a, vaddr(VA_PRIVATE), pfn(few.v - 1), npages(2), RW, false), STATUS_RANGE);
    EXPECT_EQ(vmm_map_frames(vmm, &bed.a, vaddr(VA_PRIVATE), pfn(0), npages(few.v + 1), RW, false), STATUS_RANGE);
    EXPECT_OK(vmm_map_frames(vmm, &bed.a, vaddr(VA_PRIVATE), pfn(few.v - 1), npages(1), RW, false));
    vmm->frames_end = all;
    vmm_bed_close(&bed);
}

static bool count_pages(void *ctx, const struct vmm_mapping *m)
{
    *(uint64_t *)ctx += m->pages.v;
    return true;
}

/* The largest ranges that are good, and the smallest that are not; over empty tables and over a few pages. */
TEST_HOST(vmm_hostile, the_largest_ranges_are_decided_and_change_nothing)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    const vaddr_t first = vaddr(LAYOUT_USER_FIRST);
    const uint64_t all = bytes_to_pages_down(LAYOUT_USER_END - LAYOUT_USER_FIRST).v;
    for (unsigned turn = 0; turn < 2; turn++) {
        const struct pmm_stats was = pmm_stats(vmm->pmm);
        const uint64_t stores = vmm->counters.table_stores;
        EXPECT_EQ(vmm_map(vmm, &bed.a, first, npages(all), RW), turn == 0 ? STATUS_NOMEM : STATUS_EXISTS);
        EXPECT_EQ(vmm_map_frames(vmm, &bed.a, first, pfn(0), npages(all), RW, false),
                  turn == 0 ? STATUS_NOMEM : STATUS_EXISTS);
        EXPECT_EQ(vmm_unmap(vmm, &bed.a, first, npages(all)), STATUS_ABSENT);
        EXPECT_EQ(vmm_protect(vmm, &bed.a, first, npages(all), RW), STATUS_ABSENT);
        EXPECT_EQ(vmm_unmap(vmm, &bed.a, first, npages(all + 1)), STATUS_RANGE);
        EXPECT_EQ(space_clear(vmm, &bed.a, first, pages_to_bytes(npages(all))), STATUS_ABSENT);
        EXPECT_EQ(space_clear(vmm, &bed.a, vaddr(UINT64_MAX), 1), STATUS_RANGE);
        EXPECT_EQ(space_clear(vmm, &bed.a, vaddr(UINT64_MAX), 2), STATUS_INVALID);
        EXPECT_EQ(space_clear(vmm, &bed.a, vaddr(LAYOUT_USER_END - 1), 2), STATUS_RANGE);
        EXPECT_EQ(pmm_stats(vmm->pmm).allocated, was.allocated);
        EXPECT(vmm->counters.table_stores - stores <= 2); /* the slot: from another space by way of 0 to this one */
        EXPECT_OK(vmm_map_frames(vmm, &bed.a, vaddr(LAYOUT_USER_END - PAGE_BYTES), pfn(1), npages(1), RW, false));
        uint64_t seen = 0;
        vmm_visit(vmm, &bed.a, vaddr(0), vaddr(0x0000800000000000), count_pages, &seen);
        vmm_visit(vmm, &bed.a, vaddr(LAYOUT_USER_END - 1), vaddr(LAYOUT_USER_END - 1), count_pages, &seen);
        vmm_visit(vmm, &bed.a, vaddr(LAYOUT_USER_END), vaddr(LAYOUT_USER_END - PAGE_BYTES), count_pages, &seen);
        vmm_visit(vmm, &bed.a, vaddr(0x0000800000000000), vaddr(LAYOUT_KERNEL_BASE), count_pages, &seen);
        const vaddr_t windows = vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN));
        vmm_visit(vmm, &bed.a, windows, vaddr_add(windows, 2 * level_span_bytes(PAGING_LEVELS)), count_pages, &seen);
        EXPECT_EQ(seen, 2 + turn);
        if (turn == 0) {
            EXPECT_OK(vmm_unmap(vmm, &bed.a, vaddr(LAYOUT_USER_END - PAGE_BYTES), npages(1)));
            EXPECT_OK(vmm_map_frames(vmm, &bed.a, first, pfn(1), npages(1), RW, false));
            EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.b, first), UINT64_MAX);
        }
    }
    vmm_bed_close(&bed);
}

/* ---- One bit that is wrong ---- */

/* What the VMM may do with a broken entry: say so, or take it for a large page; in no case change anything. */
static void expect_no_change(struct vmm_bed *bed, unsigned level, unsigned bit)
{
    struct vmm *vmm = bed->vmm;
    const vaddr_t va = vaddr(VA_PRIVATE), next = vaddr(VA_PRIVATE + 3 * PAGE_BYTES);
    struct vmm_walk w;
    uint64_t word = 0, pages = 0;
    const enum status got[] = {
        vmm_map(vmm, &bed->a, next, npages(1), RW),
        vmm_map_frames(vmm, &bed->a, next, pfn(1), npages(600), RW, false),
        vmm_unmap(vmm, &bed->a, va, npages(1)),
        vmm_unmap(vmm, &bed->a, va, npages(3)),
        vmm_protect(vmm, &bed->a, va, npages(3), VMM_READ),
        vmm_unmap_present(vmm, &bed->a, va, npages(2)),
        vmm_unmap_present(vmm, &bed->a, va, npages(600)),
        vmm_protect_present(vmm, &bed->a, va, npages(9), VMM_READ),
        space_clear(vmm, &bed->a, va, 8),
        space_peek(vmm, &bed->a, va, &word, 8),
    };
    bool any_ok = false, all_corrupt = true;
    for (unsigned i = 0; i < ARRAY_LEN(got); i++) {
        any_ok = any_ok || got[i] == STATUS_OK;
        all_corrupt = all_corrupt && got[i] == STATUS_CORRUPT;
    }
    vmm_visit(vmm, &bed->a, vaddr(0), vaddr(LAYOUT_USER_END), count_pages, &pages);
    bool is_large = vmm_translate(vmm, &bed->a, va, &w) == STATUS_OK;
    if (!EXPECT(!any_ok && all_corrupt != is_large && (is_large || pages == 2))) {
        test_note("level %u, bit %u: %s", level, bit, test_last_report());
    }
}

/* Each bit that a correct entry never has, and each bit of the frame, at each level, known entry or not. */
TEST_HOST(vmm_hostile, no_wrong_bit_of_an_upper_entry_is_followed)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(3), RW));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE + 513 * GIB), npages(2), RW)); /* behind it, and whole */
    const uint64_t wrong = PTE_PWT | PTE_PCD | PTE_PS | PTE_G | PTE_FRAME_MASK | 0xEULL << 59;
    unsigned turns = 0;
    for (unsigned level = 2; level <= PAGING_LEVELS; level++) {
        const paddr_t at = entry_of(&bed.a, VA_PRIVATE, level);
        const uint64_t old = word_at(at);
        for (unsigned bit = 0; bit < 64; bit++) {
            pfn_t frame = pte_pfn((pte_t){old ^ 1ULL << bit});
            if ((wrong >> bit & 1) == 0 ||
                (frame.v != pte_pfn((pte_t){old}).v && pmm_query(bed.vmm->pmm, frame).state == PMM_STATE_USED)) {
                continue; /* another table's frame, perhaps: nobody can tell */
            }
            const struct pmm_stats was = pmm_stats(bed.vmm->pmm);
            model_phys_write64(model_machine, at, old ^ 1ULL << bit);
            npages_t taken = vmm_bed_limit(&bed, 0); /* what is taken for a large page is not cut */
            expect_no_change(&bed, level, bit);
            vmm_bed_unlimit(&bed, taken);
            model_phys_write64(model_machine, at, old);
            EXPECT_EQ(pmm_stats(bed.vmm->pmm).allocated, was.allocated);
            EXPECT(vmm_bed_check(bed.vmm));
            turns++;
        }
    }
    EXPECT(turns > 3 * 40);
    test_expect_reports(test_reports());
    vmm_bed_close(&bed);
}

/* ---- Counts that are wrong ---- */

/*
 * A PD that counts less than it has: its count must not fall below zero, where it would run into bits that mean
 * something.
 */
TEST_HOST(vmm_hostile, a_count_that_is_too_low_does_not_spill_into_other_bits)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_PRIVATE), pfn(1), npages(1), RW, false));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_PRIVATE + 2 * MIB), pfn(1), npages(1), RW, false));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_PRIVATE + 4 * MIB), pfn(1), npages(1), RW, false));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_PRIVATE + GIB), pfn(1), npages(1), RW, false));
    const paddr_t at = entry_of(&bed.a, VA_PRIVATE, 3);
    const uint64_t old = word_at(at), none = old & ~(7ULL << 9);
    model_phys_write64(model_machine, at, none);
    test_expect_reports(1);
    EXPECT_EQ(vmm_unmap(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(1)), STATUS_CORRUPT);
    EXPECT_EQ(word_at(at), none);
    model_phys_write64(model_machine, at, old);
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

/* What counts wrongly, but not nothing, is seen only when it is counted: said then, and nothing but it goes. */
TEST_HOST(vmm_hostile, a_count_that_runs_out_or_over_stays_a_count)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const vaddr_t va = vaddr(VA_PRIVATE);
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, va, pfn(1), npages(2 * PAGES_PER_2M), RW, false));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_PRIVATE + GIB), pfn(1), npages(1), RW, false));
    const paddr_t at = entry_of(&bed.a, VA_PRIVATE, 3);
    const uint64_t two = word_at(at);
    model_phys_write64(model_machine, at, two - (1ULL << 9)); /* one */
    test_expect_reports(2);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, va, npages(2 * PAGES_PER_2M)));
    EXPECT(bed.a.tables.v == 4 && word_at(at) == 0);
    EXPECT(vmm_bed_check(bed.vmm));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, va, pfn(1), npages(1), RW, false));
    const uint64_t one = word_at(at), most = (one & ~(7ULL << 9)) | 0x7FULL << 52 | 6ULL << 9; /* 1022 */
    model_phys_write64(model_machine, at, most);
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_PRIVATE + 2 * MIB), pfn(1), npages(1), RW, false));
    EXPECT_EQ(word_at(at) & ~(0x7FULL << 52 | 7ULL << 9), one & ~(7ULL << 9));
    model_phys_write64(model_machine, at, one + (1ULL << 9));
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

/* Entries of a space that ends are broken at each level: the rest goes back, what is behind them is said to be lost. */
TEST_HOST(vmm_hostile, a_corrupt_space_ends_and_says_so)
{
    static const uint64_t wrong[] = {PTE_G, 1ULL << 60, PTE_PCD};
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    static struct space c;
    for (unsigned level = 2; level <= PAGING_LEVELS; level++) {
        EXPECT_OK(space_create(bed.vmm, &c));
        EXPECT_OK(vmm_map(bed.vmm, &c, vaddr(VA_PRIVATE), npages(3), RW));
        EXPECT_OK(vmm_map(bed.vmm, &c, vaddr(VA_GLOBAL), npages(600), RW));
        const paddr_t at = entry_of(&c, VA_PRIVATE, level);
        pfn_t lost[8];
        unsigned count = 0;
        for (unsigned l = PAGING_LEVELS; l > 1; l--) { /* tables from the broken entry down; above it they stay too */
            lost[count++] = pte_pfn((pte_t){word_at(entry_of(&c, VA_PRIVATE, l))});
        }
        for (uint64_t page = 0; page < 3; page++) {
            lost[count++] = pte_pfn((pte_t){word_at(entry_of(&c, VA_PRIVATE + page * PAGE_BYTES, 1))});
        }
        model_phys_write64(model_machine, at, word_at(at) | wrong[level - 2]);
        test_expect_reports(2 * (level - 1));
        EXPECT_EQ(space_destroy(bed.vmm, &c), STATUS_CORRUPT);
        EXPECT(c.vmm == NULL && space_find(bed.vmm, c.id) == NULL);
        for (unsigned i = 0; i < count; i++) {
            EXPECT_OK(pmm_release(bed.vmm->pmm, lost[i], NULL)); /* lost, not freed */
        }
        EXPECT(vmm_bed_check(bed.vmm));
    }
    vmm_bed_close(&bed);
}

/* Kernel pages behind a broken entry: no frame and no address is lost. */
TEST_HOST(vmm_hostile, kernel_pages_behind_a_corrupt_entry_are_refused)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    vaddr_t first, base = vaddr(1);
    EXPECT_OK(kpages_alloc(vmm, npages(1), ARENA_ALIGN_PAGE, 0, "first", &first));
    const struct pmm_stats was = pmm_stats(vmm->pmm);
    const uint64_t used = vmm->arena.used.v;
    for (unsigned level = 2; level <= 3; level++) {
        const paddr_t at = entry_of(&vmm->kernel, first.v, level);
        const uint64_t old = word_at(at);
        model_phys_write64(model_machine, at, old | 1ULL << 60);
        test_expect_reports(3 * (level - 1));
        EXPECT_EQ(kpages_alloc(vmm, npages(1), ARENA_ALIGN_PAGE, 0, "second", &base), STATUS_CORRUPT);
        EXPECT_EQ(kpages_free(vmm, first), STATUS_MISUSE);
        EXPECT(base.v == 1 && vmm->arena.used.v == used && pmm_stats(vmm->pmm).used.v == was.used.v);
        EXPECT_EQ(pmm_stats(vmm->pmm).promised.v, 0);
        model_phys_write64(model_machine, at, old);
    }
    EXPECT_OK(kpages_free(vmm, first));
    vmm_bed_close(&bed);
}

/* ---- Many tables, in our own window ---- */

/* More than one gather holds, each with an owned page and seen by this CPU: all go back, and none is seen again. */
TEST_HOST(vmm_hostile, more_tables_than_a_gather_holds_go_while_the_space_runs)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    const uint64_t tables = VMM_GATHER_TABLES + 30, used = vmm_bed_frames(vmm);
    const npages_t pages = npages(tables * PAGES_PER_2M);
    vmm_bed_switch(&bed, &bed.a);
    for (unsigned turn = 0; turn < 2; turn++) {
        pfn_t first = pfn(0x40000000ULL + turn * pages.v);
        EXPECT_OK(vmm_map_frames(vmm, &bed.a, vaddr(VA_PRIVATE), first, pages, RW, false));
        for (uint64_t k = 0; k < tables; k++) {
            EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr_add_pages(vaddr(VA_PRIVATE), k * PAGES_PER_2M + 7)),
                      first.v + k * PAGES_PER_2M + 7);
        }
        EXPECT_OK(vmm_unmap(vmm, &bed.a, vaddr(VA_PRIVATE), pages));
        EXPECT_EQ(vmm_bed_frames(vmm), used);
    }
    pfn_t frame;
    REQUIRE(pmm_alloc(vmm->pmm, PMM_USER, &frame) == STATUS_OK);
    EXPECT_OK(space_keep_tables(vmm, &bed.a, true));
    for (uint64_t k = 0; k < tables; k++) {
        vaddr_t va = vaddr_add_pages(vaddr(VA_PRIVATE), k * PAGES_PER_2M + k % PAGES_PER_2M);
        EXPECT_OK(vmm_map_frames(vmm, &bed.a, va, frame, npages(1), RW, true));
        arch_write64(va, k);
        if (k % 2 == 0) {
            EXPECT_OK(vmm_unmap(vmm, &bed.a, va, npages(1))); /* its table stays, empty */
        }
    }
    EXPECT_EQ(pmm_query(vmm->pmm, frame).references, 1 + tables / 2);
    vmm_bed_switch(&bed, bed.home);
    EXPECT_OK(space_destroy(vmm, &bed.a));
    EXPECT_EQ(pmm_query(vmm->pmm, frame).references, 1);
    EXPECT_OK(pmm_free(vmm->pmm, frame));
    EXPECT_OK(space_create(vmm, &bed.a));
    EXPECT_EQ(vmm_bed_frames(vmm), used);
    vmm_bed_close(&bed);
}

/* A table's frame, freed, becomes a table of another space, at another level: nothing remembered of it misleads. */
TEST_HOST(vmm_hostile, a_frame_that_is_a_table_elsewhere_is_seen_there)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    struct space *turns[] = {&bed.a, &bed.b};
    unsigned met = 0;
    pfn_t before[3] = {0};
    for (unsigned turn = 0; turn < 12; turn++) {
        struct space *space = turns[turn % 2];
        vmm_bed_switch(&bed, turn % 3 == 0 ? &bed.a : turn % 3 == 1 ? &bed.b : bed.home);
        const uint64_t va = VA_PRIVATE + turn * 3 * GIB;
        EXPECT_OK(vmm_map_frames(vmm, space, vaddr(va), pfn(1 + turn), npages(1), RW, false));
        for (uint64_t more = 1; more < 4; more++) { /* by the short way, the entries being remembered */
            EXPECT_OK(vmm_map_frames(vmm, space, vaddr(va + more * PAGE_BYTES), pfn(9), npages(1), RW, false));
        }
        for (unsigned level = 4; level > 1; level--) {
            pfn_t table = pte_pfn((pte_t){word_at(entry_of(space, va, level))});
            met += table.v == before[0].v || table.v == before[1].v || table.v == before[2].v;
            before[level - 2] = table;
        }
        EXPECT_EQ(vmm_bed_frame_of(&bed, space, vaddr(va)), 1 + turn);
        EXPECT_EQ(vmm_bed_frame_of(&bed, turns[1 - turn % 2], vaddr(va)), UINT64_MAX);
        EXPECT_OK(vmm_unmap(vmm, space, vaddr(va), npages(4)));
        EXPECT_EQ(vmm_unmap(vmm, space, vaddr(va), npages(1)), STATUS_ABSENT);
    }
    EXPECT(met > 12);
    vmm_bed_close(&bed);
}
