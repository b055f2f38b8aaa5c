/* The kernel arena's start, and the ranges in it that kernel pages are behind. Private to src/vmm/. */
#ifndef CAIRN_VMM_KPAGES_H
#define CAIRN_VMM_KPAGES_H

#include "vmm/vmm.h"

/* => OK; NOMEM. */
enum status kernel_arena_init(struct vmm *vmm);

/* A range of the arena with kernel pages behind it: [guard][pages][guard], or pages alone. */
struct kpages_range {
    struct arena_range range; /* guards included */
    uint64_t guard;           /* pages of each */
    npages_t pages;           /* that are mapped */
};

/* The one that holds `va`, in a guard or not. => false: none does. */
bool kpages_range_at(const struct vmm *vmm, vaddr_t va, struct kpages_range *out);
/* The one whose first mapped page is `base`. => false: there is none; `call` is reported. */
bool kpages_range_of(const struct vmm *vmm, vaddr_t base, const char *call, struct kpages_range *out);
/* Addresses for `pages`, with guards or not. => as arena_request; *range: where they begin, the low guard included. */
enum status kpages_range_get(struct vmm *vmm, npages_t pages, unsigned align_log2, bool guarded, const char *tag,
                             vaddr_t *range);
enum { KPAGES_GUARD_PAGES = 1 };
/* Those of the pages that begin at `first`, unmapped now, and of guards of `guard` pages go back. => as arena_free */
enum status kpages_addresses_put(struct vmm *vmm, vaddr_t first, uint64_t guard);
/* It is a page of the pool: nothing can be behind it. */
bool kpages_range_is_pooled(const struct kpages_range *r);

#endif
