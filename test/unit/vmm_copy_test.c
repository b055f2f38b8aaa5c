/* Contents of spaces: copied, cleared and read from outside, all or nothing. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/vmm_bed.h"

enum { RW = VMM_READ | VMM_WRITE, PAGES = 70, STRIDE = 8 };

static const pfn_t device = {0xC000000}; /* 768 GiB: above the RAM of these tests */

/* Its number at each word of [va, va + pages) of the space, seen from inside. */
static void write_numbers(struct vmm_bed *bed, struct space *space, vaddr_t va, uint64_t pages, uint64_t number)
{
    vmm_bed_switch(bed, space);
    for (uint64_t at = 0; at < pages_to_bytes(npages(pages)); at += STRIDE) {
        arch_write64(vaddr_add(va, at), number + at);
    }
}

static void expect_numbers(vaddr_t va, uint64_t bytes, uint64_t number)
{
    unsigned wrong = 0;
    for (uint64_t at = 0; at < bytes; at += STRIDE) {
        wrong += arch_read64(vaddr_add(va, at)) != number + at;
    }
    EXPECT_EQ(wrong, 0);
}

/* From b to a, seen from b, from a, and from a third space; aligned alike and not. */
TEST(vmm_copy, bytes_arrive_whatever_is_current_and_however_they_lie)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(PAGES), RW));
    EXPECT_OK(vmm_map(bed.vmm, &bed.b, vaddr(VA_GLOBAL), npages(PAGES), RW));
    struct space *places[] = {&bed.a, &bed.b, bed.home};
    static const struct { uint64_t to, from, bytes; } cases[] = {
        {0, 0, (uint64_t)PAGES * PAGE_BYTES}, {8, 8, 16},
        {PAGE_BYTES - 8, 16, PAGE_BYTES},     {24, 4000, 40000}, {0, 8, 8},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        for (unsigned p = 0; p < ARRAY_LEN(places); p++) {
            const uint64_t number = 1000000ULL * (i * 10 + p + 1);
            write_numbers(&bed, &bed.b, vaddr(VA_GLOBAL), PAGES, number);
            write_numbers(&bed, &bed.a, vaddr(VA_PRIVATE), PAGES, 7);
            vmm_bed_switch(&bed, places[p]);
            EXPECT_OK(space_copy(bed.vmm, &bed.a, vaddr(VA_PRIVATE + cases[i].to), &bed.b,
                                 vaddr(VA_GLOBAL + cases[i].from), cases[i].bytes));
            vmm_bed_switch(&bed, &bed.a);
            expect_numbers(vaddr(VA_PRIVATE), cases[i].to, 7); /* before and after: as it was */
            expect_numbers(vaddr(VA_PRIVATE + cases[i].to), cases[i].bytes, number + cases[i].from);
            const uint64_t end = cases[i].to + cases[i].bytes;
            expect_numbers(vaddr(VA_PRIVATE + end), (uint64_t)PAGES * PAGE_BYTES - end, 7 + end);
        }
    }
    vmm_bed_close(&bed);
}

TEST(vmm_copy, parts_are_cleared_and_read)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(4), RW));
    write_numbers(&bed, &bed.a, vaddr(VA_PRIVATE), 4, 100);
    vmm_bed_switch(&bed, bed.home);
    EXPECT_OK(space_clear(bed.vmm, &bed.a, vaddr(VA_PRIVATE + 4000), 2 * PAGE_BYTES));
    uint64_t words[4];
    const uint64_t end = 4000 + 2 * PAGE_BYTES;
    EXPECT_OK(space_peek(bed.vmm, &bed.a, vaddr(VA_PRIVATE + 4000 - 16), words, sizeof words));
    EXPECT(words[0] == 100 + 4000 - 16 && words[1] == 100 + 4000 - 8 && words[2] == 0 && words[3] == 0);
    EXPECT_OK(space_peek(bed.vmm, &bed.a, vaddr(VA_PRIVATE + PAGE_BYTES - 8), words, 16)); /* over a border */
    EXPECT(words[0] == 0 && words[1] == 0);
    EXPECT_OK(space_peek(bed.vmm, &bed.a, vaddr(VA_PRIVATE + end - 8), words, 16));
    EXPECT(words[0] == 0 && words[1] == 100 + end);
    EXPECT_EQ(bed.a.pages.v, 4);
    vmm_bed_close(&bed);
}

static void expect_refused(struct vmm_bed *bed, enum status expected, uint64_t to, uint64_t from, uint64_t bytes)
{
    const struct pmm_stats was = pmm_stats(bed->vmm->pmm);
    EXPECT_EQ(space_copy(bed->vmm, &bed->a, vaddr(to), &bed->b, vaddr(from), bytes), expected);
    uint64_t word = 0;
    EXPECT_OK(space_peek(bed->vmm, &bed->a, vaddr(VA_PRIVATE), &word, sizeof word));
    EXPECT_EQ(word, 7); /* not one byte */
    EXPECT_EQ(pmm_stats(bed->vmm->pmm).allocated, was.allocated);
}

TEST(vmm_copy, kernel_memory_is_written_into_any_space_or_not_at_all)
{
    enum { BYTES = 2 * PAGE_BYTES };
    static uint8_t from[BYTES], is[BYTES];
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const vaddr_t base = vaddr(VA_PRIVATE), va = vaddr_add(base, 40); /* three pages have some of it */
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, base, npages(4), RW));
    write_numbers(&bed, &bed.a, base, 4, 100);
    for (unsigned i = 0; i < BYTES; i++) {
        from[i] = (uint8_t)(i % 251);
    }
    struct space *places[] = {bed.home, &bed.b, &bed.a};
    for (unsigned p = 0; p < ARRAY_LEN(places); p++) {
        vmm_bed_switch(&bed, places[p]);
        from[0] = (uint8_t)p;
        EXPECT_OK(space_poke(bed.vmm, &bed.a, va, from, BYTES));
        EXPECT_OK(space_peek(bed.vmm, &bed.a, va, is, BYTES));
        EXPECT(memcmp(from, is, BYTES) == 0);
    }
    expect_numbers(base, 40, 100);
    expect_numbers(vaddr_add(va, BYTES), PAGE_BYTES, 100 + 40 + BYTES);
    memset(is, 0xFF, BYTES);
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, vaddr_add_pages(base, 2), npages(1), VMM_READ));
    EXPECT_EQ(space_poke(bed.vmm, &bed.a, va, is, BYTES), STATUS_DENIED);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr_add_pages(base, 2), npages(1)));
    EXPECT_EQ(space_poke(bed.vmm, &bed.a, va, is, BYTES), STATUS_ABSENT);
    EXPECT_EQ(space_poke(bed.vmm, &bed.a, va, is, 0), STATUS_INVALID);
    EXPECT_OK(space_peek(bed.vmm, &bed.a, va, is, PAGE_BYTES));
    EXPECT(memcmp(from, is, PAGE_BYTES) == 0);
    vmm_bed_close(&bed);
}

/* The last page of a long range is wrong: nothing has moved when that is found. */
TEST(vmm_copy, nothing_is_copied_when_anything_is_wrong)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const uint64_t bytes = (uint64_t)PAGES * PAGE_BYTES, last = bytes - PAGE_BYTES;
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(PAGES), RW));
    EXPECT_OK(vmm_map(bed.vmm, &bed.b, vaddr(VA_GLOBAL), npages(PAGES), VMM_READ)); /* reading is enough there */
    write_numbers(&bed, &bed.a, vaddr(VA_PRIVATE), 1, 7);
    vmm_bed_switch(&bed, bed.home);
    expect_refused(&bed, STATUS_ABSENT, VA_PRIVATE, VA_GLOBAL, bytes + 1);
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, vaddr(VA_PRIVATE + last), npages(1), VMM_READ));
    expect_refused(&bed, STATUS_DENIED, VA_PRIVATE, VA_GLOBAL, bytes);
    EXPECT_EQ(space_clear(bed.vmm, &bed.a, vaddr(VA_PRIVATE), bytes), STATUS_DENIED);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr(VA_PRIVATE + last), npages(1)));
    expect_refused(&bed, STATUS_ABSENT, VA_PRIVATE, VA_GLOBAL, bytes);
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_PRIVATE + last), device, npages(1), RW, false));
    expect_refused(&bed, STATUS_UNSUPPORTED, VA_PRIVATE, VA_GLOBAL, bytes); /* no RAM */
    expect_refused(&bed, STATUS_INVALID, VA_PRIVATE, VA_GLOBAL, 0);
    expect_refused(&bed, STATUS_INVALID, VA_PRIVATE, VA_GLOBAL, UINT64_MAX);
    expect_refused(&bed, STATUS_RANGE, LAYOUT_USER_END - 8, VA_GLOBAL, 16);
    expect_refused(&bed, STATUS_RANGE, VA_PRIVATE, LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF), 8);
    expect_refused(&bed, STATUS_RANGE, VA_PRIVATE, 0, 8);
    test_expect_reports(1);
    EXPECT_EQ(space_copy(bed.vmm, &bed.a, vaddr(VA_PRIVATE), NULL, vaddr(VA_GLOBAL), 8), STATUS_MISUSE);
    vmm_bed_close(&bed);
}

TEST(vmm_copy, ranges_of_one_space_must_not_overlap)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    EXPECT_OK(vmm_map(vmm, &bed.a, vaddr(VA_PRIVATE), npages(4), RW));
    write_numbers(&bed, &bed.a, vaddr(VA_PRIVATE), 4, 0);
    const vaddr_t low = vaddr(VA_PRIVATE), high = vaddr_add(low, PAGE_BYTES);
    EXPECT_EQ(space_copy(vmm, &bed.a, high, &bed.a, low, PAGE_BYTES + 1), STATUS_INVALID);
    EXPECT_EQ(space_copy(vmm, &bed.a, low, &bed.a, high, PAGE_BYTES + 1), STATUS_INVALID);
    EXPECT_EQ(space_copy(vmm, &bed.a, low, &bed.a, low, 1), STATUS_INVALID);
    EXPECT_OK(space_copy(vmm, &bed.a, low, &bed.a, high, PAGE_BYTES));
    EXPECT_OK(space_copy(vmm, &bed.a, vaddr_add(high, PAGE_BYTES), &bed.a, high, PAGE_BYTES));
    expect_numbers(low, PAGE_BYTES, PAGE_BYTES);
    expect_numbers(vaddr_add(high, PAGE_BYTES), PAGE_BYTES, PAGE_BYTES);
    vmm_bed_close(&bed);
}

/* With no frame left: what needs none works. */
TEST(vmm_copy, copying_needs_no_memory)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(2), RW));
    EXPECT_OK(vmm_map(bed.vmm, &bed.b, vaddr(VA_GLOBAL), npages(2), RW));
    npages_t taken = vmm_bed_limit(&bed, 0);
    EXPECT_OK(space_copy(bed.vmm, &bed.a, vaddr(VA_PRIVATE), &bed.b, vaddr(VA_GLOBAL + 8), PAGE_BYTES));
    EXPECT_OK(space_clear(bed.vmm, &bed.b, vaddr(VA_GLOBAL), 2 * PAGE_BYTES));
    uint64_t word;
    EXPECT_OK(space_peek(bed.vmm, &bed.a, vaddr(VA_PRIVATE), &word, sizeof word));
    vmm_bed_unlimit(&bed, taken);
    EXPECT(vmm_bed_check(bed.vmm)); /* VMM-I7: the slots are empty again */
    vmm_bed_close(&bed);
}
