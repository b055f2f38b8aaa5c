/*
 * Which block serves a request, and who may have a frame at all (see pmm.c, sections 3, 6 and 11).
 */
#include "pmm/internal.h"

unsigned home_node(const struct pmm *pmm)
{
    size_t cpu = pmm->cpu_count > 1 ? arch_cpu() : 0;
    return cpu < pmm->cpu_count ? pmm->cpus[cpu].lane >> LANE_NODE_SHIFT : 0;
}

enum pmm_zone zone_limit(unsigned flags)
{
    return (flags & PMM_BELOW_1M) != 0    ? PMM_ZONE_1M
           : (flags & PMM_BELOW_16M) != 0 ? PMM_ZONE_16M
           : (flags & PMM_BELOW_4G) != 0  ? PMM_ZONE_4G
                                          : PMM_ZONE_HIGH;
}

uint64_t zone_free(const struct pmm *pmm, enum pmm_zone zone)
{
    if (zone == PMM_ZONE_4G || zone == PMM_ZONE_HIGH || pmm->region_count == 0) {
        return pmm->zone_free[zone];
    }
    const struct pmm_region *r = region_at(pmm, 0);
    uint64_t low = 0;
    if (r->base == 0 && !r->left_out) {
        low = block_is_open(pmm, r, 0) ? pmm->low.free : usable_count(pmm, 0, frames_below_1m());
    }
    return zone == PMM_ZONE_1M ? low : pmm->zone_free[PMM_ZONE_16M] - low;
}

bool zone_leaves(const struct pmm *pmm, enum pmm_zone zone, unsigned flags, uint64_t n)
{
    enum pmm_zone limit = zone_limit(flags);
    if (zone > limit) {
        return false;
    }
    bool may_empty = zone == limit || pmm->zone_reserve[zone] == 0 || (flags & (PMM_EMERGENCY | PMM_PROMISED)) != 0;
    uint64_t free = may_empty ? 0 : zone_free(pmm, zone);
    return may_empty || (free >= n && free - n >= pmm->zone_reserve[zone]);
}

static bool zone_serves(const struct pmm *pmm, enum pmm_zone zone, unsigned flags)
{
    return zone_leaves(pmm, zone, flags, 1);
}

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

uint64_t available(const struct pmm *pmm, unsigned flags)
{
    if ((flags & PMM_EMERGENCY) != 0) {
        uint64_t all = pmm->spare + pmm->emergency;
        return all > pmm->debt ? all - pmm->debt : 0;
    }
    uint64_t kept = pmm->debt;
    for (enum pmm_zone z = PMM_ZONE_1M; z < zone_limit(flags); z++) {
        if (pmm->zone_reserve[z] > 0) {
            uint64_t free = zone_free(pmm, z);
            kept += free < pmm->zone_reserve[z] ? free : pmm->zone_reserve[z];
        }
    }
    return pmm->spare > kept ? pmm->spare - kept : 0;
}

uint64_t *account_for(struct pmm *pmm, unsigned flags, uint64_t n)
{
    if ((flags & PMM_PROMISED) != 0) {
        return pmm->promised >= n ? &pmm->promised : NULL;
    }
    if ((flags & PMM_EMERGENCY) != 0) {
        return available(pmm, flags) >= n ? &pmm->spare : NULL; /* account_pay goes on to the other */
    }
    return available(pmm, flags) >= n ? &pmm->spare : NULL;
}

void account_pay(struct pmm *pmm, uint64_t *account, uint64_t n)
{
    uint64_t *accounts[] = {account, &pmm->spare, &pmm->emergency, &pmm->promised};
    for (size_t i = 0; i < ARRAY_LEN(accounts) && n > 0; i++) {
        uint64_t part = n < *accounts[i] ? n : *accounts[i];
        *accounts[i] -= part;
        n -= part;
    }
}

/* ---- Blocks ---- */

/*
 * Open a never-used block of r. A user block is not made to pay while another can: that one is opened first, for the
 * kernel.
 */
static enum status open_fresh(struct pmm *pmm, struct pmm_region *r, unsigned class)
{
    uint64_t block = fresh_block(pmm, r);
    ASSERT(block != FRAME_NONE); /* a region on this list has a never-used block */
    if (block == FRAME_NONE) {
        return STATUS_CORRUPT;
    }
    if (class != 0 && open_cost(pmm, block).v > 0 && partly_free(pmm, 0) == NULL) {
        class = 0;
    }
    return block_open(pmm, r, block, class);
}

/* The first region of that list, or null. */
static struct pmm_region *supply_first(struct pmm *pmm, enum pmm_supply kind, enum pmm_zone zone, unsigned node)
{
    uint16_t region = pmm->supply[kind][zone][node];
    return region == PMM_NO_REGION ? NULL : &pmm->regions[region];
}

/*
 * Make a block of this zone and node with a free frame the current one of `class` for `home`. => OK; ABSENT: nothing
 * there but by taking another class's, or by opening one that cannot be opened.
 */
static enum status choose(struct pmm *pmm, enum pmm_zone zone, unsigned node, unsigned home, unsigned class)
{
    const enum pmm_supply order[] = {(enum pmm_supply)class, PMM_SUPPLY_HOLED, PMM_SUPPLY_WHOLE};
    for (;;) {
        for (size_t i = 0; i < ARRAY_LEN(order); i++) {
            struct pmm_region *r = supply_first(pmm, order[i], zone, node);
            if (r != NULL) {
                current_set(pmm, stack_first(pmm, r, order[i]), home, class);
                return STATUS_OK;
            }
        }
        struct pmm_region *r = supply_first(pmm, PMM_SUPPLY_FRESH, zone, node);
        if (r == NULL || pmm->broken || open_fresh(pmm, r, class) != STATUS_OK) {
            return STATUS_ABSENT; /* opened blocks go on serving */
        }
    }
}

/* Walk the zones and nodes in order of preference: nodes by distance, in each HIGH before 4G; then 16M. */
static enum status choose_any(struct pmm *pmm, unsigned flags, unsigned home, unsigned class)
{
    for (enum pmm_zone last = PMM_ZONE_4G; last >= PMM_ZONE_16M; last--) {
        for (unsigned i = 0; i < pmm->node_count; i++) {
            unsigned node = pmm->node_order[home][i];
            for (enum pmm_zone zone = last == PMM_ZONE_4G ? PMM_ZONE_HIGH : last; zone >= last; zone--) {
                if (zone_serves(pmm, zone, flags)) {
                    enum status s = choose(pmm, zone, node, home, class);
                    if (s != STATUS_ABSENT) {
                        return s;
                    }
                }
            }
        }
    }
    return STATUS_ABSENT;
}

/* All of this class is used: the currents of others go to their stacks, owners lose blocks, classes mix. */
static enum status choose_hard(struct pmm *pmm, unsigned flags, unsigned home, unsigned class)
{
    for (;;) {
        currents_retire(pmm);
        enum status s = choose_any(pmm, flags, home, class);
        if (s != STATUS_ABSENT) {
            return s;
        }
        if (!owners_give_block(pmm)) {
            break;
        }
    }
    unsigned other = 1 - class;
    for (enum pmm_zone zone = PMM_ZONE_HIGH; zone >= PMM_ZONE_16M; zone--) {
        for (unsigned i = 0; i < pmm->node_count && zone_serves(pmm, zone, flags); i++) {
            struct pmm_region *r = supply_first(pmm, (enum pmm_supply)other, zone, pmm->node_order[home][i]);
            if (r != NULL) {
                current_set(pmm, stack_first(pmm, r, (enum pmm_supply)other), home, class);
                return STATUS_OK;
            }
        }
    }
    return STATUS_ABSENT;
}

static struct pmm_block *take_whole_of(struct pmm *pmm, enum pmm_zone zone, unsigned node, enum status *s)
{
    struct pmm_region *r = supply_first(pmm, PMM_SUPPLY_WHOLE, zone, node);
    for (uint16_t i = pmm->supply[PMM_SUPPLY_FRESH][zone][node]; r == NULL && i != PMM_NO_REGION;) {
        struct pmm_region *fresh = &pmm->regions[i];
        i = fresh->links[PMM_SUPPLY_FRESH].next; /* `fresh` may leave the list */
        uint64_t block = fresh_whole_block(pmm, fresh);
        while (r == NULL && block != FRAME_NONE) { /* the first one opened may have to pay for itself and the next */
            *s = block_open(pmm, fresh, block, 0);
            if (*s != STATUS_OK) {
                return NULL;
            }
            r = supply_first(pmm, PMM_SUPPLY_WHOLE, zone, node);
            block = fresh_whole_block(pmm, fresh);
        }
    }
    if (r == NULL) {
        return NULL;
    }
    struct pmm_block *b = stack_first(pmm, r, PMM_SUPPLY_WHOLE);
    block_unstack(pmm, b);
    return b;
}

struct pmm_block *take_whole_block(struct pmm *pmm, unsigned flags, enum status *s)
{
    unsigned home = home_node(pmm);
    *s = STATUS_OK;
    for (unsigned i = 0; i < pmm->node_count; i++) {
        for (enum pmm_zone zone = PMM_ZONE_HIGH; zone >= PMM_ZONE_16M; zone--) {
            if (zone_leaves(pmm, zone, flags, PMM_BLOCK_FRAMES)) {
                struct pmm_block *b = take_whole_of(pmm, zone, pmm->node_order[home][i], s);
                if (b != NULL || *s != STATUS_OK) {
                    return b;
                }
            }
        }
    }
    return NULL;
}

enum status open_below_1m(struct pmm *pmm)
{
    struct pmm_region *r = region_at(pmm, 0);
    bool never = r->base == 0 && !r->left_out && !block_is_open(pmm, r, 0);
    while (pmm->low.free == 0 && never && usable_count(pmm, 0, frames_below_1m()) > 0) {
        enum status s = block_open(pmm, r, 0, 0);
        if (s != STATUS_OK) {
            return s;
        }
        never = !block_is_open(pmm, r, 0);
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

enum status take_frames(struct pmm *pmm, unsigned flags, uint64_t *frames, unsigned n, unsigned code, unsigned *got)
{
    unsigned class = flags & PMM_USER, home = home_node(pmm);
    *got = 0;
    while (zone_limit(flags) > PMM_ZONE_1M) {
        struct pmm_block *b = pmm->current[home][class];
        enum pmm_zone zone = (enum pmm_zone)pmm->regions[b->region].zone;
        if (b->free == 0 || !zone_serves(pmm, zone, flags)) {
            current_retire(pmm, home, class);
            if (choose_any(pmm, flags, home, class) != STATUS_OK
                && choose_hard(pmm, flags, home, class) != STATUS_OK) {
                break;
            }
            b = pmm->current[home][class];
            zone = (enum pmm_zone)pmm->regions[b->region].zone;
        }
        /* A batch must leave what the zone keeps. */
        uint64_t reserve = zone < zone_limit(flags) ? pmm->zone_reserve[zone] : 0;
        uint64_t above = reserve == 0 ? n : zone_free(pmm, zone) - reserve;
        bool all = (flags & (PMM_EMERGENCY | PMM_PROMISED)) != 0 || above >= n;
        *got = block_take(pmm, b, frames, all ? n : above > 0 && above < n ? (unsigned)above : 1, code);
        if (zone_limit(flags) < PMM_ZONE_HIGH) {
            current_retire(pmm, home, class); /* the next request may want it from elsewhere */
        }
        if (*got > 0) {
            return STATUS_OK;
        }
    }
    enum status s = STATUS_NOMEM;
    if (zone_serves(pmm, PMM_ZONE_1M, flags)) {
        s = take_below_1m(pmm, frames, n, code, got);
    }
    return s == STATUS_NOMEM && pmm->broken ? STATUS_CORRUPT : s; /* never-used blocks may have what was wanted */
}

void put_frame(struct pmm *pmm, struct pmm_block *b, uint64_t frame)
{
    if (b->mode == PMM_BLOCK_CLOSED || !block_push(pmm, b, frame)) {
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
