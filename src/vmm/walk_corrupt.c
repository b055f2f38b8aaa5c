/* What the walker meets and no correct code wrote (walk.c section 8): asked of the PMM, and told with the walk. */
#include "lib/report.h"
#include "vmm/walk.h"

bool is_table_frame(const struct cursor *c, unsigned level)
{
    const pte_t e = c->entry[level];
    bool ok = pmm_is_used(c->vmm->pmm, pte_pfn(e));
    if (!ok && c->is_kernel) {
        const enum pmm_state state = pmm_query(c->vmm->pmm, pte_pfn(e)).state;
        ok = state == PMM_STATE_RESERVED || state == PMM_STATE_METADATA;
    }
    if (ok && !entry_is_shared(e)) {
        trust(c->vmm, e, level);
    } else {
        trust_no_more(c->vmm, e);
    }
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
