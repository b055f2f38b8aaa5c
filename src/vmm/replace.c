/*
 * A page gets another frame with the same contents, and nobody sees it: break, flush, copy, make.
 *
 * While the entry is absent no CPU can write to the page, and with the flush the last translation that could is gone:
 * so the copy has all that was ever written. Marks that a walker sets go with the entry as it was at the break (R19),
 * and none is set while there is none. An entry that is read-only meanwhile instead would let readers go on, but takes
 * a second flush.
 */
#include "arch/arch.h"
#include "vmm/frames.h"
#include "vmm/gather.h"
#include "vmm/share.h"

/* Where a leaf is, found. `lent`: its table has borrowers. */
struct found {
    vaddr_t at;
    struct vmm_cpus cpus; /* that may have translations of the page */
    bool lent;
};

/* The way of own_page.c. => OK; ABSENT; SHARED; CORRUPT */
static enum status find(struct vmm *vmm, struct space *space, vaddr_t page, enum window w, struct found *f)
{
    struct spot spot = w == WINDOW_OWN ? spot_find_own(vmm, page) : spot_find_foreign(vmm, page);
    if (spot.level > 1 && spot_learn(vmm, w, page)) {
        spot = w == WINDOW_OWN ? spot_find_own(vmm, page) : spot_find_foreign(vmm, page);
    }
    if (spot.level == 1) { /* no table on the way is another's too */
        *f = (struct found){spot.leaf, space->cpus, false};
        return STATUS_OK;
    }
    struct cursor c;
    cursor_start(&c, CURSOR_LOOK, vmm, space, page, 1);
    cursor_go_on(&c, &spot);
    (void)cursor_next(&c);
    if (c.is_corrupt || c.level > 1) {
        return c.is_corrupt ? STATUS_CORRUPT : STATUS_ABSENT;
    }
    *f = (struct found){cursor_leaves(&c), c.cpus, c.lent != 0};
    return c.closed != 0 ? STATUS_SHARED : STATUS_OK;
}

/* In an edit. => OK; ABSENT: the leaf is another one */
static enum status exchange(struct vmm *vmm, const struct space *space, vaddr_t page, const struct found *f, pfn_t old,
                            pfn_t fresh)
{
    const uint64_t bits = PTE_P | PTE_OWNED;
    pte_t leaf = table_load(vmm, f->at);
    if ((leaf.v & bits) != bits || pte_pfn(leaf).v != old.v) {
        return STATUS_ABSENT;
    }
    while (!arch_table_replace(f->at, &leaf, (pte_t){0})) { /* a walker has marked it (R19) */
    }
    vmm->counters.table_stores++;
    if (f->lent) {
        gather_sharers(vmm, space, page, 1, false);
        gather_flush(vmm);
    } else {
        gather_flush_page(vmm, page, f->cpus);
    }
    temp_copy(vmm, fresh, old);
    table_store(vmm, f->at, (pte_t){(leaf.v & ~PTE_FRAME_MASK) | pte_make(fresh, 0).v});
    return STATUS_OK;
}

enum status vmm_replace(struct vmm *vmm, struct space *space, vaddr_t va, pfn_t old, pfn_t fresh)
{
    const vaddr_t page = vaddr_page(va);
    enum window w = WINDOW_OWN;
    struct found f;
    enum status s = request_check(vmm, space, page, npages(1), "vmm_replace");
    s = s == STATUS_OK && is_kernel_half(page) ? STATUS_RANGE : s;
    s = s == STATUS_OK ? edit_begin(vmm, space, page, "vmm_replace", &w) : s;
    if (s != STATUS_OK) {
        return s;
    }
    s = find(vmm, space, page, w, &f);
    s = s == STATUS_OK ? exchange(vmm, space, page, &f, old, fresh) : s;
    edit_end(vmm, space, w);
    return s;
}
