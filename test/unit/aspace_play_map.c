/* The plain map of spaces: sorted arrays of pages. */
#include "unit/aspace_play_map.h"

#include "arch/layout.h"

unsigned aplay_lower(const struct aplay_space *s, uint64_t number)
{
    unsigned low = 0, high = s->count;
    while (low < high) {
        const unsigned middle = (low + high) / 2;
        if (s->page[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct aplay_page *aplay_find(struct aplay_space *s, uint64_t number)
{
    const unsigned i = aplay_lower(s, number);
    return i < s->count && s->page[i].number == number ? &s->page[i] : NULL;
}

unsigned aplay_count_in(const struct aplay_space *s, uint64_t number, uint64_t pages)
{
    return aplay_lower(s, number + pages) - aplay_lower(s, number);
}

/* Is any of [number, number + pages) a guard above the page `low`, or a guard or the room below the page `high`? */
static bool is_beside(const struct aplay_page *low, const struct aplay_page *high, uint64_t number, uint64_t pages)
{
    return (low != NULL && low->guard_above && low->number + 1 == number) ||
           (high != NULL && high->guard_below && high->number - 1 - high->room < number + pages);
}

bool aplay_is_guard(const struct aplay_space *s, uint64_t number)
{
    const unsigned i = aplay_lower(s, number);
    const struct aplay_page *low = i > 0 ? &s->page[i - 1] : NULL, *high = i < s->count ? &s->page[i] : NULL;
    return is_beside(low, NULL, number, 1) ||
           (high != NULL && high->guard_below && high->number - 1 - high->room == number);
}

struct aplay_page *aplay_stack_at(struct aplay_space *s, uint64_t number)
{
    const unsigned i = aplay_lower(s, number);
    struct aplay_page *p = i < s->count ? &s->page[i] : NULL;
    return p != NULL && number < p->number && number >= p->number - p->room ? p : NULL;
}

bool aplay_is_free(struct aplay_space *s, uint64_t number, uint64_t pages)
{
    const unsigned i = aplay_lower(s, number);
    return aplay_count_in(s, number, pages) == 0 &&
           !is_beside(i > 0 ? &s->page[i - 1] : NULL, i < s->count ? &s->page[i] : NULL, number, pages);
}

struct aplay_page *aplay_insert(struct aplay_space *s, uint64_t number, uint64_t pages)
{
    const unsigned at = aplay_lower(s, number);
    if (s->count + pages > APLAY_SPACE_PAGES || aplay_count_in(s, number, pages) != 0) {
        aplay_fail("space %u: %lu pages at %#lx do not go into the map", index_of(s), pages, address_of(number).v);
        return NULL;
    }
    memmove(&s->page[at + pages], &s->page[at], (s->count - at) * sizeof s->page[0]);
    memset(&s->page[at], 0, pages * sizeof s->page[0]);
    s->count += (unsigned)pages;
    for (uint64_t i = 0; i < pages; i++) {
        s->page[at + i].number = number + i;
    }
    return &s->page[at];
}

void aplay_remove(struct aplay_space *s, uint64_t number, uint64_t pages)
{
    const unsigned from = aplay_lower(s, number), to = aplay_lower(s, number + pages);
    bool touched[APLAY_OBJECTS] = {0};
    for (unsigned i = from; i < to; i++) {
        struct aplay_object *o = aplay_object(&s->page[i]);
        if (o != NULL) {
            o->users[s->page[i].page]--;
            o->total--;
            touched[s->page[i].object - 1] = true;
        }
    }
    memmove(&s->page[from], &s->page[to], (s->count - to) * sizeof s->page[0]);
    s->count -= to - from;
    for (unsigned i = 0; i < APLAY_OBJECTS; i++) {
        if (touched[i]) {
            aplay_settle(&aplay.object[i]);
        }
    }
}

/* ---- Mappings: as many pages as could be one ---- */

bool aplay_joins(const struct aplay_page *low, const struct aplay_page *high)
{
    return low->number + 1 == high->number && low->object == high->object &&
           (low->object == 0 || low->page + 1 == high->page) && low->rights == high->rights &&
           low->allowed == high->allowed && low->flags == high->flags && low->tag == high->tag &&
           low->sealed == high->sealed && low->giver == high->giver && !low->guard_above && !high->guard_below &&
           (address_of(high->number).v != APLAY_PRIVATE_END);
}

void aplay_mapping(const struct aplay_space *s, unsigned i, unsigned *low, unsigned *high)
{
    *low = i;
    *high = i + 1;
    while (*low > 0 && aplay_joins(&s->page[*low - 1], &s->page[*low])) {
        --*low;
    }
    while (*high < s->count && aplay_joins(&s->page[*high - 1], &s->page[*high])) {
        ++*high;
    }
}

unsigned aplay_mappings(const struct aplay_space *s)
{
    unsigned n = s->count > 0;
    for (unsigned i = 1; i < s->count; i++) {
        n += !aplay_joins(&s->page[i - 1], &s->page[i]);
    }
    return n;
}

/* ---- New pages ---- */

static bool learn_page(struct aplay_space *s, struct aplay_page *p)
{
    struct aspace_query q;
    const vaddr_t va = address_of(p->number);
    const enum status status = aspace_query(&s->space, va, &q);
    const struct mapping *m = mapping_at(&s->space, va);
    if (status != STATUS_OK || m == NULL) {
        aplay_fail("space %u, %#lx: query says %s of a page that is mapped", index_of(s), va.v, status_name(status));
        return false;
    }
    p->tag = q.tag;
    p->flags = q.flags & ~(uint32_t)APLAY_ALLOWED_WITH_FLAGS;
    p->rights = (uint8_t)q.rights;
    p->allowed = (uint8_t)q.allowed;
    p->sealed = q.sealed;
    p->giver = m->giver;
    p->guard_below = va.v == q.base.v && (q.flags & ASPACE_GUARD_BELOW) != 0;
    p->room = p->guard_below ? q.room_pages : 0;
    p->guard_above = va.v == vaddr_add_pages(q.base, q.pages.v - 1).v && (q.flags & ASPACE_GUARD_ABOVE) != 0;
    if (q.object != NULL) {
        struct aplay_object *o = aplay_object_of(q.object);
        o = o != NULL ? o : aplay_object_add(q.object);
        if (o == NULL || q.page >= APLAY_OBJECT_PAGES) {
            aplay_fail("space %u, %#lx: page %lu of object %p", index_of(s), va.v, q.page, (void *)q.object);
            return false;
        }
        p->object = (uint8_t)(o - aplay.object + 1);
        p->page = (uint32_t)q.page;
        o->users[p->page]++;
        o->total++;
    }
    return true;
}

bool aplay_learn(struct aplay_space *s, uint64_t number, uint64_t pages)
{
    struct aplay_page *p = aplay_insert(s, number, pages);
    for (uint64_t i = 0; i < pages && p != NULL; i++) {
        if (!learn_page(s, &p[i])) {
            return false;
        }
    }
    return p != NULL;
}
