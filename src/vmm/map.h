/* Inner halves of map and unmap, for callers that have checked the request (kpages.c, space.c). Private to src/vmm/. */
#ifndef CAIRN_VMM_MAP_H
#define CAIRN_VMM_MAP_H

#include "vmm/frames.h"

/* vmm_map without the checks of arguments: rights, and VMM_GLOBAL; `zeroed`: zero the frames first. */
enum status map_fresh(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, unsigned rights, bool zeroed);

/*
 * Take down all that is mapped in the user half of a space that is not current, and its tables but the PML4.
 * Nothing is flushed for the space's own addresses: this CPU has none of them. Within an edit.
 */
void unmap_user_half(struct vmm *vmm, struct space *space);

/* Free the PTs of [va, va + pages), in one half, that are empty. Within an edit. */
void free_empty_tables(struct vmm *vmm, struct space *space, vaddr_t va, uint64_t pages);

#endif
