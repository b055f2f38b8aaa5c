/* Kernel options, in the kernel only: the parser is part of it. GRUB's ways of quoting are the cases that matter. */
#include "kernel/options.h"
#include "unit/test.h"

static struct options o;

static void read(const char *line)
{
    options_read(&o, line);
}

TEST(options, an_empty_line_gives_the_defaults)
{
    read("");
    EXPECT(!o.has_exec && !o.has_test && !o.panic_on_misuse && o.serial && o.vga);
    EXPECT_EQ(o.mem_limit.v, UINT64_MAX);
    EXPECT_EQ(o.heap_bytes, 0);
}

TEST(options, every_way_of_quoting_an_exec_gives_the_same_commands)
{
    static const char *const lines[] = {
        "exec=\"help; mem\"",            /* as typed */
        "\"exec=help; mem\"",            /* GRUB, when its script had exec="help; mem" */
        "\"exec=\\\"help; mem\\\"\"",    /* GRUB, when its script had 'exec="help; mem"' */
        "a=1 exec=help;\\ mem nonce=2",  /* a blank escaped */
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        read(lines[i]);
        EXPECT(o.has_exec);
        EXPECT_EQ(strcmp(o.exec, "help; mem"), 0);
    }
    EXPECT_EQ(strcmp(o.nonce, "2"), 0);
}

TEST(options, sizes_have_units_and_limits)
{
    uint64_t n = 7;
    EXPECT(parse_number("0x40", false, &n) && n == 0x40);
    EXPECT(parse_number("64M", true, &n) && n == 64 * MIB);
    EXPECT(parse_number("2t", true, &n) && n == 2 * TIB);
    EXPECT(parse_number("18446744073709551615", false, &n) && n == UINT64_MAX);
    n = 7;
    EXPECT(!parse_number("18446744073709551616", false, &n));
    EXPECT(!parse_number("16777216t", true, &n));
    EXPECT(!parse_number("", true, &n));
    EXPECT(!parse_number("0x", true, &n));
    EXPECT(!parse_number("12q", true, &n));
    EXPECT(!parse_number("12k", false, &n));
    EXPECT(!parse_number("-1", true, &n));
    EXPECT_EQ(n, 7);
    read("mem=64m heap=0x10000");
    EXPECT_EQ(o.mem_limit.v, bytes_to_pages_down(64 * MIB).v);
    EXPECT_EQ(o.heap_bytes, 0x10000);
}

TEST(options, what_is_malformed_or_unknown_changes_nothing)
{
    read("mem=lots heap= loglevel=9 console=paper debug=nothing panic=often =x nonsense \"open");
    EXPECT_EQ(o.mem_limit.v, UINT64_MAX);
    EXPECT_EQ(o.heap_bytes, 0);
    EXPECT(!o.panic_on_misuse && !o.debug_magic && o.serial && o.vga);
}

TEST(options, lists_and_named_points)
{
    read("debug=checks,magic:prompt,heap console=serial panic=misuse test=pmm.*");
    EXPECT(o.debug_checks && o.debug_heap && o.debug_magic);
    EXPECT_EQ(strcmp(o.magic_name, "prompt"), 0);
    EXPECT(o.serial && !o.vga && o.panic_on_misuse && o.has_test);
    EXPECT_EQ(strcmp(o.test, "pmm.*"), 0);
}

TEST(options, a_line_longer_than_its_place_is_cut_and_stays_terminated)
{
    char *line = test_pages(1);
    REQUIRE(line != NULL);
    memcpy(line, "exec=", 5);
    memset(line + 5, 'x', 3000);
    read(line);
    EXPECT_EQ(strlen(o.exec), OPTION_TEXT_BYTES - 1);
}
