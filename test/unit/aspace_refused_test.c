/*
 * Memory is short at any one moment of a move: the first request that a compaction makes for memory is refused, then
 * the second alone, and so on until there are no more. Nothing is lost, what is counted is so, and once memory is back
 * all is won that is won without that. Host only: the model refuses (test/model/overheard.h).
 */
#include "aspace/mapping.h"
#include "model/overheard.h"
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"
#include "unit/aspace_scatter.h"

enum { PAGES = SCATTER_PAGES / 8, NOBODYS = PMM_BLOCK_FRAMES, SHARED_EVERY = 4, SEED = 0x5EED };

static struct aspace_bed bed;
static struct object *object;
static struct test_pager pager;
static vaddr_t globals, files;
static pfn_t nobodys;

static bool is_left(uint64_t i) { return i % SCATTER_EVERY == SCATTER_FIRST; }
static bool is_shared(uint64_t i) { return i % (SHARED_EVERY * SCATTER_EVERY) == SCATTER_FIRST; }

/*
 * A block of frames that no space ever had: half of them are free, and the reverse index has no place for them. It is
 * the fullest, so pages go there first.
 */
static void open_nobodys(void)
{
    EXPECT_OK(pmm_alloc_run(bed.vmm->pmm, PMM_USER, npages(NOBODYS), npages(1), npages(0), PMM_NO_LIMIT, &nobodys));
    for (unsigned i = 0; i < NOBODYS; i += 2) {
        EXPECT_OK(pmm_free_run(bed.vmm->pmm, pfn_add(nobodys, i), npages(1)));
    }
}

/* Pages of objects too: b's own, of which c has some, and those of a file, in b's tables and in none. */
static bool open_all(void)
{
    if (!scatter_open(&bed)) {
        return false;
    }
    const struct pager p = test_pager(&pager, bed.vmm, SEED);
    EXPECT_OK(object_create_paged(&bed.system, npages(PAGES), &p, &object));
    globals = map_it(&bed.b, want(npages(PAGES), ARW, ASPACE_GLOBAL));
    files = map_it(&bed.b, want_object(object, 0, npages(PAGES), AR, 0));
    for (uint64_t i = 0; i < PAGES; i++) {
        EXPECT_OK(touch(&bed.b, vaddr_add_pages(globals, i), VMM_WRITE));
        EXPECT_OK(object_populate(object, i, npages(1)));
    }
    for (uint64_t i = 0; i < PAGES; i++) {
        const vaddr_t page = vaddr_add_pages(globals, i);
        if (!is_left(i)) {
            EXPECT_OK(aspace_unmap(&bed.b, page, npages(1)));
            continue;
        }
        put_word(&bed, &bed.b, page, i);
        if (is_shared(i)) {
            EXPECT_OK(aspace_share(&bed.b, page, npages(1), &bed.c, AR, vaddr(0)));
            EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(files, i)), SEED + i);
        }
    }
    open_nobodys();
    return true;
}

static void expect_all(void)
{
    for (uint64_t i = 0; i < PAGES; i++) {
        const vaddr_t page = vaddr_add_pages(globals, i);
        EXPECT(!is_left(i) || get_word(&bed, &bed.b, page) == i);
        EXPECT(!is_shared(i) || get_word(&bed, &bed.c, page) == i);
        if (is_left(i) && !EXPECT_EQ(get_word(&bed, &bed.b, vaddr_add_pages(files, i)), SEED + i)) {
            return;
        }
    }
    EXPECT_EQ(pager.filled, PAGES); /* none had to come again */
    scatter_expect_contents(&bed);
    EXPECT_OK(pmm_check(bed.vmm->pmm, NULL));
    EXPECT_EQ(pmm_stats(bed.vmm->pmm).promised.v, 0);
}

static void close_all(void)
{
    for (unsigned i = 1; i < NOBODYS; i += 2) {
        EXPECT_OK(pmm_free(bed.vmm->pmm, pfn_add(nobodys, i)));
    }
    EXPECT_OK(object_release(object));
    aspace_bed_close(&bed);
}

/* What is done, and what is done before, and undone afterwards; these may be null. */
struct deed {
    void (*prepare)(struct aspace_bed *bed);
    void (*call)(bool may_fail);
    void (*undo)(struct aspace_bed *bed);
};

/* The call with this request refused, and once more with none. => it was; *whole: blocks that are whole in the end */
static bool play(uint64_t refused, const struct deed *deed, uint64_t *whole)
{
    if (!EXPECT(open_all())) {
        return false;
    }
    if (deed->prepare != NULL) {
        deed->prepare(&bed);
    }
    (void)stock_trim(&bed.system.stock, 0); /* no page of bookkeeping is ready */
    const uint64_t used = aspace_bed_frames(&bed);
    model_refuse_request(refused);
    deed->call(true);
    const bool was = model_was_refused();
    model_refuse_request(0);
    EXPECT_EQ(aspace_bed_frames(&bed), used);
    expect_all();
    deed->call(false);
    *whole = scatter_whole_blocks(&bed);
    EXPECT_EQ(aspace_bed_frames(&bed), used);
    expect_all();
    if (deed->undo != NULL) {
        deed->undo(&bed);
    }
    close_all();
    return was;
}

static void play_all(const struct deed *deed, uint64_t least)
{
    uint64_t all, whole = 0, n = 1;
    EXPECT(!play(UINT64_MAX, deed, &all));
    for (; play(n, deed, &whole); n++) {
        if (!EXPECT(whole >= all)) {
            test_note("request %lu: %lu whole blocks in the end, %lu when none is refused", n, whole, all);
            return;
        }
    }
    EXPECT(n > least);
    test_note("%lu requests", n - 1);
}

static void compact_all(bool may_fail)
{
    const uint64_t before = scatter_whole_blocks(&bed);
    const struct aspace_compaction c = scatter_compact(&bed, UINT64_MAX);
    EXPECT_EQ(scatter_whole_blocks(&bed), before + c.won);
    EXPECT(may_fail || c.refused[ASPACE_MOVE_NOMEM] == 0);
}

TEST_HOST(aspace_refused, any_request_of_a_compaction_may_be_refused)
{
    play_all(&(struct deed){.call = compact_all}, 8);
}

static void make_run(bool may_fail)
{
    const npages_t two = npages(2 * PMM_BLOCK_FRAMES);
    pfn_t first;
    const enum status s = pmm_alloc_run(bed.vmm->pmm, PMM_KERNEL, two, npages(1), npages(0), PMM_NO_LIMIT, &first);
    EXPECT(s == STATUS_OK || (s == STATUS_NOMEM && may_fail));
    EXPECT(scatter_run_moves.tried > 0);
    if (s == STATUS_OK) {
        EXPECT_OK(pmm_free_run(bed.vmm->pmm, first, two));
    }
}

TEST_HOST(aspace_refused, any_request_of_a_run_that_is_made_may_be_refused)
{
    play_all(&(struct deed){scatter_take_whole, make_run, scatter_give_whole}, 3);
}
