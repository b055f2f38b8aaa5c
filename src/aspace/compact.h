/*
 * The mover: pages change their frames, and nobody sees it; so scattered free frames become whole blocks.
 *
 * Whose page a frame is the reverse index says, nothing is searched. What cannot be moved stays, and is counted by why:
 * kernel frames, frames that somebody else has a reference to, pages behind tables that clones share, the zero frame,
 * devices. In the middle of a move there is no moment at which a page is lost, or two spaces see two of it.
 */
#ifndef CAIRN_ASPACE_COMPACT_H
#define CAIRN_ASPACE_COMPACT_H

#include "aspace/aspace.h"
#include "pmm/pmm_change.h"
#include "pmm/pmm_compact.h"

enum aspace_move {
    ASPACE_MOVED,
    ASPACE_MOVE_UNKNOWN, /* no space or object is known to have it: the kernel's, a table */
    ASPACE_MOVE_PINNED,  /* somebody else has a reference to it, or sees it in a temporary mapping */
    ASPACE_MOVE_SHARED,  /* clones see it, behind one table or by tables of their own */
    ASPACE_MOVE_ZERO,    /* the zero frame */
    ASPACE_MOVE_DEVICE,  /* no RAM, or none that is in use */
    ASPACE_MOVE_NOMEM,   /* no frame elsewhere, or no page of the reverse index for it */
    ASPACE_MOVES,
};
const char *aspace_move_name(enum aspace_move move); /* a word; never null */

/*
 * The page in `frame` is in `to` from now on, a frame of the PMM that is used once, by the caller, who has `frame`
 * instead: used once, and nobody's page. Whoever shares the page sees the same contents before and after; where it is
 * in the tables of one space it stays there, else it goes from all tables, and comes back by faults. 600 instructions
 * and the copy for a page of one space; O(log + users).
 * => MOVED; anything else: nothing has changed but for leaves that come back by faults. MISUSE in *s, reported: called
 * inside another call.
 */
enum aspace_move aspaces_move_page(struct aspaces *system, pfn_t frame, pfn_t to, enum status *s);

struct aspace_compaction {
    uint64_t won, moved;              /* blocks that are whole now; pages that were moved */
    uint64_t tried;                   /* blocks, those won included */
    uint64_t refused[ASPACE_MOVES];   /* blocks given up, by the move that was refused; [ASPACE_MOVED]: not drawn */
};

/*
 * Win whole blocks, `blocks` at most: the emptiest first, as long as what is free elsewhere in partly free blocks takes
 * their pages. A block of which one page is refused is given up; the pages that were moved until then stay where they
 * are now. Counts are added to *out. O(blocks of memory + pages moved). Takes no memory, but for the reverse index.
 * => OK, also where none is won; MISUSE: called inside another call.
 */
enum status aspaces_compact(struct aspaces *system, uint64_t blocks, struct aspace_compaction *out);

/*
 * Make room for a run (pmm_mover_set): neighbouring blocks whose pages are fewest. false also, without a report, inside
 * of another call or of an edit of tables.
 */
bool aspaces_make_run(struct aspaces *system, const struct pmm_run_wish *wish, struct aspace_compaction *out);

/*
 * pmm_region_remove after moving what can be moved to other regions, if need be into blocks that nobody uses. => as
 * that; where something stays in the way what was moved stays moved. MISUSE also: called inside another call.
 */
enum status aspaces_remove_region(struct aspaces *system, pfn_t first, npages_t frames, struct pmm_in_the_way *way,
                                  struct aspace_compaction *out);

#endif
