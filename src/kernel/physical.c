#include "kernel/physical.h"

#include "kernel/machine.h"

void *physical_map(uint64_t address, uint64_t bytes, unsigned rights, const char *tag)
{
    pfn_t first = paddr_to_pfn(paddr(address));
    npages_t pages = npages(bytes_to_pages_up(address + bytes).v - first.v);
    vaddr_t va;
    if (bytes == 0 || arena_alloc(&machine.vmm.arena, pages, ARENA_ALIGN_PAGE, tag, &va) != STATUS_OK) {
        return NULL;
    }
    if (vmm_map_frames(&machine.vmm, &machine.vmm.kernel, va, first, pages, rights, false) != STATUS_OK) {
        (void)arena_free(&machine.vmm.arena, va);
        return NULL;
    }
    return vaddr_to_ptr(vaddr_add(va, page_offset_bytes(address)));
}
