#include "lib/glob.h"
#include "unit/test.h"

__attribute__((format(printf, 2, 3))) static bool gives(const char *expected, const char *format, ...)
{
    char text[128];
    struct buffer_sink buffer;
    buffer_sink_init(&buffer, text, sizeof text);
    va_list args;
    va_start(args, format);
    sink_vprintf(&buffer.sink, format, args);
    va_end(args);
    if (strcmp(text, expected) != 0) {
        test_note("got \"%s\", not \"%s\"", text, expected);
        return false;
    }
    return true;
}

TEST(fmt, numbers_of_every_length)
{
    EXPECT(gives("0 -1 42", "%d %d %i", 0, -1, 42));
    EXPECT(gives("-9223372036854775808", "%ld", INT64_MIN));
    EXPECT(gives("18446744073709551615", "%lu", UINT64_MAX));
    EXPECT(gives("ffffffffffffffff DEAD", "%lx %X", UINT64_MAX, 0xDEADU));
    EXPECT(gives("0xff 0", "%#x %#x", 255U, 0U));
    EXPECT(gives("7 7", "%zu %llu", (size_t)7, 7ULL));
}

TEST(fmt, width_padding_and_precision)
{
    EXPECT(gives("[   42]", "[%5d]", 42));
    EXPECT(gives("[42   ]", "[%-5d]", 42));
    EXPECT(gives("[-0042]", "[%05d]", -42));
    EXPECT(gives("[0x002a]", "[%#06x]", 42U));
    EXPECT(gives("[  ab]", "[%4s]", "ab"));
    EXPECT(gives("[ab  ]", "[%-4s]", "ab"));
    EXPECT(gives("[abc]", "[%.3s]", "abcdef"));
    EXPECT(gives("[ab  ]", "[%*.*s]", -4, 2, "abcdef"));
    EXPECT(gives("[x]%", "[%c]%%", 'x'));
}

TEST(fmt, a_full_buffer_stays_terminated_and_counts_what_is_lost)
{
    char text[8];
    struct buffer_sink buffer;
    buffer_sink_init(&buffer, text, sizeof text);
    sink_printf(&buffer.sink, "0123456789");
    EXPECT_EQ(strcmp(text, "0123456"), 0);
    EXPECT_EQ(buffer.lost, 3);
    EXPECT_EQ(fmt_text(text, sizeof text, "%s", "ab"), 2);
}

TEST(glob, stars_and_question_marks)
{
    EXPECT(glob_match("*", ""));
    EXPECT(glob_match("pmm.*", "pmm.a_frame"));
    EXPECT(glob_match("*frame*", "pmm.a_frame_is"));
    EXPECT(glob_match("a*b*c", "aXbXbYc"));
    EXPECT(glob_match("a?c", "abc"));
    EXPECT(!glob_match("a?c", "ac"));
    EXPECT(!glob_match("pmm", "pmm.x"));
    EXPECT(!glob_match("", "x"));
}
