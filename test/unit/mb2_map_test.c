/*
 * Which memory map counts when the loader leaves several, and what the entries of EFI's and of basic memory become.
 */
#include "unit/mb2_bed.h"
#include "unit/test.h"

enum { ROOM = 2048, EFI_STEP = 48, TAG_BASIC = 4, TAG_EFI_MAP = 17, TAG_EFI_SERVICES = 18 };

static uint32_t told;

static void hear(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
    told++;
}

static bool parse(struct block *b, struct mb2_info *info)
{
    block_end(b);
    told = 0;
    return EXPECT(mb2_parse(b->bytes, b->size, info, hear, NULL) == STATUS_OK) &&
           EXPECT(block_answer_is_inside(info, b->bytes, b->size)) && EXPECT_EQ(told, info->problems);
}

static bool begin(struct block *b)
{
    void *memory = test_pages(1);
    block_begin(b, memory, ROOM);
    return EXPECT(memory != NULL);
}

struct efi_descriptor {
    uint32_t type, pad;
    uint64_t physical, virtual_address, pages, attributes, later_version;
};

/* An EFI map of descriptors of 48 bytes, as real firmware's. */
static void add_efi(struct block *b, const struct efi_descriptor *descriptors, uint32_t count)
{
    struct {
        uint32_t step, version;
        struct efi_descriptor d[16];
    } tag = {EFI_STEP, 1, {{0}}};
    for (uint32_t i = 0; i < count; i++) {
        tag.d[i] = descriptors[i];
    }
    block_tag(b, TAG_EFI_MAP, &tag, 8 + count * EFI_STEP);
}

static void add_basic(struct block *b, uint32_t low_kib, uint32_t high_kib)
{
    uint32_t tag[2] = {low_kib, high_kib};
    block_tag(b, TAG_BASIC, tag, sizeof tag);
}

static const struct efi_descriptor one = {7, 0, 16 * MIB, 0, 256, 15, 0};

TEST(mb2_map, the_multiboot2_map_comes_first_then_efi_then_basic_memory)
{
    for (unsigned there = 0; there < 8; there++) {
        struct block b;
        struct mb2_info info;
        REQUIRE(begin(&b));
        /* In the other order, so that it is not the place in the block that counts. */
        if ((there & 1) != 0) {
            add_basic(&b, 639, 1024);
        }
        if ((there & 2) != 0) {
            add_efi(&b, &one, 1);
        }
        if ((there & 4) != 0) {
            block_map(&b, 3);
        }
        REQUIRE(parse(&b, &info));
        enum mb2_map_source source = (there & 4) != 0   ? MB2_MAP_MULTIBOOT2
                                     : (there & 2) != 0 ? MB2_MAP_EFI
                                     : (there & 1) != 0 ? MB2_MAP_BASIC
                                                        : MB2_MAP_NONE;
        EXPECT_EQ(info.map_source, source);
        EXPECT_EQ(info.map != NULL, source != MB2_MAP_NONE);
        EXPECT_EQ(info.problems, 0);
    }
}

TEST(mb2_map, a_map_that_is_not_sound_leaves_the_word_to_the_next)
{
    struct block b;
    struct mb2_info info;
    REQUIRE(begin(&b));
    block_tag(&b, 6, "\x13\0\0\0\0\0\0\0aaaaaaaaaaaaaaaaaaaaaaaa", 32);        /* entries of 19 bytes */
    block_tag(&b, TAG_EFI_MAP, "\x27\0\0\0\1\0\0\0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 48); /* of 39 bytes */
    add_basic(&b, 639, 1024);
    REQUIRE(parse(&b, &info));
    EXPECT_EQ(info.map_source, MB2_MAP_BASIC);
    EXPECT_EQ(info.problems, 2);
    REQUIRE(begin(&b));
    block_tag(&b, TAG_BASIC, "1234567", 7);
    REQUIRE(parse(&b, &info));
    EXPECT(info.map == NULL && info.map_source == MB2_MAP_NONE);
    EXPECT_EQ(info.problems, 1);
}

TEST(mb2_map, efi_types_become_those_of_the_memory_map)
{
    static const uint32_t wanted[16] = {2, 1, 1, 1, 1, 2, 2, 1, 5, 3, 4, 2, 2, 2, 2, 2};
    static const uint32_t while_running[16] = {2, 2, 2, 2, 2, 2, 2, 1, 5, 3, 4, 2, 2, 2, 2, 2};
    for (unsigned running = 0; running < 2; running++) {
        struct block b;
        struct mb2_info info;
        struct efi_descriptor d[16];
        for (uint32_t type = 0; type < 16; type++) {
            d[type] = (struct efi_descriptor){type, 0xFFFFFFFF, type * MIB, 77, type, 15, 99};
        }
        REQUIRE(begin(&b));
        if (running != 0) {
            block_tag(&b, TAG_EFI_SERVICES, NULL, 0);
        }
        add_efi(&b, d, 16);
        REQUIRE(parse(&b, &info));
        REQUIRE(info.map_count == 16 && info.firmware_runs == (running != 0));
        for (uint32_t type = 0; type < 16; type++) {
            struct memmap_entry e = mb2_map_entry(&info, type);
            EXPECT(e.base == type * MIB && e.length == pages_to_bytes(npages(type)));
            EXPECT_EQ(e.type, (running != 0 ? while_running : wanted)[type]);
        }
        EXPECT_EQ(mb2_map_entry(&info, 16).length, 0);
    }
}

TEST(mb2_map, more_efi_pages_than_there_are_addresses_are_all_the_addresses)
{
    static const uint64_t pages[] = {UINT64_MAX, 1ULL << 52, (1ULL << 52) - 1};
    for (unsigned i = 0; i < 3; i++) {
        struct block b;
        struct mb2_info info;
        struct efi_descriptor d = {7, 0, MIB, 0, pages[i], 0, 0};
        REQUIRE(begin(&b));
        add_efi(&b, &d, 1);
        REQUIRE(parse(&b, &info));
        EXPECT_EQ(mb2_map_entry(&info, 0).length, i < 2 ? UINT64_MAX : UINT64_MAX - PAGE_BYTES + 1);
    }
}

TEST(mb2_map, basic_memory_is_two_stretches_and_the_low_one_ends_at_640_kib)
{
    static const uint32_t given[][2] = {{639, 130048}, {640, 0}, {0, 1}, {0xFFFFFFFF, 0xFFFFFFFF}};
    for (unsigned i = 0; i < 4; i++) {
        struct block b;
        struct mb2_info info;
        REQUIRE(begin(&b));
        add_basic(&b, given[i][0], given[i][1]);
        REQUIRE(parse(&b, &info));
        REQUIRE(info.map_count == 2);
        struct memmap_entry low = mb2_map_entry(&info, 0), high = mb2_map_entry(&info, 1);
        EXPECT(low.base == 0 && low.type == 1 && high.base == MIB && high.type == 1);
        EXPECT_EQ(low.length, (given[i][0] < 640 ? given[i][0] : 640) * KIB);
        EXPECT_EQ(high.length, given[i][1] * KIB);
    }
}

TEST(mb2_map, each_source_has_a_name)
{
    EXPECT(strcmp(mb2_map_source_name(MB2_MAP_EFI), "the EFI map") == 0);
    EXPECT(strcmp(mb2_map_source_name((enum mb2_map_source)99), "?") == 0);
}
