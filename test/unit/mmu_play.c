/* Running, shrinking and printing histories of the VMM. */
#include "unit/mmu_play.h"

#include "arch/arch.h"
#include "arch/layout.h"
#include "model/shrink.h"
#include "unit/test.h"
#include "vmm/vmm.h"

enum { KERNEL_PLACES = 4, CHECK_EVERY = 1024, USED_PAGES = 4 };

/* Each part lies over the end of a table of another level. */
static const uint64_t part_base[PLAY_PARTS] = {
    0x0000012340000000 + 400ULL * PAGE_BYTES,
    LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL) + (1ULL << 31) - 300ULL * PAGE_BYTES,
    LAYOUT_SLOT_BASE(9) - 350ULL * PAGE_BYTES,
};

static const pfn_t device = {0xF0000};

struct page_record {
    bool mapped, device;
    uint8_t rights;
    uint64_t number; /* the page's first word */
};

struct play {
    struct vmm vmm;
    struct space space[PLAY_SPACES];
    struct page_record page[PLAY_SPACES][PLAY_PARTS][PLAY_PART_PAGES];
    struct page_record blank[PLAY_PARTS][PLAY_PART_PAGES];
    vaddr_t kernel[KERNEL_PLACES]; /* 0: none */
    uint64_t numbers;
    struct play_result result;
};

static struct play play;

static void fail(struct play *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct play *p, const char *format, ...)
{
    if (!p->result.failed) {
        va_list args;
        va_start(args, format);
        struct buffer_sink b;
        buffer_sink_init(&b, p->result.text, sizeof p->result.text);
        sink_vprintf(&b.sink, format, args);
        va_end(args);
        p->result.failed = true;
    }
}

static void count_change(struct play *p, enum status s)
{
    p->result.changes += s == STATUS_OK;
}

static void expect_status(struct play *p, enum status s, enum status expected)
{
    if (s != expected) {
        fail(p, "the answer is %s, not %s", status_name(s), status_name(expected));
    }
}

static vaddr_t address(const struct play_op *op)
{
    return vaddr_add_pages(vaddr(part_base[op->part]), op->first);
}

static bool all_are(const struct page_record *page, unsigned n, bool mapped)
{
    for (unsigned i = 0; i < n; i++) {
        if (page[i].mapped != mapped) {
            return false;
        }
    }
    return true;
}

static void run_map(struct play *p, const struct play_op *op, struct page_record *page)
{
    struct space *space = &p->space[op->space];
    bool is_device = op->kind == PLAY_MAP_FRAMES, is_free = all_are(page, op->pages, false);
    enum status s = is_device ? vmm_map_frames(&p->vmm, space, address(op), pfn_add(device, op->first),
                                               npages(op->pages), op->rights, false)
                              : vmm_map(&p->vmm, space, address(op), npages(op->pages), op->rights);
    if (is_free && s == STATUS_NOMEM) {
        return;
    }
    expect_status(p, s, is_free ? STATUS_OK : STATUS_EXISTS);
    count_change(p, s);
    for (unsigned i = 0; is_free && i < op->pages; i++) {
        page[i] = (struct page_record){.mapped = true, .device = is_device, .rights = op->rights};
    }
}

static void run_change(struct play *p, const struct play_op *op, struct page_record *page)
{
    struct space *space = &p->space[op->space];
    bool mapped = all_are(page, op->pages, true), unmaps = op->kind == PLAY_UNMAP;
    enum status s = unmaps ? vmm_unmap(&p->vmm, space, address(op), npages(op->pages))
                           : vmm_protect(&p->vmm, space, address(op), npages(op->pages), op->rights);
    expect_status(p, s, mapped ? STATUS_OK : STATUS_ABSENT);
    count_change(p, s);
    for (unsigned i = 0; mapped && i < op->pages; i++) {
        page[i] = unmaps ? (struct page_record){0} : page[i];
        page[i].rights = unmaps ? 0 : op->rights;
    }
}

static void run_clear(struct play *p, const struct play_op *op)
{
    struct page_record *page = p->page[op->space][op->part];
    for (unsigned first = 0, n; first < PLAY_PART_PAGES; first += n) {
        n = 1;
        while (page[first].mapped && first + n < PLAY_PART_PAGES && page[first + n].mapped) {
            n++;
        }
        if (page[first].mapped) {
            struct play_op unmap = {PLAY_UNMAP, op->space, op->part, 0, (uint16_t)first, (uint16_t)n};
            run_change(p, &unmap, &page[first]);
        }
    }
}

static void run_use(struct play *p, const struct play_op *op, struct page_record *page)
{
    struct space *space = &p->space[op->space];
    for (unsigned i = 0; i < op->pages && i < USED_PAGES; i++) {
        vaddr_t va = vaddr_add_pages(address(op), i);
        struct vmm_walk w;
        expect_status(p, vmm_translate(&p->vmm, space, va, &w), STATUS_OK);
        if (w.present != page[i].mapped || w.rights != (page[i].mapped ? page[i].rights : 0U)) {
            fail(p, "%#lx: present %d, rights %#x, not %d, %#x", va.v, w.present, w.rights, page[i].mapped,
                 page[i].rights);
        }
        if (p->vmm.current != space || !page[i].mapped || page[i].device) {
            continue;
        }
        uint64_t number = arch_read64(va);
        if (number != page[i].number) {
            fail(p, "%#lx holds %lu, not %lu", va.v, number, page[i].number);
        }
        if ((page[i].rights & VMM_WRITE) != 0) {
            page[i].number = ++p->numbers;
            arch_write64(va, page[i].number);
        }
    }
}

static void run_renew(struct play *p, const struct play_op *op)
{
    struct space *space = &p->space[op->space];
    if (p->vmm.current != space) {
        expect_status(p, space_destroy(&p->vmm, space), STATUS_OK);
        expect_status(p, space_create(&p->vmm, space), STATUS_OK);
        memcpy(p->page[op->space], p->blank, sizeof p->blank);
    }
}

static void run_kernel(struct play *p, const struct play_op *op)
{
    vaddr_t *base = &p->kernel[op->part % KERNEL_PLACES];
    if (base->v != 0) {
        expect_status(p, kpages_free(&p->vmm, *base), STATUS_OK);
        base->v = 0;
        return;
    }
    unsigned flags = op->rights % 2 != 0 ? KPAGES_GUARDED : KPAGES_ZEROED;
    enum status s = kpages_alloc(&p->vmm, npages(op->pages), ARENA_ALIGN_PAGE, flags, "play", base);
    if (s == STATUS_OK) {
        arch_write64(*base, 1);
        arch_write64(vaddr_add_pages(*base, op->pages - 1U), 1);
    } else {
        expect_status(p, s, STATUS_NOMEM);
        base->v = 0;
    }
}

/* The last page of all, of each window, and of the slots kept for more of them. */
static void run_window(struct play *p, const struct play_op *op)
{
    static const unsigned slots[] = {LAYOUT_SLOT_FOREIGN, LAYOUT_SLOT_SELF, LAYOUT_SLOT_BANK_FIRST};
    vaddr_t va = vaddr_add_pages(vaddr(LAYOUT_SLOT_BASE(slots[op->part % ARRAY_LEN(slots)])), op->first);
    struct vmm_walk w;
    expect_status(p, vmm_map(&p->vmm, &p->vmm.kernel, va, npages(1), VMM_READ), STATUS_RANGE);
    expect_status(p, vmm_map(&p->vmm, &p->space[op->space], va, npages(op->pages), op->rights), STATUS_RANGE);
    expect_status(p, vmm_translate(&p->vmm, &p->space[op->space], va, &w), STATUS_RANGE);
}

static void run_op(struct play *p, const struct play_op *op)
{
    struct page_record *page = op->space < PLAY_SPACES ? &p->page[op->space][op->part][op->first] : NULL;
    switch ((enum play_kind)op->kind) {
    case PLAY_MAP:
    case PLAY_MAP_FRAMES: run_map(p, op, page); break;
    case PLAY_UNMAP:
    case PLAY_PROTECT: run_change(p, op, page); break;
    case PLAY_CLEAR: run_clear(p, op); break;
    case PLAY_USE: run_use(p, op, page); break;
    case PLAY_SWITCH:
        expect_status(p, space_switch(&p->vmm, op->space < PLAY_SPACES ? &p->space[op->space] : &p->vmm.kernel),
                      STATUS_OK);
        break;
    case PLAY_RENEW: run_renew(p, op); break;
    case PLAY_KERNEL: run_kernel(p, op); break;
    case PLAY_WINDOW: run_window(p, op); break;
    case PLAY_KINDS: break;
    }
}

static void check(struct play *p)
{
    static char text[PLAY_TEXT_BYTES];
    struct buffer_sink b;
    buffer_sink_init(&b, text, sizeof text);
    if (vmm_check(&p->vmm, &b.sink) != STATUS_OK) {
        fail(p, "vmm_check: %s", text);
    }
}

static void *pointer(vaddr_t page)
{
    return model_access(model_machine, page, true);
}

static bool start(struct play *p, bool (*loses_invlpg)(vaddr_t va))
{
    memset(p, 0, sizeof *p);
    struct model *m = model_start(64 * MIB);
    model_want_violations(m);
    expect_status(p, vmm_init_with(&p->vmm, &m->pmm, pointer), STATUS_OK);
    for (unsigned i = 0; i < PLAY_SPACES; i++) {
        expect_status(p, space_create(&p->vmm, &p->space[i]), STATUS_OK);
    }
    m->loses_invlpg = loses_invlpg;
    return !p->result.failed;
}

struct play_result play_run(const struct play_op *ops, unsigned n, bool (*loses_invlpg)(vaddr_t va))
{
    struct play *p = &play;
    bool ok = start(p, loses_invlpg);
    for (unsigned i = 0; i < n && ok; i++) {
        run_op(p, &ops[i]);
        if (model_machine->violations > 0) {
            p->result.failed = false; /* what came of it counts less */
            fail(p, "%s", model_machine->first_violation);
            p->result.rule = model_machine->first.rule;
        } else if ((i + 1) % CHECK_EVERY == 0 || i + 1 == n) {
            check(p);
        }
        p->result.at = i;
        ok = !p->result.failed;
    }
    return p->result;
}

/* ---- Drawing ---- */

static void draw_range(struct rng *rng, struct play_op *op)
{
    /* first, pages: alone in a table or over its end, up to and beyond what is flushed page by page */
    static const uint16_t ranges[][2] = {{0, 1},   {1, 7},    {8, 1},    {9, 23},   {32, 32},   {64, 33},
                                         {97, 1},  {98, 15},  {113, 40}, {153, 90}, {250, 60},  {310, 60},
                                         {370, 2}, {372, 32}, {404, 33}, {437, 8},  {445, 255}, {0, 700}};
    if (rng_below(rng, 4) != 0) { /* mostly ranges that come again, so that what is mapped is unmapped */
        const uint16_t *range = ranges[rng_below(rng, ARRAY_LEN(ranges))];
        op->first = range[0];
        op->pages = range[1];
        return;
    }
    op->first = (uint16_t)rng_below(rng, PLAY_PART_PAGES);
    op->pages = (uint16_t)(1 + rng_below(rng, rng_below(rng, 8) == 0 ? PLAY_PART_PAGES : 8));
    if (op->pages > PLAY_PART_PAGES - op->first) {
        op->pages = (uint16_t)(PLAY_PART_PAGES - op->first);
    }
}

struct play_op play_draw(struct play_drawing *d)
{
    static const uint8_t kinds[] = {PLAY_MAP,    PLAY_MAP,    PLAY_MAP,     PLAY_MAP,    PLAY_MAP_FRAMES, PLAY_UNMAP,
                                    PLAY_UNMAP,  PLAY_UNMAP,  PLAY_PROTECT, PLAY_USE,    PLAY_USE,        PLAY_USE,
                                    PLAY_SWITCH, PLAY_SWITCH, PLAY_CLEAR,   PLAY_KERNEL, PLAY_PROTECT};
    static const uint8_t rights[] = {VMM_READ, VMM_READ | VMM_WRITE, VMM_READ | VMM_EXECUTE, VMM_READ | VMM_WRITE};
    struct rng *rng = &d->rng;
    struct play_op op = d->last;
    if (op.pages > 0 && op.kind <= PLAY_PROTECT && rng_below(rng, 3) == 0) {
        op.kind = rng_below(rng, 4) == 0 ? PLAY_PROTECT : PLAY_USE; /* the same range once more */
    } else {
        uint64_t rare = rng_below(rng, 100);
        op.kind = rare == 0 ? PLAY_RENEW : rare == 1 ? PLAY_WINDOW : kinds[rng_below(rng, ARRAY_LEN(kinds))];
        op.space = (uint8_t)rng_below(rng, PLAY_SPACES);
        op.part = (uint8_t)rng_below(rng, PLAY_PARTS);
        draw_range(rng, &op);
        bool to_kernel = op.kind == PLAY_SWITCH && rng_below(rng, 4) == 0;
        bool to_current = op.kind != PLAY_SWITCH && d->current < PLAY_SPACES && rng_below(rng, 2) == 0;
        op.space = to_kernel ? PLAY_SPACES : to_current ? d->current : op.space;
    }
    op.rights = rights[rng_below(rng, ARRAY_LEN(rights))];
    d->current = op.kind == PLAY_SWITCH ? op.space : d->current;
    d->last = op;
    return op;
}

/* ---- Shrinking ---- */

struct shrinking {
    enum model_rule rule;
    bool (*loses_invlpg)(vaddr_t va);
};

static bool still_fails(void *ctx, const void *items, unsigned n)
{
    const struct shrinking *s = ctx;
    struct play_result r = play_run(items, n, s->loses_invlpg);
    return r.failed && r.rule == s->rule;
}

/* Every operation on the first page of its part. => it still fails. */
static bool shrink_all_numbers(struct play_op *ops, unsigned n, struct shrinking *s)
{
    struct play_op *small = test_pages(bytes_to_pages_up(n * sizeof *ops).v);
    bool fails = false;
    if (small != NULL) {
        memcpy(small, ops, n * sizeof *ops);
        for (unsigned i = 0; i < n; i++) {
            small[i].first = 0;
            small[i].pages = 1;
        }
        fails = still_fails(s, small, n);
        memcpy(ops, fails ? small : ops, n * sizeof *ops);
    }
    return fails;
}

/* One operation with fewer pages, from either end, where the history still fails. => it became smaller. */
static bool shrink_op(struct play_op *ops, unsigned n, unsigned i, struct shrinking *s)
{
    const struct play_op old = ops[i];
    const uint16_t half = old.pages / 2;
    const struct {
        uint16_t first, pages;
    } simpler[] = {
        {old.first, 1},
        {(uint16_t)(old.first + old.pages - 1), 1},
        {old.first, half},
        {(uint16_t)(old.first + half), (uint16_t)(old.pages - half)},
        {(uint16_t)(old.first + 1), (uint16_t)(old.pages - 1)},
        {old.first, (uint16_t)(old.pages - 1)},
    };
    for (unsigned k = 0; k < ARRAY_LEN(simpler) && old.pages > 1; k++) {
        ops[i].first = simpler[k].first;
        ops[i].pages = simpler[k].pages;
        if (ops[i].pages > 0 && ops[i].pages < old.pages && still_fails(s, ops, n)) {
            return true;
        }
    }
    ops[i] = old;
    return false;
}

static bool shrink_numbers(struct play_op *ops, unsigned n, struct shrinking *s)
{
    bool smaller = false;
    for (unsigned i = 0; i < n; i++) {
        while (shrink_op(ops, n, i, s)) {
            smaller = true;
        }
    }
    return smaller;
}

unsigned play_shrink(struct play_op *ops, unsigned n, bool (*loses_invlpg)(vaddr_t va))
{
    struct play_result r = play_run(ops, n, loses_invlpg);
    struct shrinking s = {r.rule, loses_invlpg};
    n = r.failed && r.at + 1 < n ? r.at + 1 : n;
    if (r.failed) {
        n = shrink_list(ops, n, sizeof *ops, still_fails, &s);
        while (!shrink_all_numbers(ops, n, &s) && shrink_numbers(ops, n, &s)) {
            n = shrink_list(ops, n, sizeof *ops, still_fails, &s);
        }
    }
    return n;
}

void play_print(const struct play_op *ops, unsigned n, const struct play_result *result)
{
    static const char *const names[PLAY_KINDS] = {"PLAY_MAP",    "PLAY_MAP_FRAMES", "PLAY_UNMAP",  "PLAY_PROTECT",
                                                  "PLAY_CLEAR",  "PLAY_USE",        "PLAY_SWITCH", "PLAY_RENEW",
                                                  "PLAY_KERNEL", "PLAY_WINDOW"};
    test_note("operation %u: %s", result->at, result->text);
    test_note("static const struct play_op failing[] = { /* kind, space, part, rights, first, pages */");
    for (unsigned i = 0; i < n; i++) {
        test_note("    {%s, %u, %u, %#x, %u, %u},", names[ops[i].kind % PLAY_KINDS], ops[i].space, ops[i].part,
                  ops[i].rights, ops[i].first, ops[i].pages);
    }
    test_note("};");
}
