/* One page changes its frame, and nobody sees it: whose it is, who is told, and what is refused. */
#include "arch/layout.h"
#include "aspace/compact.h"
#include "aspace/mapping.h"
#include "pmm/pmm_runs.h"
#include "unit/aspace_touch.h"

static struct aspace_bed bed;
static struct aspace child;

enum { WORD = 0x5EED };

/* The frame behind a page moves to another one; the old one goes back. => why not */
static enum aspace_move move_frame(uint64_t frame)
{
    pfn_t to = pfn(0);
    enum status s;
    EXPECT_OK(pmm_alloc(bed.vmm->pmm, PMM_USER, &to));
    const enum aspace_move move = aspaces_move_page(&bed.system, pfn(frame), to, &s);
    EXPECT_OK(s);
    EXPECT_OK(pmm_free(bed.vmm->pmm, move == ASPACE_MOVED ? pfn(frame) : to));
    return move;
}

static enum aspace_move move_at(struct aspace *space, vaddr_t va) { return move_frame(frame_shown(space, va)); }

/* Refused, and nothing that can be seen has changed. */
static void expect_refused(uint64_t frame, enum aspace_move why)
{
    const uint64_t before = aspace_bed_digest(&bed), used = aspace_bed_frames(&bed);
    EXPECT_EQ(move_frame(frame), why);
    EXPECT_EQ(aspace_bed_digest(&bed), before);
    EXPECT_EQ(aspace_bed_frames(&bed), used);
}

TEST(aspace_move, a_private_page_is_in_another_frame_and_says_the_same)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(3), ARW, 0));
    struct space *const running[] = {&bed.a.tables, &bed.b.tables};
    for (unsigned i = 0; i < ARRAY_LEN(running); i++) {
        put_word(&bed, &bed.a, vaddr_add_pages(va, 1), WORD + i);
        EXPECT_OK(space_switch(bed.vmm, running[i]));
        const uint64_t frame = frame_shown(&bed.a, vaddr_add_pages(va, 1));
        EXPECT_EQ(move_frame(frame), ASPACE_MOVED);
        EXPECT(frame_shown(&bed.a, vaddr_add_pages(va, 1)) != frame);
        EXPECT_EQ(get_word(&bed, &bed.a, vaddr_add_pages(va, 1)), WORD + i);
        EXPECT(aspace_bed_check(&bed));
    }
    EXPECT_OK(space_switch(bed.vmm, bed.home));
    aspace_bed_close(&bed);
}

TEST(aspace_move, a_page_of_one_space_stays_in_its_tables)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want(npages(3), ARW, ASPACE_GLOBAL));
    put_word(&bed, &bed.a, va, WORD);
    const uint64_t frame = frame_shown(&bed.a, va);
    EXPECT_EQ(move_frame(frame), ASPACE_MOVED);
    const uint64_t now = frame_shown(&bed.a, va);
    EXPECT(now != frame && now != UINT64_MAX);
    struct aspace_query q;
    EXPECT_OK(aspace_query(&bed.a, va, &q));
    EXPECT_EQ(q.frame.v, now);
    EXPECT_EQ(get_word(&bed, &bed.a, va), WORD);
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(aspace_move, a_page_that_several_share_comes_back_to_all_by_faults)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want(npages(3), ARW, ASPACE_GLOBAL)), there = vaddr(AT_PRIVATE);
    put_word(&bed, &bed.a, va, WORD);
    EXPECT_OK(aspace_share(&bed.a, va, npages(1), &bed.b, AR, vaddr(0)));
    EXPECT_OK(aspace_share(&bed.a, va, npages(1), &bed.c, ARW, there));
    EXPECT_EQ(move_at(&bed.a, va), ASPACE_MOVED);
    EXPECT(aspace_bed_check(&bed));
    EXPECT(get_word(&bed, &bed.b, va) == WORD && get_word(&bed, &bed.c, there) == WORD);
    put_word(&bed, &bed.c, there, WORD + 1);
    EXPECT(get_word(&bed, &bed.a, va) == WORD + 1 && get_word(&bed, &bed.b, va) == WORD + 1);
    EXPECT_EQ(frame_shown(&bed.a, va), frame_shown(&bed.c, there));
    aspace_bed_close(&bed);
}

TEST(aspace_move, a_page_that_is_lent_is_moved_for_lender_and_borrower)
{
    REQUIRE(aspace_bed_open(&bed));
    struct aspace_request r = want(npages(PAGES_PER_2M), ARW, ASPACE_GLOBAL);
    r.align_log2 = 21;
    const vaddr_t va = map_it(&bed.a, r), page = vaddr_add_pages(va, 9);
    put_word(&bed, &bed.a, page, WORD);
    EXPECT_OK(aspace_share(&bed.a, va, r.pages, &bed.b, ARW, vaddr(0)));
    EXPECT(bed.b.tables.borrowed.root != NULL);
    EXPECT_EQ(move_at(&bed.a, page), ASPACE_MOVED);
    EXPECT(bed.b.tables.borrowed.root != NULL);
    EXPECT_EQ(frame_shown(&bed.a, page), frame_shown(&bed.b, page));
    put_word(&bed, &bed.b, page, WORD + 1);
    EXPECT_EQ(get_word(&bed, &bed.a, page), WORD + 1);
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(aspace_move, a_page_that_is_in_no_table_is_moved_too)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *object;
    struct test_pager p;
    const struct pager pager = test_pager(&p, bed.vmm, WORD);
    pfn_t frame;
    EXPECT_OK(object_create_paged(&bed.system, npages(12), &pager, &object));
    EXPECT_OK(object_populate(object, 11, npages(1)));
    EXPECT_OK(object_frame(object, 11, &frame));
    EXPECT_EQ(move_frame(frame.v), ASPACE_MOVED);
    const vaddr_t va = map_it(&bed.a, want_object(object, 11, npages(1), AR, 0));
    EXPECT_EQ(get_word(&bed, &bed.a, va), WORD + 11);
    EXPECT(p.filled == 1 && frame_shown(&bed.a, va) != frame.v);
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(object_release(object));
    aspace_bed_close(&bed);
}

/* Shown by a private mapping, and not written to yet: it is the object's, and still copied when it is written to. */
TEST(aspace_move, a_page_that_is_copied_on_write_stays_so)
{
    REQUIRE(aspace_bed_open(&bed));
    struct object *object;
    struct test_pager p;
    const struct pager pager = test_pager(&p, bed.vmm, WORD);
    EXPECT_OK(object_create_paged(&bed.system, npages(4), &pager, &object));
    const vaddr_t va = map_it(&bed.a, want_object(object, 0, npages(4), ARW, ASPACE_PRIVATE)),
                  second = vaddr_add_pages(va, 1);
    EXPECT_EQ(get_word(&bed, &bed.a, va), WORD);
    EXPECT_EQ(move_at(&bed.a, va), ASPACE_MOVED);
    put_word(&bed, &bed.a, va, 1);
    EXPECT_EQ(move_at(&bed.a, va), ASPACE_MOVED); /* its own now */
    EXPECT_EQ(get_word(&bed, &bed.a, second), WORD + 1);
    const vaddr_t shared = map_it(&bed.b, want_object(object, 0, npages(4), AR, 0));
    EXPECT(get_word(&bed, &bed.b, shared) == WORD && get_word(&bed, &bed.b, vaddr_add_pages(shared, 1)) == WORD + 1);
    EXPECT_EQ(move_at(&bed.a, second), ASPACE_MOVED); /* two leaves */
    EXPECT(get_word(&bed, &bed.a, va) == 1 && get_word(&bed, &bed.a, second) == WORD + 1);
    EXPECT(get_word(&bed, &bed.b, shared) == WORD && get_word(&bed, &bed.b, vaddr_add_pages(shared, 1)) == WORD + 1);
    EXPECT_EQ(p.filled, 2);
    EXPECT(aspace_bed_check(&bed));
    EXPECT_OK(object_release(object));
    aspace_bed_close(&bed);
}

TEST(aspace_move, a_clones_own_page_moves_and_what_both_see_does_not)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(3), ARW, 0)), second = vaddr_add_pages(va, 1);
    put_word(&bed, &bed.a, va, WORD);
    put_word(&bed, &bed.a, second, WORD + 1);
    EXPECT_OK(aspace_clone(&bed.a, &child, NULL, NULL));
    expect_refused(frame_shown(&bed.a, va), ASPACE_MOVE_SHARED); /* one table */
    put_word(&bed, &child, va, 1);
    expect_refused(frame_shown(&bed.a, second), ASPACE_MOVE_SHARED); /* two, one frame */
    EXPECT_EQ(move_at(&child, va), ASPACE_MOVED);
    put_word(&bed, &bed.a, second, WORD + 2);
    EXPECT_EQ(move_at(&bed.a, second), ASPACE_MOVED);
    EXPECT_EQ(move_at(&child, second), ASPACE_MOVED);
    EXPECT(get_word(&bed, &bed.a, va) == WORD && get_word(&bed, &child, va) == 1);
    EXPECT(get_word(&bed, &bed.a, second) == WORD + 2 && get_word(&bed, &child, second) == WORD + 1);
    EXPECT_OK(aspace_destroy(&child));
    aspace_bed_close(&bed);
}

TEST(aspace_move, a_frame_that_somebody_holds_stays)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(3), ARW, 0)),
                  global = map_it(&bed.a, want(npages(3), ARW, ASPACE_GLOBAL));
    const vaddr_t at[] = {va, global};
    for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
        put_word(&bed, &bed.a, at[i], WORD);
        const pfn_t frame = pfn(frame_shown(&bed.a, at[i]));
        EXPECT_OK(pmm_retain(bed.vmm->pmm, frame));
        EXPECT_EQ(move_frame(frame.v), ASPACE_MOVE_PINNED);
        EXPECT_EQ(get_word(&bed, &bed.a, at[i]), WORD);
        EXPECT_EQ(frame_shown(&bed.a, at[i]), frame.v);
        EXPECT_OK(pmm_release(bed.vmm->pmm, frame, NULL));
        vaddr_t page;
        EXPECT_OK(temp_map(bed.vmm, frame, &page));
        expect_refused(frame.v, ASPACE_MOVE_PINNED);
        EXPECT_OK(temp_unmap(bed.vmm, page));
        EXPECT_EQ(move_frame(frame.v), ASPACE_MOVED);
    }
    EXPECT(aspace_bed_check(&bed));
    aspace_bed_close(&bed);
}

TEST(aspace_move, what_is_no_page_of_a_space_is_refused)
{
    static const pfn_t device = {0xC000000};
    REQUIRE(aspace_bed_open(&bed));
    struct object *object;
    pfn_t kernel, run;
    EXPECT_OK(object_create_physical(&bed.system, device, npages(1), 0, &object));
    const vaddr_t va = map_it(&bed.a, want_object(object, 0, npages(1), ARW, 0));
    EXPECT_OK(pmm_alloc(bed.vmm->pmm, PMM_KERNEL, &kernel));
    EXPECT_OK(pmm_alloc_run(bed.vmm->pmm, PMM_USER, npages(PMM_BLOCK_FRAMES), npages(1), npages(0), PMM_NO_LIMIT,
                            &run));
    const vaddr_t zero = map_it(&bed.a, want_at(AT_PRIVATE, npages(1), ARW, 0));
    EXPECT_EQ(get_word(&bed, &bed.a, zero), 0);
    expect_refused(frame_shown(&bed.a, va), ASPACE_MOVE_DEVICE);
    expect_refused(frame_shown(&bed.a, zero), ASPACE_MOVE_ZERO);
    expect_refused(kernel.v, ASPACE_MOVE_UNKNOWN);
    expect_refused(run.v, ASPACE_MOVE_UNKNOWN);
    expect_refused(bed.a.tables.root.v, ASPACE_MOVE_UNKNOWN);
    EXPECT_OK(pmm_free(bed.vmm->pmm, kernel));
    EXPECT_OK(pmm_free_run(bed.vmm->pmm, run, npages(PMM_BLOCK_FRAMES)));
    expect_refused(run.v, ASPACE_MOVE_DEVICE); /* nobody's */
    EXPECT_OK(object_release(object));
    aspace_bed_close(&bed);
}

static bool move_inside(void *ctx, const struct aspace_query *mapping)
{
    enum status s;
    struct aspace_compaction c = {0};
    const pfn_t *frames = ctx;
    (void)mapping;
    EXPECT_EQ(aspaces_move_page(&bed.system, frames[0], frames[1], &s), ASPACE_MOVE_UNKNOWN);
    EXPECT_EQ(s, STATUS_MISUSE);
    EXPECT_EQ(aspaces_compact(&bed.system, 1, &c), STATUS_MISUSE);
    /* That may be asked at any time. */
    EXPECT(!aspaces_make_run(&bed.system, &(struct pmm_run_wish){1, 1, 0, PMM_NO_LIMIT}, &c));
    return true;
}

TEST(aspace_move, nothing_moves_inside_of_another_call)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(1), ARW, 0));
    put_word(&bed, &bed.a, va, WORD);
    pfn_t frames[2] = {pfn(frame_shown(&bed.a, va))};
    EXPECT_OK(pmm_alloc(bed.vmm->pmm, PMM_USER, &frames[1]));
    aspace_visit(&bed.a, move_inside, frames);
    test_expect_reports(2);
    EXPECT_OK(pmm_free(bed.vmm->pmm, frames[1]));
    EXPECT_EQ(frame_shown(&bed.a, va), frames[0].v);
    aspace_bed_close(&bed);
}
