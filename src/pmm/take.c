/*
 * Which block serves a request (see pmm.c, sections 3 and 6).
 */
#include "pmm/open_one.h"
#include "pmm/place.h"
#include "pmm/take.h"
#include "pmm/whole.h"

#define ALWAYS_INLINE __attribute__((always_inline)) static inline

bool class_has_more(const struct pmm *pmm, unsigned class) { return any_giving(pmm, KINDS_IDLE | KIND(class)); }

/* place_find for find_fresh, where it is rare. */
__attribute__((noinline, cold)) static struct place find_again(const struct pmm *pmm, unsigned zones, unsigned home,
                                                               uint64_t kinds)
{
    return place_find(pmm, zones, home, kinds, NO_PLACE);
}

/*
 * A block with a free frame, never used before, on no stack, or one on its stack that comes first by then; null:
 * nothing of these kinds, or what there is cannot be opened. `place` has a never-used one.
 */
__attribute__((noinline)) static struct pmm_block *find_fresh(struct pmm *pmm, struct place place, unsigned zones,
                                                              uint64_t kinds, unsigned home, unsigned class,
                                                              uint64_t known_cost)
{
    while (place.zone != PMM_ZONE_1M) {
        struct pmm_region *r = place_region(pmm, place);
        if (place.kind != PMM_SUPPLY_FRESH) {
            return stack_first(pmm, r, place.kind);
        }
        uint64_t next = extent_bottom(pmm, r), block = fresh_block(pmm, r, next);
        ASSERT(block != FRAME_NONE); /* a region on this list has a never-used block */
        struct pmm_block *b = NULL;
        uint64_t cost = known_cost;
        if (cost == FRAME_NONE || block != next) {
            cost = block == FRAME_NONE ? 0 : cost_now(pmm, r, block);
        }
        known_cost = FRAME_NONE;
        if (block == FRAME_NONE || block_open_costing(pmm, r, block, class, cost, &b) != STATUS_OK) {
            kinds &= ~KIND(PMM_SUPPLY_FRESH);
        } else if (b != NULL && b->free > 0 && class_of(b) == class) {
            return b;
        } else if (b != NULL) {
            block_restack(pmm, b);
        }
        place = find_again(pmm, zones, home, kinds);
    }
    return NULL;
}

/* Of these current blocks the bit of the one in the first place that has so many free frames; 0: there is none. */
ALWAYS_INLINE unsigned first_current(struct pmm *pmm, unsigned zones, unsigned bits, unsigned home, unsigned frames)
{
    struct pmm_block *best = NULL;
    unsigned best_bit = 0;
    for (; bits != 0; bits &= bits - 1) {
        struct pmm_block *b = current_of_bit(pmm, bits);
        if (b->free >= frames && (zones >> pmm->regions[b->region].zone & 1) != 0
            && (best == NULL || place_is_before(pmm, home, place_of(pmm, b), place_of(pmm, best)))) {
            best = b;
            best_bit = bits & -bits;
        }
    }
    return best_bit;
}

__attribute__((noinline)) static struct pmm_block *find_current(struct pmm *pmm, unsigned zones, unsigned bits,
                                                                unsigned home)
{
    unsigned bit = first_current(pmm, zones, bits, home, 1);
    return bit == 0 ? NULL : current_of_bit(pmm, bit);
}

struct pmm_block *take_whole_current(struct pmm *pmm, unsigned zones, unsigned home)
{
    unsigned bit = first_current(pmm, zones, pmm->currents, home, PMM_BLOCK_FRAMES);
    return bit == 0 ? NULL : current_take_whole(pmm, bit);
}

/* The current blocks of this class, a bit each. */
static unsigned currents_of(const struct pmm *pmm, unsigned class)
{
    return pmm->currents & (unsigned)CURRENTS_OF_CLASS << class;
}

/* A block that owners had, with a free frame in one of these zones, on no stack; null: they have none. */
__attribute__((noinline)) static struct pmm_block *find_owned(struct pmm *pmm, unsigned zones)
{
    while ((pmm->owned_zones & zones) != 0) {
        struct pmm_block *b = owners_yield_block(pmm);
        if (b == NULL || (zones >> pmm->regions[b->region].zone & 1) != 0) {
            return b;
        }
        block_restack(pmm, b); /* of no use, and an ordinary one from then on */
    }
    return NULL;
}

/*
 * All of this class is used. What is current for others is next, then what owners have, then the other class mixes;
 * for the kernel, which mixes with user frames either way, owners come last.
 */
ALWAYS_INLINE struct pmm_block *find_hard(struct pmm *pmm, unsigned zones, unsigned home, unsigned class)
{
    struct pmm_block *b = NULL;
    unsigned others = currents_of(pmm, class) & ~current_bit(home, class); /* its own is known to be of no use */
    if (others != 0 && (b = find_current(pmm, zones, others, home)) != NULL) {
        return b;
    }
    if (class == PMM_KERNEL || (pmm->owned_zones & zones) == 0) {
        struct place place = place_find(pmm, zones, home, KIND(1 - class), NO_PLACE);
        if (place.zone != PMM_ZONE_1M) {
            return stack_fullest(pmm, place_region(pmm, place), 1 - class);
        }
        others = currents_of(pmm, 1 - class);
        if (others != 0 && (b = find_current(pmm, zones, others, home)) != NULL) {
            return b;
        }
    }
    return find_owned(pmm, zones);
}

/*
 * Is there no other never-used block that is usable wholly in these zones than the one of r, and would it pay for its
 * own metadata, so that it were whole no more?
 */
static bool is_last_whole(struct pmm *pmm, unsigned zones, const struct pmm_region *r, uint64_t cost)
{
    enum { COST_MAX = 2 * (1 + PMM_TABLE_LEVELS_MAX) };
    const uint64_t kind = KIND(PMM_SUPPLY_FRESH_WHOLE);
    if (r->fresh_whole > 1 || r->links[PMM_SUPPLY_FRESH_WHOLE].next != PMM_NO_REGION) {
        return false;
    }
    const struct pmm_block *payer = partly_free(pmm, 0);
    if (payer != NULL && payer->free >= COST_MAX) {
        return false;
    }
    unsigned places = 0; /* a bit each */
    for (enum pmm_zone zone = PMM_ZONE_16M; zone < PMM_ZONES; zone++) {
        places = places << PMM_NODES_MAX | nodes_of(zone_giving(pmm, zone, zones, kind));
    }
    return (places & (places - 1)) == 0 && cost > (payer != NULL ? payer->free : 0U);
}

struct pmm_block *open_whole(struct pmm *pmm, struct pmm_region *r, uint64_t block, uint64_t cost, unsigned zones,
                             unsigned home, enum status *s, uint64_t *last)
{
    uint64_t kinds = KINDS_WHOLE & pmm->kinds_given;
    for (;;) {
        ASSERT(block != FRAME_NONE); /* the region's count says that there is one */
        if (block == FRAME_NONE) {
            *s = STATUS_CORRUPT;
            return NULL;
        }
        if (cost > 0 && is_last_whole(pmm, zones, r, cost)) {
            *last = block;
            return NULL;
        }
        struct pmm_block *b; /* the first one opened may have to pay for itself and the next */
        *s = block_open_costing(pmm, r, block, 0, cost, &b);
        if (*s != STATUS_OK || (b != NULL && b->free == PMM_BLOCK_FRAMES)) {
            return b;
        }
        if (b != NULL) {
            block_restack(pmm, b);
        }
        struct place place = place_find(pmm, zones, home, kinds, NO_PLACE);
        if (place.zone == PMM_ZONE_1M) {
            return take_whole_current(pmm, zones, home);
        }
        r = place_region(pmm, place);
        if (place.kind == PMM_SUPPLY_WHOLE) {
            return stack_pop(pmm, r, PMM_SUPPLY_WHOLE);
        }
        block = fresh_whole_block(pmm, r);
        cost = block == FRAME_NONE ? 0 : cost_now(pmm, r, block);
    }
}

struct pmm_block *take_whole_block(struct pmm *pmm, unsigned flags, enum status *s, uint64_t *last)
{
    return take_whole(pmm, flags, s, last);
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

__attribute__((noinline)) static enum status take_below_1m(struct pmm *pmm, uint64_t *frames, unsigned n, unsigned code,
                                                           unsigned *got)
{
    enum status s = open_below_1m(pmm);
    if (s != STATUS_OK) {
        return s;
    }
    struct pmm_block *b = &pmm->low;
    if (n > 1) {
        *got = block_take(pmm, b, frames, n, code);
    } else {
        bool is_loose = b->top == 0 && b->loose != 0;
        *got = is_loose ? block_take_loose(pmm, b, 0, frames, code) : block_take_oddly(pmm, b, frames, code);
    }
    return *got > 0 ? STATUS_OK : STATUS_NOMEM;
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

/* Who asks for any memory goes on with this block; who asks for low memory takes from it and leaves it where it is. */
static void settle(struct pmm *pmm, struct pmm_block *b, unsigned flags, unsigned home)
{
    unsigned class = flags & PMM_USER;
    if (takes_any(flags) && b->stack == STACK_NONE) {
        current_put(pmm, b, home, class);
    } else if (takes_any(flags)) {
        current_set(pmm, b, home, class);
    } else if (b->stack == STACK_HOLED || b->stack == STACK_WHOLE) {
        block_unstack(pmm, b);
        lane_set(b, (b->lane & ~(unsigned)LANE_CLASS) | class);
    }
}

/*
 * The first block of this kind there, which lies on its stack, is gone on with in the same way. One call for one frame
 * moves one partly free block only: where the current one has to go to its stack, b leaves its own next time.
 */
ALWAYS_INLINE struct pmm_block *settle_first(struct pmm *pmm, struct place place, unsigned flags, unsigned n,
                                             unsigned home)
{
    unsigned class = flags & PMM_USER;
    struct pmm_region *r = place_region(pmm, place);
    bool is_limited = !takes_any(flags);
    bool is_one_more = n == 1 && !is_limited && pmm->current[home][class]->free > 0;
    if (place.kind <= PMM_SUPPLY_USER && (is_limited || is_one_more)) {
        struct pmm_block *b = stack_fullest(pmm, r, place.kind);
        if (is_one_more) {
            if ((b->free - 1U) % STACK_FRAMES != 0) { /* else b will move */
                current_retire(pmm, home, class);
            }
            pmm->news = (uint16_t)(pmm->news | current_bit(home, class)); /* what stays is outdone still */
        }
        return b;
    }
    struct pmm_block *b = stack_pop(pmm, r, place.kind);
    if (is_limited || is_one_more) { /* it will lie on a stack, and what is current is outdone still */
        pmm->news = (uint16_t)(pmm->news | (is_limited ? 0 : current_bit(home, class)));
        lane_set(b, (b->lane & ~(unsigned)LANE_CLASS) | class);
    } else {
        current_put(pmm, b, home, class);
    }
    return b;
}

/*
 * The block that n frames of such a request come from; null: there is none. The current one, if it may and no place
 * that is served before its own has something to give by now. Who may not have all zones above 16 MiB looks at some
 * places only: then the news are news still, since a zone at its reserve may come first again, and no list says so.
 * Who wants but one frame leaves what is current for others, or of the other class, where it is; it may have it already
 * afterwards: then *taken is set.
 */
ALWAYS_INLINE struct pmm_block *choose(struct pmm *pmm, unsigned zones, unsigned flags, unsigned n, unsigned home,
                                       struct pmm_block *serving, uint64_t *frame, bool *taken)
{
    unsigned class = flags & PMM_USER;
    uint64_t kinds = kinds_for(pmm, class), cost = FRAME_NONE;
    struct place place = serving != NULL ? place_find(pmm, zones, home, kinds, place_of(pmm, serving))
                                         : place_find(pmm, zones, home, kinds, NO_PLACE);
    if (taken != NULL && place.zone != PMM_ZONE_1M && place.kind == PMM_SUPPLY_FRESH) {
        cost = open_and_take(pmm, place_region(pmm, place), flags, home, zones, frame);
        *taken = cost == TAKEN;
        if (cost == TAKEN) {
            return NULL;
        }
    }
    news_seen(pmm, zones, flags, current_bit(home, class));
    if (serving != NULL && place.zone == PMM_ZONE_1M) {
        return serving;
    }
    if (place.zone != PMM_ZONE_1M && place.kind != PMM_SUPPLY_FRESH) {
        return settle_first(pmm, place, flags, n, home);
    }
    struct pmm_block *b = place.zone == PMM_ZONE_1M ? NULL : find_fresh(pmm, place, zones, kinds, home, class, cost);
    b = b != NULL ? b : find_hard(pmm, zones, home, class);
    bool is_used = b != NULL && (b->stack < PMM_STACKS || b->stack == STACK_CURRENT);
    if (b != NULL && (n > 1 || (!is_used && (b->stack != STACK_NONE || takes_any(flags))))) {
        settle(pmm, b, flags, home);
    }
    return b;
}

static enum status take_lowest(struct pmm *pmm, unsigned flags, uint64_t *frames, unsigned n, unsigned code,
                               unsigned *got)
{
    enum status s = STATUS_NOMEM;
    if (zone_leaves(pmm, PMM_ZONE_1M, flags, 1)) {
        s = take_below_1m(pmm, frames, n, code, got);
    }
    return s == STATUS_NOMEM && pmm->broken ? STATUS_CORRUPT : s; /* never-used blocks may have what was wanted */
}

enum status take_frame_slow(struct pmm *pmm, unsigned flags, unsigned zones, unsigned home, uint64_t *frame,
                            struct pmm_block *serving)
{
    unsigned got;
    bool taken = false;
    struct pmm_block *b = zones != 0 ? choose(pmm, zones, flags, 1, home, serving, frame, &taken) : NULL;
    if (b == NULL) {
        return taken ? STATUS_OK : take_lowest(pmm, flags, frame, 1, 1, &got);
    }
    got = block_take_one(pmm, b, frame, 1);
    if (b->stack == STACK_NONE) { /* it was wholly free, or is closed now */
        block_place(pmm, b);
    } else if (b->stack < PMM_STACKS && b->free % STACK_FRAMES == 0) { /* it has lost one */
        stack_move(pmm, b);
    }
    return got > 0 ? STATUS_OK : take_frames(pmm, flags, frame, 1, 1, &got);
}

enum status take_frames(struct pmm *pmm, unsigned flags, uint64_t *frames, unsigned n, unsigned code, unsigned *got)
{
    *got = 0;
    while (zone_limit(flags) > PMM_ZONE_1M) {
        unsigned home, zones;
        struct pmm_block *serving, *b = current_for(pmm, flags, &home, &zones, &serving);
        b = b != NULL ? b : choose(pmm, zones, flags, n, home, serving, NULL, NULL);
        if (b == NULL) {
            break;
        }
        *got = block_take(pmm, b, frames, batch(pmm, b, flags, n), code);
        block_restack(pmm, b); /* a current block stays where it is */
        if (*got > 0) {
            return STATUS_OK;
        }
    }
    return take_lowest(pmm, flags, frames, n, code, got);
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
        owner_of(pmm, b)->in_own--;
    }
    if (__builtin_expect(block_must_move(b), 0)) {
        block_restack(pmm, b);
    }
}
