/*
 * The console: every character the kernel says, to the serial port and (where there is one) the VGA text screen; the
 * log above it; and the keys that come in. The time spent in here is counted, so that boot_ticks can leave it out.
 *
 * Context: any, NMI included; output takes no lock and allocates nothing.
 */
#ifndef CAIRN_KERNEL_CONSOLE_H
#define CAIRN_KERNEL_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/fmt.h"

/* Serial first; usable from the first C line on. */
void console_init(void);
/* VGA text memory is mapped here from now on (80x25 characters of 2 bytes). Null: it is not mapped any more. */
void console_use_vga(volatile uint16_t *cells);
/* A framebuffer of 32 bits a pixel is mapped here from now on. false: of no use. */
bool console_use_framebuffer(void *memory, uint32_t width, uint32_t height, uint32_t pitch_bytes);
/* Which outputs are used: from the `console=` option. */
void console_select(bool serial, bool vga);

/* The one sink of all output. '\n' becomes CR LF on the serial line. */
extern struct sink *const console;

__attribute__((format(printf, 1, 2))) void print(const char *format, ...);

/* The next key; while none is there, `idle` (may be null) is called again and again. -1: there is no serial port. */
int console_key(void (*idle)(void));
/* A key if one is there, else -1. */
int console_key_now(void);

/* Wait until the transmitter is empty: before power-off. */
void console_drain(void);

/* Ticks (arch_ticks) spent in output and screen functions since the start. */
uint64_t console_ticks(void);

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Ticks of the TSC in a second, once it is known (0: not known, the log shows raw ticks). */
void log_set_rate(uint64_t ticks_per_second);

/* "[    123456] text\n" in ticks, or "[  1.234567] text\n" in seconds. Below the level of `loglevel=` nothing. */
__attribute__((format(printf, 2, 3))) void log_at(enum log_level level, const char *format, ...);
void log_set_level(enum log_level level);

#endif
