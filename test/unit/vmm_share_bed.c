/* What tests of shared tables ask of a space, and do to it. */
#include "unit/vmm_share_bed.h"

#include "arch/arch.h"
#include "vmm/vmm_share.h"

unsigned rights_of(struct vmm_bed *bed, struct space *space, vaddr_t va)
{
    struct vmm_walk w;
    EXPECT_OK(vmm_translate(bed->vmm, space, va, &w));
    return w.rights;
}

uint64_t word_of(struct vmm_bed *bed, struct space *space, vaddr_t va)
{
    uint64_t word = UINT64_MAX;
    EXPECT_OK(space_peek(bed->vmm, space, va, &word, sizeof word));
    return word;
}

pfn_t zero_frame_of(struct vmm_bed *bed)
{
    pfn_t frame = {0};
    if (pmm_zero_frame(bed->vmm->pmm, &frame) != STATUS_OK) {
        EXPECT_OK(pmm_alloc(bed->vmm->pmm, PMM_KERNEL, &frame));
        EXPECT_OK(frame_zero(bed->vmm, frame));
        EXPECT_OK(pmm_zero_frame_set(bed->vmm->pmm, frame));
        bed->frames++;
    }
    return frame;
}

void write_word(struct vmm_bed *bed, struct space *space, vaddr_t va, uint64_t word)
{
    struct space *was = bed->vmm->current;
    EXPECT_OK(vmm_own_page(bed->vmm, space, va));
    vmm_bed_switch(bed, space);
    arch_write64(va, word);
    vmm_bed_switch(bed, was);
}
