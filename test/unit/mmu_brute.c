/* The MMU that copies. Written from the manual once more (SDM 3A 4.5, 4.10), not from the model. */
#include "unit/mmu_brute.h"

enum { SET_SLOTS = 1 << 13 };

#define KEPT_BITS (PTE_P | PTE_W | PTE_U | PTE_PWT | PTE_PCD | PTE_PS | PTE_G | PTE_XD)

const unsigned mmu_brute_index[MMU_BRUTE_INDICES] = {0, 1, LAYOUT_SLOT_FOREIGN, LAYOUT_SLOT_SELF};

/* A cached entry: of an upper cache (level: of the entry) or of the TLB (level: of the leaf, by page). */
struct cached {
    bool used, is_tlb, global;
    unsigned level, pcid;
    uint64_t number; /* address bits above: of the entry, or of the 4 KiB page */
    uint64_t frame;  /* of the table, or of the whole leaf */
    uint64_t bits;   /* rights, and the cache bits of a leaf as in a PTE */
};

struct brute_cpu {
    bool runs, pge;
    pfn_t root;
    unsigned pcid, count;
    struct cached set[SET_SLOTS];
};

static struct {
    struct model *m;
    struct brute_cpu cpu[MMU_BRUTE_CPUS];
    struct cached kept[SET_SLOTS];
} brute;

vaddr_t mmu_brute_address(unsigned n)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < PAGING_LEVELS; i++) {
        number = number * TABLE_ENTRIES + mmu_brute_index[n % MMU_BRUTE_INDICES];
        n /= MMU_BRUTE_INDICES;
    }
    uint64_t bytes = pages_to_bytes(npages(number));
    return vaddr((uint64_t)((int64_t)(bytes << 16) >> 16));
}

static struct brute_cpu *current(void)
{
    return &brute.cpu[brute.m->current_cpu];
}
static uint64_t page_of(vaddr_t va)
{
    return vaddr_page_number(vaddr(va.v << 16 >> 16));
}
static uint64_t above(uint64_t page, unsigned level)
{
    return page >> 9 * (level - 1);
}

static bool is_equal(const struct cached *a, const struct cached *b)
{
    return a->is_tlb == b->is_tlb && a->global == b->global && a->level == b->level && a->pcid == b->pcid &&
           a->number == b->number && a->frame == b->frame && a->bits == b->bits;
}

static void keep(struct brute_cpu *cpu, struct cached e)
{
    e.used = true;
    e.pcid = e.global ? 0 : e.pcid;
    uint64_t hash = (e.number * 31 + e.frame * 7 + e.bits + e.level * 3 + e.pcid + e.is_tlb) * 0x9E3779B97F4A7C15;
    unsigned at = (unsigned)(hash >> 40) % SET_SLOTS;
    while (cpu->set[at].used && !is_equal(&cpu->set[at], &e)) {
        at = (at + 1) % SET_SLOTS;
    }
    cpu->count += !cpu->set[at].used;
    cpu->set[at] = e;
    EXPECT(cpu->count < SET_SLOTS / 2);
}

/* ---- Taking in ---- */

struct entry {
    bool usable, is_leaf;
    uint64_t frame, bits;
};

/* An entry read from memory as one of `level`, with the rights of the way. */
static struct entry read_entry(uint64_t table, unsigned index, unsigned level, uint64_t rights)
{
    struct entry e = {0};
    if (table >= brute.m->ram.v) {
        return e;
    }
    uint64_t v = model_phys_read64(brute.m, paddr(pfn_to_paddr(pfn(table)).v + index * (uint64_t)ENTRY_BYTES));
    const struct model_variant *machine = &brute.m->variant;
    bool ps = (v & PTE_PS) != 0;
    if ((v & PTE_P) == 0 || (level == 4 && ps) || (level == 3 && ps && machine->no_1g)) {
        return e;
    }
    if (((v & PTE_XD) != 0 && machine->no_nx) ||
        (machine->physical_bits != 0 && (v & PTE_FRAME_MASK) >= 1ULL << machine->physical_bits)) {
        return e; /* reserved */
    }
    e.is_leaf = level == 1 || ps;
    e.frame = pte_pfn((pte_t){v}).v;
    e.bits = v & KEPT_BITS;
    if (e.is_leaf && level > 1) {
        bool pat = (e.frame & 1) != 0;
        e.frame -= pat;
        e.bits = (e.bits & ~PTE_PS) | (pat ? PTE_PS : 0);
        if (e.frame % (1ULL << 9 * (level - 1)) != 0) {
            return (struct entry){0}; /* reserved address bits */
        }
    }
    e.bits &= rights | ~(PTE_W | PTE_U);
    e.bits |= rights & PTE_XD;
    e.usable = true;
    return e;
}

static void take_leaf(struct brute_cpu *cpu, struct entry e, unsigned level, uint64_t number)
{
    unsigned pages = level == 1 ? 1 : level == 2 ? MMU_BRUTE_INDICES : MMU_BRUTE_INDICES * MMU_BRUTE_INDICES;
    for (unsigned i = 0; i < pages; i++) {
        uint64_t page = number;
        for (unsigned l = level, n = i; l > 1; l--, n /= MMU_BRUTE_INDICES) {
            page = page * TABLE_ENTRIES + mmu_brute_index[n % MMU_BRUTE_INDICES];
        }
        bool global = cpu->pge && (e.bits & PTE_G) != 0;
        keep(cpu, (struct cached){.is_tlb = true,
                                  .global = global,
                                  .level = level,
                                  .pcid = cpu->pcid,
                                  .number = page,
                                  .frame = e.frame,
                                  .bits = e.bits & ~PTE_G});
    }
}

static void take_from(struct brute_cpu *cpu, uint64_t table, unsigned level, uint64_t prefix, uint64_t rights)
{
    for (unsigned i = 0; i < MMU_BRUTE_INDICES; i++) {
        struct entry e = read_entry(table, mmu_brute_index[i], level, rights);
        uint64_t number = prefix * TABLE_ENTRIES + mmu_brute_index[i];
        if (e.usable && e.is_leaf) {
            take_leaf(cpu, e, level, number);
        } else if (e.usable) {
            keep(cpu, (struct cached){.level = level,
                                      .pcid = cpu->pcid,
                                      .number = number,
                                      .frame = e.frame,
                                      .bits = e.bits & (PTE_W | PTE_U | PTE_XD)});
        }
    }
}

static void take_in(void)
{
    for (unsigned c = 0; c < MMU_BRUTE_CPUS; c++) {
        struct brute_cpu *cpu = &brute.cpu[c];
        if (!cpu->runs) {
            continue;
        }
        take_from(cpu, cpu->root.v, PAGING_LEVELS, 0, PTE_W | PTE_U);
        for (unsigned level = PAGING_LEVELS; level > 1; level--) {
            memcpy(brute.kept, cpu->set, sizeof cpu->set);
            for (unsigned i = 0; i < SET_SLOTS; i++) {
                const struct cached *e = &brute.kept[i];
                if (e->used && !e->is_tlb && e->level == level && e->pcid == cpu->pcid) {
                    take_from(cpu, e->frame, level - 1, e->number, e->bits);
                }
            }
        }
    }
}

/* ---- Forgetting ---- */

struct flush {
    enum { EVERYTHING, ALL_BUT_GLOBAL, ONE_PCID, PAGE } what;
    unsigned pcid;
    uint64_t page;
    bool globals, all_upper; /* of PAGE: the global translation too; all upper entries of the PCID */
};

static bool is_removed(const struct cached *e, const struct flush *f)
{
    switch (f->what) {
    case EVERYTHING: return true;
    case ALL_BUT_GLOBAL: return !e->global;
    case ONE_PCID: return !e->global && e->pcid == f->pcid;
    case PAGE: break;
    }
    if (e->global) {
        return f->globals && above(e->number, e->level) == above(f->page, e->level);
    }
    if (e->pcid != f->pcid) {
        return false;
    }
    if (e->is_tlb) {
        return above(e->number, e->level) == above(f->page, e->level);
    }
    return f->all_upper || e->number == above(f->page, e->level);
}

static void forget(struct flush f)
{
    struct brute_cpu *cpu = current();
    memcpy(brute.kept, cpu->set, sizeof cpu->set);
    memset(cpu->set, 0, sizeof cpu->set);
    cpu->count = 0;
    for (unsigned i = 0; i < SET_SLOTS; i++) {
        if (brute.kept[i].used && !is_removed(&brute.kept[i], &f)) {
            keep(cpu, brute.kept[i]);
        }
    }
}

void mmu_brute_start(struct model *m)
{
    brute.m = m;
    memset(brute.cpu, 0, sizeof brute.cpu);
}

void mmu_brute_stored(void)
{
    take_in();
}

void mmu_brute_cr3(pfn_t root, unsigned pcid, bool keeps)
{
    struct brute_cpu *cpu = current();
    cpu->runs = true;
    cpu->root = root;
    cpu->pcid = pcid;
    if (!keeps) {
        forget((struct flush){.what = ONE_PCID, .pcid = pcid});
    }
    take_in();
}

void mmu_brute_pge(bool on)
{
    if (current()->pge != on) {
        current()->pge = on;
        forget((struct flush){.what = EVERYTHING});
        take_in();
    }
}

void mmu_brute_invlpg(vaddr_t va)
{
    forget((struct flush){.what = PAGE,
                          .pcid = current()->pcid,
                          .page = page_of(va),
                          .globals = !brute.m->variant.invlpg_keeps_globals,
                          .all_upper = !brute.m->variant.tce});
    take_in();
}

void mmu_brute_invpcid(enum model_invpcid type, unsigned pcid, vaddr_t va)
{
    switch (type) {
    case MODEL_INVPCID_ADDRESS:
        forget((struct flush){
            .what = PAGE, .pcid = pcid, .page = page_of(va), .all_upper = brute.m->variant.invpcid_drops_all});
        break;
    case MODEL_INVPCID_CONTEXT: forget((struct flush){.what = ONE_PCID, .pcid = pcid}); break;
    case MODEL_INVPCID_ALL: forget((struct flush){.what = EVERYTHING}); break;
    case MODEL_INVPCID_ALL_BUT_GLOBAL: forget((struct flush){.what = ALL_BUT_GLOBAL}); break;
    }
    take_in();
}

void mmu_brute_fault(vaddr_t va)
{
    forget((struct flush){.what = PAGE, .pcid = current()->pcid, .page = page_of(va), .globals = true});
    take_in();
}

/* ---- Questions ---- */

static void add(uint64_t *leaf, unsigned max, unsigned *count, uint64_t value)
{
    for (unsigned i = 0; i < *count && i < max; i++) {
        if (leaf[i] == value) {
            return;
        }
    }
    if (*count < max) {
        leaf[*count] = value;
    }
    ++*count;
}

unsigned mmu_brute_outcomes(vaddr_t va, uint64_t *leaf, unsigned max)
{
    const struct brute_cpu *cpu = current();
    uint64_t page = page_of(va);
    unsigned count = 0;
    if (!read_entry(cpu->root.v, table_index(va, PAGING_LEVELS), PAGING_LEVELS, 0).usable) {
        add(leaf, max, &count, 0);
    }
    for (unsigned i = 0; i < SET_SLOTS; i++) {
        const struct cached *e = &cpu->set[i];
        if (!e->used || !(e->global || e->pcid == cpu->pcid)) {
            continue;
        }
        if (e->is_tlb && e->number == page) {
            uint64_t inside = page & ((1ULL << 9 * (e->level - 1)) - 1);
            add(leaf, max, &count, pte_make(pfn(e->frame + inside), e->bits).v);
        } else if (!e->is_tlb && e->number == above(page, e->level) && e->frame < brute.m->ram.v &&
                   !read_entry(e->frame, table_index(va, e->level - 1), e->level - 1, 0).usable) {
            add(leaf, max, &count, 0);
        }
    }
    return count;
}

bool mmu_brute_holds(pfn_t frame)
{
    for (unsigned c = 0; c < MMU_BRUTE_CPUS; c++) {
        for (unsigned i = 0; i < SET_SLOTS; i++) {
            const struct cached *e = &brute.cpu[c].set[i];
            uint64_t pages = e->is_tlb ? 1ULL << 9 * (e->level - 1) : 1;
            if (e->used && frame.v >= e->frame && frame.v < e->frame + pages) {
                return true;
            }
        }
    }
    return false;
}
