/* Accessed and dirty in histories: dirty is known exactly, accessed at least: walks set it that nobody asked for. */
#include "unit/mmu_play_marks.h"

#include "unit/test.h"
#include "vmm/vmm_marks.h"

static struct {
    const struct space *space;
    struct page_record (*page)[PLAY_PARTS][PLAY_PART_PAGES];
    const uint64_t *part_base;
    struct rng rng;
} all;

/* The record of the page whose leaf this is; null: none. */
static struct page_record *record_of(struct model *m, pfn_t table, unsigned index)
{
    const paddr_t entry = paddr(pfn_to_paddr(table).v + index * (uint64_t)ENTRY_BYTES);
    for (unsigned i = 0; i < PLAY_SPACES * PLAY_PARTS; i++) {
        const unsigned part = i % PLAY_PARTS;
        struct page_record *page = all.page[i / PLAY_PARTS][part];
        const vaddr_t base = vaddr(all.part_base[part]);
        for (unsigned n = (index - table_index(base, 1)) % TABLE_ENTRIES; n < PLAY_PART_PAGES; n += TABLE_ENTRIES) {
            if (page[n].mapped &&
                model_entry_at(m, all.space[i / PLAY_PARTS].root, vaddr_add_pages(base, n), 1).v == entry.v) {
                return &page[n];
            }
        }
    }
    return NULL;
}

/* One time in four: read there, and where it may be, written to. */
static void mark_between(struct model *m, pfn_t table, unsigned index, pte_t *entry)
{
    if (!pte_is_present(*entry) || rng_below(&all.rng, 4) != 0) {
        return;
    }
    struct page_record *page = record_of(m, table, index);
    entry->v |= PTE_A;
    if (page != NULL) {
        page->accessed = true;
    }
    if (page != NULL && (entry->v & PTE_W) != 0) {
        entry->v |= PTE_D;
        page->dirty = true;
    }
}

void play_marks_start(struct model *m, const struct space *spaces,
                      struct page_record (*page)[PLAY_PARTS][PLAY_PART_PAGES], const uint64_t *part_base)
{
    all.space = spaces;
    all.page = page;
    all.part_base = part_base;
    all.rng = rng_seeded(1);
    m->before_replace = mark_between;
}

const char *play_marks(struct vmm *vmm, struct space *space, vaddr_t va, const struct play_op *op,
                       struct page_record *page)
{
    struct vmm_marks marks;
    const unsigned clear = op->rights % 4U;
    uint64_t accessed = 0, dirty = 0;
    bool mapped = true;
    for (unsigned i = 0; i < op->pages; i++) {
        mapped = mapped && page[i].mapped;
    }
    enum status s = vmm_marks(vmm, space, va, npages(op->pages), clear, &marks);
    if (s != (mapped ? STATUS_OK : STATUS_ABSENT)) {
        return "vmm_marks gives a wrong answer";
    }
    for (unsigned i = 0; i < op->pages && mapped; i++) {
        accessed += page[i].accessed;
        dirty += page[i].dirty;
        page[i].accessed = page[i].accessed && (clear & VMM_ACCESSED) == 0;
        page[i].dirty = page[i].dirty && (clear & VMM_DIRTY) == 0;
    }
    if (mapped && marks.dirty.v != dirty) {
        return marks.dirty.v < dirty ? "a dirty bit was lost" : "a page is dirty that nobody has written to";
    }
    return mapped && marks.accessed.v < accessed ? "an accessed bit was lost" : NULL;
}
