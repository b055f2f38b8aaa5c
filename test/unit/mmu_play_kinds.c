/* Device frames, kernel pages and global pages in histories. */
#include "unit/mmu_play_kinds.h"

#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/test.h"

enum { RW = VMM_READ | VMM_WRITE, PART_FRAMES = 1024, FRAMES = PLAY_PARTS * PART_FRAMES, GLOBAL_PLACES = 2 };

static const pfn_t device = {0xF0000};

/*
 * What must hold of frames: a type for each while it, or one that it hangs together with by frames of its type, is
 * mapped. Said once more, without ranges.
 */
static struct {
    unsigned type[FRAMES]; /* VMM_*; write-back: VMM_READ */
    uint16_t mapped[FRAMES];
} frames;

static struct global_place {
    vaddr_t va;
    uint64_t pages; /* 0: none */
    uint64_t number;
    bool writable;
} global[GLOBAL_PLACES];

static unsigned moves;

void play_kinds_start(void)
{
    memset(&frames, 0, sizeof frames);
    memset(global, 0, sizeof global);
}

/* ---- Devices ---- */

/* One kind of operation in four asks for the frames of the next part, with its own part's type. */
static unsigned first_of(const struct play_op *op)
{
    unsigned part = (op->rights & VMM_EXECUTE) != 0 ? op->part + 1U : op->part;
    return part % PLAY_PARTS * PART_FRAMES + op->first;
}

pfn_t play_device_first(const struct play_op *op) { return pfn_add(device, first_of(op)); }

unsigned play_device_type(const struct play_op *op)
{
    static const unsigned types[PLAY_PARTS] = {VMM_WRITE_COMBINING, VMM_UNCACHED, 0};
    return types[op->part % PLAY_PARTS];
}

enum status play_device_expected(const struct vmm *vmm, const struct play_op *op)
{
    const unsigned first = first_of(op), type = play_device_type(op) | VMM_READ;
    bool touches = first > 0 && frames.type[first - 1] == type;
    for (unsigned i = first; i < first + op->pages; i++) {
        if (frames.type[i] != 0 && frames.type[i] != type) {
            return STATUS_CONFLICT;
        }
        touches = touches || frames.type[i] != 0;
    }
    touches = touches || (first + op->pages < FRAMES && frames.type[first + op->pages] == type);
    return !touches && vmm->cache.count == VMM_CACHE_RANGES ? STATUS_LIMIT : STATUS_OK;
}

void play_device_mapped(const struct play_op *op, unsigned i, struct page_record *page)
{
    page->frame = (uint16_t)(first_of(op) + i);
    frames.type[page->frame] = play_device_type(op) | VMM_READ;
    frames.mapped[page->frame]++;
}

void play_device_unmapped(const struct page_record *page)
{
    if (!page->device || --frames.mapped[page->frame] > 0) {
        return;
    }
    const unsigned type = frames.type[page->frame];
    unsigned first = page->frame, end = page->frame, mapped = 0;
    while (first > 0 && frames.type[first - 1] == type) {
        first--;
    }
    for (end = first; end < FRAMES && frames.type[end] == type; end++) {
        mapped += frames.mapped[end];
    }
    for (unsigned i = first; i < end && mapped == 0; i++) {
        frames.type[i] = 0;
    }
}

/* ---- The kernel half ---- */

/* The last page of all, of each window, and of the slots kept for more of them. */
const char *play_window(struct vmm *vmm, struct space *space, const struct play_op *op)
{
    static const unsigned slots[] = {LAYOUT_SLOT_FOREIGN, LAYOUT_SLOT_SELF, LAYOUT_SLOT_BANK_FIRST};
    const vaddr_t va = vaddr_add_pages(vaddr(LAYOUT_SLOT_BASE(slots[op->part % ARRAY_LEN(slots)])), op->first);
    struct vmm_walk w;
    const bool refused = vmm_map(vmm, &vmm->kernel, va, npages(1), VMM_READ) == STATUS_RANGE &&
                         vmm_map(vmm, space, va, npages(op->pages), op->rights) == STATUS_RANGE &&
                         vmm_translate(vmm, space, va, &w) == STATUS_RANGE;
    return refused ? NULL : "a page of a window is not refused";
}

/* Of those of spaces 1 and 2 all are pooled but four with guards: the pool serves no such. */
const char *play_kernel(struct vmm *vmm, vaddr_t *base, const struct play_op *op)
{
    if (base->v != 0) {
        enum status s = kpages_free(vmm, *base);
        base->v = 0;
        return s == STATUS_OK ? NULL : "kpages_free gives a wrong answer";
    }
    const bool pooled = op->space != 0, zeroed = (op->rights & VMM_WRITE) == 0;
    const npages_t pages = npages(!pooled ? op->pages : op->pages % 2 != 0 ? 1 : 4);
    const unsigned flags = (zeroed ? KPAGES_ZEROED : KPAGES_GUARDED) | (pooled ? KPAGES_POOLED : 0U);
    enum status s = kpages_alloc(vmm, pages, ARENA_ALIGN_PAGE, flags, "play", base);
    if (s != STATUS_OK) {
        base->v = 0;
        return s == STATUS_NOMEM ? NULL : "kpages_alloc gives a wrong answer";
    }
    const vaddr_t last = vaddr_add_pages(*base, pages.v - 1);
    if (zeroed && (arch_read64(*base) | arch_read64(last)) != 0) {
        return "kernel pages are not zeroed";
    }
    arch_write64(*base, 1);
    arch_write64(last, 1);
    return NULL;
}

/* By somebody else: the model need not remember for ever what may be global. What was freed has been judged. */
static void flush_all_cpus(void)
{
    struct model *m = model_machine;
    const unsigned self = m->current_cpu;
    for (unsigned cpu = 0; cpu < MODEL_CPUS; cpu++) {
        model_use_cpu(m, cpu);
        if (model_has_global_pages(m)) {
            model_global_pages(m, false);
            model_global_pages(m, true);
        }
    }
    model_use_cpu(m, self);
}

static const char *map_global(struct vmm *vmm, struct global_place *place, const struct play_op *op)
{
    const npages_t n = npages(op->pages);
    enum status s = arena_alloc(&vmm->arena, n, ARENA_ALIGN_PAGE, "play", &place->va);
    if (s != STATUS_OK) {
        return s == STATUS_NOMEM ? NULL : "arena_alloc gives a wrong answer";
    }
    s = vmm_map(vmm, &vmm->kernel, place->va, n, RW | VMM_GLOBAL);
    if (s != STATUS_OK) {
        s = s == STATUS_NOMEM ? arena_free(&vmm->arena, place->va) : s;
        return s == STATUS_OK ? NULL : "vmm_map of global pages gives a wrong answer";
    }
    place->pages = n.v;
    place->writable = true;
    place->number = 0;
    return NULL;
}

const char *play_global(struct vmm *vmm, const struct play_op *op)
{
    struct global_place *place = &global[op->part % GLOBAL_PLACES];
    const npages_t n = npages(place->pages);
    if (place->pages == 0) {
        return map_global(vmm, place, op);
    }
    if ((op->rights & VMM_WRITE) == 0) {
        place->pages = 0;
        enum status s = vmm_unmap(vmm, &vmm->kernel, place->va, n);
        s = s == STATUS_OK ? arena_free(&vmm->arena, place->va) : s;
        flush_all_cpus();
        return s == STATUS_OK ? NULL : "the end of global pages gives a wrong answer";
    }
    if (place->writable) {
        arch_write64(vaddr_add_pages(place->va, place->pages - 1), ++place->number);
    }
    place->writable = !place->writable;
    enum status s = vmm_protect(vmm, &vmm->kernel, place->va, n, place->writable ? RW : VMM_READ);
    return s == STATUS_OK ? NULL : "vmm_protect of global pages gives a wrong answer";
}

const char *play_global_read(void)
{
    for (unsigned i = 0; i < GLOBAL_PLACES; i++) {
        const struct global_place *place = &global[i];
        if (place->pages > 0 && arch_read64(vaddr_add_pages(place->va, place->pages - 1)) != place->number) {
            return "a global page holds something else";
        }
    }
    return NULL;
}

/* ---- Moving ---- */

static bool all_mapped(const struct page_record *page, unsigned n, bool mapped)
{
    for (unsigned i = 0; i < n; i++) {
        if (page[i].mapped != mapped) {
            return false;
        }
    }
    return true;
}

const char *play_move(struct vmm *vmm, struct space *space, const struct play_op *op,
                      struct page_record (*page)[PLAY_PART_PAGES], const uint64_t *part_base)
{
    const unsigned n = op->pages, part = (0U + op->part + op->rights) % PLAY_PARTS;
    const unsigned first = (op->first * 5U + n) % (PLAY_PART_PAGES - n + 1);
    struct page_record *from = &page[op->part][op->first], *to = &page[part][first];
    const bool overlap = part == op->part && first < op->first + n && op->first < first + n;
    const enum status expected = overlap                      ? STATUS_INVALID
                                 : !all_mapped(to, n, false)  ? STATUS_EXISTS
                                 : !all_mapped(from, n, true) ? STATUS_ABSENT
                                                              : STATUS_OK;
    const enum status s = vmm_move(vmm, space, vaddr_add_pages(vaddr(part_base[op->part]), op->first),
                                   vaddr_add_pages(vaddr(part_base[part]), first), npages(n));
    for (unsigned i = 0; s == STATUS_OK && expected == STATUS_OK && i < n; i++) {
        const struct page_record marked = to[i]; /* while it was moved */
        to[i] = from[i];
        to[i].accessed = to[i].accessed || marked.accessed;
        to[i].dirty = to[i].dirty || marked.dirty;
        from[i] = (struct page_record){0};
    }
    moves += s == STATUS_OK;
    const bool is_short = s == STATUS_NOMEM && (expected == STATUS_OK || expected == STATUS_ABSENT);
    return s == expected || is_short ? NULL : "vmm_move gives a wrong answer";
}

unsigned play_moves(void) { return moves; }
