/* The machine of the tests of runs and owners. */
#include "unit/pmm_runs_bed.h"

struct pmm_bed *runs_bed(size_t field_blocks, size_t cpus)
{
    struct pmm_bed *bed = bed_new(NULL, SIDE / BLOCK, FIELD / BLOCK + field_blocks, 0);
    if (bed != NULL) {
        bed_run(bed, SIDE, SIDE_FRAMES);
        bed_run(bed, FIELD, field_blocks * BLOCK);
        bed_with_owners(bed, RUNS_BED_OWNERS);
        bed_with_cpus(bed, cpus);
    }
    return bed;
}

struct pmm_bed *runs_bed_full(size_t field_blocks, size_t cpus)
{
    struct pmm_bed *bed = runs_bed(field_blocks, cpus);
    return bed != NULL && bed_starts(bed) && bed_fill(bed, FIELD, field_blocks * BLOCK) ? bed : NULL;
}

bool free_frames(struct pmm_bed *bed, uint64_t first, uint64_t frames)
{
    for (uint64_t f = first; f < first + frames; f++) {
        if (!EXPECT_EQ(pmm_free(&bed->pmm, pfn(f)), STATUS_OK)) {
            return false;
        }
    }
    return true;
}

enum status run_of(struct pmm_bed *bed, uint64_t n, uint64_t align, uint64_t boundary, uint64_t limit, pfn_t *first)
{
    return pmm_alloc_run(&bed->pmm, PMM_KERNEL, npages(n), npages(align), npages(boundary), pfn(limit), first);
}

enum status any_run(struct pmm_bed *bed, uint64_t n, pfn_t *first)
{
    return pmm_alloc_run(&bed->pmm, PMM_KERNEL, npages(n), npages(0), npages(0), PMM_NO_LIMIT, first);
}

enum status free_run(struct pmm_bed *bed, uint64_t first, uint64_t n)
{
    return pmm_free_run(&bed->pmm, pfn(first), npages(n));
}

enum pmm_state frame_state(const struct pmm_bed *bed, uint64_t frame) { return pmm_query(&bed->pmm, pfn(frame)).state; }

static bool expect_all(struct pmm_bed *bed, uint64_t first, uint64_t n, bool used)
{
    for (uint64_t f = first; f < first + n; f++) {
        struct pmm_frame q = pmm_query(&bed->pmm, pfn(f));
        bool is_used = q.state == PMM_STATE_USED || q.state == PMM_STATE_RUN;
        bool is_free = q.state == PMM_STATE_FREE || q.state == PMM_STATE_CACHED || q.state == PMM_STATE_UNTOUCHED;
        if (!EXPECT(used ? is_used : is_free) || !EXPECT_EQ(q.references, used)) {
            test_note("frame %#lx, number %lu of [%#lx, %#lx): %s, references %u", f, f - first, first, first + n,
                      pmm_state_name(q.state), q.references);
            return false;
        }
    }
    return true;
}

bool expect_used(struct pmm_bed *bed, uint64_t first, uint64_t n) { return expect_all(bed, first, n, true); }
bool expect_free(struct pmm_bed *bed, uint64_t first, uint64_t n) { return expect_all(bed, first, n, false); }

bool expect_report(const char *call, uint64_t frame, enum pmm_state state)
{
    char address[32], named[32];
    fmt_text(address, sizeof address, "%#lx", pfn_to_paddr(pfn(frame)).v);
    fmt_text(named, sizeof named, "(%s,", pmm_state_name(state));
    return EXPECT(bed_reported(call)) && EXPECT(bed_reported(address)) && EXPECT(bed_reported(named));
}

struct pmm_bed *owner_bed(size_t field_blocks, size_t cpus, uint64_t threshold, unsigned guard, unsigned *owner)
{
    struct pmm_bed *bed = runs_bed(field_blocks, cpus);
    if (bed == NULL || !bed_starts(bed)) {
        return NULL;
    }
    pmm_policy_set(&bed->pmm, (struct pmm_policy){.owner_threshold = npages(threshold), .owner_guard = guard});
    return EXPECT_EQ(pmm_owner_open(&bed->pmm, owner), STATUS_OK) ? bed : NULL;
}

pfn_t draw(struct pmm_bed *bed, unsigned owner)
{
    pfn_t frame = pfn(0);
    EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_OWNER(owner), &frame), STATUS_OK);
    return frame;
}

bool draw_many(struct pmm_bed *bed, unsigned owner, pfn_t *frames, uint64_t n)
{
    uint64_t i = 0;
    while (i < n && (frames[i] = draw(bed, owner)).v != 0) {
        i++;
    }
    return i == n;
}

unsigned owner_of(const struct pmm_bed *bed, pfn_t frame) { return pmm_query(&bed->pmm, frame).owner; }

bool expect_books(struct pmm_bed *bed, unsigned owner, uint64_t own_blocks, uint64_t in_own, uint64_t elsewhere)
{
    struct pmm_owner_stats s;
    if (!EXPECT(pmm_owner_stats(&bed->pmm, owner, &s))) {
        return false;
    }
    bool ok = EXPECT_EQ(s.own_blocks.v, own_blocks);
    ok = EXPECT_EQ(s.in_own.v, in_own) && ok;
    return EXPECT_EQ(s.elsewhere.v, elsewhere) && ok;
}

uint64_t whole_blocks(const struct pmm_bed *bed)
{
    uint64_t frames = pmm_stats(&bed->pmm).whole.v;
    struct pmm_region_stats region;
    for (size_t i = 0; pmm_region_stats(&bed->pmm, i, &region); i++) {
        frames += region.untouched.v; /* its never-used blocks are all RAM */
    }
    return frames / BLOCK;
}

pfn_t *frames_for(uint64_t n) { return test_pages(bytes_to_pages_up(n * sizeof(pfn_t)).v); }
