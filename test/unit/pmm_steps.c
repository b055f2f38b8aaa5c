/* Steps that the PMM's tests have in common. */
#include "unit/pmm_steps.h"

bool text_has(const char *text, const char *part)
{
    for (size_t i = 0, len = strlen(part); strlen(text + i) >= len; i++) {
        if (memcmp(text + i, part, len) == 0) {
            return true;
        }
    }
    return false;
}

bool report_has(const char *word)
{
    bool has = EXPECT(text_has(test_last_report(), word));
    if (!has) {
        test_note("\"%s\" has no \"%s\"", test_last_report(), word);
    }
    return has;
}

bool starts(struct pmm_bed *bed)
{
    bool ok = bed_starts(bed);
    bed->pmm.lock.shared = true;
    return ok;
}

void some_cpus(struct pmm_bed *bed, size_t cpus)
{
    if (cpus > 0) {
        bed_with_cpus(bed, cpus);
    }
}

enum pmm_state state_of(const struct pmm_bed *bed, uint64_t frame) { return pmm_query(&bed->pmm, pfn(frame)).state; }

uint64_t take_one(struct pmm_bed *bed, unsigned flags)
{
    pfn_t frame = pfn(0);
    EXPECT_EQ(pmm_alloc(&bed->pmm, flags, &frame), STATUS_OK);
    return frame.v;
}

void free_one(struct pmm_bed *bed, uint64_t frame) { EXPECT_EQ(pmm_free(&bed->pmm, pfn(frame)), STATUS_OK); }

uint64_t *frame_list(const struct pmm_bed *bed)
{
    uint64_t frames = 0;
    for (size_t i = 0; i < bed->run_count; i++) {
        frames += bed->runs[i].frames.v;
    }
    return test_pages(bytes_to_pages_up(frames * sizeof(uint64_t)).v);
}

uint64_t take_list(struct pmm_bed *bed, unsigned flags, uint64_t *list)
{
    pfn_t frame;
    uint64_t count = 0;
    enum status s;
    while ((s = pmm_alloc(&bed->pmm, flags, &frame)) == STATUS_OK) {
        list[count++] = frame.v;
    }
    EXPECT_EQ(s, STATUS_NOMEM);
    return count;
}

void free_list(struct pmm_bed *bed, const uint64_t *list, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        free_one(bed, list[i]);
    }
}

uint64_t frame_in_state(const struct pmm_bed *bed, uint64_t block, enum pmm_state state)
{
    for (uint64_t f = block * PMM_BLOCK_FRAMES; f < (block + 1) * PMM_BLOCK_FRAMES; f++) {
        if (state_of(bed, f) == state) {
            return f;
        }
    }
    return 0;
}

void open_all(struct pmm_bed *bed)
{
    for (size_t i = 0; i < bed->pmm.run_count; i++) {
        struct frame_run run = bed->pmm.runs[i];
        for (uint64_t block = run.first.v / PMM_BLOCK_FRAMES; block * PMM_BLOCK_FRAMES < run_end(run); block++) {
            uint64_t frame = frame_in_state(bed, block, PMM_STATE_UNTOUCHED);
            if (frame != 0 && EXPECT_EQ(pmm_claim(&bed->pmm, pfn(frame), npages(1)), STATUS_OK)) {
                free_one(bed, frame);
            }
        }
    }
    EXPECT_EQ(pmm_stats(&bed->pmm).earmarked.v, 0);
}

struct pmm_bed *open_machine(uint64_t first_block, uint64_t blocks, size_t cpus)
{
    struct pmm_bed *bed = bed_new(NULL, first_block, first_block + blocks, 0);
    if (bed != NULL) {
        bed_run(bed, first_block * PMM_BLOCK_FRAMES, blocks * PMM_BLOCK_FRAMES);
        some_cpus(bed, cpus);
        if (!starts(bed)) {
            return NULL;
        }
        open_all(bed);
    }
    return bed;
}

/* ---- Nothing changed, to the byte ---- */

static size_t arrays_bytes(const struct pmm_bed *bed)
{
    return (size_t)(bed->end_block - bed->first_block) * (PMM_BLOCK_FRAMES * sizeof(uint16_t) + PMM_BLOCK_BYTES);
}

static const unsigned char *arrays_of(const struct pmm_bed *bed)
{
    return (const unsigned char *)&bed->states[bed->first_block * PMM_BLOCK_FRAMES];
}

static void *room(size_t bytes) { return bytes > 0 ? test_pages(bytes_to_pages_up(bytes).v) : NULL; }

struct snap *snap_new(const struct pmm_bed *bed)
{
    struct snap *snap = room(sizeof *snap);
    if (snap != NULL) {
        snap->arrays = room(arrays_bytes(bed));
        snap->regions = room(bed->region_capacity * PMM_REGION_BYTES);
        snap->cpus = room(bed->cpu_count * sizeof *bed->cpus);
        snap->owners = room(bed->owner_capacity * sizeof *bed->owners);
        snap->pool = room(bed->zero_capacity * sizeof *bed->zero_pool);
    }
    return snap;
}

static void keep(void *to, const void *from, size_t bytes)
{
    if (bytes > 0) {
        memcpy(to, from, bytes);
    }
}

void snap_take(struct snap *snap, const struct pmm_bed *bed)
{
    keep(&snap->bed, bed, sizeof *bed);
    keep(snap->arrays, arrays_of(bed), arrays_bytes(bed));
    keep(snap->regions, bed->regions, bed->region_capacity * PMM_REGION_BYTES);
    keep(snap->cpus, bed->cpus, bed->cpu_count * sizeof *bed->cpus);
    keep(snap->owners, bed->owners, bed->owner_capacity * sizeof *bed->owners);
    keep(snap->pool, bed->zero_pool, bed->zero_capacity * sizeof *bed->zero_pool);
}

static bool same(const char *what, const void *before, const void *now, size_t bytes)
{
    size_t at = 0;
    while (at < bytes && ((const unsigned char *)before)[at] == ((const unsigned char *)now)[at]) {
        at++;
    }
    if (at < bytes) {
        test_note("%s: byte %zu of %zu changed", what, at, bytes);
    }
    return at == bytes;
}

bool snap_same(struct snap *snap, const struct pmm_bed *bed)
{
    struct pmm *kept = &snap->bed.pmm;
    kept->misuses = bed->pmm.misuses;
    kept->lock = bed->pmm.lock; /* holds the flags of the last that took it */
    kept->known_first = bed->pmm.known_first;
    kept->known_count = bed->pmm.known_count;
    kept->known_region = bed->pmm.known_region;
    for (size_t i = 0; i < bed->cpu_count; i++) {
        struct pmm_cpu *cpu = &((struct pmm_cpu *)(void *)snap->cpus)[i];
        cpu->known_first = bed->cpus[i].known_first;
        cpu->known_count = bed->cpus[i].known_count;
        cpu->drawn_first = bed->cpus[i].drawn_first;
        cpu->drawn_count = bed->cpus[i].drawn_count;
    }
    bool ok = same("the PMM", kept, &bed->pmm, sizeof *kept);
    ok &= same("the bed", &snap->bed.arena, &bed->arena, sizeof *bed - offsetof(struct pmm_bed, arena));
    ok &= same("states and descriptors", snap->arrays, arrays_of(bed), arrays_bytes(bed));
    ok &= same("the regions", snap->regions, bed->regions, bed->region_capacity * PMM_REGION_BYTES);
    ok &= same("the CPUs", snap->cpus, bed->cpus, bed->cpu_count * sizeof *bed->cpus);
    ok &= same("the owners", snap->owners, bed->owners, bed->owner_capacity * sizeof *bed->owners);
    ok &= same("the zero pool", snap->pool, bed->zero_pool, bed->zero_capacity * sizeof *bed->zero_pool);
    return EXPECT(ok);
}

bool misuse_is_sound(struct snap *snap, const struct pmm_bed *bed, enum status s, unsigned reports,
                     const char *const words[], size_t count)
{
    bool ok = EXPECT_EQ(s, STATUS_MISUSE);
    ok &= EXPECT_EQ(test_reports(), reports + 1);
    ok &= EXPECT_EQ(bed->pmm.misuses, snap->bed.pmm.misuses + 1);
    for (size_t i = 0; i < count; i++) {
        ok &= report_has(words[i]);
    }
    ok &= snap_same(snap, bed);
    return bed_sound(bed) && ok;
}
