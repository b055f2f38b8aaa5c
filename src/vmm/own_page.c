/* A page becomes writable for its space alone (cow.c section 3). */
#include "vmm/cow.h"
#include "arch/arch.h"
#include "pmm/pmm_pressure.h"
#include "vmm/gather.h"
#include "vmm/large.h"

enum verdict {
    PAGE_DECIDED, /* the status says it */
    PAGE_BEHIND,  /* a table on the way is shared */
    PAGE_READY,   /* its frame is all that is left */
};

/* Do the tables on the way leave the right to write? */
static bool way_passes(const struct cursor *c) { return c->closed == 0 || (c->entry[c->closed].v & PTE_W) != 0; }

/* What is to be done for the page of the cursor; c->entry[1] is its leaf, read. */
static enum verdict judge(struct cursor *c, enum status *s)
{
    *s = STATUS_OK;
    if (c->is_corrupt || c->level > 1) {
        const bool writes = !c->is_corrupt && way_passes(c) && (c->entry[c->level].v & PTE_W) != 0;
        *s = c->is_corrupt ? STATUS_CORRUPT : !cursor_is_large(c) ? STATUS_ABSENT : writes ? STATUS_OK : STATUS_DENIED;
        return PAGE_DECIDED;
    }
    const pte_t leaf = c->entry[1] = window_load(c->vmm, c->window, c->at[1], 1);
    const bool may = (leaf.v & (PTE_W | PTE_COW_WRITE)) != 0,
               borrowed = c->closed != 0 && entry_is_borrowed(c->entry[c->closed]),
               passes = way_passes(c);
    if (!pte_is_present(leaf) || !may) {
        *s = pte_is_present(leaf) ? STATUS_DENIED : STATUS_ABSENT;
        return PAGE_DECIDED;
    }
    if ((leaf.v & PTE_W) != 0 && passes) {
        return PAGE_DECIDED; /* writable already */
    }
    if (borrowed) { /* only the lender can; or nobody, for this borrower */
        *s = passes ? STATUS_SHARED : STATUS_DENIED;
        return PAGE_DECIDED;
    }
    return c->closed != 0 ? PAGE_BEHIND : PAGE_READY;
}

/* The same page in the frame, which nobody else has. */
static pte_t owned_leaf(pte_t leaf, pfn_t frame)
{
    return (pte_t){(leaf.v & ~(PTE_FRAME_MASK | PTE_COW | PTE_COW_WRITE)) | pte_make(frame, PTE_W).v};
}

static bool is_zero_frame(const struct vmm *vmm, pfn_t frame)
{
    pfn_t zero;
    return pmm_zero_frame(vmm->pmm, &zero) == STATUS_OK && frame.v == zero.v;
}

/* A promised frame with the same contents; of the zero frame nothing is copied. => OK; else as frame_copy */
static enum status take_copy(struct vmm *vmm, pfn_t of, pfn_t *frame)
{
    if (is_zero_frame(vmm, of)) {
        *frame = frame_take_zeroed(vmm, PMM_USER);
        return STATUS_OK;
    }
    *frame = frame_take(vmm, PMM_USER);
    return frame_copy(vmm, *frame, of);
}

/* The same without a promise; nobody is asked to give memory back. */
static enum status find_copy(struct vmm *vmm, pfn_t of, pfn_t *frame)
{
    bool is_zero;
    if (is_zero_frame(vmm, of)) {
        enum status s = pmm_alloc_zeroed(vmm->pmm, PMM_USER | PMM_NO_RECLAIM, frame, &is_zero);
        if (s == STATUS_OK && !is_zero) {
            temp_zero(vmm, *frame);
        }
        return s;
    }
    enum status s = pmm_alloc(vmm->pmm, PMM_USER | PMM_NO_RECLAIM, frame);
    if (s == STATUS_OK) {
        s = frame_copy(vmm, *frame, of);
        enum status undone = s == STATUS_OK ? s : pmm_free(vmm->pmm, *frame);
        s = undone == STATUS_OK ? s : undone;
    }
    return s;
}

/* Into a promised frame: break, flush, make, and the old one goes. */
static enum status copy_page(struct cursor *c, pte_t leaf)
{
    struct vmm *vmm = c->vmm;
    pfn_t frame;
    enum status s = take_copy(vmm, pte_pfn(leaf), &frame);
    leaf = large_break(c, 1); /* with what has been marked since it was judged (R19) */
    gather_range(vmm, c->va, 1, c->cpus);
    if (c->lent != 0) {
        gather_sharers(vmm, c->space, c->va, 1, false);
    }
    gather_flush(vmm);
    window_store(vmm, c->window, c->at[1], 1, owned_leaf(leaf, frame));
    enum status released = pmm_release(vmm->pmm, pte_pfn(leaf), NULL);
    return s == STATUS_OK ? released : s;
}

/*
 * The short way, in an edit: a leaf marked for copy on write behind tables that are known, and so no other's. *s is the
 * answer; or false: another way must find it, nothing is changed.
 */
static bool own_at_spot(struct vmm *vmm, struct space *space, vaddr_t page, enum window w, enum status *s)
{
    const uint64_t marks = PTE_P | PTE_COW | PTE_COW_WRITE;
    const struct spot spot = w == WINDOW_OWN ? spot_find_own(vmm, page) : spot_find_foreign(vmm, page);
    if (spot.level > 1) {
        return false;
    }
    pte_t leaf = table_load(vmm, spot.leaf);
    pfn_t frame;
    if ((leaf.v & marks) != marks || !has_other_users(vmm, pte_pfn(leaf)) ||
        find_copy(vmm, pte_pfn(leaf), &frame) != STATUS_OK) {
        return false;
    }
    while (!arch_table_replace(spot.leaf, &leaf, (pte_t){0})) { /* a walker has marked it (R19) */
    }
    gather_range(vmm, page, 1, space->cpus);
    gather_flush(vmm);
    arch_table_store(spot.leaf, owned_leaf(leaf, frame));
    vmm->counters.table_stores += 2;
    *s = pmm_release(vmm->pmm, pte_pfn(leaf), NULL);
    return true;
}

/* In an edit; the tables are the space's own. *again: who was asked for memory has edited. */
static enum status own_frame(struct cursor *c, bool *again)
{
    struct vmm *vmm = c->vmm;
    const pte_t leaf = c->entry[1];
    if (!has_other_users(vmm, pte_pfn(leaf))) {
        pte_t now = leaf;
        while (!arch_table_replace(c->at[1], &now, owned_leaf(now, pte_pfn(now)))) { /* a walker has marked it (R19) */
        }
        vmm->counters.table_stores++;
        return STATUS_OK; /* a right more: no flush (R6) */
    }
    enum status s = edit_promise(vmm, c->space, &c->window, c->va, npages(1), again);
    if (s != STATUS_OK || !*again) {
        return s == STATUS_OK ? copy_page(c, leaf) : s;
    }
    return pmm_unpromise(vmm->pmm, npages(1));
}

/* One edit. => as vmm_own_page; *again: once more, from the beginning */
static enum status try_to_own(struct vmm *vmm, struct space *space, vaddr_t page, bool *again)
{
    struct cursor c;
    enum window w = WINDOW_OWN;
    enum status s = edit_begin(vmm, space, page, "vmm_own_page", &w);
    if (s != STATUS_OK) {
        return s;
    }
    if (own_at_spot(vmm, space, page, w, &s)) {
        edit_end(vmm, space, w);
        return s;
    }
    cursor_start(&c, CURSOR_LOOK, vmm, space, page, 1);
    (void)cursor_next(&c);
    const enum verdict verdict = judge(&c, &s);
    if (verdict == PAGE_READY) {
        s = own_frame(&c, again);
    }
    edit_end(vmm, space, c.window);
    if (verdict == PAGE_BEHIND) {
        *again = true;
        s = unshare(vmm, space, page, npages(1), "vmm_own_page");
    }
    return s;
}

enum status vmm_own_page(struct vmm *vmm, struct space *space, vaddr_t va)
{
    const vaddr_t page = vaddr_page(va);
    enum status s = request_check(vmm, space, page, npages(1), "vmm_own_page");
    if (s == STATUS_OK && is_kernel_half(page)) {
        return STATUS_RANGE;
    }
    bool again = s == STATUS_OK;
    while (s == STATUS_OK && again) {
        again = false;
        s = try_to_own(vmm, space, page, &again);
    }
    return s;
}
