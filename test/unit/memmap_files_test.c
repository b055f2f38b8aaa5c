/*
 * Every real memory map of test/data/memory-maps, as it is and mauled, against the slow model. Host only: it reads
 * files.
 */
#include <dirent.h>
#include <stdio.h>

#include "unit/memmap_bed.h"

#ifndef CAIRN_TEST_DATA
#define CAIRN_TEST_DATA "test/data"
#endif

static const pfn_t no_limit = {UINT64_MAX};

static bool read_map(struct map_bed *bed, const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        test_note("cannot open %s", path);
        return false;
    }
    char line[512];
    bed->count = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        struct memmap_entry e;
        if (sscanf(line, "%lx %lx %u", &e.base, &e.length, &e.type) == 3) {
            bed_add(bed, e.base, e.length, e.type);
        }
    }
    fclose(file);
    return true;
}

/* Calls `check` with each map; a false answer names the file. */
static void each_map(bool (*check)(struct map_bed *bed, struct rng *rng))
{
    struct map_bed bed;
    DIR *folder = opendir(CAIRN_TEST_DATA "/memory-maps");
    REQUIRE(folder != NULL && bed_init(&bed));
    struct rng rng = rng_seeded(test_seed());
    size_t maps = 0;
    for (struct dirent *d = readdir(folder); d != NULL; d = readdir(folder)) {
        size_t len = strlen(d->d_name);
        if (len < 4 || strcmp(d->d_name + len - 4, ".map") != 0) {
            continue;
        }
        char path[1024];
        fmt_text(path, sizeof path, "%s/memory-maps/%s", CAIRN_TEST_DATA, d->d_name);
        maps++;
        if (!EXPECT(read_map(&bed, path) && check(&bed, &rng))) {
            test_note("map %s", d->d_name);
        }
    }
    closedir(folder);
    EXPECT_EQ(maps, 110);
}

static bool as_it_is(struct map_bed *bed, struct rng *rng)
{
    /* Also with a limit, most of the time inside an entry. */
    uint64_t inside = bed->count > 0 ? bed->entries[rng_below(rng, bed->count)].base + 123 * KIB : 0;
    return bed_agrees(bed, no_limit) && bed_agrees(bed, paddr_to_pfn(paddr(inside)));
}

static bool reordered(struct map_bed *bed, struct rng *rng)
{
    bed_keep(bed);
    bed_shuffle(bed, rng);
    bool ok = bed_same_as_kept(bed);
    bed_split(bed, rng);
    bed_shuffle(bed, rng);
    ok = ok && bed_same_as_kept(bed) && bed_agrees(bed, no_limit);
    bed_repeat(bed, rng);
    bed_shuffle(bed, rng);
    return ok && bed_same_as_kept(bed);
}

static bool overlapped(struct map_bed *bed, struct rng *rng)
{
    for (unsigned round = 0; round < 4; round++) {
        bed_overlap(bed, rng);
        if (!bed_agrees(bed, no_limit)) {
            return false;
        }
    }
    return true;
}

static bool mauled(struct map_bed *bed, struct rng *rng)
{
    /* Maps of a few hundred entries cost the model seconds; the short ones are as good. */
    for (unsigned round = 0; round < (bed->count < 60 ? 5 * test_effort() : 2); round++) {
        bed_maul(bed, rng);
        bed_shuffle(bed, rng);
        if (!bed_agrees(bed, no_limit)) {
            return false;
        }
    }
    return true;
}

TEST_HOST(memmap_files, each_map_as_it_is_agrees_with_the_model) { each_map(as_it_is); }

TEST_HOST(memmap_files, each_map_shuffled_cut_up_and_repeated_gives_the_same_runs) { each_map(reordered); }

TEST_HOST(memmap_files, each_map_with_overlaps_agrees_with_the_model) { each_map(overlapped); }

TEST_HOST(memmap_files, each_map_mauled_agrees_with_the_model) { each_map(mauled); }
