/* Arguments of map, unmap and protect; rights as bits. */
#include "vmm/request.h"

#include "arch/layout.h"
#include "lib/report.h"

enum status request_check_space(struct vmm *vmm, const struct space *space, const char *call)
{
    if (space == NULL || space->vmm != vmm) {
        return misuse("%s: %p is not a space of this VMM", call, (const void *)space);
    }
    return STATUS_OK;
}

enum status request_check_all(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, const char *call)
{
    enum status s = request_check_space(vmm, space, call);
    if (s != STATUS_OK) {
        return s;
    }
    const uint64_t all_pages =
        bytes_to_pages_down(UINT64_MAX).v; /* the last page of all never begins a range of more */
    if (!is_page_aligned(va.v) || pages.v == 0 || pages.v > all_pages ||
        vaddr_page_number(va) > all_pages - (pages.v - 1)) {
        return STATUS_INVALID;
    }
    vaddr_t last = vaddr_add_pages(va, pages.v - 1);
    if (va.v >= LAYOUT_USER_FIRST && last.v < LAYOUT_USER_END) {
        return STATUS_OK;
    }
    if (va.v >= LAYOUT_ARENA_BASE && last.v < LAYOUT_KERNEL_END && space == &vmm->kernel) {
        return STATUS_OK;
    }
    return STATUS_RANGE;
}

uint64_t request_flags_to_bits(vaddr_t va, unsigned flags, bool own)
{
    const unsigned types = flags & (VMM_WRITE_COMBINING | VMM_UNCACHED);
    const bool is_global = (flags & VMM_GLOBAL) != 0;
    if (types == (VMM_WRITE_COMBINING | VMM_UNCACHED) || (types != 0 && own) || (is_global && !is_kernel_half(va))) {
        return REQUEST_BAD_FLAGS;
    }
    return (types == VMM_WRITE_COMBINING ? PTE_CACHE_WC : types == VMM_UNCACHED ? PTE_CACHE_UC : 0) |
           (is_global ? PTE_G : 0);
}

unsigned bits_to_rights(pte_t e)
{
    return VMM_READ | ((e.v & PTE_W) != 0 ? VMM_WRITE : 0U) | ((e.v & PTE_U) != 0 ? VMM_USER : 0U) |
           ((e.v & PTE_XD) != 0 ? 0U : VMM_EXECUTE);
}
