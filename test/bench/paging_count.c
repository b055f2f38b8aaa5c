/*
 * Counting at the port.
 *
 * The walker's loads are those of a CPU that caches as much as it can and fetches nothing on its own: a TLB and
 * paging-structure caches without limit, filled by the accesses that are counted here alone, emptied as the manual says
 * (SDM 3A 4.10.4.1). That is a lower bound for what follows a cold start. The model's MMU answers another question,
 * what a CPU may have cached, and cannot say it.
 */
#include "bench/paging_count.h"

#include "arch/arch.h"
#include "arch/paging.h"
#include "bench/bed.h"
#include "model/model.h"

enum { CACHE_SLOTS = 1 << 14 };

/* What is cached: an address prefix, by the level of the entry that it ends at. */
struct cached {
    uint64_t key;     /* the prefix, and its level in the lowest bits */
    uint64_t filled;  /* valid if not before the last emptying of its kind */
};

static struct {
    struct paging_counts counts;
    struct cached leaf[CACHE_SLOTS], upper[CACHE_SLOTS];
    uint64_t clock, leaves_emptied, uppers_emptied;
} now;

static uint64_t key_of(vaddr_t va, unsigned level) { return va.v / level_span_bytes(level) << 3 | level; }

/* The place of the key, or where it would be. */
static struct cached *place(struct cached *cache, uint64_t key, uint64_t emptied)
{
    uint64_t at = key * 0x9E3779B97F4A7C15ULL >> 32;
    for (unsigned tries = 0; tries < CACHE_SLOTS; tries++) {
        struct cached *c = &cache[(at + tries) % CACHE_SLOTS];
        if (c->key == key || c->filled <= emptied) {
            return c;
        }
    }
    bed_fail("CACHE_SLOTS is too small", STATUS_LIMIT);
}

static bool is_cached(struct cached *cache, uint64_t key, uint64_t emptied)
{
    const struct cached *c = place(cache, key, emptied);
    return c->key == key && c->filled > emptied;
}

static void fill(struct cached *cache, uint64_t key, uint64_t emptied)
{
    *place(cache, key, emptied) = (struct cached){key, now.clock};
}

/* At which level the walk ends, in memory: 1, or that of a large page. */
static unsigned leaf_level(vaddr_t va)
{
    for (unsigned level = PAGING_LEVELS - 1; level > 1; level--) {
        paddr_t at = model_entry_at(model_machine, paddr_to_pfn(arch_root()), va, level);
        if (at.v != 0 && (model_phys_read64(model_machine, at) & PTE_PS) != 0) {
            return level;
        }
    }
    return 1;
}

static void use(vaddr_t va)
{
    now.clock++;
    for (unsigned level = 1; level < PAGING_LEVELS; level++) {
        if (is_cached(now.leaf, key_of(va, level), now.leaves_emptied)) {
            return;
        }
    }
    const unsigned leaf = leaf_level(va);
    unsigned kept = leaf + 1; /* the lowest upper entry that is cached */
    while (kept <= PAGING_LEVELS && !is_cached(now.upper, key_of(va, kept), now.uppers_emptied)) {
        kept++;
    }
    now.counts.of[COUNT_WALKER_LOADS] += kept - leaf;
    for (unsigned level = leaf + 1; level < kept; level++) {
        fill(now.upper, key_of(va, level), now.uppers_emptied);
    }
    fill(now.leaf, key_of(va, leaf), now.leaves_emptied);
}

void paging_count_start(void)
{
    now.counts = (struct paging_counts){0};
    now.leaves_emptied = now.uppers_emptied = ++now.clock;
}

struct paging_counts paging_counted(void) { return now.counts; }

/* ---- Around the port: __wrap_f is called instead of f, which is __real_f ---- */

pte_t __real_arch_table_load(vaddr_t entry);
void __real_arch_table_store(vaddr_t entry, pte_t value);
bool __real_arch_table_replace(vaddr_t entry, pte_t *old, pte_t value);
void __real_arch_invlpg(vaddr_t va);
void __real_arch_root_load(paddr_t root);
void __real_arch_page_zero(vaddr_t page);
void __real_arch_flush_others(uint64_t cpus, const vaddr_t *pages, size_t count);

pte_t __wrap_arch_table_load(vaddr_t entry);
void __wrap_arch_table_store(vaddr_t entry, pte_t value);
bool __wrap_arch_table_replace(vaddr_t entry, pte_t *old, pte_t value);
void __wrap_arch_invlpg(vaddr_t va);
void __wrap_arch_root_load(paddr_t root);
void __wrap_arch_page_zero(vaddr_t page);
void __wrap_arch_flush_others(uint64_t cpus, const vaddr_t *pages, size_t count);

pte_t __wrap_arch_table_load(vaddr_t entry)
{
    now.counts.of[COUNT_LOADS]++;
    use(entry);
    return __real_arch_table_load(entry);
}

void __wrap_arch_table_store(vaddr_t entry, pte_t value)
{
    now.counts.of[COUNT_STORES]++;
    use(entry);
    __real_arch_table_store(entry, value);
}

/* As a store: the entry was loaded before, by itself. */
bool __wrap_arch_table_replace(vaddr_t entry, pte_t *old, pte_t value)
{
    now.counts.of[COUNT_STORES]++;
    use(entry);
    return __real_arch_table_replace(entry, old, value);
}

void __wrap_arch_invlpg(vaddr_t va)
{
    now.counts.of[COUNT_INVLPG]++;
    now.uppers_emptied = ++now.clock; /* all of them, whatever the address */
    for (unsigned level = 1; level < PAGING_LEVELS; level++) {
        struct cached *c = place(now.leaf, key_of(va, level), now.leaves_emptied);
        c->key = c->key == key_of(va, level) ? 0 : c->key; /* key 0: no level, so nothing; the place stays taken */
    }
    __real_arch_invlpg(va);
}

void __wrap_arch_root_load(paddr_t root)
{
    now.counts.of[COUNT_CR3_LOADS]++;
    now.leaves_emptied = now.uppers_emptied = ++now.clock;
    __real_arch_root_load(root);
}

void __wrap_arch_page_zero(vaddr_t page)
{
    use(page);
    __real_arch_page_zero(page);
}

void __wrap_arch_flush_others(uint64_t cpus, const vaddr_t *pages, size_t count)
{
    now.counts.of[COUNT_IPIS] += (unsigned)__builtin_popcountll(cpus);
    __real_arch_flush_others(cpus, pages, count);
}
