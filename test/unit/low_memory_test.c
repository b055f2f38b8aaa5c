/* Who is asked before a request fails for want of memory: in the kernel, with its own spaces and heap. */
#include "aspace/object.h"
#include "kernel/machine.h"
#include "kernel/pagers.h"
#include "unit/test.h"

enum { PAGES = 8, BLOCKS = 64, BLOCK_BYTES = 3000, SMALL_BYTES = 1000, LARGE_BYTES = 20 * PAGE_BYTES };

static const uint8_t bytes[] = "what a pager can bring again";

/* The heap holds pages in which nothing is in use any more. */
static uint64_t heap_with_empties(void)
{
    static void *blocks[BLOCKS];
    for (unsigned i = 0; i < BLOCKS; i++) {
        blocks[i] = heap_alloc(&machine.heap, i % 2 == 0 ? BLOCK_BYTES : SMALL_BYTES);
        EXPECT(blocks[i] != NULL);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        EXPECT_EQ(heap_free(&machine.heap, blocks[i]), STATUS_OK);
    }
    return heap_stats(&machine.heap).held_bytes;
}

TEST(low_memory, clean_pages_and_the_heaps_empties_go_before_a_request_fails_and_nothing_else)
{
    static struct space space;
    const struct pager_bytes from = {bytes, sizeof bytes};
    const struct pager pager = pager_of_bytes(&from);
    struct object *clean, *used;
    REQUIRE(object_create_paged(&machine.aspaces, npages(PAGES), &pager, &clean) == STATUS_OK);
    REQUIRE(object_create_anonymous(&machine.aspaces, npages(PAGES), &used) == STATUS_OK);
    REQUIRE(space_create(&machine.vmm, &space) == STATUS_OK);
    EXPECT_EQ(object_populate(clean, 0, npages(PAGES)), STATUS_OK);
    EXPECT_EQ(object_populate(used, 0, npages(PAGES)), STATUS_OK);
    EXPECT_EQ(object_info(clean).resident.v, PAGES);
    const uint64_t held = heap_with_empties();
    const npages_t too_much = npages(pmm_stats(&machine.pmm).ram.v);
    EXPECT_EQ(vmm_map(&machine.vmm, &space, vaddr(GIB), too_much, VMM_READ | VMM_WRITE), STATUS_NOMEM);
    EXPECT_EQ(space.pages.v, 0);
    EXPECT_EQ(object_info(clean).resident.v, 0);
    EXPECT_EQ(object_info(used).resident.v, PAGES);
    EXPECT(heap_stats(&machine.heap).held_bytes < held);
    EXPECT_EQ(object_populate(clean, 0, npages(PAGES)), STATUS_OK); /* it comes again */
    EXPECT_EQ(aspaces_check(&machine.aspaces, NULL), STATUS_OK);
    EXPECT_EQ(heap_check(&machine.heap, NULL), STATUS_OK);
    EXPECT_EQ(object_release(clean), STATUS_OK);
    EXPECT_EQ(object_release(used), STATUS_OK);
    EXPECT_EQ(space_destroy(&machine.vmm, &space), STATUS_OK);
}

/*
 * The heap itself wants the pages: being in the middle of a call it is asked for nothing. It gives up the pages that
 * lie ready by itself, and each block stays as it was.
 */
TEST(low_memory, the_heap_is_not_asked_while_it_asks)
{
    const size_t too_much = pages_to_bytes(pmm_stats(&machine.pmm).ram);
    uint8_t *large = heap_alloc(&machine.heap, LARGE_BYTES);
    REQUIRE(large != NULL);
    large[LARGE_BYTES - 1] = 7;
    (void)heap_with_empties();
    const struct heap_stats before = heap_stats(&machine.heap);
    EXPECT(before.ready_bytes > 0);
    EXPECT(heap_alloc(&machine.heap, too_much) == NULL);
    EXPECT(heap_realloc(&machine.heap, large, too_much) == NULL);
    const struct heap_stats after = heap_stats(&machine.heap);
    EXPECT_EQ(after.ready_bytes, 0);
    EXPECT(after.held_bytes <= before.held_bytes - before.ready_bytes); /* and the nodes that they had */
    EXPECT_EQ(after.used_bytes, before.used_bytes);
    EXPECT_EQ(large[LARGE_BYTES - 1], 7);
    EXPECT_EQ(heap_check(&machine.heap, NULL), STATUS_OK);
    void *block = heap_alloc(&machine.heap, BLOCK_BYTES);
    EXPECT(block != NULL);
    EXPECT_EQ(heap_free(&machine.heap, block), STATUS_OK);
    EXPECT_EQ(heap_free(&machine.heap, large), STATUS_OK);
}
