/* Drawing operations, and what their numbers come to. */
#include "unit/aspace_play_map.h"

#include "arch/layout.h"
#include "lib/rng.h"

enum { PLACES = 6, SHORT_ON_FRAMES = 12, SCARCE_MAX = 8 };

/* ---- Operations ---- */

static const struct {
    uint8_t kind, weight;
} weights[] = {
    {APLAY_CREATE, 4},       {APLAY_DESTROY, 2},      {APLAY_CLONE, 4},          {APLAY_LIMITS, 2},
    {APLAY_MAP, 13},         {APLAY_MAP_GLOBAL, 8},   {APLAY_MAP_OBJECT, 14},    {APLAY_UNMAP, 13},
    {APLAY_PROTECT, 10},     {APLAY_SEAL, 1},         {APLAY_SHARE, 16},         {APLAY_TRANSFER, 6},
    {APLAY_WITHDRAW, 10},    {APLAY_TOUCH, 60},       {APLAY_QUERY, 6},          {APLAY_FIND, 3},
    {APLAY_USERS, 4},        {APLAY_OBJECT_NEW, 4},   {APLAY_OBJECT_HOLD, 3},    {APLAY_OBJECT_RELEASE, 6},
    {APLAY_OBJECT_RESIZE, 4}, {APLAY_OBJECT_POPULATE, 4}, {APLAY_RECLAIM, 1},    {APLAY_SWITCH, 3},
    {APLAY_IDLE, 1},         {APLAY_COMPACT, 2},
};

static uint8_t draw_kind(struct rng *rng)
{
    unsigned total = 0;
    for (unsigned i = 0; i < ARRAY_LEN(weights); i++) {
        total += weights[i].weight;
    }
    uint64_t at = rng_below(rng, total);
    unsigned i = 0;
    while (at >= weights[i].weight) {
        at -= weights[i++].weight;
    }
    return weights[i].kind;
}

struct aplay_op aplay_draw(struct rng *rng)
{
    struct aplay_op op = {.kind = draw_kind(rng), .frames = APLAY_PLENTY};
    op.space = (uint8_t)rng_below(rng, APLAY_SPACES);
    op.other = (uint8_t)rng_below(rng, APLAY_SPACES);
    if (rng_below(rng, op.kind == APLAY_OBJECT_RESIZE ? 2 : SHORT_ON_FRAMES) == 0) {
        op.frames = (uint8_t)rng_below(rng, SCARCE_MAX);
    }
    op.which = (uint32_t)rng_next(rng);
    op.first = (uint32_t)rng_next(rng);
    op.pages = (uint32_t)rng_next(rng);
    op.rights = (uint32_t)rng_next(rng);
    op.how = (uint32_t)rng_next(rng);
    return op;
}

const char *aplay_kind_name(unsigned kind)
{
    static const char *const names[APLAY_KINDS] = {
        "CREATE",     "DESTROY",     "CLONE",          "LIMITS",        "MAP",     "MAP_GLOBAL", "MAP_OBJECT",
        "UNMAP",      "PROTECT",     "SEAL",           "SHARE",         "TRANSFER", "WITHDRAW",   "TOUCH",
        "QUERY",      "FIND",        "USERS",          "OBJECT_NEW",    "OBJECT_HOLD", "OBJECT_RELEASE",
        "OBJECT_RESIZE", "OBJECT_POPULATE", "RECLAIM", "SWITCH", "IDLE",
        "COMPACT",
    };
    return kind < APLAY_KINDS ? names[kind] : "?";
}

/* ---- Numbers ---- */

uint64_t aplay_pick_pages(uint32_t how)
{
    const uint32_t more = how / 16;
    switch (how % 16) {
    case 9:
    case 10:
    case 11: return 5 + more % 36;
    case 12: return 60 + more % 80;
    case 13: return PAGES_PER_2M * (1 + more % 2);
    case 14: return 300 + more % 500;
    default: return 1 + more % 4;
    }
}

unsigned aplay_pick_rights(uint32_t how)
{
    enum { R = VMM_READ, W = VMM_WRITE, X = VMM_EXECUTE, U = VMM_USER };
    static const unsigned rights[] = {R,     R | W, R | W | U, R | W | U, R | W | U, R | U,
                                      R | X, 0,     R | X | U, R | W,     R | W | U, R | W | U};
    return how % 40 == 39 ? (unsigned)(R | W | X) : rights[how % ARRAY_LEN(rights)];
}

uint64_t aplay_pick_place(uint32_t how)
{
    /* over the ends of tables of all levels, and at the beginnings of parts of 2 MiB and 1 GiB */
    static const uint64_t places[PLACES] = {
        0x0000012340000000,
        0x0000012340200000,
        0x0000012340400000 - 6ULL * PAGE_BYTES,
        0x0000012380000000 - 200ULL * PAGE_BYTES,
        LAYOUT_SLOT_BASE(9) - 40ULL * PAGE_BYTES,
        LAYOUT_USER_FIRST,
    };
    const uint32_t near = how / 64;
    const uint64_t offset = how % 8 == 0 ? 0 : how % 8 == 1 ? near % 600 : near % 24;
    return number_of(vaddr(places[how / 8 % PLACES])) + offset;
}

/* ---- Ranges ---- */

unsigned aplay_range_wrong(vaddr_t va, npages_t pages)
{
    const uint64_t most = bytes_to_pages_down(UINT64_MAX).v;
    unsigned wrong = !is_page_aligned(va.v) || pages.v == 0 ? APLAY_BIT(STATUS_INVALID) : 0;
    if (pages.v > most || pages.v > most - number_of(va)) {
        return wrong | APLAY_BIT(STATUS_INVALID) | APLAY_BIT(STATUS_RANGE);
    }
    const uint64_t end = number_of(va) + pages.v;
    const bool half = va.v < APLAY_PRIVATE_END && end > number_of(vaddr(APLAY_PRIVATE_END));
    if (half || va.v < LAYOUT_USER_FIRST || end > number_of(vaddr(LAYOUT_USER_END))) {
        wrong |= APLAY_BIT(STATUS_RANGE);
    }
    return wrong;
}

static struct aplay_range wrong_range(const struct aplay_op *op)
{
    const uint64_t places[] = {LAYOUT_KERNEL_BASE, LAYOUT_USER_FIRST - PAGE_BYTES, 0x0000012340000001,
                               LAYOUT_USER_END - PAGE_BYTES, APLAY_PRIVATE_END - PAGE_BYTES, 0};
    const uint64_t counts[] = {2, 0, UINT64_MAX, bytes_to_pages_down(UINT64_MAX).v, 3, 1ULL << 36};
    struct aplay_range r = {vaddr(places[op->first % ARRAY_LEN(places)]),
                            npages(counts[op->pages % ARRAY_LEN(counts)]), 0};
    r.wrong = aplay_range_wrong(r.va, r.pages);
    return r;
}

/* Pages [low, high) of the array lie side by side. */
static void neighbourhood(const struct aplay_space *s, unsigned i, unsigned *low, unsigned *high)
{
    *low = i;
    *high = i + 1;
    while (*low > 0 && s->page[*low - 1].number + 1 == s->page[*low].number) {
        --*low;
    }
    while (*high < s->count && s->page[*high - 1].number + 1 == s->page[*high].number) {
        ++*high;
    }
}

struct aplay_range aplay_pick_range(struct aplay_space *s, const struct aplay_op *op)
{
    if (op->how % 32 == 31) {
        return wrong_range(op);
    }
    if (!s->lives || s->count == 0 || op->how % 32 == 30) {
        struct aplay_range r = {address_of(aplay_pick_place(op->first)), npages(aplay_pick_pages(op->pages)), 0};
        r.wrong = aplay_range_wrong(r.va, r.pages);
        return r;
    }
    const unsigned i = op->which % s->count, mode = op->how % 16;
    unsigned low, high;
    if (mode >= 13) {
        neighbourhood(s, i, &low, &high);
    } else {
        aplay_mapping(s, i, &low, &high);
    }
    uint64_t first = s->page[low].number, pages = high - low;
    if (mode >= 5 && mode < 11) { /* a few from the middle */
        const uint64_t skip = op->first % pages;
        first += skip;
        pages = 1 + op->pages % (pages - skip < 12 ? pages - skip : 12);
    } else if (mode == 11 || mode == 13) { /* from somewhere to somewhere */
        const uint64_t skip = op->first % pages;
        first += skip;
        pages = 1 + op->pages % (pages - skip);
    } else if (op->how % 32 == 12) {
        pages += 1; /* or what comes behind it */
    }
    struct aplay_range r = {address_of(first), npages(pages), 0};
    r.wrong = aplay_range_wrong(r.va, r.pages);
    return r;
}
