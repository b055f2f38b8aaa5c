/*
 * The screen: a grid of characters kept here, and a painter that shows a cell of it, on VGA text memory or on a linear
 * framebuffer.
 *
 * Text written before there is a painter is kept and shown when one comes. Scrolling moves the grid and paints the
 * cells that changed, so video memory is never read (slow where it is write-combining) and blank parts cost nothing.
 *
 * Context: any; no lock, no allocation.
 */
#ifndef CAIRN_KERNEL_SCREEN_H
#define CAIRN_KERNEL_SCREEN_H

#include <stdint.h>

enum {
    SCREEN_COLUMNS_MAX = 240, /* of larger screens the rest stays dark */
    SCREEN_ROWS_MAX = 100,
    SCREEN_COLUMNS_FIRST = 80, /* while nobody paints */
    SCREEN_ROWS_FIRST = 25,
};

/* Shows one character at a cell. */
typedef void (*screen_paint)(void *ctx, unsigned column, unsigned row, char c);

struct screen {
    screen_paint paint; /* null: the text is only kept */
    void *ctx;          /* for paint */
    unsigned columns, rows;
    unsigned column, row; /* of the cursor; column == columns: the next character begins a new row */
    char text[SCREEN_ROWS_MAX][SCREEN_COLUMNS_MAX];
};

/* An empty grid that nobody paints. */
void screen_init(struct screen *s);

/*
 * From now on `paint` shows a grid of this size (cut to the maxima, at least 1 by 1); what is on the grid is painted,
 * blanks too. Null: nobody paints, the size stays.
 */
void screen_use(struct screen *s, screen_paint paint, void *ctx, unsigned columns, unsigned rows);

/* A character at the cursor: printable ones, '\n', '\r', '\b'; others are ignored. */
void screen_put(struct screen *s, char c);

#endif
