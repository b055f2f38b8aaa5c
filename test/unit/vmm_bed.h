/* What most tests of the VMM begin and end with: a VMM, two fresh spaces, and every frame back in the end. */
#ifndef CAIRN_TEST_UNIT_VMM_BED_H
#define CAIRN_TEST_UNIT_VMM_BED_H

#include "unit/test.h"
#include "unit/vmm_env.h"

/* Page-aligned addresses for tests, each at the start of a 1 GiB part, in the private and the global user part. */
#define VA_PRIVATE 0x0000012340000000
#define VA_GLOBAL 0x0000400080000000
#define PAGES_PER_1G ((uint64_t)PAGES_PER_2M * TABLE_ENTRIES)

struct vmm_bed {
    struct vmm *vmm;
    struct space *home;   /* current when the test began */
    struct space a, b;
    uint64_t frames;      /* in use before the spaces */
};

/* => false: no VMM, the test has failed. */
bool vmm_bed_open(struct vmm_bed *bed);
/* Back to the first space, both spaces destroyed, frames and validator compared. */
void vmm_bed_close(struct vmm_bed *bed);

/* Frames in use that are not the kernel arena's nodes (which grow and stay). */
uint64_t vmm_bed_frames(const struct vmm *vmm);
/* Leave exactly `frames` to be allocated; give the rest back again. */
npages_t vmm_bed_limit(struct vmm_bed *bed, uint64_t frames);
void vmm_bed_unlimit(struct vmm_bed *bed, npages_t taken);

/* The validator; its complaints become notes. */
bool vmm_bed_check(struct vmm *vmm);
/* Switch, and expect that it works. */
void vmm_bed_switch(struct vmm_bed *bed, struct space *space);
/* Page number of what `va` translates to; UINT64_MAX when it is not mapped. */
uint64_t vmm_bed_frame_of(struct vmm_bed *bed, struct space *space, vaddr_t va);
/* In the space that is current. */
static inline bool vmm_bed_is_mapped(struct vmm_bed *bed, vaddr_t va)
{
    return vmm_bed_frame_of(bed, bed->vmm->current, va) != UINT64_MAX;
}

#define EXPECT_OK(call) EXPECT_EQ((call), STATUS_OK)

#endif
