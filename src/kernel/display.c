#include "kernel/display.h"

#include "arch/layout.h"
#include "kernel/console.h"
#include "kernel/machine.h"
#include "kernel/vga.h"

enum {
    FRAMEBUFFER_RGB = 1,         /* Multiboot2 specification 2.0, 3.6.12 */
    FRAMEBUFFER_BITS = 32,
    FRAMEBUFFER_LINES_MAX = 16384, /* with the pitch below: 1 GiB, far beyond any screen */
    FRAMEBUFFER_PITCH_MAX = 65536,
};

/* Device memory at an address of its own; null when that cannot be. */
static void *map_device(uint64_t address, uint64_t bytes, unsigned cache, const char *name)
{
    pfn_t first = paddr_to_pfn(paddr(address));
    npages_t pages = npages(bytes_to_pages_up(address + bytes).v - first.v);
    vaddr_t va;
    if (arena_alloc(&machine.vmm.arena, pages, ARENA_ALIGN_PAGE, name, &va) != STATUS_OK) {
        return NULL;
    }
    enum status s = vmm_map_frames(&machine.vmm, &machine.vmm.kernel, va, first, pages,
                                   VMM_READ | VMM_WRITE | cache, false);
    if (s != STATUS_OK) {
        (void)arena_free(&machine.vmm.arena, va);
        return NULL;
    }
    return vaddr_to_ptr(vaddr_add(va, page_offset_bytes(address)));
}

void display_vga(void)
{
    console_use_vga(NULL); /* the boot window goes */
    void *cells = map_device(VGA_TEXT_ADDRESS, sizeof(uint16_t) * VGA_COLUMNS * VGA_ROWS, 0, "the VGA text screen");
    if (cells != NULL) {
        console_use_vga(cells);
    } else {
        log_at(LOG_WARN, "screen: no memory to map VGA text");
    }
}

/* What the loader says is not believed: sizes that overflow, pixels of another kind, an address that the CPU has not.
 */
static const char *framebuffer_problem(const struct mb2_framebuffer *s)
{
    uint64_t bytes = (uint64_t)s->pitch * s->height;
    if (s->type != FRAMEBUFFER_RGB || s->bpp != FRAMEBUFFER_BITS) {
        return "only 32 bits a pixel, red green blue, are understood";
    }
    if (s->pitch > FRAMEBUFFER_PITCH_MAX || s->height > FRAMEBUFFER_LINES_MAX ||
        s->pitch / sizeof(uint32_t) < s->width) {
        return "its size cannot be true";
    }
    uint64_t limit = 1ULL << machine.cpu.physical_bits;
    return s->address >= limit || bytes > limit - s->address ? "the CPU cannot address it" : NULL;
}

void display_framebuffer(const struct mb2_framebuffer *s)
{
    const char *problem = framebuffer_problem(s);
    if (problem == NULL) {
        void *memory = map_device(s->address, (uint64_t)s->pitch * s->height, VMM_WRITE_COMBINING, "the framebuffer");
        bool shown = memory != NULL && console_use_framebuffer(memory, s->width, s->height, s->pitch);
        problem = shown ? NULL : "it cannot be mapped or drawn on";
    }
    log_at(problem == NULL ? LOG_INFO : LOG_WARN, "screen: %ux%u, %u bits a pixel, at %#lx%s%s", s->width, s->height,
           s->bpp, s->address, problem == NULL ? "" : ": not used, ", problem == NULL ? "" : problem);
}
