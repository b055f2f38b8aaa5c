#include "unit/user_bed.h"

#include "kernel/machine.h"
#include "unit/test.h"

/* The image is no place that space_copy reads from. */
static enum status put_code(struct space *space, const uint8_t *code, uint64_t bytes)
{
    struct vmm_walk w;
    vaddr_t page;
    enum status s = vmm_translate(&machine.vmm, space, user_code_at, &w);
    if (s == STATUS_OK) {
        s = temp_map(&machine.vmm, paddr_to_pfn(w.address), &page);
    }
    if (s == STATUS_OK) {
        memcpy(vaddr_to_ptr(page), code, bytes);
        s = temp_unmap(&machine.vmm, page);
    }
    return s;
}

bool user_bed_make(struct user_bed *bed, const uint8_t *code, const uint8_t *end)
{
    struct vmm *vmm = &machine.vmm;
    enum status s = space_create(vmm, &bed->space);
    const uint64_t bytes = (uint64_t)(end - code);
    if (s == STATUS_OK) {
        s = vmm_map(vmm, &bed->space, user_code_at, npages(2), VMM_READ | VMM_WRITE | VMM_USER);
    }
    if (s == STATUS_OK) {
        s = put_code(&bed->space, code, bytes);
    }
    if (s == STATUS_OK) {
        s = vmm_protect(vmm, &bed->space, user_code_at, npages(1), VMM_READ | VMM_EXECUTE | VMM_USER);
    }
    return EXPECT_EQ(s, STATUS_OK);
}

void user_bed_run(struct user_bed *bed)
{
    user_context_init(&bed->context, user_code_at, vaddr_add_pages(user_data_at, 1));
    user_bed_go_on(bed);
}

void user_bed_go_on(struct user_bed *bed)
{
    EXPECT_EQ(space_switch(&machine.vmm, &bed->space), STATUS_OK);
    EXPECT_EQ(user_run(&bed->context), STATUS_OK);
    EXPECT_EQ(space_switch(&machine.vmm, &machine.vmm.kernel), STATUS_OK);
}

void user_bed_end(struct user_bed *bed) { EXPECT_EQ(space_destroy(&machine.vmm, &bed->space), STATUS_OK); }
