/* Places, mappings and objects of histories that share tables; reading and writing them. */
#include "unit/mmu_play_pages.h"
#include "unit/mmu_play_some.h"

#include "arch/arch.h"
#include "lib/string.h"
#include "vmm/entry.h"

struct play_shared play_shared;

static const uint64_t region_base[REGIONS] = {0x0000022200000000 & ~(GIB - 1), 0x0000444480000000 & ~(GIB - 1)};

void play_share_start(struct vmm *vmm, struct space *space)
{
    memset(&play_shared, 0, sizeof play_shared);
    play_shared.vmm = vmm;
    play_shared.space = space;
}

uint16_t play_new_object(uint64_t number)
{
    play_shared.objects = (play_shared.objects + 1) % OBJECTS; /* more than any history makes */
    play_shared.number[play_shared.objects] = number;
    return (uint16_t)play_shared.objects;
}

vaddr_t play_part_address(unsigned region, unsigned part)
{
    return vaddr(region_base[region] + part * level_span_bytes(2));
}

vaddr_t play_page_address(const struct place *at, unsigned page)
{
    return vaddr_add_pages(play_part_address(at->region, at->part), page);
}

struct vmm_loan *play_loan_of(const struct place *at)
{
    const vaddr_t va = play_part_address(at->region, at->part);
    for (unsigned i = 0; i < LOANS; i++) {
        struct vmm_loan *l = &play_shared.loan[i];
        if (l->borrower == space_at(at) && va.v - l->to.v < level_span_bytes(l->level)) {
            return l;
        }
    }
    return NULL;
}

static unsigned number_of(const struct space *space)
{
    return (unsigned)(space - play_shared.space);
}

static unsigned region_of(vaddr_t va)
{
    unsigned region = 0;
    while (va.v - region_base[region] >= GIB) {
        region++;
    }
    return region;
}

struct place play_resolve(const struct place *at)
{
    const struct vmm_loan *l = play_loan_of(at);
    if (l == NULL) {
        return *at;
    }
    struct place there = {number_of(l->lender), region_of(l->from), at->part};
    if (l->level == 2) {
        there.part = (unsigned)((l->from.v - region_base[there.region]) / level_span_bytes(2));
    }
    return there;
}

struct mapping *play_mapping_at(const struct place *at, unsigned page)
{
    const struct place there = play_resolve(at);
    return &play_shared.map[there.space][there.region][there.part][page];
}

struct vmm_walk play_walk_of(const struct place *at, unsigned page)
{
    struct vmm_walk w = {0};
    if (vmm_translate(play_shared.vmm, space_at(at), play_page_address(at, page), &w) != STATUS_OK) {
        play_fail("%#lx is not translated", address_of(at, page));
    }
    const char *wrong = play_leaf(play_shared.vmm, space_at(at), play_page_address(at, page), &w);
    if (wrong != NULL) {
        play_fail("%#lx: %s", address_of(at, page), wrong);
    }
    return w;
}

bool play_is_closed(const struct place *at)
{
    const struct vmm_walk w = play_walk_of(at, 0);
    return (pte_is_present(w.entry[3]) && entry_is_closed(w.entry[3])) ||
           (pte_is_present(w.entry[2]) && entry_is_closed(w.entry[2]));
}

void play_settle(const struct place *at, unsigned page)
{
    struct mapping *m = play_mapping_at(at, page);
    const struct vmm_walk w = play_walk_of(at, page);
    if (m->cow && !play_is_closed(at) && (w.entry[w.level].v & PTE_COW) == 0) {
        m->object = play_new_object(play_shared.number[m->object]);
        m->cow = false;
    }
}

void play_expect(enum status s, enum status expected, const char *what)
{
    if (s != expected && s != STATUS_NOMEM) {
        play_fail("%s: the answer is %s, not %s", what, status_name(s), status_name(expected));
    }
}

/* ---- Reading and writing ---- */

static void check_walk(const struct place *at, unsigned page, const struct vmm_walk *w)
{
    const struct mapping *m = play_mapping_at(at, page);
    const struct vmm_loan *l = play_loan_of(at);
    const unsigned rights = l != NULL ? m->rights & l->rights : m->rights;
    const bool must_write = (rights & VMM_WRITE) != 0 && !m->cow && (l != NULL || !play_is_closed(at));
    if (w->present != m->mapped || (w->rights & ~rights) != 0 || (m->mapped && (w->rights & VMM_READ) == 0) ||
        (m->mapped && must_write && (w->rights & VMM_WRITE) == 0)) {
        play_fail("wrong rights: %#lx of space %u: present %d, rights %#x, not %d, %#x", address_of(at, page),
                  space_at(at)->id, w->present, w->rights, m->mapped, rights);
    }
}

/* What is written to it is seen by all who map its object, and by nobody else. */
static void write_page(const struct place *at, unsigned page)
{
    struct mapping *m = play_mapping_at(at, page);
    if (m->cow) { /* it was found to be alone with the frame */
        m->object = play_new_object(0);
        m->cow = false;
    }
    play_shared.number[m->object] = ++play_shared.numbers;
    arch_write64(play_page_address(at, page), play_shared.numbers);
}

void play_touch_page(const struct place *at, unsigned page)
{
    const struct vmm_walk w = play_walk_of(at, page);
    check_walk(at, page, &w);
    if (!w.present || !play_mapping_at(at, page)->mapped || play_mapping_at(at, page)->device) {
        return;
    }
    const uint64_t number = arch_read64(play_page_address(at, page)),
                   wanted = play_shared.number[play_mapping_at(at, page)->object];
    if (number != wanted) {
        play_fail("wrong contents: %#lx of space %u holds %lu, not %lu", address_of(at, page), space_at(at)->id, number,
                  wanted);
    }
    if ((w.rights & VMM_WRITE) != 0) {
        write_page(at, page);
    }
}

void play_share_touch(unsigned s)
{
    for (unsigned i = 0; i < REGIONS * PARTS; i++) {
        const struct place at = {s, i / PARTS, i % PARTS};
        for (unsigned page = 0; page < PAGES; page++) {
            if (play_mapping_at(&at, page)->mapped) {
                play_touch_page(&at, page);
            }
        }
    }
}

void play_peek_part(const struct place *at)
{
    for (unsigned page = 0; page < PAGES; page++) {
        const struct mapping *m = play_mapping_at(at, page);
        const struct vmm_walk w = play_walk_of(at, page);
        uint64_t number = 0;
        check_walk(at, page, &w);
        play_expect(space_peek(play_shared.vmm, space_at(at), play_page_address(at, page), &number, sizeof number),
                    !m->mapped ? STATUS_ABSENT : m->device ? STATUS_UNSUPPORTED : STATUS_OK, "space_peek");
        if (m->mapped && !m->device && number != play_shared.number[m->object]) {
            play_fail("wrong contents: %#lx of space %u shows %lu, not %lu", address_of(at, page), space_at(at)->id,
                      number, play_shared.number[m->object]);
        }
    }
}
