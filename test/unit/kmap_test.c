/* Kernel pages without a VMM. Host only: what is mapped so stays mapped. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "model/model.h"
#include "unit/test.h"
#include "vmm/kmap.h"

enum { FRAMES_MAX = 4 };

static bool take(struct model *m, pfn_t *frames)
{
    for (unsigned i = 0; i < FRAMES_MAX; i++) {
        if (!EXPECT_EQ(pmm_alloc(&m->pmm, PMM_KERNEL, &frames[i]), STATUS_OK)) {
            return false;
        }
    }
    return true;
}

TEST_HOST(kmap, a_page_comes_with_the_tables_that_are_missing)
{
    struct model *m = model_start(16 * MIB);
    static const uint64_t bases[] = {LAYOUT_ARENA_NODES, LAYOUT_PMM_STATES, LAYOUT_PMM_BLOCKS};
    for (unsigned i = 0; i < ARRAY_LEN(bases); i++) {
        pfn_t frames[FRAMES_MAX];
        REQUIRE(take(m, frames));
        vaddr_t first = vaddr(bases[i]), second = vaddr_add_pages(first, 1);
        EXPECT_EQ(kmap_missing(first).v, 3);
        EXPECT_EQ(kmap_back(first, frames, npages(3)), STATUS_OK);
        EXPECT_EQ(kmap_missing(first).v, 0);
        EXPECT(!model_can_access(m, vaddr(LAYOUT_TEMP_BASE), false)); /* the slot for zeroing is empty again */
        EXPECT_EQ(kmap_pmm_missing(NULL, vaddr_to_ptr(vaddr_add(second, 9))).v, 1);
        EXPECT_EQ(kmap_pmm_back(NULL, vaddr_to_ptr(vaddr_add(second, 9)), frames + 3, npages(1)), STATUS_OK);
        EXPECT_EQ(kmap_missing(vaddr_add_pages(first, PAGES_PER_2M)).v, 2);
        for (uint64_t at = 0; at < 2ULL * PAGE_BYTES; at += ENTRY_BYTES) {
            EXPECT_EQ(arch_read64(vaddr_add(first, at)), 0); /* zeroed, tables too: nothing else appears */
        }
        arch_write64(second, 5);
        EXPECT_EQ(model_phys_read64(m, pfn_to_paddr(frames[3])), 5);
        EXPECT(!model_can_access(m, vaddr_add_pages(first, 2), false));
        uint64_t leaf = model_phys_read64(m, model_entry_at(m, m->boot_root, first, 1));
        EXPECT((leaf & PTE_XD) != 0 && (leaf & PTE_U) == 0);
    }
    EXPECT_EQ(m->violations, 0);
}

TEST_HOST(kmap, other_addresses_and_other_numbers_of_frames_are_refused)
{
    struct model *m = model_start(16 * MIB);
    pfn_t frames[FRAMES_MAX];
    REQUIRE(take(m, frames));
    static const uint64_t bad[] = {
        0,
        LAYOUT_USER_FIRST,
        LAYOUT_ARENA_BASE,
        LAYOUT_ARENA_NODES + 1,
        LAYOUT_TEMP_BASE,
        LAYOUT_TEMP_BASE + PAGE_BYTES,
        LAYOUT_TEMP_END,
        LAYOUT_IMAGE_BASE,
        LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN),
        LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF),
    };
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        EXPECT_EQ(kmap_back(vaddr(bad[i]), frames, npages(3)), STATUS_INVALID);
    }
    vaddr_t page = vaddr(LAYOUT_PMM_STATES);
    for (uint64_t n = 0; n <= FRAMES_MAX; n++) {
        if (n != 3) {
            EXPECT_EQ(kmap_back(page, frames, npages(n)), STATUS_INVALID);
        }
    }
    EXPECT_EQ(kmap_missing(page).v, 3);
    EXPECT_EQ(kmap_back(page, frames, npages(3)), STATUS_OK);
    EXPECT_EQ(kmap_back(page, frames, npages(1)), STATUS_INVALID); /* mapped already */
}

TEST_HOST(kmap, a_large_page_in_the_way_is_not_descended_into)
{
    struct model *m = model_start(16 * MIB);
    pfn_t frames[FRAMES_MAX];
    REQUIRE(take(m, frames));
    vaddr_t page = vaddr(LAYOUT_PMM_STATES);
    model_phys_write64(m, model_entry_at(m, m->boot_root, page, 3), PTE_P | PTE_W | PTE_XD | PTE_PS);
    test_expect_reports(2);
    EXPECT_EQ(kmap_missing(page).v, 0);
    EXPECT_EQ(kmap_back(page, frames, npages(3)), STATUS_CORRUPT);
}
