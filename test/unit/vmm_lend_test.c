/*
 * Lending tables: one store shares a part, the lender's edits are seen, the borrower edits nothing; the end of loans.
 */
#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/vmm_bed.h"
#include "vmm/vmm_share.h"

enum { R = VMM_READ, RW = VMM_READ | VMM_WRITE, RX = VMM_READ | VMM_EXECUTE, RWX = RW | VMM_EXECUTE };

#define FROM vaddr(VA_PRIVATE)
#define TO   vaddr(VA_GLOBAL)

static const pfn_t device = {0xC000000};

static struct vmm_loan loan, second; /* over when a test begins */

static unsigned rights_of(struct vmm_bed *bed, struct space *space, vaddr_t va)
{
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed->vmm, space, va, &w));
    return w.rights;
}

/* a maps some pages in the first part, and lends it to b. */
static bool open_lent(struct vmm_bed *bed, unsigned level, unsigned rights)
{
    loan = second = (struct vmm_loan){0};
    return vmm_bed_open(bed) && EXPECT_OK(vmm_map(bed->vmm, &bed->a, FROM, npages(3), RW)) &&
           EXPECT_OK(vmm_lend(bed->vmm, &bed->a, FROM, &bed->b, TO, level, rights, &loan));
}

/* Then b runs, and has written to the first page. */
static bool open_written(struct vmm_bed *bed, unsigned level)
{
    if (!open_lent(bed, level, RW)) {
        return false;
    }
    vmm_bed_switch(bed, &bed->b);
    arch_write64(TO, 5);
    return true;
}

static void close_lent(struct vmm_bed *bed)
{
    EXPECT_OK(vmm_withdraw(bed->vmm, &loan));
    EXPECT_EQ(vmm_bed_frame_of(bed, &bed->b, TO), UINT64_MAX);
    EXPECT_EQ(bed->b.tables.v, 1);
    vmm_bed_close(bed);
}

TEST(vmm_lend, a_part_is_shared_by_three_stores_and_withdrawn_by_three)
{
    for (unsigned level = 2; level <= 3; level++) {
        struct vmm_bed bed;
        loan = (struct vmm_loan){0};
        REQUIRE(vmm_bed_open(&bed));
        struct vmm *vmm = bed.vmm;
        vmm_bed_switch(&bed, &bed.a);
        EXPECT_OK(vmm_map(vmm, &bed.a, FROM, npages(600), RW));
        EXPECT_OK(vmm_map(vmm, &bed.b, vaddr(VA_GLOBAL + 512 * MIB), npages(1), RW)); /* its upper tables are there */
        EXPECT_OK(vmm_map(vmm, &bed.b, vaddr(VA_GLOBAL + GIB), npages(1), RW));
        vaddr_t to = level == 2 ? TO : vaddr(VA_GLOBAL + 2 * GIB);
        vmm->counters = (struct vmm_counters){0};
        EXPECT_OK(vmm_lend(vmm, &bed.a, FROM, &bed.b, to, level, RW, &loan));
        EXPECT_EQ(vmm->counters.table_stores, 3); /* the window is open on b */
        EXPECT_EQ(vmm->counters.cr3_loads, 0);
        EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.b, to), vmm_bed_frame_of(&bed, &bed.a, FROM));
        EXPECT_EQ(rights_of(&bed, &bed.b, to), RW);
        EXPECT(vmm_bed_check(vmm));
        EXPECT(bed.b.pages.v == 2 && bed.b.tables.v == 6);
        vmm->counters = (struct vmm_counters){0};
        EXPECT_OK(vmm_withdraw(vmm, &loan));
        EXPECT_EQ(vmm->counters.table_stores, 3);
        EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.b, to), UINT64_MAX);
        EXPECT_EQ(vmm_withdraw(vmm, &loan), STATUS_ABSENT);
        vmm_bed_close(&bed);
    }
}

TEST(vmm_lend, a_loan_narrows_rights)
{
    static const unsigned given[] = {R, RW, RX, RWX};
    for (unsigned i = 0; i < ARRAY_LEN(given); i++) {
        struct vmm_bed bed;
        REQUIRE(open_lent(&bed, 2, given[i]));
        const vaddr_t text = vaddr_add_pages(FROM, 9), there = vaddr_add_pages(TO, 9);
        EXPECT_OK(vmm_map(bed.vmm, &bed.a, text, npages(1), RX));
        EXPECT_EQ(rights_of(&bed, &bed.b, TO), given[i] & RW);
        EXPECT_EQ(rights_of(&bed, &bed.b, there), given[i] & RX);
        EXPECT_EQ(rights_of(&bed, &bed.a, FROM), RW);
        uint64_t word = 7;
        EXPECT_EQ(space_copy(bed.vmm, &bed.b, TO, &bed.a, vaddr_add_pages(FROM, 1), 8),
                  (given[i] & VMM_WRITE) != 0 ? STATUS_OK : STATUS_DENIED);
        EXPECT_EQ(space_clear(bed.vmm, &bed.b, TO, 8), (given[i] & VMM_WRITE) != 0 ? STATUS_OK : STATUS_DENIED);
        EXPECT_OK(space_peek(bed.vmm, &bed.b, TO, &word, 8));
        EXPECT_EQ(word, 0);
        close_lent(&bed);
    }
}

TEST(vmm_lend, a_running_loan_is_narrowed_by_one_store_and_never_widened)
{
    for (unsigned level = 2; level <= 3; level++) {
        struct vmm_bed bed;
        REQUIRE(open_written(&bed, level));
        struct vmm *vmm = bed.vmm;
        EXPECT_EQ(vmm_narrow(vmm, &loan, 0), STATUS_INVALID);
        EXPECT_EQ(vmm_narrow(vmm, &loan, RX), STATUS_DENIED);
        EXPECT_EQ(vmm_narrow(vmm, &second, R), STATUS_ABSENT);
        vmm->counters = (struct vmm_counters){0};
        EXPECT_OK(vmm_narrow(vmm, &loan, R));
        EXPECT_EQ(vmm->counters.table_stores, 1);
        EXPECT(loan.rights == R && rights_of(&bed, &bed.b, TO) == R && rights_of(&bed, &bed.a, FROM) == RW);
        EXPECT_EQ(arch_read64(TO), 5);
        EXPECT_EQ(vmm_narrow(vmm, &loan, RW), STATUS_DENIED);
        EXPECT(vmm_bed_check(vmm));
        vmm_bed_switch(&bed, bed.home);
        close_lent(&bed);
        EXPECT_EQ(vmm_narrow(vmm, &loan, R), STATUS_ABSENT);
    }
}

TEST(vmm_lend, what_the_lender_edits_the_borrower_sees)
{
    for (unsigned level = 2; level <= 3; level++) {
        struct vmm_bed bed;
        REQUIRE(open_written(&bed, level));
        struct vmm *vmm = bed.vmm;
        EXPECT_OK(vmm_protect(vmm, &bed.a, FROM, npages(3), R));
        EXPECT_EQ(rights_of(&bed, &bed.b, TO), R);
        EXPECT_EQ(arch_read64(TO), 5);
        EXPECT_OK(vmm_unmap(vmm, &bed.a, FROM, npages(3)));
        EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.b, TO), UINT64_MAX);
        EXPECT_EQ(bed.a.tables.v, level == 2 ? 4 : 3); /* what is lent stays when it is empty */
        EXPECT(vmm_bed_check(vmm));
        EXPECT_EQ(vmm_unmap(vmm, &bed.a, FROM, npages(1)), STATUS_ABSENT);
        EXPECT_EQ(vmm_unmap(vmm, &bed.a, FROM, npages(PAGES_PER_2M)), STATUS_ABSENT);
        EXPECT_OK(vmm_map_frames(vmm, &bed.a, FROM, device, npages(PAGES_PER_2M), RW, false)); /* all of it */
        EXPECT_EQ(vmm_map(vmm, &bed.a, vaddr_add_pages(FROM, 511), npages(1), RW), STATUS_EXISTS);
        EXPECT_EQ(vmm_map(vmm, &bed.a, FROM, npages(PAGES_PER_2M), RW), STATUS_EXISTS);
        EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.b, vaddr_add_pages(TO, 511)), device.v + 511);
        EXPECT_OK(vmm_protect(vmm, &bed.a, FROM, npages(PAGES_PER_2M), R));
        EXPECT_OK(vmm_unmap(vmm, &bed.a, FROM, npages(PAGES_PER_2M)));
        EXPECT_OK(vmm_map(vmm, &bed.a, FROM, npages(2), RW));
        EXPECT_EQ(arch_read64(TO), 0);
        vmm_bed_switch(&bed, bed.home);
        close_lent(&bed);
    }
}

/* More pages than fit anywhere, over the end of a lent PT: each page is looked at, since none is counted. */
TEST(vmm_lend, a_long_range_over_lent_tables_is_edited_whole)
{
    struct vmm_bed bed;
    REQUIRE(open_lent(&bed, 2, RW));
    struct vmm *vmm = bed.vmm;
    const vaddr_t next = vaddr_add_pages(FROM, PAGES_PER_2M);
    EXPECT_OK(vmm_unmap(vmm, &bed.a, FROM, npages(3)));
    EXPECT_OK(vmm_map(vmm, &bed.a, FROM, npages(4 * PAGES_PER_2M), RW));
    EXPECT_OK(vmm_lend(vmm, &bed.a, next, &bed.b, vaddr_add_pages(TO, PAGES_PER_2M), 2, R, &second));
    EXPECT_OK(vmm_protect(vmm, &bed.a, FROM, npages(4 * PAGES_PER_2M), R));
    EXPECT_EQ(rights_of(&bed, &bed.b, vaddr_add_pages(TO, 1023)), R);
    EXPECT(vmm_bed_check(vmm));
    EXPECT_OK(vmm_unmap(vmm, &bed.a, FROM, npages(4 * PAGES_PER_2M)));
    EXPECT(bed.a.pages.v == 0 && bed.a.tables.v == 5);
    EXPECT(vmm_bed_check(vmm));
    EXPECT_OK(vmm_withdraw(vmm, &second));
    EXPECT_EQ(bed.a.tables.v, 4);
    close_lent(&bed);
}

static void expect_shared(struct vmm_bed *bed, vaddr_t va, npages_t pages)
{
    EXPECT_EQ(vmm_map(bed->vmm, &bed->b, va, pages, RW), STATUS_SHARED);
    EXPECT_EQ(vmm_map_frames(bed->vmm, &bed->b, va, device, pages, RW, false), STATUS_SHARED);
    EXPECT_EQ(vmm_unmap(bed->vmm, &bed->b, va, pages), STATUS_SHARED);
    EXPECT_EQ(vmm_protect(bed->vmm, &bed->b, va, pages, R), STATUS_SHARED);
}

TEST(vmm_lend, the_borrower_edits_nothing_of_it)
{
    for (unsigned level = 2; level <= 3; level++) {
        struct vmm_bed bed;
        REQUIRE(open_lent(&bed, level, RW));
        for (unsigned turn = 0; turn < 2; turn++) { /* from outside, and its own tables */
            expect_shared(&bed, TO, npages(1));
            expect_shared(&bed, vaddr_add_pages(TO, 100), npages(1));
            expect_shared(&bed, TO, npages(PAGES_PER_2M));
            vmm_bed_switch(&bed, &bed.b);
        }
        /* A range that ends in it is refused as a whole. */
        const vaddr_t before = vaddr_add_pages(vaddr(VA_GLOBAL - 2 * MIB), 0);
        EXPECT_OK(vmm_map(bed.vmm, &bed.b, before, npages(PAGES_PER_2M), RW));
        EXPECT_EQ(vmm_protect(bed.vmm, &bed.b, before, npages(PAGES_PER_2M + 1), R), STATUS_SHARED);
        EXPECT_EQ(rights_of(&bed, &bed.b, before), RW);
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.b, before, npages(PAGES_PER_2M)));
        EXPECT_EQ(vmm_own_page(bed.vmm, &bed.b, TO), STATUS_OK); /* writable already */
        vmm_bed_switch(&bed, bed.home);
        close_lent(&bed);
    }
}

TEST(vmm_lend, each_status_of_lending)
{
    struct vmm_bed bed;
    REQUIRE(open_lent(&bed, 2, R));
    struct vmm *vmm = bed.vmm;
    struct space *a = &bed.a, *b = &bed.b;
    static struct space c;
    EXPECT_OK(space_create(vmm, &c));
    const vaddr_t free_part = vaddr(VA_GLOBAL + 4 * MIB), far = vaddr(VA_GLOBAL + GIB);
    const struct {
        struct space *lender, *borrower;
        vaddr_t from, to;
        unsigned level, rights;
        enum status expected;
    } bad[] = {
        {a, b, FROM, free_part, 1, R, STATUS_INVALID},
        {a, b, FROM, free_part, 4, R, STATUS_INVALID},
        {a, b, FROM, free_part, 2, 0, STATUS_INVALID},
        {a, b, FROM, free_part, 2, VMM_WRITE, STATUS_INVALID},
        {a, b, FROM, free_part, 2, R | VMM_USER, STATUS_INVALID},
        {a, b, vaddr_add_pages(FROM, 1), free_part, 2, R, STATUS_INVALID},
        {a, b, FROM, vaddr_add_pages(free_part, 1), 2, R, STATUS_INVALID},
        {a, b, FROM, free_part, 3, R, STATUS_INVALID},
        {a, b, vaddr(VA_PRIVATE + 2 * MIB), far, 3, R, STATUS_INVALID},
        {a, a, FROM, free_part, 2, R, STATUS_INVALID},
        {a, b, vaddr(0), free_part, 2, R, STATUS_RANGE},
        {a, b, FROM, vaddr(LAYOUT_ARENA_BASE), 2, R, STATUS_RANGE},
        {a, b, vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF)), free_part, 2, R, STATUS_RANGE},
        {a, b, vaddr(VA_PRIVATE + 2 * MIB), free_part, 2, R, STATUS_ABSENT},
        {a, b, vaddr(VA_PRIVATE + GIB), far, 3, R, STATUS_ABSENT},
        {a, b, vaddr(VA_GLOBAL), free_part, 2, R, STATUS_ABSENT},
        {a, b, FROM, TO, 2, R, STATUS_EXISTS},
        {a, b, FROM, TO, 3, R, STATUS_EXISTS},
        {b, &c, TO, FROM, 2, R, STATUS_SHARED},
        {b, &c, TO, FROM, 2, RW, STATUS_DENIED},
        {b, &c, TO, FROM, 2, RX, STATUS_DENIED},
        {b, &c, TO, FROM, 3, R, STATUS_SHARED}, /* a PD with a borrowed PT */
    };
    const uint64_t stores = vmm->counters.table_stores;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        if (!EXPECT_EQ(vmm_lend(vmm, bad[i].lender, bad[i].from, bad[i].borrower, bad[i].to, bad[i].level,
                                bad[i].rights, &second),
                       bad[i].expected)) {
            test_note("row %u", i);
        }
        EXPECT(second.lender == NULL);
    }
    test_expect_reports(5);
    EXPECT_EQ(vmm_lend(vmm, NULL, FROM, b, free_part, 2, R, &second), STATUS_MISUSE);
    EXPECT_EQ(vmm_lend(vmm, a, FROM, NULL, free_part, 2, R, &second), STATUS_MISUSE);
    EXPECT_EQ(vmm_lend(vmm, a, FROM, b, free_part, 2, R, NULL), STATUS_MISUSE);
    EXPECT_EQ(vmm_lend(vmm, a, FROM, b, free_part, 2, R, &loan), STATUS_MISUSE);
    EXPECT_EQ(space_destroy(vmm, a), STATUS_MISUSE);
    EXPECT_EQ(vmm_withdraw(vmm, &second), STATUS_ABSENT);
    EXPECT_EQ(vmm_withdraw(vmm, NULL), STATUS_ABSENT);
    EXPECT(vmm->counters.table_stores - stores <= 3ULL * ARRAY_LEN(bad)); /* the foreign slot alone */
    EXPECT(vmm_bed_check(vmm));
    EXPECT_OK(space_destroy(vmm, &c));
    close_lent(&bed);
}

TEST(vmm_lend, nothing_is_borrowed_into_what_is_lent)
{
    struct vmm_bed bed;
    REQUIRE(open_lent(&bed, 2, R));
    struct vmm *vmm = bed.vmm;
    struct space *a = &bed.a, *b = &bed.b;
    static struct space c;
    EXPECT_OK(space_create(vmm, &c));
    const vaddr_t free_part = vaddr(VA_GLOBAL + 4 * MIB), far = vaddr(VA_GLOBAL + GIB);
    EXPECT_OK(vmm_map(vmm, &c, FROM, npages(1), RW));
    EXPECT_OK(vmm_map(vmm, a, TO, npages(1), RW));
    EXPECT_OK(vmm_lend(vmm, a, TO, b, far, 3, R, &second)); /* a PD */
    static struct vmm_loan third;
    EXPECT_EQ(vmm_lend(vmm, &c, FROM, a, free_part, 2, R, &third), STATUS_SHARED);
    EXPECT_EQ(vmm_lend(vmm, &c, FROM, b, vaddr(VA_GLOBAL + GIB + 8 * MIB), 2, R, &third), STATUS_SHARED);
    EXPECT(vmm_bed_check(vmm));
    EXPECT_OK(vmm_withdraw(vmm, &second));
    EXPECT_OK(space_destroy(vmm, &c));
    close_lent(&bed);
}

TEST(vmm_lend, a_table_with_no_room_for_more_references_is_not_lent)
{
    struct vmm_bed bed;
    loan = (struct vmm_loan){0};
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    EXPECT_OK(vmm_map(vmm, &bed.a, FROM, npages(1), RW));
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(vmm, &bed.a, FROM, &w));
    const pfn_t table = pte_pfn(w.entry[2]);
    unsigned got = 0;
    while (pmm_retain(vmm->pmm, table) == STATUS_OK) {
        got++;
    }
    EXPECT_EQ(vmm_lend(vmm, &bed.a, FROM, &bed.b, TO, 2, R, &loan), STATUS_LIMIT);
    EXPECT_EQ(vmm_clone(vmm, &bed.a, &bed.b, FROM, npages(PAGES_PER_2M)), STATUS_LIMIT);
    EXPECT(loan.lender == NULL && bed.b.tables.v == 1 && pmm_stats(vmm->pmm).promised.v == 0);
    for (unsigned i = 0; i < got; i++) {
        EXPECT_OK(pmm_release(vmm->pmm, table, NULL));
    }
    EXPECT_EQ(pmm_query(vmm->pmm, table).references, 1);
    vmm_bed_close(&bed);
}

TEST(vmm_lend, tables_are_promised_or_nothing_changes)
{
    struct vmm_bed bed;
    loan = (struct vmm_loan){0};
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    EXPECT_OK(vmm_map(vmm, &bed.a, FROM, npages(1), RW));
    for (unsigned level = 2; level <= 3; level++) {
        for (uint64_t k = 0; k <= 4 - level; k++) {
            npages_t taken = vmm_bed_limit(&bed, k);
            enum status s = vmm_lend(vmm, &bed.a, FROM, &bed.b, TO, level, R, &loan);
            EXPECT_EQ(s, k < 4 - level ? STATUS_NOMEM : STATUS_OK);
            vmm_bed_unlimit(&bed, taken);
            EXPECT_EQ(pmm_stats(vmm->pmm).promised.v, 0);
            EXPECT(k == 4 - level || (bed.b.tables.v == 1 && bed.a.lent.root == NULL));
            EXPECT(vmm_bed_check(vmm));
        }
        npages_t taken = vmm_bed_limit(&bed, 0);
        EXPECT_OK(vmm_withdraw(vmm, &loan)); /* takes no memory */
        vmm_bed_unlimit(&bed, taken);
    }
    vmm_bed_close(&bed);
}

/* One table to several, a PT inside a lent PD; withdrawn in any order. */
TEST(vmm_lend, several_borrowers_and_loans_in_loans_end_in_any_order)
{
    static struct vmm_loan loans[4];
    static struct space c;
    static const uint8_t orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 0, 3, 1}};
    for (unsigned o = 0; o < ARRAY_LEN(orders); o++) {
        struct vmm_bed bed;
        REQUIRE(vmm_bed_open(&bed));
        struct vmm *vmm = bed.vmm;
        EXPECT_OK(space_create(vmm, &c));
        memset(loans, 0, sizeof loans);
        EXPECT_OK(vmm_map(vmm, &bed.a, FROM, npages(2), RW));
        EXPECT_OK(vmm_lend(vmm, &bed.a, FROM, &bed.b, TO, 3, RW, &loans[0]));
        EXPECT_OK(vmm_lend(vmm, &bed.a, FROM, &c, TO, 2, R, &loans[1]));
        EXPECT_OK(vmm_lend(vmm, &bed.a, FROM, &c, vaddr(VA_GLOBAL + GIB), 3, RX, &loans[2]));
        EXPECT_OK(vmm_lend(vmm, &bed.a, FROM, &c, vaddr(VA_GLOBAL + 2 * MIB), 2, RW, &loans[3]));
        EXPECT(vmm_bed_check(vmm));
        EXPECT_OK(vmm_unmap(vmm, &bed.a, FROM, npages(1)));
        EXPECT_EQ(vmm_bed_frame_of(&bed, &c, vaddr(VA_GLOBAL + 2 * MIB)), UINT64_MAX);
        if (o == 1) {
            EXPECT_OK(vmm_unmap(vmm, &bed.a, vaddr_add_pages(FROM, 1), npages(1)));
        }
        for (unsigned i = 0; i < 4; i++) {
            EXPECT_OK(vmm_withdraw(vmm, &loans[orders[o][i]]));
            EXPECT(vmm_bed_check(vmm));
        }
        EXPECT(bed.b.tables.v == 1 && c.tables.v == 1 && bed.a.tables.v == (o == 1 ? 1 : 4));
        EXPECT_OK(space_destroy(vmm, &c));
        vmm_bed_close(&bed);
    }
}

TEST(vmm_lend, a_borrower_that_ends_gives_back_what_it_borrowed)
{
    struct vmm_bed bed;
    REQUIRE(open_lent(&bed, 2, RW));
    EXPECT_OK(vmm_lend(bed.vmm, &bed.a, FROM, &bed.b, vaddr(VA_GLOBAL + GIB), 3, R, &second));
    EXPECT_OK(space_destroy(bed.vmm, &bed.b));
    EXPECT(loan.lender == NULL && second.lender == NULL && bed.a.lent.root == NULL);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, FROM, npages(3)));
    EXPECT_EQ(bed.a.tables.v, 1);
    EXPECT_OK(space_create(bed.vmm, &bed.b));
    vmm_bed_close(&bed);
}

TEST(vmm_lend, kept_tables_are_not_in_the_way_and_stay_kept)
{
    struct vmm_bed bed;
    loan = (struct vmm_loan){0};
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    EXPECT_OK(space_keep_tables(vmm, &bed.a, true));
    EXPECT_OK(space_keep_tables(vmm, &bed.b, true));
    EXPECT_OK(vmm_map(vmm, &bed.a, FROM, npages(1), RW));
    EXPECT_OK(vmm_map(vmm, &bed.b, TO, npages(1), RW));
    EXPECT_OK(vmm_unmap(vmm, &bed.b, TO, npages(1)));
    EXPECT_OK(vmm_lend(vmm, &bed.a, FROM, &bed.b, TO, 2, RW, &loan));
    EXPECT_OK(vmm_unmap(vmm, &bed.a, FROM, npages(1)));
    EXPECT_OK(space_keep_tables(vmm, &bed.b, false));
    EXPECT_OK(vmm_withdraw(vmm, &loan));
    EXPECT_EQ(bed.a.tables.v, 4);
    EXPECT(vmm_bed_check(vmm));
    EXPECT_OK(space_keep_tables(vmm, &bed.a, false));
    EXPECT(bed.a.tables.v == 1 && bed.b.tables.v == 1);
    vmm_bed_close(&bed);
}
