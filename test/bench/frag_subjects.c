/* Who takes part in the benchmark `fragmentation`: the ways of test/rivals/pmm/, and the PMM with and without owners.
 * */
#include "bench/bed.h"
#include "bench/fragmentation.h"
#include "rivals/pmm/frames.h"
#include "rivals/pmm/machine.h"

/* ---- The ways ---- */

static const struct frames_way *way;
static void *state;

static void way_start(const struct frag_subject *self, uint64_t frames)
{
    static struct frame_run run; /* kept by the way */
    run = (struct frame_run){pfn(0), npages(frames)};
    way = frames_way(self->name);
    state = way == NULL ? NULL : way->start(&run, 1);
    bed_must(state == NULL ? STATUS_NOMEM : STATUS_OK, self->name);
}

static uint64_t way_alloc(uint32_t who)
{
    return who == FRAG_KERNEL && way->alloc_kernel != NULL ? way->alloc_kernel(state).v : way->alloc(state).v;
}

static void way_free(uint64_t frame) { bed_must(way->free(state, pfn(frame)), way->name); }

static void way_hidden(void (*tell)(uint64_t first, uint64_t frames))
{
    pfn_t cached[FRAMES_CACHED_MAX];
    size_t count = way->cached == NULL ? 0 : way->cached(state, cached);
    for (size_t i = 0; i < count; i++) {
        tell(cached[i].v, 1);
    }
}

static void way_end(void) { machine_end(); }

/* ---- The PMM, behind magazines ---- */

enum { OWNERS = 20000 };
static struct bed *bed;
static uint64_t base;
static uint64_t drawn_by_owners, taken_back; /* frames, of those that went */

/* Its metadata takes frames of this memory, as it does in a machine. */
static void pmm_start(const struct frag_subject *self, uint64_t frames)
{
    (void)self;
    base = paddr_to_pfn(paddr(4 * GIB)).v;
    drawn_by_owners = taken_back = 0;
    bed = bed_new(base + frames, 1);
    bed->cpu_count = 1;
    bed_want_owners(bed, OWNERS);
    bed_run(bed, base, frames);
    bed_start(bed);
}

/* A machine of other size is played with processes of other sizes. */
static void pmm_start_with_owners(const struct frag_subject *self, uint64_t frames)
{
    pmm_start(self, frames);
    struct pmm_policy policy = pmm_policy(&bed->pmm);
    policy.owner_threshold.v = policy.owner_threshold.v * frames / bytes_to_pages_down(4 * GIB).v;
    pmm_policy_set(&bed->pmm, policy);
}

static uint64_t pmm_take(uint32_t who)
{
    pfn_t frame;
    unsigned flags = who == FRAG_KERNEL ? PMM_KERNEL : who == FRAG_NOBODY ? PMM_USER : PMM_OWNER(who);
    return pmm_alloc(&bed->pmm, flags, &frame) == STATUS_OK ? frame.v - base : UINT64_MAX;
}

static void pmm_give(uint64_t frame) { bed_must(pmm_free(&bed->pmm, pfn(base + frame)), "pmm_free"); }

static uint32_t pmm_open(void)
{
    unsigned owner;
    bed_must(pmm_owner_open(&bed->pmm, &owner), "pmm_owner_open");
    return owner;
}

static void pmm_leave(uint32_t who, uint64_t frame)
{
    if (!pmm_owner_takes_back(&bed->pmm, who, pfn(base + frame))) {
        pmm_give(frame);
    }
}

static void pmm_close(uint32_t who)
{
    struct pmm_owner_stats stats;
    struct pmm_owner_end end;
    bed_must(pmm_owner_stats(&bed->pmm, who, &stats) ? STATUS_OK : STATUS_ABSENT, "pmm_owner_stats");
    bed_must(pmm_owner_close(&bed->pmm, who, &end), "pmm_owner_close");
    drawn_by_owners += stats.drawn;
    taken_back += end.frames.v;
}

static double pmm_own(void) { return drawn_by_owners == 0 ? 0 : 100 * (double)taken_back / (double)drawn_by_owners; }

static void (*tell_hidden)(uint64_t first, uint64_t frames);

/* Magazines keep frames apart, but not the blocks that a CPU has ready as such. */
static bool visit(void *ctx, pfn_t first, npages_t frames, enum pmm_state s)
{
    (void)ctx;
    uint64_t at = first.v, end = first.v + frames.v;
    if (s == PMM_STATE_METADATA || s == PMM_STATE_RESERVED) {
        tell_hidden(at - base, frames.v);
    }
    while (s == PMM_STATE_CACHED && at < end) {
        bool is_block = at % PMM_BLOCK_FRAMES == 0 && end - at >= PMM_BLOCK_FRAMES;
        if (!is_block) {
            tell_hidden(at - base, 1);
        }
        at += is_block ? (uint64_t)PMM_BLOCK_FRAMES : 1;
    }
    return true;
}

static void pmm_hidden(void (*tell)(uint64_t first, uint64_t frames))
{
    tell_hidden = tell;
    pmm_walk(&bed->pmm, visit, NULL);
}

static void pmm_end(void)
{
    bed_check(bed);
    bed_free(bed);
}

/* ---- All ---- */

#define WAY(name_, same_as_)                                                                                 \
    {.name = name_, .same_as = same_as_, .start = way_start, .alloc = way_alloc, .free = way_free,           \
     .hidden = way_hidden, .end = way_end}
#define PMM .alloc = pmm_take, .free = pmm_give, .hidden = pmm_hidden, .end = pmm_end

const struct frag_subject frag_subjects[FRAG_SUBJECTS] = {
    {.name = "cairn", .start = pmm_start_with_owners, .open = pmm_open, .leave = pmm_leave, .close = pmm_close,
     .own = pmm_own, PMM},
    {.name = "cairn-no-owners", .start = pmm_start, PMM},
    WAY("raw-stack", NULL),
    WAY("flat-stack", "raw-stack"),
    WAY("table-list", "raw-stack"),
    WAY("frame-list", "raw-stack"),
    WAY("bitmap", NULL),
    WAY("zero-pages", "bitmap"), /* these three but for the frames that they are made of */
    WAY("inverted", "bitmap"),
    WAY("faulted", "bitmap"),
    WAY("by-region", "bitmap"),
    WAY("summary", "bitmap"),
    WAY("extent", "bitmap"),
    WAY("next-fit", NULL),
    WAY("buddy", NULL),
    WAY("buddy-cpu", NULL),
    WAY("tree", NULL),
};
