/*
 * Kernel pages: a range of the kernel arena, frames behind it, and guards, which are pages of the range that are
 * never mapped.
 */
#include "vmm/kpages.h"

#include "arch/layout.h"
#include "lib/report.h"
#include "vmm/kmap.h"
#include "vmm/map.h"
#include "vmm/map_steps.h"

/*
 * The arena keeps a number for its owner with each range: ours says that kernel pages are behind it, and whether
 * guards are; or that it is a span of the pool of single pages, which knows them.
 */
enum range_kind { RANGE_PLAIN, RANGE_OPEN, RANGE_GUARDED, RANGE_POOL };

enum { KMAP_FRAMES_MAX = 3 };

/* What one table of pages maps is left out: large ranges lie at the high end, and the PMM's array comes next. */
#define ARENA_END (LAYOUT_KERNEL_END - level_span_bytes(2))

/*
 * Promise what node page `page` needs. Who is asked for memory may use the arena, and so be the one who gets this page:
 * then there is another. => how many frames; 0: memory is short.
 */
static npages_t promise_node_page(struct vmm *vmm, vaddr_t *page)
{
    for (;;) {
        *page = vmm->node_next;
        if (page->v >= LAYOUT_ARENA_BASE) {
            report(REPORT_NOTE, "the kernel arena's nodes fill everything below LAYOUT_ARENA_BASE");
            return npages(0);
        }
        npages_t missing = kmap_missing(*page);
        if (missing.v == 0 || missing.v > KMAP_FRAMES_MAX || pmm_promise(vmm->pmm, missing) != STATUS_OK) {
            return npages(0);
        }
        if (vmm->node_next.v == page->v) {
            return missing;
        }
        if (pmm_unpromise(vmm->pmm, missing) != STATUS_OK) {
            return npages(0);
        }
    }
}

/*
 * The next page for the arena's nodes: frames for it and its tables from the PMM, mapped like the PMM's own (kmap.h).
 */
static void *more_nodes(void *ctx)
{
    struct vmm *vmm = ctx;
    vaddr_t page;
    npages_t missing = promise_node_page(vmm, &page);
    if (missing.v == 0) {
        return NULL;
    }
    pfn_t frames[KMAP_FRAMES_MAX];
    for (uint64_t i = 0; i < missing.v; i++) {
        frames[i] = frame_take(vmm, PMM_KERNEL);
    }
    if (kmap_back(page, frames, missing) != STATUS_OK) {
        report(REPORT_CORRUPT, "page %#lx for arena nodes could not be mapped: %lu frames are lost", page.v, missing.v);
        return NULL;
    }
    vmm->node_next = vaddr_add_pages(page, 1);
    vmm->node_pages.v += missing.v;
    return vmm->pointer(page);
}

enum status kernel_arena_init(struct vmm *vmm)
{
    struct arena_source source = {.ctx = vmm, .more = more_nodes};
    return arena_init(&vmm->arena, vaddr(LAYOUT_ARENA_BASE), vaddr(ARENA_END), source);
}

static uint64_t guard_pages(bool guarded) { return guarded ? KPAGES_GUARD_PAGES : 0; }

enum status kpages_range_get(struct vmm *vmm, npages_t pages, unsigned align_log2, bool guarded, const char *tag,
                             vaddr_t *range)
{
    const uint64_t guard = guard_pages(guarded);
    struct arena_request request = {
        .pages = npages(guard + pages.v + guard),
        .align_log2 = align_log2,
        .lead = npages(guard),
        .tag = tag,
        .kind = guarded ? RANGE_GUARDED : RANGE_OPEN,
    };
    return arena_request(&vmm->arena, &request, range);
}

/* The first page's, with guards beside them or not; the pool's if it may be asked and has such. */
static enum status addresses_get(struct vmm *vmm, npages_t pages, unsigned align_log2, unsigned flags, const char *tag,
                                 vaddr_t *first)
{
    const bool guarded = (flags & KPAGES_GUARDED) != 0;
    const enum page_pool_kind kind = page_pool_kind_for(pages, align_log2, guarded);
    if ((flags & KPAGES_POOLED) != 0 && kind != PAGE_POOL_KINDS) {
        if (vmm->pool.arena == NULL) {
            page_pool_init(&vmm->pool, &vmm->arena, tag, RANGE_POOL);
        }
        if (page_pool_get(&vmm->pool, kind, first) == STATUS_OK) {
            return STATUS_OK;
        }
    }
    vaddr_t range;
    const enum status s = kpages_range_get(vmm, pages, align_log2, guarded, tag, &range);
    if (s == STATUS_OK) {
        *first = vaddr_add_pages(range, guard_pages(guarded));
    }
    return s;
}

enum status kpages_addresses_put(struct vmm *vmm, vaddr_t first, uint64_t guard)
{
    const enum status s = page_pool_put(&vmm->pool, first);
    return s != STATUS_ABSENT ? s : arena_free(&vmm->arena, vaddr(first.v - pages_to_bytes(npages(guard))));
}

enum status kpages_alloc(struct vmm *vmm, npages_t pages, unsigned align_log2, unsigned flags, const char *tag,
                         vaddr_t *base)
{
    const unsigned known = KPAGES_GUARDED | KPAGES_ZEROED | KPAGES_LARGE | KPAGES_POOLED;
    const unsigned rights = VMM_READ | VMM_WRITE;
    const uint64_t arena_pages = bytes_to_pages_down(ARENA_END - LAYOUT_ARENA_BASE).v;
    if (pages.v == 0 || (flags & ~known) != 0 || tag == NULL) {
        return STATUS_INVALID;
    }
    if (pages.v > arena_pages) {
        return STATUS_NOMEM;
    }
    vaddr_t first;
    enum status s = addresses_get(vmm, pages, align_log2, flags, tag, &first);
    if (s != STATUS_OK) {
        return s;
    }
    const bool zeroed = (flags & KPAGES_ZEROED) != 0;
    s = (flags & KPAGES_LARGE) != 0 ? map_fresh_flagged(vmm, &vmm->kernel, first, pages, rights | VMM_LARGE, zeroed)
                                    : map_fresh(vmm, &vmm->kernel, first, pages, rights, zeroed);
    if (s != STATUS_OK) {
        /* Never needs memory, and they are ours. */
        enum status undone = kpages_addresses_put(vmm, first, guard_pages((flags & KPAGES_GUARDED) != 0));
        return undone == STATUS_OK ? s : STATUS_CORRUPT;
    }
    *base = first;
    return STATUS_OK;
}

bool kpages_range_at(const struct vmm *vmm, vaddr_t va, struct kpages_range *out)
{
    struct arena_range *range = &out->range;
    struct page_pool_piece piece;
    if (page_pool_find(&vmm->pool, va, &piece)) {
        out->guard = guard_pages(piece.apart);
        out->pages = piece.pages;
        *range = (struct arena_range){
            .base = vaddr(piece.base.v - pages_to_bytes(npages(out->guard))),
            .pages = npages(out->guard + piece.pages.v + out->guard),
            .tag = vmm->pool.tag,
            .kind = RANGE_POOL,
        };
        return true;
    }
    const bool is_range = arena_find(&vmm->arena, va, range) && range->tag != NULL;
    if (!is_range || (range->kind != RANGE_OPEN && range->kind != RANGE_GUARDED)) {
        return false;
    }
    out->guard = guard_pages(range->kind == RANGE_GUARDED);
    out->pages = npages(range->pages.v - out->guard - out->guard);
    return true;
}

bool kpages_range_is_pooled(const struct kpages_range *r) { return r->range.kind == RANGE_POOL; }

bool kpages_range_of(const struct vmm *vmm, vaddr_t base, const char *call, struct kpages_range *out)
{
    if (!kpages_range_at(vmm, base, out) || base.v != vaddr_add_pages(out->range.base, out->guard).v) {
        (void)misuse("%s: %#lx is not the base of kernel pages", call, base.v);
        return false;
    }
    return true;
}

enum status kpages_free(struct vmm *vmm, vaddr_t base)
{
    struct kpages_range r;
    if (!kpages_range_of(vmm, base, "kpages_free", &r)) {
        return STATUS_MISUSE;
    }
    enum status s = vmm_unmap(vmm, &vmm->kernel, base, r.pages);
    if (s != STATUS_OK) {
        return misuse("kpages_free: the %lu pages at %#lx are not all mapped: %s", r.pages.v, base.v, status_name(s));
    }
    return kpages_addresses_put(vmm, base, r.guard);
}

bool kpages_find(const struct vmm *vmm, vaddr_t va, struct kpages_info *out)
{
    struct kpages_range r;
    if (!kpages_range_at(vmm, va, &r)) {
        return false;
    }
    uint64_t page = vaddr_page_number(va) - vaddr_page_number(r.range.base);
    *out = (struct kpages_info){
        .base = vaddr_add_pages(r.range.base, r.guard),
        .pages = r.pages,
        .above = page >= r.guard + r.pages.v,
        .tag = r.range.tag,
    };
    out->in_guard = page < r.guard || out->above;
    return true;
}
