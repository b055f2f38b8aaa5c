/* Scattered memory (aspace_scatter.h). */
#include "unit/aspace_scatter.h"

#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"

static bool is_left(uint64_t i) { return i % SCATTER_EVERY == SCATTER_FIRST; }

bool scatter_open(struct aspace_bed *bed)
{
    if (!aspace_bed_open(bed)) {
        return false;
    }
    (void)map_it(&bed->a, want_at(AT_PRIVATE, npages(SCATTER_PAGES), ARW, ASPACE_POPULATE));
    for (uint64_t i = SCATTER_FIRST; i < SCATTER_PAGES; i += SCATTER_EVERY) {
        put_word(bed, &bed->a, scatter_page(i), i);
    }
    bool ok = true;
    for (uint64_t i = 0, n; i < SCATTER_PAGES && ok; i += n + 1) {
        for (n = 0; i + n < SCATTER_PAGES && !is_left(i + n); n++) {
        }
        ok = n == 0 || EXPECT_OK(aspace_unmap(&bed->a, scatter_page(i), npages(n)));
    }
    return ok;
}

void scatter_expect_contents(struct aspace_bed *bed)
{
    for (uint64_t i = SCATTER_FIRST; i < SCATTER_PAGES; i += SCATTER_EVERY) {
        if (!EXPECT_EQ(get_word(bed, &bed->a, scatter_page(i)), i)) {
            return;
        }
    }
    EXPECT(aspace_bed_check(bed));
}

uint64_t scatter_whole_blocks(const struct aspace_bed *bed)
{
    pmm_drain(bed->vmm->pmm);
    return pmm_stats(bed->vmm->pmm).whole.v / PMM_BLOCK_FRAMES;
}

struct aspace_compaction scatter_compact(struct aspace_bed *bed, uint64_t blocks)
{
    struct aspace_compaction c = {0};
    EXPECT_OK(aspaces_compact(&bed->system, blocks, &c));
    return c;
}

/* ---- Runs ---- */

enum { RUNS_MAX = 100 };
static pfn_t runs[RUNS_MAX];
static unsigned run_count;

struct aspace_compaction scatter_run_moves;
unsigned scatter_asked;

static bool make_run(void *ctx, const struct pmm_run_wish *wish)
{
    struct aspace_bed *bed = ctx;
    scatter_asked++;
    return aspaces_make_run(&bed->system, wish, &scatter_run_moves);
}

void scatter_take_whole(struct aspace_bed *bed)
{
    pmm_mover_set(bed->vmm->pmm, NULL, NULL);
    for (run_count = 0; run_count < RUNS_MAX; run_count++) {
        if (pmm_alloc_run(bed->vmm->pmm, PMM_KERNEL, npages(PMM_BLOCK_FRAMES), npages(1), npages(0), PMM_NO_LIMIT,
                          &runs[run_count]) != STATUS_OK) {
            break;
        }
    }
    scatter_run_moves = (struct aspace_compaction){0};
    scatter_asked = 0;
    pmm_mover_set(bed->vmm->pmm, make_run, bed);
}

void scatter_give_whole(struct aspace_bed *bed)
{
    pmm_mover_set(bed->vmm->pmm, NULL, NULL);
    while (run_count > 0) {
        EXPECT_OK(pmm_free_run(bed->vmm->pmm, runs[--run_count], npages(PMM_BLOCK_FRAMES)));
    }
}
