/* ASPACE-I9 broken on purpose: the validator says so, and is content again when it is put right. */
#include "aspace/segment_list.h"
#include "unit/aspace_touch.h"

static struct aspace_bed bed;

static bool is_seen(void)
{
    static char text[3000];
    struct buffer_sink b;
    buffer_sink_init(&b, text, sizeof text);
    bool named = false;
    if (EXPECT_EQ(aspaces_check(&bed.system, &b.sink), STATUS_CORRUPT)) {
        for (const char *c = text; *c != '\0'; c++) {
            named = named || strncmp(c, "ASPACE-I9", strlen("ASPACE-I9")) == 0;
        }
    }
    return EXPECT(named);
}

#define EXPECT_SEEN_IN(place, broken)                       \
    do {                                                    \
        const typeof(place) was_ = (place);                 \
        (place) = (broken);                                 \
        EXPECT(is_seen());                                  \
        (place) = was_;                                     \
        EXPECT_OK(aspaces_check(&bed.system, NULL));        \
    } while (0)

/* a has a segment that b may read, and another one; c has nothing. */
static struct segment *open_bed(void)
{
    const struct segment_request r = {.pages = npages(10), .rights = ARW, .tag = "test"};
    vaddr_t va = {0}, other = {0};
    if (!aspace_bed_open(&bed) || !EXPECT_OK(segment_create(&bed.a, &r, &va)) ||
        !EXPECT_OK(segment_create(&bed.a, &r, &other)) || !EXPECT_OK(segment_grant(&bed.a, va, &bed.b, AR))) {
        return NULL;
    }
    put_word(&bed, &bed.a, va, 1);
    EXPECT_OK(aspaces_check(&bed.system, NULL));
    return segment_at(&bed.system, va);
}

TEST(segment_check, sees_slots_that_are_not_where_their_objects_lie)
{
    struct segment *s = open_bed();
    REQUIRE(s != NULL);
    EXPECT_SEEN_IN(s->object->segment, NULL);
    EXPECT_SEEN_IN(s->object->pages, npages(SEGMENT_PAGES_MAX + 1));
    EXPECT_SEEN_IN(s->whole->pages, npages(10));
    EXPECT_SEEN_IN(s->whole->first, 1);
    EXPECT_SEEN_IN(s->whole->space, &bed.a);
    EXPECT_SEEN_IN(s->object->holders, 0);
    EXPECT_SEEN_IN(bed.system.segments.used, 3);
    aspace_bed_close(&bed);
}

TEST(segment_check, sees_lists_that_are_not_what_the_links_say)
{
    struct segment *s = open_bed();
    REQUIRE(s != NULL);
    EXPECT_SEEN_IN(s->few_rights[1], ARW);                  /* b has more than its link */
    EXPECT_SEEN_IN(s->few_rights[0], AR);                   /* a's link has more than a */
    EXPECT_SEEN_IN(s->few_rights[1], (uint8_t)(AR | VMM_EXECUTE)); /* more than the segment gives */
    EXPECT_SEEN_IN(s->few[1], NULL);                        /* a link without an entry */
    EXPECT_SEEN_IN(s->few[1], &bed.c);                      /* an entry without a link */
    EXPECT_SEEN_IN(s->count, 3);
    EXPECT_SEEN_IN(s->owner, &bed.c);
    aspace_bed_close(&bed);
}

TEST(segment_check, sees_what_is_counted_wrongly_for_those_who_have_it)
{
    struct segment *s = open_bed();
    REQUIRE(s != NULL);
    EXPECT_SEEN_IN(bed.b.segments, 2);
    EXPECT_SEEN_IN(bed.b.asked, &s->whole->by_address);
    bed.b.ranges--;
    EXPECT_EQ(aspaces_check(&bed.system, NULL), STATUS_CORRUPT);
    bed.b.ranges++;
    bed.a.pages.v++;
    EXPECT_EQ(aspaces_check(&bed.system, NULL), STATUS_CORRUPT);
    bed.a.pages.v--;
    EXPECT_OK(aspaces_check(&bed.system, NULL));
    aspace_bed_close(&bed);
}
