/* The plain model of contents behind mmu_play_share.c: places, mappings, objects. */
#ifndef CAIRN_TEST_UNIT_MMU_PLAY_PAGES_H
#define CAIRN_TEST_UNIT_MMU_PLAY_PAGES_H

#include "unit/mmu_play_share.h"
#include "vmm/vmm_share.h"

enum {
    REGIONS = 2, /* of 1 GiB each */
    PARTS = 2,   /* of 2 MiB, at the beginning of each */
    PAGES = 9,   /* at the beginning of each part; with the last one goes the rest of the part, which nobody uses */
    LOANS = 6,
    OBJECTS = 1 << 16,
    PART_PAGES = PAGES_PER_2M,
    PLAY_SHARE_KINDS = PLAY_SOME_UNMAP - PLAY_SHARE_MAP,
    DRAWN = PAGES * 3 * 4 * 2, /* values of `first`: a page, another space, another place, how much */
};

struct mapping {
    bool mapped, cow, device;
    uint8_t rights;
    uint16_t object;
};

/* A place: a part of a region. */
struct place {
    unsigned space, region, part;
};

extern struct play_shared {
    struct vmm *vmm;
    struct space *space;
    struct mapping map[PLAY_SPACES][REGIONS][PARTS][PAGES];
    struct vmm_loan loan[LOANS];
    uint64_t number[OBJECTS]; /* what each object holds */
    unsigned objects;
    uint64_t numbers;
    struct play_share_count count[PLAY_SHARE_KINDS];
} play_shared;

static inline struct space *space_at(const struct place *at)
{
    return &play_shared.space[at->space];
}
/* Pages from number `first` on, of the last one all that goes with it. */
static inline npages_t play_pages(unsigned first, unsigned pages)
{
    return npages(pages + (first + pages == PAGES ? (uint64_t)PART_PAGES - PAGES : 0));
}
uint16_t play_new_object(uint64_t number);
vaddr_t play_part_address(unsigned region, unsigned part);
vaddr_t play_page_address(const struct place *at, unsigned page);
static inline uint64_t address_of(const struct place *at, unsigned page)
{
    return play_page_address(at, page).v;
}
/* The loan by which a place is borrowed, or null. */
struct vmm_loan *play_loan_of(const struct place *at);
/* Where the mappings of a place are: its own, or the lender's. */
struct place play_resolve(const struct place *at);
struct mapping *play_mapping_at(const struct place *at, unsigned page);
struct vmm_walk play_walk_of(const struct place *at, unsigned page);
/* Is the way to this place one that is not edited through? */
bool play_is_closed(const struct place *at);
/*
 * A page whose leaf is not marked is alone with its frame, writable or not (it was, or will be): an object of its own.
 * Who comes to show it sees what is written there (cow.c).
 */
void play_settle(const struct place *at, unsigned page);
void play_expect(enum status s, enum status expected, const char *what);
/* The CPU that runs reads the page and, where it may, writes to it. */
void play_touch_page(const struct place *at, unsigned page);
/* Through temporary mappings, whatever space is current. */
void play_peek_part(const struct place *at);

#endif
