/* What the tests of the arena share. */
#include "unit/arena_bed.h"

static void *more(void *ctx)
{
    struct arena_bed *bed = ctx;
    if (bed->left == 0) {
        return NULL;
    }
    bed->left--;
    return (uint8_t *)bed->nodes + pages_to_bytes(npages(bed->given++));
}

bool arena_bed_open_at(struct arena_bed *bed, vaddr_t base, uint64_t pages, unsigned node_pages)
{
    *bed = (struct arena_bed){.base = base, .left = node_pages, .nodes = test_pages(node_pages)};
    struct arena_source source = {bed, more};
    vaddr_t end = vaddr_add_pages(base, pages);
    return bed->nodes != NULL && EXPECT_EQ(arena_init(&bed->arena, base, end, source), STATUS_OK);
}

bool arena_bed_open(struct arena_bed *bed, uint64_t pages, unsigned node_pages)
{
    return arena_bed_open_at(bed, vaddr(ARENA_BED_BASE), pages, node_pages);
}

uint64_t arena_bed_take(struct arena_bed *bed, uint64_t pages)
{
    vaddr_t base = bed->base;
    EXPECT_EQ(arena_alloc(&bed->arena, npages(pages), ARENA_ALIGN_PAGE, "taken", &base), STATUS_OK);
    return bytes_to_pages_down(base.v - bed->base.v).v;
}

void arena_bed_take_at(struct arena_bed *bed, uint64_t page, uint64_t pages)
{
    EXPECT_EQ(arena_alloc_at(&bed->arena, arena_bed_page(bed, page), npages(pages), "there"), STATUS_OK);
}

void arena_bed_give(struct arena_bed *bed, uint64_t page)
{
    EXPECT_EQ(arena_free(&bed->arena, arena_bed_page(bed, page)), STATUS_OK);
}

uint64_t arena_bed_cached(const struct arena_bed *bed, uint64_t pages)
{
    const unsigned stack = arena_stack(pages);
    return arena_stack_room(stack) - bed->arena.room[stack];
}

struct arena_reserve arena_bed_hide_nodes(struct arena *a)
{
    const struct arena_reserve whole = *a->reserve;
    a->reserve->nodes = a->reserve->fresh = a->reserve->fresh_end = NULL;
    a->reserve->node_count = 0;
    return whole;
}

bool arena_bed_is_sound(const struct arena_bed *bed)
{
    static char text[256];
    struct buffer_sink b;
    buffer_sink_init(&b, text, sizeof text);
    bool sound = EXPECT_EQ(arena_check(&bed->arena, &b.sink), STATUS_OK);
    if (!sound) {
        test_note("%s", text);
    }
    return sound;
}

void arena_bed_expect_broken(const struct arena *a, const char *invariant)
{
    static char text[256];
    struct buffer_sink b;
    buffer_sink_init(&b, text, sizeof text);
    EXPECT_EQ(arena_check(a, &b.sink), STATUS_CORRUPT);
    if (!EXPECT(strncmp(text, invariant, strlen(invariant)) == 0)) {
        test_note("expected %s, got: %s", invariant, text);
    }
    EXPECT_EQ(arena_check(a, NULL), STATUS_CORRUPT);
}
