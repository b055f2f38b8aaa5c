/* What is said by a number, in words. */
#include "pmm/pmm.h"

#include "lib/macros.h"

const char *pmm_state_name(enum pmm_state s)
{
    static const char *const names[] = {
        [PMM_STATE_OUTSIDE] = "outside RAM", [PMM_STATE_ABSENT] = "absent",     [PMM_STATE_UNTOUCHED] = "never used",
        [PMM_STATE_FREE] = "free",           [PMM_STATE_CACHED] = "cached",     [PMM_STATE_USED] = "used",
        [PMM_STATE_RUN] = "part of a run",   [PMM_STATE_ZERO] = "the zero frame", [PMM_STATE_RESERVED] = "reserved",
        [PMM_STATE_BAD] = "bad",             [PMM_STATE_LOST] = "lost",         [PMM_STATE_METADATA] = "metadata",
    };
    return (size_t)s < ARRAY_LEN(names) ? names[s] : "unknown";
}

const char *pmm_zone_name(enum pmm_zone z)
{
    static const char *const names[] = {"below 1 MiB", "below 16 MiB", "below 4 GiB", "high"};
    return (size_t)z < ARRAY_LEN(names) ? names[z] : "unknown";
}

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
