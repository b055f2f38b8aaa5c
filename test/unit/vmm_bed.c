/* The bed of the VMM's tests. */
#include "unit/vmm_bed.h"

#include "pmm/pmm_pressure.h"

uint64_t vmm_bed_frames(const struct vmm *vmm) { return pmm_stats(vmm->pmm).used.v - vmm->node_pages.v; }

bool vmm_bed_open(struct vmm_bed *bed)
{
    bed->vmm = test_vmm();
    if (bed->vmm == NULL) {
        return false;
    }
    pmm_drain(bed->vmm->pmm); /* what is zeroed ahead makes calls cheaper */
    bed->home = bed->vmm->current;
    bed->frames = vmm_bed_frames(bed->vmm);
    return EXPECT_OK(space_create(bed->vmm, &bed->a)) && EXPECT_OK(space_create(bed->vmm, &bed->b));
}

bool vmm_bed_check(struct vmm *vmm)
{
    static char text[2048];
    struct buffer_sink b;
    buffer_sink_init(&b, text, sizeof text);
    bool ok = vmm_check(vmm, &b.sink) == STATUS_OK;
    if (!ok) {
        test_note("vmm_check: %s", text);
    }
    return ok;
}

void vmm_bed_close(struct vmm_bed *bed)
{
    EXPECT(vmm_bed_check(bed->vmm));
    vmm_bed_switch(bed, bed->home);
    EXPECT_OK(space_destroy(bed->vmm, &bed->a));
    EXPECT_OK(space_destroy(bed->vmm, &bed->b));
    EXPECT(vmm_bed_check(bed->vmm));
    EXPECT_EQ(vmm_bed_frames(bed->vmm), bed->frames);
}

void vmm_bed_switch(struct vmm_bed *bed, struct space *space) { EXPECT_OK(space_switch(bed->vmm, space)); }

npages_t vmm_bed_limit(struct vmm_bed *bed, uint64_t frames)
{
    struct pmm_stats s = pmm_stats(bed->vmm->pmm);
    npages_t taken = npages(s.free.v - s.promised.v - frames);
    EXPECT_OK(pmm_promise(bed->vmm->pmm, taken));
    return taken;
}

void vmm_bed_unlimit(struct vmm_bed *bed, npages_t taken) { EXPECT_OK(pmm_unpromise(bed->vmm->pmm, taken)); }

uint64_t vmm_bed_frame_of(struct vmm_bed *bed, struct space *space, vaddr_t va)
{
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed->vmm, space, va, &w));
    return w.present ? paddr_to_pfn(w.address).v : UINT64_MAX;
}
