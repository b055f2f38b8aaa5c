/*
 * The machine of the tests of runs and owners: a field of blocks in one zone, and a second region of 4 blocks that
 * takes the metadata where a test wants the field to itself.
 */
#ifndef CAIRN_TEST_UNIT_PMM_RUNS_BED_H
#define CAIRN_TEST_UNIT_PMM_RUNS_BED_H

#include "unit/pmm_bed.h"

#include "pmm/pmm_owners.h"
#include "pmm/pmm_runs.h"

enum {
    BLOCK = PMM_BLOCK_FRAMES,
    SIDE = 1024 * BLOCK,
    SIDE_FRAMES = 4 * BLOCK,
    FIELD = 1032 * BLOCK,
    RUNS_BED_OWNERS = 4,
};

/* Not started, all of it free and never used. */
struct pmm_bed *runs_bed(size_t field_blocks, size_t cpus);
/* Started, and every frame used; those of the field as frames of a claim. */
struct pmm_bed *runs_bed_full(size_t field_blocks, size_t cpus);

/* Frames used once are freed one by one. */
bool free_frames(struct pmm_bed *bed, uint64_t first, uint64_t frames);
/* pmm_alloc_run without a wish for where, and with all of them. */
enum status any_run(struct pmm_bed *bed, uint64_t n, pfn_t *first);
enum status run_of(struct pmm_bed *bed, uint64_t n, uint64_t align, uint64_t boundary, uint64_t limit, pfn_t *first);
enum status free_run(struct pmm_bed *bed, uint64_t first, uint64_t n);

enum pmm_state frame_state(const struct pmm_bed *bed, uint64_t frame);
/* Each of [first, first + n) is used once, or is free. */
bool expect_used(struct pmm_bed *bed, uint64_t first, uint64_t n);
bool expect_free(struct pmm_bed *bed, uint64_t first, uint64_t n);
/* The last report is by this call, about this frame, and names its state. */
bool expect_report(const char *call, uint64_t frame, enum pmm_state state);

/* Started, nothing used, with this policy and one owner open. */
struct pmm_bed *owner_bed(size_t field_blocks, size_t cpus, uint64_t threshold, unsigned guard, unsigned *owner);
/* Frames drawn for it; frame 0 for the first that could not. */
pfn_t draw(struct pmm_bed *bed, unsigned owner);
bool draw_many(struct pmm_bed *bed, unsigned owner, pfn_t *frames, uint64_t n);
unsigned owner_of(const struct pmm_bed *bed, pfn_t frame);
bool expect_books(struct pmm_bed *bed, unsigned owner, uint64_t own_blocks, uint64_t in_own, uint64_t elsewhere);
/* Blocks that are wholly free, never used or not. */
uint64_t whole_blocks(const struct pmm_bed *bed);
/* An array for so many frames. */
pfn_t *frames_for(uint64_t n);

#endif
