/*
 * Nothing of a former owner is ever seen by a new one: memory that is free holds a pattern, and nobody finds it,
 * neither in pages, nor in what tables and records name.
 */
#include "arch/arch.h"
#include "unit/aspace_touch.h"

enum { PLANTED = 192 };
#define PATTERN 0x5EC2E7005EC2E707 /* a present, writable entry that user mode may use, if it is one of a table */

static struct aspace_bed bed;
static pfn_t planted[PLANTED];

static bool plant(pfn_t frame)
{
    vaddr_t at;
    bool ok = EXPECT_OK(temp_map(bed.vmm, frame, &at));
    for (unsigned i = 0; i < TABLE_ENTRIES && ok; i++) {
        arch_write64(vaddr_add(at, i * sizeof(uint64_t)), PATTERN);
    }
    return ok && EXPECT_OK(temp_unmap(bed.vmm, at));
}

/* The frames that were free last, and are handed out first, of both kinds, hold the pattern. */
static bool open_bed(void)
{
    bool ok = aspace_bed_open(&bed);
    for (unsigned i = 0; i < PLANTED && ok; i++) {
        ok = EXPECT_OK(pmm_alloc(bed.vmm->pmm, i % 2 == 0 ? PMM_USER : PMM_KERNEL, &planted[i])) && plant(planted[i]);
    }
    for (unsigned i = 0; i < PLANTED && ok; i++) {
        ok = EXPECT_OK(pmm_free(bed.vmm->pmm, planted[i]));
    }
    return ok;
}

/* Did the pattern stand where the page is now? Else the test shows nothing. */
static bool is_planted(struct aspace *space, vaddr_t va)
{
    const uint64_t frame = frame_shown(space, va);
    unsigned i = 0;
    while (i < PLANTED && planted[i].v != frame) {
        i++;
    }
    return EXPECT(i < PLANTED);
}

static void close_bed(void) { aspace_bed_close(&bed); }

/* Every word of the page is `word`. */
static bool page_is(struct aspace *space, vaddr_t va, uint64_t word)
{
    bool ok = true;
    for (unsigned i = 0; i < TABLE_ENTRIES && ok; i++) {
        ok = EXPECT_EQ(get_word(&bed, space, vaddr_add(va, i * sizeof(uint64_t))), word);
    }
    return ok;
}

/* The first word is `first`, the others are 0. */
static bool rest_is_zero(struct aspace *space, vaddr_t va, uint64_t first)
{
    bool ok = EXPECT_EQ(get_word(&bed, space, va), first);
    for (unsigned i = 1; i < TABLE_ENTRIES && ok; i++) {
        ok = EXPECT_EQ(get_word(&bed, space, vaddr_add(va, i * sizeof(uint64_t))), 0);
    }
    return ok;
}

TEST(aspace_hygiene, fresh_pages_of_every_kind_are_zero_but_for_what_was_written)
{
    REQUIRE(open_bed());
    const vaddr_t own = map_it(&bed.a, want_at(AT_PRIVATE, npages(4), ARW, 0));
    const vaddr_t global = map_it(&bed.a, want(npages(4), ARW, ASPACE_GLOBAL));
    const vaddr_t now = map_it(&bed.a, want(npages(4), ARW, ASPACE_POPULATE));
    put_word(&bed, &bed.a, own, 1);
    put_word(&bed, &bed.a, global, 2);
    put_word(&bed, &bed.a, now, 3);
    EXPECT(is_planted(&bed.a, own) && is_planted(&bed.a, global) && is_planted(&bed.a, now));
    EXPECT(rest_is_zero(&bed.a, own, 1) && rest_is_zero(&bed.a, global, 2) && rest_is_zero(&bed.a, now, 3));
    EXPECT(page_is(&bed.a, vaddr_add_pages(own, 1), 0) && page_is(&bed.a, vaddr_add_pages(global, 1), 0));
    EXPECT(page_is(&bed.a, vaddr_add_pages(now, 3), 0));
    put_word(&bed, &bed.a, vaddr_add_pages(own, 1), 4); /* it showed the zero frame */
    EXPECT(rest_is_zero(&bed.a, vaddr_add_pages(own, 1), 4));
    close_bed();
}

TEST(aspace_hygiene, new_tables_name_nothing)
{
    REQUIRE(open_bed());
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(2 * PAGES_PER_2M), ARW, 0));
    put_word(&bed, &bed.a, va, 1);
    EXPECT_OK(aspace_share(&bed.a, va, npages(PAGES_PER_2M), &bed.b, ARW, vaddr(AT_PRIVATE)));
    put_word(&bed, &bed.b, vaddr(AT_PRIVATE + 9ULL * PAGE_BYTES), 1);
    unsigned shown = 0;
    for (uint64_t i = 0; i < PAGES_PER_2M; i++) {
        shown += frame_shown(&bed.b, vaddr_add_pages(vaddr(AT_PRIVATE), i)) != UINT64_MAX;
    }
    EXPECT_EQ(shown, 2);
    EXPECT_EQ(touch(&bed.b, vaddr(AT_PRIVATE + 2 * MIB), VMM_READ), STATUS_ABSENT);
    close_bed();
}

TEST(aspace_hygiene, a_receiver_sees_the_givers_pages_and_no_others)
{
    REQUIRE(open_bed());
    const vaddr_t va = map_it(&bed.a, want(npages(4), ARW, ASPACE_GLOBAL));
    put_word(&bed, &bed.a, vaddr_add_pages(va, 1), 7); /* a short message: one word of a page */
    EXPECT_OK(aspace_share(&bed.a, vaddr_add_pages(va, 1), npages(1), &bed.b, AR, vaddr(0)));
    EXPECT(rest_is_zero(&bed.b, vaddr_add_pages(va, 1), 7));
    EXPECT_EQ(touch(&bed.b, va, VMM_READ), STATUS_ABSENT);
    EXPECT_EQ(touch(&bed.b, vaddr_add_pages(va, 2), VMM_READ), STATUS_ABSENT);
    EXPECT_OK(aspace_transfer(&bed.a, vaddr_add_pages(va, 2), npages(1), &bed.c, ARW));
    EXPECT(page_is(&bed.c, vaddr_add_pages(va, 2), 0));
    close_bed();
}

TEST(aspace_hygiene, pages_that_were_given_back_come_back_zero)
{
    REQUIRE(open_bed());
    for (unsigned round = 0; round < 3; round++) {
        const vaddr_t va = map_it(&bed.a, want(npages(8), ARW, ASPACE_GLOBAL));
        EXPECT_OK(aspace_share(&bed.a, va, npages(8), &bed.b, ARW, vaddr(0)));
        for (uint64_t i = 0; i < 8; i++) {
            put_word(&bed, &bed.b, vaddr_add_pages(va, i), 0x5EC2E7);
            EXPECT(rest_is_zero(&bed.a, vaddr_add_pages(va, i), 0x5EC2E7));
        }
        EXPECT_OK(aspace_unmap(&bed.a, va, npages(8)));
        EXPECT_OK(aspace_unmap(&bed.b, va, npages(8)));
    }
    close_bed();
}

TEST(aspace_hygiene, a_copy_has_the_page_and_nothing_of_its_frames_past)
{
    static struct aspace child;
    REQUIRE(open_bed());
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(4), ARW, 0));
    put_word(&bed, &bed.a, va, 1);
    EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 1)), 0);
    EXPECT_OK(aspace_clone(&bed.a, &child, NULL, NULL));
    put_word(&bed, &child, va, 2);
    put_word(&bed, &child, vaddr_add_pages(va, 1), 3);
    put_word(&bed, &child, vaddr_add_pages(va, 2), 4);
    EXPECT(is_planted(&child, va) && is_planted(&child, vaddr_add_pages(va, 1)));
    EXPECT(rest_is_zero(&child, va, 2) && rest_is_zero(&child, vaddr_add_pages(va, 1), 3));
    EXPECT(rest_is_zero(&child, vaddr_add_pages(va, 2), 4) && rest_is_zero(&bed.a, va, 1));
    EXPECT_EQ(touch(&child, vaddr_add_pages(va, 4), VMM_READ), STATUS_ABSENT);
    EXPECT_OK(aspace_destroy(&child));
    close_bed();
}
