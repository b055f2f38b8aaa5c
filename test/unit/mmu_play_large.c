/* Histories: large pages. */
#include "unit/mmu_play_large.h"

#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/test.h"
#include "vmm/entry.h"
#include "vmm/vmm_large.h"

enum { AREA_BLOCKS = 4, AREA_PAGES = AREA_BLOCKS * PAGES_PER_2M, CUTS = 9, USED_PAGES = 4 };

/* Two blocks lie before the end of a GiB, two behind it. */
#define AREA_BASE (0x0000023480000000 - 2 * PAGES_PER_2M * (uint64_t)PAGE_BYTES)
#define GIB_BASE 0x0000023500000000
#define GIB_PAGES ((uint64_t)PAGES_PER_2M * TABLE_ENTRIES)

/* Frames of no RAM, aligned as the areas are. */
static const pfn_t area_device = {0x1000000 - 2 * PAGES_PER_2M}, gib_device = {0x2000000};

/* Pages of the second area are alike between two of these. */
static const uint64_t cut[CUTS] = {0, 1, 511, 512, 513, 1024, 130000, GIB_PAGES - 1, GIB_PAGES};

struct page {
    bool mapped, device;
    uint8_t rights;
    uint64_t number; /* the page's first word */
};

static struct area {
    struct page page[AREA_PAGES];
    struct page gib[CUTS - 1];
} areas[PLAY_SPACES];

static char text[PLAY_TEXT_BYTES];
static bool is_wrong;

static void wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void wrong(const char *format, ...)
{
    if (!is_wrong) {
        va_list args;
        va_start(args, format);
        struct buffer_sink b;
        buffer_sink_init(&b, text, sizeof text);
        sink_vprintf(&b.sink, format, args);
        va_end(args);
        is_wrong = true;
    }
}

/* One of several answers is right. */
static void expect_one_of(enum status s, const enum status *right, unsigned n)
{
    bool found = false;
    for (unsigned i = 0; i < n; i++) {
        found = found || s == right[i];
    }
    if (!found) {
        wrong("the answer is %s, not %s", status_name(s), status_name(right[0]));
    }
}
#define EXPECT_ONE_OF(s, ...)                                                    \
    do {                                                                         \
        const enum status right_[] = {__VA_ARGS__};                              \
        expect_one_of((s), right_, (unsigned)(sizeof right_ / sizeof *right_));  \
    } while (0)

void play_large_start(void)
{
    memset(areas, 0, sizeof areas);
    is_wrong = false;
}

const char *play_large_wrong(void) { return is_wrong ? text : NULL; }

void play_large_forget(unsigned space) { memset(&areas[space], 0, sizeof areas[space]); }

static vaddr_t area_page(uint64_t page) { return vaddr_add_pages(vaddr(AREA_BASE), page); }
static vaddr_t gib_page(uint64_t page) { return vaddr_add_pages(vaddr(GIB_BASE), page); }

/* A range of the first area, whatever the shrinker makes of the operation. */
struct range {
    unsigned first, pages;
};

static struct range range_of(const struct play_op *op, bool whole_blocks)
{
    struct range r = {op->first % AREA_PAGES, op->pages};
    if (whole_blocks) {
        const unsigned end = (r.first + r.pages + PAGES_PER_2M - 1) / PAGES_PER_2M * PAGES_PER_2M;
        r.first = r.first / PAGES_PER_2M * PAGES_PER_2M;
        r.pages = end - r.first;
    }
    r.pages = r.pages > AREA_PAGES - r.first ? AREA_PAGES - r.first : r.pages;
    return r;
}

static unsigned count_mapped(const struct page *page, unsigned n)
{
    unsigned mapped = 0;
    for (unsigned i = 0; i < n; i++) {
        mapped += page[i].mapped;
    }
    return mapped;
}

static void run_map(struct vmm *vmm, struct space *space, struct area *a, const struct play_op *op)
{
    static const unsigned sizes[] = {0, VMM_2M, VMM_LARGE};
    const unsigned size = sizes[op->part % ARRAY_LEN(sizes)];
    const bool is_device = op->part / ARRAY_LEN(sizes) % 2 != 0;
    const struct range r = range_of(op, size == VMM_2M);
    const bool is_free = count_mapped(&a->page[r.first], r.pages) == 0;
    enum status s = is_device ? vmm_map_frames(vmm, space, area_page(r.first), pfn_add(area_device, r.first),
                                               npages(r.pages), op->rights | size, false)
                              : vmm_map(vmm, space, area_page(r.first), npages(r.pages), op->rights | size);
    if (is_free) {
        EXPECT_ONE_OF(s, STATUS_OK, STATUS_NOMEM);
    } else {
        EXPECT_ONE_OF(s, STATUS_EXISTS);
    }
    for (unsigned i = 0; s == STATUS_OK && i < r.pages; i++) {
        a->page[r.first + i] = (struct page){.mapped = true, .device = is_device, .rights = op->rights};
    }
}

static void run_change(struct vmm *vmm, struct space *space, struct area *a, const struct play_op *op)
{
    const bool unmaps = op->kind == PLAY_LARGE_UNMAP;
    const struct range r = range_of(op, false);
    const bool is_mapped = count_mapped(&a->page[r.first], r.pages) == r.pages;
    enum status s = unmaps ? vmm_unmap(vmm, space, area_page(r.first), npages(r.pages))
                           : vmm_protect(vmm, space, area_page(r.first), npages(r.pages), op->rights);
    if (is_mapped) {
        EXPECT_ONE_OF(s, STATUS_OK, STATUS_NOMEM);
    } else {
        EXPECT_ONE_OF(s, STATUS_ABSENT);
    }
    for (unsigned i = 0; s == STATUS_OK && i < r.pages; i++) {
        struct page *page = &a->page[r.first + i];
        page->rights = op->rights;
        *page = unmaps ? (struct page){0} : *page;
    }
}

static bool are_alike(const struct page *page)
{
    for (unsigned i = 1; i < PAGES_PER_2M; i++) {
        if (page[i].rights != page->rights || page[i].device != page->device) {
            return false;
        }
    }
    return true;
}

static void run_promote(struct vmm *vmm, struct space *space, struct area *a, const struct play_op *op)
{
    const unsigned first = op->first % AREA_PAGES / PAGES_PER_2M * PAGES_PER_2M;
    const struct page *page = &a->page[first];
    enum status s = vmm_promote(vmm, space, area_page(first), 2, op->part % 2 != 0 ? VMM_PROMOTE_COPY : 0);
    if (count_mapped(page, PAGES_PER_2M) < PAGES_PER_2M) {
        EXPECT_ONE_OF(s, STATUS_ABSENT, STATUS_CONFLICT);
    } else if (!are_alike(page)) {
        EXPECT_ONE_OF(s, STATUS_CONFLICT);
    } else if (op->part % 2 != 0 && !page->device) {
        EXPECT_ONE_OF(s, STATUS_OK, STATUS_EXISTS, STATUS_NOMEM);
    } else {
        EXPECT_ONE_OF(s, STATUS_OK, STATUS_EXISTS, STATUS_CONFLICT);
    }
}

static void run_demote(struct vmm *vmm, struct space *space, const struct area *a, const struct play_op *op)
{
    const unsigned page = op->first % AREA_PAGES;
    enum status s = vmm_demote(vmm, space, area_page(page));
    if (a->page[page].mapped) {
        EXPECT_ONE_OF(s, STATUS_OK, STATUS_EXISTS, STATUS_NOMEM);
    } else {
        EXPECT_ONE_OF(s, STATUS_ABSENT);
    }
}

/* ---- The second area ---- */

static void run_gib_range(struct vmm *vmm, struct space *space, struct page *gib, const struct play_op *op)
{
    const unsigned from = op->first % (CUTS - 1), n = 1 + op->pages % (CUTS - 1 - from), what = op->part % 4;
    const vaddr_t va = gib_page(cut[from]);
    const npages_t pages = npages(cut[from + n] - cut[from]);
    const unsigned mapped = count_mapped(&gib[from], n);
    const enum status refused = what < 2 ? STATUS_EXISTS : STATUS_ABSENT;
    enum status s = what < 2    ? vmm_map_frames(vmm, space, va, pfn_add(gib_device, cut[from]), pages,
                                                 op->rights | (what == 0 || n < 3 ? 0U : VMM_LARGE), false)
                    : what == 2 ? vmm_unmap(vmm, space, va, pages)
                                : vmm_protect(vmm, space, va, pages, op->rights);
    if (mapped == (what < 2 ? 0 : n)) {
        EXPECT_ONE_OF(s, STATUS_OK, STATUS_NOMEM);
    } else {
        EXPECT_ONE_OF(s, refused);
    }
    for (unsigned i = from; s == STATUS_OK && i < from + n; i++) {
        gib[i] = (struct page){.mapped = what != 2, .rights = what != 2 ? op->rights : 0};
    }
}

static void run_gib(struct vmm *vmm, struct space *space, struct page *gib, const struct play_op *op)
{
    enum { RANGES = 4, WHOLE, ALL_GONE, PROMOTE_2M, PROMOTE_1G, DEMOTE, KINDS };
    const unsigned mapped = count_mapped(gib, CUTS - 1), kind = op->part % KINDS;
    const uint64_t page = cut[op->first % (CUTS - 1)], block = page / PAGES_PER_2M * PAGES_PER_2M;
    if (kind < RANGES) {
        /* A GiB of small pages takes too long to be drawn: large ones where the range is long. */
        const bool is_long = op->first % (CUTS - 1) + 1 + op->pages % (CUTS - 1 - op->first % (CUTS - 1)) > 5;
        struct play_op other = *op;
        other.part = (uint8_t)(kind == 0 && is_long ? 1 : kind);
        run_gib_range(vmm, space, gib, &other);
    } else if (kind == WHOLE && mapped == 0) {
        const unsigned rights = op->rights | VMM_1G;
        EXPECT_ONE_OF(vmm_map_frames(vmm, space, gib_page(0), gib_device, npages(GIB_PAGES), rights, false), STATUS_OK,
                      STATUS_NOMEM);
        for (unsigned i = 0; i < CUTS - 1; i++) {
            gib[i] = (struct page){.mapped = true, .rights = op->rights};
        }
    } else if (kind == ALL_GONE && mapped == CUTS - 1) {
        EXPECT_ONE_OF(vmm_unmap(vmm, space, gib_page(0), npages(GIB_PAGES)), STATUS_OK);
        memset(gib, 0, (CUTS - 1) * sizeof *gib);
    } else if (kind == PROMOTE_2M || kind == PROMOTE_1G) {
        EXPECT_ONE_OF(vmm_promote(vmm, space, kind == PROMOTE_1G ? gib_page(0) : gib_page(block),
                                  kind == PROMOTE_1G ? 3 : 2, 0),
                      STATUS_OK, STATUS_EXISTS, STATUS_ABSENT, STATUS_CONFLICT);
    } else if (kind == DEMOTE) {
        const enum status s = vmm_demote(vmm, space, gib_page(page));
        if (gib[op->first % (CUTS - 1)].mapped) {
            EXPECT_ONE_OF(s, STATUS_OK, STATUS_EXISTS, STATUS_NOMEM);
        } else {
            EXPECT_ONE_OF(s, STATUS_ABSENT);
        }
    }
}

/* ---- Using ---- */

static void check_page(struct vmm *vmm, struct space *space, vaddr_t va, const struct page *page, pfn_t device)
{
    struct vmm_walk w = {0};
    EXPECT_ONE_OF(vmm_translate(vmm, space, va, &w), STATUS_OK);
    if (w.present != page->mapped || w.rights != (page->mapped ? page->rights : 0U)) {
        wrong("%#lx: present %d, rights %#x, not %d, %#x", va.v, w.present, w.rights, page->mapped, page->rights);
    }
    if (page->mapped && page->device && paddr_to_pfn(w.address).v != device.v) {
        wrong("%#lx shows frame %#lx, not %#lx", va.v, paddr_to_pfn(w.address).v, device.v);
    }
}

static void touch(vaddr_t va, struct page *page, uint64_t *numbers)
{
    const uint64_t number = arch_read64(va);
    if (number != page->number) {
        wrong("%#lx holds %lu, not %lu", va.v, number, page->number);
    }
    if ((page->rights & VMM_WRITE) != 0) {
        page->number = ++*numbers;
        arch_write64(va, page->number);
    }
}

void play_large_use(struct vmm *vmm, struct space *spaces, const struct play_op *op, uint64_t *numbers)
{
    for (unsigned s = 0; s < PLAY_SPACES; s++) {
        for (unsigned i = 0; vmm->current == &spaces[s] && i < USED_PAGES; i++) {
            const unsigned n = (op->first + i * (op->pages + 1U)) % AREA_PAGES;
            struct page *page = &areas[s].page[n];
            if (page->mapped && !page->device) {
                touch(area_page(n), page, numbers);
            }
        }
    }
}

static void check_pages(struct vmm *vmm, struct space *space, const struct area *a, const struct play_op *op)
{
    for (unsigned i = 0; i < USED_PAGES; i++) {
        const unsigned n = (op->first + i * (op->pages + 1U)) % AREA_PAGES, k = (op->first + i) % (CUTS - 1);
        check_page(vmm, space, area_page(n), &a->page[n], pfn_add(area_device, n));
        check_page(vmm, space, gib_page(cut[k]), &a->gib[k], pfn_add(gib_device, cut[k]));
    }
}

void play_large_run(struct vmm *vmm, struct space *spaces, const struct play_op *op, uint64_t *numbers)
{
    struct space *space = &spaces[op->space % PLAY_SPACES];
    struct area *a = &areas[op->space % PLAY_SPACES];
    switch ((enum play_large_kind)op->kind) {
    case PLAY_LARGE_MAP: run_map(vmm, space, a, op); break;
    case PLAY_LARGE_UNMAP:
    case PLAY_LARGE_PROTECT: run_change(vmm, space, a, op); break;
    case PLAY_LARGE_PROMOTE: run_promote(vmm, space, a, op); break;
    case PLAY_LARGE_DEMOTE: run_demote(vmm, space, a, op); break;
    case PLAY_LARGE_GIB: run_gib(vmm, space, a->gib, op); break;
    case PLAY_LARGE_USE:
        check_pages(vmm, space, a, op);
        play_large_use(vmm, spaces, op, numbers);
        break;
    }
}

/* ---- Drawing and printing ---- */

void play_large_draw(struct rng *rng, struct play_op *op)
{
    static const uint8_t kinds[] = {PLAY_LARGE_MAP,     PLAY_LARGE_MAP,    PLAY_LARGE_MAP, PLAY_LARGE_UNMAP,
                                    PLAY_LARGE_UNMAP,   PLAY_LARGE_UNMAP,  PLAY_LARGE_USE, PLAY_LARGE_PROTECT,
                                    PLAY_LARGE_PROMOTE, PLAY_LARGE_DEMOTE, PLAY_LARGE_USE, PLAY_LARGE_GIB,
                                    PLAY_LARGE_GIB,     PLAY_LARGE_GIB};
    /* Blocks, two of them, their ends, what lies over them: mostly those that come again. */
    static const uint16_t ranges[][2] = {{0, 512},    {512, 512},  {1024, 512}, {1536, 512}, {0, 1024},  {512, 1024},
                                         {1023, 2},   {511, 1},    {512, 1},    {700, 40},   {0, 2048},  {1535, 2},
                                         {1024, 1},   {500, 24},   {100, 1900}, {512, 512},  {1024, 512}};
    const uint16_t *range = ranges[rng_below(rng, ARRAY_LEN(ranges))];
    op->kind = kinds[rng_below(rng, ARRAY_LEN(kinds))];
    op->part = (uint8_t)rng_below(rng, 126);
    op->first = range[0];
    op->pages = range[1];
    if (rng_below(rng, 4) == 0 || op->kind == PLAY_LARGE_GIB) {
        op->first = (uint16_t)rng_below(rng, AREA_PAGES);
        op->pages = (uint16_t)(1 + rng_below(rng, rng_below(rng, 4) == 0 ? AREA_PAGES : 40));
    }
}

const char *play_large_name(unsigned kind)
{
    static const char *const names[] = {"PLAY_LARGE_MAP",    "PLAY_LARGE_UNMAP", "PLAY_LARGE_PROTECT",
                                        "PLAY_LARGE_PROMOTE", "PLAY_LARGE_DEMOTE", "PLAY_LARGE_USE", "PLAY_LARGE_GIB"};
    return names[(kind - PLAY_LARGE) % ARRAY_LEN(names)];
}
