/* Copies between kernel and user memory, on bare tables: what is not there stays away. In the kernel only. */
#include "arch/layout.h"
#include "kernel/machine.h"
#include "kernel/usercopy.h"
#include "unit/test.h"

enum { AT = 0x600000, PATTERN = 0xA5, TEXT_BYTES = 16 };

/* Three pages: read and write, read only, the kernel's alone; then nothing. */
static struct space space;
static uint8_t buffer[3 * PAGE_BYTES];

static bool make(void)
{
    static const unsigned rights[] = {VMM_READ | VMM_WRITE | VMM_USER, VMM_READ | VMM_USER, VMM_READ | VMM_WRITE};
    enum status s = space_create(&machine.vmm, &space);
    for (unsigned i = 0; s == STATUS_OK && i < ARRAY_LEN(rights); i++) {
        s = vmm_map(&machine.vmm, &space, vaddr_add_pages(vaddr(AT), i), npages(1), rights[i]);
    }
    return EXPECT_EQ(s == STATUS_OK ? space_switch(&machine.vmm, &space) : s, STATUS_OK);
}

static void end(void)
{
    EXPECT_EQ(space_switch(&machine.vmm, &machine.vmm.kernel), STATUS_OK);
    EXPECT_EQ(space_destroy(&machine.vmm, &space), STATUS_OK);
}

static bool is_all(const uint8_t *bytes, uint64_t n, uint8_t value)
{
    for (uint64_t i = 0; i < n; i++) {
        if (bytes[i] != value) {
            return false;
        }
    }
    return true;
}

TEST(usercopy, bytes_go_out_and_come_back_at_any_alignment)
{
    static const uint64_t sizes[] = {1, 7, 8, 9, 63, 1000, PAGE_BYTES};
    REQUIRE(make());
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        uint64_t n = sizes[i], offset = PAGE_BYTES - n;
        memset(buffer, (int)(PATTERN + i), n);
        EXPECT_EQ(copy_to_user(vaddr(AT + offset), buffer, n), 0);
        memset(buffer, 0, sizeof buffer);
        EXPECT_EQ(copy_from_user(buffer + 3, vaddr(AT + offset), n), 0);
        EXPECT(is_all(buffer + 3, n, (uint8_t)(PATTERN + i)));
        EXPECT(is_all(buffer, 3, 0) && is_all(buffer + 3 + n, 8, 0));
    }
    EXPECT_EQ(copy_from_user(buffer, vaddr(AT), 0), 0);
    end();
}

TEST(usercopy, a_copy_ends_where_user_mode_may_not_go_and_the_rest_is_zero)
{
    REQUIRE(make());
    memset(buffer, PATTERN, sizeof buffer);
    /* Two pages may be read, the third is the kernel's alone though it is in the user half. */
    EXPECT_EQ(copy_from_user(buffer, vaddr(AT + 5), 3 * PAGE_BYTES - 5), PAGE_BYTES);
    EXPECT(is_all(buffer, 3 * PAGE_BYTES - 5, 0));
    EXPECT_EQ(copy_from_user(buffer, vaddr(AT + 3 * PAGE_BYTES), 1), 1); /* absent */
    /* One may be written. */
    EXPECT_EQ(copy_to_user(vaddr(AT + PAGE_BYTES - 3), buffer, 11), 8);
    EXPECT_EQ(copy_to_user(vaddr(AT + 2 * PAGE_BYTES), buffer, 8), 8);
    end();
}

TEST(usercopy, addresses_of_the_kernel_the_windows_and_ranges_that_wrap_are_refused_untouched)
{
    static const struct {
        uint64_t va, bytes;
    } wrong[] = {
        {LAYOUT_KERNEL_BASE, 8},
        {LAYOUT_IMAGE_BASE, 8},
        {LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF), 8},
        {LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN), 8},
        {UINT64_MAX - 3, 8},
        {LAYOUT_USER_END - 4, 8},
        {LAYOUT_USER_END, 1},
        {0, 8},
        {1ULL << 60, 8},
        {AT, UINT64_MAX},
        {AT, LAYOUT_USER_END - AT + 1},
    };
    uint64_t length;
    char text[TEXT_BYTES];
    REQUIRE(make());
    uint64_t faults = machine.page_faults;
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        EXPECT_EQ(copy_to_user(vaddr(wrong[i].va), buffer, wrong[i].bytes), wrong[i].bytes);
        if (wrong[i].bytes <= sizeof buffer) {
            EXPECT_EQ(copy_from_user(buffer, vaddr(wrong[i].va), wrong[i].bytes), wrong[i].bytes);
        }
        if (wrong[i].va != AT && wrong[i].va != LAYOUT_USER_END - 4) {
            EXPECT_EQ(strncpy_from_user(text, vaddr(wrong[i].va), sizeof text, &length), STATUS_RANGE);
        }
    }
    EXPECT_EQ(machine.page_faults, faults);
    end();
}

TEST(usercopy, a_string_is_copied_up_to_its_end_and_not_beyond_the_limit_or_what_may_be_read)
{
    char text[TEXT_BYTES];
    uint64_t length = 77;
    REQUIRE(make());
    EXPECT_EQ(copy_to_user(vaddr(AT + PAGE_BYTES - 4), "stone", 4), 0);
    EXPECT_EQ(strncpy_from_user(text, vaddr(AT + PAGE_BYTES - 4), sizeof text, &length), STATUS_OK);
    EXPECT_EQ(length, 4); /* the next page begins with zeros */
    EXPECT(strcmp(text, "ston") == 0);
    EXPECT_EQ(strncpy_from_user(text, vaddr(AT + PAGE_BYTES - 4), 5, &length), STATUS_OK);
    EXPECT_EQ(strncpy_from_user(text, vaddr(AT + PAGE_BYTES - 4), 4, &length), STATUS_LIMIT);
    EXPECT(is_all((const uint8_t *)text, 4, 0));
    EXPECT_EQ(strncpy_from_user(text, vaddr(AT), 0, &length), STATUS_INVALID);
    /* It would go on in a page that is the kernel's alone, or absent. */
    memset(buffer, PATTERN, PAGE_BYTES);
    struct vmm_walk w;
    vaddr_t page;
    REQUIRE(vmm_translate(&machine.vmm, &space, vaddr(AT + PAGE_BYTES), &w) == STATUS_OK);
    REQUIRE(temp_map(&machine.vmm, paddr_to_pfn(w.address), &page) == STATUS_OK);
    memset(vaddr_to_ptr(page), PATTERN, PAGE_BYTES);
    REQUIRE(temp_unmap(&machine.vmm, page) == STATUS_OK);
    EXPECT_EQ(strncpy_from_user(text, vaddr(AT + 2 * PAGE_BYTES - 4), sizeof text, &length), STATUS_DENIED);
    EXPECT(is_all((const uint8_t *)text, sizeof text, 0));
    EXPECT_EQ(strncpy_from_user(text, vaddr(AT + 3 * PAGE_BYTES), sizeof text, &length), STATUS_DENIED);
    end();
}
