/* What a caller asks for, checked before anything is looked at. Private to src/vmm/. */
#ifndef CAIRN_VMM_REQUEST_H
#define CAIRN_VMM_REQUEST_H

#include "vmm/entry.h"
#include "vmm/vmm.h"

/*
 * Does `space` belong to this VMM (else MISUSE, reported), and may [va, va + pages) be edited in it? => OK,
 * INVALID, RANGE, MISUSE as vmm.h says.
 */
enum status request_check(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, const char *call);
/* May pages at `va` (checked) have these rights? => OK; INVALID. */
enum status request_check_rights(vaddr_t va, unsigned rights);
/* => OK; MISUSE, reported. */
enum status request_check_space(struct vmm *vmm, const struct space *space, const char *call);

/* The bits of a leaf with these rights, and back: the rights that one entry allows (VMM_*), to be ANDed over a walk. */
uint64_t rights_to_bits(unsigned rights);
unsigned bits_to_rights(pte_t e);
#define RIGHTS_BITS (PTE_W | PTE_U | PTE_XD)

#endif
