/* Arguments of calls: ranges and rights. */
#include "arch/layout.h"
#include "aspace/mapping.h"

bool va_is_global(vaddr_t va) { return va.v >= LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL); }

enum status range_check(vaddr_t va, npages_t pages)
{
    if (!is_page_aligned(va.v) || pages.v == 0 || pages.v > bytes_to_pages_down(UINT64_MAX - va.v).v + 1) {
        return STATUS_INVALID;
    }
    const vaddr_t last = vaddr_add_pages(va, pages.v - 1);
    const bool is_inside = va.v >= LAYOUT_USER_FIRST && last.v < LAYOUT_USER_END;
    return is_inside && va_is_global(va) == va_is_global(last) ? STATUS_OK : STATUS_RANGE;
}

enum status rights_check(unsigned *rights)
{
    const unsigned uses = VMM_READ | VMM_WRITE | VMM_EXECUTE;
    if ((*rights & ~(uses | VMM_USER)) != 0 || (*rights != 0 && (*rights & uses) == 0)) {
        return STATUS_INVALID;
    }
    *rights |= *rights != 0 ? (unsigned)VMM_READ : 0;
    return STATUS_OK;
}
