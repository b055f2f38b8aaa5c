/* When the kernel moves pages. How: aspace/compact.c. */
#include "kernel/mover.h"

#include "kernel/console.h"
#include "kernel/machine.h"
#include "lib/report.h"

/* A quarter of what is free is scattered over partly free blocks, and as many as sixteen blocks have. */
struct mover_policy mover_policy = {.least = {16 * PMM_BLOCK_FRAMES}, .share = 4};
struct aspace_compaction mover_total;

static void add(const struct aspace_compaction *c)
{
    mover_total.won += c->won;
    mover_total.moved += c->moved;
    mover_total.tried += c->tried;
    for (unsigned i = 0; i < ASPACE_MOVES; i++) {
        mover_total.refused[i] += c->refused[i];
    }
}

static bool make_run(void *ctx, const struct pmm_run_wish *wish)
{
    struct aspace_compaction c = {0};
    (void)ctx;
    const bool made = aspaces_make_run(&machine.aspaces, wish, &c);
    add(&c);
    if (c.tried > 0) {
        log_at(LOG_DEBUG, "mover: for %lu frames in a row: %lu pages moved, %lu blocks won%s", wish->frames, c.moved,
               c.won, made ? "" : ", not those");
    }
    return made;
}

void mover_init(void) { pmm_mover_set(&machine.pmm, make_run, NULL); }

enum status mover_compact(uint64_t blocks, struct aspace_compaction *out)
{
    *out = (struct aspace_compaction){0};
    const enum status s = aspaces_compact(&machine.aspaces, blocks, out);
    add(out);
    return s;
}

/* ---- Regions that go and come ---- */

static struct pmm_region_stats gone[MOVER_GONE_MAX]; /* frames 0: none */

/* The one that begins there, or a free place. Null: there is none. */
static struct pmm_region_stats *find_gone(pfn_t base, bool is_free)
{
    for (unsigned i = 0; i < MOVER_GONE_MAX; i++) {
        if ((gone[i].frames.v == 0) == is_free && (is_free || gone[i].base.v == base.v)) {
            return &gone[i];
        }
    }
    return NULL;
}

bool mover_may_come_back(const struct pmm_region_stats *region)
{
    return region->base.v % PMM_BLOCK_FRAMES == 0 && region->frames.v % PMM_BLOCK_FRAMES == 0 &&
           region->frames.v == region->span.v;
}

enum status mover_remove_region(size_t index, struct pmm_region_stats *region, struct pmm_in_the_way *way,
                                struct aspace_compaction *out)
{
    struct pmm_region_stats *place = find_gone(pfn(0), true);
    *out = (struct aspace_compaction){0};
    if (!pmm_region_stats(&machine.pmm, index, region)) {
        return STATUS_RANGE;
    }
    const bool comes_back = mover_may_come_back(region);
    if (comes_back && place == NULL) {
        report(REPORT_NOTE, "%u regions went: more are too many (MOVER_GONE_MAX)", MOVER_GONE_MAX);
        return STATUS_LIMIT;
    }
    const enum status s = aspaces_remove_region(&machine.aspaces, region->base, region->span, way, out);
    add(out);
    if (s == STATUS_OK && comes_back) {
        *place = *region;
    }
    return s;
}

enum status mover_add_region(pfn_t base)
{
    struct pmm_region_stats *place = find_gone(base, false);
    if (place == NULL) {
        return STATUS_ABSENT;
    }
    const enum status s = pmm_region_add(&machine.pmm, base, place->frames, place->node);
    if (s == STATUS_OK) {
        place->frames = npages(0);
    }
    return s;
}

/* ---- Idle time ---- */

static npages_t scattered_of(const struct pmm_stats *s)
{
    const uint64_t others = s->whole.v + s->untouched.v + s->cached.v;
    return npages(s->free.v > others ? s->free.v - others : 0);
}

npages_t mover_scattered(void)
{
    const struct pmm_stats s = pmm_stats(&machine.pmm);
    return scattered_of(&s);
}

void mover_idle_step(void)
{
    static uint64_t not_before; /* so many frames were freed */
    struct aspace_compaction c;
    const struct pmm_stats s = pmm_stats(&machine.pmm);
    const uint64_t scattered = scattered_of(&s).v;
    if (scattered >= mover_policy.least.v && scattered > s.free.v / mover_policy.share && s.freed >= not_before &&
        (mover_compact(1, &c) != STATUS_OK || c.won == 0)) {
        not_before = pmm_stats(&machine.pmm).freed + mover_policy.least.v;
    }
}
