#include "kernel/reclaim.h"

#include "arch/arch.h"
#include "arch/layout.h"
#include "kernel/console.h"
#include "kernel/display.h"
#include "kernel/machine.h"
#include "pmm/pmm_change.h"
#include "vmm/window.h"

extern const char image_keep[];

struct reclaim reclaim;

/* Frames that stay, or that went back already: loaders lie, so what is given back may overlap anything. */
static struct keep {
    uint64_t first, end; /* frame numbers */
} keeps[RECLAIM_KEEPS_MAX];
static size_t keep_count;

static void keep_frames(uint64_t first, uint64_t end)
{
    if (keep_count == RECLAIM_KEEPS_MAX) {
        panic("more than RECLAIM_KEEPS_MAX = %d parts of memory to keep", RECLAIM_KEEPS_MAX);
    }
    if (first < end) {
        keeps[keep_count++] = (struct keep){first, end};
    }
}

void reclaim_keep(uint64_t start_bytes, uint64_t end_bytes)
{
    if (start_bytes < end_bytes) {
        keep_frames(bytes_to_pages_down(start_bytes).v, bytes_to_pages_up(end_bytes).v);
    }
}

/* The end of what may go from `at` on, or `at` itself, when a keep holds it: then *next is behind that. */
static uint64_t stretch_end(uint64_t at, uint64_t end, uint64_t *next)
{
    uint64_t stop = end;
    for (size_t i = 0; i < keep_count; i++) {
        if (keeps[i].first <= at && at < keeps[i].end) {
            *next = keeps[i].end;
            return at;
        }
        stop = keeps[i].first > at && keeps[i].first < stop ? keeps[i].first : stop;
    }
    *next = stop;
    return stop;
}

static void say_what_stays(uint64_t first, uint64_t frames, const char *what, enum status s)
{
    if (s != STATUS_OK) {
        log_at(LOG_WARN, "%s: %lu frames at %#lx stay reserved: %s", what, frames, pfn_to_paddr(pfn(first)).v,
               status_name(s));
    }
}

/* Reserved frames that nobody needs any more: bad ones (badram=) are marked so, the others go back. Returns these. */
static uint64_t give_back_stretch(uint64_t first, uint64_t end, const char *what)
{
    const struct badram_list *list = &machine.options.badram;
    uint64_t won = 0;
    for (uint64_t at = first; at < end;) {
        uint64_t good = badram_next(list, at, end) - at;
        enum status s = good > 0 ? pmm_give_back(&machine.pmm, pfn(at), npages(good)) : STATUS_OK;
        say_what_stays(at, good, what, s);
        won += s == STATUS_OK ? good : 0;
        at += good;
        for (uint64_t until = badram_bad_until(list, at, end); at < until; at++) {
            s = pmm_mark_bad(&machine.pmm, pfn(at));
            say_what_stays(at, 1, what, s == STATUS_EXISTS ? STATUS_OK : s);
        }
    }
    return won;
}

/* [first, end) of one run, without what is kept. */
static uint64_t give_back_in_run(uint64_t first, uint64_t end, const char *what)
{
    uint64_t won = 0;
    for (uint64_t at = first, next; at < end; at = next) {
        won += give_back_stretch(at, stretch_end(at, end, &next), what);
    }
    return won;
}

/* What of it is RAM that the PMM has: mem= may leave out, and holes may lie under, what was loaded. */
static npages_t give_back(pfn_t first, npages_t frames, const char *what)
{
    uint64_t won = 0, end = first.v + frames.v;
    for (size_t i = 0; i < machine.pmm.run_count; i++) {
        uint64_t run_first = machine.pmm.runs[i].first.v, run_last_end = run_end(machine.pmm.runs[i]);
        won +=
            give_back_in_run(run_first > first.v ? run_first : first.v, run_last_end < end ? run_last_end : end, what);
    }
    return npages(won);
}

/* The image's tables stay; only the entries of what is thrown away are cleared. */
static void unmap_image_page(vaddr_t va)
{
    table_store(&machine.vmm, window_entry(WINDOW_OWN, va, 1), (pte_t){0});
}

/* The boot window's table: unhook, flush, free (R13). */
static void drop_boot_window(void)
{
    struct vmm *vmm = &machine.vmm;
    vaddr_t entry = window_entry(WINDOW_OWN, vaddr(LAYOUT_BOOT_WINDOW), 2);
    pfn_t table = pte_pfn(table_load(vmm, entry));
    table_store(vmm, entry, (pte_t){0});
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
    reclaim_keep(machine.image_start.v, machine.image_end.v);
    won += give_back(reclaim.info.first, reclaim.info.frames, "the boot information").v;
    keep_frames(reclaim.info.first.v, run_end(reclaim.info));
    uint64_t acpi = 0;
    for (size_t i = 0; i < reclaim.acpi_count; i++) {
        acpi += give_back(reclaim.acpi[i].first, reclaim.acpi[i].frames, "ACPI tables").v;
    }
    machine.acpi_reclaimed = npages(acpi);
    (void)heap_free(&machine.heap, reclaim.acpi);
    return npages(won + acpi);
}
