/* Temporary mappings: a stack of slots with a hole between any two, and what is done through them. */
#include "arch/arch.h"
#include "lib/report.h"
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"
#include "vmm/cache_types.h"
#include "vmm/frames.h"

/* Up to so many frames come from the magazine. */
enum { FRAMES_FEW = 16 };

static vaddr_t slot_entry(unsigned slot) { return window_entry(WINDOW_OWN, temp_slot_page(slot), 1); }

vaddr_t temp_slot_set(struct vmm *vmm, unsigned slot, pfn_t frame)
{
    /* Not present before, and flushed when it became so: no INVLPG (R6). */
    table_store(vmm, slot_entry(slot), pte_make(frame, TEMP_LEAF_BITS));
    return temp_slot_page(slot);
}

void temp_slot_clear(struct vmm *vmm, unsigned slot)
{
    table_store(vmm, slot_entry(slot), (pte_t){0});
    window_invlpg(vmm, temp_slot_page(slot));
}

/* May a frame from outside be mapped for a moment? */
static enum status check_frame(const struct vmm *vmm, pfn_t frame)
{
    if (frame.v >= vmm->frames_end.v) {
        return STATUS_RANGE;
    }
    return frame_is_write_back(vmm, frame) ? STATUS_OK : STATUS_CONFLICT;
}

enum status temp_map(struct vmm *vmm, pfn_t frame, vaddr_t *page)
{
    enum status s = check_frame(vmm, frame);
    if (s != STATUS_OK) {
        return s;
    }
    if (vmm->temp_count == VMM_TEMP_SLOTS) {
        return STATUS_LIMIT;
    }
    *page = temp_slot_set(vmm, TEMP_SLOT_STACK + vmm->temp_count, frame);
    vmm->temp_count++;
    return STATUS_OK;
}

enum status temp_unmap(struct vmm *vmm, vaddr_t page)
{
    if (vmm->temp_count == 0) {
        return misuse("temp_unmap: page %#lx, but no temporary mapping is in use", page.v);
    }
    unsigned slot = TEMP_SLOT_STACK + vmm->temp_count - 1;
    if (page.v != temp_slot_page(slot).v) {
        return misuse("temp_unmap: page %#lx is not the latest of %u temporary mappings, which is %#lx", page.v,
                      vmm->temp_count, temp_slot_page(slot).v);
    }
    temp_slot_clear(vmm, slot);
    vmm->temp_count--;
    return STATUS_OK;
}

bool temp_shows(struct vmm *vmm, pfn_t first, uint64_t frames)
{
    for (unsigned slot = 0; slot < vmm->temp_count; slot++) {
        const pte_t leaf = table_load(vmm, slot_entry(TEMP_SLOT_STACK + slot));
        if (pte_pfn(leaf).v - first.v < frames) {
            return true;
        }
    }
    return false;
}

void temp_zero(struct vmm *vmm, pfn_t frame)
{
    arch_page_zero(temp_slot_set(vmm, TEMP_SLOT_ZERO, frame));
    temp_slot_clear(vmm, TEMP_SLOT_ZERO);
}

enum status frame_zero(struct vmm *vmm, pfn_t frame)
{
    enum status s = check_frame(vmm, frame);
    if (s == STATUS_OK) {
        temp_zero(vmm, frame);
    }
    return s;
}

void temp_copy(struct vmm *vmm, pfn_t to, pfn_t from)
{
    vaddr_t target = temp_slot_set(vmm, TEMP_SLOT_ZERO, to);
    vaddr_t source = temp_slot_set(vmm, TEMP_SLOT_COPY, from);
    arch_page_copy(target, source);
    temp_slot_clear(vmm, TEMP_SLOT_COPY);
    temp_slot_clear(vmm, TEMP_SLOT_ZERO);
}

enum status frame_copy(struct vmm *vmm, pfn_t to, pfn_t from)
{
    enum status s = check_frame(vmm, to);
    s = s == STATUS_OK ? check_frame(vmm, from) : s;
    if (s == STATUS_OK) {
        temp_copy(vmm, to, from);
    }
    return s;
}

static void must_be_kept(enum status s)
{
    if (s != STATUS_OK) {
        report(REPORT_CORRUPT, "a promised frame was refused by the PMM: %s", status_name(s));
        arch_fatal("the PMM broke a promise in the middle of a change of page tables");
    }
}

pfn_t frame_take(struct vmm *vmm, unsigned class)
{
    pfn_t frame = pfn(0);
    must_be_kept(pmm_alloc(vmm->pmm, class | PMM_PROMISED | PMM_NO_RECLAIM, &frame));
    return frame;
}

void frames_take(struct vmm *vmm, unsigned class, pfn_t *frames, npages_t n)
{
    if (n.v <= FRAMES_FEW) {
        for (uint64_t i = 0; i < n.v; i++) {
            frames[i] = frame_take(vmm, class);
        }
        return;
    }
    must_be_kept(pmm_alloc_many(vmm->pmm, class | PMM_PROMISED | PMM_NO_RECLAIM, frames, n));
}

pfn_t frame_take_either(struct vmm *vmm, unsigned class, bool *is_zero)
{
    pfn_t frame = pfn(0);
    must_be_kept(pmm_alloc_zeroed(vmm->pmm, class | PMM_PROMISED | PMM_NO_RECLAIM, &frame, is_zero));
    return frame;
}

pfn_t frame_take_zeroed(struct vmm *vmm, unsigned class)
{
    bool is_zero = false;
    const pfn_t frame = frame_take_either(vmm, class, &is_zero);
    if (!is_zero) {
        temp_zero(vmm, frame);
    }
    return frame;
}

void frames_take_zeroed(struct vmm *vmm, unsigned class, pfn_t *frames, npages_t n)
{
    uint64_t zero = 0;
    for (bool is_zero = true; zero < n.v; zero++) {
        frames[zero] = frame_take_either(vmm, class, &is_zero);
        if (!is_zero) {
            break;
        }
    }
    for (uint64_t i = 0; i < zero / 2; i++) { /* the pool is a stack: now they ascend, where they are neighbours */
        pfn_t first = frames[i];
        frames[i] = frames[zero - 1 - i];
        frames[zero - 1 - i] = first;
    }
    if (zero == n.v) {
        return;
    }
    if (zero + 1 < n.v) { /* there are no more of them */
        frames_take(vmm, class, &frames[zero + 1], npages(n.v - zero - 1));
    }
    for (; zero < n.v; zero++) {
        temp_zero(vmm, frames[zero]);
    }
}
