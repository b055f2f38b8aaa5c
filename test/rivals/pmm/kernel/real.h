/*
 * The ways on a real machine (machine.h): frames are frames, pages are pages, and a first touch is a page fault of the
 * CPU. The machine has the end of slot 258, behind all that the PMM's descriptors reach, and edits the tables there as
 * kmap.h does: without a VMM, so that it works before there is one and inside calls of it.
 *
 * What it needs itself (pages of arrays, tables) comes from a source that its user names.
 */
#ifndef CAIRN_TEST_RIVALS_PMM_KERNEL_REAL_H
#define CAIRN_TEST_RIVALS_PMM_KERNEL_REAL_H

#include "arch/layout.h"
#include "lib/range.h"
#include "rivals/pmm/machine.h"

#define REAL_AREA_BYTES (32 * GIB)
enum real_area {
    REAL_ARRAYS, /* machine_memory: pages and tables are the source's */
    REAL_MAP,    /* machine_addresses: the pages are the way's, tables the source's */
    REAL_VIEW,   /* machine_view: so are these */
    REAL_OWN,    /* of a way that backs its arrays by kmap.h: pages and tables are its own */
    REAL_AREAS,
};
#define REAL_FIRST (LAYOUT_TEMP_END - REAL_AREAS * REAL_AREA_BYTES)
static_assert(LAYOUT_PMM_BLOCKS + LAYOUT_PMM_REACH_BYTES / (2 * MIB) * 32 <= REAL_FIRST, "behind all descriptors");

static inline vaddr_t real_area(enum real_area area) { return vaddr(REAL_FIRST + area * REAL_AREA_BYTES); }

struct real_source {
    pfn_t (*take)(void); /* one frame, with anything in it; cannot fail */
    void (*give)(pfn_t frame); /* null: nothing ever goes back */
};
/* From now on; `runs` (kept) are what machine_view shows. What the source before had given goes back to it first. */
void real_use(struct real_source source, const struct frame_run *runs, size_t run_count);
/* Frames of the source that are in use. */
npages_t real_taken(void);

/* ---- Frames for ways to be tried on while the kernel runs on its own PMM (real_map.c) ---- */

enum { REAL_RUNS = 5, REAL_LARGE = 3 }; /* the run of 64 MiB */
/*
 * A map with holes, small ones within a word, a block and a page of a bitmap, and one of 38 such pages, in which the
 * firmware's own hole below 4 GiB lies. A machine of 5 GiB has it all.
 */
extern const struct frame_run real_map[REAL_RUNS];
/* All its frames are taken out of the PMM, and the machine's own come from there. => as pmm_claim. */
enum status real_map_take(void);
/* And go back, with all that the machine took. Not before a successful real_map_take. */
enum status real_map_give(void);

#endif
