/*
 * Histories that unmap and protect what is there of a range, and map frames for copy on write: the zero frame, and
 * those that another place has. The plain model is that of mmu_play_pages.h; a copy names the object of what it copies.
 */
#include "unit/mmu_play_some.h"

#include "unit/mmu_play_kinds.h"
#include "unit/mmu_play_pages.h"
#include "unit/test.h"
#include "vmm/entry.h"

/* ---- Pages of their own ---- */

void play_change_page(const struct play_op *op, struct page_record *page)
{
    if (op->kind == PLAY_UNMAP) {
        play_device_unmapped(page);
        *page = (struct page_record){0};
    }
    page->rights = op->kind == PLAY_UNMAP ? 0 : op->rights;
}

const char *play_present(struct vmm *vmm, struct space *space, vaddr_t va, const struct play_op *op,
                         struct page_record *page)
{
    enum status s = op->kind == PLAY_UNMAP ? vmm_unmap_present(vmm, space, va, npages(op->pages))
                                           : vmm_protect_present(vmm, space, va, npages(op->pages), op->rights);
    for (unsigned i = 0; i < op->pages; i++) {
        if (page[i].mapped) {
            play_change_page(op, &page[i]);
        }
    }
    return s == STATUS_OK ? NULL : "an edit of what is mapped gives a wrong answer";
}

const char *play_leaf(struct vmm *vmm, struct space *space, vaddr_t va, const struct vmm_walk *w)
{
    pte_t leaf = {0};
    enum status s = vmm_leaf(vmm, space, va, &leaf);
    bool ok = s == STATUS_OK && pte_is_present(leaf) == w->present;
    if (ok && w->present) {
        ok = pte_pfn(leaf).v == paddr_to_pfn(w->address).v &&
             ((leaf.v & PTE_W) != 0) == ((w->rights & VMM_WRITE) != 0) &&
             ((leaf.v & PTE_XD) == 0) == ((w->rights & VMM_EXECUTE) != 0);
    }
    return ok ? NULL : "vmm_leaf says something else than vmm_translate";
}

/* ---- Pages whose tables are shared ---- */

/* How much of a region an operation is about: pages of a part, all of it, all of the region. */
struct extent {
    unsigned region;
    unsigned first_part, end_part;
    unsigned first, end; /* pages of each part */
    vaddr_t va;
    npages_t pages;
};

static struct extent extent_of(const struct play_op *op)
{
    const unsigned region = op->part / PARTS % REGIONS, part = op->part % PARTS, first = op->first % PAGES;
    const unsigned n = op->pages < PAGES - first ? op->pages : PAGES - first, kind = op->first / PAGES % 4;
    const struct place at = {op->space, region, part}, start = {op->space, region, 0};
    if (kind == 3) {
        return (struct extent){region, 0, PARTS, 0, PAGES, play_page_address(&start, 0),
                               npages((uint64_t)PART_PAGES * TABLE_ENTRIES)};
    }
    if (kind == 2) {
        return (struct extent){region, part, part + 1, 0, PAGES, play_page_address(&at, 0), npages(PART_PAGES)};
    }
    return (struct extent){region, part, part + 1, first, first + n, play_page_address(&at, first),
                           play_pages(first, n)};
}

static unsigned count_mapped(const struct place *at, const struct extent *e)
{
    unsigned mapped = 0;
    for (unsigned i = e->first; i < e->end; i++) {
        mapped += play_mapping_at(at, i)->mapped;
    }
    return mapped;
}

/* What the call must answer, as far as this part is concerned. */
static enum status expected_of(const struct place *at, const struct extent *e, bool unmaps)
{
    const struct vmm_walk w = play_walk_of(at, 0);
    const bool whole_part = e->first == 0 && e->end == PAGES,
               whole_region = e->pages.v == (uint64_t)PART_PAGES * TABLE_ENTRIES;
    if (count_mapped(at, e) == 0) {
        return STATUS_OK;
    }
    if (play_is_closed(at)) {
        const bool by_directory = pte_is_present(w.entry[3]) && entry_is_closed(w.entry[3]);
        const bool goes = unmaps && play_loan_of(at) == NULL && (by_directory ? whole_region : whole_part);
        return goes ? STATUS_OK : STATUS_SHARED;
    }
    return w.level == 2 && w.present && entry_is_lent(w.entry[3]) && !whole_part ? STATUS_SHARED : STATUS_OK;
}

static unsigned with_name(unsigned rights)
{
    const unsigned both = VMM_WRITE | VMM_EXECUTE;
    return (rights & both) == both ? rights | VMM_WRITE_EXECUTE : rights;
}

static unsigned edit_some(const struct play_op *op)
{
    const struct extent e = extent_of(op);
    const bool unmaps = op->kind == PLAY_SOME_UNMAP;
    enum status expected = STATUS_OK;
    unsigned changed = 0;
    for (unsigned part = e.first_part; part < e.end_part; part++) {
        const struct place at = {op->space, e.region, part};
        expected = expected == STATUS_OK ? expected_of(&at, &e, unmaps) : expected;
    }
    struct space *space = &play_shared.space[op->space];
    enum status s = unmaps ? vmm_unmap_present(play_shared.vmm, space, e.va, e.pages)
                           : vmm_protect_present(play_shared.vmm, space, e.va, e.pages, with_name(op->rights));
    play_expect(s, expected, unmaps ? "vmm_unmap_present" : "vmm_protect_present");
    for (unsigned part = e.first_part; part < e.end_part && s == STATUS_OK; part++) {
        for (unsigned i = e.first; i < e.end; i++) {
            struct mapping *m = &play_shared.map[op->space][e.region][part][i];
            changed += m->mapped;
            if (unmaps) {
                *m = (struct mapping){0};
            } else if (m->mapped) {
                m->rights = op->rights;
            }
        }
    }
    return changed;
}

/* It is made when it is first wanted. */
static pfn_t zero_frame(void)
{
    pfn_t frame = {0};
    struct vmm *vmm = play_shared.vmm;
    if (pmm_zero_frame(vmm->pmm, &frame) != STATUS_OK) {
        enum status s = pmm_alloc(vmm->pmm, PMM_KERNEL, &frame);
        s = s == STATUS_OK ? frame_zero(vmm, frame) : s;
        s = s == STATUS_OK ? pmm_zero_frame_set(vmm->pmm, frame) : s;
        play_expect(s, STATUS_OK, "making the zero frame");
    }
    return frame;
}

/* A page shows, for copy on write, the zero frame or what a page of another place has. */
static unsigned map_copy(const struct play_op *op)
{
    const unsigned first = op->first % PAGES, more = op->first / PAGES;
    const struct place at = {op->space, op->part / PARTS % REGIONS, op->part % PARTS};
    const struct place from = {(op->space + more / 2) % PLAY_SPACES, more / 3 % REGIONS, more / 6 % PARTS};
    const unsigned source_page = (first + op->pages) % (PAGES - 1), page = first < PAGES - 1 ? first : 0;
    struct mapping source = {.object = play_new_object(0)};
    pfn_t frame = zero_frame();
    if (more % 2 == 0) {
        const struct vmm_walk w = play_walk_of(&from, source_page);
        const struct place owner = play_resolve(&from);
        struct mapping *m = play_mapping_at(&owner, source_page);
        if (!m->mapped || m->device) {
            return 0;
        }
        play_settle(&owner, source_page);
        source = *m;
        frame = paddr_to_pfn(w.address);
    }
    const bool closed = play_is_closed(&at), mapped = play_mapping_at(&at, page)->mapped;
    enum status s = vmm_map_frames(play_shared.vmm, space_at(&at), play_page_address(&at, page), frame, npages(1),
                                   with_name(op->rights) | VMM_COPY, true);
    play_expect(s, closed ? STATUS_SHARED : mapped ? STATUS_EXISTS : STATUS_OK, "a map for copy on write");
    if (s == STATUS_OK) {
        *play_mapping_at(&at, page) =
            (struct mapping){.mapped = true, .cow = true, .rights = op->rights, .object = source.object};
    }
    return s == STATUS_OK;
}

struct play_op play_some_draw(struct rng *rng, uint8_t current)
{
    static const uint8_t kinds[] = {PLAY_SOME_UNMAP, PLAY_SOME_PROTECT, PLAY_SOME_COPY, PLAY_SOME_COPY};
    static const uint8_t rights[] = {VMM_READ, VMM_READ | VMM_WRITE, VMM_READ | VMM_WRITE, VMM_READ | VMM_EXECUTE,
                                     VMM_READ | VMM_WRITE | VMM_EXECUTE};
    const bool here = current < PLAY_SPACES && rng_below(rng, 2) == 0;
    return (struct play_op){
        .kind = kinds[rng_below(rng, ARRAY_LEN(kinds))],
        .space = here ? current : (uint8_t)rng_below(rng, PLAY_SPACES),
        .part = (uint8_t)rng_below(rng, REGIONS * PARTS),
        .rights = rights[rng_below(rng, ARRAY_LEN(rights))],
        .first = (uint16_t)rng_below(rng, DRAWN),
        .pages = (uint16_t)(1 + rng_below(rng, PAGES)),
    };
}

unsigned play_some_run(const struct play_op *op)
{
    return op->kind == PLAY_SOME_COPY ? map_copy(op) : edit_some(op);
}

const char *play_some_name(unsigned kind)
{
    static const char *const names[] = {"PLAY_SOME_UNMAP", "PLAY_SOME_PROTECT", "PLAY_SOME_COPY"};
    return names[(kind - PLAY_SOME_UNMAP) % ARRAY_LEN(names)];
}
