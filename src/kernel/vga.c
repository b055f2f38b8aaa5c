#include "kernel/vga.h"

#include <stddef.h>

enum { CELLS = VGA_COLUMNS * VGA_ROWS, BLANK = 0x0720 /* grey on black, a space */ };

static volatile uint16_t *cells;
static unsigned row, column;

void vga_use(volatile uint16_t *memory) { cells = memory; }

void vga_clear(void)
{
    for (unsigned i = 0; cells != NULL && i < CELLS; i++) {
        cells[i] = BLANK;
    }
    row = column = 0;
}

static void scroll(void)
{
    for (unsigned i = 0; i < CELLS - VGA_COLUMNS; i++) {
        cells[i] = cells[i + VGA_COLUMNS];
    }
    for (unsigned i = CELLS - VGA_COLUMNS; i < CELLS; i++) {
        cells[i] = BLANK;
    }
    row = VGA_ROWS - 1;
}

void vga_put(char c)
{
    if (cells == NULL) {
        return;
    }
    if (c == '\n' || column == VGA_COLUMNS) {
        column = 0;
        row++;
    }
    if (c == '\r') {
        column = 0;
    } else if (c == '\b') {
        column -= column > 0;
    }
    if (row == VGA_ROWS) {
        scroll();
    }
    if ((unsigned char)c >= ' ') {
        cells[row * VGA_COLUMNS + column++] = (uint16_t)((BLANK & 0xFF00) | (unsigned char)c);
    }
}
