/*
 * Inside the model's MMU: what is kept of entries and of CPUs. The theory is in possible.c.
 *
 * Model time counts events. A value stored by event t is in memory in the slots [t, t'), t' being the event that
 * replaced it; a flush by event f removes what was cached in slots before f. Walks happen in slots, between two events.
 */
#ifndef CAIRN_TEST_MODEL_MMU_H
#define CAIRN_TEST_MODEL_MMU_H

#include "model/model.h"

/* Bits that decide what an access does: not accessed, dirty, nor those that the CPU ignores (11:9, 62:52). */
#define MODEL_DECIDES (PTE_P | PTE_W | PTE_U | PTE_PWT | PTE_PCD | PTE_PS | PTE_G | PTE_XD | PTE_FRAME_MASK)
#define MODEL_NOW     UINT64_MAX /* end of what has not ended */

enum { MODEL_ROOT_LEVEL = PAGING_LEVELS + 1 }; /* of CR3, in reports */

/* ---- Entries (history.c) ---- */

typedef uint32_t record_t; /* 0: none */

/* A present value that an entry of a table has or had. */
struct model_record {
    uint64_t value;    /* MODEL_DECIDES only */
    uint64_t from, to; /* slots; MODEL_NOW: it is in memory */
    uint32_t table;
    uint16_t index;
    record_t older;                    /* of the same entry */
    record_t frame_next, frame_before; /* of those that name the same frame */
    record_t ended_next;               /* of those that ended, in that order */
    bool needed;                       /* while pruning: something that may be cached came by it */
};

/* Kept of each frame that may be walked as a table. */
struct model_table {
    uint64_t since[TABLE_ENTRIES]; /* last change that matters */
    record_t newest[TABLE_ENTRIES];
    /* When the mark was cleared in the leaf that is there still; 0: never. */
    uint64_t accessed_cleared[TABLE_ENTRIES], dirty_cleared[TABLE_ENTRIES];
    unsigned roles;  /* bit n: a table of level n; 0: no table now */
    unsigned ever;   /* roles that it ever had */
    unsigned opener; /* of a PML4: the CPU that opened its foreign slot */
};

/* Frames outside RAM: a list for all of one 2 MiB, or several such. */
enum { MODEL_DEVICE_LISTS = 8 * TABLE_ENTRIES, MODEL_TYPE_BITS = 4 };

struct model_history {
    struct model_record *record;
    record_t used, capacity, unused; /* [1, used) were given out; a list of those given back, by `older` */
    record_t ended_first, ended_last;
    uint32_t ended_count, sweep_at;
    record_t *naming;           /* by frame, then MODEL_DEVICE_LISTS for frames outside RAM, */
    uint32_t (*typed)[MODEL_TYPE_BITS]; /* and in each list so many with PCD:PWT */
    struct model_table **table; /* by frame */
    uint64_t globals, global_ended; /* present entries with G now; when one went last */
    /* Ever: a present entry with bit 7; a leaf with bits for a cache type. */
    bool has_large, has_typed;
};

static inline struct model_record *record_at(const struct model *m, record_t r)
{
    return &m->history->record[r];
}
static inline struct model_table *table_of(const struct model *m, pfn_t frame)
{
    return frame.v < m->ram.v ? m->history->table[frame.v] : NULL;
}

/* The number of a frame's list; RAM: its own. */
static inline uint64_t history_list(const struct model *m, pfn_t frame)
{
    return frame.v < m->ram.v ? frame.v : m->ram.v + frame.v / PAGES_PER_2M % MODEL_DEVICE_LISTS;
}
static inline unsigned history_type_bits(uint64_t value) { return (unsigned)((value & (PTE_PWT | PTE_PCD)) / PTE_PWT); }

void history_start(struct model *m);
void history_end(struct model *m);
/* A store by a CPU to the word of a frame; the rules of stores are judged (rules.c). */
void history_store(struct model *m, pfn_t frame, unsigned index, uint64_t value);
/* The same, by an operation that loads and stores in one. */
void history_replace(struct model *m, pfn_t frame, unsigned index, uint64_t value);
/* The same, as if it had always been so. */
void history_rewrite(struct model *m, pfn_t frame, unsigned index, uint64_t value);
/* The frame may be walked as a table of `level` from now on, and what it names. */
void history_add_role(struct model *m, pfn_t frame, unsigned level);
/* It is no table any more. */
void history_drop_table(struct model *m, pfn_t frame);
/* Forget ended values that no CPU can hold: those that ended before every CPU's last full flush; sometimes all. */
void history_prune(struct model *m);
/* The first of the records that name `frame` exactly; others may be in the list too (frames outside RAM). */
record_t history_naming(const struct model *m, pfn_t frame);

/* ---- Memory (memory.c) ---- */

pte_t *memory_entry(struct model *m, pfn_t table, unsigned index); /* null outside RAM */
bool frame_is_alive(const struct model *m, pfn_t frame);           /* may it be used for anything at all? */
/* Mark as accessed (and dirty), as a walker does: no event. */
void memory_mark(struct model *m, pfn_t table, unsigned index, uint64_t bits);

/* ---- CPUs (flush.c) ---- */

#define MODEL_EVERY_PAGE UINT64_MAX

/* The CPU ran with this root (and the PCID whose list it is in) in the slots [from, to). */
struct model_stint {
    uint64_t root, from, to;
};

/* Upper entries were dropped: all, or those that lead to `page`. */
struct model_flush {
    uint64_t time, page;
};

/* What one CPU did under one PCID. */
struct model_context {
    uint64_t emptied; /* all but global entries is gone since */
    uint64_t known;   /* stints and flushes before were forgotten: no global entry came from them */
    struct model_stint *stint;
    struct model_flush *flush; /* ascending */
    unsigned stints, stint_capacity, flushes, flush_capacity;
};

/* When single pages were flushed: a table with open addressing. */
struct model_pages {
    struct model_page_flush {
        uint64_t key, time; /* key 0: empty */
    } *slot;
    uint32_t used, capacity;
};

/* A translation that was judged; good while its entries are what they were. */
struct model_hit {
    uint64_t page, generation, time;
    const uint64_t *since[PAGING_LEVELS];
    char *memory;
    pfn_t frame;
    bool writable, dirty;
};

enum { MODEL_HITS = 8 * TABLE_ENTRIES };

struct model_cpu {
    bool runs, global_pages;
    paddr_t root;
    unsigned pcid;
    uint64_t emptied; /* everything is gone since */
    uint64_t generation;
    struct model_context context[MODEL_PCIDS];
    struct model_pages pages;
    struct model_hit *hit; /* MODEL_HITS */
};

void cpus_start(struct model *m);
void cpus_end(struct model *m);
/* Translations of the page of `va` by leaves of `level` cached before this slot are gone. */
uint64_t page_emptied(const struct model *m, const struct model_cpu *cpu, unsigned pcid, vaddr_t va, unsigned level,
                      bool global);
/* From when on walks under this PCID may have left what is there now, global entries included. */
static inline uint64_t globals_since(const struct model_cpu *cpu, const struct model_context *c)
{
    return cpu->emptied > c->known ? cpu->emptied : c->known;
}
/* May global entries be older than the context's last flush? */
static inline bool keeps_globals(const struct model *m, const struct model_cpu *cpu)
{
    return cpu->global_pages && (m->history->globals > 0 || m->history->global_ended > cpu->emptied);
}
/* No CPU holds anything that ended before or in this slot. */
uint64_t cpus_horizon(const struct model *m);

/* ---- Times (times.c) ---- */

enum { MODEL_SPANS = 64 };

/* Slots in which a step of a walk may have been done: ascending, apart. */
struct spans {
    unsigned count;
    struct {
        uint64_t from, to;
    } at[MODEL_SPANS];
};

/* The walk's context: whose caches, for which address. */
struct walker {
    const struct model *m;
    const struct model_cpu *cpu;
    const struct model_context *context;
    vaddr_t va;
    uint64_t after; /* nothing before this slot counts */
};

/* When can the PML4E with this record (null: the present slot only) have been read, CR3 being `root`? */
struct spans spans_begin(const struct walker *w, uint64_t root, const struct model_record *r);
/* ... and the entry below, the entry of `level` having been read in `above`? */
struct spans spans_below(const struct walker *w, const struct spans *above, unsigned level,
                         const struct model_record *r);
/* Was it so in the slot `at` or later? */
bool spans_reach(const struct spans *s, uint64_t at);
/* May an entry of `level` of a paging-structure cache, read in `s`, be there still? */
bool spans_kept(const struct walker *w, const struct spans *s, unsigned level);

/* ---- Walks (walk.c) ---- */

struct model_walk {
    bool mapped, reserved;
    pte_t leaf;     /* as in struct model_outcome */
    unsigned level; /* where it ended */
    pfn_t table[MODEL_ROOT_LEVEL];
    pte_t entry[MODEL_ROOT_LEVEL];
};

extern const pte_t walk_all_rights;
bool entry_is_leaf(uint64_t value, unsigned level);
/* Bits that this machine reserves, so that a walk ends in a fault (SDM 3A 4.5.4). */
bool entry_is_reserved(const struct model *m, uint64_t value, unsigned level);
pte_t entry_narrow(uint64_t value, pte_t above);
pte_t entry_cut(uint64_t value, vaddr_t va, unsigned level, pte_t above);
unsigned leaf_cache(const struct model *m, pte_t leaf);
/* Through memory alone, leaving no trace. */
struct model_walk walk_memory(struct model *m, vaddr_t va);
bool leaf_permits(pte_t leaf, enum model_kind kind);
bool va_is_window(vaddr_t va);
bool va_is_foreign(vaddr_t va); /* a page of the foreign window */
bool va_is_alias(vaddr_t va);   /* ... by way of the foreign space's own window slots: nobody ever uses it */

/* ---- What may be cached (possible.c, held.c) ---- */

/* All outcomes that are not memory's own. */
void possible_each(struct model *m, vaddr_t va, void (*visit)(void *ctx, const struct model_outcome *outcome),
                   void *ctx);
/* May the value be cached anywhere, having come by way of the value `through`? Foreign window pages count, no alias. */
bool record_is_held_through(struct model *m, record_t r, record_t through, struct model_report *by);
/* May any CPU have a translation by it, foreign window pages left out? */
bool record_is_held(struct model *m, record_t r);
/* May another CPU than the current one have cached the value, or take it in now? */
bool record_is_held_elsewhere(struct model *m, record_t r, struct model_report *by);
/* Set `needed` in this record and those above it, for each way in which it may be cached. */
void record_mark_needed(struct model *m, record_t r);

/* ---- Cache types (types.c) ---- */

/* A present value was stored: has any frame of the leaf two types now? */
void types_stored(struct model *m, pfn_t table, unsigned index, uint64_t value);

/* ---- Accessed and dirty (marks.c) ---- */

/* The entry of a table that is walked becomes `value`; `atomic`: nothing came in since it was loaded. */
void marks_store(struct model *m, pfn_t table, unsigned index, uint64_t value, bool atomic);
/* The access that comes to this walk's leaf. */
void marks_use(struct model *m, vaddr_t va, enum model_kind kind, const struct model_walk *now);

/* ---- Rules and reports (rules.c, report.c) ---- */

void rules_store(struct model *m, pfn_t table, unsigned index, uint64_t old, uint64_t value);
void rules_stored(struct model *m, pfn_t table, unsigned index, uint64_t value);
void rules_root_load(struct model *m, paddr_t old, paddr_t root);
void rules_window_use(struct model *m, vaddr_t va, const struct model_walk *now);

__attribute__((format(printf, 3, 4))) void model_violation(struct model *m, struct model_report report,
                                                           const char *format, ...);
/* A report about the entry that a record is of. */
struct model_report report_of(const struct model *m, enum model_rule rule, const struct model_record *r,
                              unsigned level);

#endif
