/* Over all of a half: what is mapped goes with its tables, or empty tables go. Nothing is looked at first. */
#include "vmm/gather.h"
#include "vmm/large.h"
#include "vmm/map.h"
#include "vmm/request.h"
#include "vmm/share.h"

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
