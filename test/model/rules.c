/* What software must not write into paging structures, whatever is cached (paging rules R1-R4, R12, R17-R19, R23). */
#include "arch/layout.h"
#include "model/mmu.h"

#define SLOT_BITS (PTE_P | PTE_W | PTE_XD)

/* No machine decodes addresses from here on; what points there was not written by anyone. */
#define DEVICES_END (64 * TIB)

static struct model_report rule_report(struct model *m, enum model_rule rule, pfn_t table, unsigned index,
                                       unsigned level, uint64_t old, uint64_t value)
{
    const struct model_cpu *cpu = &m->cpu[m->current_cpu];
    return (struct model_report){
        .rule = rule,
        .cpu = m->current_cpu,
        .pcid = cpu->pcid,
        .level = level,
        .table = table,
        .index = index,
        .old_value = {old},
        .new_value = {value},
        .changed = m->clock,
        .frame = pte_pfn((pte_t){value}),
    };
}

static bool is_pml4(struct model *m, pfn_t table)
{
    const struct model_table *t = table_of(m, table);
    const pte_t *self = memory_entry(m, table, LAYOUT_SLOT_SELF);
    return t != NULL &&
           ((t->roles & 1U << PAGING_LEVELS) != 0 || (pte_is_present(*self) && pte_pfn(*self).v == table.v));
}

static pte_t foreign_slot_of(struct model *m, pfn_t root)
{
    const pte_t *e = memory_entry(m, root, LAYOUT_SLOT_FOREIGN);
    return e == NULL ? (pte_t){0} : *e;
}

static void judge_foreign_slot(struct model *m, pfn_t root, uint64_t old, uint64_t value)
{
    struct model_table *t = table_of(m, root);
    pfn_t target = pte_pfn((pte_t){value});
    const unsigned slot = LAYOUT_SLOT_FOREIGN, top = PAGING_LEVELS;
    if ((old & PTE_P) != 0 && t->opener != m->current_cpu && !m->windows_handed_over) {
        model_violation(m, rule_report(m, MODEL_WINDOW_TAKEN, root, slot, top, old, value),
                        "the foreign slot of PML4 %#lx is stored while CPU %u has it open", root.v, t->opener);
    }
    t->opener = m->current_cpu;
    if (m->is_locked != NULL && !m->is_locked(false)) {
        model_violation(m, rule_report(m, MODEL_WINDOW_UNLOCKED, root, slot, top, old, value),
                        "the foreign slot of PML4 %#lx is stored", root.v);
    }
    if ((old & value & PTE_P) != 0 && ((old ^ value) & PTE_FRAME_MASK) != 0) {
        model_violation(m, rule_report(m, MODEL_WINDOW_MOVED, root, slot, top, old, value),
                        "the foreign slot of PML4 %#lx is overwritten", root.v);
    }
    if ((value & PTE_P) != 0 && (target.v == root.v || pte_is_present(foreign_slot_of(m, target)))) {
        model_violation(m, rule_report(m, MODEL_WINDOW_NESTED, root, slot, top, old, value),
                        "PML4 %#lx opens PML4 %#lx, which is %s", root.v, target.v,
                        target.v == root.v ? "itself" : "open on another");
    }
}

static void judge_slot(struct model *m, pfn_t root, unsigned slot, uint64_t old, uint64_t value)
{
    bool is_present = (value & PTE_P) != 0;
    bool has_bits = (value & MODEL_DECIDES & ~PTE_FRAME_MASK) == SLOT_BITS;
    pfn_t target = pte_pfn((pte_t){value});
    if ((slot == LAYOUT_SLOT_SELF && !(has_bits && target.v == root.v)) ||
        (slot == LAYOUT_SLOT_FOREIGN && is_present && !has_bits)) {
        model_violation(m, rule_report(m, MODEL_SLOT_BITS, root, slot, PAGING_LEVELS, old, value),
                        "slot %u of PML4 %#lx becomes %#lx", slot, root.v, value);
    } else if (slot == LAYOUT_SLOT_FOREIGN) {
        judge_foreign_slot(m, root, old, value);
    } else if (slot >= LAYOUT_SLOT_BANK_FIRST && slot <= LAYOUT_SLOT_BANK_LAST && is_present) {
        model_violation(m, rule_report(m, MODEL_SLOT_RESERVED, root, slot, PAGING_LEVELS, old, value),
                        "slot %u of PML4 %#lx becomes %#lx", slot, root.v, value);
    }
}

/* Is anything held that came through the old value, or through what it names? */
static bool find_below(struct model *m, record_t r, record_t through, unsigned level, struct model_report *by)
{
    if (record_is_held_through(m, r, through, by)) {
        return true;
    }
    uint64_t value = record_at(m, r)->value;
    const struct model_table *t = table_of(m, pte_pfn((pte_t){value}));
    if (level == 1 || entry_is_leaf(value, level) || t == NULL) {
        return false;
    }
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        for (record_t below = t->newest[i]; below != 0; below = record_at(m, below)->older) {
            if (find_below(m, below, through, level - 1, by)) {
                return true;
            }
        }
    }
    return false;
}

/* Break before make: nothing of the old page size may be held when the new one is stored (R12). */
static void judge_page_size(struct model *m, pfn_t table, unsigned index, unsigned level, uint64_t old, uint64_t value)
{
    const struct model_table *t = table_of(m, table);
    for (record_t r = t->newest[index]; r != 0; r = record_at(m, r)->older) {
        struct model_report by;
        bool differs = entry_is_leaf(record_at(m, r)->value, level) != entry_is_leaf(value, level);
        if (differs && find_below(m, r, r, level, &by)) {
            by.rule = MODEL_PAGE_SIZE;
            by.new_value = (pte_t){value};
            model_violation(m, by, "level-%u entry %u of table %#lx becomes %#lx, of another page size (it was %#lx)",
                            level, index, table.v, value, old);
            return;
        }
    }
}

void rules_store(struct model *m, pfn_t table, unsigned index, uint64_t old, uint64_t value)
{
    unsigned roles = table_of(m, table)->roles;
    bool may_be_large = m->history->has_large || (value & PTE_PS) != 0;
    for (unsigned level = 2; level <= 3 && (value & PTE_P) != 0 && may_be_large; level++) {
        if ((roles & 1U << level) != 0) {
            judge_page_size(m, table, index, level, old, value);
        }
    }
    if (index >= LAYOUT_SLOT_BANK_FIRST && is_pml4(m, table)) {
        judge_slot(m, table, index, old, value);
    }
}

/* Does what is linked as a table of `level` look like one? */
static bool is_dirty(struct model *m, pfn_t table, unsigned level)
{
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        const pte_t *e = memory_entry(m, table, i);
        if (e == NULL) {
            return true;
        }
        pfn_t frame = pte_pfn(*e);
        bool in_ram = frame.v < m->ram.v;
        if (pte_is_present(*e) && ((in_ram || !entry_is_leaf(e->v, level)) ? !frame_is_alive(m, frame)
                                                                           : pfn_to_paddr(frame).v >= DEVICES_END)) {
            return true;
        }
    }
    return false;
}

void rules_stored(struct model *m, pfn_t table, unsigned index, uint64_t value)
{
    if ((value & PTE_P) == 0) {
        return;
    }
    unsigned roles = table_of(m, table)->roles;
    for (unsigned level = 2; level <= PAGING_LEVELS; level++) {
        if ((roles & 1U << level) == 0 || entry_is_leaf(value, level) || entry_is_reserved(m, value, level)) {
            continue;
        }
        if ((value & PTE_G) != 0) {
            model_violation(m, rule_report(m, MODEL_GLOBAL_TABLE, table, index, level, 0, value),
                            "level-%u entry %u of table %#lx becomes %#lx", level, index, table.v, value);
        }
        if ((value & (PTE_PWT | PTE_PCD)) != 0) {
            model_violation(m, rule_report(m, MODEL_UNCACHED_TABLE, table, index, level, 0, value),
                            "level-%u entry %u of table %#lx becomes %#lx", level, index, table.v, value);
        }
        if (is_dirty(m, pte_pfn((pte_t){value}), level - 1)) {
            model_violation(m, rule_report(m, MODEL_DIRTY_TABLE, table, index, level, 0, value),
                            "frame %#lx is linked as a table of level %u, and has entries that nobody wrote",
                            pte_pfn((pte_t){value}).v, level - 1);
        }
        break; /* once: its other roles are those of windows */
    }
    types_stored(m, table, index, value);
}

/* A PML4 was made where nobody saw it: now its slots count. */
static void judge_root(struct model *m, pfn_t root)
{
    const pte_t *self = memory_entry(m, root, LAYOUT_SLOT_SELF);
    if (self == NULL || is_dirty(m, root, PAGING_LEVELS)) {
        model_violation(m, rule_report(m, MODEL_DIRTY_TABLE, root, 0, MODEL_ROOT_LEVEL, 0, pte_make(root, 0).v),
                        "PML4 %#lx comes into CR3, and has entries that nobody wrote", root.v);
    } else if ((self->v & MODEL_DECIDES) != pte_make(root, SLOT_BITS).v) {
        model_violation(m, rule_report(m, MODEL_SLOT_BITS, root, LAYOUT_SLOT_SELF, PAGING_LEVELS, 0, self->v),
                        "PML4 %#lx comes into CR3, and its self slot holds %#lx", root.v, self->v);
    }
}

void rules_root_load(struct model *m, paddr_t old, paddr_t root)
{
    pte_t slot = foreign_slot_of(m, paddr_to_pfn(old));
    const struct model_table *t = table_of(m, paddr_to_pfn(old));
    bool is_opener = t == NULL || t->opener == m->current_cpu; /* others may stay where the window is open, or not */
    if (old.v != root.v && pte_is_present(slot) && is_opener) {
        model_violation(
            m, rule_report(m, MODEL_WINDOW_OPEN, paddr_to_pfn(old), LAYOUT_SLOT_FOREIGN, PAGING_LEVELS, 0, slot.v),
            "CR3 goes from PML4 %#lx, whose foreign slot holds %#lx, to %#lx", paddr_to_pfn(old).v, slot.v,
            paddr_to_pfn(root).v);
    }
    if (old.v != root.v) {
        judge_root(m, paddr_to_pfn(root));
    }
}

void rules_window_use(struct model *m, vaddr_t va, const struct model_walk *now)
{
    const unsigned level = now->level;
    pfn_t root = paddr_to_pfn(model_root(m));
    const struct model_table *t = table_of(m, root);
    if (now->mapped && (now->entry[level].v & PTE_PS) != 0) {
        struct model_report r = rule_report(m, MODEL_LARGE_AS_TABLE, now->table[level], table_index(va, level), level,
                                            now->entry[level].v, now->entry[level].v);
        r.va = va;
        model_violation(m, r, "the window page at %#lx shows a large page", va.v);
    }
    if (va_is_foreign(va) && m->is_locked != NULL && !m->is_locked(true)) {
        const uint64_t slot = foreign_slot_of(m, root).v;
        struct model_report r =
            rule_report(m, MODEL_WINDOW_UNLOCKED, root, LAYOUT_SLOT_FOREIGN, PAGING_LEVELS, 0, slot);
        r.va = va;
        model_violation(m, r, "%#lx is used", va.v);
    }
    if (va_is_foreign(va) && t != NULL && t->opener != m->current_cpu && !m->windows_handed_over &&
        pte_is_present(foreign_slot_of(m, root))) {
        struct model_report r =
            rule_report(m, MODEL_WINDOW_TAKEN, root, LAYOUT_SLOT_FOREIGN, PAGING_LEVELS, 0, foreign_slot_of(m, root).v);
        r.va = va;
        model_violation(m, r, "%#lx is used, but CPU %u has opened the window", va.v, t->opener);
    }
}
