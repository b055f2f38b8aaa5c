/*
 * Accessed and dirty bits of leaves (R19; SDM 3A 4.8, 4.10.4.2).
 *
 * A walker of any CPU may set A of a leaf that it can reach at any moment, and D when that CPU writes there. So a leaf
 * that another CPU may reach must not be overwritten by a plain store of what was loaded before, unless the marks that
 * may have come in between are in the new value. That is judged whether or not one came.
 *
 * A CPU sets a mark when it makes a translation, or, for D, at the first write through one without it. With a
 * translation that is older than the clearing of the mark, it may set none: what was cleared must be flushed before the
 * next access counts on it.
 *
 * Entries that name tables are left out: nobody asks for their marks (R5).
 */
#include "model/mmu.h"

/* What the table is apart from what the windows make of it: a table of its highest level. */
static unsigned own_level(const struct model_table *t)
{
    unsigned level = PAGING_LEVELS;
    while (level > 0 && (t->roles & 1U << level) == 0) {
        level--;
    }
    return level;
}

static void judge_store(struct model *m, pfn_t table, unsigned index, unsigned level, uint64_t old, uint64_t value)
{
    const struct model_table *t = table_of(m, table);
    const uint64_t may_come = (PTE_A | ((old & PTE_W) != 0 ? PTE_D : 0)) & ~value;
    struct model_report by;
    if (may_come == 0 || !record_is_held_elsewhere(m, t->newest[index], &by)) {
        return;
    }
    by.rule = MODEL_MARK_LOST;
    by.level = level;
    by.table = table;
    by.index = index;
    by.old_value = (pte_t){old};
    by.new_value = (pte_t){value};
    model_violation(m, by, "a plain store to level-%u entry %u of table %#lx, which CPU %u may mark at any moment",
                    level, index, table.v, by.cpu);
}

void marks_store(struct model *m, pfn_t table, unsigned index, uint64_t value, bool atomic)
{
    struct model_table *t = table_of(m, table);
    const uint64_t old = memory_entry(m, table, index)->v;
    const unsigned level = own_level(t);
    bool stays = (old & value & PTE_P) != 0 && ((old ^ value) & PTE_FRAME_MASK) == 0 && entry_is_leaf(old, level) &&
                 entry_is_leaf(value, level);
    if (!stays) {
        t->accessed_cleared[index] = t->dirty_cleared[index] = 0;
        return;
    }
    if (!atomic) {
        judge_store(m, table, index, level, old, value);
    }
    const uint64_t cleared = old & ~value;
    if ((cleared & (PTE_A | PTE_D)) != 0) {
        t->since[index] = ++m->clock;
        t->accessed_cleared[index] = (cleared & PTE_A) != 0 ? m->clock : t->accessed_cleared[index];
        t->dirty_cleared[index] = (cleared & PTE_D) != 0 ? m->clock : t->dirty_cleared[index];
    }
}

/*
 * Since when the walk's way leads to its leaf. What was cleared before, no translation by this way has had; one by an
 * older way to the same leaf, if it may be held still, counts from the beginning.
 */
static uint64_t leads_there_since(struct model *m, vaddr_t va, const struct model_walk *now)
{
    uint64_t since = 0;
    for (unsigned level = now->level + 1; level <= PAGING_LEVELS; level++) {
        const struct model_table *t = table_of(m, now->table[level]);
        const record_t r = t != NULL ? t->newest[table_index(va, level)] : 0;
        if (r == 0 || (record_at(m, r)->older != 0 && record_is_held(m, record_at(m, r)->older))) {
            return 0;
        }
        since = record_at(m, r)->from > since ? record_at(m, r)->from : since;
    }
    return since;
}

void marks_use(struct model *m, vaddr_t va, enum model_kind kind, const struct model_walk *now)
{
    const struct model_table *t = table_of(m, now->table[now->level]);
    const unsigned index = table_index(va, now->level);
    const struct model_cpu *cpu = &m->cpu[m->current_cpu];
    if (t == NULL || va_is_window(va) || (t->accessed_cleared[index] | t->dirty_cleared[index]) == 0) {
        return;
    }
    const pte_t leaf = now->entry[now->level];
    bool global = cpu->global_pages && (leaf.v & PTE_G) != 0;
    const uint64_t flushed = page_emptied(m, cpu, cpu->pcid, va, now->level, global);
    const uint64_t led = leads_there_since(m, va, now), emptied = led > flushed ? led : flushed;
    bool no_access = (leaf.v & PTE_A) == 0 && t->accessed_cleared[index] > emptied;
    bool no_dirt = kind == MODEL_WRITE && (leaf.v & PTE_D) == 0 && t->dirty_cleared[index] > emptied;
    if (no_access || no_dirt) {
        struct model_report r = {
            .rule = MODEL_MARK_STALE,
            .cpu = m->current_cpu,
            .pcid = cpu->pcid,
            .va = va,
            .level = now->level,
            .table = now->table[now->level],
            .index = index,
            .old_value = {leaf.v | (no_dirt ? PTE_D : PTE_A)},
            .new_value = leaf,
            .changed = no_dirt ? t->dirty_cleared[index] : t->accessed_cleared[index],
            .frame = pte_pfn(leaf),
        };
        model_violation(m, r, "%s of %#lx may leave no mark", no_dirt ? "a write" : "an access", va.v);
    }
}
