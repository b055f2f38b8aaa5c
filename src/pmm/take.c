/*
 * Which block serves a request, and who may have a frame at all (see pmm.c, sections 3, 6 and 11).
 */
#include "pmm/account.h"

uint64_t zones_hold(const struct pmm *pmm, unsigned flags)
{
    uint64_t held = 0;
    for (enum pmm_zone zone = PMM_ZONE_1M; zone <= zone_limit(flags); zone++) {
        uint64_t free = zone_free(pmm, zone);
        bool all = zone_leaves(pmm, zone, flags, free);
        held += all ? free : free > pmm->zone_reserve[zone] ? free - pmm->zone_reserve[zone] : 0;
    }
    return held;
}

void account_pay_more(struct pmm *pmm, uint64_t n)
{
    uint64_t *accounts[] = {&pmm->spare, &pmm->emergency, &pmm->promised};
    for (size_t i = 0; i < ARRAY_LEN(accounts) && n > 0; i++) {
        uint64_t part = n < *accounts[i] ? n : *accounts[i];
        *accounts[i] -= part;
        n -= part;
    }
    pmm->debt += n; /* the frames are had: those that are left to pay for metadata are fewer */
}

/* ---- Blocks ---- */

/* Kinds of supply: a byte each, all ones, as in pmm->nodes_with. */
#define KIND(kind) (0xFFULL << ((kind) * 8))
#define KINDS_IDLE (KIND(PMM_SUPPLY_HOLED) | KIND(PMM_SUPPLY_WHOLE) | KIND(PMM_SUPPLY_FRESH))
static_assert(PMM_NODES_MAX == 8 && PMM_SUPPLIES <= 8, "a byte of nodes a kind, a word of kinds");
enum { ZONES_ABOVE_16M = 1 << PMM_ZONE_4G | 1 << PMM_ZONE_HIGH }; /* as zones_serving has them: what comes first */

/* Where nothing can be opened any more, opened blocks go on serving. */
static uint64_t kinds_given(const struct pmm *pmm)
{
    return pmm->broken ? ~(KIND(PMM_SUPPLY_FRESH) | KIND(PMM_SUPPLY_FRESH_WHOLE)) : ~0ULL;
}

/* The first region of that list: there is one. */
static struct pmm_region *supply_first(struct pmm *pmm, enum pmm_supply kind, enum pmm_zone zone, unsigned node)
{
    return &pmm->regions[pmm->supply[kind][zone][node]];
}

static bool any_giving(const struct pmm *pmm, uint64_t kinds)
{
    const uint64_t *with = pmm->nodes_with;
    return ((with[PMM_ZONE_HIGH] | with[PMM_ZONE_4G] | with[PMM_ZONE_16M]) & kinds) != 0;
}

bool class_has_more(const struct pmm *pmm, unsigned class) { return any_giving(pmm, KINDS_IDLE | KIND(class)); }

/* Bit per node with a region in this zone that gives one of `kinds`. */
static unsigned nodes_giving(const struct pmm *pmm, enum pmm_zone zone, unsigned zones, uint64_t kinds)
{
    uint64_t nodes = (zones >> zone & 1) != 0 ? pmm->nodes_with[zone] & kinds : 0;
    nodes |= nodes >> 32;
    nodes |= nodes >> 16;
    return (uint8_t)(nodes | nodes >> 8);
}

static unsigned nearest(const struct pmm *pmm, unsigned home, unsigned nodes)
{
    const uint8_t *order = pmm->node_order[home];
    while ((nodes >> *order & 1) == 0) {
        order++;
    }
    return *order;
}

struct place {
    enum pmm_zone zone;
    unsigned node;
};

/* The first place in order of preference that gives one of `kinds`: nodes by distance, in each HIGH before 4G; then
 * 16M. false: there is none. */
static bool place_find(const struct pmm *pmm, unsigned zones, unsigned home, uint64_t kinds, struct place *place)
{
    if (!any_giving(pmm, kinds)) {
        return false;
    }
    unsigned high = nodes_giving(pmm, PMM_ZONE_HIGH, zones, kinds);
    unsigned any = high | nodes_giving(pmm, PMM_ZONE_4G, zones, kinds);
    if (any != 0) {
        place->node = nearest(pmm, home, any);
        place->zone = (high >> place->node & 1) != 0 ? PMM_ZONE_HIGH : PMM_ZONE_4G;
        return true;
    }
    unsigned low = nodes_giving(pmm, PMM_ZONE_16M, zones, kinds);
    place->zone = PMM_ZONE_16M;
    place->node = low == 0 ? 0 : nearest(pmm, home, low);
    return low != 0;
}

static unsigned distance_rank(const struct pmm *pmm, unsigned home, unsigned node)
{
    unsigned rank = 0;
    while (pmm->node_order[home][rank] != node) {
        rank++;
    }
    return rank;
}

/* As place_find has it. */
static bool comes_first(const struct pmm *pmm, unsigned home, struct place a, struct place b)
{
    bool a_low = a.zone == PMM_ZONE_16M, b_low = b.zone == PMM_ZONE_16M;
    if (a_low != b_low) {
        return b_low;
    }
    return a.node == b.node ? a.zone > b.zone
                            : distance_rank(pmm, home, a.node) < distance_rank(pmm, home, b.node);
}

static struct place place_of(const struct pmm *pmm, const struct pmm_block *b)
{
    const struct pmm_region *r = &pmm->regions[b->region];
    return (struct place){(enum pmm_zone)r->zone, r->node};
}

/* The first of `kinds` that the place gives, in the order of the enum: the class, HOLED, WHOLE, FRESH. */
static enum pmm_supply kind_there(const struct pmm *pmm, struct place place, uint64_t kinds)
{
    uint64_t there = pmm->nodes_with[place.zone] & kinds & 0x0101010101010101ULL << place.node;
    return (enum pmm_supply)(__builtin_ctzll(there) / 8);
}

/* A block with a free frame, on its stack or (just opened) on none; null: nothing of these kinds, or what there is
 * cannot be opened. */
static struct pmm_block *find(struct pmm *pmm, unsigned zones, uint64_t kinds, unsigned home, unsigned class)
{
    kinds &= kinds_given(pmm);
    struct place place;
    while (place_find(pmm, zones, home, kinds, &place)) {
        enum pmm_supply kind = kind_there(pmm, place, kinds);
        struct pmm_region *r = supply_first(pmm, kind, place.zone, place.node);
        if (kind != PMM_SUPPLY_FRESH) {
            return stack_first(pmm, r, kind);
        }
        uint64_t block = fresh_block(pmm, r);
        ASSERT(block != FRAME_NONE); /* a region on this list has a never-used block */
        struct pmm_block *b = NULL;
        if (block == FRAME_NONE || block_open_off_stack(pmm, r, block, class, &b) != STATUS_OK) {
            kinds &= ~KIND(PMM_SUPPLY_FRESH);
        } else if (b != NULL && b->free > 0 && class_of(b) == class) {
            return b;
        } else if (b != NULL) {
            block_restack(pmm, b);
        }
    }
    return NULL;
}

/* A current block of `class` with a free frame, whosever it is; null: there is none. */
static struct pmm_block *find_current(struct pmm *pmm, unsigned zones, unsigned class, unsigned home)
{
    struct pmm_block *best = NULL;
    for (unsigned bits = pmm->currents & CURRENTS_OF_CLASS << class; bits != 0; bits &= bits - 1) {
        struct pmm_block *b = pmm->current[(unsigned)__builtin_ctz(bits) / PMM_CLASSES][class];
        if (b->free > 0 && (zones >> pmm->regions[b->region].zone & 1) != 0
            && (best == NULL || comes_first(pmm, home, place_of(pmm, b), place_of(pmm, best)))) {
            best = b;
        }
    }
    return best;
}

/* Have owners' blocks free frames in one of these zones? */
static bool owners_have(const struct pmm *pmm, unsigned zones)
{
    unsigned have = 0;
    for (unsigned zone = PMM_ZONE_16M; zone < PMM_ZONES && pmm->owners_partly != 0; zone++) {
        have |= (unsigned)(pmm->owned_partly[zone] > 0) << zone;
    }
    return (have & zones) != 0;
}

/*
 * All of this class is used. What is current for others is next, then what owners have, then the other class mixes;
 * for the kernel, which mixes with user frames either way, owners come last.
 */
static struct pmm_block *find_hard(struct pmm *pmm, unsigned zones, unsigned home, unsigned class)
{
    struct pmm_block *b = find_current(pmm, zones, class, home);
    bool owners_have_some = b == NULL && owners_have(pmm, zones);
    if (b == NULL && (class == PMM_KERNEL || !owners_have_some)) {
        b = find(pmm, zones, KIND(1 - class), home, class);
        b = b != NULL ? b : find_current(pmm, zones, 1 - class, home);
    }
    while (b == NULL && owners_have_some) {
        b = owners_yield_block(pmm);
        if (b != NULL && (zones >> pmm->regions[b->region].zone & 1) == 0) {
            block_restack(pmm, b); /* of no use, and an ordinary one from then on */
            b = NULL;
            owners_have_some = owners_have(pmm, zones);
        }
    }
    return b;
}

/* Who asks for any memory goes on with this block; who asks for low memory takes from it and leaves it where it is. */
static void settle(struct pmm *pmm, struct pmm_block *b, unsigned zones, unsigned flags, unsigned home, unsigned class)
{
    if (zone_limit(flags) == PMM_ZONE_HIGH) {
        current_set(pmm, b, home, class);
        if ((zones & ZONES_ABOVE_16M) != ZONES_ABOVE_16M) {
            /* A zone at its reserve may come first again, and no list will say so. */
            pmm->news = (uint16_t)(pmm->news | current_bit(home, class));
        }
    } else if (b->stack == STACK_HOLED || b->stack == STACK_WHOLE) {
        block_unstack(pmm, b);
        lane_set(b, (b->lane & ~(unsigned)LANE_CLASS) | class);
    }
}

/*
 * Is there no other never-used block that is usable wholly in these zones than the one of r, and would it pay for its
 * own metadata, so that it were whole no more?
 */
static bool is_last_whole(struct pmm *pmm, unsigned zones, const struct pmm_region *r, uint64_t block)
{
    enum { COST_MAX = 2 * (1 + PMM_TABLE_LEVELS_MAX) };
    const uint64_t kind = KIND(PMM_SUPPLY_FRESH_WHOLE);
    const struct pmm_block *payer = partly_free(pmm, 0);
    if ((payer != NULL && payer->free >= COST_MAX) || r->fresh_whole > 1
        || r->links[PMM_SUPPLY_FRESH_WHOLE].next != PMM_NO_REGION) {
        return false;
    }
    unsigned places = 0; /* a bit each */
    for (enum pmm_zone zone = PMM_ZONE_16M; zone < PMM_ZONES; zone++) {
        places = places << PMM_NODES_MAX | nodes_giving(pmm, zone, zones, kind);
    }
    return (places & (places - 1)) == 0 && open_cost(pmm, block).v > (payer != NULL ? payer->free : 0U);
}

struct pmm_block *take_whole_block(struct pmm *pmm, unsigned flags, enum status *s, uint64_t *last)
{
    uint64_t kinds = (KIND(PMM_SUPPLY_WHOLE) | KIND(PMM_SUPPLY_FRESH_WHOLE)) & kinds_given(pmm);
    *s = STATUS_OK;
    *last = FRAME_NONE;
    if (!any_giving(pmm, kinds)) {
        return NULL;
    }
    unsigned zones = zones_serving(pmm, flags, PMM_BLOCK_FRAMES), home = home_node(pmm);
    struct place place;
    while (place_find(pmm, zones, home, kinds, &place)) {
        enum pmm_supply kind = kind_there(pmm, place, kinds);
        struct pmm_region *r = supply_first(pmm, kind, place.zone, place.node);
        if (kind == PMM_SUPPLY_WHOLE) {
            struct pmm_block *b = stack_first(pmm, r, PMM_SUPPLY_WHOLE);
            block_unstack(pmm, b);
            return b;
        }
        uint64_t block = fresh_whole_block(pmm, r);
        ASSERT(block != FRAME_NONE); /* the region's count says that there is one */
        if (block == FRAME_NONE) {
            *s = STATUS_CORRUPT;
            return NULL;
        }
        if (is_last_whole(pmm, zones, r, block)) {
            *last = block;
            return NULL;
        }
        struct pmm_block *b; /* the first one opened may have to pay for itself and the next */
        *s = block_open_off_stack(pmm, r, block, 0, &b);
        if (*s != STATUS_OK || (b != NULL && b->free == PMM_BLOCK_FRAMES)) {
            return b;
        }
        if (b != NULL) {
            block_restack(pmm, b);
        }
    }
    return NULL;
}

enum status open_below_1m(struct pmm *pmm)
{
    while (pmm->low.mode == PMM_BLOCK_NEVER && pmm->low_untouched > 0) {
        enum status s = block_open(pmm, region_at(pmm, 0), 0, 0); /* this block, or others that have to pay for it */
        if (s != STATUS_OK) {
            return s;
        }
    }
    return pmm->low.free == 0 || pmm->low.mode == PMM_BLOCK_CLOSED ? STATUS_NOMEM : STATUS_OK;
}

static enum status take_below_1m(struct pmm *pmm, uint64_t *frames, unsigned n, unsigned code, unsigned *got)
{
    enum status s = open_below_1m(pmm);
    if (s != STATUS_OK) {
        return s;
    }
    *got = block_take(pmm, &pmm->low, frames, n, code);
    return *got > 0 ? STATUS_OK : STATUS_NOMEM;
}

/*
 * Has a place that is served before the current block's something to give by now? Who may not have all zones above
 * 16 MiB looks at some places only: then the news are news still.
 */
static bool is_outdone(struct pmm *pmm, const struct pmm_block *b, unsigned zones, unsigned home, unsigned class)
{
    if ((zones & ZONES_ABOVE_16M) == ZONES_ABOVE_16M) {
        pmm->news = (uint16_t)(pmm->news & ~current_bit(home, class));
    }
    uint64_t kinds = (KINDS_IDLE | KIND(class)) & kinds_given(pmm);
    struct place place;
    return place_find(pmm, zones, home, kinds, &place)
           && comes_first(pmm, home, place, place_of(pmm, b));
}

/* May the current block serve a request that these zones may serve? */
static bool current_serves(struct pmm *pmm, const struct pmm_block *b, unsigned zones, unsigned home, unsigned class)
{
    bool has_news = (pmm->news & current_bit(home, class)) != 0;
    return b->free > 0 && (zones >> pmm->regions[b->region].zone & 1) != 0
           && !(has_news && is_outdone(pmm, b, zones, home, class));
}

/* Frames, at most n, that the zone of b can give and keep what it keeps for others; 1 at least. */
static unsigned batch(const struct pmm *pmm, const struct pmm_block *b, unsigned flags, unsigned n)
{
    enum pmm_zone zone = (enum pmm_zone)pmm->regions[b->region].zone;
    if (!pmm->zones_reserve || zone_leaves(pmm, zone, flags, n)) {
        return n;
    }
    uint64_t above = zone_free(pmm, zone) - pmm->zone_reserve[zone];
    return above > 0 && above < n ? (unsigned)above : 1;
}

enum status take_frames(struct pmm *pmm, unsigned flags, uint64_t *frames, unsigned n, unsigned code, unsigned *got)
{
    unsigned class = flags & PMM_USER, home = home_node(pmm);
    *got = 0;
    while (zone_limit(flags) > PMM_ZONE_1M) {
        struct pmm_block *b = pmm->current[home][class];
        unsigned zones = zones_serving(pmm, flags, 1);
        if (!current_serves(pmm, b, zones, home, class)) {
            b = find(pmm, zones, KINDS_IDLE | KIND(class), home, class);
            b = b != NULL ? b : find_hard(pmm, zones, home, class);
            if (b == NULL) {
                break;
            }
            settle(pmm, b, zones, flags, home, class);
        }
        *got = block_take(pmm, b, frames, batch(pmm, b, flags, n), code);
        block_restack(pmm, b); /* a current block stays where it is */
        if (*got > 0) {
            return STATUS_OK;
        }
    }
    enum status s = STATUS_NOMEM;
    if (zone_leaves(pmm, PMM_ZONE_1M, flags, 1)) {
        s = take_below_1m(pmm, frames, n, code, got);
    }
    return s == STATUS_NOMEM && pmm->broken ? STATUS_CORRUPT : s; /* never-used blocks may have what was wanted */
}

void put_frame(struct pmm *pmm, struct pmm_block *b, uint64_t frame)
{
    if (!block_push(pmm, b, frame)) { /* a closed block has no room */
        block_lose_frame(pmm, frame);
        return;
    }
    count_free_in(pmm, b, 1);
    pmm->spare++;
    if (b->owner != 0) {
        owner_find(pmm, b->owner)->in_own--;
    }
    if (__builtin_expect(block_must_move(b), 0)) {
        block_restack(pmm, b);
    }
}
