/* The machine of the PMM's benchmarks. */
#include "bench/bed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arch/arch.h"
#include "bench/steps.h"

_Noreturn void bed_fail(const char *what, enum status status)
{
    fflush(stdout);
    fprintf(stderr, "bench: %s: %s\n", what, status_name(status));
    exit(1);
}

/* The port. Notes about odd maps are expected; the rest is not. */
void arch_report(enum report_kind kind, const char *text)
{
    if (kind == REPORT_MISUSE || kind == REPORT_CORRUPT) {
        fprintf(stderr, "%s\n", text);
    }
}

_Noreturn void arch_fatal(const char *text)
{
    fprintf(stderr, "fatal: %s\n", text);
    abort();
}

void *bed_reserve(uint64_t bytes)
{
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        bed_fail("addresses for the arrays", STATUS_NOMEM);
    }
    return base;
}

void bed_unreserve(void *base, uint64_t bytes) { munmap(base, bytes); }

static uint64_t up_to(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

struct bed *bed_new(uint64_t frames_end, size_t run_capacity)
{
    uint64_t states_bytes = up_to(frames_end * sizeof(uint16_t), GIB);
    uint64_t blocks_bytes = up_to(up_to(frames_end, PMM_BLOCK_FRAMES) / PMM_BLOCK_FRAMES * PMM_BLOCK_BYTES, GIB);
    struct bed *bed = bed_reserve(sizeof *bed);
    bed->frames_end = frames_end;
    bed->span_bytes = states_bytes + blocks_bytes;
    /* Twice the room and a bit: the reservation may begin anywhere. */
    uintptr_t base = (uintptr_t)bed_reserve(bed->span_bytes + GIB);
    bed->states = (uint16_t *)up_to(base, GIB);
    munmap((void *)base, (uintptr_t)bed->states - base);
    bed->blocks = (struct pmm_block *)((uintptr_t)bed->states + states_bytes);
    munmap((unsigned char *)bed->states + bed->span_bytes, base + GIB - (uintptr_t)bed->states);
    uint64_t units = bytes_to_pages_up(bed->span_bytes).v;
    for (unsigned level = 0; level <= BED_LEVELS; level++) {
        bed->backed[level] = bed_reserve(units);
    }
    bed->run_capacity = run_capacity;
    bed->runs = bed_reserve(run_capacity * sizeof *bed->runs);
    /* Borders of zones and nodes cut a region. */
    bed->region_capacity = run_capacity + PMM_ZONES + 2 * BED_NODE_RANGES_MAX;
    bed->regions = bed_reserve(bed->region_capacity * PMM_REGION_BYTES);
    bed->cpus = bed_reserve(sizeof *bed->cpus);
    bed->owner_capacity = BED_OWNERS;
    bed->owners = bed_reserve(BED_OWNERS * sizeof *bed->owners);
    return bed;
}

void bed_want_owners(struct bed *bed, size_t owners)
{
    bed_unreserve(bed->owners, bed->owner_capacity * sizeof *bed->owners);
    bed->owners = bed_reserve(owners * sizeof *bed->owners);
    bed->owner_capacity = owners;
}

void bed_free(struct bed *bed)
{
    bed_unreserve(bed->states, bed->span_bytes);
    for (unsigned level = 0; level <= BED_LEVELS; level++) {
        bed_unreserve(bed->backed[level], bytes_to_pages_up(bed->span_bytes).v);
    }
    bed_unreserve(bed->runs, bed->run_capacity * sizeof *bed->runs);
    bed_unreserve(bed->regions, bed->region_capacity * PMM_REGION_BYTES);
    bed_unreserve(bed->cpus, sizeof *bed->cpus);
    bed_unreserve(bed->owners, bed->owner_capacity * sizeof *bed->owners);
    bed_unreserve(bed, sizeof *bed);
}

void bed_run(struct bed *bed, uint64_t first, uint64_t frames)
{
    if (bed->run_count == bed->run_capacity || first + frames > bed->frames_end) {
        bed_fail("too many runs", STATUS_LIMIT);
    }
    bed->runs[bed->run_count++] = (struct frame_run){pfn(first), npages(frames)};
}

/* ---- The backing. Its work is the machine's, not the PMM's: its instructions are not counted. ---- */

static STEPS_UNCOUNTED npages_t bed_missing(void *ctx, const void *page)
{
    const struct bed *bed = ctx;
    uint64_t unit = bytes_to_pages_down((uintptr_t)page - (uintptr_t)bed->states).v;
    uint64_t missing = 0;
    for (unsigned level = 0; level <= BED_LEVELS; level++, unit /= PAGES_PER_2M) {
        missing += bed->backed[level][unit] == 0;
    }
    return npages(missing);
}

static STEPS_UNCOUNTED enum status bed_back(void *ctx, const void *page, const pfn_t *frames, npages_t n)
{
    bool was_counting = steps_pause();
    struct bed *bed = ctx;
    (void)frames;
    uint64_t unit = bytes_to_pages_down((uintptr_t)page - (uintptr_t)bed->states).v;
    memset(vaddr_to_ptr(vaddr_page(ptr_to_vaddr(page))), 0, PAGE_BYTES);
    uint64_t missing = bed_missing(ctx, page).v;
    for (unsigned level = 0; level <= BED_LEVELS; level++, unit /= PAGES_PER_2M) {
        bed->backed[level][unit] = 1;
    }
    bed->units += missing;
    steps_resume(was_counting);
    return missing == n.v ? STATUS_OK : STATUS_CORRUPT;
}

/* Forgets what was backed: a page is zeroed when it is backed again. */
static void forget(struct bed *bed)
{
    uint64_t units = bytes_to_pages_up(bed->span_bytes).v;
    for (unsigned level = 0; level <= BED_LEVELS; level++) {
        if (madvise(bed->backed[level], units, MADV_DONTNEED) != 0) {
            bed_fail("madvise", STATUS_UNSUPPORTED);
        }
    }
    bed->units = 0;
    memset(bed->regions, 0, bed->region_capacity * PMM_REGION_BYTES);
    memset(bed->cpus, 0, sizeof *bed->cpus);
    memset(bed->owners, 0, bed->owner_capacity * sizeof *bed->owners);
}

struct pmm_config bed_config(struct bed *bed)
{
    forget(bed);
    return (struct pmm_config){
        .runs = bed->runs, .run_count = bed->run_count, .holds = bed->holds, .hold_capacity = BED_HOLDS,
        .states = bed->states, .blocks = bed->blocks, .regions = bed->regions, .region_capacity = bed->region_capacity,
        .backing = {bed, bed_missing, bed_back, BED_LEVELS},
        .cpus = bed->cpu_count == 0 ? NULL : bed->cpus, .cpu_count = bed->cpu_count,
        .owners = bed->owners, .owner_capacity = bed->owner_capacity,
        .node_ranges = bed->node_ranges, .node_range_count = bed->node_range_count, .node_count = bed->node_count};
}

void bed_start(struct bed *bed)
{
    struct pmm_config config = bed_config(bed);
    bed_must(pmm_init(&bed->pmm, &config), "pmm_init");
}

static void stderr_put(struct sink *self, const char *text, size_t len)
{
    (void)self;
    fwrite(text, 1, len, stderr);
}

void bed_check(const struct bed *bed)
{
    struct sink sink = {stderr_put};
    bed_must(pmm_check(&bed->pmm, &sink), "pmm_check");
}
