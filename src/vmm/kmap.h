/*
 * Kernel pages before (and below) the VMM: give a page of the kernel half its frame, with tables brought along.
 *
 * The PMM's metadata and the first pages at boot are mapped by these two calls: they never allocate, the caller
 * brings every frame. They edit the current tables through the self window, rights W, not X, in the kernel arena's
 * node pages and slots 257 and 258 only, whose tables are never freed and carry no live counts. The four kernel
 * PDPTs and the PT of LAYOUT_TEMP_BASE must exist: its first slot is used for zeroing. No struct vmm is needed,
 * nothing is counted.
 */
#ifndef CAIRN_VMM_KMAP_H
#define CAIRN_VMM_KMAP_H

#include "lib/status.h"
#include "lib/units.h"

/* Frames that kmap_back needs for this page now: 0 when mapped, else 1..3 (PD, PT, the page itself). */
npages_t kmap_missing(vaddr_t page);

/*
 * Map the page: `frames` in the order PD, PT, page, exactly kmap_missing() of them; each is zeroed before it is linked.
 * => OK; INVALID: unaligned, not an address of these, a page of the temporary PT, or another number of frames;
 * CORRUPT (reported): a large page or a broken entry is there.
 */
enum status kmap_back(vaddr_t page, const pfn_t *frames, npages_t n);

/* The same two in the form of the PMM's backing (pmm.h); ctx is not used, table_levels is 2. */
npages_t kmap_pmm_missing(void *ctx, const void *page);
enum status kmap_pmm_back(void *ctx, const void *page, const pfn_t *frames, npages_t n);

#endif
