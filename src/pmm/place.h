/*
 * Where what is wanted can be had: places, in order of preference, and what they give. Nodes by distance, in each HIGH
 * before 4G; then 16M the same way. All wants the lock; O(1).
 */
#ifndef CAIRN_PMM_PLACE_H
#define CAIRN_PMM_PLACE_H

#include "pmm/internal.h"

/* Kinds of supply: a byte each, all ones, as in pmm->nodes_with. */
#define KIND(kind) (0xFFULL << ((kind) * 8))
#define OF_ONE_NODE 0x0101010101010101UL /* of what nodes have, shifted by a node */
#define KINDS_IDLE (KIND(PMM_SUPPLY_HOLED) | KIND(PMM_SUPPLY_WHOLE) | KIND(PMM_SUPPLY_FRESH))
static_assert(PMM_NODES_MAX == 8 && PMM_SUPPLIES <= 8, "a byte of nodes a kind, a word of kinds");
enum { ZONES_ABOVE_16M = 1 << PMM_ZONE_4G | 1 << PMM_ZONE_HIGH }; /* as zones_serving has them: what comes first */

/* Partly free blocks of a class, those with nothing in use, never-used ones: of what nobody may ask for, none. */
static inline uint64_t kinds_for(const struct pmm *pmm, unsigned class)
{
    static const uint64_t kinds[] = {KINDS_IDLE | KIND(PMM_SUPPLY_KERNEL), KINDS_IDLE | KIND(PMM_SUPPLY_USER)};
    return kinds[class] & pmm->kinds_given;
}

static inline bool any_giving(const struct pmm *pmm, uint64_t kinds)
{
    const uint64_t *with = pmm->nodes_with;
    return ((with[PMM_ZONE_HIGH] | with[PMM_ZONE_4G] | with[PMM_ZONE_16M]) & kinds) != 0;
}

/* Those of `kinds` that regions of this zone give, if it is one of `zones`: a byte of nodes each. */
static inline uint64_t zone_giving(const struct pmm *pmm, enum pmm_zone zone, unsigned zones, uint64_t kinds)
{
    return (zones >> zone & 1) != 0 ? pmm->nodes_with[zone] & kinds : 0;
}

/* A bit per node that has any of these kinds. */
static inline unsigned nodes_of(uint64_t kinds)
{
    kinds |= kinds >> 32;
    kinds |= kinds >> 16;
    return (uint8_t)(kinds | kinds >> 8);
}

struct place {
    enum pmm_zone zone;   /* 1M: no place; it comes after all others */
    unsigned node;
    enum pmm_supply kind; /* the first that it gives, in the order of the enum: the class, HOLED, WHOLE, FRESH */
};
#define NO_PLACE ((struct place){PMM_ZONE_1M, 0, PMM_SUPPLY_KERNEL})

static inline struct place place_of(const struct pmm *pmm, const struct pmm_block *b)
{
    const struct pmm_region *r = &pmm->regions[b->region];
    return (struct place){(enum pmm_zone)r->zone, r->node, PMM_SUPPLY_KERNEL};
}

/* The first of these nodes, of which there is one. */
static inline unsigned nearest(const struct pmm *pmm, unsigned home, unsigned nodes)
{
    uint64_t there = nodes * OF_ONE_NODE & pmm->node_bits[home]; /* byte i: the i-th node, if it is one */
    return (unsigned)__builtin_ctzll(there) % 8;
}

/* The first place that gives one of `kinds` in `zones`, if it comes before `than`. => its zone is 1M: there is none. */
static inline struct place place_find(const struct pmm *pmm, unsigned zones, unsigned home, uint64_t kinds,
                                      struct place than)
{
    uint64_t high = zone_giving(pmm, PMM_ZONE_HIGH, zones, kinds), mid = zone_giving(pmm, PMM_ZONE_4G, zones, kinds);
    uint64_t any = high | mid, rival = 1ULL << than.node;
    if (than.zone < PMM_ZONE_4G) {
        rival = 0;
        if (any == 0) {
            any = zone_giving(pmm, PMM_ZONE_16M, zones, kinds);
            rival = than.zone == PMM_ZONE_16M ? 1ULL << than.node : 0;
        }
    }
    if (any == 0) {
        return NO_PLACE;
    }
    unsigned node = pmm->node_count == 1 ? 0 : nearest(pmm, home, nodes_of(any | rival));
    uint64_t of_node = OF_ONE_NODE << node, there = high & of_node;
    enum pmm_zone zone = PMM_ZONE_HIGH;
    if (there == 0) {
        there = any & of_node;
        zone = (mid & of_node) != 0 ? PMM_ZONE_4G : PMM_ZONE_16M;
    }
    if ((rival >> node & 1) != 0 && (there == 0 || zone <= than.zone)) {
        return NO_PLACE;
    }
    return (struct place){zone, node, (enum pmm_supply)(__builtin_ctzll(there) / 8)};
}

/* Does place a come before place b, as place_find has it? */
static inline bool place_is_before(const struct pmm *pmm, unsigned home, struct place a, struct place b)
{
    bool a_low = a.zone == PMM_ZONE_16M, b_low = b.zone == PMM_ZONE_16M;
    if (a_low != b_low) {
        return b_low;
    }
    return a.node == b.node ? a.zone > b.zone : nearest(pmm, home, 1U << a.node | 1U << b.node) == a.node;
}

/* The first region that gives this kind there: there is one. */
static inline struct pmm_region *place_region(const struct pmm *pmm, struct place place)
{
    return &pmm->regions[pmm->supply[place.kind][place.zone][place.node]];
}

#endif
