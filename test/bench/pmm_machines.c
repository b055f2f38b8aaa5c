/* Machines that make the PMM's work long. */
#include "bench/pmm_machines.h"

#include "lib/rng.h"

static uint64_t frames_of(uint64_t bytes) { return bytes_to_pages_down(bytes).v; }

/* Below 16 MiB, with the hole below 1 MiB: what is left runs out at once. */
static struct bed *small(struct rng *rng)
{
    (void)rng;
    struct bed *bed = bed_new(frames_of(16 * MIB), 2);
    bed_run(bed, 0, frames_of(640 * KIB));
    bed_run(bed, frames_of(MIB), frames_of(15 * MIB));
    return bed;
}

static struct bed *ordinary(struct rng *rng)
{
    (void)rng;
    struct bed *bed = bed_new(frames_of(1 * GIB), 2);
    bed_run(bed, 0, frames_of(640 * KIB));
    bed_run(bed, frames_of(MIB), frames_of(1 * GIB - 3 * MIB) + 7);
    return bed;
}

/* Across 4 GiB, every block with a hole. */
static struct bed *holes(struct rng *rng)
{
    uint64_t at = frames_of(4 * GIB - 100 * MIB), end = frames_of(4 * GIB + 100 * MIB);
    struct bed *bed = bed_new(end, 256);
    for (unsigned i = 0; i < 256 && at < end; i++) {
        uint64_t frames = 1 + rng_below(rng, 700);
        frames = frames < end - at ? frames : end - at;
        bed_run(bed, at, frames);
        at += frames + 1 + rng_below(rng, 100);
    }
    return bed;
}

/* One region of more blocks than a word has bits; runs of one frame and of some blocks. */
static struct bed *large(struct rng *rng)
{
    uint64_t at = frames_of(4 * GIB), end = at + frames_of(512 * MIB);
    struct bed *bed = bed_new(end, 512);
    for (unsigned i = 0; i < 512 && at < end; i++) {
        uint64_t frames = rng_below(rng, 4) == 0 ? 1 : 1 + rng_below(rng, 1200);
        frames = frames < end - at ? frames : end - at;
        bed_run(bed, at, frames);
        at += frames + 1 + rng_below(rng, 100);
    }
    return bed;
}

/* `count` regions of up to `most` frames each, in all zones. */
static struct bed *many(struct rng *rng, unsigned count, uint64_t most)
{
    uint64_t at = frames_of(MIB), gap_blocks = frames_of(32 * GIB) / PMM_BLOCK_FRAMES / count;
    struct bed *bed = bed_new(frames_of(64 * GIB), count);
    for (unsigned i = 0; i < count; i++) {
        uint64_t frames = 1 + rng_below(rng, most);
        bed_run(bed, at, frames);
        at += frames + (1 + rng_below(rng, gap_blocks)) * PMM_BLOCK_FRAMES;
    }
    return bed;
}

static struct bed *regions_200(struct rng *rng) { return many(rng, 200, 1500); }
static struct bed *regions_5000(struct rng *rng) { return many(rng, 5000, 700); }

/* Each in a node by chance, so that what is free lies far away. */
static struct bed *nodes_8(struct rng *rng)
{
    struct bed *bed = many(rng, 400, 900);
    bed->node_count = PMM_NODES_MAX;
    bed->node_range_count = BED_NODE_RANGES_MAX;
    uint64_t step = run_end(bed->runs[bed->run_count - 1]) / BED_NODE_RANGES_MAX + 1;
    for (unsigned i = 0; i < BED_NODE_RANGES_MAX; i++) {
        bed->node_ranges[i] =
            (struct pmm_node_range){pfn(i * step), npages(step), (unsigned)rng_below(rng, PMM_NODES_MAX)};
    }
    return bed;
}

static struct bed *huge(struct rng *rng)
{
    (void)rng;
    struct bed *bed = bed_new(frames_of(16 * TIB), 2);
    bed_run(bed, 0, frames_of(640 * KIB));
    bed_run(bed, frames_of(MIB), frames_of(16 * TIB) - frames_of(MIB));
    return bed;
}

static const struct {
    const char *name;
    struct bed *(*make)(struct rng *rng);
} machines[PMM_MACHINES] = {
    {"16 MiB", small},           {"1 GiB", ordinary},           {"holes at 4 GiB", holes}, {"200 regions", regions_200},
    {"5000 regions", regions_5000}, {"400 regions, 8 nodes", nodes_8}, {"16 TiB", huge},
    {"512 MiB of holes", large},
};

const char *pmm_machine_name(unsigned which) { return machines[which].name; }

struct bed *pmm_machine(unsigned which, uint64_t seed)
{
    struct rng rng = rng_seeded(seed + which);
    return machines[which].make(&rng);
}
