/*
 * VMM: what each address means.
 *
 * Page tables are edited only through two windows: our own tables through PML4 slot 511 (self), another space's
 * through slot 510 (foreign). One walker serves both. Opening and closing a foreign space costs no CR3 load and no
 * IPI: the slot goes from one space to another by way of 0, each window page is INVLPGed before its first use in that
 * opening (rule R8), the 33rd takes one CR3 reload instead, and the same space again finds its pages remembered (R9).
 *
 * A range either succeeds whole or leaves nothing behind: look first, promise frames and tables, then link. Nothing
 * is freed before it is unhooked and flushed (R13).
 *
 * Invariants, checked by vmm_check() and tested by name in test/unit/:
 *   VMM-I1  the live count of every table that can go back, kept in its parent entry, is the number of its present
 *           entries; others carry none; only PTs of a space that keeps tables are empty
 *   VMM-I2  slot 511 of every PML4 names itself; slot 510 is 0 in every PML4 but where it is open
 *   VMM-I3  the kernel slots of every PML4 are the same four entries
 *   VMM-I4  every table frame and every frame of an owned leaf is in use in the PMM; the zero frame only behind leaves
 *           marked for copy on write
 *   VMM-I5  no leaf is both writable and executable, but those marked as asked for so; entries that name tables take no
 *           right away, unless they share them, and let user mode only into the user half; leaves marked for copy on
 *           write are not writable
 *   VMM-I6  each space's page and table counts are the numbers of its present leaves, in pages of 4 KiB, and of its
 *           tables
 *   VMM-I7  temporary slots in use are never neighbours, and are exactly those of the stack
 *   VMM-I8  leaves of devices, and no others, have a cache type; each range of devices is mapped as often as it says,
 *           leaves in a table that is shared counted once
 *   VMM-I9  a table's frame has as many references as entries name it, over all spaces; several: one is the lender's,
 *           the others are borrowed, or all have W = 0 or are behind one that has; no large page is behind these
 *   VMM-I10 the loans in the spaces' trees are exactly the lent and the borrowed entries
 *
 * Context: thread; faults may translate and query. One CPU runs: the locks are its interrupt flag, and an edit inside
 * another call (a visitor's) is reported. What concerns more CPUs is kept as sets of them from the start: who may hold
 * what, who must flush.
 *
 * What may be answered with NOMEM may call the PMM's low-memory callbacks first, with no lock held and nothing changed.
 * They may call everything here, and switch spaces; only the space that the call is about must stay (space_destroy
 * says MISUSE).
 */
#ifndef CAIRN_VMM_VMM_H
#define CAIRN_VMM_VMM_H

#include "arch/lock.h"
#include "arch/paging.h"
#include "lib/avl.h"
#include "lib/fmt.h"
#include "lib/status.h"
#include "lib/units.h"
#include "pmm/pmm.h"
#include "vmm/page_pool.h"

enum vmm_rights { /* reading is always included in a mapping */
    VMM_READ = 1 << 0,
    VMM_WRITE = 1 << 1,
    VMM_EXECUTE = 1 << 2, /* together with VMM_WRITE only where VMM_WRITE_EXECUTE asks for it */
    VMM_USER = 1 << 3,
};

enum {
    VMM_WINDOW_PAGES_MAX = 32, /* window pages remembered in one opening; the next takes a CR3 reload (R8) */
    VMM_FLUSH_PAGES_MAX = 32,  /* pages flushed one by one; more take a CR3 reload */
    VMM_TEMP_SLOTS = 16,       /* temporary mappings at once, a CPU */
    VMM_SPACES_MAX = 65535,    /* at once, beside the kernel's own */
};

/*
 * Counted since the start or the last reset; plain integers. Every entry loaded or stored, every INVLPG and CR3
 * load of the VMM is in here, those of temporary mappings too (zeroing a frame: 2 stores, 1 INVLPG). Not in here:
 * kmap.h, which works before there is a VMM.
 */
struct vmm_counters {
    uint64_t table_loads, table_stores, invlpg, cr3_loads, ipis;
    uint64_t global_flushes; /* of everything, where a CR3 load would have left global leaves (R11) */
    uint64_t foreign_opens, foreign_reopens; /* slot switched; found open already (R9) */
    uint64_t tables_made, tables_freed;
};

/* A set of CPUs: bit n is the CPU that arch_cpu() calls n. */
struct vmm_cpus {
    uint64_t mask;
};

/*
 * An address space. The caller brings the struct and keeps it in place until space_destroy. Fields are read-only
 * for others.
 */
struct space {
    pfn_t root;           /* its PML4 */
    unsigned id;          /* 0: the kernel's own; others count up, never reused */
    npages_t pages;       /* mapped in its private and global user part, of 4 KiB (space 0: also kernel pages) */
    npages_t tables;      /* table frames of it, the PML4 included; kernel tables and shared ones not */
    bool keeps_tables;    /* space_keep_tables */
    bool has_clones;      /* it shared tables by vmm_clone, once: some PT of it may be shared so, and no loan say it */
    struct vmm_cpus cpus; /* that have its PML4 in CR3: only these may hold translations of its user half */
    /* That ran, or run, on a PML4 whose foreign slot named it or led to one whose did: may hold tables of it (R15). */
    struct vmm_cpus reached;
    struct space *opens;  /* whose tables the foreign slot of its PML4 shows; null: the slot is 0 */
    struct lock window_lock, table_lock; /* in this order (R17): of the foreign slot; of all else in its tables */
    struct vmm *vmm;      /* whose it is; null when destroyed */
    struct space *next;   /* all spaces, in order of id */
    unsigned waiting;     /* edits of it that wait for memory: it must not go */
    struct avl_tree lent, borrowed; /* loans (vmm_share.h): by it, and to it; by address here */
};

#include "vmm/vmm_types.h"

/* ---- Start ---- */

/*
 * The current CR3 must be a PML4 with slot 511 on itself, slot 510 empty, the PDPTs of the kernel slots made, and
 * the PT of LAYOUT_TEMP_BASE made (the boot code does it; slot 0 is unmapped here). Claims nothing but the arena's
 * first node page. `pmm` must stand. Sets up the kernel arena.
 * => OK; CORRUPT: the tables are not so; NOMEM.
 */
enum status vmm_init(struct vmm *vmm, struct pmm *pmm);
/*
 * The same where a kernel page is not a pointer of the same value (a simulated machine): `pointer` gives the C
 * pointer to a mapped page, `address` the way back from a pointer into a page that it was asked for.
 */
enum status vmm_init_with(struct vmm *vmm, struct pmm *pmm, void *(*pointer)(vaddr_t page),
                          vaddr_t (*address)(const void *pointer));

/* ---- Spaces ---- */

/* A new empty space: one frame. => OK; NOMEM, nothing changed; LIMIT; MISUSE: no struct, or it is a space already. */
enum status space_create(struct vmm *vmm, struct space *space);
/*
 * Unmap everything in it and free its tables; what it borrowed goes back. Needs no memory. => OK; MISUSE: it is current
 * on a CPU, or the kernel's own, or not a space of this VMM, or lends something, or a call that edits it waits for
 * memory; CORRUPT: the space is no more, but what is
 * behind broken entries is lost (reported).
 */
enum status space_destroy(struct vmm *vmm, struct space *space);
/* Make it current on this CPU; one CR3 load, none if it is current already. Closes the foreign window first (R18). */
enum status space_switch(struct vmm *vmm, struct space *space);
/*
 * Keep PTs that become empty, so that mapping and unmapping in turn makes and frees none; false: no longer, and those
 * that are empty now are freed (O(tables)). A space keeps none when it is made. => OK; MISUSE: not a space of this VMM.
 */
enum status space_keep_tables(struct vmm *vmm, struct space *space, bool keep);
/* The space with this id, or null. O(spaces). */
struct space *space_find(struct vmm *vmm, unsigned id);

/* ---- Ranges of 4 KiB pages ----
 *
 * For all of these: `va` canonical and page-aligned, pages > 0, the range inside the user part (LAYOUT_USER_FIRST..END
 * without the hole) of `space`, or for space 0 also the kernel arena (LAYOUT_ARENA_BASE..LAYOUT_KERNEL_END).
 *
 *   INVALID  unaligned, empty, overflowing, unknown rights, write and execute together without VMM_WRITE_EXECUTE,
 *            VMM_USER in the kernel half (the user half goes with and without it)
 *   RANGE    non-canonical, a window, any other kernel address, the kernel half of a space but 0
 *   MISUSE   (reported) not a space of this VMM; called by a visitor
 *   SHARED   an edit behind a table that is borrowed, or shared for copy on write; or a large page where such a table,
 *            or one that is lent, lies (vmm_share.h)
 *   CORRUPT  (reported with the walk, not followed) a table entry on the way that no correct code wrote, or that names
 *            a frame which the PMM does not have in use, or that is in a table which counts no entries. Of the
 *            VMM_TRUSTED entries remembered, edits believe what was found once: when somebody else frees a table's
 *            frame, questions, visits, the end of the space and vmm_check() see it, edits perhaps only after them.
 *
 * All or nothing. Works on any space from any other: own tables or, through slot 510, foreign ones. One descent a
 * table; N pages behind P1 PTs and P2 PDs cost P1 + P2 + 1 loads of upper entries, none twice for ranges of up to
 * 1 GiB, and one load a page where leaves must be looked at.
 *
 * When unmap or protect returns, no CPU uses an old translation of the range any more: the invalidation is part of the
 * call and never put off (a space that is not current has no translations left). So ranges whose reads have side
 * effects (MMIO) may be taken away like any other (R20; SDM 3A 4.10.4.4).
 */

/*
 * Fresh zeroed frames of the mapping's own. => OK; EXISTS: a page of the range is mapped (be it by a large page);
 * NOMEM. With a page size also INVALID: not aligned to it; UNSUPPORTED: the CPU has no such pages; LIMIT: more than 512
 * large pages in one call. VMM_LARGE takes small pages where no run of frames is to be had.
 */
enum status vmm_map(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, unsigned rights);
/*
 * vmm_map of one page, *frame being what is there then: what a fault that wants a fresh page needs. No promise, one
 * look where the PT is there.
 */
enum status vmm_map_page(struct vmm *vmm, struct space *space, vaddr_t va, unsigned rights, pfn_t *frame);
/* Beside the rights, for vmm_map_frames and, where it is said, vmm_map. */
enum vmm_map_flags {
    VMM_WRITE_COMBINING = 1 << 8, /* stores may be gathered and reordered (framebuffers). No RAM of the PMM */
    VMM_UNCACHED = 1 << 9,        /* device registers. No RAM of the PMM. Neither: write-back */
    VMM_LARGE = 1 << 10,          /* pages of 2 MiB and 1 GiB where they fit (vmm_large.h); vmm_map too */
    VMM_2M = 1 << 11,             /* pages of 2 MiB throughout: address, length and frame aligned; vmm_map too */
    VMM_1G = VMM_2M << 1,         /* of 1 GiB; vmm_map too */
    VMM_COPY = 1 << 14,           /* for copy on write: not writable, a right to write waits for vmm_own_page(). Owned
                                     frames, the zero frame too, in 4 KiB pages of the user half */
    VMM_WRITE_EXECUTE = 1 << 15,  /* VMM_WRITE and VMM_EXECUTE together are meant; allowed with any rights. vmm_map and
                                     vmm_protect too */
    VMM_GLOBAL = 1 << 13,         /* kept over CR3 loads: the kernel half only; vmm_map too */
};

/*
 * The frames [first, first + pages). `own`: retain each (PMM frames in use), release at unmap; else they are just
 * mapped (MMIO, ROM).
 * => as vmm_map; RANGE also for frames that the CPU has no address for; MISUSE and LIMIT as pmm_retain; INVALID also
 * for flags that exclude each other, a cache type for owned frames, and the zero frame owned without VMM_COPY;
 * CONFLICT: another cache type than RAM has, or than one of the frames is mapped with; LIMIT (noted):
 * VMM_CACHE_RANGES. N + P1 stores (+ 1 a table made), no INVLPG in our own tables.
 */
enum status vmm_map_frames(struct vmm *vmm, struct space *space, vaddr_t va, pfn_t first, npages_t pages,
                           unsigned rights, bool own);
/*
 * => OK; ABSENT: a page of the range is not mapped; NOMEM, SHARED: a large page lies over an end of the range, and is
 * not cut (vmm_large.h). Owned frames are released, empty tables freed, after the flush. Up to VMM_FLUSH_PAGES_MAX
 * pages: an INVLPG each and one a table freed; more: one CR3 reload (for every VMM_GATHER_TABLES tables). Leaves of a
 * table that goes are not stored to. PTs beyond the first VMM_GATHER_FRAMES owned frames are read through a temporary
 * mapping after the flush: 2 stores, 1 INVLPG each. Pages of a space that runs nowhere need no flush.
 */
enum status vmm_unmap(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages);
/*
 * New rights. => OK; ABSENT; NOMEM, SHARED as vmm_unmap. Flushed like an unmap. The right to write to a page whose
 * frame may have other users through copies waits for vmm_own_page().
 */
enum status vmm_protect(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, unsigned rights);

/*
 * The same for what is mapped of the range; pages that are not are left out, and none need be there. To unmap all that
 * an entry covers whose table is shared for copy on write, this parent goes (no copy, no memory). So who gets SHARED
 * from an unmap makes the first and the last page's tables the space's own (vmm_unshare), no more. => OK; NOMEM: a
 * large page lies over an end; SHARED as vmm_unmap: of tables that the range covers in part, or that are protected, or
 * borrowed, and only where something is mapped there. O(tables + entries of present tables); nothing for what is
 * absent.
 */
enum status vmm_unmap_present(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages);
enum status vmm_protect_present(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, unsigned rights);

/*
 * The pages of [from, from + pages) are at [to, to + pages) from now on, with their frames, rights, kinds and marks: no
 * frame comes, goes or is touched. The ranges lie in one half and do not overlap (INVALID). Nobody uses the old one
 * meanwhile. => OK; ABSENT: a page of `from` is not mapped; EXISTS: a page of `to` is; SHARED: behind a table of
 * several parents, lent ones too; NOMEM. Large pages arrive in pieces of 4 KiB: they are cut first, a table each; then,
 * whatever the answer, they may stay cut (CONFLICT: one was joined again meanwhile). 2N stores, 3N to 4N loads; flushed
 * like an unmap of `from`.
 */
enum status vmm_move(struct vmm *vmm, struct space *space, vaddr_t from, vaddr_t to, npages_t pages);

/* ---- Questions ---- */

struct vmm_walk {
    unsigned level;       /* where the walk ended: 1..4; the leaf's level, or that of the entry that stops it */
    bool present;         /* a leaf maps the address */
    pte_t entry[PAGING_LEVELS + 1];     /* by level, [1]..[4]; those below `level` are 0 */
    vaddr_t window[PAGING_LEVELS + 1];  /* address of each entry in the window it was read through */
    unsigned rights;      /* effective: AND over the walk (VMM_*); 0 when not present */
    paddr_t address;      /* of the byte; 0 when not present */
    uint64_t page_bytes;  /* 4 KiB, 2 MiB, 1 GiB; 0 when not present */
};

/*
 * Walk `va` in `space`. Any canonical address that is not in a window; large leaves are recognised. => OK (present
 * or not); RANGE; CORRUPT (reported): entry[level] is one that no correct code wrote; MISUSE (reported): not a
 * space of this VMM. At most 4 loads. The window addresses are good until another space is named in a call.
 */
enum status vmm_translate(struct vmm *vmm, struct space *space, vaddr_t va, struct vmm_walk *out);

/*
 * The leaf that maps `va` (anywhere in the user half), as one of a 4 KiB page: of a large page its part; with PTE_W and
 * PTE_XD as the whole walk leaves them. 0: nothing is mapped. Upper entries are believed as a CPU believes them, the
 * PMM is not asked. => OK, *leaf is set; RANGE, MISUSE, CORRUPT as vmm_translate. 4 loads where a table is there.
 */
enum status vmm_leaf(struct vmm *vmm, struct space *space, vaddr_t va, pte_t *leaf);

struct vmm_mapping {
    vaddr_t base;
    paddr_t address;
    npages_t pages;      /* of 4 KiB */
    uint64_t page_bytes;
    unsigned rights;     /* effective */
    unsigned cache;      /* PAT index of the leaf */
    bool owned, global;
};

/*
 * All mappings of [from, end) in order, neighbours merged that continue each other in address, frame, rights and
 * kind; windows left out. false stops. The visitor may not map or unmap, but may ask. `end` 0 is the end of the
 * address space. Corrupt entries are reported and left out. O(tables + entries of present tables).
 */
void vmm_visit(struct vmm *vmm, struct space *space, vaddr_t from, vaddr_t end,
               bool (*visit)(void *ctx, const struct vmm_mapping *mapping), void *ctx);

/* ---- Temporary mappings: a stack a CPU, no two neighbours, so an overrun by one byte faults ---- */

/*
 * Map a frame, readable and writable, write-back. => OK; LIMIT: VMM_TEMP_SLOTS are in use; RANGE: the CPU has no
 * address for the frame; CONFLICT: it is mapped with another cache type. 1 store.
 */
enum status temp_map(struct vmm *vmm, pfn_t frame, vaddr_t *page);
/* The latest temp_map is undone first. 1 store, 1 INVLPG. => OK; MISUSE: not the latest. */
enum status temp_unmap(struct vmm *vmm, vaddr_t page);
/* Does one of them show one of these frames? */
bool temp_shows(struct vmm *vmm, pfn_t first, uint64_t frames);
/* Zero, or copy, whole frames, through slots of their own: the stack is not used. => OK; RANGE, CONFLICT. */
enum status frame_zero(struct vmm *vmm, pfn_t frame);
enum status frame_copy(struct vmm *vmm, pfn_t to, pfn_t from);

/* ---- Contents of any space, through temporary mappings: no switch, no frame ----
 *
 * Ranges of bytes, anywhere in pages that vmm_map could have made. All or nothing: all pages of all ranges are looked
 * at before the first byte moves (they must stay mapped meanwhile). VMM_USER is not looked at; who acts for a user says
 * so by the addresses. Leaves are not marked as accessed or dirty (vmm_marks.h). A page costs a look at its leaf, and 2
 * stores and 1 INVLPG for its temporary mapping; both sides foreign: the window is switched once for each 32 pages and
 * side.
 *
 *   ABSENT       a page is not mapped
 *   DENIED       a page that would be written is read-only
 *   UNSUPPORTED  a page is no RAM, or not cached write-back: a second mapping of it would be
 *   INVALID, RANGE, MISUSE, CORRUPT  as for ranges of pages; INVALID also no bytes
 */

/* Copy. => also INVALID: the ranges overlap in one space. Pages that share a frame otherwise are copied in order. */
enum status space_copy(struct vmm *vmm, struct space *to, vaddr_t to_va, struct space *from, vaddr_t from_va,
                       uint64_t bytes);
/* Set to zero. */
enum status space_clear(struct vmm *vmm, struct space *space, vaddr_t va, uint64_t bytes);
/* Read into kernel memory. */
enum status space_peek(struct vmm *vmm, struct space *space, vaddr_t va, void *out, uint64_t bytes);
/* Write from kernel memory. */
enum status space_poke(struct vmm *vmm, struct space *space, vaddr_t va, const void *from, uint64_t bytes);

/* ---- Kernel pages: arena range, frames and guards in one ---- */

enum kpages_flags {
    KPAGES_GUARDED = 1 << 0, /* an unmapped page below and above */
    KPAGES_ZEROED = 1 << 1,
    KPAGES_LARGE = 1 << 2,   /* pages of 2 MiB and 1 GiB where they fit: align_log2 says where the first may lie */
    KPAGES_POOLED = 1 << 3,  /* for one who takes many single pages, or four: their addresses come from a pool
                                (page_pool.h), cost less and have the tag that the first of them came with */
};

/*
 * Pages of kernel memory, W and not X. *base is the first mapped page. => OK; NOMEM, nothing changed; INVALID; with
 * KPAGES_LARGE also LIMIT, as vmm_map. Devices: addresses from vmm->arena, frames by vmm_map_frames with VMM_LARGE.
 */
enum status kpages_alloc(struct vmm *vmm, npages_t pages, unsigned align_log2, unsigned flags, const char *tag,
                         vaddr_t *base);
/* Unmap, free frames and addresses, guards included. => OK; MISUSE (reported): not the base of one. */
enum status kpages_free(struct vmm *vmm, vaddr_t base);

/*
 * Kernel pages become more or fewer; those that stay keep frames and contents, nothing is copied. Guards, tag and kind
 * are kept; what is new is of 4 KiB pages, with arbitrary contents. `pages`: in all. Nothing changed but for OK.
 * MISUSE (reported): `base` is not the base of kernel pages; INVALID: not more, or not fewer, but 1 at least; NOMEM.
 */

/* More, in place. => also EXISTS: the addresses behind are in use, or the arena's end, or it is pooled. */
enum status kpages_grow(struct vmm *vmm, vaddr_t base, npages_t pages);
/*
 * Fewer, in place: the frames and addresses behind go back. A large page that lies over the new end is cut. => INVALID
 * also: it is pooled.
 */
enum status kpages_trim(struct vmm *vmm, vaddr_t base, npages_t pages);
/*
 * More, or as many, at another address (vmm_move); `align_log2` as kpages_alloc. *moved is the first page there. =>
 * also INVALID for the alignment.
 */
enum status kpages_move(struct vmm *vmm, vaddr_t base, npages_t pages, unsigned align_log2, vaddr_t *moved);

struct kpages_info {
    vaddr_t base;        /* first mapped page */
    npages_t pages;
    bool in_guard;       /* the address asked for is in a guard */
    bool above;          /* ... the one above the pages */
    const char *tag;
};
/* What kernel pages (or guard of which) hold `va`. => true, or false: none. */
bool kpages_find(const struct vmm *vmm, vaddr_t va, struct kpages_info *out);

/* ---- Validation ---- */

/*
 * Compare tables, counts, frames (VMM-I1..I10) over all spaces, and the kernel arena with its page pool (ARENA-I1..I3,
 * POOL-I1..I3). Tables are read through temporary mappings of their frames, so that the windows are not trusted. => OK;
 * CORRUPT, said to `out` (may be null).
 */
enum status vmm_check(struct vmm *vmm, struct sink *out);

#endif
