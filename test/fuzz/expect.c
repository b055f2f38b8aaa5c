#include "expect.h"

#include <stdarg.h>
#include <stdio.h>

static bool has_failed;

bool expect_has_failed(void) { return has_failed; }

bool test_expect(bool ok, const char *text, const char *file, int line)
{
    if (!ok) {
        fprintf(stderr, "%s:%d: expected %s\n", file, line, text);
        has_failed = true;
    }
    return ok;
}

bool test_expect_eq(uint64_t actual, uint64_t expected, const char *text, const char *file, int line)
{
    if (actual != expected) {
        fprintf(stderr, "%s:%d: expected %s: got %#lx, not %#lx\n", file, line, text, actual, expected);
        has_failed = true;
    }
    return actual == expected;
}

void test_note(const char *format, ...)
{
    va_list args;
    char text[1024];
    struct buffer_sink sink;
    va_start(args, format);
    buffer_sink_init(&sink, text, sizeof text);
    sink_vprintf(&sink.sink, format, args);
    va_end(args);
    fprintf(stderr, "%s\n", text);
}
