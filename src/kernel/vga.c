#include "kernel/vga.h"

enum { GREY_ON_BLACK = 0x0700 };

void vga_paint(void *cells, unsigned column, unsigned row, char c)
{
    volatile uint16_t *cell = (volatile uint16_t *)cells + row * VGA_COLUMNS + column;
    *cell = (uint16_t)(GREY_ON_BLACK | (unsigned char)c);
}
