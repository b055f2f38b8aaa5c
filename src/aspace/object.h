/*
 * Objects: pages that can be mapped, into any number of spaces. The object, not the page tables, says what a shared
 * page holds: tables are filled from it by faults, and may be emptied at any time.
 *
 * Four kinds:
 *   anonymous  zeros until somebody writes. A page comes when it is first touched
 *   physical   frames that are there anyway (devices, ROM, a module's): never allocated, counted or freed
 *   paged      a pager brings a page's contents when it is first touched (a file, here a Multiboot2 module)
 * and what has no object at all: private anonymous memory (aspace.h), whose pages are in its space's tables only.
 *
 * Each resident page of an anonymous or a paged object is one frame; the object holds one reference to it, each leaf
 * that maps it another. An object lives as long as somebody holds it (object_hold) or maps part of it. A page of an
 * anonymous object that nobody holds goes back when its last mapping goes, whatever becomes of its neighbours; while
 * the object is held, its pages stay.
 *
 * Context: thread, fault handler. `fill` of a pager may call the PMM and the VMM (frame_copy, temp_map), nothing here.
 */
#ifndef CAIRN_ASPACE_OBJECT_H
#define CAIRN_ASPACE_OBJECT_H

#include "aspace/aspace.h"

enum object_kind { OBJECT_ANONYMOUS, OBJECT_PHYSICAL, OBJECT_PAGED };

/* Where the pages of a paged object come from. */
struct pager {
    const char *name; /* lives as long as the object */
    void *ctx;
    /*
     * Put the contents of page `page` (zeros behind the end of the contents) into `frame`, which nobody else sees yet.
     * => OK; anything else: the page stays absent, and who touched it gets this status.
     */
    enum status (*fill)(void *ctx, uint64_t page, pfn_t frame);
    /* The object is no more. May be null. */
    void (*gone)(void *ctx);
};

/* Held once by the caller. => OK; NOMEM; INVALID: no pages, more than ASPACE_PAGES_MAX; MISUSE. */
enum status object_create_anonymous(struct aspaces *system, npages_t pages, struct object **object);
/*
 * The frames [first, first + pages), with the cache type that `flags` names (VMM_UNCACHED, VMM_WRITE_COMBINING, or 0).
 * => also RANGE: the CPU has no address for them; MISUSE: some are RAM that the PMM may hand out.
 */
enum status object_create_physical(struct aspaces *system, pfn_t first, npages_t pages, unsigned flags,
                                   struct object **object);
enum status object_create_paged(struct aspaces *system, npages_t pages, const struct pager *pager,
                                struct object **object);
/*
 * A paged one more, with pages of its own, from where those of a paged object come, whatever has become of these: a
 * file that begins as another one did. It tells the pager nothing when it ends, and must not outlive its `ctx`.
 * => also UNSUPPORTED: `of` is not paged.
 */
enum status object_create_copy(const struct object *of, struct object **object);

/* One holder more. => OK; LIMIT: 2^31 of them. */
enum status object_hold(struct object *object);
/* One less; the last one who neither holds nor maps it ends it. => OK; MISUSE: nobody holds it. */
enum status object_release(struct object *object);

/*
 * Grow or shrink. Pages behind the new end go: leaves that map them are unmapped and flushed everywhere before their
 * frames are freed; their ranges stay, and a touch there is an access behind the end (ABSENT). => OK; SHARED: shrinking
 * would cut into the global addresses of the object, but for those of a segment (segment.h), which are there for all
 * sizes; LIMIT, RANGE as segment_resize; UNSUPPORTED: physical; INVALID; NOMEM, LIMIT (to shrink, and only
 * where private mappings of these pages lie behind tables that clones share): nothing has changed.
 */
enum status object_resize(struct object *object, npages_t pages);

/*
 * Make [first, first + pages) resident. Of an object that nobody holds only pages that somebody maps stay so; of a
 * paged one, when memory is short, those may go again at once that nobody maps or has written to.
 * => OK; NOMEM, or the pager's status: those before stay. RANGE: behind the end; MISUSE: no object.
 */
enum status object_populate(struct object *object, uint64_t first, npages_t pages);

struct object_info {
    unsigned id;             /* 1 and up; used again only long after */
    enum object_kind kind;
    npages_t pages;          /* its size */
    npages_t resident;       /* that have a frame */
    unsigned holders, mappings;
    vaddr_t global;          /* where its first page is in the global part; 0: nowhere */
    pfn_t first;             /* of a physical one */
    const char *name;        /* its pager's; null: none */
};
struct object_info object_info(const struct object *object);
/* The frame of a page. => OK; ABSENT: not resident; RANGE: behind the end. */
enum status object_frame(const struct object *object, uint64_t page, pfn_t *frame);
/*
 * Who maps [first, first + pages): visit(ctx, space, va of the first page that is in, pages of it, rights). Inside
 * another call: nobody is told (reported).
 */
typedef bool object_visit_fn(void *ctx, struct aspace *space, vaddr_t va, npages_t pages, unsigned rights);
void object_visit(const struct object *object, uint64_t first, npages_t pages, object_visit_fn *visit, void *ctx);

#endif
