/* Accesses to spaces as a CPU makes them. */
#include "unit/aspace_touch.h"

#include "arch/arch.h"
#include "pmm/pmm_pressure.h"

uint64_t frame_shown(struct aspace *space, vaddr_t va)
{
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(space->system->vmm, &space->tables, va, &w));
    return w.present ? paddr_to_pfn(w.address).v : UINT64_MAX;
}

unsigned rights_shown(struct aspace *space, vaddr_t va)
{
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(space->system->vmm, &space->tables, va, &w));
    return w.rights;
}

uint64_t pages_shown(const struct aspace *space) { return space->tables.pages.v; }

enum status touch(struct aspace *space, vaddr_t va, unsigned access) { return aspace_fault(space, va, access, NULL); }

static bool is_permitted(struct aspace *space, vaddr_t va, unsigned access)
{
    return (access & ~rights_shown(space, va)) == 0 || EXPECT_OK(touch(space, va, access));
}

void put_word(struct aspace_bed *bed, struct aspace *space, vaddr_t va, uint64_t word)
{
    struct space *was = bed->vmm->current;
    if (is_permitted(space, va, VMM_WRITE)) {
        aspace_bed_switch(bed, space);
        arch_write64(va, word);
        EXPECT_OK(space_switch(bed->vmm, was));
    }
}

uint64_t get_word(struct aspace_bed *bed, struct aspace *space, vaddr_t va)
{
    struct space *was = bed->vmm->current;
    uint64_t word = UINT64_MAX;
    if (is_permitted(space, va, VMM_READ)) {
        aspace_bed_switch(bed, space);
        word = arch_read64(va);
        EXPECT_OK(space_switch(bed->vmm, was));
    }
    return word;
}

uint64_t with_every_number_of_frames(struct aspace_bed *bed, enum status (*call)(void))
{
    for (uint64_t k = 0;; k++) {
        (void)aspaces_reclaim(&bed->system, npages(UINT64_MAX));
        const uint64_t before = aspace_bed_digest(bed);
        const struct pmm_stats st = pmm_stats(bed->vmm->pmm);
        const npages_t taken = npages(st.free.v - st.promised.v - k);
        EXPECT_OK(pmm_promise(bed->vmm->pmm, taken));
        const enum status s = call();
        EXPECT_OK(pmm_unpromise(bed->vmm->pmm, taken));
        if (s != STATUS_NOMEM) {
            EXPECT_EQ(s, STATUS_OK);
            return k;
        }
        if (!EXPECT_EQ(aspace_bed_digest(bed), before) || !EXPECT(aspace_bed_check(bed))) {
            test_note("with %lu frames", k);
            return k;
        }
    }
}
