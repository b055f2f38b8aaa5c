#include "kernel/display.h"

#include "kernel/console.h"
#include "kernel/machine.h"
#include "kernel/physical.h"
#include "kernel/vga.h"

enum {
    FRAMEBUFFER_RGB = 1,         /* Multiboot2 specification 2.0, 3.6.12 */
    FRAMEBUFFER_BITS = 32,
    FRAMEBUFFER_LINES_MAX = 16384, /* with the pitch below: 1 GiB, far beyond any screen */
    FRAMEBUFFER_PITCH_MAX = 65536,
};

void display_vga(void)
{
    console_use_vga(NULL); /* the boot window goes */
    void *cells = physical_map(VGA_TEXT_ADDRESS, sizeof(uint16_t) * VGA_COLUMNS * VGA_ROWS,
                               VMM_READ | VMM_WRITE | VMM_UNCACHED, "the VGA text screen");
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
        void *memory = physical_map(s->address, (uint64_t)s->pitch * s->height,
                                    VMM_READ | VMM_WRITE | VMM_WRITE_COMBINING, "the framebuffer");
        bool shown = memory != NULL && console_use_framebuffer(memory, s->width, s->height, s->pitch);
        problem = shown ? NULL : "it cannot be mapped or drawn on";
    }
    log_at(problem == NULL ? LOG_INFO : LOG_WARN, "screen: %ux%u, %u bits a pixel, at %#lx%s%s", s->width, s->height,
           s->bpp, s->address, problem == NULL ? "" : ": not used, ", problem == NULL ? "" : problem);
}
