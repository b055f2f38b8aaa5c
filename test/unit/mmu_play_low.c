/* Memory runs short in the middle of an operation. */
#include "unit/mmu_play_low.h"

#include "lib/macros.h"
#include "pmm/pmm_pressure.h"
#include "unit/mmu_play_share.h"

/* All frames but some are promised to somebody, who gives them up when asked, and one that is his. */
static struct {
    struct vmm *vmm;
    npages_t promised;
    pfn_t frame;
    const struct play_op *op; /* null: done */
    void (*run)(const struct play_op *op);
} hoard;

static unsigned count;

unsigned play_low_count(void) { return count; }

static void expect_ok(enum status s)
{
    if (s != STATUS_OK) {
        play_fail("a hoard of frames: %s", status_name(s));
    }
}

static npages_t give(void *ctx, npages_t wanted)
{
    (void)ctx;
    const struct play_op *op = hoard.op;
    if (op == NULL) {
        return npages(0);
    }
    hoard.op = NULL;
    expect_ok(pmm_unpromise(hoard.vmm->pmm, hoard.promised));
    expect_ok(pmm_free(hoard.vmm->pmm, hoard.frame));
    count++;
    hoard.run(op);
    return wanted;
}

bool play_low_is_beside(const struct play_op *op)
{
    static const uint8_t beside[] = {PLAY_MAP,   PLAY_MAP_FRAMES, PLAY_UNMAP, PLAY_PROTECT, PLAY_CLEAR, PLAY_USE,
                                     PLAY_SWITCH, PLAY_KERNEL,    PLAY_KEEP,  PLAY_MARKS,   PLAY_GLOBAL};
    bool is_beside = false;
    for (unsigned i = 0; i < ARRAY_LEN(beside); i++) {
        is_beside = is_beside || op->kind == beside[i];
    }
    return is_beside;
}

bool play_low_fits(const struct play_op *op) { return op[1].kind >= PLAY_LARGE && play_low_is_beside(&op[2]); }

void play_low_run(struct vmm *vmm, const struct play_op *op, void (*run)(const struct play_op *op))
{
    struct pmm_low low = {.reclaim = give};
    hoard.vmm = vmm;
    hoard.run = run;
    hoard.op = &op[2];
    if (pmm_alloc(vmm->pmm, PMM_KERNEL, &hoard.frame) != STATUS_OK) {
        run(&op[1]);
        run(&op[2]);
        return;
    }
    const struct pmm_stats s = pmm_stats(vmm->pmm);
    const uint64_t left = op->pages % 4;
    hoard.promised = npages(s.free.v - s.promised.v > left ? s.free.v - s.promised.v - left : 0);
    expect_ok(pmm_promise(vmm->pmm, hoard.promised));
    expect_ok(pmm_low_add(vmm->pmm, &low));
    run(&op[1]);
    expect_ok(pmm_low_remove(vmm->pmm, &low));
    if (hoard.op != NULL) {
        hoard.op = NULL;
        expect_ok(pmm_unpromise(vmm->pmm, hoard.promised));
        expect_ok(pmm_free(vmm->pmm, hoard.frame));
        run(&op[2]);
    }
}
