/*
 * The model's MMU (SDM 3A 4.5, 4.10). An access is translated with everything that the CPU remembers, newest memory
 * last: a kept translation is used as it is; else the walk begins below the lowest upper entry that is kept. All
 * that the walk meets is kept. The outcome is compared with a walk through memory alone.
 */
#include <stdarg.h>

#include "arch/layout.h"
#include "model/cache.h"
#include "model/model.h"
#include "unit/test.h"

/* Bits that decide what an access does: not accessed, dirty, nor those that the CPU ignores (11:9, 62:52). */
#define DECIDES (PTE_P | PTE_W | PTE_U | PTE_PWT | PTE_PCD | PTE_PS | PTE_G | PTE_XD | PTE_FRAME_MASK)

/* The outcome of a walk. */
struct walked {
    bool mapped;
    pte_t leaf;          /* frame of the 4 KiB page; W, U, XD as effective */
    unsigned stop_level; /* where it ended */
    pte_t stop_entry;
};

void model_violation(struct model *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct buffer_sink b;
    buffer_sink_init(&b, m->last_violation, sizeof m->last_violation);
    sink_vprintf(&b.sink, format, args);
    va_end(args);
    m->violations++;
    if (!m->violations_wanted) {
        test_expect(false, m->last_violation, __FILE__, __LINE__);
    }
}

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

/* May this frame be used for anything at all? */
static bool frame_is_alive(const struct model *m, pfn_t frame)
{
    if (frame.v >= m->ram.v) {
        return false;
    }
    enum pmm_state s = m->pmm_stands ? pmm_query(&m->pmm, frame).state : PMM_STATE_USED;
    return s == PMM_STATE_USED || s == PMM_STATE_RESERVED || s == PMM_STATE_METADATA;
}

static pte_t *entry_in(struct model *m, pfn_t table, vaddr_t va, unsigned level)
{
    pte_t *entries = model_frame(m, table);
    return entries == NULL ? NULL : &entries[table_index(va, level)];
}

/* Rights of `e` narrowed by those of an entry above it. */
static pte_t narrow(pte_t e, pte_t above)
{
    uint64_t denied = (~above.v & (PTE_W | PTE_U));
    return (pte_t){(e.v & ~denied) | (above.v & PTE_XD)};
}

/* The part of a large leaf that `va` is in, as a leaf of 4 KiB. */
static pte_t cut_large(pte_t e, vaddr_t va, unsigned level)
{
    uint64_t offset = va.v & (level_span_bytes(level) - 1) & PTE_FRAME_MASK;
    uint64_t frame = e.v & PTE_FRAME_MASK & ~(level_span_bytes(level) - 1);
    return (pte_t){(e.v & ~(PTE_FRAME_MASK | PTE_PS)) | frame | offset};
}

static bool has_reserved_bits(pte_t e, unsigned level)
{
    bool large = (level == 2 || level == 3) && (e.v & PTE_PS) != 0;
    uint64_t low = large ? level_span_bytes(level) - 1 - (level_span_bytes(1) * 2 - 1) : 0; /* bit 12 is PAT there */
    return (level == PAGING_LEVELS && (e.v & PTE_PS) != 0) || (e.v & low & PTE_FRAME_MASK) != 0;
}

/* One step: what `e`, read in a table of `level`, makes of the walk. => true: go on in the table it names. */
static bool step(struct walked *w, pte_t e, vaddr_t va, unsigned level, pte_t above)
{
    w->stop_level = level;
    w->stop_entry = e;
    if (!pte_is_present(e) || has_reserved_bits(e, level)) {
        return false;
    }
    bool large = (level == 2 || level == 3) && (e.v & PTE_PS) != 0;
    if (level == 1 || large) {
        w->mapped = true;
        w->leaf = narrow(large ? cut_large(e, va, level) : e, above);
        return false;
    }
    return true;
}

static const pte_t all_rights = {PTE_P | PTE_W | PTE_U};

/* Through memory alone, leaving no trace. */
static struct walked walk_memory(struct model *m, vaddr_t va)
{
    struct walked w = {0};
    pfn_t table = paddr_to_pfn(m->cpu[m->current_cpu].root);
    pte_t above = all_rights;
    for (unsigned level = PAGING_LEVELS; level > 0; level--) {
        const pte_t *e = entry_in(m, table, va, level);
        if (e == NULL || !step(&w, *e, va, level, above)) {
            break;
        }
        above = narrow(*e, above);
        table = pte_pfn(*e);
    }
    return w;
}

static uint64_t prefix(vaddr_t va, unsigned level) { return va.v / level_span_bytes(level); }

/*
 * As the CPU does it: from the lowest upper entry it remembers, reading the rest, keeping it, setting accessed
 * bits. A remembered upper entry holds the rights of the way to it.
 */
static struct walked walk_cpu(struct model *m, vaddr_t va, bool write)
{
    struct model_cpu *cpu = &m->cpu[m->current_cpu];
    struct walked w = {0};
    pfn_t table = paddr_to_pfn(cpu->root);
    pte_t above = all_rights;
    unsigned level = PAGING_LEVELS;
    for (unsigned kept = 2; kept <= PAGING_LEVELS; kept++) {
        pte_t e;
        if (cache_find(&cpu->upper[kept], prefix(va, kept), &e)) {
            above = e;
            table = pte_pfn(e);
            level = kept - 1;
            break;
        }
    }
    for (; level > 0; level--) {
        pte_t *e = entry_in(m, table, va, level);
        if (e == NULL || !frame_is_alive(m, table)) {
            model_violation(m, "walk to %#lx: the table of level %u is frame %#lx, which is not in use", va.v, level,
                            table.v);
            break;
        }
        if (!step(&w, *e, va, level, above)) {
            if (w.mapped) {
                e->v |= write ? PTE_A | PTE_D : PTE_A;
            }
            break;
        }
        e->v |= PTE_A;
        above = narrow(*e, above);
        cache_add(&cpu->upper[level], prefix(va, level), above);
        table = pte_pfn(*e);
    }
    return w;
}

/* What the CPU makes of `va` now, and how it came to it. */
static struct walked translate(struct model *m, vaddr_t va, bool write, const char **how)
{
    struct model_cpu *cpu = &m->cpu[m->current_cpu];
    struct walked w = {.mapped = true, .stop_level = 1};
    *how = "a kept translation";
    if (cache_find(&cpu->tlb, vaddr_page_number(va), &w.leaf)) {
        return w;
    }
    *how = "kept upper entries";
    w = walk_cpu(m, va, write);
    if (w.mapped) {
        cache_add(&cpu->tlb, vaddr_page_number(va), w.leaf);
    }
    return w;
}

bool model_can_access(struct model *m, vaddr_t va, bool write)
{
    struct walked w = {.mapped = true};
    if (!cache_find(&m->cpu[m->current_cpu].tlb, vaddr_page_number(va), &w.leaf)) {
        w = walk_memory(m, va);
    }
    return vaddr_is_canonical(va) && w.mapped && (!write || (w.leaf.v & PTE_W) != 0);
}

void *model_access(struct model *m, vaddr_t va, bool write)
{
    const char *what = write ? "write" : "read";
    if (!vaddr_is_canonical(va)) {
        model_violation(m, "%s of %#lx: not canonical", what, va.v);
        return NULL;
    }
    const char *how;
    struct walked used = translate(m, va, write, &how);
    struct walked now = walk_memory(m, va);
    if (used.mapped != now.mapped || (used.mapped && ((used.leaf.v ^ now.leaf.v) & DECIDES) != 0)) {
        model_violation(m, "%s of %#lx uses %s: %#lx (mapped %d), memory says %#lx (mapped %d)", what, va.v, how,
                        used.leaf.v, used.mapped, now.leaf.v, now.mapped);
    }
    if (!used.mapped) {
        model_violation(m, "%s of %#lx: page fault, the level-%u entry is %#lx", what, va.v, used.stop_level,
                        used.stop_entry.v);
        return NULL;
    }
    if (write && (used.leaf.v & PTE_W) == 0) {
        model_violation(m, "%s of %#lx: page fault, it is read-only: %#lx", what, va.v, used.leaf.v);
        return NULL;
    }
    if (!frame_is_alive(m, pte_pfn(used.leaf))) {
        model_violation(m, "%s of %#lx: frame %#lx is not in use", what, va.v, pte_pfn(used.leaf).v);
    }
    char *page = model_frame(m, pte_pfn(used.leaf));
    return page == NULL ? NULL : page + page_offset_bytes(va.v);
}

/*
 * A frame may go back only when nothing names it any more (R13, R14). Looked for where the CPU forgets: what it
 * forgets now could have been used until now. Translations of window pages are not judged: those of a window that
 * was closed or moved may outlive their table, because R8 keeps them from being used.
 */
static void judge_translation(struct model *m, const struct model_cached *e)
{
    vaddr_t va = vaddr_add_pages(vaddr(0), e->key);
    unsigned slot = table_index(va, PAGING_LEVELS);
    if (slot != LAYOUT_SLOT_SELF && slot != LAYOUT_SLOT_FOREIGN && pte_pfn(e->value).v < m->ram.v &&
        !frame_is_alive(m, pte_pfn(e->value))) {
        model_violation(m, "a translation of %#lx was kept until now, but its frame %#lx is free already", va.v,
                        pte_pfn(e->value).v);
    }
}

static void judge_upper(struct model *m, const struct model_cached *e)
{
    if (!frame_is_alive(m, pte_pfn(e->value))) {
        model_violation(m,
                        "an upper entry (prefix %#lx) was kept until now, but its table, frame %#lx, is free already",
                        e->key, pte_pfn(e->value).v);
    }
}

static void forget_upper(struct model *m, struct model_cpu *cpu)
{
    for (unsigned level = 2; level <= PAGING_LEVELS; level++) {
        cache_each(&cpu->upper[level], judge_upper, m);
        cache_empty(&cpu->upper[level]);
    }
}

void model_invlpg(struct model *m, vaddr_t va)
{
    struct model_cpu *cpu = &m->cpu[m->current_cpu];
    struct model_cached e = {.key = vaddr_page_number(va)};
    if (cache_find(&cpu->tlb, e.key, &e.value)) {
        judge_translation(m, &e);
    }
    cache_remove(&cpu->tlb, e.key);
    forget_upper(m, cpu); /* all of this PCID, whatever the address (4.10.4.1) */
}

void model_root_load(struct model *m, paddr_t root)
{
    struct model_cpu *cpu = &m->cpu[m->current_cpu];
    cpu->root = root;
    cache_each(&cpu->tlb, judge_translation, m);
    cache_empty(&cpu->tlb); /* no global pages in this model yet */
    forget_upper(m, cpu);
    if (!frame_is_alive(m, paddr_to_pfn(root))) {
        model_violation(m, "CR3 is loaded with frame %#lx, which is not in use", paddr_to_pfn(root).v);
    }
}
