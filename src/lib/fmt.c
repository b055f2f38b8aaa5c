/*
 * The formatter. One conversion is read into a struct, then written; numbers are made in a small buffer from the right.
 */
#include "lib/fmt.h"

#include <stdbool.h>
#include <stdint.h>

#include "lib/string.h"

struct conversion {
    bool zero, left, alternate;
    int width;      /* characters, 0: none */
    int precision;  /* -1: none */
    int length;     /* -2 hh, -1 h, 0 int, 1 long, 2 long long, size_t */
    char kind;
};

static void put(struct sink *s, const char *text, size_t len)
{
    if (len > 0) {
        s->put(s, text, len);
    }
}

static void put_repeated(struct sink *s, char c, int times)
{
    for (int i = 0; i < times; i++) {
        put(s, &c, 1);
    }
}

static const char *read_number(const char *f, int *number, va_list *args)
{
    if (*f == '*') {
        *number = va_arg(*args, int);
        return f + 1;
    }
    int n = 0;
    while (*f >= '0' && *f <= '9' && n < 10000) {
        n = n * 10 + (*f++ - '0');
    }
    *number = n;
    return f;
}

static const char *read_length(const char *f, int *length)
{
    if (*f == 'z') {
        *length = 2;
        return f + 1;
    }
    while (*f == 'l' || *f == 'h') {
        *length += *f == 'l' ? 1 : -1;
        f++;
    }
    return f;
}

/* Reads what stands after a % into `c`; returns the place behind it. */
static const char *read_conversion(const char *f, struct conversion *c, va_list *args)
{
    *c = (struct conversion){.precision = -1};
    for (;; f++) {
        if (*f == '0') {
            c->zero = true;
        } else if (*f == '-') {
            c->left = true;
        } else if (*f == '#') {
            c->alternate = true;
        } else {
            break;
        }
    }
    f = read_number(f, &c->width, args);
    if (c->width < 0) {
        c->left = true;
        c->width = -c->width;
    }
    if (*f == '.') {
        f = read_number(f + 1, &c->precision, args);
    }
    f = read_length(f, &c->length);
    c->kind = *f;
    return *f == '\0' ? f : f + 1;
}

static void put_padded(struct sink *s, const struct conversion *c, const char *prefix, const char *text, size_t len)
{
    size_t prefix_len = strlen(prefix);
    int pad = c->width > (int)(len + prefix_len) ? c->width - (int)(len + prefix_len) : 0;
    bool zeros = c->zero && !c->left && c->kind != 's' && c->kind != 'c';
    if (!c->left && !zeros) {
        put_repeated(s, ' ', pad);
    }
    put(s, prefix, prefix_len);
    if (zeros) {
        put_repeated(s, '0', pad);
    }
    put(s, text, len);
    if (c->left) {
        put_repeated(s, ' ', pad);
    }
}

static void put_unsigned(struct sink *s, const struct conversion *c, const char *sign, uint64_t value)
{
    const char *digits = c->kind == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    unsigned base = c->kind == 'u' || c->kind == 'd' || c->kind == 'i' ? 10 : 16;
    const char *prefix = base == 16 && c->alternate && value != 0 ? "0x" : sign;
    char text[20];
    size_t at = sizeof text;
    do {
        text[--at] = digits[value % base];
        value /= base;
    } while (value != 0);
    put_padded(s, c, prefix, text + at, sizeof text - at);
}

static uint64_t take_unsigned(const struct conversion *c, va_list *args)
{
    if (c->length >= 1) {
        return va_arg(*args, unsigned long);
    }
    unsigned value = va_arg(*args, unsigned);
    return c->length == -1 ? (unsigned short)value : c->length == -2 ? (unsigned char)value : value;
}

static int64_t take_signed(const struct conversion *c, va_list *args)
{
    if (c->length >= 1) {
        return va_arg(*args, long);
    }
    int value = va_arg(*args, int);
    return c->length == -1 ? (short)value : c->length == -2 ? (signed char)value : value;
}

static void put_string(struct sink *s, const struct conversion *c, const char *text)
{
    if (text == NULL) {
        text = "(null)";
    }
    size_t len = c->precision >= 0 ? strnlen(text, (size_t)c->precision) : strlen(text);
    put_padded(s, c, "", text, len);
}

static void put_conversion(struct sink *s, struct conversion *c, va_list *args)
{
    switch (c->kind) {
    case 'd':
    case 'i': {
        int64_t value = take_signed(c, args);
        /* Negated as unsigned: the most negative number has no positive twin. */
        put_unsigned(s, c, value < 0 ? "-" : "", value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
        break;
    }
    case 'u':
    case 'x':
    case 'X': put_unsigned(s, c, "", take_unsigned(c, args)); break;
    case 'p':
        c->alternate = true;
        put_unsigned(s, c, "", (uint64_t)(uintptr_t)va_arg(*args, void *));
        break;
    case 'c': {
        char one = (char)va_arg(*args, int);
        put_padded(s, c, "", &one, 1);
        break;
    }
    case 's': put_string(s, c, va_arg(*args, const char *)); break;
    case '%': put(s, "%", 1); break;
    default: put(s, "%?", 2); break;
    }
}

void sink_vprintf(struct sink *s, const char *format, va_list args)
{
    va_list own;
    va_copy(own, args);
    while (*format != '\0') {
        const char *percent = strchr(format, '%');
        if (percent == NULL) {
            put(s, format, strlen(format));
            break;
        }
        put(s, format, (size_t)(percent - format));
        struct conversion c;
        format = read_conversion(percent + 1, &c, &own);
        put_conversion(s, &c, &own);
    }
    va_end(own);
}

void sink_printf(struct sink *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    sink_vprintf(s, format, args);
    va_end(args);
}

static void buffer_put(struct sink *self, const char *text, size_t len)
{
    struct buffer_sink *b = (struct buffer_sink *)self; /* `sink` is the first member */
    size_t room = b->size - 1 - b->len;
    size_t fits = len < room ? len : room;
    memcpy(b->text + b->len, text, fits);
    b->len += fits;
    b->lost += len - fits;
    b->text[b->len] = '\0';
}

void buffer_sink_init(struct buffer_sink *b, char *text, size_t size)
{
    *b = (struct buffer_sink){.sink = {buffer_put}, .text = text, .size = size};
    text[0] = '\0';
}

size_t fmt_text(char *text, size_t size, const char *format, ...)
{
    struct buffer_sink buffer;
    buffer_sink_init(&buffer, text, size);
    va_list args;
    va_start(args, format);
    sink_vprintf(&buffer.sink, format, args);
    va_end(args);
    return buffer.len;
}
