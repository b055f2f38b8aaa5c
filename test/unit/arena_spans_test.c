/* Arenas that import their addresses in spans from another one. */
#include "unit/arena_bed.h"

enum { SPAN = 64, ALL = 40 * SPAN, NODE_PAGES = 60, ARENAS = 2 };

/* One arena for all, and others that grow from it, with nodes from one reserve. */
struct grown {
    struct arena_bed bed;
    struct arena arena[ARENAS];
    unsigned gets, puts;
    bool dry; /* no span can be had */
    vaddr_t wrong; /* not 0: this is given instead */
};

static enum status get(void *ctx, npages_t pages, vaddr_t *base)
{
    struct grown *g = ctx;
    if (g->dry) {
        return STATUS_NOMEM;
    }
    if (g->wrong.v != 0) {
        *base = g->wrong;
        return STATUS_OK;
    }
    EXPECT(pages.v > 0 && pages.v % SPAN == 0);
    enum status s = arena_alloc(&g->bed.arena, pages, ARENA_ALIGN_PAGE + 6, "span", base);
    g->gets += s == STATUS_OK;
    return s;
}

static void put(void *ctx, vaddr_t base, npages_t pages)
{
    struct grown *g = ctx;
    struct arena_range range;
    g->puts++;
    EXPECT(arena_find(&g->bed.arena, base, &range) && range.base.v == base.v && range.pages.v == pages.v);
    EXPECT_EQ(arena_free(&g->bed.arena, base), STATUS_OK);
}

static bool open(struct grown *g)
{
    *g = (struct grown){0};
    if (!arena_bed_open(&g->bed, ALL, NODE_PAGES)) {
        return false;
    }
    const vaddr_t base = arena_bed_page(&g->bed, 0), end = arena_bed_page(&g->bed, ALL);
    const struct arena_spans spans = {g, npages(SPAN), get, put};
    bool ok = true;
    for (unsigned i = 0; i < ARENAS; i++) {
        ok = EXPECT_EQ(arena_init_spans(&g->arena[i], base, end, g->bed.arena.reserve, spans), STATUS_OK) && ok;
    }
    return ok;
}

static bool is_sound(const struct grown *g)
{
    static char text[256];
    bool ok = arena_bed_is_sound(&g->bed);
    for (unsigned i = 0; i < ARENAS; i++) {
        struct buffer_sink b;
        buffer_sink_init(&b, text, sizeof text);
        if (!EXPECT_EQ(arena_check(&g->arena[i], &b.sink), STATUS_OK)) {
            test_note("%s", text);
            ok = false;
        }
    }
    return ok;
}

/* All spans are back, and all of the addresses are one free range again. */
static void close(struct grown *g)
{
    for (unsigned i = 0; i < ARENAS; i++) {
        arena_end(&g->arena[i]);
    }
    EXPECT(g->gets == g->puts && g->bed.arena.used.v == 0);
    arena_trim(&g->bed.arena);
    EXPECT_EQ(arena_bed_take(&g->bed, ALL), 0);
    arena_bed_is_sound(&g->bed);
}

static uint64_t take(struct grown *g, unsigned which, uint64_t pages)
{
    vaddr_t base = g->bed.base;
    EXPECT_EQ(arena_alloc(&g->arena[which], npages(pages), ARENA_ALIGN_PAGE, "taken", &base), STATUS_OK);
    return bytes_to_pages_down(base.v - g->bed.base.v).v;
}

static void give(struct grown *g, unsigned which, uint64_t page)
{
    EXPECT_EQ(arena_free(&g->arena[which], arena_bed_page(&g->bed, page)), STATUS_OK);
}

TEST(arena, an_arena_grows_by_spans_and_gives_them_back_but_for_one)
{
    static struct grown g;
    REQUIRE(open(&g));
    uint64_t a[4];
    for (unsigned i = 0; i < 4; i++) {
        a[i] = take(&g, 0, SPAN); /* a span each */
        EXPECT_EQ(a[i] % SPAN, 0);
        EXPECT_EQ(g.gets, i + 1);
    }
    const uint64_t other = take(&g, 1, 3);
    EXPECT(g.gets == 5 && other / SPAN != a[0] / SPAN);
    EXPECT_EQ(take(&g, 1, 5) / SPAN, other / SPAN); /* the same span */
    REQUIRE(is_sound(&g));
    for (unsigned i = 0; i < 4; i++) {
        give(&g, 0, a[i]);
    }
    EXPECT_EQ(g.puts, 0); /* they are cached */
    arena_trim(&g.arena[0]);
    EXPECT(g.puts == 4 && g.arena[0].kept == NULL && g.arena[0].first == NULL);
    REQUIRE(is_sound(&g));
    const uint64_t whole = take(&g, 0, SPAN), part = take(&g, 0, SPAN - 1);
    EXPECT_EQ(arena_free_part(&g.arena[0], arena_bed_page(&g.bed, part), npages(SPAN - 2)), STATUS_OK);
    EXPECT_EQ(g.puts, 4);
    EXPECT_EQ(arena_free_part(&g.arena[0], arena_bed_page(&g.bed, whole), npages(1)), STATUS_OK);
    EXPECT_EQ(arena_free_part(&g.arena[0], arena_bed_page(&g.bed, whole + SPAN - 1), npages(1)), STATUS_OK);
    give(&g, 0, whole + 1);
    give(&g, 0, part + SPAN - 2);
    const uint64_t again = take(&g, 0, SPAN) / SPAN; /* what was cached is merged before a span is asked for */
    EXPECT(again == whole / SPAN || again == part / SPAN);
    EXPECT(g.gets == 7 && g.puts == 5 && g.arena[0].kept == NULL); /* one was kept, the other one went */
    is_sound(&g);
    close(&g);
}

TEST(arena, large_and_aligned_requests_get_spans_in_which_they_fit)
{
    static struct grown g;
    REQUIRE(open(&g));
    static const struct {
        uint64_t pages, align_log2, lead, span;
    } cases[] = {{1, 0, 0, SPAN}, {SPAN + 1, 0, 0, 2 * SPAN}, {SPAN, 6, 0, SPAN}, {5, 8, 0, 5 * SPAN},
                 {SPAN, 3, 1, 2 * SPAN}, {3 * SPAN, 7, 2, 5 * SPAN}, {9 * SPAN, 0, 8, 9 * SPAN}};
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        const struct arena_request r = {.pages = npages(cases[i].pages),
                                        .align_log2 = ARENA_ALIGN_PAGE + (unsigned)cases[i].align_log2,
                                        .lead = npages(cases[i].lead),
                                        .tag = "t"};
        vaddr_t base = vaddr(0);
        EXPECT_EQ(arena_request(&g.arena[0], &r, &base), STATUS_OK);
        EXPECT_EQ((vaddr_page_number(base) + cases[i].lead) % (1ULL << cases[i].align_log2), 0);
        EXPECT_EQ(g.gets, i + 1);
        EXPECT_EQ(g.bed.arena.used.v, cases[i].span);
        REQUIRE(is_sound(&g));
        EXPECT_EQ(arena_free(&g.arena[0], base), STATUS_OK);
        arena_trim(&g.arena[0]);
        EXPECT(g.bed.arena.used.v == 0 && g.puts == i + 1);
    }
    close(&g);
}

TEST(arena, the_span_that_is_kept_goes_when_another_one_cannot_be_had)
{
    static struct grown g;
    REQUIRE(open(&g));
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t low = take(&g, 0, SPAN);
        give(&g, 0, low);
        EXPECT_EQ(take(&g, 0, ALL) % SPAN, 0); /* all that there is */
        arena_trim(&g.arena[0]);
        EXPECT_EQ(g.gets, 2 * (i + 1));
        vaddr_t all = g.arena[0].first->base;
        EXPECT_EQ(arena_free(&g.arena[0], all), STATUS_OK);
        arena_trim(&g.arena[0]);
        EXPECT_EQ(g.puts, g.gets);
    }
    close(&g);
}

TEST(arena, what_is_in_no_span_is_outside)
{
    static struct grown g;
    REQUIRE(open(&g));
    struct arena *a = &g.arena[0];
    struct arena_range range;
    EXPECT(!arena_find(a, arena_bed_page(&g.bed, 0), &range));
    EXPECT_EQ(arena_alloc_at(a, arena_bed_page(&g.bed, 0), npages(1), "t"), STATUS_RANGE);
    const uint64_t one = take(&g, 0, 40), two = take(&g, 0, 40); /* a span each, side by side */
    const uint64_t low = one < two ? one : two, first = low / SPAN * SPAN;
    REQUIRE(one / SPAN + 1 == two / SPAN || two / SPAN + 1 == one / SPAN);
    EXPECT(!arena_find(a, vaddr(arena_bed_page(&g.bed, first).v - 1), &range));
    EXPECT(!arena_find(a, arena_bed_page(&g.bed, first + 2 * SPAN), &range));
    for (uint64_t page = first; page < first + 2 * SPAN; page++) {
        const uint64_t span = page / SPAN * SPAN, base = span == one / SPAN * SPAN ? one : two;
        EXPECT(arena_find(a, arena_bed_page(&g.bed, page), &range));
        const bool is_used = page >= base && page < base + 40;
        EXPECT_EQ(range.tag != NULL, is_used);
        EXPECT_EQ(range.base.v, arena_bed_page(&g.bed, is_used || base > page ? (is_used ? base : span) : base + 40).v);
    }
    EXPECT_EQ(low, first); /* cut off the low end, so that this is free: */
    EXPECT_EQ(arena_alloc_at(a, arena_bed_page(&g.bed, first + 50), npages(SPAN - 50), "t"), STATUS_OK);
    EXPECT_EQ(arena_alloc_at(a, arena_bed_page(&g.bed, first + 45), npages(6), "t"), STATUS_EXISTS);
    EXPECT_EQ(arena_alloc_at(a, arena_bed_page(&g.bed, first + SPAN + 45), npages(SPAN), "t"), STATUS_RANGE);
    give(&g, 0, two);
    give(&g, 0, first + 50);
    EXPECT_EQ(arena_alloc_at(a, arena_bed_page(&g.bed, first + 45), npages(SPAN), "t"), STATUS_RANGE);
    EXPECT_EQ(arena_alloc_at(a, arena_bed_page(&g.bed, first + SPAN), npages(SPAN), "t"), STATUS_OK);
    is_sound(&g);
    close(&g);
}

/* ---- Random requests, against a record of who has each page ---- */

struct record {
    unsigned range[ALL];     /* number of the range that has the page, 0: none */
    unsigned char who[ALL];
};

static void record_set(struct record *r, uint64_t first, uint64_t pages, unsigned range, unsigned who)
{
    for (uint64_t i = first; i < first + pages; i++) {
        r->range[i] = range;
        r->who[i] = (unsigned char)who;
    }
}

static void random_take(struct grown *g, struct record *r, struct rng *rng, unsigned number)
{
    const unsigned who = (unsigned)rng_below(rng, ARENAS);
    const uint64_t pages = rng_below(rng, 6) != 0 ? 1 + rng_below(rng, 20) : 1 + rng_below(rng, 3 * SPAN);
    const struct arena_request q = {.pages = npages(pages),
                                    .align_log2 = ARENA_ALIGN_PAGE + (unsigned)(rng_below(rng, 2) * rng_below(rng, 8)),
                                    .tag = "t",
                                    .best_fit = rng_below(rng, 3) == 0};
    vaddr_t base;
    const npages_t used = g->bed.arena.used;
    enum status s = arena_request(&g->arena[who], &q, &base);
    if (s != STATUS_OK) {
        EXPECT(s == STATUS_NOMEM && g->bed.arena.used.v <= used.v);
        return;
    }
    const uint64_t first = bytes_to_pages_down(base.v - g->bed.base.v).v;
    EXPECT_EQ(base.v % (1ULL << q.align_log2), 0);
    for (uint64_t i = first; i < first + pages; i++) {
        REQUIRE(i < ALL && r->range[i] == 0);
    }
    struct arena_range span;
    EXPECT(arena_find(&g->bed.arena, base, &span) && span.tag != NULL);
    record_set(r, first, pages, number, who);
}

static void random_give(struct grown *g, struct record *r, struct rng *rng, unsigned number)
{
    uint64_t first = rng_below(rng, ALL);
    while (first < ALL - 1 && r->range[first] == 0) {
        first++; /* small ranges go as soon as large ones */
    }
    uint64_t end = first + 1;
    const unsigned range = r->range[first], who = r->who[first];
    if (range == 0) {
        return;
    }
    for (; end < ALL && r->range[end] == range; end++) {
    }
    if (rng_below(rng, 4) == 0) {
        const uint64_t pages = 1 + rng_below(rng, end - first);
        EXPECT_EQ(arena_free_part(&g->arena[who], arena_bed_page(&g->bed, first), npages(pages)), STATUS_OK);
        record_set(r, first, pages, 0, 0);
        record_set(r, first + pages, end - first - pages, number, who);
        return;
    }
    while (first > 0 && r->range[first - 1] == range) {
        first--;
    }
    give(g, who, first);
    record_set(r, first, end - first, 0, 0);
}

TEST(arena, arenas_that_grow_never_give_out_the_same_page)
{
    static struct grown g;
    static struct record r;
    REQUIRE(open(&g));
    memset(&r, 0, sizeof r);
    struct rng rng = rng_seeded(test_seed());
    for (unsigned i = 1; i <= 2000 * test_effort(); i++) {
        const uint64_t what = rng_below(&rng, 100);
        if (what < (i / 400 % 2 == 0 ? 60 : 20)) {
            random_take(&g, &r, &rng, i);
        } else if (what < 99) {
            random_give(&g, &r, &rng, i);
        } else {
            arena_trim(&g.arena[rng_below(&rng, ARENAS)]);
        }
        REQUIRE(i % 8 != 0 || is_sound(&g));
    }
    EXPECT(g.puts > 10);
    uint64_t used = 0, pages = 0;
    for (unsigned i = 0; i < ARENAS; i++) {
        used += g.arena[i].used.v;
    }
    for (unsigned i = 0; i < ALL; i++) {
        pages += r.range[i] != 0;
    }
    EXPECT_EQ(used, pages);
    close(&g);
}

/* ---- What is refused, or wrong ---- */

TEST(arena, without_spans_or_nodes_a_request_fails_and_nothing_is_lost)
{
    static struct grown g;
    REQUIRE(open(&g));
    vaddr_t base = vaddr(1);
    g.dry = true;
    EXPECT_EQ(arena_alloc(&g.arena[0], npages(1), ARENA_ALIGN_PAGE, "t", &base), STATUS_NOMEM);
    EXPECT(base.v == 1 && is_sound(&g));
    g.dry = false;
    EXPECT_EQ(arena_alloc(&g.arena[0], npages(ALL + 1), ARENA_ALIGN_PAGE, "t", &base), STATUS_NOMEM);
    /* Each node missing in turn: of what the request needs, and of what the span needs that is got for it. */
    EXPECT_EQ(arena_reserve_for(&g.arena[0], 8), STATUS_OK);
    const struct arena_reserve whole = arena_bed_hide_nodes(&g.bed.arena);
    const unsigned left = g.bed.left;
    g.bed.left = 0;
    unsigned refused = 0;
    struct arena_reserve *reserve = g.bed.arena.reserve;
    REQUIRE(whole.fresh_end - whole.fresh > 20);
    for (reserve->node_count = 0; reserve->node_count < 20; reserve->node_count++) {
        reserve->fresh = whole.fresh;
        reserve->fresh_end = whole.fresh + reserve->node_count;
        const size_t nodes = reserve->node_count;
        enum status s = arena_alloc(&g.arena[0], npages(1), ARENA_ALIGN_PAGE, "t", &base);
        if (s == STATUS_OK) {
            break;
        }
        refused++;
        EXPECT(s == STATUS_NOMEM && g.arena[0].used.v == 0 && g.gets == g.puts);
        EXPECT_EQ(arena_check(&g.arena[0], NULL), STATUS_OK);
        arena_trim(&g.bed.arena);
        reserve->nodes = NULL; /* what it has given back: the same nodes, none else */
        reserve->node_count = nodes;
    }
    EXPECT(refused >= 4 && g.gets == g.puts + 1);
    g.bed.left = left;
    close(&g);
}

TEST(arena, spans_that_do_not_fit_are_reported_and_not_taken)
{
    static struct grown g;
    REQUIRE(open(&g));
    const uint64_t there = take(&g, 0, 1) / SPAN * SPAN;
    const vaddr_t wrong[] = {arena_bed_page(&g.bed, there), arena_bed_page(&g.bed, ALL),
                             vaddr(g.bed.base.v - SPAN * PAGE_BYTES), arena_bed_page(&g.bed, there + SPAN + 1),
                             vaddr_add(arena_bed_page(&g.bed, there + SPAN), 8)};
    for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
        g.wrong = wrong[i];
        vaddr_t base = vaddr(1);
        test_expect_reports(i + 1);
        EXPECT_EQ(arena_alloc(&g.arena[0], npages(SPAN), ARENA_ALIGN_PAGE, "t", &base), STATUS_NOMEM);
        EXPECT(base.v == 1 && is_sound(&g));
    }
    g.wrong = vaddr(0);
    static const struct arena_spans bad[] = {
        {NULL, {SPAN + 1}, get, put}, {NULL, {16}, get, put}, {NULL, {0}, get, put}, {NULL, {SPAN}, NULL, put},
        {NULL, {SPAN}, get, NULL}};
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct arena a;
        EXPECT_EQ(arena_init_spans(&a, g.bed.base, arena_bed_page(&g.bed, ALL), g.bed.arena.reserve, bad[i]),
                  STATUS_INVALID);
    }
    close(&g);
}

TEST(arena, the_check_sees_spans_broken)
{
    static struct grown g;
    REQUIRE(open(&g));
    struct arena *a = &g.arena[0];
    const uint64_t one = take(&g, 0, SPAN);
    EXPECT_EQ(arena_free_part(a, arena_bed_page(&g.bed, one), npages(SPAN - 1)), STATUS_OK);
    const uint64_t two = take(&g, 0, SPAN);
    EXPECT_EQ(arena_free_part(a, arena_bed_page(&g.bed, two), npages(SPAN - 1)), STATUS_OK);
    EXPECT_EQ(arena_free_part(a, arena_bed_page(&g.bed, two + SPAN - 1), npages(1)), STATUS_OK); /* kept */
    take(&g, 0, SPAN + 1); /* nothing is cached now */
    REQUIRE(a->kept != NULL && is_sound(&g));
    struct arena_node *kept = a->kept, *mark = a->first == kept ? kept->next->next : a->first;
    a->kept = NULL;
    arena_bed_expect_broken(a, "ARENA-I8");
    a->kept = mark;
    arena_bed_expect_broken(a, "ARENA-I8");
    a->kept = kept;
    mark->kind = 0;
    arena_bed_expect_broken(a, "ARENA-I8");
    mark->kind = 2;
    arena_bed_expect_broken(a, "ARENA-I1");
    mark->kind = 1;
    mark->base = vaddr_add_pages(mark->base, 1);
    arena_bed_expect_broken(a, "ARENA-I");
    mark->base = vaddr(mark->base.v - PAGE_BYTES);
    EXPECT(is_sound(&g));
    close(&g);
}
