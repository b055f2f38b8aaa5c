/*
 * The boot information: sound blocks, and each kind of wrong one, with what is still used of it.
 */
#include "unit/mb2_bed.h"
#include "unit/test.h"

enum { ROOM = 16384 };

static struct {
    char last[MB2_PROBLEM_TEXT_BYTES];
    uint32_t told;
} heard;

static void hear(void *ctx, const char *text)
{
    (void)ctx;
    fmt_text(heard.last, sizeof heard.last, "%s", text);
    heard.told++;
}

static void *room(void)
{
    heard.told = 0;
    heard.last[0] = '\0';
    return test_pages(bytes_to_pages_up(ROOM).v);
}

/* Parses and checks that nothing of the answer lies outside; the problems are in `heard`. */
static enum status parse(const struct block *b, struct mb2_info *info)
{
    heard.told = 0;
    enum status status = mb2_parse(b->bytes, b->size, info, hear, NULL);
    EXPECT(block_answer_is_inside(info, b->bytes, b->size));
    EXPECT_EQ(heard.told, info->problems < MB2_PROBLEMS_TOLD_MAX ? info->problems : MB2_PROBLEMS_TOLD_MAX);
    return status;
}

TEST(mb2, a_sound_block_is_read_whole_without_a_problem)
{
    struct block b;
    struct mb2_info info;
    void *memory = room();
    REQUIRE(memory != NULL);
    block_of_everything(&b, memory, ROOM);
    REQUIRE(parse(&b, &info) == STATUS_OK);
    EXPECT_EQ(info.problems, 0);
    EXPECT_EQ(info.total_bytes, b.size);
    EXPECT(strcmp(info.command_line, "exec=\"mem -j\" nonce=7") == 0 && strcmp(info.loader_name, "GRUB 2.06") == 0);
    EXPECT_EQ(info.map_count, 5);
    EXPECT_EQ(info.map_entry_bytes, 24);
    struct memmap_entry e = mb2_map_entry(&info, 4);
    EXPECT(e.base == 8 * MIB && e.length == MIB && e.type == 1);
    EXPECT_EQ(mb2_map_entry(&info, 5).length, 0);
    EXPECT_EQ(info.module_count, 2);
    EXPECT(info.modules[0].start == 2 * MIB && info.modules[0].end == 3 * MIB);
    EXPECT(strcmp(info.modules[0].args, "first module") == 0 && strcmp(info.modules[1].args, "") == 0);
    EXPECT(info.elf.count == 3 && info.elf.entry_bytes == 64 && info.elf.names_index == 1);
    struct mb2_section s;
    REQUIRE(mb2_section(&info, 2, &s));
    EXPECT(s.address == MIB + 2 && s.bytes == 102 && s.type == 1 && s.flags == 6 && s.link == 9);
    EXPECT(!mb2_section(&info, 3, &s));
    EXPECT(info.rsdp_version == 2 && info.rsdp_bytes == 36 && memcmp(info.rsdp, "RSD PTR ", 8) == 0);
    EXPECT(info.framebuffer.present && info.framebuffer.address == 0xFD000000 && info.framebuffer.pitch == 5000);
    EXPECT(info.framebuffer.width == 1024 && info.framebuffer.height == 768);
    EXPECT(info.framebuffer.bpp == 32 && info.framebuffer.type == 1);
    EXPECT(info.efi_map && info.efi);
    EXPECT_EQ(info.load_base, 2 * MIB);
}

TEST(mb2, an_empty_block_is_sound_and_says_nothing)
{
    struct block b;
    struct mb2_info info;
    void *memory = room();
    REQUIRE(memory != NULL);
    block_begin(&b, memory, ROOM);
    block_end(&b);
    REQUIRE(parse(&b, &info) == STATUS_OK);
    EXPECT_EQ(info.problems, 0);
    EXPECT(*info.command_line == '\0' && *info.loader_name == '\0' && info.map == NULL && info.rsdp == NULL);
    EXPECT(!info.efi && !info.efi_map && !info.framebuffer.present && info.elf.headers == NULL);
}

TEST(mb2, what_is_no_block_at_all_is_corrupt_and_leaves_an_empty_answer)
{
    struct block b;
    struct mb2_info info;
    void *memory = room();
    REQUIRE(memory != NULL);
    block_begin(&b, memory, ROOM);
    block_string(&b, 1, "hello");
    block_end(&b);
    EXPECT(mb2_parse(NULL, 100, &info, hear, NULL) == STATUS_CORRUPT);
    memmove(b.bytes + 1028, b.bytes, b.size); /* sound, but not aligned */
    EXPECT(mb2_parse(b.bytes + 1028, b.size, &info, hear, NULL) == STATUS_CORRUPT);
    EXPECT(mb2_parse(b.bytes, 0, &info, NULL, NULL) == STATUS_CORRUPT);
    EXPECT(mb2_parse(b.bytes, 15, &info, NULL, NULL) == STATUS_CORRUPT);
    EXPECT_EQ(info.problems, 1);
    EXPECT(*info.command_line == '\0' && *info.loader_name == '\0' && info.total_bytes == 0);
    for (uint32_t said = 0; said < 16; said++) {
        block_patch(&b, 0, said);
        EXPECT(parse(&b, &info) == STATUS_CORRUPT);
    }
    block_patch(&b, 0, b.size);
    static const uint32_t lengths[] = {0, 1, 7, 500, INT32_MAX, UINT32_MAX - 7, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        block_patch(&b, 12, lengths[i]);
        EXPECT(parse(&b, &info) == STATUS_CORRUPT);
        EXPECT(info.problems >= 2 && *info.command_line == '\0');
    }
    memset(b.bytes, 0xFF, b.size);
    EXPECT(parse(&b, &info) == STATUS_CORRUPT);
}

TEST(mb2, a_block_longer_than_what_may_be_read_is_cut_and_told)
{
    struct block b;
    struct mb2_info info;
    void *memory = room();
    REQUIRE(memory != NULL);
    block_begin(&b, memory, ROOM);
    block_string(&b, 1, "hello");
    block_end(&b);
    block_patch(&b, 0, UINT32_MAX);
    REQUIRE(parse(&b, &info) == STATUS_OK);
    EXPECT_EQ(info.problems, 1);
    EXPECT_EQ(info.total_bytes, b.size);
    EXPECT(strcmp(info.command_line, "hello") == 0);
    EXPECT(mb2_parse(b.bytes, SIZE_MAX, &info, NULL, NULL) == STATUS_OK); /* the end tag ends it */
    EXPECT_EQ(info.total_bytes, MB2_BLOCK_BYTES_MAX);
}

TEST(mb2, a_missing_end_tag_is_told_and_the_rest_is_used)
{
    struct block b;
    struct mb2_info info;
    void *memory = room();
    REQUIRE(memory != NULL);
    block_begin(&b, memory, ROOM);
    block_string(&b, 1, "hello");
    block_patch(&b, 0, b.size);
    REQUIRE(parse(&b, &info) == STATUS_OK);
    EXPECT_EQ(info.problems, 1);
    EXPECT(strcmp(heard.last, "the end tag is missing") == 0 && strcmp(info.command_line, "hello") == 0);
    block_end(&b);
    block_patch(&b, b.size - 4, 4);
    REQUIRE(parse(&b, &info) == STATUS_OK);
    EXPECT_EQ(info.problems, 1);
}

TEST(mb2, tags_behind_one_of_senseless_size_are_not_read)
{
    struct block b;
    struct mb2_info info;
    void *memory = room();
    REQUIRE(memory != NULL);
    static const uint32_t lengths[] = {0, 7, 1000, UINT32_MAX - 6, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        block_begin(&b, memory, ROOM);
        block_string(&b, 1, "hello");
        uint32_t tag = block_string(&b, 99, "strange");
        block_string(&b, 2, "behind");
        block_end(&b);
        block_patch(&b, tag + 4, lengths[i]);
        REQUIRE(parse(&b, &info) == STATUS_OK);
        EXPECT_EQ(info.problems, 1);
        EXPECT(strcmp(info.command_line, "hello") == 0 && *info.loader_name == '\0');
    }
}

TEST(mb2, a_string_without_end_is_left_out)
{
    struct block b;
    struct mb2_info info;
    void *memory = room();
    REQUIRE(memory != NULL);
    block_begin(&b, memory, ROOM);
    block_tag(&b, 1, "sixteen letters!", 16); /* the next tag's type begins with a zero byte: not its end */
    block_tag(&b, 2, NULL, 0);
    uint32_t module = block_module(&b, 5000, 8192, "arguments");
    block_patch(&b, module + 4, 8 + 8 + 9);
    block_end(&b);
    REQUIRE(parse(&b, &info) == STATUS_OK);
    EXPECT_EQ(info.problems, 3);
    EXPECT(*info.command_line == '\0' && *info.loader_name == '\0');
    EXPECT(info.module_count == 1 && info.modules[0].end == 8192 && *info.modules[0].args == '\0');
}

TEST(mb2, of_a_doubled_tag_the_first_sound_one_counts)
{
    struct block b;
    struct mb2_info info;
    void *memory = room();
    REQUIRE(memory != NULL);
    block_begin(&b, memory, ROOM);
    block_tag(&b, 1, "no end", 6);
    block_string(&b, 1, "first");
    block_string(&b, 1, "second");
    block_map(&b, 3);
    block_map(&b, 7);
    block_tag(&b, 21, "\0\0\x10\0", 4);
    block_tag(&b, 21, "\0\0\x20\0", 4);
    block_string(&b, 55, "unknown ones may come");
    block_string(&b, 55, "as often as they like");
    block_end(&b);
    REQUIRE(parse(&b, &info) == STATUS_OK);
    EXPECT_EQ(info.problems, 4);
    EXPECT(strcmp(info.command_line, "first") == 0 && info.map_count == 3 && info.load_base == MIB);
}

TEST(mb2, a_map_with_senseless_entry_sizes_is_left_out)
{
    static const struct {
        uint32_t entry_bytes, entries, problems;
    } cases[] = {{0, 0, 1},  {1, 0, 1},  {19, 0, 1}, {20, 3, 1}, {24, 3, 0},
                 {32, 2, 1}, {72, 1, 0}, {73, 0, 2}, {INT32_MAX, 0, 2}, {UINT32_MAX, 0, 2}};
    struct block b;
    struct mb2_info info;
    void *memory = room();
    REQUIRE(memory != NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        block_begin(&b, memory, ROOM);
        uint32_t tag = block_map(&b, 3);
        block_end(&b);
        block_patch(&b, tag + 8, cases[i].entry_bytes);
        REQUIRE(parse(&b, &info) == STATUS_OK);
        EXPECT_EQ(info.map_count, cases[i].entries);
        EXPECT_EQ(info.problems, cases[i].problems);
        EXPECT((info.map != NULL) == (cases[i].entries > 0));
    }
    block_begin(&b, memory, ROOM);
    block_map(&b, 0);
    block_tag(&b, 6, "four", 4);
    block_end(&b);
    REQUIRE(parse(&b, &info) == STATUS_OK);
    EXPECT(info.map == NULL && info.problems == 2);
}

TEST(mb2, a_map_cut_off_by_the_block_gives_its_whole_entries)
{
    struct block b;
    struct mb2_info info;
    void *memory = room();
    REQUIRE(memory != NULL);
    block_begin(&b, memory, ROOM);
    block_string(&b, 1, "hello");
    uint32_t tag = block_map(&b, 5);
    b.size = tag + 16 + 3 * 24 + 11;
    block_patch(&b, 0, b.size);
    REQUIRE(parse(&b, &info) == STATUS_OK);
    EXPECT_EQ(info.map_count, 3);
    EXPECT_EQ(mb2_map_entry(&info, 2).base, 4 * MIB);
    EXPECT_EQ(info.problems, 2);
}

TEST(mb2, modules_that_end_before_they_start_are_lost_and_overlapping_ones_told)
{
    struct block b;
    struct mb2_info info;
    void *memory = room();
    REQUIRE(memory != NULL);
    block_begin(&b, memory, ROOM);
    block_module(&b, 0x3000, 0x2FFF, "backwards");
    block_module(&b, 0x1500, 0x2000, "one");
    block_module(&b, 0x2000, 0x3000, "touches");
    block_module(&b, 0x1800, 0x1801, "inside one");
    block_module(&b, 0x1900, 0x1900, "empty");
    block_tag(&b, 3, "short", 5);
    block_end(&b);
    REQUIRE(parse(&b, &info) == STATUS_OK);
    EXPECT_EQ(info.module_count, 4);
    EXPECT_EQ(info.modules_lost, 2);
    EXPECT_EQ(info.problems, 3);
    EXPECT(strcmp(info.modules[2].args, "inside one") == 0);
}

TEST(mb2, more_modules_than_there_is_room_for_are_counted)
{
    struct block b;
    struct mb2_info info;
    void *memory = room();
    REQUIRE(memory != NULL);
    block_begin(&b, memory, ROOM);
    for (uint32_t i = 0; i < MB2_MODULES_MAX + 50; i++) {
        block_module(&b, i * 100, i * 100 + 10, "m");
    }
    block_end(&b);
    REQUIRE(parse(&b, &info) == STATUS_OK);
    EXPECT_EQ(info.module_count, MB2_MODULES_MAX);
    EXPECT_EQ(info.modules_lost, 50);
    EXPECT_EQ(info.problems, 50);
    EXPECT_EQ(heard.told, MB2_PROBLEMS_TOLD_MAX);
}

TEST(mb2, wrong_section_tables_give_the_headers_that_are_there)
{
    static const struct {
        uint32_t count, entry_bytes, names, got, problems;
    } cases[] = {{3, 64, 1, 3, 0},  {4, 64, 1, 3, 1},          {UINT32_MAX, 64, 1, 3, 1}, {3, 64, 3, 3, 1},
                 {0, 64, 1, 0, 0},  {3, 0, 1, 0, 1},           {3, 63, 1, 0, 1},          {4, 40, 1, 4, 0},
                 {3, 193, 0, 0, 1}, {1, UINT32_MAX, 0, 0, 1},  {UINT32_MAX, UINT32_MAX, 0, 0, 1}};
    struct block b;
    struct mb2_info info;
    void *memory = room();
    REQUIRE(memory != NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint32_t payload[3 + 3 * 16] = {cases[i].count, cases[i].entry_bytes, cases[i].names};
        block_begin(&b, memory, ROOM);
        block_tag(&b, 9, payload, sizeof payload);
        block_end(&b);
        REQUIRE(parse(&b, &info) == STATUS_OK);
        EXPECT_EQ(info.elf.count, cases[i].got);
        EXPECT_EQ(info.problems, cases[i].problems);
        EXPECT((info.elf.headers != NULL) == (cases[i].got > 0));
    }
    uint32_t elf32[3 + 10] = {1, 40, 0, 1, 2, 3, 4, 5, 6, 7}; /* name, type, flags, address, offset, size, link */
    block_begin(&b, memory, ROOM);
    block_tag(&b, 9, elf32, sizeof elf32);
    block_end(&b);
    struct mb2_section s;
    REQUIRE(parse(&b, &info) == STATUS_OK && mb2_section(&info, 0, &s));
    EXPECT(s.type == 2 && s.flags == 3 && s.address == 4 && s.bytes == 6 && s.link == 7);
}

TEST(mb2, the_newer_rsdp_counts_in_any_order_and_short_ones_do_not)
{
    static const char rsdp[36] = "RSD PTR ";
    struct block b;
    struct mb2_info info;
    void *memory = room();
    REQUIRE(memory != NULL);
    for (uint32_t bytes = 0; bytes <= 36; bytes++) {
        block_begin(&b, memory, ROOM);
        block_tag(&b, 15, rsdp, bytes);
        block_tag(&b, 14, rsdp, bytes);
        block_end(&b);
        REQUIRE(parse(&b, &info) == STATUS_OK);
        EXPECT_EQ(info.rsdp_version, bytes < 20 ? 0 : bytes < 36 ? 1 : 2);
        EXPECT_EQ(info.problems, bytes < 20 ? 2 : bytes < 36 ? 1 : 0);
        EXPECT((info.rsdp != NULL) == (bytes >= 20));
    }
}

TEST(mb2, a_screen_that_cannot_be_is_none)
{
    static const struct {
        uint64_t address;
        uint32_t pitch, width, height;
        uint8_t bpp, good;
    } cases[] = {{0xB8000, 160, 80, 25, 16, true},      {0xE0000000, 3200, 800, 600, 32, true},
                 {0xE0000000, 3199, 800, 600, 32, false}, {0xE0000000, 3200, 0, 600, 32, false},
                 {0xE0000000, 3200, 800, 0, 32, false},   {0xE0000000, 3200, 800, 600, 0, false},
                 {0xE0000000, 0, 800, 600, 32, false},    {UINT64_MAX - 5000, 3200, 800, 600, 32, false},
                 {0, UINT32_MAX, UINT32_MAX, UINT32_MAX, 255, false}};
    struct block b;
    struct mb2_info info;
    void *memory = room();
    REQUIRE(memory != NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t payload[24] = {0};
        memcpy(payload, &cases[i].address, 8);
        memcpy(payload + 8, &cases[i].pitch, 4);
        memcpy(payload + 12, &cases[i].width, 4);
        memcpy(payload + 16, &cases[i].height, 4);
        payload[20] = cases[i].bpp;
        for (uint32_t bytes = 20; bytes <= 24; bytes++) {
            block_begin(&b, memory, ROOM);
            block_tag(&b, 8, payload, bytes);
            block_end(&b);
            REQUIRE(parse(&b, &info) == STATUS_OK);
            EXPECT_EQ(info.framebuffer.present, cases[i].good && bytes >= 22);
            EXPECT_EQ(info.problems, info.framebuffer.present ? 0 : 1);
        }
    }
}

TEST(mb2, each_efi_tag_says_that_the_machine_is_efi)
{
    struct block b;
    struct mb2_info info;
    void *memory = room();
    REQUIRE(memory != NULL);
    for (uint32_t type = 10; type <= 22; type++) {
        block_begin(&b, memory, ROOM);
        block_tag(&b, type, "0123456789012345678901234567890123456789", 40);
        block_end(&b);
        REQUIRE(parse(&b, &info) == STATUS_OK);
        EXPECT_EQ(info.efi_map, type == 17);
        EXPECT_EQ(info.efi, type == 11 || type == 12 || (type >= 17 && type <= 20));
    }
}
