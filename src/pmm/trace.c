/* Trace: every call is told of, so every call must come by here, and no magazine may serve it. */
#include "pmm/internal.h"

const char *pmm_event_name(enum pmm_event e)
{
    static const char *const names[] = {
        [PMM_EVENT_ALLOC] = "alloc",           [PMM_EVENT_FREE] = "free",
        [PMM_EVENT_RETAIN] = "retain",         [PMM_EVENT_RELEASE] = "release",
        [PMM_EVENT_CLAIM] = "claim",           [PMM_EVENT_GIVE_BACK] = "give back",
        [PMM_EVENT_OPEN_BLOCK] = "open block", [PMM_EVENT_CLOSE_BLOCK] = "close block",
        [PMM_EVENT_BAD] = "bad",               [PMM_EVENT_REGION_ADD] = "region add",
        [PMM_EVENT_REGION_REMOVE] = "region remove", [PMM_EVENT_OWNER_OPEN] = "owner open",
        [PMM_EVENT_OWNER_CLOSE] = "owner close", [PMM_EVENT_RECLAIM] = "reclaim",
    };
    return (size_t)e < ARRAY_LEN(names) ? names[e] : "unknown";
}

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
