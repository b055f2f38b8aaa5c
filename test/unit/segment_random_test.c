/*
 * Random calls about segments under the adversarial MMU, against a plain model: arrays of who may do what, and what
 * each page holds. More spaces than a list has room for in its record.
 */
#include "aspace/segment_list.h"
#include "lib/rng.h"
#include "unit/aspace_touch.h"

enum { SPACES = 12, SEGMENTS = 5, PLACES = 6, ROUNDS = 400, ROUNDS_MAX = 20000 };

/* Pages that are touched: at the ends of PTs, and of the segment. */
static const uint64_t place[PLACES] = {0, 1, 511, 512, 5000, SEGMENT_PAGES_MAX - 1};

static struct {
    struct aspace_bed bed;
    struct aspace spaces[SPACES];
    struct rng rng;
    struct {
        vaddr_t va; /* 0: none */
        unsigned owner;
        uint64_t pages;
        unsigned most;           /* rights of the segment */
        unsigned rights[SPACES]; /* 0: not in the list */
        uint64_t word[PLACES];
        bool resident[PLACES];
    } model[SEGMENTS];
    unsigned seen[STATUS_AGAIN + 1];
} play;

static unsigned below(unsigned n) { return (unsigned)rng_below(&play.rng, n); }
static unsigned any_rights(void) { return below(2) == 0 ? AR : below(4) > 0 ? ARW : ARX; }
static struct aspace *space(unsigned i) { return &play.spaces[i]; }

static void expect(const char *call, enum status got, enum status wanted)
{
    play.seen[got]++;
    if (!EXPECT_EQ(got, wanted)) {
        test_note("%s: %s, not %s", call, status_name(got), status_name(wanted));
    }
}

static unsigned count(unsigned s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < SPACES; i++) {
        n += play.model[s].rights[i] != 0;
    }
    return n;
}

/* Of a call that only the owner may make. */
static enum status may_change(unsigned s, unsigned by)
{
    return play.model[s].va.v == 0 || play.model[s].rights[by] == 0 ? STATUS_ABSENT
           : play.model[s].owner == by                              ? STATUS_OK
                                                                    : STATUS_DENIED;
}

static uint64_t any_size(void) { return place[below(PLACES)] + 1; }

static void play_create(unsigned s, unsigned by)
{
    const struct segment_request r = {.pages = npages(any_size()), .rights = any_rights(), .tag = "test"};
    if (play.model[s].va.v != 0) {
        return;
    }
    memset(&play.model[s], 0, sizeof play.model[s]);
    expect("create", segment_create(space(by), &r, &play.model[s].va), STATUS_OK);
    play.model[s].owner = by;
    play.model[s].pages = r.pages.v;
    play.model[s].rights[by] = play.model[s].most = r.rights;
}

static void play_grant(unsigned s, unsigned by, unsigned to)
{
    const unsigned rights = any_rights();
    enum status wanted = may_change(s, by);
    wanted = wanted == STATUS_OK && (rights & ~play.model[s].rights[by]) != 0 ? STATUS_DENIED : wanted;
    wanted = wanted == STATUS_OK && play.model[s].rights[to] != 0 ? STATUS_EXISTS : wanted;
    expect("grant", segment_grant(space(by), play.model[s].va, space(to), rights), wanted);
    if (wanted == STATUS_OK) {
        play.model[s].rights[to] = rights;
    }
}

static void play_narrow(unsigned s, unsigned by, unsigned of)
{
    const unsigned rights = any_rights(), has = play.model[s].rights[of];
    enum status wanted = may_change(s, by);
    wanted = wanted == STATUS_OK && has == 0 ? STATUS_ABSENT : wanted;
    wanted = wanted == STATUS_OK && (rights & ~has) != 0 ? STATUS_DENIED : wanted;
    expect("narrow", segment_narrow(space(by), play.model[s].va, space(of), rights), wanted);
    if (wanted == STATUS_OK) {
        play.model[s].rights[of] = rights;
    }
}

static void model_leave(unsigned s, unsigned who)
{
    play.model[s].rights[who] = 0;
    if (play.model[s].owner == who) {
        play.model[s].va = vaddr(0);
    }
}

static void play_revoke(unsigned s, unsigned by, unsigned from)
{
    enum status wanted = may_change(s, by);
    wanted = wanted == STATUS_DENIED && by == from ? STATUS_OK : wanted;
    wanted = wanted == STATUS_OK && play.model[s].rights[from] == 0 ? STATUS_ABSENT : wanted;
    expect("revoke", segment_revoke(space(by), play.model[s].va, space(from)), wanted);
    if (wanted == STATUS_OK) {
        model_leave(s, from);
    }
}

static void play_resize(unsigned s, unsigned by)
{
    const uint64_t pages = any_size();
    enum status wanted = may_change(s, by);
    bool in_use = false;
    for (unsigned p = 0; p < PLACES; p++) {
        in_use = in_use || (play.model[s].resident[p] && place[p] >= pages);
    }
    wanted = wanted == STATUS_OK && in_use && count(s) > 1 ? STATUS_SHARED : wanted;
    expect("resize", segment_resize(space(by), play.model[s].va, npages(pages)), wanted);
    for (unsigned p = 0; p < PLACES && wanted == STATUS_OK; p++) {
        play.model[s].pages = pages;
        if (place[p] >= pages) {
            play.model[s].word[p] = 0;
            play.model[s].resident[p] = false;
        }
    }
}

static void play_touch(unsigned s, unsigned by)
{
    const unsigned p = below(PLACES), access = below(2) == 0 ? VMM_READ : VMM_WRITE;
    const vaddr_t va = vaddr_add_pages(play.model[s].va, place[p]);
    const unsigned rights = play.model[s].va.v != 0 ? play.model[s].rights[by] : 0;
    const enum status wanted = rights == 0                            ? STATUS_ABSENT
                               : (access & ~rights) != 0              ? STATUS_DENIED
                               : place[p] >= play.model[s].pages ? STATUS_ABSENT
                                                                      : STATUS_OK;
    if (play.model[s].va.v == 0) {
        return;
    }
    if (wanted != STATUS_OK) {
        expect("touch", touch(space(by), va, access), wanted);
        return;
    }
    play.model[s].resident[p] = true;
    if (access == VMM_READ) {
        EXPECT_EQ(get_word(&play.bed, space(by), va), play.model[s].word[p]);
        return;
    }
    play.model[s].word[p] = rng_next(&play.rng);
    put_word(&play.bed, space(by), va, play.model[s].word[p]);
}

/* It ends, and another one begins in its place; or it is cloned into that. */
static unsigned keep_all(void *ctx, vaddr_t va, npages_t pages, unsigned rights)
{
    (void)ctx;
    (void)va;
    (void)pages;
    return rights;
}

static void play_end(unsigned who, unsigned parent)
{
    if (play.bed.vmm->current == &space(who)->tables) {
        return;
    }
    EXPECT_OK(aspace_destroy(space(who)));
    for (unsigned s = 0; s < SEGMENTS; s++) {
        model_leave(s, who);
    }
    if (parent == who || below(2) == 0) {
        EXPECT_OK(aspace_create(&play.bed.system, space(who), (struct aspace_limits){0}));
        return;
    }
    EXPECT_OK(aspace_clone(space(parent), space(who), keep_all, NULL));
    for (unsigned s = 0; s < SEGMENTS; s++) {
        if (play.model[s].va.v != 0) {
            play.model[s].rights[who] = play.model[s].rights[parent];
        }
    }
}

/* Everybody's rights in every segment, as questions, faults and tables say them. */
static void sweep(void)
{
    for (unsigned s = 0; s < SEGMENTS; s++) {
        for (unsigned i = 0; i < SPACES && play.model[s].va.v != 0; i++) {
            struct aspace_query q = {0};
            const vaddr_t va = play.model[s].va;
            const unsigned rights = play.model[s].rights[i];
            EXPECT_EQ(aspace_query(space(i), va, &q), rights != 0 ? STATUS_OK : STATUS_ABSENT);
            EXPECT_EQ(q.rights, rights);
            EXPECT_EQ(rights_shown(space(i), va), play.model[s].resident[0] ? rights : 0);
        }
    }
    EXPECT(aspace_bed_check(&play.bed));
}

static bool open(void)
{
    memset(&play, 0, sizeof play);
    play.rng = rng_seeded(test_seed());
    bool ok = aspace_bed_open(&play.bed);
    for (unsigned i = 0; i < SPACES && ok; i++) {
        ok = EXPECT_OK(aspace_create(&play.bed.system, space(i), (struct aspace_limits){0}));
    }
    return ok;
}

static void play_one(void)
{
    const unsigned s = below(SEGMENTS), other = below(SPACES);
    const unsigned by = play.model[s].va.v != 0 && below(3) > 0 ? play.model[s].owner : below(SPACES);
    switch (below(16)) {
    case 0: play_create(s, by); break;
    case 1: case 2: case 3: case 4: play_grant(s, by, other); break;
    case 5: play_narrow(s, by, other); break;
    case 6: case 7: play_revoke(s, by, below(4) == 0 ? by : other); break;
    case 8: play_resize(s, by); break;
    case 9: if (below(4) == 0) { play_end(other, by); } break;
    case 10: aspace_bed_switch(&play.bed, space(other)); break;
    case 11: (void)aspaces_reclaim(&play.bed.system, npages(10)); break;
    default: play_touch(s, other); break;
    }
}

static bool has_seen_all(void)
{
    static const enum status named[] = {STATUS_OK, STATUS_ABSENT, STATUS_DENIED, STATUS_EXISTS, STATUS_SHARED};
    bool all = true;
    for (unsigned i = 0; i < ARRAY_LEN(named); i++) {
        all = all && play.seen[named[i]] > 0;
    }
    return all;
}

TEST_HOST(segment_random, random_calls_agree_with_plain_arrays)
{
    REQUIRE(open());
    for (unsigned i = 0; i < ROUNDS * test_effort() || (i < ROUNDS_MAX && !has_seen_all()); i++) {
        play_one();
        if (i % 50 == 0) {
            sweep();
        }
    }
    sweep();
    EXPECT(has_seen_all());
    EXPECT_OK(space_switch(play.bed.vmm, play.bed.home));
    for (unsigned i = 0; i < SPACES; i++) {
        EXPECT_OK(aspace_destroy(space(i)));
    }
    aspace_bed_close(&play.bed);
}
