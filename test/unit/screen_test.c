/* The screen's grid and its framebuffer painter, on memory of the test's own. In the kernel only: the font is made for
 * its build. */
#include "arch/arch.h"
#include "kernel/framebuffer.h"
#include "kernel/screen.h"
#include "unit/test.h"

enum { COLUMNS = 20, ROWS = 5 };

/* What a painter was told: the picture, and how often it was called. */
struct picture {
    char text[SCREEN_ROWS_MAX][SCREEN_COLUMNS_MAX];
    unsigned painted;
};

static void paint(void *ctx, unsigned column, unsigned row, char c)
{
    struct picture *p = ctx;
    p->text[row][column] = c;
    p->painted++;
}

static struct screen *new_screen(struct picture **picture)
{
    size_t pages = bytes_to_pages_up(sizeof(struct screen) + sizeof(struct picture)).v;
    struct screen *s = test_pages(pages);
    if (s != NULL) {
        screen_init(s);
        *picture = (struct picture *)(void *)(s + 1);
    }
    return s;
}

static void put_text(struct screen *s, const char *text)
{
    while (*text != '\0') {
        screen_put(s, *text++);
    }
}

static bool row_is(const struct picture *p, unsigned row, const char *text)
{
    size_t len = strlen(text);
    for (unsigned i = 0; i < COLUMNS; i++) {
        if (p->text[row][i] != (i < len ? text[i] : ' ')) {
            test_note("row %u is \"%.*s\", not \"%s\"", row, COLUMNS, p->text[row], text);
            return false;
        }
    }
    return true;
}

TEST(screen, text_written_before_there_is_a_painter_is_shown_when_one_comes)
{
    struct picture *p = NULL;
    struct screen *s = new_screen(&p);
    REQUIRE(s != NULL);
    put_text(s, "first\nsecond");
    screen_use(s, paint, p, COLUMNS, ROWS);
    EXPECT(row_is(p, 0, "first") && row_is(p, 1, "second") && row_is(p, 2, ""));
    EXPECT_EQ(p->painted, COLUMNS * ROWS);
    put_text(s, "!\n");
    EXPECT(row_is(p, 1, "second!"));
}

TEST(screen, a_smaller_painter_shows_the_last_rows)
{
    struct picture *p = NULL;
    struct screen *s = new_screen(&p);
    REQUIRE(s != NULL);
    for (unsigned i = 0; i < 12; i++) {
        screen_put(s, (char)('a' + i));
        screen_put(s, '\n');
    }
    screen_use(s, paint, p, COLUMNS, ROWS);
    EXPECT(row_is(p, 0, "i") && row_is(p, 3, "l") && row_is(p, 4, ""));
}

TEST(screen, scrolling_paints_only_cells_that_change)
{
    struct picture *p = NULL;
    struct screen *s = new_screen(&p);
    REQUIRE(s != NULL);
    screen_use(s, paint, p, COLUMNS, ROWS);
    put_text(s, "a\nab\nabc\nabcd\nabcde");
    p->painted = 0;
    screen_put(s, '\n');
    EXPECT(row_is(p, 0, "ab") && row_is(p, 3, "abcde") && row_is(p, 4, ""));
    EXPECT_EQ(p->painted, 4 + 5); /* one letter more in each of four rows, five less in the last */
}

TEST(screen, a_full_row_breaks_before_the_next_character_only)
{
    struct picture *p = NULL;
    struct screen *s = new_screen(&p);
    REQUIRE(s != NULL);
    screen_use(s, paint, p, COLUMNS, ROWS);
    put_text(s, "01234567890123456789");
    EXPECT(row_is(p, 0, "01234567890123456789") && row_is(p, 1, ""));
    put_text(s, "\nx\by\rz\a\x7f");
    EXPECT(row_is(p, 1, "z\x7f"));
}

/* Every cell of 1280 x 800 pixels changes: the dearest scroll there is. The figure means instructions only under
 * --icount. */
TEST(screen, a_full_scroll_of_a_framebuffer_paints_every_cell)
{
    enum { WIDTH = 1280, HEIGHT = 800, PITCH = WIDTH * 4 };
    struct picture *p = NULL;
    struct screen *s = new_screen(&p);
    struct framebuffer *f = test_pages(bytes_to_pages_up(sizeof *f).v);
    uint32_t *video = test_pages(bytes_to_pages_up(PITCH * HEIGHT).v);
    REQUIRE(s != NULL && f != NULL && video != NULL);
    EXPECT(!framebuffer_init(f, video, HEIGHT, PITCH + 1));
    REQUIRE(framebuffer_init(f, video, HEIGHT, PITCH));
    screen_use(s, framebuffer_paint, f, WIDTH / GLYPH_COLUMNS, HEIGHT / GLYPH_ROWS);
    for (unsigned row = 0; row < s->rows; row++) {
        for (unsigned column = 0; column < s->columns; column++) {
            screen_put(s, row % 2 == 0 ? '#' : 'A');
        }
    }
    uint64_t before = arch_ticks();
    screen_put(s, '\n');
    test_note("full scroll: %lu ticks", arch_ticks() - before);
    uint64_t lit[2] = {0};
    for (unsigned y = 0; y < 2 * GLYPH_ROWS; y++) {
        for (unsigned x = 0; x < WIDTH; x++) {
            lit[y / GLYPH_ROWS] += video[(size_t)y * WIDTH + x] != 0;
        }
    }
    /* The first row shows the letters of the second one now, each with the same pixels. */
    EXPECT(lit[0] > 0 && lit[0] % s->columns == 0 && lit[1] % s->columns == 0 && lit[0] != lit[1]);
    EXPECT_EQ(s->text[0][0], 'A');
}
