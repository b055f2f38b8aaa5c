/* Over all of a half: what is mapped goes with its tables, or empty tables go. Nothing is looked at first. */
#include "vmm/gather.h"
#include "vmm/large.h"
#include "vmm/map.h"
#include "vmm/request.h"
#include "vmm/share.h"

/*
 * The stretch is an absent entry of an upper table: those behind it that are absent too, join it, at a load each and
 * without a walk; all of them at once, where the table's count says that it has no more. Most of a space is absent.
 */
static void join_absent(struct cursor *c)
{
    const uint64_t span = level_span_pages(c->level);
    const bool has_count = c->level < PAGING_LEVELS;
    const uint64_t rest = pages_to_span_end(c->va, c->level + 1), end = rest < c->left ? rest : c->left;
    if (has_count && entry_count(c->entry[c->level + 1]) == 0) {
        c->pages = end;
        return;
    }
    uint64_t loads = 1;
    while (c->pages < end && !pte_is_present(arch_table_load(entry_at(c->at[c->level], loads)))) {
        c->pages = c->pages + span < end ? c->pages + span : end;
        loads++;
    }
    c->vmm->counters.table_loads += loads - 1;
}

/* All PTs go as they are, what they own after them; of shared tables, one parent. */
void unmap_user_half(struct vmm *vmm, struct space *space)
{
    struct cursor c;
    cursor_start(&c, CURSOR_READ, vmm, space, vaddr(0), HALF_PAGES);
    while (cursor_next(&c)) {
        if (c.closed != 0) {
            drop_shared(&c);
        } else if (c.level == 1) {
            space->pages.v -= cursor_count(&c);
            cursor_drop_table(&c, true);
        } else if (cursor_is_large(&c)) {
            space->pages.v -= c.pages;
            large_unmap(&c);
        } else if (!c.is_corrupt) {
            join_absent(&c);
        }
    }
    gather_flush(vmm);
}

void free_empty_tables(struct vmm *vmm, struct space *space, vaddr_t va, uint64_t pages)
{
    struct cursor c;
    cursor_start(&c, CURSOR_READ, vmm, space, va, pages);
    while (cursor_next(&c)) {
        if (c.level == 1 && c.closed == 0 && cursor_count(&c) == 0) {
            cursor_drop_table(&c, false);
        }
    }
    gather_flush(vmm);
}
