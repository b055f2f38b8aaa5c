/* Copy on write by table: who sees what, who is alone with what, and that nothing is lost whatever the order. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/vmm_share_bed.h"
#include "vmm/vmm_share.h"

enum { R = VMM_READ, RW = VMM_READ | VMM_WRITE, RX = VMM_READ | VMM_EXECUTE, PART = PAGES_PER_2M };

#define VA vaddr(VA_PRIVATE)

static const pfn_t device = {0xC000000};

/* a maps `pages`, page i with i + 1 in its first word for i < 3, and shares all parts of 1 GiB with b. */
static bool open_cloned(struct vmm_bed *bed, uint64_t pages, uint64_t cloned)
{
    if (!vmm_bed_open(bed) || !EXPECT_OK(vmm_map(bed->vmm, &bed->a, VA, npages(pages), RW))) {
        return false;
    }
    for (uint64_t i = 0; i < 3; i++) {
        write_word(bed, &bed->a, vaddr_add_pages(VA, i), i + 1);
    }
    return EXPECT_OK(vmm_clone(bed->vmm, &bed->a, &bed->b, VA, npages(cloned)));
}

static pte_t entry_of(struct vmm_bed *bed, struct space *space, vaddr_t va, unsigned level)
{
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed->vmm, space, va, &w));
    return w.entry[level];
}

TEST(vmm_clone, a_directory_with_a_table_that_clones_share_is_not_lent)
{
    struct vmm_bed bed;
    struct vmm_loan loan = {0};
    REQUIRE(open_cloned(&bed, 3, PART));
    EXPECT_EQ(vmm_lend(bed.vmm, &bed.a, VA, &bed.b, vaddr(VA_GLOBAL), 3, R, &loan), STATUS_SHARED);
    EXPECT_EQ(vmm_lend(bed.vmm, &bed.b, VA, &bed.a, vaddr(VA_GLOBAL), 3, R, &loan), STATUS_SHARED);
    EXPECT_OK(vmm_unshare(bed.vmm, &bed.a, VA, npages(1)));
    EXPECT_OK(vmm_lend(bed.vmm, &bed.a, VA, &bed.b, vaddr(VA_GLOBAL), 3, R, &loan));
    EXPECT_OK(vmm_withdraw(bed.vmm, &loan));
    vmm_bed_close(&bed);
}

TEST(vmm_clone, both_see_the_same_and_neither_writes)
{
    for (unsigned whole = 0; whole < 2; whole++) { /* by PT, by PD */
        struct vmm_bed bed;
        REQUIRE(open_cloned(&bed, 3, whole != 0 ? PAGES_PER_1G : PART));
        struct space *spaces[] = {&bed.a, &bed.b};
        for (unsigned i = 0; i < 2; i++) {
            EXPECT_EQ(rights_of(&bed, spaces[i], VA), R);
            EXPECT_EQ(word_of(&bed, spaces[i], vaddr_add_pages(VA, 2)), 3);
            EXPECT_EQ(spaces[i]->pages.v, 0);
            EXPECT_EQ(spaces[i]->tables.v, whole != 0 ? 2 : 3);
            EXPECT_EQ(space_clear(bed.vmm, spaces[i], VA, 8), STATUS_DENIED);
            EXPECT_EQ(vmm_map(bed.vmm, spaces[i], vaddr_add_pages(VA, 5), npages(1), RW), STATUS_SHARED);
            EXPECT_EQ(vmm_unmap(bed.vmm, spaces[i], VA, npages(1)), STATUS_SHARED);
            EXPECT_EQ(vmm_protect(bed.vmm, spaces[i], VA, npages(1), R), STATUS_SHARED);
        }
        EXPECT_EQ(pmm_query(bed.vmm->pmm, pte_pfn(entry_of(&bed, &bed.a, VA, whole != 0 ? 3 : 2))).references, 2);
        EXPECT(vmm_bed_check(bed.vmm));
        vmm_bed_close(&bed);
    }
}

TEST(vmm_clone, a_table_is_shared_by_three_stores_and_one_flush)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    EXPECT_OK(vmm_map(vmm, &bed.a, VA, npages(600), RW));
    EXPECT_OK(vmm_map(vmm, &bed.b, vaddr(VA_PRIVATE - GIB), npages(1), RW));
    vmm_bed_switch(&bed, &bed.a);
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.b, VA), UINT64_MAX); /* its window is open */
    vmm->counters = (struct vmm_counters){0};
    EXPECT_OK(vmm_clone(vmm, &bed.a, &bed.b, VA, npages(PAGES_PER_1G)));
    EXPECT(vmm->counters.table_stores == 3 && vmm->counters.cr3_loads == 1);
    vmm_bed_close(&bed);
}

TEST(vmm_clone, who_writes_gets_a_copy_and_the_last_gets_the_page)
{
    for (unsigned whole = 0; whole < 2; whole++) {
        struct vmm_bed bed;
        REQUIRE(open_cloned(&bed, 3, whole != 0 ? PAGES_PER_1G : PART));
        struct vmm *vmm = bed.vmm;
        write_word(&bed, &bed.b, VA, 77);
        EXPECT(word_of(&bed, &bed.a, VA) == 1 && word_of(&bed, &bed.b, VA) == 77);
        EXPECT(bed.b.pages.v == 3 && bed.b.tables.v == 4 && bed.a.pages.v == 0);
        EXPECT_EQ(rights_of(&bed, &bed.b, vaddr_add_pages(VA, 1)), R);
        EXPECT(vmm_bed_check(vmm));
        const uint64_t frame = vmm_bed_frame_of(&bed, &bed.a, VA), used = vmm_bed_frames(vmm);
        write_word(&bed, &bed.a, VA, 88); /* alone with the page and the last of the table: nothing is copied */
        EXPECT(vmm_bed_frame_of(&bed, &bed.a, VA) == frame && vmm_bed_frames(vmm) == used);
        EXPECT_EQ(rights_of(&bed, &bed.a, vaddr_add_pages(VA, 1)), R); /* b has that one too */
        EXPECT_EQ(bed.a.pages.v, 3);
        write_word(&bed, &bed.a, vaddr_add_pages(VA, 1), 99);
        EXPECT_EQ(word_of(&bed, &bed.b, vaddr_add_pages(VA, 1)), 2);
        EXPECT_OK(vmm_own_page(vmm, &bed.b, vaddr(VA_PRIVATE + PAGE_BYTES + 123))); /* anywhere in the page */
        EXPECT_EQ(rights_of(&bed, &bed.b, vaddr_add_pages(VA, 1)), RW);
        EXPECT(vmm_bed_check(vmm));
        vmm_bed_close(&bed);
    }
}

/* A right that is given to a page reaches no frame that another space has. */
TEST(vmm_clone, protect_makes_no_shared_frame_writable)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    EXPECT_OK(vmm_map(vmm, &bed.a, VA, npages(2), R));
    EXPECT_OK(vmm_clone(vmm, &bed.a, &bed.b, VA, npages(PART)));
    EXPECT_EQ(vmm_own_page(vmm, &bed.b, VA), STATUS_DENIED); /* read-only for good */
    EXPECT_OK(vmm_unshare(vmm, &bed.b, VA, npages(1)));
    EXPECT_OK(vmm_unshare(vmm, &bed.a, VA, npages(1)));
    struct space *spaces[] = {&bed.a, &bed.b};
    for (unsigned i = 0; i < 2; i++) { /* one has the copy, one was the last */
        EXPECT_EQ(vmm_own_page(vmm, spaces[i], VA), STATUS_DENIED);
        EXPECT_OK(vmm_protect(vmm, spaces[i], VA, npages(2), RW));
        EXPECT_EQ(rights_of(&bed, spaces[i], VA), R);
        EXPECT_EQ(space_clear(vmm, spaces[i], VA, 8), STATUS_DENIED);
        EXPECT_OK(vmm_protect(vmm, spaces[i], VA, npages(1), R));
        EXPECT_EQ(vmm_own_page(vmm, spaces[i], VA), STATUS_DENIED);
        EXPECT_OK(vmm_protect(vmm, spaces[i], VA, npages(2), RX));
        EXPECT_EQ(rights_of(&bed, spaces[i], VA), RX);
        EXPECT_OK(vmm_protect(vmm, spaces[i], VA, npages(2), RW));
        write_word(&bed, spaces[i], VA, 5 + i);
        EXPECT(vmm_bed_check(vmm));
    }
    EXPECT(word_of(&bed, &bed.a, VA) == 5 && word_of(&bed, &bed.b, VA) == 6);
    vmm_bed_close(&bed);
}

/* Three spaces and two levels: copies of PDs whose PTs are shared on, the last of each, in several orders. */
TEST(vmm_clone, spaces_that_share_end_in_any_order)
{
    static const uint8_t orders[][3] = {{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {1, 0, 2}};
    static struct space c;
    for (unsigned o = 0; o < 2 * ARRAY_LEN(orders); o++) {
        struct vmm_bed bed;
        REQUIRE(open_cloned(&bed, 600, PAGES_PER_1G));
        struct vmm *vmm = bed.vmm;
        EXPECT_OK(space_create(vmm, &c));
        struct space *spaces[] = {&bed.a, &bed.b, &c};
        write_word(&bed, &bed.b, VA, 50); /* its own PD, one PT copied, one still shared */
        EXPECT_OK(vmm_clone(vmm, &bed.b, &c, VA, npages(o < 4 ? PAGES_PER_1G : 2 * PART)));
        EXPECT_EQ(vmm_clone(vmm, &bed.a, &c, VA, npages(PART)), STATUS_EXISTS);
        EXPECT(vmm_bed_check(vmm));
        for (unsigned i = 0; i < 3; i++) {
            write_word(&bed, spaces[(o + i) % 3], vaddr_add_pages(VA, 1 + 512 * (o / 4)), 100 + i);
            EXPECT(vmm_bed_check(vmm));
        }
        EXPECT(word_of(&bed, &bed.a, VA) == 1 && word_of(&bed, &bed.b, VA) == 50 && word_of(&bed, &c, VA) == 50);
        for (unsigned i = 0; i < 3; i++) {
            struct space *ends = spaces[orders[o % 4][i]];
            EXPECT_OK(space_destroy(vmm, ends));
            EXPECT(vmm_bed_check(vmm));
            struct space *left = spaces[orders[o % 4][2]];
            if (i < 2) {
                write_word(&bed, left, vaddr_add_pages(VA, 2), 60 + i);
                EXPECT_EQ(word_of(&bed, left, vaddr_add_pages(VA, 2)), 60 + i);
            }
        }
        EXPECT_EQ(vmm_bed_frames(vmm), bed.frames);
        EXPECT_OK(space_create(vmm, &bed.a));
        EXPECT_OK(space_create(vmm, &bed.b));
        vmm_bed_close(&bed);
    }
}

TEST(vmm_clone, after_unsharing_a_range_is_edited_freely)
{
    struct vmm_bed bed;
    REQUIRE(open_cloned(&bed, 3 * PART, PAGES_PER_1G));
    struct vmm *vmm = bed.vmm;
    vmm_bed_switch(&bed, &bed.b);
    EXPECT_OK(vmm_unshare(vmm, &bed.b, vaddr_add_pages(VA, 100), npages(PART))); /* two PTs of three */
    EXPECT(bed.b.pages.v == 2 * PART && bed.b.tables.v == 5);
    EXPECT(vmm_bed_check(vmm));
    EXPECT_EQ(vmm_unmap(vmm, &bed.b, VA, npages(3 * PART)), STATUS_SHARED);
    EXPECT_OK(vmm_unmap(vmm, &bed.b, VA, npages(2 * PART)));
    EXPECT_OK(vmm_map(vmm, &bed.b, VA, npages(1), RW));
    EXPECT_EQ(arch_read64(VA), 0);
    EXPECT_EQ(word_of(&bed, &bed.a, VA), 1);
    EXPECT_OK(vmm_unshare(vmm, &bed.a, VA, npages(3 * PART))); /* it was the last of the PD and of two PTs */
    EXPECT(vmm_bed_check(vmm));
    EXPECT_EQ(bed.a.pages.v, 3 * PART);
    EXPECT_EQ(rights_of(&bed, &bed.a, VA), RW); /* nobody else has these frames now */
    EXPECT_EQ(rights_of(&bed, &bed.a, vaddr_add_pages(VA, 2 * PART)), R);
    EXPECT_OK(vmm_unshare(vmm, &bed.a, VA, npages(3 * PART))); /* nothing is shared any more */
    vmm_bed_close(&bed);
}

TEST(vmm_clone, unsharing_takes_512_of_each)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    EXPECT_OK(vmm_map(vmm, &bed.a, VA, npages(PART), RW));
    EXPECT_OK(vmm_clone(vmm, &bed.a, &bed.b, VA, npages(PART)));
    vmm_bed_switch(&bed, &bed.a);
    vmm->counters = (struct vmm_counters){0};
    EXPECT_OK(vmm_unshare(vmm, &bed.a, VA, npages(1)));
    EXPECT_EQ(vmm->counters.table_loads, PART + 2 * 3);  /* a walk to count, one to copy */
    EXPECT_EQ(vmm->counters.table_stores, PART + 2 + 2); /* break and make; the temporary mapping */
    EXPECT(vmm->counters.invlpg == 3 && vmm->counters.cr3_loads == 0);
    vmm_bed_close(&bed);
}

TEST(vmm_clone, frames_that_are_not_owned_are_written_to_by_both)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    EXPECT_OK(vmm_map_frames(vmm, &bed.a, VA, device, npages(1), RW, false));
    EXPECT_OK(vmm_clone(vmm, &bed.a, &bed.b, VA, npages(PART)));
    EXPECT_EQ(rights_of(&bed, &bed.b, VA), R);
    EXPECT_OK(vmm_own_page(vmm, &bed.b, VA));
    EXPECT_OK(vmm_own_page(vmm, &bed.a, VA));
    EXPECT(rights_of(&bed, &bed.a, VA) == RW && rights_of(&bed, &bed.b, VA) == RW);
    EXPECT(vmm_bed_frame_of(&bed, &bed.a, VA) == device.v && vmm_bed_frame_of(&bed, &bed.b, VA) == device.v);
    vmm_bed_close(&bed);
}

TEST(vmm_clone, each_status_of_cloning)
{
    struct vmm_bed bed;
    static struct vmm_loan loan;
    loan = (struct vmm_loan){0};
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    struct space *a = &bed.a, *b = &bed.b;
    EXPECT_OK(vmm_map(vmm, a, VA, npages(1), RW));
    EXPECT_OK(vmm_map(vmm, b, vaddr(VA_PRIVATE + 4 * MIB), npages(1), RW));
    EXPECT_OK(vmm_map(vmm, b, vaddr(VA_GLOBAL), npages(1), RW));
    EXPECT_OK(vmm_lend(vmm, b, vaddr(VA_GLOBAL), a, vaddr(VA_GLOBAL), 2, R, &loan));
    const struct {
        struct space *from, *to;
        uint64_t va, pages;
        enum status expected;
    } bad[] = {
        {a, a, VA_PRIVATE, PART, STATUS_INVALID},
        {a, b, VA_PRIVATE, 0, STATUS_INVALID},
        {a, b, VA_PRIVATE, PART + 1, STATUS_INVALID},
        {a, b, VA_PRIVATE + PAGE_BYTES, PART, STATUS_INVALID},
        {a, b, 0, PAGES_PER_2M - 1, STATUS_RANGE},
        {a, b, LAYOUT_USER_FIRST, PART, STATUS_INVALID},
        {a, b, LAYOUT_ARENA_BASE, PART, STATUS_RANGE},
        {&vmm->kernel, b, LAYOUT_ARENA_BASE, PART, STATUS_RANGE},
        {a, b, VA_PRIVATE, PAGES_PER_1G, STATUS_EXISTS},
        {a, b, VA_PRIVATE + 4 * MIB, PART, STATUS_EXISTS},
        {a, b, VA_GLOBAL, PART, STATUS_EXISTS}, /* the other's is looked at first */
        {a, &vmm->kernel, VA_GLOBAL, PART, STATUS_SHARED},
        {a, &vmm->kernel, VA_GLOBAL, PAGES_PER_1G, STATUS_SHARED},
        {b, &vmm->kernel, VA_GLOBAL, PART, STATUS_SHARED},
        {b, &vmm->kernel, VA_GLOBAL, PAGES_PER_1G, STATUS_SHARED},
    };
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        if (!EXPECT_EQ(vmm_clone(vmm, bad[i].from, bad[i].to, vaddr(bad[i].va), npages(bad[i].pages)),
                       bad[i].expected)) {
            test_note("row %u", i);
        }
        EXPECT(vmm_bed_check(vmm));
    }
    EXPECT_OK(vmm_clone(vmm, a, b, vaddr(VA_PRIVATE + 16 * MIB), npages(PART))); /* nothing there: nothing shared */
    EXPECT_EQ(vmm_unshare(vmm, a, vaddr(LAYOUT_ARENA_BASE), npages(1)), STATUS_RANGE);
    EXPECT_EQ(vmm_unshare(vmm, a, vaddr(VA_PRIVATE + 1), npages(1)), STATUS_INVALID);
    EXPECT_EQ(vmm_own_page(vmm, a, vaddr(LAYOUT_ARENA_BASE)), STATUS_RANGE);
    EXPECT_EQ(vmm_own_page(vmm, a, vaddr(VA_PRIVATE + PAGE_BYTES)), STATUS_ABSENT);
    EXPECT_EQ(vmm_own_page(vmm, a, vaddr(VA_PRIVATE + GIB)), STATUS_ABSENT);
    EXPECT_EQ(vmm_own_page(vmm, a, vaddr(VA_GLOBAL)), STATUS_DENIED); /* borrowed to read */
    test_expect_reports(4);
    EXPECT_EQ(vmm_clone(vmm, NULL, b, VA, npages(PART)), STATUS_MISUSE);
    EXPECT_EQ(vmm_clone(vmm, a, NULL, VA, npages(PART)), STATUS_MISUSE);
    EXPECT_EQ(vmm_unshare(vmm, NULL, VA, npages(1)), STATUS_MISUSE);
    EXPECT_EQ(vmm_own_page(vmm, NULL, VA), STATUS_MISUSE);
    EXPECT_OK(vmm_withdraw(vmm, &loan));
    vmm_bed_close(&bed);
}

/* ---- All or nothing ---- */

TEST(vmm_clone, tables_of_a_clone_are_promised_or_nothing_changes)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    const vaddr_t edge = vaddr(LAYOUT_SLOT_BASE(8) - 4 * MIB); /* two PTs below the edge, one above */
    EXPECT_OK(vmm_map(vmm, &bed.a, edge, npages(2 * PART + 1), RW));
    for (uint64_t k = 0; k <= 4; k++) {
        npages_t taken = vmm_bed_limit(&bed, k);
        EXPECT_EQ(vmm_clone(vmm, &bed.a, &bed.b, edge, npages(3 * PART)), k < 4 ? STATUS_NOMEM : STATUS_OK);
        vmm_bed_unlimit(&bed, taken);
        EXPECT_EQ(pmm_stats(vmm->pmm).promised.v, 0);
        EXPECT_EQ(bed.b.tables.v, k < 4 ? 1 : 5);
        EXPECT_EQ(rights_of(&bed, &bed.a, edge), k < 4 ? RW : R);
        EXPECT(vmm_bed_check(vmm));
    }
    vmm_bed_close(&bed);
}

TEST(vmm_clone, what_unsharing_needs_is_promised_or_nothing_changes)
{
    struct vmm_bed bed;
    REQUIRE(open_cloned(&bed, 2 * PART, PAGES_PER_1G));
    struct vmm *vmm = bed.vmm;
    for (uint64_t k = 0; k <= 3; k++) { /* the PD and two PTs */
        npages_t taken = vmm_bed_limit(&bed, k);
        EXPECT_EQ(vmm_unshare(vmm, &bed.b, VA, npages(2 * PART)), k < 3 ? STATUS_NOMEM : STATUS_OK);
        vmm_bed_unlimit(&bed, taken);
        EXPECT_EQ(pmm_stats(vmm->pmm).promised.v, 0);
        EXPECT_EQ(bed.b.tables.v, k < 3 ? 2 : 5);
        EXPECT(vmm_bed_check(vmm));
    }
    npages_t taken = vmm_bed_limit(&bed, 0);
    EXPECT_EQ(vmm_own_page(vmm, &bed.b, VA), STATUS_NOMEM);    /* the frame */
    EXPECT_OK(vmm_unshare(vmm, &bed.a, VA, npages(2 * PART))); /* the last needs none */
    EXPECT_OK(space_destroy(vmm, &bed.a));
    EXPECT_OK(vmm_own_page(vmm, &bed.b, VA)); /* alone now */
    vmm_bed_unlimit(&bed, taken);
    EXPECT_EQ(word_of(&bed, &bed.b, VA), 1);
    EXPECT_OK(space_create(vmm, &bed.a));
    vmm_bed_close(&bed);
}

TEST(vmm_clone, a_frame_with_no_room_for_more_references_stops_a_copy)
{
    struct vmm_bed bed;
    REQUIRE(open_cloned(&bed, 3, PART));
    struct vmm *vmm = bed.vmm;
    const pfn_t frame = pfn(vmm_bed_frame_of(&bed, &bed.a, vaddr_add_pages(VA, 2)));
    unsigned got = 0;
    while (pmm_retain(vmm->pmm, frame) == STATUS_OK) {
        got++;
    }
    const uint64_t used = vmm_bed_frames(vmm);
    EXPECT_EQ(vmm_unshare(vmm, &bed.b, VA, npages(1)), STATUS_LIMIT);
    EXPECT_EQ(vmm_own_page(vmm, &bed.b, VA), STATUS_LIMIT);
    EXPECT(vmm_bed_frames(vmm) == used && pmm_stats(vmm->pmm).promised.v == 0 && vmm_bed_check(vmm));
    EXPECT_EQ(pmm_query(vmm->pmm, pfn(vmm_bed_frame_of(&bed, &bed.a, VA))).references, 1);
    for (unsigned i = 0; i < got; i++) {
        EXPECT_OK(pmm_release(vmm->pmm, frame, NULL));
    }
    vmm_bed_close(&bed);
}
