/* Drawing, shrinking and printing histories of the VMM. */
#include "model/shrink.h"
#include "unit/mmu_play_large.h"
#include "unit/mmu_play_low.h"
#include "unit/mmu_play_some.h"
#include "unit/mmu_play_share.h"
#include "unit/test.h"
#include "vmm/vmm.h"

/* ---- Drawing ---- */

static void draw_range(struct rng *rng, struct play_op *op)
{
    /* first, pages: alone in a table or over its end, up to and beyond what is flushed page by page */
    static const uint16_t ranges[][2] = {{0, 1},   {1, 7},    {8, 1},    {9, 23},   {32, 32},   {64, 33},
                                         {97, 1},  {98, 15},  {113, 40}, {153, 90}, {250, 60},  {310, 60},
                                         {370, 2}, {372, 32}, {404, 33}, {437, 8},  {445, 255}, {0, 700}};
    if (rng_below(rng, 4) != 0) { /* mostly ranges that come again, so that what is mapped is unmapped */
        const uint16_t *range = ranges[rng_below(rng, ARRAY_LEN(ranges))];
        op->first = range[0];
        op->pages = range[1];
        return;
    }
    op->first = (uint16_t)rng_below(rng, PLAY_PART_PAGES);
    op->pages = (uint16_t)(1 + rng_below(rng, rng_below(rng, 8) == 0 ? PLAY_PART_PAGES : 8));
    if (op->pages > PLAY_PART_PAGES - op->first) {
        op->pages = (uint16_t)(PLAY_PART_PAGES - op->first);
    }
}

static const uint8_t rights[] = {VMM_READ, VMM_READ | VMM_WRITE, VMM_READ | VMM_EXECUTE, VMM_READ | VMM_WRITE};

static struct play_op draw_global(struct play_drawing *d)
{
    struct play_op op = d->last;
    op.kind = PLAY_GLOBAL;
    op.part = 0;
    op.rights = rights[rng_below(&d->rng, ARRAY_LEN(rights))];
    d->has_global = (op.rights & VMM_WRITE) != 0;
    return op;
}

/* An operation that may want memory, of large pages or of what is shared. */
static struct play_op draw_needy(struct play_drawing *d)
{
    static const uint8_t needy[] = {PLAY_SHARE_MAP,   PLAY_SHARE_LEND,   PLAY_SHARE_CLONE, PLAY_SHARE_UNSHARE,
                                    PLAY_SHARE_OWN,   PLAY_SHARE_DEMOTE, PLAY_SHARE_UNMAP, PLAY_SHARE_PROTECT,
                                    PLAY_SHARE_LARGE, PLAY_SHARE_PROMOTE};
    enum { DRAWS = 8 };
    struct play_op op = d->last;
    bool is_needy = false;
    for (unsigned n = 0; n < DRAWS && d->shares && !is_needy; n++) {
        op = play_share_draw(d);
        for (unsigned i = 0; i < ARRAY_LEN(needy); i++) {
            is_needy = is_needy || op.kind == needy[i];
        }
    }
    if (!d->shares) {
        op.space = (uint8_t)rng_below(&d->rng, PLAY_SPACES);
        op.rights = VMM_READ | VMM_WRITE;
        play_large_draw(&d->rng, &op);
    }
    return op;
}

/* One that may come in the middle of it. */
static struct play_op draw_beside(struct play_drawing *d)
{
    enum { DRAWS = 8 };
    struct play_op op = play_draw(d);
    for (unsigned n = 1; n < DRAWS && d->low == 0 && !play_low_is_beside(&op); n++) {
        op = play_draw(d);
    }
    return op;
}

/* Memory is short for the next operation, and who is asked for some does the one behind it. */
static struct play_op draw_low(struct play_drawing *d)
{
    if (d->low > 0) {
        return d->low-- > 1 ? draw_needy(d) : draw_beside(d);
    }
    d->low = 2;
    return (struct play_op){.kind = PLAY_LOW, .pages = (uint16_t)rng_below(&d->rng, 4)};
}

/* What has a way of its own to be drawn. => true: *op is one. */
static bool draw_apart(struct play_drawing *d, struct play_op *op)
{
    struct rng *rng = &d->rng;
    if (d->moves && op->pages > 0 && op->kind < PLAY_SWITCH && rng_below(rng, 4) == 0) { /* what was just dealt with */
        op->kind = PLAY_MOVE;
        op->rights = (uint8_t)rng_below(rng, PLAY_PARTS);
        return true;
    }
    if (d->shares && rng_below(rng, 10) == 0) {
        *op = play_some_draw(rng, d->current);
        return true;
    }
    if (d->shares && rng_below(rng, 2) == 0) {
        *op = play_share_draw(d);
        return true;
    }
    return false;
}

struct play_op play_draw(struct play_drawing *d)
{
    static const uint8_t kinds[] = {PLAY_MAP,   PLAY_MAP,     PLAY_MAP,        PLAY_MAP,        PLAY_UNMAP, PLAY_UNMAP,
                                    PLAY_UNMAP, PLAY_SWITCH,  PLAY_MAP_FRAMES, PLAY_MAP_FRAMES, PLAY_CLEAR, PLAY_SWITCH,
                                    PLAY_USE,   PLAY_PROTECT, PLAY_PROTECT,    PLAY_KERNEL,     PLAY_USE,   PLAY_USE};
    struct rng *rng = &d->rng;
    struct play_op op = d->last;
    if (d->low > 0 || (d->has_large && rng_below(rng, 16) == 0)) {
        return draw_low(d);
    }
    if (draw_apart(d, &op)) {
        return op;
    }
    if (d->two_cpus && rng_below(rng, 6) == 0) { /* often on the pages of the operation before */
        op.kind = rng_below(rng, 3) == 0 ? PLAY_OTHER_SWITCH : PLAY_OTHER_USE;
        op.space = (uint8_t)rng_below(rng, PLAY_SPACES + (op.kind == PLAY_OTHER_SWITCH));
        return op;
    }
    bool is_of_pages = op.kind <= PLAY_PROTECT || op.kind == PLAY_USE || op.kind == PLAY_MARKS;
    if (d->has_global && rng_below(rng, 2) == 0) { /* not for long: without WRITE they go */
        return draw_global(d);
    }
    if (op.kind >= PLAY_LARGE && op.kind < PLAY_LARGE_USE && rng_below(rng, 2) == 0) {
        op.kind = PLAY_LARGE_USE; /* what was just changed */
    } else if (op.pages > 0 && is_of_pages && rng_below(rng, 3) == 0) {
        static const uint8_t again[] = {PLAY_PROTECT, PLAY_USE, PLAY_USE, PLAY_USE, PLAY_USE, PLAY_MARKS};
        op.kind = again[rng_below(rng, ARRAY_LEN(again))]; /* the same range once more */
    } else {
        uint64_t rare = rng_below(rng, 100);
        op.kind = rare == 0 || (d->two_cpus && rare > 94) ? PLAY_RENEW /* who was there before is forgotten */
                  : rare == 1                             ? PLAY_WINDOW
                  : rare == 2                             ? PLAY_KEEP
                  : rare == 3                             ? PLAY_IDLE
                  : rare < 6                              ? PLAY_MARKS
                  : rare == 6                             ? PLAY_GLOBAL
                                                          : kinds[rng_below(rng, ARRAY_LEN(kinds))];
        op.space = (uint8_t)rng_below(rng, PLAY_SPACES);
        op.part = (uint8_t)rng_below(rng, PLAY_PARTS);
        draw_range(rng, &op);
        bool to_kernel = op.kind == PLAY_SWITCH && rng_below(rng, 4) == 0;
        bool to_current = op.kind != PLAY_SWITCH && d->current < PLAY_SPACES && rng_below(rng, 2) == 0;
        op.space = to_kernel ? PLAY_SPACES : to_current ? d->current : op.space;
        if (d->has_large && op.kind != PLAY_SWITCH && rng_below(rng, PLAY_LARGE_RARITY) == 0) {
            play_large_draw(rng, &op);
        }
    }
    op.rights = rights[rng_below(rng, ARRAY_LEN(rights))];
    if (op.kind == PLAY_GLOBAL) {
        op.part = 0;
        d->has_global = true;
    }
    d->current = op.kind == PLAY_SWITCH ? op.space : d->current;
    d->last = op;
    return op;
}

/* ---- Shrinking ---- */

struct shrinking {
    enum model_rule rule;
    const struct play_machine *machine;
};

static bool still_fails(void *ctx, const void *items, unsigned n)
{
    const struct shrinking *s = ctx;
    struct play_result r = play_run(items, n, s->machine);
    return r.failed && r.rule == s->rule;
}

/* Every operation on the first page of its part. => it still fails. */
static bool shrink_all_numbers(struct play_op *ops, unsigned n, struct shrinking *s)
{
    struct play_op *small = test_pages(bytes_to_pages_up(n * sizeof *ops).v);
    bool fails = false;
    if (small != NULL) {
        memcpy(small, ops, n * sizeof *ops);
        for (unsigned i = 0; i < n; i++) {
            small[i].first = 0;
            small[i].pages = 1;
        }
        fails = still_fails(s, small, n);
        memcpy(ops, fails ? small : ops, n * sizeof *ops);
    }
    return fails;
}

/* One operation with fewer pages, from either end, where the history still fails. => it became smaller. */
static bool shrink_op(struct play_op *ops, unsigned n, unsigned i, struct shrinking *s)
{
    const struct play_op old = ops[i];
    const uint16_t half = old.pages / 2;
    const struct {
        uint16_t first, pages;
    } simpler[] = {
        {old.first, 1},
        {(uint16_t)(old.first + old.pages - 1), 1},
        {old.first, half},
        {(uint16_t)(old.first + half), (uint16_t)(old.pages - half)},
        {(uint16_t)(old.first + 1), (uint16_t)(old.pages - 1)},
        {old.first, (uint16_t)(old.pages - 1)},
    };
    for (unsigned k = 0; k < ARRAY_LEN(simpler) && old.pages > 1; k++) {
        ops[i].first = simpler[k].first;
        ops[i].pages = simpler[k].pages;
        if (ops[i].pages > 0 && ops[i].pages < old.pages && still_fails(s, ops, n)) {
            return true;
        }
    }
    ops[i] = old;
    return false;
}

static bool shrink_numbers(struct play_op *ops, unsigned n, struct shrinking *s)
{
    bool smaller = false;
    for (unsigned i = 0; i < n; i++) {
        while (shrink_op(ops, n, i, s)) {
            smaller = true;
        }
    }
    return smaller;
}

unsigned play_shrink(struct play_op *ops, unsigned n, const struct play_machine *machine)
{
    struct play_result r = play_run(ops, n, machine);
    struct shrinking s = {r.rule, machine};
    n = r.failed && r.at + 1 < n ? r.at + 1 : n;
    if (r.failed) {
        n = shrink_list(ops, n, sizeof *ops, still_fails, &s);
        while (!shrink_all_numbers(ops, n, &s) && shrink_numbers(ops, n, &s)) {
            n = shrink_list(ops, n, sizeof *ops, still_fails, &s);
        }
    }
    return n;
}

void play_print(const struct play_op *ops, unsigned n, const struct play_result *result)
{
    static const char *const names[PLAY_LARGE] = {"PLAY_MAP",          "PLAY_MAP_FRAMES", "PLAY_UNMAP",  "PLAY_PROTECT",
                                                  "PLAY_CLEAR",        "PLAY_USE",        "PLAY_SWITCH", "PLAY_RENEW",
                                                  "PLAY_KERNEL",       "PLAY_WINDOW",     "PLAY_KEEP",   "PLAY_IDLE",
                                                  "PLAY_OTHER_SWITCH", "PLAY_OTHER_USE",  "PLAY_MARKS",  "PLAY_GLOBAL",
                                                  "PLAY_LOW"};
    test_note("operation %u: %s", result->at, result->text);
    test_note("static const struct play_op failing[] = { /* kind, space, part, rights, first, pages */");
    for (unsigned i = 0; i < n; i++) {
        const unsigned kind = ops[i].kind;
        const char *name = kind < PLAY_LARGE         ? names[kind]
                           : kind <= PLAY_LARGE_LAST ? play_large_name(kind)
                           : kind < PLAY_SOME_UNMAP  ? play_share_name(kind)
                           : kind == PLAY_MOVE       ? "PLAY_MOVE"
                                                     : play_some_name(kind);
        test_note("    {%s, %u, %u, %#x, %u, %u},", name, ops[i].space, ops[i].part, ops[i].rights, ops[i].first,
                  ops[i].pages);
    }
    test_note("};");
}
