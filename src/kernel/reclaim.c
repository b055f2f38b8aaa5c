#include "kernel/reclaim.h"

#include "arch/arch.h"
#include "arch/layout.h"
#include "kernel/console.h"
#include "kernel/display.h"
#include "kernel/machine.h"
#include "vmm/window.h"

extern const char image_keep[];

struct reclaim reclaim;

static npages_t give_back(pfn_t first, npages_t frames, const char *what)
{
    enum status s = frames.v > 0 ? pmm_give_back(&machine.pmm, first, frames) : STATUS_OK;
    if (s != STATUS_OK) {
        log_at(LOG_WARN, "%s: %lu frames at %#lx stay reserved: %s", what, frames.v, pfn_to_paddr(first).v,
               status_name(s));
        return npages(0);
    }
    return frames;
}

/* The image's tables stay; only the entries of what is thrown away are cleared. */
static void unmap_image_page(vaddr_t va)
{
    window_store(&machine.vmm, WINDOW_OWN, window_entry(WINDOW_OWN, va, 1), (pte_t){0});
}

/* The boot window's table: unhook, flush, free (R13). */
static void drop_boot_window(void)
{
    struct vmm *vmm = &machine.vmm;
    vaddr_t entry = window_entry(WINDOW_OWN, vaddr(LAYOUT_BOOT_WINDOW), 2);
    pfn_t table = pte_pfn(window_load(vmm, WINDOW_OWN, entry));
    window_store(vmm, WINDOW_OWN, entry, (pte_t){0});
    window_root_reload(vmm);
    if (pmm_free(&machine.pmm, table) != STATUS_OK) {
        panic("the boot window's table at %#lx cannot be freed", pfn_to_paddr(table).v);
    }
}

static npages_t give_back_image(void)
{
    uint64_t bytes = (uint64_t)image_keep - LAYOUT_IMAGE_BASE;
    for (uint64_t at = 0; at < bytes; at += PAGE_BYTES) {
        unmap_image_page(vaddr(LAYOUT_IMAGE_BASE + at));
    }
    window_root_reload(&machine.vmm);
    return give_back(paddr_to_pfn(machine.image_start), bytes_to_pages_down(bytes), "boot and init code");
}

npages_t reclaim_all(void)
{
    if (reclaim.vga) {
        display_vga();
    } else if (reclaim.framebuffer.present) {
        display_framebuffer(&reclaim.framebuffer);
    }
    drop_boot_window();
    uint64_t won = give_back_image().v;
    won += give_back(reclaim.info.first, reclaim.info.frames, "the boot information").v;
    uint64_t acpi = 0;
    for (size_t i = 0; i < reclaim.acpi_count; i++) {
        acpi += give_back(reclaim.acpi[i].first, reclaim.acpi[i].frames, "ACPI tables").v;
    }
    machine.acpi_reclaimed = npages(acpi);
    (void)heap_free(&machine.heap, reclaim.acpi);
    return npages(won + acpi);
}
