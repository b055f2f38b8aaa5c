/* What an entry says, level by level (SDM 3A 4.5), and the walk through memory alone. */
#include "arch/layout.h"
#include "model/mmu.h"

const pte_t walk_all_rights = {PTE_P | PTE_W | PTE_U};

/* Bit 12 of a large leaf is what bit 7 is in a PTE: the PAT bit. */
#define LARGE_PAT ((uint64_t)PAGE_BYTES)

bool entry_is_leaf(uint64_t value, unsigned level)
{
    return level == 1 || ((level == 2 || level == 3) && (value & PTE_PS) != 0);
}

bool entry_is_reserved(const struct model *m, uint64_t value, unsigned level)
{
    const struct model_variant *v = &m->variant;
    bool too_wide = v->physical_bits != 0 && (value & PTE_FRAME_MASK) >> v->physical_bits != 0;
    if (too_wide || (v->no_nx && (value & PTE_XD) != 0)) {
        return true;
    }
    if (level == PAGING_LEVELS || (level == 3 && v->no_1g)) {
        return (value & PTE_PS) != 0;
    }
    return level > 1 && entry_is_leaf(value, level) &&
           (value & PTE_FRAME_MASK & (level_span_bytes(level) - 1) & ~LARGE_PAT) != 0;
}

pte_t entry_narrow(uint64_t value, pte_t above)
{
    uint64_t denied = (~above.v & (PTE_W | PTE_U));
    return (pte_t){(value & ~denied) | (above.v & PTE_XD)};
}

/* The part of a leaf that `va` is in, as a leaf of 4 KiB with the rights of the walk. */
pte_t entry_cut(uint64_t value, vaddr_t va, unsigned level, pte_t above)
{
    const uint64_t mask = MODEL_DECIDES & ~PTE_FRAME_MASK;
    pte_t leaf = entry_narrow(value, above);
    if (level == 1) {
        return (pte_t){leaf.v & MODEL_DECIDES};
    }
    uint64_t offset = va.v & (level_span_bytes(level) - 1) & PTE_FRAME_MASK;
    uint64_t frame = value & PTE_FRAME_MASK & ~(level_span_bytes(level) - 1);
    uint64_t pat = (value & LARGE_PAT) != 0 ? PTE_PS : 0;
    return (pte_t){(leaf.v & mask & ~PTE_PS) | pat | frame | offset};
}

unsigned leaf_cache(const struct model *m, pte_t leaf)
{
    unsigned index =
        ((leaf.v & PTE_PWT) != 0 ? 1U : 0U) | ((leaf.v & PTE_PCD) != 0 ? 2U : 0U) | ((leaf.v & PTE_PS) != 0 ? 4U : 0U);
    return m->variant.pat[index];
}

struct model_walk walk_memory(struct model *m, vaddr_t va)
{
    struct model_walk w = {0};
    pfn_t table = paddr_to_pfn(model_root(m));
    pte_t above = walk_all_rights;
    for (unsigned level = PAGING_LEVELS; level > 0; level--) {
        const pte_t *e = memory_entry(m, table, table_index(va, level));
        w.level = level;
        w.table[level] = table;
        if (e == NULL) {
            break;
        }
        w.entry[level] = *e;
        w.reserved = pte_is_present(*e) && entry_is_reserved(m, e->v, level);
        if (!pte_is_present(*e) || w.reserved) {
            break;
        }
        if (entry_is_leaf(e->v, level)) {
            w.mapped = true;
            w.leaf = entry_cut(e->v, va, level, above);
            break;
        }
        above = entry_narrow(e->v, above);
        table = pte_pfn(*e);
    }
    return w;
}

bool leaf_permits(pte_t leaf, enum model_kind kind)
{
    switch (kind) {
    case MODEL_WRITE: return (leaf.v & PTE_W) != 0;
    case MODEL_EXECUTE: return (leaf.v & PTE_XD) == 0;
    default: return true;
    }
}

bool va_is_window(vaddr_t va)
{
    unsigned slot = table_index(va, PAGING_LEVELS);
    return slot == LAYOUT_SLOT_SELF || slot == LAYOUT_SLOT_FOREIGN;
}

/* The level of the first slot on the way to `va` that is not our own self slot. */
static unsigned level_after_self(vaddr_t va)
{
    unsigned level = PAGING_LEVELS;
    while (level > 1 && table_index(va, level) == LAYOUT_SLOT_SELF) {
        level--;
    }
    return level;
}

bool va_is_foreign(vaddr_t va) { return table_index(va, level_after_self(va)) == LAYOUT_SLOT_FOREIGN; }

bool va_is_alias(vaddr_t va)
{
    unsigned level = level_after_self(va);
    unsigned next = level > 1 ? table_index(va, level - 1) : 0;
    return va_is_foreign(va) && (next == LAYOUT_SLOT_SELF || next == LAYOUT_SLOT_FOREIGN);
}
