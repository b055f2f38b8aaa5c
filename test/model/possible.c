/*
 * What a CPU may make of an address: theory.
 *
 * 1. What may be cached (SDM 3A 4.10.2.2, 4.10.2.3, 4.10.3.1, 4.10.3.3; APM 2 5.5). A CPU may walk any address at any
 *    time while a root is in CR3, for prefetch or on a path that is never taken, and so through the windows too. From
 *    each present entry without reserved bits that such a walk meets it may keep the address of the table below with
 *    the rights of the way (PML4E, PDPTE and PDE caches, by the address bits above), from a leaf the translation (TLB,
 *    by page number), both under the PCID of that time; a leaf with G under CR4.PGE for all PCIDs. A walk may start
 *    from any of them. Nothing is kept of an entry that is not present. Accessed bits are set by all these walks.
 *
 * 2. Why nothing need be copied. What a CPU can hold is decided by three things alone: which value each entry had in
 *    which slots of time, which root and PCID the CPU had in them, and when it flushed what. Caches have no other
 *    input: an entry that is cached keeps no other from being cached, and a CPU may hold everything at once. So "may
 *    be held" is a question about times, and can be asked at the access.
 *
 * 3. The question. A chain is a PML4E value v4 below some root, a PDPTE value v3 in the table that v4 names, and so on
 *    to a leaf. It was walked if there are slots t4 <= t3 <= t2 <= t1 such that
 *      - each value was in memory in its slot, the CPU ran in it under the PCID, and in t4 with that root;
 *      - between t4 and t3 nothing dropped the PML4E-cache entry, between t3 and t2 the PDPTE's, between t2 and t1 the
 *        PDE's. INVLPG drops all of its PCID; with EFER.TCE, and INVPCID type 0, those that lead to its page.
 *    The leaf is there still if no flush of its page (its large page), its PCID or of everything came after t1. For an
 *    upper entry of level n: if no drop came after tn. times.c computes the set of possible slots from above to below:
 *    if t is possible for an entry, then for the entry below all slots are that follow t, up to the next drop. A set
 *    is a few intervals, so the answer is exact, not an estimate in either direction.
 *
 * 4. Outcomes. From the root down, each entry has its value in memory and those that ended after the page's last flush
 *    (mostly none): every chain of them that is possible is an outcome. One that ends at an entry that is not present
 *    now is a page fault, and possible only if the walk to it can be finished now. All are compared with the walk
 *    through memory alone (access.c).
 *
 * 5. Freed frames (held.c) ask the reverse: which values name this frame, which tables hold them, up to the roots.
 *
 * 6. Assumed: stores reach memory in program order, and other CPUs' walkers at once (the model's CPUs take turns);
 *    4-level paging, CR0.WP=1, NX on, no SMEP, SMAP, protection keys, virtual machines; a walk is not interrupted by a
 *    flush, which serialises (4.10.4.3, INVLPG in volume 2). A flush does not reach a read that a walk has in flight.
 */
#include "model/mmu.h"

struct search {
    struct model *m;
    struct walker w;
    unsigned pcid; /* of the context that is searched */
    bool global;   /* for global translations; else for the others and for faults */
    bool pcid_is_current;
    pfn_t root;
    record_t chain[MODEL_ROOT_LEVEL];
    void (*visit)(void *ctx, const struct model_outcome *outcome);
    void *ctx;
};

/* The highest entry on the way that is not what memory has; or the root. */
static struct model_report blame(const struct search *s, unsigned lowest)
{
    for (unsigned level = PAGING_LEVELS; level >= lowest && level > 0; level--) {
        if (s->chain[level] != 0 && record_at(s->m, s->chain[level])->to != MODEL_NOW) {
            return report_of(s->m, MODEL_STALE, record_at(s->m, s->chain[level]), level);
        }
    }
    return (struct model_report){.rule = MODEL_STALE,
                                 .level = MODEL_ROOT_LEVEL,
                                 .table = s->root,
                                 .old_value = pte_make(s->root, 0),
                                 .new_value = {model_root(s->m).v}};
}

static bool is_memory_now(const struct search *s, unsigned lowest)
{
    for (unsigned level = PAGING_LEVELS; level >= lowest; level--) {
        if (s->chain[level] != 0 && record_at(s->m, s->chain[level])->to != MODEL_NOW) {
            return false;
        }
    }
    return s->pcid_is_current && s->root.v == paddr_to_pfn(model_root(s->m)).v;
}

static void emit(const struct search *s, bool mapped, pte_t leaf, unsigned level)
{
    if (is_memory_now(s, level)) {
        return;
    }
    struct model_outcome outcome = {.mapped = mapped, .leaf = leaf, .stale = true, .blame = blame(s, level)};
    outcome.cache = leaf_cache(s->m, leaf);
    outcome.blame.cpu = (unsigned)(s->w.cpu - s->m->cpu);
    outcome.blame.pcid = s->pcid;
    outcome.blame.va = s->w.va;
    outcome.blame.frame = pte_pfn(leaf);
    s->visit(s->ctx, &outcome);
}

static void found_leaf(const struct search *s, uint64_t value, unsigned level, pte_t above, const struct spans *at)
{
    bool global = s->w.cpu->global_pages && (value & PTE_G) != 0;
    if (global == s->global && spans_reach(at, page_emptied(s->m, s->w.cpu, s->pcid, s->w.va, level, global))) {
        emit(s, true, entry_cut(value, s->w.va, level, above), level);
    }
}

static struct spans when(const struct search *s, unsigned level, const struct spans *above,
                         const struct model_record *r)
{
    return level == PAGING_LEVELS ? spans_begin(&s->w, pfn_to_paddr(s->root).v, r)
                                  : spans_below(&s->w, above, level + 1, r);
}

/* All chains through the entry for the address in this table, which was reached in the slots `above`. */
static void descend(struct search *s, pfn_t table, unsigned level, pte_t rights, const struct spans *above)
{
    const struct model_table *t = table_of(s->m, table);
    unsigned index = table_index(s->w.va, level);
    const pte_t *e = memory_entry(s->m, table, index);
    if (t == NULL || e == NULL) {
        return;
    }
    for (record_t r = t->newest[index]; r != 0; r = record_at(s->m, r)->older) {
        const struct model_record *rec = record_at(s->m, r);
        if (rec->to <= s->w.after) {
            break; /* the others ended before it */
        }
        uint64_t value = rec->value;
        struct spans at = when(s, level, above, rec);
        if (at.count == 0 || entry_is_reserved(s->m, value, level)) {
            continue;
        }
        s->chain[level] = r;
        if (entry_is_leaf(value, level)) {
            found_leaf(s, value, level, rights, &at);
        } else {
            descend(s, pte_pfn((pte_t){value}), level - 1, entry_narrow(value, rights), &at);
        }
    }
    s->chain[level] = 0;
    if (!s->global && s->pcid_is_current && (!pte_is_present(*e) || entry_is_reserved(s->m, e->v, level)) &&
        when(s, level, above, NULL).count > 0) {
        emit(s, false, (pte_t){0}, level);
    }
}

static void search_context(struct search *s)
{
    const struct model_context *c = s->w.context;
    for (unsigned i = 0; i < c->stints; i++) {
        bool seen = c->stint[i].to <= s->w.after;
        for (unsigned k = 0; k < i && !seen; k++) {
            seen = c->stint[k].root == c->stint[i].root && c->stint[k].to > s->w.after;
        }
        if (!seen) {
            s->root = paddr_to_pfn(paddr(c->stint[i].root));
            descend(s, s->root, PAGING_LEVELS, walk_all_rights, NULL);
        }
    }
}

void possible_each(struct model *m, vaddr_t va, void (*visit)(void *ctx, const struct model_outcome *outcome),
                   void *ctx)
{
    const struct model_cpu *cpu = &m->cpu[m->current_cpu];
    struct search s = {.m = m, .visit = visit, .ctx = ctx, .pcid = cpu->pcid, .pcid_is_current = true};
    s.w = (struct walker){.m = m, .cpu = cpu, .context = &cpu->context[cpu->pcid], .va = va};
    s.w.after = page_emptied(m, cpu, cpu->pcid, va, 1, false);
    search_context(&s);
    for (unsigned p = 0; p < MODEL_PCIDS && keeps_globals(m, cpu); p++) {
        s.pcid = p;
        s.pcid_is_current = p == cpu->pcid;
        s.global = true;
        s.w.context = &cpu->context[p];
        s.w.after = globals_since(cpu, s.w.context);
        search_context(&s);
    }
}
