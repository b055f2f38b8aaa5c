/* What no way has, where the kernel runs on one: owners, whole blocks won by moving, memory that comes and goes. */
#include "kernel/bench.h"
#include "pmm/pmm_change.h"
#include "pmm/pmm_compact.h"
#include "pmm/pmm_owners.h"
#include "pmm/pmm_pressure.h"

const struct bench bench_pmm[] = {{.name = NULL}};

void pmm_drain(struct pmm *pmm) { (void)pmm; }

enum status pmm_zero_fill(struct pmm *pmm, unsigned class, npages_t most, bool (*zero)(void *ctx, pfn_t frame),
                          void *ctx, npages_t *filled)
{
    (void)pmm;
    (void)class;
    (void)most;
    (void)zero;
    (void)ctx;
    *filled = npages(0);
    return STATUS_UNSUPPORTED;
}

enum status pmm_zone_reserve(struct pmm *pmm, enum pmm_zone zone, npages_t n)
{
    (void)pmm;
    (void)zone;
    (void)n;
    return STATUS_UNSUPPORTED;
}

enum status pmm_region_add(struct pmm *pmm, pfn_t first, npages_t frames, unsigned node)
{
    (void)pmm;
    (void)first;
    (void)frames;
    (void)node;
    return STATUS_UNSUPPORTED;
}

enum status pmm_region_remove(struct pmm *pmm, pfn_t first, npages_t frames, struct pmm_in_the_way *way)
{
    (void)pmm;
    (void)first;
    (void)frames;
    (void)way;
    return STATUS_UNSUPPORTED;
}

bool pmm_block_next(struct pmm *pmm, pfn_t from, struct pmm_block_info *out)
{
    (void)pmm;
    (void)from;
    (void)out;
    return false;
}

enum status pmm_block_take(struct pmm *pmm, pfn_t first, struct pmm_block_frames *out)
{
    (void)pmm;
    (void)first;
    (void)out;
    return STATUS_ABSENT;
}

enum status pmm_block_give(struct pmm *pmm, pfn_t first)
{
    (void)pmm;
    (void)first;
    return STATUS_UNSUPPORTED;
}

unsigned pmm_alloc_partly(struct pmm *pmm, pfn_t *frames, unsigned n, pfn_t avoid, npages_t avoided)
{
    (void)pmm;
    (void)frames;
    (void)n;
    (void)avoid;
    (void)avoided;
    return 0;
}

unsigned pmm_alloc_elsewhere(struct pmm *pmm, pfn_t *frames, unsigned n, pfn_t avoid, npages_t avoided)
{
    return pmm_alloc_partly(pmm, frames, n, avoid, avoided);
}

enum status pmm_pass_references(struct pmm *pmm, pfn_t from, pfn_t to)
{
    (void)pmm;
    (void)from;
    (void)to;
    return STATUS_UNSUPPORTED;
}

void pmm_mover_set(struct pmm *pmm, pmm_mover_fn *mover, void *ctx)
{
    (void)pmm;
    (void)mover;
    (void)ctx;
}

enum status pmm_owner_open(struct pmm *pmm, unsigned *owner)
{
    (void)pmm;
    (void)owner;
    return STATUS_LIMIT;
}
