/* How many frames are in each state, by the walk alone, whoever keeps account of them. */
#include "lib/string.h"
#include "pmm/pmm.h"

static bool count_state(void *ctx, pfn_t first, npages_t frames, enum pmm_state state)
{
    npages_t *counts = ctx;
    (void)first;
    counts[state].v += frames.v;
    return true;
}

void pmm_state_counts(const struct pmm *pmm, npages_t counts[PMM_STATES])
{
    memset(counts, 0, PMM_STATES * sizeof *counts);
    pmm_walk(pmm, count_state, counts);
}
