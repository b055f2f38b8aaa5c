/*
 * The model machine: simulated physical memory, CPUs with an adversarial MMU, and the boot tables; the host's side of
 * arch.h goes through it. One machine at a time.
 *
 * The MMU takes in everything that the manuals let a CPU take in: any running CPU may walk any address at any time, so
 * every entry that can be reached may be cached, in any combination, until something removes it. No cache is filled
 * for that: the values that each entry had, and what each CPU has flushed, say at an access what may still be cached
 * (the theory is in possible.c). Where the product relies on an invalidation that it did not do, or breaks a rule of
 * page tables, the model reports a *violation*: it fails the running test, or is only counted when the test says that
 * it wants them.
 *
 * What is no violation: an entry that became present (SDM 3A 4.10.4.3); a fault that a stale narrower right may cause
 * (R/W 0->1, XD 1->0), which is counted in `spurious`.
 */
#ifndef CAIRN_TEST_MODEL_MODEL_H
#define CAIRN_TEST_MODEL_MODEL_H

#include "arch/paging.h"
#include "lib/units.h"
#include "pmm/pmm.h"

enum {
    MODEL_CPUS = 4,
    MODEL_PCIDS = 8, /* PCIDs are 0..7 here */
    MODEL_IMAGE_PAGES = 3,
    MODEL_FRAMES_AN_OWNER = 16, /* of RAM: the PMM has room for so many owners, */
    MODEL_OWNERS_MAX = 5000,    /* at most */
    MODEL_ZERO_FRAMES = 1024, /* room in the PMM's pool of zeroed frames, which is empty at the start */
};

enum model_kind { MODEL_READ, MODEL_WRITE, MODEL_EXECUTE };

/* Which rule was broken; the numbers are those of the paging rules. */
enum model_rule {
    MODEL_NONE,
    MODEL_STALE,           /* an access may use what memory no longer says (R6-R11) */
    MODEL_STALE_FAULT,     /* it may fault, by a stale upper entry, where memory maps the page (R7) */
    MODEL_SPURIOUS,        /* it may fault by a stale narrower right (R6); only where that is forbidden */
    MODEL_FREED_PAGE,      /* a frame went back while a CPU may have a translation to it (R13) */
    MODEL_FREED_TABLE,     /* ... while a CPU may walk through it as a table (R14) */
    MODEL_FREED_WINDOW,    /* ... and the way to it passes the foreign slot (R15) */
    MODEL_PAGE_SIZE,       /* the page size changed without break before make (R12) */
    MODEL_CACHE_ALIAS,     /* one frame with two cache types (R4) */
    MODEL_MARK_LOST,       /* a plain store to a leaf whose A or D another CPU may set since it was loaded (R19) */
    MODEL_MARK_STALE,      /* an access may leave no A or D: they were cleared, and the translation not flushed */
    MODEL_READ_ONLY_TABLE, /* a table is written through a window page that is read-only (R2) */
    MODEL_GLOBAL_TABLE,    /* G in an entry that names a table: a window makes it a global translation (R2) */
    MODEL_UNCACHED_TABLE,  /* PWT or PCD there: the walker and the window have another cache type (R2) */
    MODEL_SLOT_BITS,       /* a window slot that is neither 0 nor P|W|XD, or names the wrong table (R1) */
    MODEL_SLOT_RESERVED,   /* something linked in a PML4 slot that is kept for windows (R23) */
    MODEL_WINDOW_NESTED,   /* opened on itself, or on a space that has a window open (R18) */
    MODEL_WINDOW_OPEN,     /* CR3 left a PML4 whose foreign slot is open (R18) */
    MODEL_WINDOW_TAKEN,    /* the foreign slot used by another CPU than the one that opened it (R17) */
    MODEL_WINDOW_UNLOCKED, /* the foreign slot stored, or a table used behind it, without its lock (R17) */
    MODEL_WINDOW_MOVED,    /* the foreign slot goes from one table to another without 0 between (APM 2, 5.5.3) */
    MODEL_LARGE_AS_TABLE,  /* a window page of a large page was used: it shows data (R3) */
    MODEL_DIRTY_TABLE,     /* what was linked as a table names tables that are none: it was not zeroed (R19) */
    MODEL_DEAD_FRAME,      /* a walk or an access in a frame that is not in use */
    MODEL_FAULT,           /* nothing is mapped there */
    MODEL_FAULT_RIGHTS,    /* mapped, but not for that */
    MODEL_FAULT_RESERVED,  /* reserved bits in an entry */
    MODEL_FAULT_CANONICAL,
    MODEL_BAD_ROOT, /* CR3 loaded with a frame that is not in use */
    MODEL_RULES,
};

const char *model_rule_name(enum model_rule rule);

/* A violation, taken apart. The entry is the one to blame; level 0: none. */
struct model_report {
    enum model_rule rule;
    unsigned cpu, pcid;    /* the CPU that may hold it, and under which PCID */
    vaddr_t va;            /* an address that reaches it */
    unsigned level, index; /* level 5: CR3 itself, `table` was the root */
    pfn_t table;
    pte_t old_value, new_value; /* what may be cached; what memory says */
    uint64_t changed;           /* when memory changed, in model time */
    pfn_t frame;                /* the frame that the stale outcome reaches, or that was freed */
};

/* The makers' rules where they differ, and one erratum. */
struct model_variant {
    bool tce;                  /* AMD, EFER.TCE=1: INVLPG drops only the upper entries that lead to its page */
    bool rewalks;              /* AMD: a fault is confirmed by a walk through memory, so none is spurious */
    bool invpcid_drops_all;    /* AMD, TCE=0: INVPCID type 0 drops all upper entries of the PCID */
    bool invlpg_keeps_globals; /* erratum of Alder Lake: INVLPG leaves global entries when PCIDs are used */
    bool no_1g_pages;          /* CPUID says so; an entry that is one all the same works here */
    uint8_t pat[8];            /* cache type by PAT index */
    unsigned physical_bits;    /* of an address, above which entries have reserved bits; 0: 52, the most */
    bool no_1g, no_nx;         /* PS in a PDPTE, XD anywhere: reserved */
};

/* Cache types in PAT entries (SDM 3A 12.12). */
enum { MODEL_UC = 0, MODEL_WC = 1, MODEL_WT = 4, MODEL_WP = 5, MODEL_WB = 6, MODEL_UC_MINUS = 7 };

extern const struct model_variant model_intel, model_amd, model_amd_tce;

/* Host memory of one of the PMM's arrays (states, blocks). */
struct model_array {
    void *base;
    size_t pages;
    bool *backed; /* by page */
};

enum { MODEL_ARRAYS = 2, MODEL_TEXT_BYTES = 512 };

struct model_history;
struct model_cpu;
struct vmm;

struct model {
    npages_t ram;      /* frames [0, ram) */
    char *memory_base; /* host memory behind all of it, reserved, not used */
    bool *touched;     /* by frame: used; before that it is garbage */
    vaddr_t *shown;    /* by frame: the page that model_pointer was asked for last */
    struct model_variant variant;
    struct model_history *history;
    struct model_cpu *cpu; /* MODEL_CPUS */
    unsigned current_cpu;  /* who does what follows */
    uint64_t clock;        /* model time: counts stores that matter, flushes, CR3 loads */
    uint64_t random;       /* draws which entries a speculative walk marks as accessed */
    struct pmm pmm;
    unsigned owner;           /* of the PMM: user frames that VMM and spaces ask for are its own; 0: nobody's */
    bool is_zeroing;          /* ... the frame `zeroing` for the PMM's pool: nobody's, but touched */
    pfn_t zeroing;
    bool pmm_stands;          /* frames' states are checked from then on */
    bool is_plain;            /* nothing is remembered or judged: model_be_plain */
    unsigned temporary_cpu;   /* whose temporary mappings are in use: others may hold translations, never used */
    bool windows_handed_over; /* the foreign slot may pass from CPU to CPU (R17 is not judged) */
    pfn_t boot_root, image_pt;
    unsigned violations, spurious;
    bool spurious_is_forbidden; /* no handler would come back from a fault that memory does not explain */
    bool violations_wanted;
    struct model_report first, last; /* the first is the cause, more may come of it */
    char first_violation[MODEL_TEXT_BYTES], last_violation[MODEL_TEXT_BYTES];
    unsigned of_rule[MODEL_RULES];
    bool (*loses_invlpg)(vaddr_t va); /* a product defect, put on: INVLPGs that are not done; null: none */
    /*
     * Called between the load and the store of a compare and exchange: another CPU's walk may set A or D there (the
     * entry is `*entry`, of `table`). Null: nobody does.
     */
    void (*before_replace)(struct model *m, pfn_t table, unsigned index, pte_t *entry);
    /*
     * Called after each store to a table, each invalidation and each copy of a page that the product does: where an
     * access of somebody else would come between. Not from within itself. Null: nobody comes.
     */
    void (*between)(struct model *m);
    /* Has who uses the foreign window its locks: of the slot, or (`table`) of what it shows too? Null: not judged. */
    bool (*is_locked)(bool table);
    struct model_array array[MODEL_ARRAYS];
    void *memory[16]; /* host memory behind the PMM's arrays */
    unsigned memory_count;
};

/* The machine that arch.h drives; null before the first model_start. */
extern struct model *model_machine;

/*
 * A fresh machine with `ram_bytes` (at least 2 MiB): RAM full of garbage, tables as the boot code leaves them, CR3 of
 * CPU 0 loaded, the other CPUs off, a PMM over RAM (0-640 KiB and from 1 MiB on) in model_machine->pmm. The machine
 * before it is gone. Intel's rules, PAT mirrored as the kernel programs it.
 */
struct model *model_start(uint64_t ram_bytes);
/* The same; RAM from frame `second` on, a block's first, is a region of its own: the block below it is none. 0: not. */
struct model *model_start_in_two(uint64_t ram_bytes, pfn_t second);
void model_end(void);

/*
 * From here on the MMU is a plain one: memory says what an access finds, at once. For machines that are too large to be
 * judged: with n spaces each change of a kernel table may be held by way of n roots. Nothing is said of invalidations.
 */
void model_be_plain(struct model *m);

/* From here on violations are counted, not failures of the test. */
void model_want_violations(struct model *m);

/* ---- Physical memory, past the MMU ---- */

uint64_t model_phys_read64(struct model *m, paddr_t at);
/* To break it, or to prepare it: no CPU remembers what was there before. */
void model_phys_write64(struct model *m, paddr_t at, uint64_t value);
/* A store that a CPU did: what was there before may be cached. */
void model_phys_store64(struct model *m, paddr_t at, uint64_t value);
/*
 * The entry for `va` of the table of `level` below `root`, by a walk through memory; 0 when a level above is not there.
 */
paddr_t model_entry_at(struct model *m, pfn_t root, vaddr_t va, unsigned level);
void *model_frame(struct model *m, pfn_t frame); /* null outside RAM */

/* ---- What a CPU does (the current one; any CPU can be made current between two calls) ---- */

void model_use_cpu(struct model *m, unsigned cpu);

/*
 * The accessed byte in the host's memory, violations reported. Null: no such access. Writes to paging structures must
 * go through model_write64, which keeps the history.
 */
void *model_access(struct model *m, vaddr_t va, bool write);
uint64_t model_read64(struct model *m, vaddr_t va);
/* For vmm_init_with: a kernel page as the host has it, and the way back for a pointer into such a page. */
void *model_pointer(vaddr_t page);
vaddr_t model_address(const void *pointer);
void model_write64(struct model *m, vaddr_t va, uint64_t value);
/* Compare and exchange, in one: what walkers set meanwhile is not lost. => stored; else *old is what is there. */
bool model_replace64(struct model *m, vaddr_t va, uint64_t *old, uint64_t value);
void model_page_zero(struct model *m, vaddr_t page);
void model_page_copy(struct model *m, vaddr_t to, vaddr_t from);

void model_invlpg(struct model *m, vaddr_t va);
enum model_invpcid { MODEL_INVPCID_ADDRESS, MODEL_INVPCID_CONTEXT, MODEL_INVPCID_ALL, MODEL_INVPCID_ALL_BUT_GLOBAL };
void model_invpcid(struct model *m, enum model_invpcid type, unsigned pcid, vaddr_t va);
/* MOV CR3 without PCIDs: PCID 0, which is flushed. The first one starts the CPU. */
void model_root_load(struct model *m, paddr_t root);
/* MOV CR3 with CR4.PCIDE=1; `keep` is bit 63. */
void model_cr3_load(struct model *m, paddr_t root, unsigned pcid, bool keep);
paddr_t model_root(const struct model *m);
/* CR4.PGE; off at first. A change flushes everything. */
void model_global_pages(struct model *m, bool on);
bool model_has_global_pages(const struct model *m);
/* What a page fault at `va` removes (SDM 3A 4.10.4.1). */
void model_page_fault(struct model *m, vaddr_t va);

/* ---- Frames whose use ends or begins; the VMM's calls of the PMM are overheard (overheard.c) ---- */

void model_frame_freed(struct model *m, pfn_t frame);
void model_frame_taken(struct model *m, pfn_t frame);

/* Idle time: the VMM zeroes frames for the machine's PMM (pmm_zero_fill). => frames that it zeroed. */
uint64_t model_idle(struct model *m, struct vmm *vmm, unsigned class, npages_t most);

/* ---- Questions: nothing changes, nothing is reported ---- */

/* What an access may come to. */
struct model_outcome {
    bool mapped;
    pte_t leaf;     /* frame of the 4 KiB page; W, U, XD as effective on the walk; cache bits as in the leaf */
    unsigned cache; /* cache type, by the PAT */
    bool stale;     /* not what memory says now */
    struct model_report blame; /* of a stale one: which entry is old */
};

enum { MODEL_OUTCOMES = 32 };

/*
 * All that the current CPU may make of `va` now, without doubles, memory's own outcome first. => how many; at most
 * MODEL_OUTCOMES are written.
 */
unsigned model_outcomes(struct model *m, vaddr_t va, struct model_outcome *outcome);

/* What the rules make of an access to `va` now: as model_access would judge it. */
struct model_verdict {
    enum model_rule rule; /* MODEL_NONE: sees what memory says */
    bool may_fault_spuriously;
};
struct model_verdict model_judge(struct model *m, vaddr_t va, enum model_kind kind);

/* May it work, by anything that the CPU may hold? */
bool model_can_access(struct model *m, vaddr_t va, bool write);
/* May any CPU hold an entry that names `frame`, as a table or as a page? Foreign window pages count here. */
bool model_frame_is_held(struct model *m, pfn_t frame, struct model_report *by);

#endif
