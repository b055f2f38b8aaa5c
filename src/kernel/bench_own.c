/*
 * The PMM's benchmarks that need blocks in a given state, or a machine of another size: on a PMM of its own. Its arrays
 * are kernel pages, and since a PMM touches no frame that it manages, the memory it manages need not exist.
 *
 * Bring-up: pmm_init opens only the blocks that hold frames in use, so of the arrays of 16 TiB (8 GiB of addresses)
 * only the first pages are mapped. The same pages and addresses serve every size.
 */
#include "arch/arch.h"
#include "kernel/bench.h"
#include "lib/string.h"
#include "pmm/pmm_change.h"
#include "pmm/pmm_runs.h"
#include "vmm/kmap.h"

/* ---- Bodies ---- */

static enum status claim_one(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return pmm_claim(w->pmm, w->frame, npages(1));
}

static enum status mark_one(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return pmm_mark_bad(w->pmm, w->frame);
}

static enum status init_one(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return pmm_init(w->pmm, w->config);
}

/* ---- On a PMM of its own: no magazines, and nothing that must be backed ---- */

enum { OWN_RUNS = 3, OWN_HOLDS = 4, OWN_REGIONS = 4 };

/* In kernel pages: large for a stack. */
struct own {
    struct pmm pmm;
    struct pmm_config config;
    struct frame_run runs[OWN_RUNS];
    struct frame_hold holds[OWN_HOLDS];
    _Alignas(uint64_t) unsigned char regions[OWN_REGIONS * PMM_REGION_BYTES];
};

npages_t bench_missing_none(void *ctx, const void *page)
{
    (void)ctx;
    (void)page;
    return npages(0);
}

enum status bench_back_never(void *ctx, const void *page, const pfn_t *frames, npages_t n)
{
    (void)ctx;
    (void)page;
    (void)frames;
    (void)n;
    return STATUS_CORRUPT;
}

static enum status pages_take(npages_t n, void **memory)
{
    vaddr_t base;
    enum status s = kpages_alloc(&machine.vmm, n, ARENA_ALIGN_PAGE, KPAGES_ZEROED, "bench", &base);
    *memory = s == STATUS_OK ? vaddr_to_ptr(base) : NULL;
    return s;
}

/* The first failure is the one that is told. */
static enum status pages_give(enum status s, void *memory)
{
    enum status freed = memory == NULL ? STATUS_OK : kpages_free(&machine.vmm, ptr_to_vaddr(memory));
    return s == STATUS_OK ? freed : s;
}

/* Blocks from 4 GiB on; behind the states one page of descriptors. */
enum { SMALL_BLOCKS = PAGE_BYTES / PMM_BLOCK_BYTES };

static npages_t small_states(void) { return bytes_to_pages_up(SMALL_BLOCKS * PMM_BLOCK_FRAMES * sizeof(uint16_t)); }

static enum status small_init(struct own *own, void *arrays)
{
    pfn_t first = paddr_to_pfn(paddr(4 * GIB));
    uint64_t block = first.v / PMM_BLOCK_FRAMES;
    vaddr_t states = ptr_to_vaddr(arrays), blocks = vaddr_add_pages(states, small_states().v);
    own->runs[0] = (struct frame_run){first, npages(SMALL_BLOCKS * PMM_BLOCK_FRAMES)};
    own->config = (struct pmm_config){
        .runs = own->runs,
        .run_count = 1,
        .holds = own->holds,
        .hold_capacity = OWN_HOLDS,
        .states = vaddr_to_ptr(vaddr(states.v - block * PMM_BLOCK_FRAMES * sizeof(uint16_t))),
        .blocks = vaddr_to_ptr(vaddr(blocks.v - block * PMM_BLOCK_BYTES)),
        .regions = (struct pmm_region *)(void *)own->regions,
        .region_capacity = OWN_REGIONS,
        .backing = {.missing = bench_missing_none, .back = bench_back_never},
    };
    return pmm_init(&own->pmm, &own->config);
}

/* Calls `measure` with a small PMM that is fresh. */
static enum status on_small(const struct bench *bench, struct bench_result *result,
                            enum status (*measure)(struct bench_work *w, struct bench_result *result))
{
    void *memory, *arrays = NULL;
    enum status s = pages_take(bytes_to_pages_up(sizeof(struct own)), &memory);
    if (s == STATUS_OK) {
        s = pages_take(npages(small_states().v + 1), &arrays);
    }
    struct own *own = memory;
    if (s == STATUS_OK) {
        s = small_init(own, arrays);
    }
    if (s == STATUS_OK) {
        struct bench_work w = {.pmm = &own->pmm, .flags = bench->flags};
        s = measure(&w, result);
    }
    return pages_give(pages_give(s, arrays), memory);
}

static enum status measure_blocks(struct bench_work *w, struct bench_result *result)
{
    enum status s = bench_frame_pairs(w, 1);
    return s == STATUS_OK ? bench_add(result, bench_frame_pairs, bench_no_frame_pairs, w, BENCH_LOOPS) : s;
}

enum status bench_blocks(const struct bench *bench, struct bench_result *result)
{
    return on_small(bench, result, measure_blocks);
}

/*
 * `body` on frames that lie at the bottom of their block's stack, which is as deep as it can be: all frames of the
 * block but one are freed, in the order in which the body takes them. `again`: the body's frame goes back, to the top.
 */
static enum status measure_deep(struct bench_work *w, struct bench_result *result, bench_body *body, bool again)
{
    pfn_t frames[PMM_BLOCK_FRAMES];
    enum status s = pmm_alloc_many(w->pmm, w->flags, frames, npages(PMM_BLOCK_FRAMES));
    for (unsigned i = 0; i < PMM_BLOCK_FRAMES - 1 && s == STATUS_OK; i++) {
        bool one_block = frames[i].v / PMM_BLOCK_FRAMES == frames[PMM_BLOCK_FRAMES - 1].v / PMM_BLOCK_FRAMES;
        s = one_block ? pmm_free(w->pmm, frames[i]) : STATUS_UNSUPPORTED;
    }
    for (unsigned i = 0; i < BENCH_ROUNDS && s == STATUS_OK; i++) {
        w->frame = frames[i];
        s = bench_add(result, body, bench_nothing, w, 1);
        if (s == STATUS_OK && again) {
            s = bench_free_one(w, 1);
        }
    }
    return s;
}

static enum status measure_claim(struct bench_work *w, struct bench_result *result)
{
    return measure_deep(w, result, claim_one, true);
}

static enum status measure_mark(struct bench_work *w, struct bench_result *result)
{
    return measure_deep(w, result, mark_one, false);
}

enum status bench_claim(const struct bench *bench, struct bench_result *result)
{
    return on_small(bench, result, measure_claim);
}

enum status bench_mark(const struct bench *bench, struct bench_result *result)
{
    return on_small(bench, result, measure_mark);
}

/* ---- Bring-up ---- */

/*
 * The machine that is brought up: a PC's map with its holes, most of it above 4 GiB, so that machines of all sizes have
 * the same regions (a border of a zone inside makes one more); the first page and an image reserved, tables in use.
 */
enum { INIT_LOW = 160, INIT_IMAGE = 256, INIT_USED = 16, INIT_METADATA = 4 };

static void init_lists(struct own *own, npages_t ram)
{
    uint64_t mib = bytes_to_pages_down(MIB).v;
    own->runs[0] = (struct frame_run){pfn(0), npages(INIT_LOW)};
    own->runs[1] = (struct frame_run){pfn(mib), npages(15 * mib)};
    own->runs[2] = (struct frame_run){paddr_to_pfn(paddr(4 * GIB)), npages(ram.v - 16 * mib)};
    own->holds[0] = (struct frame_hold){pfn(0), 1, HOLD_RESERVED};
    own->holds[1] = (struct frame_hold){pfn(mib), INIT_IMAGE, HOLD_RESERVED};
    own->holds[2] = (struct frame_hold){pfn(2 * mib), INIT_USED, HOLD_USED};
    own->holds[3] = (struct frame_hold){pfn(2 * mib + INIT_USED), INIT_METADATA, HOLD_METADATA};
    own->config.run_count = OWN_RUNS;
    own->config.hold_count = OWN_HOLDS;
    memset(own->regions, 0, sizeof own->regions);
}

/* Pages of address space for the arrays of such 16 TiB: states, then descriptors. Only the first page of each is there.
 */
static npages_t init_states(void)
{
    return bytes_to_pages_up(bytes_to_pages_up(4 * GIB + 16 * TIB).v * sizeof(uint16_t));
}
static npages_t init_blocks(void) { return bytes_to_pages_up((4 * GIB + 16 * TIB) / (2 * MIB) * PMM_BLOCK_BYTES); }

static enum status measure_init(struct own *own, npages_t ram, vaddr_t states, struct bench_result *result)
{
    vaddr_t blocks = vaddr_add_pages(states, init_states().v);
    struct bench_work w = {.pmm = &own->pmm, .config = &own->config};
    own->config = (struct pmm_config){
        .runs = own->runs,
        .holds = own->holds,
        .hold_capacity = OWN_HOLDS,
        .states = vaddr_to_ptr(states),
        .blocks = vaddr_to_ptr(blocks),
        .regions = (struct pmm_region *)(void *)own->regions,
        .region_capacity = OWN_REGIONS,
        .backing = {.missing = kmap_pmm_missing, .back = bench_back_never, .table_levels = 2},
    };
    enum status s = STATUS_OK;
    for (unsigned i = 0; i < BENCH_ROUNDS && s == STATUS_OK; i++) {
        init_lists(own, ram);
        arch_page_zero(states);
        arch_page_zero(blocks);
        s = bench_add(result, init_one, bench_nothing, &w, 1);
    }
    return s;
}

enum status bench_init(const struct bench *bench, struct bench_result *result)
{
    struct vmm *vmm = &machine.vmm;
    npages_t all = npages(init_states().v + init_blocks().v), one = npages(1);
    vaddr_t states;
    void *own;
    enum status s = pages_take(bytes_to_pages_up(sizeof(struct own)), &own);
    if (s == STATUS_OK) {
        s = arena_alloc(&vmm->arena, all, ARENA_ALIGN_PAGE, "bench", &states);
    }
    if (s != STATUS_OK) {
        return pages_give(s, own);
    }
    vaddr_t blocks = vaddr_add_pages(states, init_states().v);
    enum status first = vmm_map(vmm, &vmm->kernel, states, one, VMM_READ | VMM_WRITE);
    enum status second = vmm_map(vmm, &vmm->kernel, blocks, one, VMM_READ | VMM_WRITE);
    s = first != STATUS_OK ? first : second;
    if (s == STATUS_OK) {
        s = measure_init(own, npages(bench->frames), states, result);
    }
    enum status undone = first == STATUS_OK ? vmm_unmap(vmm, &vmm->kernel, states, one) : STATUS_OK;
    s = s == STATUS_OK ? undone : s;
    undone = second == STATUS_OK ? vmm_unmap(vmm, &vmm->kernel, blocks, one) : STATUS_OK;
    s = s == STATUS_OK ? undone : s;
    undone = arena_free(&vmm->arena, states);
    return pages_give(s == STATUS_OK ? undone : s, own);
}
