/*
 * The VMM's own state: one struct vmm a machine, in memory that the caller brings. Read-only for everyone but
 * src/vmm/, except `counters`, which may be set to zero, and `arena`, from which the kernel takes addresses that it
 * maps itself (MMIO, ROM).
 */
#ifndef CAIRN_VMM_VMM_TYPES_H
#define CAIRN_VMM_VMM_TYPES_H

enum {
    VMM_GATHER_FRAMES = 2 * TABLE_ENTRIES, /* owned frames of the PTs at the two ends of a range */
    VMM_GATHER_TABLES = 1024,              /* tables waiting for one flush, 2 GiB; more flush in between */
    /*
     * Entries read by the look that the change need not read again: the upper entries of 1 GiB (512 and a few) and
     * the leaves of its two edge tables.
     */
    VMM_RECORD_ENTRIES = 3 * TABLE_ENTRIES + 32,
    VMM_CACHE_RANGES = 64, /* ranges of devices that are mapped at once, neighbours of one type being one */
    VMM_WINDOW_NOTES = 256, /* PTs of the foreign window that questions remember */
    VMM_TRUSTED = 64, /* entries of a level remembered, whose frames the PMM has said to be in use; a power of two */
};

/*
 * What the slot LAYOUT_SLOT_FOREIGN of the current PML4 names, and which of its window pages are known to be clean
 * (R8, R9).
 */
struct vmm_foreign {
    struct space *space;                  /* null: the slot holds 0 */
    bool all_clean;                       /* a CR3 reload came after the opening: every page is clean */
    unsigned count;                       /* pages[0, count) were INVLPGed since the opening */
    vaddr_t last[PAGING_LEVELS + 1];      /* by level: the page touched last, clean; 0: none */
    vaddr_t pages[VMM_WINDOW_PAGES_MAX];
    uint64_t opening;                     /* its number, above the bits of a PT's number */
    uint64_t shown[VMM_WINDOW_NOTES];     /* PTs whose pages are clean, where `opening` is theirs (window_note) */
};

/* What was unhooked and waits for the flush (R13, R16). Empty between calls. */
struct vmm_gather {
    struct vmm_cpus cpus;                 /* where it is flushed */
    bool all;                             /* more than fits: one CR3 reload instead of INVLPGs */
    bool global;                          /* that may be global leaves: what is dropped must be all indeed */
    unsigned page_count, window_count;    /* addresses[0, page_count + window_count) */
    unsigned frame_count, table_count;
    /* Whose leaves changed, at most VMM_FLUSH_PAGES_MAX; and window pages of as many tables, in one window or both. */
    vaddr_t addresses[3 * VMM_FLUSH_PAGES_MAX];
    pfn_t frames[VMM_GATHER_FRAMES];      /* one reference each */
    /*
     * The entry that named it, with the number of leaves still in it. With PTE_PS: a large page whose frames are owned,
     * with its level.
     */
    pte_t tables[VMM_GATHER_TABLES];
};

/* Entries in the order the look read them, for the change that follows. */
struct vmm_record {
    unsigned count;
    bool is_full;                         /* what was read later is not in it */
    pte_t entry[VMM_RECORD_ENTRIES];
};

/*
 * Frames that are no RAM, mapped with one cache type (cache_types.c). `first` and `end` are frame numbers with the type
 * above them: bits 49:48 are PCD and PWT.
 */
struct vmm_cache_range {
    uint64_t first, end;
    uint64_t mapped; /* pages, of leaves with PTE_DEVICE */
};

struct vmm_cache {
    unsigned count;                       /* range[0, count), the one used last first; the others are 0 */
    struct vmm_cache_range range[VMM_CACHE_RANGES];
};

/* The slots of the kernel half that all spaces have alike, in the order of vmm_kernel_slots[]. */
enum { VMM_KERNEL_SLOTS = 4 };

struct vmm {
    struct pmm *pmm;
    struct space kernel;                  /* space 0; head of the list of spaces */
    struct space *current;                /* whose PML4 is in CR3 */
    struct space *newest;                 /* tail of the list */
    struct avl_tree loans;                /* all that are running, by the address of the struct */
    unsigned space_count;                 /* space 0 included */
    unsigned next_id;
    pte_t kernel_entries[VMM_KERNEL_SLOTS];
    npages_t kernel_tables;               /* table frames of the kernel arena */
    unsigned temp_count;                  /* temporary slots in use: [0, temp_count) */
    struct arena arena;                   /* the kernel's addresses */
    struct page_pool pool;                /* and of them those of pooled single pages (KPAGES_POOLED) */
    void *(*pointer)(vaddr_t page);       /* to a mapped kernel page */
    vaddr_t (*address)(const void *pointer); /* and back */
    pfn_t frames_end;                     /* no frame has this number or a higher one: an entry could not name it */
    npages_t node_pages;                  /* frames of the arena's nodes, and of their tables */
    vaddr_t node_next;                    /* where the next one will be */
    struct vmm_cpus online;               /* CPUs that run: all of them may hold kernel addresses */
    bool has_global;                      /* VMM_GLOBAL was asked for, once: there may be global leaves */
    const char *editing;                  /* the call that edits tables now, or the visit; null: none */
    unsigned visits;                      /* visitors that are running */
    uint64_t changes;                     /* of tables or windows, so far: has anything happened meanwhile? */
    /* Entries, as WALK_MASK has them, that name tables: by level, from 2, so that a walk has no two in one place; and
     * by frame number. */
    pte_t trusted[PAGING_LEVELS - 1][VMM_TRUSTED];
    struct vmm_foreign foreign;
    struct vmm_gather gather;
    struct vmm_record record;
    struct vmm_cache cache;
    struct vmm_counters counters;
};

#endif
