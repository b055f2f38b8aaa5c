/*
 * The PMM's arrays, and the hand-over from the watermark allocator.
 *
 * Regions, runs and holds lie right below the block descriptors. The watermark allocator's own frames must be known to
 * the PMM from its first moment on, so the pages behind the blocks they come from are backed here; that takes frames,
 * perhaps from a further block: repeated until nothing is added.
 */
#include "kernel/console.h"
#include "kernel/init.h"
#include "lib/macros.h"
#include "vmm/kmap.h"

enum {
    HOLDS_SPARE = 64, /* room for holds that give-backs split */
    RUNS_SPARE = 8,   /* room for memory that comes at run time */
};

static void back_page(vaddr_t page)
{
    pfn_t frames[PAGING_LEVELS];
    uint64_t n = kmap_missing(page).v;
    for (uint64_t i = 0; i < n; i++) {
        frames[i] = init_frame(HOLD_METADATA);
    }
    if (n > 0 && kmap_back(page, frames, npages(n)) != STATUS_OK) {
        panic("no page at %#lx for the PMM's arrays", page.v);
    }
}

static void back_range(vaddr_t start, vaddr_t end)
{
    for (vaddr_t page = vaddr_page(start); page.v < end.v; page = vaddr_add_pages(page, 1)) {
        back_page(page);
    }
}

static void back_block(uint64_t block)
{
    vaddr_t states = vaddr(LAYOUT_PMM_STATES + block * PMM_BLOCK_FRAMES * sizeof(uint16_t));
    back_page(vaddr_page(states));
    back_page(vaddr_page(vaddr(LAYOUT_PMM_BLOCKS + block * PMM_BLOCK_BYTES)));
}

static void back_blocks_of_served_frames(void)
{
    npages_t before;
    do {
        before = init.early.served;
        for (size_t i = 0; i < init.early.hold_count; i++) {
            struct frame_hold hold = init.early.holds[i];
            if (hold.kind != HOLD_USED && hold.kind != HOLD_METADATA) {
                continue;
            }
            for (uint64_t b = hold.first.v / PMM_BLOCK_FRAMES; b <= (hold_end(hold) - 1) / PMM_BLOCK_FRAMES; b++) {
                back_block(b);
            }
        }
    } while (init.early.served.v != before.v);
}

void init_pmm(void)
{
    size_t regions = pmm_count_descriptors(init.runs, init.run_count) + 2 * init.node_range_count + RUNS_SPARE;
    vaddr_t end = vaddr(LAYOUT_PMM_BLOCKS);
    vaddr_t region_base = vaddr(end.v - regions * PMM_REGION_BYTES);
    vaddr_t run_base = vaddr(region_base.v - (init.run_count + RUNS_SPARE) * sizeof(struct frame_run));
    size_t holds_max;
    vaddr_t hold_base;
    do { /* frames taken from between many holes add a hold each; EARLY_HOLDS_MAX ends this */
        holds_max = init.early.hold_count + HOLDS_SPARE;
        hold_base = vaddr(run_base.v - holds_max * sizeof(struct frame_hold));
        back_range(hold_base, end);
        back_blocks_of_served_frames();
    } while (init.early.hold_count + HOLDS_SPARE / 2 > holds_max);
    struct frame_run *runs = vaddr_to_ptr(run_base);
    for (size_t i = 0; i < init.run_count; i++) {
        runs[i] = init.runs[i];
    }

    struct pmm_config config = {
        .runs = runs,
        .run_count = init.run_count,
        .run_capacity = init.run_count + RUNS_SPARE,
        .holds = vaddr_to_ptr(hold_base),
        .hold_capacity = holds_max,
        .states = vaddr_to_ptr(vaddr(LAYOUT_PMM_STATES)),
        .blocks = vaddr_to_ptr(vaddr(LAYOUT_PMM_BLOCKS)),
        .regions = vaddr_to_ptr(region_base),
        .region_capacity = regions,
        .backing = {.missing = kmap_pmm_missing, .back = kmap_pmm_back, .table_levels = 2},
        .cpus = machine.pmm_cpus,
        .cpu_count = ARRAY_LEN(machine.pmm_cpus),
        .owners = machine.pmm_owners,
        .owner_capacity = ARRAY_LEN(machine.pmm_owners),
        .zero_pool = machine.zero_pool,
        .zero_capacity = ARRAY_LEN(machine.zero_pool),
        .node_ranges = init.node_ranges,
        .node_range_count = init.node_range_count,
        .node_count = machine.node_count,
        .node_distance = init.node_distance,
    };
    enum status s = early_handover(&init.early, config.holds, holds_max, &config.hold_count);
    if (s == STATUS_OK) {
        s = pmm_init(&machine.pmm, &config);
    }
    if (s != STATUS_OK) {
        panic("the PMM does not start: %s (%lu runs, %lu regions, %lu holds)", status_name(s), init.run_count, regions,
              config.hold_count);
    }
}
