/*
 * Accesses: the outcome that memory gives is compared with all others that are possible (possible.c). Where they
 * differ in a way that software may not rely on, the access is a violation, and the stale outcome is what it gets.
 *
 * An address that was judged is remembered with its entries, and not judged again before one of them changes or the
 * CPU's root does: until then its possible outcomes can only become fewer.
 */
#include "lib/string.h"
#include "model/mmu.h"

static const uint64_t never = 0;

static struct model_cpu *current(const struct model *m)
{
    return &m->cpu[m->current_cpu];
}

/* ---- Judgement ---- */

/* Bits of a right that `a` gives and `b` does not. */
static bool is_wider(pte_t a, pte_t b)
{
    return (a.v & ~b.v & (PTE_W | PTE_U)) != 0 || (~a.v & b.v & PTE_XD) != 0;
}

/* What a stale outcome means for an access, memory's being `now`. */
static enum model_rule weigh(const struct model *m, const struct model_walk *now, const struct model_outcome *stale,
                             enum model_kind kind, bool *spurious)
{
    *spurious = false;
    if (!stale->mapped) {
        return now->mapped && !m->variant.rewalks ? MODEL_STALE_FAULT : MODEL_NONE;
    }
    if (!now->mapped || pte_pfn(now->leaf).v != pte_pfn(stale->leaf).v || leaf_cache(m, now->leaf) != stale->cache ||
        is_wider(stale->leaf, now->leaf)) {
        return MODEL_STALE;
    }
    *spurious = !leaf_permits(stale->leaf, kind) && leaf_permits(now->leaf, kind) && !m->variant.rewalks;
    return MODEL_NONE;
}

struct judgement {
    struct model *m;
    const struct model_walk *now;
    enum model_kind kind;
    struct model_verdict verdict;
    struct model_outcome worst;
};

static void judge_outcome(void *ctx, const struct model_outcome *outcome)
{
    struct judgement *j = ctx;
    bool spurious;
    enum model_rule rule = weigh(j->m, j->now, outcome, j->kind, &spurious);
    j->verdict.may_fault_spuriously = j->verdict.may_fault_spuriously || spurious;
    if (rule == MODEL_NONE && spurious && j->m->spurious_is_forbidden) {
        rule = MODEL_SPURIOUS;
    }
    bool worse =
        rule == MODEL_STALE ? j->verdict.rule != MODEL_STALE : rule != MODEL_NONE && j->verdict.rule == MODEL_NONE;
    if (worse) {
        j->verdict.rule = rule;
        j->worst = *outcome;
        j->worst.blame.rule = rule;
    }
}

/* Nothing on the way has a value that ended after the page's last flush, and no other root was there: memory it is. */
static bool is_settled(const struct model *m, vaddr_t va, const struct model_walk *now)
{
    const struct model_cpu *cpu = current(m);
    if (keeps_globals(m, cpu) || cpu->context[cpu->pcid].stints != 1) {
        return false;
    }
    uint64_t emptied = MODEL_NOW;
    for (unsigned level = PAGING_LEVELS; level >= now->level; level--) {
        const struct model_table *t = table_of(m, now->table[level]);
        record_t r = t == NULL ? 0 : t->newest[table_index(va, level)];
        r = r != 0 && record_at(m, r)->to == MODEL_NOW ? record_at(m, r)->older : r;
        if (r == 0) {
            continue;
        }
        emptied = emptied != MODEL_NOW ? emptied : page_emptied(m, cpu, cpu->pcid, va, 1, false);
        if (record_at(m, r)->to > emptied) {
            return false;
        }
    }
    return true;
}

static struct judgement judge(struct model *m, vaddr_t va, enum model_kind kind, const struct model_walk *now)
{
    struct judgement j = {.m = m, .now = now, .kind = kind};
    if (!is_settled(m, va, now)) {
        possible_each(m, va, judge_outcome, &j);
    }
    return j;
}

struct model_verdict model_judge(struct model *m, vaddr_t va, enum model_kind kind)
{
    if (!vaddr_is_canonical(va)) {
        return (struct model_verdict){.rule = MODEL_FAULT_CANONICAL};
    }
    struct model_walk now = walk_memory(m, va);
    struct model_verdict v = judge(m, va, kind, &now).verdict;
    if (v.rule == MODEL_NONE && !now.mapped) {
        v.rule = now.reserved ? MODEL_FAULT_RESERVED : MODEL_FAULT;
    } else if (v.rule == MODEL_NONE && !leaf_permits(now.leaf, kind)) {
        v.rule = MODEL_FAULT_RIGHTS;
    }
    return v;
}

struct collection {
    struct model_outcome *outcome;
    unsigned count;
};

static bool is_same(const struct model_outcome *a, const struct model_outcome *b)
{
    return a->mapped == b->mapped && ((a->leaf.v ^ b->leaf.v) & ~PTE_G) == 0;
}

static void collect(void *ctx, const struct model_outcome *outcome)
{
    struct collection *c = ctx;
    for (unsigned i = 0; i < c->count && i < MODEL_OUTCOMES; i++) {
        if (is_same(&c->outcome[i], outcome)) {
            return;
        }
    }
    if (c->count < MODEL_OUTCOMES) {
        c->outcome[c->count] = *outcome;
    }
    c->count++;
}

unsigned model_outcomes(struct model *m, vaddr_t va, struct model_outcome *outcome)
{
    struct model_walk now = walk_memory(m, va);
    outcome[0] = (struct model_outcome){.mapped = now.mapped, .leaf = now.leaf, .cache = leaf_cache(m, now.leaf)};
    struct collection c = {outcome, 1};
    possible_each(m, va, collect, &c);
    return c.count;
}

bool model_can_access(struct model *m, vaddr_t va, bool write)
{
    struct model_outcome outcome[MODEL_OUTCOMES];
    if (!vaddr_is_canonical(va)) {
        return false;
    }
    unsigned count = model_outcomes(m, va, outcome);
    for (unsigned i = 0; i < count && i < MODEL_OUTCOMES; i++) {
        if (outcome[i].mapped && leaf_permits(outcome[i].leaf, write ? MODEL_WRITE : MODEL_READ)) {
            return true;
        }
    }
    return false;
}

/* ---- Accesses ---- */

static struct model_report blame_walk(const struct model *m, enum model_rule rule, vaddr_t va,
                                      const struct model_walk *now, unsigned level)
{
    return (struct model_report){
        .rule = rule,
        .cpu = m->current_cpu,
        .pcid = current(m)->pcid,
        .va = va,
        .level = level,
        .table = now->table[level],
        .index = table_index(va, level),
        .old_value = now->entry[level],
        .new_value = now->entry[level],
        .changed = MODEL_NOW,
    };
}

static const char *kind_name(enum model_kind kind)
{
    return kind == MODEL_WRITE ? "write" : kind == MODEL_READ ? "read" : "fetch";
}

/* The highest entry of the way that forbids writing. */
static unsigned read_only_level(const struct model_walk *now)
{
    unsigned level = PAGING_LEVELS;
    while (level > now->level && (now->entry[level].v & PTE_W) != 0) {
        level--;
    }
    return level;
}

/* What memory alone forbids. */
static bool permits(struct model *m, vaddr_t va, enum model_kind kind, const struct model_walk *now)
{
    if (!now->mapped) {
        enum model_rule rule = now->reserved ? MODEL_FAULT_RESERVED : MODEL_FAULT;
        model_violation(m, blame_walk(m, rule, va, now, now->level), "%s of %#lx", kind_name(kind), va.v);
        return false;
    }
    if (!leaf_permits(now->leaf, kind)) {
        enum model_rule rule = va_is_window(va) && kind == MODEL_WRITE ? MODEL_READ_ONLY_TABLE : MODEL_FAULT_RIGHTS;
        unsigned level = kind == MODEL_WRITE ? read_only_level(now) : now->level;
        model_violation(m, blame_walk(m, rule, va, now, level), "%s of %#lx", kind_name(kind), va.v);
        return false;
    }
    return true;
}

static void judge_frames(struct model *m, vaddr_t va, const struct model_walk *now)
{
    for (unsigned level = PAGING_LEVELS; level >= now->level; level--) {
        if (!frame_is_alive(m, now->table[level])) {
            model_violation(m, blame_walk(m, MODEL_DEAD_FRAME, va, now, level),
                            "walk to %#lx: the table of level %u is frame %#lx, which is not in use", va.v, level,
                            now->table[level].v);
            return;
        }
    }
    if (now->mapped && !frame_is_alive(m, pte_pfn(now->leaf))) {
        model_violation(m, blame_walk(m, MODEL_DEAD_FRAME, va, now, now->level),
                        "access to %#lx: frame %#lx is not in use", va.v, pte_pfn(now->leaf).v);
    }
}

static void mark_walk(struct model *m, vaddr_t va, const struct model_walk *now, enum model_kind kind)
{
    for (unsigned level = PAGING_LEVELS; level >= now->level; level--) {
        bool is_last = level == now->level;
        memory_mark(m, now->table[level], table_index(va, level),
                    is_last && kind == MODEL_WRITE ? PTE_A | PTE_D : PTE_A);
    }
}

static void remember(struct model *m, vaddr_t va, const struct model_walk *now, bool write)
{
    struct model_cpu *cpu = current(m);
    struct model_hit *h = &cpu->hit[vaddr_page_number(va) % MODEL_HITS];
    *h = (struct model_hit){.page = vaddr_page_number(va), .generation = cpu->generation, .time = m->clock};
    for (unsigned level = 1; level <= PAGING_LEVELS; level++) {
        const struct model_table *t = level >= now->level ? table_of(m, now->table[level]) : NULL;
        h->since[level - 1] = t == NULL ? &never : &t->since[table_index(va, level)];
    }
    h->frame = pte_pfn(now->leaf);
    h->memory = model_frame(m, h->frame);
    h->writable = leaf_permits(now->leaf, MODEL_WRITE);
    h->dirty = write;
}

static struct model_hit *find_hit(struct model *m, vaddr_t va, bool write)
{
    const struct model_cpu *cpu = current(m);
    struct model_hit *h = &cpu->hit[vaddr_page_number(va) % MODEL_HITS];
    bool good = h->page == vaddr_page_number(va) && h->generation == cpu->generation && h->memory != NULL &&
                *h->since[0] <= h->time && *h->since[1] <= h->time && *h->since[2] <= h->time &&
                *h->since[3] <= h->time && (!write || (h->writable && h->dirty));
    return good ? h : NULL;
}

/* The first access to a page since something on its way changed. */
static char *access_slowly(struct model *m, vaddr_t va, enum model_kind kind, pfn_t *frame)
{
    if (!vaddr_is_canonical(va)) {
        struct model_report r = {.rule = MODEL_FAULT_CANONICAL, .cpu = m->current_cpu, .va = va};
        model_violation(m, r, "%s of %#lx", kind_name(kind), va.v);
        return NULL;
    }
    struct model_walk now = walk_memory(m, va);
    struct judgement j = judge(m, va, kind, &now);
    m->spurious += j.verdict.may_fault_spuriously;
    if (j.verdict.rule != MODEL_NONE) {
        model_violation(m, j.worst.blame, "%s of %#lx may come to %#lx (mapped %d), memory says %#lx (mapped %d)",
                        kind_name(kind), va.v, j.worst.leaf.v, j.worst.mapped, now.leaf.v, now.mapped);
        *frame = pte_pfn(j.worst.leaf);
        return j.worst.mapped && leaf_permits(j.worst.leaf, kind) ? model_frame(m, *frame) : NULL;
    }
    judge_frames(m, va, &now);
    if (va_is_window(va)) {
        rules_window_use(m, va, &now);
    }
    if (!permits(m, va, kind, &now)) {
        return NULL;
    }
    marks_use(m, va, kind, &now);
    mark_walk(m, va, &now, kind);
    if (!j.verdict.may_fault_spuriously) {
        remember(m, va, &now, kind == MODEL_WRITE);
    }
    *frame = pte_pfn(now.leaf);
    return model_frame(m, *frame);
}

static char *access_plainly(struct model *m, vaddr_t va, enum model_kind kind, pfn_t *frame)
{
    const struct model_walk now = walk_memory(m, va);
    if (!permits(m, va, kind, &now)) {
        return NULL;
    }
    mark_walk(m, va, &now, kind);
    *frame = pte_pfn(now.leaf);
    return model_frame(m, *frame);
}

static char *access_page(struct model *m, vaddr_t va, bool write, pfn_t *frame)
{
    if (m->is_plain) {
        return access_plainly(m, va, write ? MODEL_WRITE : MODEL_READ, frame);
    }
    const struct model_hit *h = find_hit(m, va, write);
    if (h != NULL) {
        *frame = h->frame;
        return h->memory;
    }
    return access_slowly(m, va, write ? MODEL_WRITE : MODEL_READ, frame);
}

void *model_access(struct model *m, vaddr_t va, bool write)
{
    pfn_t frame;
    char *page = access_page(m, va, write, &frame);
    return page == NULL ? NULL : page + page_offset_bytes(va.v);
}
