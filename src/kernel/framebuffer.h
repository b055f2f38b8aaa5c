/*
 * Painter for a linear framebuffer of 32 bits a pixel. The font is GNU Unifont's ASCII part, made into a table at build
 * time from the file that GRUB brings (cmake/font.py); each glyph is drawn once into pixels, so that painting a cell is
 * a copy.
 */
#ifndef CAIRN_KERNEL_FRAMEBUFFER_H
#define CAIRN_KERNEL_FRAMEBUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GLYPH_COLUMNS = 8,
    GLYPH_ROWS = 16,
    GLYPH_FIRST = ' ',
    GLYPH_LAST = '~',
    GLYPHS = GLYPH_LAST - GLYPH_FIRST + 1,
    GLYPH_PAIRS = GLYPH_COLUMNS / 2,
};

struct framebuffer {
    char *base;
    size_t pitch; /* bytes from row to row */
    /* Each glyph as it lies in memory, two pixels a word: a row is four stores. */
    uint64_t pixels[GLYPHS][GLYPH_ROWS][GLYPH_PAIRS];
};

/*
 * `height` rows of pixels at `memory`, `pitch_bytes` apart: cleared. Draws the glyphs.
 * => true; false: the pitch is no multiple of a pixel, nothing is touched.
 */
bool framebuffer_init(struct framebuffer *f, void *memory, uint32_t height, uint32_t pitch_bytes);
/* `framebuffer`: a struct framebuffer. What is not printable ASCII is shown as a question mark. */
void framebuffer_paint(void *framebuffer, unsigned column, unsigned row, char c);

#endif
