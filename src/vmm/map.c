/* Mapping: look, promise, link (walk.c sections 3 to 6). */
#include "vmm/map.h"

#include "lib/macros.h"
#include "vmm/request.h"
#include "vmm/walk.h"

/* Is the part of a range behind one PT free? => OK; EXISTS. */
static enum status look_at_leaves(struct cursor *c)
{
    unsigned count = cursor_count(c);
    if (count == 0) {
        return STATUS_OK;
    }
    if (count + c->pages > TABLE_ENTRIES) {
        return STATUS_EXISTS; /* more pages than free entries; whole PTs are decided here without a load */
    }
    vaddr_t entry = cursor_leaves(c);
    for (uint64_t i = 0; i < c->pages; i++) {
        if (pte_is_present(cursor_leaf(c, vaddr_add(entry, i * ENTRY_BYTES), false))) {
            return STATUS_EXISTS;
        }
    }
    return STATUS_OK;
}

/* Is the range free, and how many tables does it need? => OK; EXISTS; CORRUPT. */
static enum status look(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, npages_t *tables)
{
    struct cursor c;
    cursor_start(&c, CURSOR_LOOK, vmm, space, va, pages.v);
    tables->v = 0;
    while (cursor_next(&c)) {
        if (cursor_is_corrupt(&c)) {
            return STATUS_CORRUPT;
        }
        if (cursor_is_large(&c)) {
            return STATUS_EXISTS;
        }
        if (c.level > 1) {
            tables->v += cursor_missing_tables(&c);
        } else if (look_at_leaves(&c) != STATUS_OK) {
            return STATUS_EXISTS;
        }
    }
    return STATUS_OK;
}

/* What the leaves of a mapping are made of. */
struct fill {
    bool fresh;        /* frames of its own, promised, else `next` and those after it */
    bool zeroed;       /* fresh ones: zero them first */
    unsigned class;    /* of fresh ones */
    pfn_t next;
    uint64_t bits;
};

static pfn_t fill_next(struct vmm *vmm, struct fill *f)
{
    if (f->fresh) {
        return f->zeroed ? frame_take_zeroed(vmm, f->class) : frame_take(vmm, f->class);
    }
    pfn_t frame = f->next;
    f->next = pfn_add(frame, 1);
    return frame;
}

/* The half that cannot fail: everything it needs has been promised. */
static void link_all(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, struct fill *f)
{
    struct cursor c;
    cursor_start(&c, CURSOR_CHANGE, vmm, space, va, pages.v);
    while (cursor_next(&c)) {
        cursor_make_tables(&c);
        vaddr_t entry = cursor_leaves(&c);
        for (uint64_t i = 0; i < c.pages; i++) {
            cursor_leaf_store(&c, vaddr_add(entry, i * ENTRY_BYTES), pte_make(fill_next(vmm, f), f->bits));
        }
        cursor_count_change(&c, (int)c.pages);
    }
    space->pages.v += pages.v;
}

enum status map_fresh(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, unsigned rights, bool zeroed)
{
    npages_t tables;
    enum status s = look(vmm, space, va, pages, &tables);
    if (s == STATUS_OK) {
        s = pmm_promise(vmm->pmm, npages(pages.v + tables.v));
    }
    if (s != STATUS_OK) {
        return s;
    }
    struct fill f = {
        .fresh = true,
        .zeroed = zeroed,
        .class = is_kernel_half(va) ? PMM_KERNEL : PMM_USER,
        .bits = PTE_P | PTE_OWNED | rights_to_bits(rights),
    };
    link_all(vmm, space, va, pages, &f);
    return STATUS_OK;
}

enum status vmm_map(struct vmm *vmm, struct space *space, vaddr_t va, npages_t pages, unsigned rights)
{
    enum status s = request_check(vmm, space, va, pages, "vmm_map");
    if (s == STATUS_OK) {
        s = request_check_rights(va, rights);
    }
    return s == STATUS_OK ? map_fresh(vmm, space, va, pages, rights, true) : s;
}

static void release_all(struct vmm *vmm, pfn_t first, uint64_t frames)
{
    for (uint64_t i = 0; i < frames; i++) {
        enum status s = pmm_release(vmm->pmm, pfn_add(first, i), NULL);
        ASSERT(s == STATUS_OK); /* retained by retain_all just before */
        (void)s;
    }
}

/* One reference for each of [first, first + pages), all or none. */
static enum status retain_all(struct vmm *vmm, pfn_t first, npages_t pages)
{
    for (uint64_t i = 0; i < pages.v; i++) {
        enum status s = pmm_retain(vmm->pmm, pfn_add(first, i));
        if (s != STATUS_OK) {
            release_all(vmm, first, i);
            return s;
        }
    }
    return STATUS_OK;
}

enum status vmm_map_frames(struct vmm *vmm, struct space *space, vaddr_t va, pfn_t first, npages_t pages,
                           unsigned rights, bool own)
{
    uint64_t cache = (rights & VMM_WRITE_COMBINING) != 0 ? PTE_CACHE_WC : 0;
    enum status s = request_check(vmm, space, va, pages, "vmm_map_frames");
    if (s == STATUS_OK) {
        s = own && cache != 0 ? STATUS_INVALID : request_check_rights(va, rights & ~(unsigned)VMM_WRITE_COMBINING);
    }
    if (s != STATUS_OK) {
        return s;
    }
    const uint64_t frames_end = paddr_to_pfn(paddr(PTE_FRAME_MASK)).v + 1;
    if (first.v >= frames_end || pages.v > frames_end - first.v) {
        return STATUS_RANGE;
    }
    npages_t tables;
    s = look(vmm, space, va, pages, &tables);
    if (s == STATUS_OK && own) {
        s = retain_all(vmm, first, pages);
    }
    if (s != STATUS_OK) {
        return s;
    }
    s = pmm_promise(vmm->pmm, tables);
    if (s != STATUS_OK) {
        if (own) {
            release_all(vmm, first, pages.v);
        }
        return s;
    }
    struct fill f = {.next = first, .bits = PTE_P | (own ? PTE_OWNED : 0) | cache | rights_to_bits(rights)};
    link_all(vmm, space, va, pages, &f);
    return STATUS_OK;
}
