/*
 * Every real memory map of test/data/memory-maps, shuffled and mauled, made into a PMM whose metadata is backed when it
 * is needed: it comes up, and a few hundred random operations hand out only frames that the map has, each once. Host
 * only: it reads files and reserves gigabytes of addresses.
 */
#include <dirent.h>
#include <stdio.h>
#include <sys/mman.h>

#include "pmm/pmm_change.h"
#include "pmm/pmm_owners.h"
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"
#include "unit/memmap_bed.h"

#ifndef CAIRN_TEST_DATA
#define CAIRN_TEST_DATA "test/data"
#endif

enum { MINE = 4000, HOLDS = 64, OPERATIONS = 300, TRACKED_PAGES = 1 << 14, REGIONS = 2 * BED_ENTRIES_MAX + 16 };

/* Frames that a PMM of this test can have: 16 TiB. What a map has above is left out. */
static const uint64_t frames_max = 16 * TIB / PAGE_BYTES;

struct machine {
    struct pmm pmm;
    struct pmm_cpu cpu;
    struct pmm_owner owner;
    struct frame_run runs[BED_ENTRIES_MAX];
    struct frame_hold holds[HOLDS], given[HOLDS];
    size_t run_count, hold_count, given_count;
    unsigned char *arrays; /* states, then descriptors; no access but to what is backed */
    size_t arrays_bytes, descriptors_at;
    uint64_t backed[TRACKED_PAGES]; /* pages of the arrays, as numbers from 1 up; open addressing */
    size_t backed_count;
    uint64_t mine[MINE]; /* frames handed out, not freed */
    size_t mine_count;
    struct rng rng;
};

/* ---- The lazy backing ---- */

/* The slot of this page, taken or free. */
static uint64_t *slot_of(struct machine *m, const void *page)
{
    uint64_t number = 1 + (uint64_t)((const unsigned char *)page - m->arrays) / PAGE_BYTES;
    size_t at = number * 0x9E3779B97F4A7C15 >> 32;
    while (m->backed[at % TRACKED_PAGES] != 0 && m->backed[at % TRACKED_PAGES] != number) {
        at++;
    }
    return &m->backed[at % TRACKED_PAGES];
}

static npages_t missing(void *ctx, const void *page) { return npages(*slot_of(ctx, page) == 0); }

static void back_page(struct machine *m, const void *page)
{
    uint64_t *slot = slot_of(m, page);
    if (*slot == 0) {
        *slot = 1 + (uint64_t)((const unsigned char *)page - m->arrays) / PAGE_BYTES;
        m->backed_count++;
        EXPECT(m->backed_count < TRACKED_PAGES / 2);
        EXPECT_EQ(mprotect(vaddr_to_ptr(ptr_to_vaddr(page)), PAGE_BYTES, PROT_READ | PROT_WRITE), 0);
    }
}

static bool in_map(const struct machine *m, uint64_t frame)
{
    for (size_t i = 0; i < m->run_count; i++) {
        if (frame >= m->runs[i].first.v && frame < run_end(m->runs[i])) {
            return true;
        }
    }
    return false;
}

static bool is_held(const struct machine *m, uint64_t frame)
{
    for (size_t i = 0; i < m->given_count; i++) {
        if (frame >= m->given[i].first.v && frame < hold_end(m->given[i])) {
            return true;
        }
    }
    return false;
}

static bool is_mine(const struct machine *m, uint64_t frame)
{
    for (size_t i = 0; i < m->mine_count; i++) {
        if (m->mine[i] == frame) {
            return true;
        }
    }
    return false;
}

/* May this frame be handed out now? */
static bool is_free(const struct machine *m, uint64_t frame)
{
    bool free = frame != 0 && in_map(m, frame) && !is_held(m, frame) && !is_mine(m, frame);
    if (!EXPECT(free)) {
        test_note("frame %#lx", frame);
    }
    return free;
}

static enum status back(void *ctx, const void *page, const pfn_t *frames, npages_t n)
{
    struct machine *m = ctx;
    EXPECT_EQ(n.v, 1);
    is_free(m, frames[0].v);
    if (EXPECT(m->mine_count < MINE)) {
        m->mine[m->mine_count++] = frames[0].v; /* metadata is nobody else's: it stays */
    }
    back_page(m, page);
    return STATUS_OK;
}

static struct machine *machine_new(void)
{
    struct machine *m = test_pages(bytes_to_pages_up(sizeof *m).v);
    if (m == NULL) {
        return NULL;
    }
    m->descriptors_at = frames_max * sizeof(uint16_t);
    m->arrays_bytes = m->descriptors_at + frames_max / PMM_BLOCK_FRAMES * PMM_BLOCK_BYTES;
    m->arrays = mmap(NULL, m->arrays_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return EXPECT(m->arrays != MAP_FAILED) ? m : NULL;
}

static void machine_forget(struct machine *m)
{
    for (size_t i = 0; i < TRACKED_PAGES; i++) {
        if (m->backed[i] != 0) {
            void *page = m->arrays + (m->backed[i] - 1) * PAGE_BYTES;
            EXPECT_EQ(madvise(page, PAGE_BYTES, MADV_DONTNEED), 0);
            EXPECT_EQ(mprotect(page, PAGE_BYTES, PROT_NONE), 0);
        }
    }
    memset(m->backed, 0, sizeof m->backed);
    m->backed_count = m->mine_count = m->hold_count = m->given_count = 0;
}

/* ---- Bringing it up ---- */

/* A few frames of some runs are in use already; what is behind them is backed, as the boot does it. */
static void draw_holds(struct machine *m)
{
    uint64_t last_end = 0;
    for (size_t i = 0; i < m->run_count && m->hold_count < HOLDS / 2; i++) {
        uint64_t frames = m->runs[i].frames.v;
        if (rng_below(&m->rng, 3) != 0) {
            continue;
        }
        uint64_t first = m->runs[i].first.v + rng_below(&m->rng, frames), left = run_end(m->runs[i]) - first;
        uint64_t held = 1 + rng_below(&m->rng, left < 700 ? left : 700);
        enum hold_kind kind = rng_below(&m->rng, 4) == 0 ? HOLD_USED : HOLD_RESERVED;
        if (first >= last_end) {
            m->holds[m->hold_count++] = (struct frame_hold){pfn(first), (uint32_t)held, kind};
            last_end = first + held;
        }
    }
    memcpy(m->given, m->holds, sizeof m->given);
    m->given_count = m->hold_count;
}

static enum status bring_up(struct machine *m, struct pmm_region *regions)
{
    struct pmm_config config = {
        .runs = m->runs, .run_count = m->run_count, .holds = m->holds, .hold_count = m->hold_count,
        .hold_capacity = HOLDS, .states = (uint16_t *)(void *)m->arrays,
        .blocks = (struct pmm_block *)(void *)(m->arrays + m->descriptors_at), .regions = regions,
        .region_capacity = REGIONS, .backing = {m, missing, back, 0}, .cpus = &m->cpu, .cpu_count = 1,
        .owners = &m->owner, .owner_capacity = 1};
    for (size_t i = 0; i < m->hold_count; i++) {
        uint64_t end = hold_end(m->holds[i]);
        for (uint64_t f = m->holds[i].first.v; f < end && m->holds[i].kind == HOLD_USED; f++) {
            uint64_t block = f / PMM_BLOCK_FRAMES;
            back_page(m, vaddr_to_ptr(vaddr_page(ptr_to_vaddr(&config.states[block * PMM_BLOCK_FRAMES]))));
            back_page(m, vaddr_to_ptr(vaddr_page(ptr_to_vaddr(&config.blocks[block]))));
        }
    }
    memset(&m->cpu, 0, sizeof m->cpu);
    return pmm_init(&m->pmm, &config);
}

/* ---- Operations ---- */

static bool take(struct machine *m, uint64_t first, uint64_t n)
{
    bool ok = EXPECT(m->mine_count + n <= MINE);
    for (uint64_t f = first; f < first + n && ok; f++) {
        ok = is_free(m, f);
        m->mine[m->mine_count++] = f;
    }
    return ok;
}

static bool operate_alloc(struct machine *m, unsigned owner)
{
    static const unsigned flags[] = {PMM_KERNEL, PMM_USER, PMM_BELOW_1M, PMM_BELOW_16M, PMM_BELOW_4G, PMM_EMERGENCY};
    uint64_t which = rng_below(&m->rng, 2 * ARRAY_LEN(flags));
    unsigned how = which < ARRAY_LEN(flags) ? flags[which] : which % 2 == 0 ? PMM_OWNER(owner) : PMM_USER;
    uint64_t free = pmm_stats(&m->pmm).free.v;
    pfn_t frame;
    enum status s = pmm_alloc(&m->pmm, how, &frame);
    bool limited = (how & (PMM_BELOW_1M | PMM_BELOW_16M | PMM_BELOW_4G)) != 0;
    EXPECT(s == STATUS_OK || (s == STATUS_NOMEM && (free == 0 || limited)));
    return s != STATUS_OK || take(m, frame.v, 1);
}

static bool operate_many(struct machine *m)
{
    pfn_t frames[40], first;
    uint64_t n = 1 + rng_below(&m->rng, ARRAY_LEN(frames));
    bool ok = true;
    if (rng_below(&m->rng, 2) == 0) {
        enum status s = pmm_alloc_many(&m->pmm, PMM_USER, frames, npages(n));
        for (uint64_t i = 0; i < n && ok && s == STATUS_OK; i++) {
            ok = take(m, frames[i].v, 1);
        }
        return ok && EXPECT(s == STATUS_OK || (s == STATUS_NOMEM && pmm_stats(&m->pmm).free.v < n));
    }
    enum status s = pmm_alloc_run(&m->pmm, PMM_USER, npages(n), npages(1), npages(0), PMM_NO_LIMIT, &first);
    return EXPECT(s == STATUS_OK || (s == STATUS_NOMEM && pmm_largest_run(&m->pmm, PMM_NO_LIMIT).v < n)) &&
           (s != STATUS_OK || take(m, first.v, n));
}

/* Anywhere in the map: the middle of the largest machine is as near as its start. */
static bool operate_claim(struct machine *m)
{
    const struct frame_run *run = &m->runs[rng_below(&m->rng, m->run_count)];
    uint64_t first = run->first.v + rng_below(&m->rng, run->frames.v), n = 1 + rng_below(&m->rng, 3);
    enum status s = pmm_claim(&m->pmm, pfn(first), npages(n));
    EXPECT(s == STATUS_OK || s == STATUS_EXISTS || s == STATUS_ABSENT || s == STATUS_NOMEM);
    return s != STATUS_OK || take(m, first, n);
}

static bool operate_free(struct machine *m)
{
    for (size_t tries = 0; m->mine_count > 0 && tries < 8; tries++) {
        size_t pick = rng_below(&m->rng, m->mine_count);
        struct pmm_frame q = pmm_query(&m->pmm, pfn(m->mine[pick]));
        if (q.state == PMM_STATE_METADATA) {
            continue;
        }
        EXPECT(q.state == PMM_STATE_USED && q.references == 1);
        bool ok = EXPECT_EQ(pmm_free(&m->pmm, pfn(m->mine[pick])), STATUS_OK);
        m->mine[pick] = m->mine[--m->mine_count];
        return ok;
    }
    return true;
}

static bool is_sound(const struct machine *m)
{
    char text[1024];
    struct buffer_sink sink;
    buffer_sink_init(&sink, text, sizeof text);
    bool ok = EXPECT_EQ(pmm_check(&m->pmm, &sink.sink), STATUS_OK);
    if (!ok) {
        test_note("%s", text);
    }
    return ok;
}

static bool operate(struct machine *m)
{
    unsigned owner;
    bool ok = EXPECT_EQ(pmm_owner_open(&m->pmm, &owner), STATUS_OK) && is_sound(m);
    for (unsigned i = 0; i < OPERATIONS && ok && m->mine_count + 64 < MINE; i++) {
        uint64_t dice = rng_below(&m->rng, 10);
        ok = dice < 5 ? operate_alloc(m, owner) : dice < 6 ? operate_many(m) : dice < 7 ? operate_claim(m)
                                                                                        : operate_free(m);
    }
    return ok && is_sound(m);
}

/* ---- The maps ---- */

/* Normalise, bring up, operate. A map without memory, or without enough for its metadata, is said to be so. */
static bool play_map(struct machine *m, struct map_bed *bed, struct pmm_region *regions)
{
    enum status s = bed_normalise(bed, MEMMAP_WANT_USABLE, pfn(frames_max));
    m->run_count = bed->result.runs;
    memcpy(m->runs, bed->runs, m->run_count * sizeof *m->runs);
    if (s != STATUS_OK) {
        return EXPECT_EQ(s, STATUS_ABSENT) && EXPECT_EQ(m->run_count, 0);
    }
    draw_holds(m);
    memset(regions, 0, REGIONS * (size_t)PMM_REGION_BYTES);
    s = bring_up(m, regions);
    bool ok = EXPECT(s == STATUS_OK || (s == STATUS_NOMEM && bed->result.frames.v < (1 << 15)));
    ok = ok && (s != STATUS_OK || operate(m));
    machine_forget(m);
    return ok;
}

static bool read_map(struct map_bed *bed, const char *path)
{
    FILE *file = fopen(path, "r");
    char line[512];
    bed->count = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        struct memmap_entry e;
        if (sscanf(line, "%lx %lx %u", &e.base, &e.length, &e.type) == 3) {
            bed_add(bed, e.base, e.length, e.type);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return EXPECT(file != NULL);
}

static bool is_map(const char *name)
{
    size_t len = strlen(name);
    return len >= 4 && strcmp(name + len - 4, ".map") == 0;
}

/* Calls change() on each map, some times over, and plays what comes of it. */
static void each_map(void (*change)(struct map_bed *bed, struct rng *rng), unsigned times)
{
    struct map_bed bed;
    struct machine *m = machine_new();
    struct pmm_region *regions = test_pages(bytes_to_pages_up((size_t)REGIONS * PMM_REGION_BYTES).v);
    DIR *folder = opendir(CAIRN_TEST_DATA "/memory-maps");
    REQUIRE(m != NULL && regions != NULL && folder != NULL && bed_init(&bed));
    m->rng = rng_seeded(test_seed());
    size_t maps = 0;
    for (struct dirent *d = readdir(folder); d != NULL; d = readdir(folder)) {
        char path[1024];
        fmt_text(path, sizeof path, "%s/memory-maps/%s", CAIRN_TEST_DATA, d->d_name);
        bool ok = is_map(d->d_name) && read_map(&bed, path);
        maps += ok;
        for (unsigned i = 0; i < times && ok; i++) {
            change(&bed, &m->rng);
            ok = play_map(m, &bed, regions);
            if (!ok) {
                test_note("map %s, change %u", d->d_name, i);
            }
        }
    }
    closedir(folder);
    munmap(m->arrays, m->arrays_bytes);
    EXPECT_EQ(maps, 110);
}

static void shuffled(struct map_bed *bed, struct rng *rng)
{
    bed_split(bed, rng);
    bed_shuffle(bed, rng);
}

static void mauled(struct map_bed *bed, struct rng *rng)
{
    bed_overlap(bed, rng);
    bed_maul(bed, rng);
    bed_shuffle(bed, rng);
}

TEST_HOST(pmm_maps, every_real_map_shuffled_and_cut_up_comes_up_and_serves) { each_map(shuffled, 1); }

TEST_HOST(pmm_maps, every_real_map_mauled_comes_up_and_serves_or_says_that_there_is_no_memory) { each_map(mauled, 3); }
