/*
 * The VMM under the adversarial MMU: seeded random operations on several spaces break no rule, and a history that does
 * (with a defect of the product put on) is shrunk to what a person would have written.
 */
#include "arch/layout.h"
#include "unit/mmu_play_kinds.h"
#include "unit/mmu_play_low.h"
#include "unit/mmu_play_share.h"
#include "unit/test.h"
#include "vmm/vmm.h"

enum { HISTORY = 5000, DONE_ONE_OF = 16, RW = VMM_READ | VMM_WRITE };

static struct play_op ops[HISTORY];

/* One history; when it fails, the shortest of its kind is printed. */
static bool play_one(struct play_drawing d, const struct play_machine *machine, unsigned *changes)
{
    const uint64_t seed = d.rng.state;
    for (unsigned i = 0; i < HISTORY; i++) {
        ops[i] = play_draw(&d);
    }
    struct play_result r = play_run(ops, HISTORY, machine);
    if (EXPECT(!r.failed)) {
        *changes += r.changes;
        return true;
    }
    test_note("history of seed %#lx, operation %u: %s", seed, r.at, r.text);
    unsigned n = play_shrink(ops, HISTORY, machine);
    r = play_run(ops, n, machine);
    play_print(ops, n, &r);
    return false;
}

static void play_kind(struct play_drawing d, const struct model_variant *variant)
{
    const struct play_machine machine = {.variant = variant};
    struct rng seeds = rng_seeded(test_seed());
    struct play_share_count count[PLAY_KINDS] = {{0}};
    unsigned changes = 0, lows = play_low_count();
    for (unsigned i = 0; i < test_effort(); i++) {
        d.rng = rng_seeded(rng_next(&seeds));
        if (!play_one(d, &machine, &changes)) {
            return;
        }
        for (unsigned kind = PLAY_SHARE_MAP; kind < PLAY_SOME_UNMAP; kind++) {
            count[kind].run += play_share_counted(kind).run;
            count[kind].done += play_share_counted(kind).done;
        }
    }
    for (unsigned kind = PLAY_SHARE_MAP; d.shares && kind < PLAY_SOME_UNMAP; kind++) {
        const bool only_looks = kind == PLAY_SHARE_USE || kind == PLAY_SHARE_MARKS;
        if (!EXPECT(only_looks || count[kind].done > count[kind].run / DONE_ONE_OF)) {
            test_note("%s: %u of %u", play_share_name(kind), count[kind].done, count[kind].run);
        }
    }
    EXPECT(play_low_count() - lows > HISTORY / 512 * test_effort()); /* in the middle of another, that is */
    EXPECT(changes > HISTORY / 8 * test_effort()); /* most others are refused, or look */
}

static void play_many(bool two_cpus, bool shares, const struct model_variant *variant)
{
    play_kind((struct play_drawing){.two_cpus = two_cpus, .has_large = true, .shares = shares}, variant);
}

TEST_HOST(model_play, random_operations_on_several_spaces_break_no_rule) { play_many(false, false, &model_intel); }

/* CPU 1 switches and uses pages while CPU 0 edits them. */
TEST_HOST(model_play, random_operations_with_a_second_cpu_break_no_rule) { play_many(true, false, &model_intel); }

TEST_HOST(model_play, random_operations_with_a_second_cpu_and_shared_tables_break_no_rule)
{
    play_many(true, true, &model_intel);
}

TEST_HOST(model_play, random_operations_with_shared_tables_break_no_rule) { play_many(false, true, &model_amd); }

TEST_HOST(model_play, random_operations_break_no_rule_of_AMD_either) { play_many(true, false, &model_amd); }

/* Pages come to other addresses, with what CPUs mark and cache meanwhile. */
TEST_HOST(model_play, random_moves_with_a_second_cpu_break_no_rule)
{
    const unsigned before = play_moves();
    play_kind((struct play_drawing){.two_cpus = true, .has_large = true, .moves = true}, &model_intel);
    EXPECT(play_moves() - before > HISTORY / 32 * test_effort());
}

/* ---- Defects, as if the product lacked one kind of INVLPG ---- */

static bool is_user_page(vaddr_t va)
{
    return va.v < LAYOUT_USER_END;
}

static bool is_own_pt_page(vaddr_t va)
{
    return table_index(va, PAGING_LEVELS) == LAYOUT_SLOT_SELF && table_index(va, 3) < LAYOUT_SLOT_KERNEL;
}

static bool is_foreign_page(vaddr_t va)
{
    unsigned level = PAGING_LEVELS;
    while (level > 1 && table_index(va, level) == LAYOUT_SLOT_SELF) {
        level--;
    }
    return table_index(va, level) == LAYOUT_SLOT_FOREIGN;
}

static bool is_temporary_page(vaddr_t va)
{
    return table_index(va, PAGING_LEVELS) == LAYOUT_SLOT_TEMP;
}

/* A history fails with this defect, and is shrunk to `length` operations that break `rule`. */
static void expect_shrunk(bool (*defect)(vaddr_t va), enum model_rule rule, unsigned length)
{
    const struct play_machine machine = {.loses_invlpg = defect};
    struct play_result r = {.rule = MODEL_NONE};
    for (uint64_t seed = 1; seed < 10 && r.rule != rule; seed++) { /* the defect may show as something else first */
        struct play_drawing d = {.rng = rng_seeded(seed)};
        for (unsigned i = 0; i < HISTORY; i++) {
            ops[i] = play_draw(&d);
        }
        r = play_run(ops, HISTORY, &machine);
        EXPECT(r.failed);
    }
    unsigned n = play_shrink(ops, r.at + 1, &machine);
    r = play_run(ops, n, &machine);
    bool as_wanted = EXPECT(r.failed && r.rule == rule) && EXPECT_EQ(n, length);
    for (unsigned i = 0; as_wanted && i < n; i++) {
        as_wanted = EXPECT_EQ(ops[i].pages, 1);
    }
    if (!as_wanted) {
        play_print(ops, n, &r);
    }
    EXPECT(!play_run(ops, n, NULL).failed); /* without the defect nothing is wrong with it */
}

TEST_HOST(model_play, a_lost_invlpg_of_a_page_is_shrunk_to_three_operations)
{
    expect_shrunk(is_user_page, MODEL_FREED_PAGE, 3); /* switch, map, unmap */
}

TEST_HOST(model_play, a_lost_invlpg_of_a_window_page_is_shrunk_to_three_operations)
{
    expect_shrunk(is_own_pt_page, MODEL_FREED_PAGE, 3);
}

TEST_HOST(model_play, a_lost_invlpg_of_a_foreign_page_is_shrunk_to_two_operations)
{
    expect_shrunk(is_foreign_page, MODEL_STALE, 2); /* any two that name two spaces */
}

TEST_HOST(model_play, a_lost_invlpg_of_a_temporary_page_is_shrunk_to_one_operation)
{
    expect_shrunk(is_temporary_page, MODEL_STALE, 1);
}

/* A printed history is a test as it stands. */
TEST_HOST(model_play, a_history_can_be_pasted)
{
    static const struct play_op pasted[] = {
        {PLAY_SWITCH, 0, 0, RW, 0, 1},
        {PLAY_MAP, 0, 1, RW, 0, 2},
        {PLAY_USE, 0, 1, RW, 0, 2},
        {PLAY_UNMAP, 0, 1, RW, 0, 2},
    };
    EXPECT(!play_run(pasted, ARRAY_LEN(pasted), NULL).failed);
    const struct play_machine machine = {.loses_invlpg = is_user_page};
    struct play_result r = play_run(pasted, ARRAY_LEN(pasted), &machine);
    EXPECT(r.failed && r.at == 3 && r.rule == MODEL_FREED_PAGE);
}

/*
 * EFER.TCE must be 0 (foreign.c, arch.h): with it an INVLPG drops only what leads to its page, and a table that goes
 * may still be reached through the other levels of the window.
 */
TEST_HOST(model_play, with_TCE_a_table_of_another_space_would_go_too_early)
{
    static const struct play_op pasted[] = {
        {PLAY_MAP, 1, 0, RW, 0, 1},
        {PLAY_UNMAP, 1, 0, RW, 0, 1},
    };
    const struct play_machine with = {.variant = &model_amd_tce}, without = {.variant = &model_amd};
    EXPECT(!play_run(pasted, ARRAY_LEN(pasted), &without).failed);
    struct play_result r = play_run(pasted, ARRAY_LEN(pasted), &with);
    EXPECT(r.failed && r.at == 1 && r.rule == MODEL_FREED_WINDOW);
}

TEST(model_play, a_table_that_is_lent_after_its_marks_were_cleared_has_no_stale_ones)
{
    static const struct play_op lent[] = {
        {PLAY_SHARE_MAP, 0, 2, 0x3, 0, 1},   {PLAY_SHARE_MAP, 0, 2, 0x1, 0, 1},
        {PLAY_SWITCH, 0, 2, 0x5, 0, 1},      {PLAY_OTHER_SWITCH, 1, 2, 0x1, 0, 1},
        {PLAY_SHARE_USE, 0, 0, 0x3, 0, 1},   {PLAY_SHARE_MARKS, 0, 2, 0x3, 0, 1},
        {PLAY_SHARE_LEND, 0, 2, 0x3, 0, 1},  {PLAY_OTHER_USE, 2, 0, 0x1, 0, 1},
    };
    struct play_result r = play_run(lent, ARRAY_LEN(lent), NULL);
    EXPECT(!r.failed);
}

/* A cloned page is its space's alone again; another shows it for copy on write; then it becomes writable. */
TEST_HOST(model_play, who_is_alone_with_a_page_writes_in_place_though_others_came_to_show_it)
{
    static const struct play_op shown[] = {
        {PLAY_SHARE_LARGE, 0, 2, 0x1, 134, 1}, {PLAY_SHARE_CLONE, 0, 2, 0x1, 54, 1},
        {PLAY_SHARE_UNSHARE, 1, 2, 0x1, 134, 1}, {PLAY_SHARE_UNMAP, 1, 2, 0x1, 147, 1},
        {PLAY_SHARE_UNSHARE, 0, 2, 0x1, 16, 1}, {PLAY_SOME_COPY, 1, 3, 0x7, 146, 1},
        {PLAY_SWITCH, 0, 1, 0x5, 153, 1}, {PLAY_SHARE_PROTECT, 0, 2, 0x3, 201, 1},
        {PLAY_SHARE_USE, 0, 0, 0x1, 143, 1}, {PLAY_SHARE_USE, 1, 3, 0x3, 174, 1},
    };
    const struct play_machine machine = {.variant = &model_amd};
    struct play_result r = play_run(shown, ARRAY_LEN(shown), &machine);
    EXPECT(!r.failed);
}
