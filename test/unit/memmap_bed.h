/*
 * What the tests of the memory map share: a map that can be mauled, and the slow model it is held against.
 *
 * The model shares no function with boot/memmap.c: it asks of each interval between two boundary addresses, entry by
 * entry, what covers it. The second one asks it of each byte of each page, on maps scaled down to a few pages.
 */
#ifndef CAIRN_TEST_UNIT_MEMMAP_BED_H
#define CAIRN_TEST_UNIT_MEMMAP_BED_H

#include "unit/boot_again.h"

#include "boot/memmap.h"
#include "unit/test.h"

enum { BED_ENTRIES_MAX = 1024 };

struct map_bed {
    struct memmap_entry *entries; /* room for BED_ENTRIES_MAX */
    size_t count;
    struct memmap_edge *edges;    /* room for two an entry */
    uint64_t *cuts;               /* the model's boundaries, likewise */
    struct frame_run *runs, *model, *kept; /* room for BED_ENTRIES_MAX each */
    size_t kept_count;
    struct memmap_result result;
};

/* False: no memory (the test has failed then). */
bool bed_init(struct map_bed *bed);
void bed_add(struct map_bed *bed, uint64_t base, uint64_t length, uint32_t type);
struct memmap_entry bed_get(const void *bed, size_t index);

/* Normalises into bed->runs, with room for all. */
enum status bed_normalise(struct map_bed *bed, unsigned want, pfn_t limit);
/* The model's runs into bed->model; returns how many. */
size_t bed_model(struct map_bed *bed, unsigned want, pfn_t limit);
/* Both, for all three wants; false and a note where they differ. */
bool bed_agrees(struct map_bed *bed, pfn_t limit);
/* Remember the runs of usable memory as they are now; are they the same again? */
void bed_keep(struct map_bed *bed);
bool bed_same_as_kept(struct map_bed *bed);

/* Changes that must not change the runs: another order; each entry cut at up to two bytes; some entries said twice. */
void bed_shuffle(struct map_bed *bed, struct rng *rng);
void bed_split(struct map_bed *bed, struct rng *rng);
void bed_repeat(struct map_bed *bed, struct rng *rng);
/* Changes that may: entries grown over their neighbours, types, wraps, zero lengths, unaligned ends. */
void bed_overlap(struct map_bed *bed, struct rng *rng);
void bed_maul(struct map_bed *bed, struct rng *rng);

#endif
