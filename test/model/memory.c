/* Simulated physical memory: garbage until it is first touched. */
#include "model/mmu.h"

void *model_frame(struct model *m, pfn_t frame)
{
    if (frame.v >= m->ram.v) {
        return NULL;
    }
    uint64_t *page = (uint64_t *)(void *)(m->memory_base + pages_to_bytes(npages(frame.v)));
    if (!m->touched[frame.v]) {
        /* What RAM holds before it is written: something that looks like a present entry in every word. */
        for (size_t i = 0; i < PAGE_BYTES / sizeof *page; i++) {
            page[i] = 0x00055555A5A5A027;
        }
        m->touched[frame.v] = true;
    }
    return page;
}

bool frame_is_alive(const struct model *m, pfn_t frame)
{
    if (frame.v >= m->ram.v || (m->is_zeroing && frame.v == m->zeroing.v)) {
        return frame.v < m->ram.v;
    }
    enum pmm_state s = m->pmm_stands ? pmm_query(&m->pmm, frame).state : PMM_STATE_USED;
    return s == PMM_STATE_USED || s == PMM_STATE_RESERVED || s == PMM_STATE_METADATA || s == PMM_STATE_RUN ||
           s == PMM_STATE_ZERO;
}

pte_t *memory_entry(struct model *m, pfn_t table, unsigned index)
{
    pte_t *entries = model_frame(m, table);
    return entries == NULL ? NULL : &entries[index];
}

void memory_mark(struct model *m, pfn_t table, unsigned index, uint64_t bits)
{
    pte_t *e = memory_entry(m, table, index);
    if (e != NULL) {
        e->v |= bits;
    }
}

static unsigned word_index(paddr_t at)
{
    return (unsigned)(page_offset_bytes(at.v) / ENTRY_BYTES);
}

uint64_t model_phys_read64(struct model *m, paddr_t at)
{
    const pte_t *e = memory_entry(m, paddr_to_pfn(at), word_index(at));
    return e == NULL ? 0 : e->v;
}

void model_phys_write64(struct model *m, paddr_t at, uint64_t value)
{
    history_rewrite(m, paddr_to_pfn(at), word_index(at), value);
}

void model_phys_store64(struct model *m, paddr_t at, uint64_t value)
{
    history_store(m, paddr_to_pfn(at), word_index(at), value);
}

paddr_t model_entry_at(struct model *m, pfn_t root, vaddr_t va, unsigned level)
{
    pfn_t table = root;
    for (unsigned l = PAGING_LEVELS;; l--) {
        paddr_t at = paddr(pfn_to_paddr(table).v + table_index(va, l) * (uint64_t)ENTRY_BYTES);
        if (l == level) {
            return at;
        }
        pte_t e = {model_phys_read64(m, at)};
        if (!pte_is_present(e)) {
            return paddr(0);
        }
        table = pte_pfn(e);
    }
}
