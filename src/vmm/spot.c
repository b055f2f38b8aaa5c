/*
 * Spots that stop above the PT (walk.h), for one fresh page.
 *
 * A fault costs what a look at four entries costs, as long as all of them are known. One that is not, since another
 * table of its level has taken its place among those remembered, must not send a single page to the cursor, which asks
 * again, takes promises, and looks twice: that is 3,600 instructions, and every fault of a space paid them whose tables
 * happened to lie so. So the PMM is asked about this one entry, 60 instructions, and the call begins again.
 */
#include "vmm/walk.h"

/* What is odd about an entry the cursor reports. */
static bool learn(struct vmm *vmm, const struct spot *s)
{
    const unsigned level = s->level;
    const pte_t e = s->entry[level];
    const bool is_plain = pte_is_present(e) && !entry_is_corrupt(e, level) && !entry_is_large(e, level) &&
                          !entry_is_shared(e) && (level == PAGING_LEVELS || entry_count(s->entry[level + 1]) > 0);
    const bool is_table = is_plain && pmm_is_used(vmm->pmm, pte_pfn(e));
    if (is_table) {
        trust(vmm, e, level);
    }
    return is_table;
}

bool spot_learn(struct vmm *vmm, enum window w, vaddr_t va)
{
    struct spot s;
    do {
        s = w == WINDOW_OWN ? spot_find_own(vmm, va) : spot_find_foreign(vmm, va);
    } while (s.level > 1 && !is_kernel_half(va) && learn(vmm, &s));
    return s.level == 1;
}
