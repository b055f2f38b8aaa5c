#include "kernel/screen.h"

#include <stddef.h>

#include "lib/string.h"

static void paint_cell(const struct screen *s, unsigned column, unsigned row)
{
    if (s->paint != NULL) {
        s->paint(s->ctx, column, row, s->text[row][column]);
    }
}

static void scroll(struct screen *s, unsigned rows)
{
    for (unsigned row = 0; row < s->rows; row++) {
        char *to = s->text[row];
        const char *from = row + rows < s->rows ? s->text[row + rows] : NULL;
        for (unsigned column = 0; column < s->columns; column++) {
            char c = from != NULL ? from[column] : ' ';
            if (c != to[column]) {
                to[column] = c;
                paint_cell(s, column, row);
            }
        }
    }
    s->row -= rows;
}

void screen_init(struct screen *s)
{
    *s = (struct screen){.columns = SCREEN_COLUMNS_FIRST, .rows = SCREEN_ROWS_FIRST};
    memset(s->text, ' ', sizeof s->text);
}

static unsigned clamp(unsigned n, unsigned max) { return n == 0 ? 1 : n < max ? n : max; }

void screen_use(struct screen *s, screen_paint paint, void *ctx, unsigned columns, unsigned rows)
{
    s->paint = NULL;
    s->ctx = ctx;
    if (paint == NULL) {
        return;
    }
    columns = clamp(columns, SCREEN_COLUMNS_MAX);
    rows = clamp(rows, SCREEN_ROWS_MAX);
    if (s->row >= rows) {
        scroll(s, s->row - rows + 1);
    }
    s->columns = columns;
    s->rows = rows;
    s->column = s->column < columns ? s->column : columns;
    s->paint = paint;
    for (unsigned row = 0; row < rows; row++) {
        for (unsigned column = 0; column < columns; column++) {
            paint_cell(s, column, row);
        }
    }
}

static void new_row(struct screen *s)
{
    s->column = 0;
    if (++s->row == s->rows) {
        scroll(s, 1);
    }
}

void screen_put(struct screen *s, char c)
{
    if (c == '\n') {
        new_row(s);
    } else if (c == '\r') {
        s->column = 0;
    } else if (c == '\b') {
        s->column -= s->column > 0;
    } else if ((unsigned char)c >= ' ') {
        if (s->column == s->columns) {
            new_row(s);
        }
        s->text[s->row][s->column] = c;
        paint_cell(s, s->column, s->row);
        s->column++;
    }
}
