/* Mapping for faults: one fresh page; frames that wait for a copy. */
#include "pmm/pmm_pressure.h"
#include "vmm/edit.h"
#include "vmm/map.h"
#include "vmm/map_steps.h"
#include "vmm/share.h"

/* *s is the answer; or false: another way must find it. The PMM is asked for one frame, which nobody need promise. */
static inline bool map_page_at_spot(struct vmm *vmm, struct space *space, const struct spot *spot, bool is_kernel,
                                    uint64_t bits, pfn_t *frame, enum status *s)
{
    bool is_zero;
    if (spot->level > 1) {
        return false;
    }
    if (pte_is_present(table_load(vmm, spot->leaf))) {
        *s = STATUS_EXISTS;
        return true;
    }
    /* Those who can give memory back are not asked inside of an edit. */
    if (pmm_alloc_zeroed(vmm->pmm, (is_kernel ? PMM_KERNEL : PMM_USER) | PMM_NO_RECLAIM, frame, &is_zero) !=
        STATUS_OK) {
        return false;
    }
    if (!is_zero) {
        temp_zero(vmm, *frame);
    }
    table_store(vmm, spot->leaf, pte_make(*frame, bits));
    table_store(vmm, spot->parent, entry_count_up(spot->entry[2]));
    space->pages.v++;
    *s = STATUS_OK;
    return true;
}

/* The frame that was just mapped. The kernel half has no short question. */
static enum status find_mapped(struct vmm *vmm, struct space *space, vaddr_t va, pfn_t *frame)
{
    pte_t leaf;
    struct vmm_walk walk;
    enum status s = is_kernel_half(va) ? vmm_translate(vmm, space, va, &walk) : vmm_leaf(vmm, space, va, &leaf);
    *frame = is_kernel_half(va) ? paddr_to_pfn(walk.address) : pte_pfn(leaf);
    return s;
}

enum status map_page(struct vmm *vmm, struct space *space, vaddr_t va, unsigned rights, pfn_t *frame)
{
    enum window w = WINDOW_OWN;
    enum status s = edit_begin(vmm, space, va, "vmm_map", &w);
    if (s != STATUS_OK) {
        return s;
    }
    const uint64_t bits = PTE_P | PTE_OWNED | rights_to_bits(rights);
    const struct spot spot = w == WINDOW_OWN ? spot_find_own(vmm, va) : spot_find_foreign(vmm, va);
    const bool done = map_page_at_spot(vmm, space, &spot, is_kernel_half(va), bits, frame, &s);
    const bool again = !done && spot.level > 1 && pte_is_present(spot.last) && spot_learn(vmm, w, va);
    edit_end(vmm, space, w);
    if (done) {
        return s;
    }
    if (again) {
        return map_page(vmm, space, va, rights, frame);
    }
    s = map_fresh(vmm, space, va, npages(1), rights, true);
    if (s == STATUS_OK) {
        s = find_mapped(vmm, space, va, frame);
    }
    return s;
}

enum status vmm_map_page(struct vmm *vmm, struct space *space, vaddr_t va, unsigned rights, pfn_t *frame)
{
    enum status s = request_check(vmm, space, va, npages(1), "vmm_map_page");
    s = s == STATUS_OK ? request_check_rights(va, rights) : s;
    return s == STATUS_OK ? map_page(vmm, space, va, rights, frame) : s;
}

/* For copy on write: leaves as those of a copied table (cow.c section 3). */
enum status map_copies(struct vmm *vmm, struct space *space, vaddr_t va, pfn_t first, npages_t pages, unsigned rights,
                       bool own)
{
    enum window w = WINDOW_OWN;
    enum status s = map_check_given(vmm, space, va, first, pages, rights);
    if (s == STATUS_OK) {
        s = !own || is_kernel_half(va) ? STATUS_INVALID : edit_begin(vmm, space, va, "vmm_map_frames", &w);
    }
    if (s != STATUS_OK) {
        return s;
    }
    const pte_t leaf = cow_leaf_with((pte_t){PTE_P | PTE_OWNED | PTE_COW}, rights_to_bits(rights));
    const struct given g = {va, first, pages.v, leaf.v, NULL};
    return map_given(vmm, space, w, g);
}
