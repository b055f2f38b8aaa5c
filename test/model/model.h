/*
 * The model machine: simulated physical memory, a simulated MMU that forgets nothing it need not forget, and the
 * boot tables; the host's side of arch.h goes through it. One machine at a time.
 *
 * The MMU keeps every translation and every upper-level entry that it saw on a walk until INVLPG or a CR3 load must
 * remove it, and what it keeps wins over memory. An access is then compared with a walk through memory alone: a
 * difference means that the product relied on an invalidation that it did not do. Such *violations* fail the
 * running test (or are only counted, when the test says that it wants them):
 *
 *   - a kept translation or upper entry that memory no longer has, or has with other rights
 *   - a walk through a table, or an access to data, in a frame that is free, absent or outside RAM
 *   - something kept that names a frame which is free when at last it is removed: the frame went back before the
 *     flush (R13, R14)
 *   - an access to what is not mapped; a write to what is read-only (CR0.WP is set); reserved bits in an entry
 */
#ifndef CAIRN_TEST_MODEL_MODEL_H
#define CAIRN_TEST_MODEL_MODEL_H

#include "arch/paging.h"
#include "lib/units.h"
#include "pmm/pmm.h"

enum { MODEL_CPUS = 1, MODEL_IMAGE_PAGES = 3 };

/* A remembered value: of a translation (the page's leaf with the rights of the walk) or of an upper entry. */
struct model_cached {
    uint64_t key;   /* page number (TLB) or address prefix (paging-structure caches) */
    uint64_t epoch; /* good while equal to the cache's */
    pte_t value;
    bool gone;      /* removed by INVLPG; the place stays taken */
};

enum { MODEL_CACHE_LOG2 = 15, MODEL_CACHE_ENTRIES = 1 << MODEL_CACHE_LOG2 };

struct model_cache {
    struct model_cached *entry; /* MODEL_CACHE_ENTRIES, open addressing */
    uint32_t *order;            /* the places in use, [0, used) */
    uint64_t epoch;
    size_t used;
};

struct model_cpu {
    paddr_t root;
    struct model_cache tlb;
    struct model_cache upper[PAGING_LEVELS + 1]; /* [2]..[4]: entries of tables of that level */
};

/* Host memory of one of the PMM's arrays (states, blocks). */
struct model_array {
    void *base;
    size_t pages;
    bool *backed; /* by page */
};

enum { MODEL_ARRAYS = 2 };

struct model {
    npages_t ram;                /* frames [0, ram) */
    char *memory_base;           /* host memory behind all of it, reserved, not used */
    bool *touched;               /* by frame: used; before that it is garbage */
    struct model_cpu cpu[MODEL_CPUS];
    unsigned current_cpu;
    struct pmm pmm;
    bool pmm_stands;             /* frames' states are checked from then on */
    pfn_t boot_root, image_pt;
    unsigned violations;
    bool violations_wanted;
    char last_violation[256];
    struct model_array array[MODEL_ARRAYS];
    void *memory[16];            /* host memory behind the PMM's arrays */
    unsigned memory_count;
};

/* The machine that arch.h drives; null before the first model_start. */
extern struct model *model_machine;

/*
 * A fresh machine with `ram_bytes` (at least 2 MiB): RAM full of garbage, tables as the boot code leaves them, CR3
 * loaded, a PMM over RAM (0-640 KiB and from 1 MiB on) in model_machine->pmm. The machine before it is gone.
 */
struct model *model_start(uint64_t ram_bytes);
void model_end(void);

/* From here on violations are counted, not failures of the test. */
void model_want_violations(struct model *m);

/* Physical memory, past the MMU: to look at what was done, or to break it. */
uint64_t model_phys_read64(struct model *m, paddr_t at);
void model_phys_write64(struct model *m, paddr_t at, uint64_t value);
/*
 * The entry for `va` of the table of `level` below `root`, by a walk through memory; 0 when a level above is not there.
 */
paddr_t model_entry_at(struct model *m, pfn_t root, vaddr_t va, unsigned level);

/* Would this access work, as the MMU sees it now? Changes nothing, reports nothing. */
bool model_can_access(struct model *m, vaddr_t va, bool write);

/* mmu.c, for port.c: the host's address of the accessed byte; reports violations. Null: no such access. */
void *model_access(struct model *m, vaddr_t va, bool write);
void model_invlpg(struct model *m, vaddr_t va);
void model_root_load(struct model *m, paddr_t root);
void *model_frame(struct model *m, pfn_t frame); /* null outside RAM */
__attribute__((format(printf, 2, 3))) void model_violation(struct model *m, const char *format, ...);

#endif
