/* Cairn's own PMM among the ways, over the same frames: its arrays are backed by frames of these, as in the kernel. */
#include "kernel/bench.h"
#include "pmm/pmm_runs.h"
#include "rivals/pmm/kernel/cairn.h"
#include "rivals/pmm/kernel/real.h"
#include "vmm/kmap.h"

enum { RUNS_MAX = 8, REGIONS_MAX = 4 * RUNS_MAX };
#define BLOCKS_OFFSET (REAL_AREA_BYTES / 2) /* of its descriptors behind its states */

struct cairn {
    struct pmm pmm;
    struct pmm_config config;
    struct pmm_cpu cpu;
    struct frame_run runs[RUNS_MAX];
    struct frame_hold holds[1];
    _Alignas(uint64_t) unsigned char regions[REGIONS_MAX * PMM_REGION_BYTES];
};

/* A page that the machine's arrays begin at, with `bytes` behind it. */
static void *whole_pages(uint64_t bytes)
{
    const vaddr_t at = ptr_to_vaddr(machine_memory(bytes + PAGE_BYTES));
    return vaddr_to_ptr(vaddr_page(vaddr_add(at, PAGE_BYTES - 1)));
}

static struct cairn *open_state(const struct frame_run *runs, size_t run_count)
{
    machine_begin(frames_end(runs, run_count));
    struct cairn *c = machine_memory(sizeof *c);
    for (size_t i = 0; i < run_count && i < RUNS_MAX; i++) {
        c->runs[i] = runs[i];
    }
    c->config = (struct pmm_config){
        .runs = c->runs,
        .run_count = run_count,
        .holds = c->holds,
        .hold_capacity = 1,
        .states = vaddr_to_ptr(real_area(REAL_OWN)),
        .blocks = vaddr_to_ptr(vaddr_add(real_area(REAL_OWN), BLOCKS_OFFSET)),
        .regions = (struct pmm_region *)(void *)c->regions,
        .region_capacity = REGIONS_MAX,
        .backing = {.missing = kmap_pmm_missing, .back = kmap_pmm_back, .table_levels = 2},
        .cpus = &c->cpu,
        .cpu_count = 1,
    };
    return c;
}

static void *start_state(struct cairn *c)
{
    return c->config.run_count <= RUNS_MAX && pmm_init(&c->pmm, &c->config) == STATUS_OK ? c : NULL;
}

static void *start(const struct frame_run *runs, size_t run_count) { return start_state(open_state(runs, run_count)); }

/* The same PMM, whose arrays are there whole from the start, for all numbers of frames up to the last. */
static void *start_eager(const struct frame_run *runs, size_t run_count)
{
    const uint64_t frames = frames_end(runs, run_count), blocks = frames / PMM_BLOCK_FRAMES + 1;
    struct cairn *c = open_state(runs, run_count);
    c->config.states = whole_pages((frames + PMM_BLOCK_FRAMES) * sizeof(uint16_t));
    c->config.blocks = whole_pages(blocks * PMM_BLOCK_BYTES);
    c->config.backing = (struct pmm_backing){.missing = bench_missing_none, .back = bench_back_never};
    return start_state(c);
}

static pfn_t alloc(void *state)
{
    pfn_t frame;
    return pmm_alloc(&((struct cairn *)state)->pmm, PMM_KERNEL, &frame) == STATUS_OK ? frame : FRAMES_NONE;
}

static enum status release(void *state, pfn_t frame) { return pmm_free(&((struct cairn *)state)->pmm, frame); }

static pfn_t alloc_block(void *state)
{
    const npages_t n = npages(FRAMES_BLOCK);
    pfn_t first;
    enum status s = pmm_alloc_run(&((struct cairn *)state)->pmm, PMM_KERNEL, n, n, npages(0), PMM_NO_LIMIT, &first);
    return s == STATUS_OK ? first : FRAMES_NONE;
}

static enum status free_block(void *state, pfn_t first)
{
    return pmm_free_run(&((struct cairn *)state)->pmm, first, npages(FRAMES_BLOCK));
}

static uint64_t own(const void *state) { return pmm_stats(&((const struct cairn *)state)->pmm).metadata.v; }

static uint64_t kept(const void *state)
{
    const struct pmm_stats stats = pmm_stats(&((const struct cairn *)state)->pmm);
    return stats.metadata.v + stats.earmarked.v;
}

#define CALLS                                                                                                   \
    .sees = FRAMES_SEES_DOUBLE | FRAMES_SEES_OUTSIDE, .alloc = alloc, .free = release, .alloc_block = alloc_block, \
    .free_block = free_block

const struct frames_way frames_cairn[] = {
    {.name = "cairn", CALLS, .start = start, .own = own, .kept = kept},
    {.name = "eager-cairn", CALLS, .start = start_eager},
};
