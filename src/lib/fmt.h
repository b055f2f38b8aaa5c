/*
 * Formatted text into any sink, without allocation or locks, so that reports work when everything is on fire.
 *
 * Understood: %% %c %s %d %i %u %x %X %p with the flags 0 - and #, a width, a precision for %s (each also as *), and
 * the lengths hh h l ll z. Anything else is printed as it stands. A null string prints "(null)".
 */
#ifndef CAIRN_LIB_FMT_H
#define CAIRN_LIB_FMT_H

#include <stdarg.h>
#include <stddef.h>

/* Where text goes: a console, a buffer. `put` gets `len` characters, not terminated. */
struct sink {
    void (*put)(struct sink *self, const char *text, size_t len);
};

/* A sink that fills a buffer, always leaves it terminated, and counts what did not fit. */
struct buffer_sink {
    struct sink sink;
    char *text;      /* the caller's memory, `size` bytes, size > 0 */
    size_t size;     /* bytes */
    size_t len;      /* characters written, without the end */
    size_t lost;     /* characters that did not fit */
};

void buffer_sink_init(struct buffer_sink *b, char *text, size_t size);

__attribute__((format(printf, 2, 3))) void sink_printf(struct sink *s, const char *format, ...);
__attribute__((format(printf, 2, 0))) void sink_vprintf(struct sink *s, const char *format, va_list args);

/* Like snprintf, but returns the characters that are in `text` now (never more than size - 1). */
__attribute__((format(printf, 3, 4))) size_t fmt_text(char *text, size_t size, const char *format, ...);

#endif
