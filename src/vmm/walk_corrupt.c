/* What the walker meets and no correct code wrote (walk.c section 8): asked of the PMM, and told with the walk. */
#include "lib/report.h"
#include "vmm/walk.h"

bool is_table_frame(const struct cursor *c, unsigned level)
{
    struct pmm_frame f = pmm_query(c->vmm->pmm, pte_pfn(c->entry[level]));
    bool ok = f.state == PMM_STATE_USED;
    if (c->is_kernel) {
        ok = ok || f.state == PMM_STATE_RESERVED || f.state == PMM_STATE_METADATA;
    }
    (ok && !entry_is_shared(c->entry[level]) ? trust : trust_no_more)(c->vmm, c->entry[level]);
    return ok;
}

void report_corrupt(const struct cursor *c, unsigned level, const char *what)
{
    char above[PAGING_LEVELS * sizeof " 0x0123456789abcdef"];
    struct buffer_sink b;
    buffer_sink_init(&b, above, sizeof above);
    for (unsigned l = PAGING_LEVELS; l > level; l--) {
        sink_printf(&b.sink, " %#lx", c->entry[l].v);
    }
    report(REPORT_CORRUPT, "space %u: the level-%u entry %#lx for %#lx, at %#lx, %s%s; above it%s", c->space->id, level,
           c->entry[level].v, c->va.v, c->at[level].v, what, c->is_corrupt ? ": not followed" : "",
           level < PAGING_LEVELS ? above : " CR3");
}
