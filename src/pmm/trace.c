/* Trace: every call is told of, so every call must come by here, and no magazine may serve it. */
#include "pmm/internal.h"

void pmm_trace(struct pmm *pmm, pmm_trace_fn *fn, void *ctx)
{
    enum { OPEN = 0, SHUT = 2 };
    lock_take(&pmm->lock);
    drain_locked(pmm);
    pmm->trace = fn;
    pmm->trace_ctx = ctx;
    for (size_t i = 0; i < pmm->cpu_count; i++) {
        __atomic_store_n(&pmm->cpus[i].inside, fn != NULL ? SHUT : OPEN, __ATOMIC_RELAXED);
    }
    lock_drop(&pmm->lock);
}
