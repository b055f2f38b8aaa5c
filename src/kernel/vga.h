/* VGA text: 80 x 25 cells of 2 bytes, scrolled by copying. */
#ifndef CAIRN_KERNEL_VGA_H
#define CAIRN_KERNEL_VGA_H

#include <stdint.h>

enum { VGA_TEXT_ADDRESS = 0xB8000, VGA_COLUMNS = 80, VGA_ROWS = 25 };

/* Write to these cells from now on; null: to none. The position is kept. */
void vga_use(volatile uint16_t *cells);
void vga_clear(void);
void vga_put(char c);

#endif
