/*
 * Who may still hold a value: the question of possible.c from below. From the table that has (or had) the value, up
 * over all that name it (or did), to the roots that CPUs had in CR3; then the times of that chain decide.
 *
 * A frame that goes back, or comes into use again, must not be named by anything that is held. Translations of foreign
 * window pages are left out: those of a window that was closed or moved may outlive their table, because each is
 * flushed before its first use (R8), and a translation alone makes no walker write. As upper entries they count. So are
 * translations of temporary mappings in other CPUs than the one that uses them.
 */
#include "arch/layout.h"
#include "model/mmu.h"

struct climb {
    struct model *m;
    unsigned lowest; /* level of the value that is asked about */
    record_t chain[MODEL_ROOT_LEVEL];
    record_t through;   /* must be in the chain, as passes() says, by no alias of a window page; 0: any */
    unsigned only;      /* the value in this role alone; 0: in any */
    bool foreign_pages; /* translations of foreign window pages count */
    bool marks;         /* mark all that is held, instead of stopping at the first */
    bool elsewhere;     /* other CPUs than the current one only */
    bool found;
    struct model_report *by; /* may be null */
};

static vaddr_t chain_address(const struct climb *c)
{
    vaddr_t va = {0};
    for (unsigned level = PAGING_LEVELS; level >= c->lowest; level--) {
        va.v |= record_at(c->m, c->chain[level])->index * level_span_bytes(level);
    }
    return vaddr((uint64_t)((int64_t)(va.v << 16) >> 16));
}

static void found(struct climb *c, unsigned cpu, unsigned pcid, vaddr_t va, bool is_leaf)
{
    c->found = true;
    for (unsigned level = c->lowest; c->marks && level <= PAGING_LEVELS; level++) {
        record_at(c->m, c->chain[level])->needed = true;
    }
    if (c->by != NULL) {
        enum model_rule rule = is_leaf ? MODEL_FREED_PAGE : va_is_foreign(va) ? MODEL_FREED_WINDOW : MODEL_FREED_TABLE;
        unsigned level = c->lowest; /* the entry to blame: the lowest that is old; itself when all are in memory */
        while (level < PAGING_LEVELS && record_at(c->m, c->chain[level])->to == MODEL_NOW) {
            level++;
        }
        level = record_at(c->m, c->chain[level])->to == MODEL_NOW ? c->lowest : level;
        *c->by = report_of(c->m, rule, record_at(c->m, c->chain[level]), level);
        c->by->cpu = cpu;
        c->by->pcid = pcid;
        c->by->va = va;
    }
}

/* The chain under one PCID of one CPU: is its last value held? */
static bool is_held_by(const struct climb *c, const struct model_cpu *cpu, unsigned pcid, pfn_t root, vaddr_t va)
{
    const struct model_record *last = record_at(c->m, c->chain[c->lowest]);
    bool is_leaf = entry_is_leaf(last->value, c->lowest);
    bool global = is_leaf && cpu->global_pages && (last->value & PTE_G) != 0;
    struct walker w = {.m = c->m, .cpu = cpu, .context = &cpu->context[pcid], .va = va};
    w.after = global ? globals_since(cpu, w.context) : w.context->emptied;
    struct spans at = spans_begin(&w, pfn_to_paddr(root).v, record_at(c->m, c->chain[PAGING_LEVELS]));
    for (unsigned level = PAGING_LEVELS; level > c->lowest && at.count > 0; level--) {
        at = spans_below(&w, &at, level, record_at(c->m, c->chain[level - 1]));
    }
    return is_leaf ? spans_reach(&at, page_emptied(c->m, cpu, pcid, va, c->lowest, global))
                   : spans_kept(&w, &at, c->lowest);
}

/*
 * Does the chain pass the value `through`, on a way that leads there still, or will when the foreign slot is set again?
 * (Its table may have been another one's before.)
 */
static bool passes(const struct climb *c)
{
    bool found = false;
    for (unsigned level = c->lowest; level <= PAGING_LEVELS; level++) {
        const struct model_record *r = record_at(c->m, c->chain[level]);
        if (found && r->to != MODEL_NOW && r->index != LAYOUT_SLOT_FOREIGN) {
            return false;
        }
        found = found || c->chain[level] == c->through;
    }
    return found;
}

/* The chain is complete: for every CPU and PCID that had its root. */
static void judge_chain(struct climb *c, pfn_t root)
{
    vaddr_t va = chain_address(c);
    bool is_leaf = entry_is_leaf(record_at(c->m, c->chain[c->lowest])->value, c->lowest);
    bool wanted = c->through == 0 || (passes(c) && !(is_leaf && va_is_alias(va)));
    if (!wanted || (is_leaf && !c->foreign_pages && va_is_foreign(va))) {
        return;
    }
    bool is_temporary = is_leaf && table_index(va, PAGING_LEVELS) == LAYOUT_SLOT_TEMP;
    for (unsigned i = 0; i < MODEL_CPUS; i++) {
        const struct model_cpu *cpu = &c->m->cpu[i];
        if ((is_temporary && i != c->m->temporary_cpu) || (c->elsewhere && i == c->m->current_cpu)) {
            continue;
        }
        for (unsigned p = 0; cpu->runs && p < MODEL_PCIDS; p++) {
            for (unsigned k = 0; k < cpu->context[p].stints; k++) {
                if (cpu->context[p].stint[k].root == pfn_to_paddr(root).v && (!c->found || c->marks)) {
                    if (is_held_by(c, cpu, p, root, va)) {
                        found(c, i, p, va, is_leaf);
                    }
                    break;
                }
            }
        }
    }
}

/* chain[level - 1] is a value in `table`, which is thus used as a table of that level. Who names it? */
static void climb(struct climb *c, pfn_t table, unsigned level)
{
    if (level > PAGING_LEVELS) {
        judge_chain(c, table);
        return;
    }
    record_t next;
    for (record_t r = history_naming(c->m, table); r != 0 && (!c->found || c->marks); r = next) {
        const struct model_record *rec = record_at(c->m, r);
        next = rec->frame_next;
        pfn_t above = pfn(rec->table);
        if (pte_pfn((pte_t){rec->value}).v == table.v && !entry_is_leaf(rec->value, level) &&
            !entry_is_reserved(c->m, rec->value, level) && (table_of(c->m, above)->ever & 1U << level) != 0) {
            c->chain[level] = r;
            climb(c, above, level + 1);
        }
    }
}

static void climb_from(struct climb *c, record_t r)
{
    const struct model_record *rec = record_at(c->m, r);
    pfn_t table = pfn(rec->table);
    /* As an upper entry first: that is the graver finding. */
    for (unsigned level = PAGING_LEVELS; level > 0 && (!c->found || c->marks); level--) {
        if ((table_of(c->m, table)->ever & 1U << level) != 0 && !entry_is_reserved(c->m, rec->value, level) &&
            (c->only == 0 || c->only == level)) {
            c->lowest = level;
            c->chain[level] = r;
            climb(c, table, level + 1);
        }
    }
}

bool record_is_held_through(struct model *m, record_t r, record_t through, struct model_report *by)
{
    struct climb c = {.m = m, .by = by, .through = through, .foreign_pages = true};
    climb_from(&c, r);
    return c.found;
}

bool record_is_held(struct model *m, record_t r)
{
    struct climb c = {.m = m};
    climb_from(&c, r);
    return c.found;
}

bool record_is_held_elsewhere(struct model *m, record_t r, struct model_report *by)
{
    struct climb c = {.m = m, .by = by, .elsewhere = true};
    climb_from(&c, r);
    return c.found;
}

void record_mark_needed(struct model *m, record_t r)
{
    struct climb c = {.m = m, .foreign_pages = true, .marks = true};
    climb_from(&c, r);
}

/* Of the values that name `frame`: one that is held; with `only`, as a large page of that level. */
static bool find_held(struct model *m, pfn_t frame, unsigned only, struct model_report *by, bool foreign_pages)
{
    struct climb c = {.m = m, .by = by, .only = only, .foreign_pages = foreign_pages};
    for (record_t r = history_naming(m, frame); r != 0 && !c.found; r = record_at(m, r)->frame_next) {
        pte_t value = {record_at(m, r)->value};
        if (pte_pfn(value).v == frame.v && (only == 0 || (value.v & PTE_PS) != 0)) {
            climb_from(&c, r);
        }
    }
    return c.found;
}

static bool find_holder(struct model *m, pfn_t frame, struct model_report *by, bool foreign_pages)
{
    if (find_held(m, frame, 0, by, foreign_pages)) {
        return true;
    }
    for (unsigned level = 2; level <= 3 && m->history->has_large; level++) {
        uint64_t span = bytes_to_pages_down(level_span_bytes(level)).v;
        for (unsigned pat = 0; pat < 2; pat++) { /* bit 12 of a large page's entry is not the frame's */
            pfn_t named = {frame.v / span * span + pat};
            if (named.v != frame.v && find_held(m, named, level, by, foreign_pages)) {
                return true;
            }
        }
    }
    return false;
}

bool model_frame_is_held(struct model *m, pfn_t frame, struct model_report *by)
{
    struct model_report ignored;
    return find_holder(m, frame, by != NULL ? by : &ignored, true);
}

static void judge_frame(struct model *m, pfn_t frame, const char *event)
{
    struct model_report r;
    if (frame.v < m->ram.v && find_holder(m, frame, &r, false)) {
        r.frame = frame;
        for (unsigned i = 0; i < MODEL_CPUS; i++) {
            m->cpu[i].generation++;
        }
        model_violation(m, r, "frame %#lx %s while %s may be cached, as %s", frame.v, event,
                        r.changed == MODEL_NOW ? "what memory says of it" : "what an old entry leads to",
                        r.rule == MODEL_FREED_PAGE ? "a translation" : "a table");
    }
}

void model_frame_freed(struct model *m, pfn_t frame)
{
    judge_frame(m, frame, "is free already");
    history_drop_table(m, frame);
}

void model_frame_taken(struct model *m, pfn_t frame)
{
    judge_frame(m, frame, "is in use again");
}
