/*
 * The line editor.
 *
 * The line lies in one buffer with a cursor; the screen is kept alike by the few things that every terminal
 * understands: characters, backspace as "one to the left", and spaces to blot out. No escape sequence is sent, so that
 * a log of the serial line reads well and the VGA screen needs no interpreter. Escape sequences that come in (arrows,
 * home, end, delete) are read by a small state machine that waits for the rest of a sequence only as long as a slow
 * line needs, so that a lone Escape does not swallow the next key.
 *
 * Lines that are longer than the buffer, and than the terminal is wide, are not wrapped by us: what does not fit rings
 * the bell.
 */
#include "kernel/line.h"

#include "arch/arch.h"
#include "kernel/console.h"
#include "kernel/idle.h"
#include "kernel/monitor.h"
#include "lib/string.h"

/* Keys beyond ASCII, as read_key gives them. */
enum key {
    KEY_NONE = -1, /* no serial port */
    KEY_UP = 0x100,
    KEY_DOWN,
    KEY_RIGHT,
    KEY_LEFT,
    KEY_HOME,
    KEY_END,
    KEY_DELETE,
    KEY_OTHER,
};

enum { ESCAPE = 0x1B, BACKSPACE = 0x08, DELETE = 0x7F, ESCAPE_WAIT_TICKS = 200 * 1000 * 1000 };

#define CTRL(letter) ((letter)&0x1F)

static struct {
    char text[MONITOR_LINE_BYTES];
    size_t len, cursor;
    char history[MONITOR_HISTORY][MONITOR_LINE_BYTES];
    unsigned remembered;            /* lines ever remembered; the last MONITOR_HISTORY of them are kept */
    unsigned back;                  /* how far up in the history the shown line is; 0: the line being typed */
    char draft[MONITOR_LINE_BYTES]; /* what was being typed when the history was entered */
    const char *prompt;
    bool is_waiting, is_aside;      /* for a key; something was printed meanwhile */
} ed;

/* ---- Keys ---- */

/* The next byte of an escape sequence, or -1 when none comes for a while. */
static int sequence_byte(void)
{
    uint64_t start = arch_ticks();
    int key;
    do {
        key = console_key_now();
    } while (key < 0 && arch_ticks() - start < ESCAPE_WAIT_TICKS);
    return key;
}

/* The key of `ESC [ number ~`. */
static int key_of_number(int number)
{
    switch (number) {
    case 1:
    case 7: return KEY_HOME;
    case 3: return KEY_DELETE;
    case 4:
    case 8: return KEY_END;
    default: return KEY_OTHER;
    }
}

/* A sequence has parameters (digits, semicolons) before its final byte, which is a letter or '~'. All of it is read, so
 * that the rest of one that means nothing here (F5, Ctrl-Right) does not end up in the line. */
static bool is_parameter(int byte) { return byte >= ' ' && byte < '@'; }

static int read_escape(void)
{
    int bracket = sequence_byte();
    if (bracket != '[' && bracket != 'O') {
        return KEY_OTHER;
    }
    int final = sequence_byte(), number = 0;
    for (; is_parameter(final); final = sequence_byte()) {
        /* Two digits say all numbers there are; with a modifier (`1;5`) it is none of ours. */
        number = final >= '0' && final <= '9' && number < 10 ? number * 10 + (final - '0') : KEY_OTHER;
    }
    if (number >= KEY_OTHER) {
        return KEY_OTHER;
    }
    switch (final) {
    case 'A': return KEY_UP;
    case 'B': return KEY_DOWN;
    case 'C': return KEY_RIGHT;
    case 'D': return KEY_LEFT;
    case 'H': return KEY_HOME;
    case 'F': return KEY_END;
    default: return final == '~' ? key_of_number(number) : KEY_OTHER;
    }
}

static void cursor_left(size_t by)
{
    for (; by > 0; by--) {
        print("\b");
    }
}

void line_aside(void)
{
    if (ed.is_waiting && !ed.is_aside) {
        ed.is_aside = true;
        print("\n");
    }
}

static void idle(void)
{
    idle_turn();
    if (ed.is_aside) {
        ed.is_aside = false;
        print("%s%s", ed.prompt, ed.text);
        cursor_left(ed.len - ed.cursor);
    }
}

static int read_key(void)
{
    ed.is_waiting = true;
    int key = console_key(idle);
    ed.is_waiting = false;
    return key == ESCAPE ? read_escape() : key;
}

/* ---- The line and the screen ---- */

/* Show again what stands from the cursor on, blot out `gone` characters behind it, and come back. */
static void redraw_tail(size_t gone)
{
    print("%s", ed.text + ed.cursor);
    for (size_t i = 0; i < gone; i++) {
        print(" ");
    }
    cursor_left(ed.len - ed.cursor + gone);
}

static void move_to(size_t position)
{
    if (position < ed.cursor) {
        cursor_left(ed.cursor - position);
    } else {
        print("%.*s", (int)(position - ed.cursor), ed.text + ed.cursor);
    }
    ed.cursor = position;
}

static void insert(char c)
{
    if (ed.len + 1 >= sizeof ed.text) {
        print("\a");
        return;
    }
    memmove(ed.text + ed.cursor + 1, ed.text + ed.cursor, ed.len - ed.cursor + 1);
    ed.text[ed.cursor] = c;
    ed.len++;
    print("%c", c);
    ed.cursor++;
    if (ed.cursor < ed.len) {
        redraw_tail(0);
    }
}

/* Remove [from, to), the cursor ends at `from`. */
static void erase(size_t from, size_t to)
{
    move_to(from);
    memmove(ed.text + from, ed.text + to, ed.len - to + 1);
    ed.len -= to - from;
    redraw_tail(to - from);
}

static void show_instead(const char *text)
{
    erase(0, ed.len);
    ed.len = strnlen(text, sizeof ed.text - 1);
    memcpy(ed.text, text, ed.len);
    ed.text[ed.len] = '\0';
    print("%s", ed.text);
    ed.cursor = ed.len;
}

static size_t word_start(void)
{
    size_t at = ed.cursor;
    while (at > 0 && ed.text[at - 1] == ' ') {
        at--;
    }
    while (at > 0 && ed.text[at - 1] != ' ') {
        at--;
    }
    return at;
}

/* ---- History ---- */

static char *history_slot(unsigned number)
{
    return ed.history[number % MONITOR_HISTORY];
}

static void remember(void)
{
    bool blank = true;
    for (size_t i = 0; i < ed.len; i++) {
        blank = blank && ed.text[i] == ' ';
    }
    bool again = ed.remembered > 0 && strcmp(history_slot(ed.remembered - 1), ed.text) == 0;
    if (!blank && !again) {
        memcpy(history_slot(ed.remembered++), ed.text, ed.len + 1);
    }
}

static void history_go(unsigned back)
{
    if (back > ed.remembered || back > MONITOR_HISTORY) {
        print("\a");
        return;
    }
    if (ed.back == 0) {
        memcpy(ed.draft, ed.text, ed.len + 1);
    }
    ed.back = back;
    show_instead(back == 0 ? ed.draft : history_slot(ed.remembered - back));
}

/* ---- One key ---- */

static void key_that_moves(int key)
{
    switch (key) {
    case CTRL('A'):
    case KEY_HOME: move_to(0); break;
    case CTRL('E'):
    case KEY_END: move_to(ed.len); break;
    case CTRL('B'):
    case KEY_LEFT: move_to(ed.cursor > 0 ? ed.cursor - 1 : 0); break;
    case CTRL('F'):
    case KEY_RIGHT: move_to(ed.cursor < ed.len ? ed.cursor + 1 : ed.len); break;
    case CTRL('P'):
    case KEY_UP: history_go(ed.back + 1); break;
    case CTRL('N'):
    case KEY_DOWN:
        if (ed.back > 0) {
            history_go(ed.back - 1);
        }
        break;
    default: break;
    }
}

static void key_that_edits(int key, const char *prompt)
{
    switch (key) {
    case BACKSPACE:
    case DELETE:
        if (ed.cursor > 0) {
            erase(ed.cursor - 1, ed.cursor);
        }
        break;
    case CTRL('D'):
    case KEY_DELETE:
        if (ed.cursor < ed.len) {
            erase(ed.cursor, ed.cursor + 1);
        }
        break;
    case CTRL('U'): erase(0, ed.cursor); break;
    case CTRL('K'): erase(ed.cursor, ed.len); break;
    case CTRL('W'): erase(word_start(), ed.cursor); break;
    case CTRL('L'):
        print("\n%s", prompt);
        print("%s", ed.text);
        cursor_left(ed.len - ed.cursor);
        break;
    default:
        if (key >= ' ' && key < DELETE) {
            insert((char)key);
        }
        break;
    }
}

static void start(const char *prompt)
{
    ed.len = ed.cursor = 0;
    ed.text[0] = '\0';
    ed.back = 0;
    ed.prompt = prompt;
    print("%s", prompt);
}

const char *line_read(const char *prompt)
{
    start(prompt);
    for (;;) {
        int key = read_key();
        switch (key) {
        case KEY_NONE: return NULL;
        case '\r':
        case '\n':
            print("\n");
            remember();
            return ed.text;
        case CTRL('C'):
            move_to(ed.len);
            print("^C\n");
            start(prompt);
            break;
        default:
            key_that_moves(key);
            key_that_edits(key, prompt);
            break;
        }
    }
}
