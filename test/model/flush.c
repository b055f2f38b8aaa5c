/*
 * CPUs: which root each had when, and what it has flushed (SDM 3A 4.10.4.1, APM 2 5.5).
 *
 * Nothing is cached here. A flush is an event that is remembered: for a page, in a table by page and PCID; for upper
 * entries, in a list of the PCID's context; for all of a PCID, as the context's `emptied`.
 */
#include <stdlib.h>

#include "arch/arch.h"
#include "lib/string.h"
#include "model/mmu.h"

enum { PAGES_AT_FIRST = 1024, LIST_AT_FIRST = 64, WHO_GLOBAL = MODEL_PCIDS, KEY_LEVEL_SHIFT = 4, KEY_PAGE_SHIFT = 8 };

const struct model_variant model_intel = {
    .pat = {MODEL_WB, MODEL_WC, MODEL_UC_MINUS, MODEL_UC, MODEL_WB, MODEL_WC, MODEL_UC_MINUS, MODEL_UC},
};
const struct model_variant model_amd = {
    .rewalks = true,
    .invpcid_drops_all = true,
    .pat = {MODEL_WB, MODEL_WC, MODEL_UC_MINUS, MODEL_UC, MODEL_WB, MODEL_WC, MODEL_UC_MINUS, MODEL_UC},
};
const struct model_variant model_amd_tce = {
    .tce = true,
    .rewalks = true,
    .pat = {MODEL_WB, MODEL_WC, MODEL_UC_MINUS, MODEL_UC, MODEL_WB, MODEL_WC, MODEL_UC_MINUS, MODEL_UC},
};

static void *checked(void *p)
{
    if (p == NULL) {
        arch_fatal("no memory for the model's CPUs");
    }
    return p;
}

void cpus_start(struct model *m)
{
    m->cpu = checked(calloc(MODEL_CPUS, sizeof *m->cpu));
    for (unsigned i = 0; i < MODEL_CPUS; i++) {
        struct model_cpu *cpu = &m->cpu[i];
        cpu->generation = 1;
        cpu->hit = checked(calloc(MODEL_HITS, sizeof *cpu->hit));
        cpu->pages.capacity = PAGES_AT_FIRST;
        cpu->pages.slot = checked(calloc(PAGES_AT_FIRST, sizeof *cpu->pages.slot));
    }
}

void cpus_end(struct model *m)
{
    for (unsigned i = 0; i < MODEL_CPUS; i++) {
        struct model_cpu *cpu = &m->cpu[i];
        for (unsigned p = 0; p < MODEL_PCIDS; p++) {
            free(cpu->context[p].stint);
            free(cpu->context[p].flush);
        }
        free(cpu->hit);
        free(cpu->pages.slot);
    }
    free(m->cpu);
}

static struct model_cpu *current(const struct model *m)
{
    return &m->cpu[m->current_cpu];
}

/* ---- Pages ---- */

static struct model_page_flush *page_slot(const struct model_pages *pages, uint64_t key)
{
    uint32_t at = (uint32_t)(key * 0x9E3779B97F4A7C15 >> 32) & (pages->capacity - 1);
    while (pages->slot[at].key != 0 && pages->slot[at].key != key) {
        at = (at + 1) & (pages->capacity - 1);
    }
    return &pages->slot[at];
}

static uint64_t page_key(vaddr_t va, unsigned level, unsigned who)
{
    uint64_t prefix = (va.v << 16 >> 16) / level_span_bytes(level);
    return prefix << KEY_PAGE_SHIFT | level << KEY_LEVEL_SHIFT | who;
}

/* Room for more: what was flushed before everything was flushed is left out. */
static void pages_rebuild(struct model_cpu *cpu)
{
    struct model_pages old = cpu->pages, *pages = &cpu->pages;
    uint32_t useful = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < old.capacity; i++) {
            const struct model_page_flush *f = &old.slot[i];
            unsigned who = f->key & ((1U << KEY_LEVEL_SHIFT) - 1);
            uint64_t emptied = who == WHO_GLOBAL ? cpu->emptied : cpu->context[who].emptied;
            if (f->key == 0 || f->time <= emptied) {
                continue;
            }
            if (pass == 0) {
                useful++;
            } else {
                *page_slot(pages, f->key) = *f;
                pages->used++;
            }
        }
        if (pass == 0) {
            uint32_t capacity = PAGES_AT_FIRST;
            while (capacity < useful * 4) {
                capacity *= 2;
            }
            *pages = (struct model_pages){.slot = checked(calloc(capacity, sizeof *pages->slot)), .capacity = capacity};
        }
    }
    free(old.slot);
}

static void page_flushed(struct model *m, struct model_cpu *cpu, vaddr_t va, unsigned who)
{
    unsigned top = m->history->has_large ? PAGING_LEVELS - 1 : 1;
    for (unsigned level = 1; level <= top; level++) {
        if (cpu->pages.used * 4 > cpu->pages.capacity * 3) {
            pages_rebuild(cpu);
        }
        struct model_page_flush *f = page_slot(&cpu->pages, page_key(va, level, who));
        cpu->pages.used += f->key == 0;
        *f = (struct model_page_flush){page_key(va, level, who), m->clock};
    }
}

uint64_t page_emptied(const struct model *m, const struct model_cpu *cpu, unsigned pcid, vaddr_t va, unsigned level,
                      bool global)
{
    (void)m;
    const struct model_page_flush *f = page_slot(&cpu->pages, page_key(va, level, global ? WHO_GLOBAL : pcid));
    uint64_t all = global ? cpu->emptied : cpu->context[pcid].emptied;
    return f->key != 0 && f->time > all ? f->time : all;
}

/* ---- Contexts ---- */

/*
 * A flush of upper entries tells nothing any more when all that ended, ended after it: whatever was cached before it
 * was still in memory just after it, and could be cached then. (With one root all the time.)
 */
static void flushes_compact(struct model *m, struct model_context *c)
{
    if (c->stints != 1) {
        return;
    }
    uint64_t first = m->history->ended_first != 0 ? record_at(m, m->history->ended_first)->to : MODEL_NOW;
    unsigned kept = 0;
    for (unsigned i = 0; i < c->flushes; i++) {
        if (c->flush[i].time >= first) {
            c->flush[kept++] = c->flush[i];
        }
    }
    c->flushes = kept;
}

static void upper_flushed(struct model *m, struct model_context *c, uint64_t page)
{
    if (c->stints == 0) {
        return; /* never ran */
    }
    if (c->flushes == c->flush_capacity) {
        flushes_compact(m, c);
        if (c->flushes * 2 >= c->flush_capacity) {
            c->flush_capacity = c->flush_capacity == 0 ? LIST_AT_FIRST : c->flush_capacity * 2;
            c->flush = checked(realloc(c->flush, c->flush_capacity * sizeof *c->flush));
        }
    }
    c->flush[c->flushes++] = (struct model_flush){m->clock, page};
}

static bool is_running(const struct model_context *c)
{
    return c->stints > 0 && c->stint[c->stints - 1].to == MODEL_NOW;
}

/* All of a PCID but its global entries. What came before is kept only where a global entry may have come from it. */
static void context_empty(struct model *m, struct model_cpu *cpu, struct model_context *c)
{
    c->emptied = m->clock;
    if (keeps_globals(m, cpu)) {
        upper_flushed(m, c, MODEL_EVERY_PAGE);
        return;
    }
    c->known = m->clock;
    c->flushes = 0;
    if (is_running(c)) {
        c->stint[0] = c->stint[c->stints - 1];
        c->stints = 1;
    } else {
        c->stints = 0;
    }
}

static void empty_everything(struct model *m, struct model_cpu *cpu)
{
    bool was_on = cpu->global_pages;
    cpu->global_pages = false; /* so that nothing is kept for them */
    for (unsigned p = 0; p < MODEL_PCIDS; p++) {
        context_empty(m, cpu, &cpu->context[p]);
    }
    cpu->global_pages = was_on;
    cpu->emptied = m->clock;
}

uint64_t cpus_horizon(const struct model *m)
{
    uint64_t horizon = MODEL_NOW;
    for (unsigned i = 0; i < MODEL_CPUS; i++) {
        const struct model_cpu *cpu = &m->cpu[i];
        if (cpu->runs && keeps_globals(m, cpu) && cpu->emptied < horizon) {
            horizon = cpu->emptied;
        }
        for (unsigned p = 0; cpu->runs && p < MODEL_PCIDS; p++) {
            const struct model_context *c = &cpu->context[p];
            horizon = c->stints > 0 && c->emptied < horizon ? c->emptied : horizon;
        }
    }
    return horizon;
}

/* ---- What software does ---- */

void model_use_cpu(struct model *m, unsigned cpu)
{
    m->current_cpu = cpu;
}
paddr_t model_root(const struct model *m)
{
    return current(m)->root;
}

static void drop_page(struct model *m, unsigned pcid, vaddr_t va, bool globals_too, uint64_t upper)
{
    struct model_cpu *cpu = current(m);
    if (m->is_plain) {
        return; /* nothing is held */
    }
    m->clock++;
    page_flushed(m, cpu, va, pcid);
    if (globals_too && keeps_globals(m, cpu)) {
        page_flushed(m, cpu, va, WHO_GLOBAL);
    }
    upper_flushed(m, &cpu->context[pcid], upper);
}

void model_invlpg(struct model *m, vaddr_t va)
{
    if (m->loses_invlpg != NULL && m->loses_invlpg(va)) {
        return;
    }
    drop_page(m, current(m)->pcid, va, !m->variant.invlpg_keeps_globals,
              m->variant.tce ? vaddr_page_number(va) : MODEL_EVERY_PAGE);
}

/*
 * "Will not recur if it would not be caused by the contents of memory" (4.10.4.1): so the global translation that was
 * used goes too.
 */
void model_page_fault(struct model *m, vaddr_t va)
{
    drop_page(m, current(m)->pcid, va, true, vaddr_page_number(va));
}

void model_invpcid(struct model *m, enum model_invpcid type, unsigned pcid, vaddr_t va)
{
    struct model_cpu *cpu = current(m);
    if (type == MODEL_INVPCID_ADDRESS) {
        drop_page(m, pcid, va, false, m->variant.invpcid_drops_all ? MODEL_EVERY_PAGE : vaddr_page_number(va));
        return;
    }
    m->clock++;
    if (type == MODEL_INVPCID_ALL) {
        empty_everything(m, cpu);
    }
    for (unsigned p = 0; p < MODEL_PCIDS; p++) {
        if (type == MODEL_INVPCID_ALL_BUT_GLOBAL || (type == MODEL_INVPCID_CONTEXT && p == pcid)) {
            context_empty(m, cpu, &cpu->context[p]);
        }
    }
    history_prune(m);
}

void model_cr3_load(struct model *m, paddr_t root, unsigned pcid, bool keep)
{
    struct model_cpu *cpu = current(m);
    struct model_context *c = &cpu->context[pcid];
    if (cpu->runs) {
        rules_root_load(m, cpu->root, root);
    }
    m->clock++;
    for (unsigned p = 0; cpu->runs && p < MODEL_PCIDS; p++) {
        if (is_running(&cpu->context[p])) {
            cpu->context[p].stint[cpu->context[p].stints - 1].to = m->clock;
        }
    }
    cpu->runs = true;
    cpu->root = root;
    cpu->pcid = pcid;
    cpu->generation++;
    if (!keep) {
        context_empty(m, cpu, c);
    }
    if (c->stints == c->stint_capacity) {
        c->stint_capacity = c->stint_capacity == 0 ? LIST_AT_FIRST : c->stint_capacity * 2;
        c->stint = checked(realloc(c->stint, c->stint_capacity * sizeof *c->stint));
    }
    c->stint[c->stints++] = (struct model_stint){root.v, m->clock, MODEL_NOW};
    history_add_role(m, paddr_to_pfn(root), PAGING_LEVELS);
    history_prune(m);
    if (!frame_is_alive(m, paddr_to_pfn(root))) {
        model_violation(m, (struct model_report){.rule = MODEL_BAD_ROOT, .frame = paddr_to_pfn(root)},
                        "CR3 is loaded with frame %#lx, which is not in use", paddr_to_pfn(root).v);
    }
}

void model_root_load(struct model *m, paddr_t root)
{
    model_cr3_load(m, root, 0, false);
}

bool model_has_global_pages(const struct model *m)
{
    return current(m)->global_pages;
}

void model_global_pages(struct model *m, bool on)
{
    struct model_cpu *cpu = current(m);
    if (cpu->global_pages != on) {
        m->clock++;
        empty_everything(m, cpu);
        cpu->global_pages = on;
        cpu->generation++;
        history_prune(m);
    }
}
