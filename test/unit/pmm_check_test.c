/*
 * Each invariant, broken by hand: the validator must name it. And the dump must say something of a broken PMM too.
 */
#include "pmm/internal.h"
#include "unit/pmm_bed.h"

enum { B = 64, F = B * PMM_BLOCK_FRAMES }; /* the machine begins here: above 16 MiB, one zone */

/* Blocks B + 2 to B + 9; some frames out, so that every kind of block exists. A gap below block 8. */
static struct pmm_bed *machine(void)
{
    struct pmm_bed *bed = bed_new(NULL, B, B + 16, 0);
    pfn_t frame;
    if (bed == NULL) {
        return NULL;
    }
    bed_run(bed, F + 1030, 10 * PMM_BLOCK_FRAMES - 1030);
    bed_hold(bed, F + 1040, 2, HOLD_RESERVED);
    bed_hold(bed, F + 2500, 1, HOLD_RESERVED);
    if (!bed_starts(bed)) {
        return NULL;
    }
    for (unsigned i = 0; i < 700; i++) {
        EXPECT_EQ(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame), STATUS_OK);
    }
    EXPECT_EQ(pmm_free(&bed->pmm, pfn(F + 1100)), STATUS_OK);
    EXPECT_EQ(pmm_free(&bed->pmm, pfn(F + 1200)), STATUS_OK);
    EXPECT_EQ(pmm_claim(&bed->pmm, pfn(F + 8 * PMM_BLOCK_FRAMES + 7), npages(1)), STATUS_OK);
    return bed_sound(bed) ? bed : NULL;
}

/* pmm_check says CORRUPT and names the invariant. */
static void expect_broken(const struct pmm_bed *bed, const char *name)
{
    static char text[PAGE_BYTES];
    struct buffer_sink sink;
    buffer_sink_init(&sink, text, sizeof text);
    EXPECT_EQ(pmm_check(&bed->pmm, &sink.sink), STATUS_CORRUPT);
    EXPECT_EQ(pmm_check(&bed->pmm, NULL), STATUS_CORRUPT);
    bool named = false;
    for (const char *at = text; (at = strchr(at, 'P')) != NULL; at++) {
        named = named || strncmp(at, name, strlen(name)) == 0;
    }
    if (!EXPECT(named)) {
        test_note("%s is not in: %s", name, text);
    }
    buffer_sink_init(&sink, text, sizeof text);
    pmm_dump(&bed->pmm, &sink.sink);
    EXPECT(sink.len > 200);
}

/* Break one value, see the name, put it back, see all sound. */
/* Fields of all widths, bit-fields too. */
#define BREAK_SET(place, value)                                   \
    do {                                                          \
        _Pragma("GCC diagnostic push")                            \
        _Pragma("GCC diagnostic ignored \"-Wconversion\"")        \
        (place) = (value);                                        \
        _Pragma("GCC diagnostic pop")                             \
    } while (0)

#define BREAK(place, value, name)        \
    do {                                 \
        uint64_t kept_ = (place);        \
        BREAK_SET(place, value);         \
        expect_broken(bed, name);        \
        BREAK_SET(place, kept_);         \
        bed_sound(bed);                  \
    } while (0)

TEST(pmm, check_names_PMM_I1_when_the_totals_do_not_add_up)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    BREAK(bed->pmm.spare, bed->pmm.spare + 1, "PMM-I1");
    BREAK(bed->pmm.allocated, bed->pmm.allocated - 1, "PMM-I1");
    BREAK(bed->pmm.regions[0].free, 5, "PMM-I1");
    BREAK(bed->pmm.untouched, 5, "PMM-I1");
    BREAK(bed->states[F + 1101], CODE_METADATA, "PMM-I1");
}

TEST(pmm, check_names_PMM_I2_when_a_stack_is_not_the_free_frames)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    BREAK(bed->states[F + 1200], CODE_LINK + (1200 - 1024), "PMM-I2"); /* the bottom too early: 1100 is lost */
    BREAK(bed->states[F + 1100], CODE_LINK + (1200 - 1024), "PMM-I2"); /* a ring */
    BREAK(bed->states[F + 1101], CODE_UNWRITTEN, "PMM-I2");
    BREAK(bed->states[F + 1101], CODE_LAST + 1, "PMM-I2");
    BREAK(bed->blocks[B + 2].top, 1, "PMM-I2");
    BREAK(bed->blocks[B + 2].free, 3, "PMM-I2");
    BREAK(bed->blocks[B + 2].usable, 3, "PMM-I2");
    BREAK(bed->blocks[B + 2].loose, 1, "PMM-I2");
    BREAK(bed->blocks[B + 8].loose, 0, "PMM-I2");
}

TEST(pmm, check_names_PMM_I3_when_a_block_is_on_the_wrong_stack)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    REQUIRE(bed->blocks[B + 2].stack == 0 && bed->blocks[B + 8].stack == PMM_STACKS - 1);
    BREAK(bed->blocks[B + 2].stack, 1, "PMM-I3");
    BREAK(bed->pmm.regions[0].stacks[0][0], PMM_NO_BLOCK, "PMM-I3");
    BREAK(bed->blocks[B + 2].next, B + 2, "PMM-I3");
    BREAK(bed->blocks[B + 2].prev, B + 8, "PMM-I3");
    BREAK(bed->pmm.regions[0].masks[1], 1, "PMM-I3");
    BREAK(bed->pmm.regions[0].listed, 0, "PMM-I3");
    BREAK(bed->pmm.supply[PMM_SUPPLY_FRESH][PMM_ZONE_4G][0], PMM_NO_REGION, "PMM-I3");
}

TEST(pmm, check_names_PMM_I4_when_a_frame_beyond_the_mark_is_no_ram)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    BREAK(bed->blocks[B + 2].carved, 3, "PMM-I4");
}

TEST(pmm, check_names_PMM_I5_when_metadata_and_earmark_are_not_what_is_needed)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    BREAK(bed->pmm.earmarked, bed->pmm.earmarked + 1, "PMM-I5");
    BREAK(bed->pmm.metadata, bed->pmm.metadata - 1, "PMM-I5");
    /* The sum is right, but a page that is backed is still earmarked. */
    bed->pmm.metadata--;
    bed->pmm.earmarked += 2;
    bed->pmm.metadata_fixed++;
    expect_broken(bed, "PMM-I5");
}

TEST(pmm, check_names_PMM_I6_when_absent_is_not_what_the_runs_say)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    BREAK(bed->states[F + 1024], CODE_RESERVED, "PMM-I6");
    BREAK(bed->states[F + 1041], CODE_ABSENT, "PMM-I6");
}

TEST(pmm, check_names_PMM_I7_when_reserved_is_not_what_states_and_holds_say)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    BREAK(bed->states[F + 1041], 1, "PMM-I7");
    BREAK(bed->pmm.hold_count, 0, "PMM-I7");
    BREAK(bed->pmm.reserved, 7, "PMM-I7");
}

TEST(pmm, check_names_PMM_I8_when_extents_and_opened_blocks_are_not_all_blocks)
{
    struct pmm_bed *bed = machine();
    REQUIRE(bed != NULL);
    struct pmm_region *r = &bed->pmm.regions[0];
    REQUIRE(r->never == 0xBC && r->watermark == B + 9); /* the region begins at B + 2 */
    BREAK(r->never, 0xB8, "PMM-I8");
    BREAK(r->never, 0xBD, "PMM-I8");
    BREAK(r->never, 0x3C, "PMM-I8");
    BREAK(r->skipped, 0x04, "PMM-I8"); /* it has usable frames */
    BREAK(bed->pmm.regions[0].watermark, B + 8, "PMM-I8");
    BREAK(bed->pmm.regions[0].watermark, B + 100, "PMM-I8");
    BREAK(bed->blocks[B + 9].mode, PMM_BLOCK_OPEN, "PMM-I8");
    BREAK(bed->blocks[B + 3].mode, PMM_BLOCK_NEVER, "PMM-I8");
    BREAK(bed->blocks[B + 2].region, 1, "PMM-I8");
}

TEST(pmm, check_names_PMM_I8_when_the_gaps_of_many_blocks_are_not_those_never_used)
{
    struct pmm_bed *bed = bed_new(NULL, B, B + 100, 0);
    REQUIRE(bed != NULL);
    bed_run(bed, F, 100 * PMM_BLOCK_FRAMES);
    REQUIRE(bed_starts(bed) && pmm_claim(&bed->pmm, pfn(F + 8 * PMM_BLOCK_FRAMES), npages(1)) == STATUS_OK);
    struct pmm_block *d = &bed->blocks[B + 8];
    REQUIRE(d->gap_blocks > 4 && bed->pmm.regions[0].watermark == B + 9 && bed_sound(bed));
    BREAK(d->gap_blocks, d->gap_blocks - 1, "PMM-I8");
    BREAK(d->gap_blocks, d->gap_blocks + 1, "PMM-I8");
    BREAK(d->gap_next, B + 8, "PMM-I8");
}

TEST(pmm, check_names_PMM_I9_when_a_magazine_holds_what_is_not_cached)
{
    struct pmm_bed *bed = bed_new(NULL, B, B + 16, 0);
    pfn_t frame;
    REQUIRE(bed != NULL);
    bed_run(bed, F, 8 * PMM_BLOCK_FRAMES);
    bed_with_cpus(bed, 1);
    REQUIRE(bed_starts(bed));
    REQUIRE(pmm_alloc(&bed->pmm, PMM_KERNEL, &frame) == STATUS_OK);
    struct pmm_magazine *m = &bed->pmm.cpus[0].loaded[0];
    REQUIRE(magazine_count(m) > 2);
    BREAK(m->frames[0], frame.v, "PMM-I9");
    BREAK(m->frames[0], m->frames[1], "PMM-I9");
    BREAK(m->tally, m->tally - 1, "PMM-I9");
    BREAK(bed->states[m->frames[0]], 1, "PMM-I9");
    BREAK(bed->states[frame.v], CODE_CACHED, "PMM-I9");
}

TEST(pmm, check_names_PMM_I10_when_an_owner_is_not_charged_for_its_blocks)
{
    struct pmm_bed *bed = bed_new(NULL, B, B + 16, 0);
    unsigned owner;
    pfn_t frame;
    REQUIRE(bed != NULL);
    bed_run(bed, F, 8 * PMM_BLOCK_FRAMES);
    bed_with_owners(bed, 2);
    REQUIRE(bed_starts(bed));
    pmm_policy_set(&bed->pmm, (struct pmm_policy){npages(0), 0});
    REQUIRE(pmm_owner_open(&bed->pmm, &owner) == STATUS_OK);
    REQUIRE(pmm_alloc(&bed->pmm, PMM_OWNER(owner), &frame) == STATUS_OK);
    struct pmm_owner *o = &bed->pmm.owners[owner - 1];
    struct pmm_block *b = &bed->blocks[frame.v / PMM_BLOCK_FRAMES];
    REQUIRE(b->owner == owner && o->partly == frame.v / PMM_BLOCK_FRAMES);
    BREAK(o->in_own, 2, "PMM-I10");
    BREAK(o->blocks, 2, "PMM-I10");
    BREAK(o->partly, PMM_NO_BLOCK, "PMM-I10");
    BREAK(bed->pmm.owner_count, 0, "PMM-I10");
    BREAK(bed->pmm.owners_partly, 0, "PMM-I10");
    BREAK(b->lane, 0, "PMM-I10");
}

TEST(pmm, check_names_PMM_I11_when_a_code_says_wrongly_that_a_magazine_gave_the_frame)
{
    struct pmm_bed *bed = bed_new(NULL, B, B + 16, 0);
    pfn_t frame, run;
    REQUIRE(bed != NULL);
    bed_run(bed, F, 8 * PMM_BLOCK_FRAMES);
    bed_with_cpus(bed, 1);
    REQUIRE(bed_starts(bed));
    REQUIRE(pmm_alloc(&bed->pmm, PMM_USER, &frame) == STATUS_OK);
    const npages_t block = npages(PMM_BLOCK_FRAMES);
    REQUIRE(pmm_alloc_run(&bed->pmm, PMM_USER, block, block, npages(0), PMM_NO_LIMIT, &run) == STATUS_OK);
    struct pmm_cpu *cpu = &bed->pmm.cpus[0];
    uint64_t last = frame.v | (PMM_BLOCK_FRAMES - 1);
    REQUIRE(cpu->drawn_count > 0 && code_is_drawn(bed->states[frame.v]));
    REQUIRE(bed->blocks[block_of(last)].carved < PMM_BLOCK_FRAMES);
    BREAK(bed->states[last], CODE_DRAWN, "PMM-I11");
    BREAK(bed->states[run.v + 7], CODE_DRAWN_LAST, "PMM-I11");
    BREAK(bed->blocks[block_of(frame.v)].owner, 1, "PMM-I11");
    BREAK(cpu->drawn_count, cpu->drawn_count + 8 * PMM_BLOCK_FRAMES, "PMM-I11");
    BREAK(cpu->drawn_first, F - PMM_BLOCK_FRAMES, "PMM-I11");
    BREAK(cpu->lane, cpu->lane ^ (1 << LANE_NODE_SHIFT), "PMM-I11");
}
