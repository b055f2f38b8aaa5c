/* The steps of mapping: for map.c, and map_large.c that plans with large pages. Private to src/vmm/. */
#ifndef CAIRN_VMM_MAP_STEPS_H
#define CAIRN_VMM_MAP_STEPS_H

#include "vmm/plan.h"
#include "vmm/request.h"
#include "vmm/walk.h"

/* What the leaves of a mapping are made of. */
struct fill {
    bool fresh;        /* frames of its own, promised, else `next` and those after it */
    bool zeroed;       /* fresh ones: zero them first */
    unsigned class;    /* of fresh ones */
    unsigned next_run; /* of fresh ones for large pages */
    pfn_t next;
    uint64_t bits;
};

/*
 * Look, and promise `frames` more than the tables that are missing; look again while others edit in between, which can
 * only be who was asked for memory. *promised: what to take or to put back.
 */
enum status map_look_and_promise(struct cursor *c, npages_t frames, npages_t *promised);
/* Put it back, for the answer `s`. */
static inline enum status map_take_back(struct vmm *vmm, npages_t promised, enum status s)
{
    enum status undone = promised.v > 0 ? pmm_unpromise(vmm->pmm, promised) : STATUS_OK;
    return undone == STATUS_OK ? s : undone;
}
/* The half that cannot fail: everything it needs has been promised. */
void map_link(struct cursor *c, struct fill *f);

/* What vmm_map_frames asks for, all arguments being good. */
struct given {
    vaddr_t va;
    pfn_t first;
    uint64_t pages, bits; /* of the leaves */
    const struct page_plan *plan; /* null: 4 KiB pages */
};

/* Any range, to the end of the edit. `spot`: what is read already, where its level is not 0. */
enum status map_range(struct vmm *vmm, struct space *space, struct given g, struct spot spot);

/* The same in an edit that has begun, by the short way where the range is behind one PT that is known. */
enum status map_given(struct vmm *vmm, struct space *space, enum window w, struct given g);

/* Arguments of vmm_map_frames, flags left out of `rights`. => OK; as vmm.h says. */
static inline enum status map_check_given(struct vmm *vmm, struct space *space, vaddr_t va, pfn_t first, npages_t pages,
                                          unsigned rights)
{
    enum status s = request_check(vmm, space, va, pages, "vmm_map_frames");
    if (s == STATUS_OK) {
        s = request_check_rights(va, rights);
    }
    bool fits = first.v < vmm->frames_end.v && pages.v <= vmm->frames_end.v - first.v;
    return s != STATUS_OK || fits ? s : STATUS_RANGE;
}

/* ---- map_page.c ---- */

/* One fresh page, all arguments being good; to the end of the edit. => as vmm_map */
enum status map_page(struct vmm *vmm, struct space *space, vaddr_t va, unsigned rights, pfn_t *frame);
/* vmm_map_frames with VMM_COPY, which is left out of `rights`. */
enum status map_copies(struct vmm *vmm, struct space *space, vaddr_t va, pfn_t first, npages_t pages, unsigned rights,
                       bool own);

/* ---- map_large.c: the two calls with flags beside the rights: page sizes, cache types, global ---- */

enum { MAP_FLAGS = VMM_SIZES | REQUEST_FLAGS, MAP_NOT_PLAIN = MAP_FLAGS | VMM_COPY | VMM_WRITE_EXECUTE };

/* `zeroed`: as map_fresh */
enum status map_fresh_flagged(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, unsigned flags,
                              bool zeroed);
enum status map_frames_flagged(struct vmm *vmm, struct space *space, vaddr_t va, pfn_t first, npages_t pages,
                               unsigned flags, bool own);

#endif
