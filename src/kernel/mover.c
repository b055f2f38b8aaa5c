/* When the kernel moves pages. How: aspace/compact.c. */
#include "kernel/mover.h"

#include "kernel/console.h"
#include "kernel/machine.h"

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

void mover_idle_step(void)
{
    static uint64_t not_before; /* so many frames were freed */
    struct aspace_compaction c;
    const struct pmm_stats s = pmm_stats(&machine.pmm);
    const uint64_t others = s.whole.v + s.untouched.v + s.cached.v;
    const uint64_t scattered = s.free.v > others ? s.free.v - others : 0;
    if (scattered >= mover_policy.least.v && scattered > s.free.v / mover_policy.share && s.freed >= not_before &&
        (mover_compact(1, &c) != STATUS_OK || c.won == 0)) {
        not_before = pmm_stats(&machine.pmm).freed + mover_policy.least.v;
    }
}
