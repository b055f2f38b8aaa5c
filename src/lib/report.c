/* Formats reports on the stack and hands them to the port. */
#include "lib/report.h"

#include "arch/arch.h"
#include "lib/fmt.h"
#include "lib/macros.h"

static void report_args(enum report_kind kind, const char *format, va_list args)
{
    char text[REPORT_TEXT_BYTES];
    struct buffer_sink buffer;
    buffer_sink_init(&buffer, text, sizeof text);
    sink_vprintf(&buffer.sink, format, args);
    arch_report(kind, text);
}

void report(enum report_kind kind, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report_args(kind, format, args);
    va_end(args);
}

enum status misuse(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report_args(REPORT_MISUSE, format, args);
    va_end(args);
    return STATUS_MISUSE;
}

void assert_failed(const char *what, const char *file, int line)
{
    char text[REPORT_TEXT_BYTES];
    fmt_text(text, sizeof text, "assertion failed: %s, %s:%d", what, file, line);
    arch_fatal(text);
}
