/* What a caller asks for, checked before anything is looked at. Private to src/vmm/. */
#ifndef CAIRN_VMM_REQUEST_H
#define CAIRN_VMM_REQUEST_H

#include "vmm/entry.h"
#include "vmm/vmm.h"

/*
 * Does `space` belong to this VMM (else MISUSE, reported), and may [va, va + pages) be edited in it? => OK,
 * INVALID, RANGE, MISUSE as vmm.h says. Decides what is not simply a good range of the user half.
 */
enum status request_check_all(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, const char *call);
/* => OK; MISUSE, reported. */
enum status request_check_space(struct vmm *vmm, const struct space *space, const char *call);

/* Pages of a half: no longer range is good, and none up to it overflows where it begins in the half. */
#define HALF_PAGES (LAYOUT_SLOT_KERNEL * level_span_pages(PAGING_LEVELS))

/* The same, at the least cost for good ranges of the user half. */
static inline enum status request_check(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages,
                                        const char *call)
{
    bool is_simple = space != NULL && space->vmm == vmm && is_page_aligned(va.v) && pages.v - 1 < HALF_PAGES &&
                     va.v >= LAYOUT_USER_FIRST && va.v < LAYOUT_USER_END &&
                     vaddr_add_pages(va, pages.v).v <= LAYOUT_USER_END;
    return is_simple ? STATUS_OK : request_check_all(vmm, space, va, pages, call);
}

/* May pages at `va` (checked) have these rights, or VMM_WRITE_EXECUTE beside them? => OK; INVALID. */
static inline enum status request_check_rights(vaddr_t va, unsigned rights)
{
    const unsigned known = VMM_READ | VMM_WRITE | VMM_EXECUTE | VMM_USER | VMM_WRITE_EXECUTE,
                   both = VMM_WRITE | VMM_EXECUTE;
    bool ok = (rights & ~known) == 0 && (rights & (both | VMM_WRITE_EXECUTE)) != both &&
              !((rights & VMM_USER) != 0 && is_kernel_half(va));
    return ok ? STATUS_OK : STATUS_INVALID;
}

/* Flags beside the rights, of vmm_map_frames; those for cache types and VMM_GLOBAL. */
enum { REQUEST_FLAGS = VMM_WRITE_COMBINING | VMM_UNCACHED | VMM_GLOBAL };
#define REQUEST_BAD_FLAGS UINT64_MAX
/* Their bits in leaves at `va`; or REQUEST_BAD_FLAGS: they do not go together, or not with such pages. */
uint64_t request_flags_to_bits(vaddr_t va, unsigned flags, bool own);

/* The bits of a leaf with these rights, and back: the rights that one entry allows (VMM_*), to be ANDed over a walk. */
#define RIGHTS_BITS (PTE_W | PTE_U | PTE_XD | PTE_WX)
static inline uint64_t rights_to_bits(unsigned rights)
{
    const unsigned by_name = VMM_WRITE | VMM_EXECUTE | VMM_WRITE_EXECUTE;
    const uint64_t bits = ((rights & VMM_WRITE) != 0 ? PTE_W : 0) | ((rights & VMM_USER) != 0 ? PTE_U : 0) |
                          ((rights & VMM_EXECUTE) != 0 ? 0 : PTE_XD);
    /* Rare: a branch not taken is two instructions, the bit computed would be five. */
    return __builtin_expect((rights & VMM_WRITE_EXECUTE) != 0, 0) && (rights & by_name) == by_name ? bits | PTE_WX
                                                                                                  : bits;
}
unsigned bits_to_rights(pte_t e);

#endif
