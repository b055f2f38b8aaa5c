/*
 * Spaces: who may use which address, and what is there. On top of the page tables (vmm/): the tables say what the CPU
 * may do now, the mappings here say what a space has a right to.
 *
 * A *mapping* gives one space a right to a range of pages of one object (object.h), or of private anonymous memory,
 * which has none. It may be split, and equal neighbours are one. Page tables are filled by faults (aspace_fault), or at
 * once when asked (ASPACE_POPULATE).
 *
 * Addresses. The private part (PML4 slots 0-127) means something else in each space; each space has an arena for it.
 * The global part (128-255) has one arena for all: an address given out there is given to nobody else until no space
 * maps it and nobody holds its object. So a pointer into it means the same to all, and a range can be shared at its own
 * address. What is in the global part always has an object.
 *
 * What is shared is shared by the page. When a space gives a part back, each page that no other space maps returns at
 * once, address and frame, even in the middle of a range that others still share.
 *
 * Rights: VMM_READ, VMM_WRITE, VMM_EXECUTE, and VMM_USER for user mode (without: for the kernel alone); 0: none, what
 * is there stays. Write and execute together only with ASPACE_WRITE_EXECUTE.
 *
 * Invariants, checked by aspaces_check() and tested by name in test/unit/:
 *   ASPACE-I1 the mappings of a space are disjoint, in order, in the user part; its arena has exactly those of the
 *             private part, with their guards, the global arena exactly what somebody maps, or whose object is held
 *   ASPACE-I2 a mapping of an object is in the object's tree, and in no other; neighbours that could be one are one
 *   ASPACE-I3 each leaf of a space's user part is in one of its mappings, with no more rights, and shows what that says
 *   ASPACE-I4 the references of a resident page's frame are one of its object and one for each leaf that names it
 *   ASPACE-I5 what is counted for a space (pages, ranges) is the sum over its mappings, and within its limits; but its
 *             ranges may be more, since others cut them who take back, or give up, what they had shared
 *   ASPACE-I6 a part that is lent lies in mappings of the same pages in both spaces, the borrower's rights being no
 *             more
 *   ASPACE-I7 from each resident frame the reverse index leads to a page that it is
 *   ASPACE-I8 stock, pools and indexes hold what they count; between calls no space is marked
 *
 * All or nothing: whatever is not OK has changed nothing, unless it says so. Every call looks at its arguments first:
 *   INVALID  unaligned, empty, overflowing, unknown rights or flags, flags that exclude each other, write and execute
 *   RANGE    outside the user part (kernel, windows, hole, the first 64 KiB), or half in the private, half in the
 *            global part
 *   MISUSE   (reported) not a space of this system, a space that is no more
 *   DENIED   more rights than the caller may give; sealed
 *   ABSENT   a page of the range is in no mapping
 *   LIMIT    of the space (aspace_limits), of the 65,000 references to a frame, ASPACE_TIMES, ASPACE_LOOKS
 *   NOMEM    memory is short; callbacks have been called
 *
 * Context: thread; aspace_fault, aspace_query and aspace_find also in the page fault handler of accesses to the user
 * half. One CPU runs. No call may be made from a low-memory callback but aspaces_reclaim, nor from a pager or a
 * visitor.
 */
#ifndef CAIRN_ASPACE_ASPACE_H
#define CAIRN_ASPACE_ASPACE_H

#include "vmm/vmm.h"

#define ASPACE_PAGES_MAX (1ULL << 34) /* of one mapping or object: 64 TiB, the global part */

/*
 * What keeps a call short where pages were given in many ways (gifts.c, section 6).
 *   ASPACE_TIMES  so often may a space map a page of an object in its private part (map, share; copies on write are not
 *                 counted), and once more in the global part
 *   ASPACE_LOOKS  unmap, share, transfer, withdraw of more than a page answer LIMIT where to find out what becomes of
 *                 gifts takes more looks at mappings: to be asked for less at once. One page can always go
 */
enum { ASPACE_TIMES = 8, ASPACE_LOOKS = 1 << 16 };

enum aspace_flags {
    ASPACE_GLOBAL = 1 << 0,        /* an address of the global part */
    ASPACE_AT = 1 << 1,            /* at request.va exactly; private part only. Else anywhere */
    ASPACE_PRIVATE = 1 << 2,       /* pages of the object are copied when written to (copy on write) */
    ASPACE_POPULATE = 1 << 3,      /* all pages now, not by faults */
    ASPACE_GUARD_BELOW = 1 << 4,   /* a page that is never mapped below the range, */
    ASPACE_GUARD_ABOVE = 1 << 5,   /* and above it; not counted as pages of it */
    ASPACE_STACK = 1 << 6,         /* grows down into request.room by faults; implies ASPACE_GUARD_BELOW */
    ASPACE_WRITE_EXECUTE = 1 << 7, /* may be writable and executable at once */
    ASPACE_FAULT_AROUND = 1 << 8,  /* a fault maps resident neighbours too */
    ASPACE_BEST_FIT = 1 << 9,      /* the smallest free range that will do, not the nearest to hand */
};

struct object;  /* object.h */
struct mapping; /* private, mapping.h */
struct aspaces;
struct aspace;

struct aspace_limits { /* 0: no limit */
    npages_t pages;  /* in mappings, resident or not; guards not counted */
    size_t ranges;   /* mappings */
};

/* The state of all spaces of one VMM, and of one space: read-only for others. */
#include "aspace/aspace_types.h"

/* ---- Start ---- */

/* Claims the global part's addresses. A zero frame (pmm_zero_frame_set) is made if there is none. => OK; NOMEM. */
enum status aspaces_init(struct aspaces *system, struct vmm *vmm);
/* All memory goes back but the zero frame. => OK; MISUSE (reported): there are spaces or objects. */
enum status aspaces_end(struct aspaces *system);

/* ---- Spaces ---- */

/* A new, empty one. The caller brings the struct and keeps it in place. => OK; NOMEM; LIMIT; MISUSE. */
enum status aspace_create(struct aspaces *system, struct aspace *space, struct aspace_limits limits);
/* All it maps goes, what it lent and borrowed too. Needs no memory. => OK; MISUSE: it is current on a CPU; CORRUPT. */
enum status aspace_destroy(struct aspace *space);
/* => OK; LIMIT: it has more already. */
enum status aspace_set_limits(struct aspace *space, struct aspace_limits limits);

/* ---- Mappings ---- */

struct aspace_request {
    npages_t pages;         /* > 0, guards and room not included */
    npages_t room;          /* with ASPACE_STACK, of private anonymous memory: pages below that it may grow into */
    unsigned rights;        /* VMM_* */
    unsigned allowed;       /* the most that aspace_protect may give later; 0: `rights`. Includes `rights` */
    unsigned flags;         /* ASPACE_* */
    unsigned align_log2;    /* of the first page; 0: that of a page */
    vaddr_t va;             /* with ASPACE_AT */
    struct object *object;  /* null: anonymous, of its own */
    uint64_t first;         /* page of the object that the range begins with */
    const char *tag;        /* who asks, a string that lives for ever; not null */
};

/*
 * A stack. Its addresses are taken at once: a guard, the room, the range. A touch of the room makes the range begin at
 * the page touched: what it has gained is counted against the limits then, and brought page by page as all is. It has
 * the rights, and the seal, that its lowest page has. Who unmaps that page ends the growth, and the rest of the room
 * goes with it. Shared, the pages that are there are; the room stays the space's own.
 */

/*
 * A new range. Physical objects are mapped whole at once; other pages by faults, or with ASPACE_POPULATE. In the global
 * part: pages of an object that is there already are mapped at their address, of another one it gets addresses for all
 * its pages; ASPACE_PRIVATE, ASPACE_AT and ASPACE_WRITE_EXECUTE are INVALID.
 * => OK, *va is the first page; EXISTS: ASPACE_AT, or the global addresses, are in use in this space, or a
 * segment's (segment.h); RANGE also: behind the object's end; ABSENT: an address of these pages in the global part was
 * given up, since nobody had the page; INVALID also: in the global part, where an object lies otherwise than asked for
 * (alignment, guards); UNSUPPORTED: ASPACE_PRIVATE of a physical object; CONFLICT as vmm_map_frames; NOMEM: also no
 * addresses.
 */
enum status aspace_map(struct aspace *space, const struct aspace_request *request, vaddr_t *va);
/*
 * The range is given up: every page of it must be in a mapping. Guards and room go with the page beside them.
 * Pages that no other space maps return. => OK; ABSENT; DENIED: sealed; LIMIT: a part in the middle makes a range more,
 * ASPACE_LOOKS; NOMEM: records for that, and for what the space gave on of it; tables that a clone shares beyond the
 * range's ends.
 */
enum status aspace_unmap(struct aspace *space, vaddr_t va, npages_t pages);
/*
 * New rights: at most those allowed. => OK; ABSENT; DENIED; LIMIT: it makes too many ranges; NOMEM: records for these,
 * tables that a clone shares.
 */
enum status aspace_protect(struct aspace *space, vaddr_t va, npages_t pages, unsigned rights);
/*
 * From now on the range can be neither unmapped nor protected, but by aspace_destroy and withdrawal. => OK; ABSENT;
 * LIMIT, NOMEM as aspace_protect.
 */
enum status aspace_seal(struct aspace *space, vaddr_t va, npages_t pages);

/* ---- Sharing: pages of one space become usable in another ---- */

/*
 * `to` may use [va, va + pages) of `from`, at the same address, or at `to_va` where this is not 0; with `rights`, at
 * most those that `from` has and may give. Pages that are resident, up to ASPACE_SHARE_PAGES, can be used without a
 * fault; whole parts of 2 MiB whose tables `from` has are borrowed by one store. Private anonymous memory becomes an
 * object by it; so does a private mapping of an object, which is copied, O(pages), but one that may never be written by
 * (`allowed`): that is shared as it is.
 * => OK; NOT_GLOBAL: private part, and no `to_va`; EXISTS: something is there in `to`; ABSENT; DENIED; LIMIT; NOMEM;
 * INVALID also: no rights; write and execute together; one space twice; `to_va` in the global part.
 */
enum { ASPACE_SHARE_PAGES = 16 };
enum status aspace_share(struct aspace *from, vaddr_t va, npages_t pages, struct aspace *to, unsigned rights,
                         vaddr_t to_va);
/*
 * The same, and `from` has them no more: no copy, and no moment at which both have them. Global part only. => as
 * aspace_share; DENIED also: sealed; LIMIT also: ASPACE_LOOKS.
 */
enum status aspace_transfer(struct aspace *from, vaddr_t va, npages_t pages, struct aspace *to, unsigned rights);
/*
 * What `from` shared with `to` of [va, va + pages) (addresses of `from`) is taken back before the call returns; also
 * from all to whom `to` gave it on. => OK; ABSENT: it has none of it from `from`; LIMIT: ASPACE_LOOKS; NOMEM: records,
 * for a part in the middle of what was shared.
 */
enum status aspace_withdraw(struct aspace *from, vaddr_t va, npages_t pages, struct aspace *to);

/*
 * A new space with all that `parent` has: the private part for copy on write, tables being shared; shared objects
 * there stay shared. `global` is asked for each range of the global part, and each segment that the parent has: the
 * rights that the child gets, at most those the parent has; 0: it is left out. Null: none. Seals and limits are
 * copied. => as aspace_create, DENIED.
 */
typedef unsigned aspace_keep_fn(void *ctx, vaddr_t va, npages_t pages, unsigned rights);
enum status aspace_clone(struct aspace *parent, struct aspace *child, aspace_keep_fn *global, void *ctx);

/* ---- Faults ---- */

struct aspace_fault {
    const char *why;         /* in words, never null when it is not OK */
    vaddr_t base;            /* the mapping that holds the address, or the nearest one; pages 0: there is none */
    npages_t pages;
    unsigned rights;
    const char *tag;
    bool in_guard, inside;   /* the address is in the guard of that mapping; in the mapping itself */
};

/*
 * An access to `va` faulted, or would: `access` is VMM_READ, VMM_WRITE or VMM_EXECUTE, with VMM_USER from user mode.
 * Brings the page: zeros for a read of anonymous memory show the one zero frame, a write takes a zeroed one; copies on
 * write; fills from a pager; follows what an object has; lets a stack grow. => OK: try again (also when nothing was
 * missing); else an access violation, said in *out (may be null): ABSENT: no mapping, a guard, behind an object's end;
 * DENIED: rights; NOMEM, LIMIT (of a stack also: the space has all that it may), and what the pager says: it cannot be
 * had now, and the access is not permitted yet; a write may have brought the page as a read does. RANGE: not a user
 * address.
 * A zeroed page costs at most 1,200 instructions from user mode and back, and its zeroing, in any state; more where a
 * table, a page of the reverse index (once in 512 frames) or a block of frames has to be made on the way.
 */
enum status aspace_fault(struct aspace *space, vaddr_t va, unsigned access, struct aspace_fault *out);

/* ---- Questions ---- */

struct aspace_query {
    vaddr_t base;            /* of the mapping */
    npages_t pages;
    uint16_t rights, allowed; /* VMM_*; what the mapping says, not the tables */
    uint16_t flags;          /* ASPACE_* */
    bool sealed;
    uint32_t giver;          /* id of the space that shared it; 0: nobody */
    uint32_t room_pages;     /* that a stack may yet grow by */
    const char *tag;
    struct object *object;   /* null: private anonymous memory */
    uint64_t page;           /* of the object, at the address asked for */
    pfn_t frame;             /* behind the address; number 0: none yet */
    unsigned sharers;        /* mappings of the object; of private memory: users of the frame */
};
/*
 * What is at `va`? => OK; ABSENT: in no mapping (a guard too); RANGE. O(log mappings): at most 150 instructions among
 * 10,000, but where clones share the tables.
 */
enum status aspace_query(struct aspace *space, vaddr_t va, struct aspace_query *out);
/* The mapping that holds `va`, or the first one above it: base, pages. => false: there is none. */
bool aspace_find(const struct aspace *space, vaddr_t va, vaddr_t *base, npages_t *pages);
/*
 * Each mapping in order, as aspace_query says it of its first page (frame and sharers left 0), then each segment
 * (segment.h) that it has; false stops.
 */
void aspace_visit(struct aspace *space, bool (*visit)(void *ctx, const struct aspace_query *mapping), void *ctx);
/*
 * Who maps this frame: visit(ctx, space, va) for each. Of a page of an object, each mapping that shares it is told,
 * also those whose tables do not show it yet: it is theirs by a fault. O(log + users), through the reverse index:
 * nothing is searched.
 * => OK; ABSENT: no space does, as far as is known; MISUSE: called inside another call.
 */
typedef bool aspace_user_fn(void *ctx, struct aspace *space, vaddr_t va);
enum status aspaces_users(struct aspaces *system, pfn_t frame, aspace_user_fn *visit, void *ctx);

/* ---- Low memory, validation ---- */

/*
 * Give back what can be had again: pages of paged objects that nobody maps or has written to, empty tables kept, stock.
 * => frames that went back; 0 also before aspaces_init and after aspaces_end. May be called from a low-memory callback;
 * then only what is safe in the middle of any call.
 */
npages_t aspaces_reclaim(struct aspaces *system, npages_t wanted);
/* Compare tables, mappings, objects, frame counts and arenas (ASPACE-I1..I9). => OK; CORRUPT, said to `out`. */
enum status aspaces_check(struct aspaces *system, struct sink *out);

#endif
