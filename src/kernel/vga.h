/* Painter for VGA text memory: 80 x 25 cells of 2 bytes. */
#ifndef CAIRN_KERNEL_VGA_H
#define CAIRN_KERNEL_VGA_H

#include <stdint.h>

enum { VGA_TEXT_ADDRESS = 0xB8000, VGA_COLUMNS = 80, VGA_ROWS = 25 };

/* `cells`: the text memory, where it is mapped. */
void vga_paint(void *cells, unsigned column, unsigned row, char c);

#endif
