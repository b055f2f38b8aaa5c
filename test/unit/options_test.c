/* Kernel options, in the kernel only: the parser is part of it. GRUB's ways of quoting are the cases that matter. */
#include "kernel/options.h"
#include "lib/fmt.h"
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

TEST(options, what_is_malformed_leaves_what_was_said_before)
{
    static const char good[] = "mem=64m debug=heap,magic:prompt panic=misuse exercise=pause nonce=7 test=a";
    read(good);
    struct options before = o;
    char line[256];
    struct buffer_sink buffer;
    buffer_sink_init(&buffer, line, sizeof line);
    sink_printf(&buffer.sink, "%s mem=0 mem=4095 debug=nothing panic=often exercise=not nonce exec", good);
    read(line);
    EXPECT_EQ(o.mem_limit.v, before.mem_limit.v);
    EXPECT(o.debug_heap && o.debug_magic && !o.debug_checks);
    EXPECT_EQ(strcmp(o.magic_name, "prompt"), 0);
    EXPECT(o.panic_on_misuse && o.exercise_pause && !o.has_exec);
    EXPECT_EQ(strcmp(o.nonce, "7"), 0);
}

TEST(options, the_heaps_guard_mode_has_three_ways_each_for_all_blocks_or_for_caches)
{
    static const struct {
        const char *line;
        uint64_t sample;
        bool is_on;
        const char *caches;
    } lines[] = {
        {"debug=heap", 0, true, ""},
        {"debug=heap:edge,magic:prompt", 1, true, ""},
        {"debug=magic,heap:sample=1000", 1000, true, ""},
        {"debug=heap:sample=0x10,checks", 16, true, ""},
        {"debug=heap:sample=0", 0, false, ""},
        {"debug=heap:sample=4294967297", 0, false, ""},
        {"debug=heap:sample=12k", 0, false, ""},
        {"debug=heap:sample", 0, false, ""},
        {"debug=heap:edges", 0, false, ""},
        {"debug=heaps", 0, false, ""},
        {"debug=magic", 0, false, ""},
        {"debug=heap:cache=spaces", 0, true, "spaces"},
        {"debug=heap:cache=*,checks", 0, true, "*"},
        {"debug=heap:edge:cache=a?c", 1, true, "a?c"},
        {"debug=heap:cache=ab:edge,magic", 1, true, "ab"},
        {"debug=heap:cache=", 0, false, ""},
        {"debug=heap:cache", 0, false, ""},
        {"debug=heap:cache=,edge", 0, false, ""},
        {"debug=heap:cache=a:sample=7", 0, false, ""},
        {"debug=heap:edge:corner", 0, false, ""},
        {"debug=heap:cache=abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl", 0, false, ""},
        {"debug=heap:cache=abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk", 0, true,
         "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"},
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        read(lines[i].line);
        EXPECT_EQ(o.debug_heap, lines[i].is_on);
        EXPECT_EQ(o.heap_sample, lines[i].sample);
        EXPECT_EQ(strcmp(o.heap_caches, lines[i].caches), 0);
    }
}

TEST(options, lists_and_named_points)
{
    read("debug=checks,magic:prompt,heap console=serial panic=misuse test=pmm.*");
    EXPECT(o.debug_checks && o.debug_heap && o.debug_magic);
    EXPECT_EQ(strcmp(o.magic_name, "prompt"), 0);
    EXPECT(o.serial && !o.vga && o.panic_on_misuse && o.has_test);
    EXPECT_EQ(strcmp(o.test, "pmm.*"), 0);
}

/* Is the one pair `index` these bits of frame numbers? */
static bool has_pair(size_t index, uint64_t number, uint64_t mask)
{
    return index < o.badram.count && o.badram.at[index].number == number && o.badram.at[index].mask == mask;
}

TEST(options, bad_memory_is_a_list_of_pairs_and_all_such_options_count)
{
    read("badram=0x12345678,0xfffffffffffff000");
    EXPECT(o.badram.count == 1 && has_pair(0, 0x12345, (1ULL << 52) - 1));
    read("badram=8192,0x3fff,0xFFFFF000,0x10000 mem=1m badram=0,0");
    EXPECT(o.badram.count == 3 && has_pair(0, 2, 3) && has_pair(1, 0x10, 0x10) && has_pair(2, 0, 0));
    EXPECT_EQ(o.mem_limit.v, bytes_to_pages_down(MIB).v);
}

TEST(options, malformed_bad_memory_is_ignored_whole)
{
    static const char *const lines[] = {
        "badram", "badram=", "badram=0x1000", "badram=0x1000,", "badram=,0x1000", "badram=0x1000,0x1000,",
        "badram=0x1000,0x1000,0x2000", "badram=0x1000,zz", "badram=1000h,0x1000", "badram=0x1000;0x1000",
        "badram=64M,0x1000", "badram=0x1000,0x1000 0x2000,0x1000 badram=1,2,3",
        "badram=0x1000,0x10000000000000000", "badram=ff000,0xff000",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        read(lines[i]);
        EXPECT_EQ(o.badram.count, i == 11); /* there the first option is sound, the second is not */
    }
}

TEST(options, bad_memory_too_long_for_its_place_is_cut_between_two_pairs)
{
    static const char pair[] = "0x12345000,0xffffffffffff,";
    char *line = test_pages(1);
    REQUIRE(line != NULL);
    memcpy(line, "badram=", 7);
    for (size_t i = 0; i < 100; i++) {
        memcpy(line + 7 + i * (sizeof pair - 1), pair, sizeof pair);
    }
    read(line);
    EXPECT_EQ(o.badram.count, (OPTION_TEXT_BYTES - 1) / (sizeof pair - 1));
    for (size_t i = 0; i < o.badram.count; i++) {
        EXPECT(has_pair(i, 0x12345, 0xfffffffff));
    }
    for (size_t i = 0; i < 2 * BADRAM_PATTERNS_MAX; i++) { /* short ones: more than there are places */
        memcpy(line + 7 + 4 * i, i + 1 < 2 * BADRAM_PATTERNS_MAX ? "1,1," : "1,1", 5);
    }
    read(line);
    EXPECT_EQ(o.badram.count, BADRAM_PATTERNS_MAX);
}

TEST(options, commands_too_long_for_their_place_are_cut_between_two)
{
    static const char command[] = "unmap 1 0x400000 512;";
    char *line = test_pages(1);
    REQUIRE(line != NULL);
    memcpy(line, "exec=\"", 6);
    for (size_t i = 0; i < 100; i++) {
        memcpy(line + 6 + i * (sizeof command - 1), command, sizeof command);
    }
    read(line);
    size_t len = strlen(o.exec);
    EXPECT(len < OPTION_TEXT_BYTES && len + sizeof command >= OPTION_TEXT_BYTES);
    EXPECT_EQ((len + 1) % (sizeof command - 1), 0); /* whole commands, less the last ';' */
    memset(line, 'x', 3000);
    memcpy(line, "exec=", 5);
    read(line);
    EXPECT_EQ(strlen(o.exec), 0); /* not even the first one fits */
}
