#include "kernel/console.h"

#include "arch/arch.h"
#include "arch/x86_64/cpu.h"
#include "kernel/framebuffer.h"
#include "kernel/screen.h"
#include "kernel/serial.h"
#include "kernel/vga.h"

static bool to_serial = true;
static bool to_screen = true;
static struct screen screen;
static struct framebuffer framebuffer;
static uint64_t ticks_spent;
static enum log_level log_level = LOG_INFO;
static uint64_t log_rate;

static void console_put(struct sink *self, const char *text, size_t len)
{
    (void)self;
    uint64_t start = arch_ticks();
    for (size_t i = 0; i < len; i++) {
        if (to_serial) {
            if (text[i] == '\n') {
                serial_put('\r');
            }
            serial_put(text[i]);
        }
        if (to_screen) {
            screen_put(&screen, text[i]);
        }
    }
    ticks_spent += arch_ticks() - start;
}

static struct sink console_sink = {console_put};
struct sink *const console = &console_sink;

void console_init(void)
{
    serial_init();
    screen_init(&screen);
}

void console_use_vga(volatile uint16_t *cells)
{
    uint64_t start = arch_ticks();
    screen_use(&screen, cells != NULL ? vga_paint : NULL, (void *)(uintptr_t)cells, VGA_COLUMNS, VGA_ROWS);
    ticks_spent += arch_ticks() - start;
}

bool console_use_framebuffer(void *memory, uint32_t width, uint32_t height, uint32_t pitch_bytes)
{
    uint64_t start = arch_ticks();
    bool usable =
        width >= GLYPH_COLUMNS && height >= GLYPH_ROWS && framebuffer_init(&framebuffer, memory, height, pitch_bytes);
    if (usable) {
        screen_use(&screen, framebuffer_paint, &framebuffer, width / GLYPH_COLUMNS, height / GLYPH_ROWS);
    }
    ticks_spent += arch_ticks() - start;
    return usable;
}

void console_select(bool serial, bool vga)
{
    to_serial = serial;
    to_screen = vga;
}

void print(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    sink_vprintf(console, format, args);
    va_end(args);
}

int console_key_now(void) { return serial_get_now(); }

int console_key(void (*idle)(void))
{
    while (serial_present()) {
        int key = serial_get_now();
        if (key >= 0) {
            return key;
        }
        if (idle != NULL) {
            idle();
        }
        pause_cpu();
    }
    return -1;
}

void console_drain(void) { serial_drain(); }

uint64_t console_ticks(void) { return ticks_spent; }

void log_set_rate(uint64_t ticks_per_second) { log_rate = ticks_per_second; }

static void print_time(uint64_t ticks)
{
    enum { MICROSECONDS = 1000000 };
    if (log_rate == 0 || log_rate > UINT64_MAX / MICROSECONDS) { /* unknown, or too fast to be true */
        print("[%12lu] ", ticks);
    } else {
        print("[%5lu.%06lu] ", ticks / log_rate, ticks % log_rate * MICROSECONDS / log_rate);
    }
}

void log_set_level(enum log_level level) { log_level = level; }

void log_at(enum log_level level, const char *format, ...)
{
    static const char *const marks[] = {"error: ", "warning: ", "", ""};
    if (level > log_level) {
        return;
    }
    print_time(arch_ticks());
    print("%s", marks[level]);
    va_list args;
    va_start(args, format);
    sink_vprintf(console, format, args);
    va_end(args);
    print("\n");
}
