/*
 * A second MMU, that shares nothing with the model's but the memory: it really copies. After each event every CPU takes
 * in everything that any walk could take in then, so its caches hold all that may be held. Only for tables of which
 * MMU_BRUTE_INDICES entries are used, else it would take forever.
 */
#ifndef CAIRN_TEST_UNIT_MMU_BRUTE_H
#define CAIRN_TEST_UNIT_MMU_BRUTE_H

#include "unit/mmu_bed.h"

enum {
    MMU_BRUTE_CPUS = 2,
    MMU_BRUTE_INDICES = 4,
    MMU_BRUTE_ADDRESSES = MMU_BRUTE_INDICES * MMU_BRUTE_INDICES * MMU_BRUTE_INDICES * MMU_BRUTE_INDICES,
};

extern const unsigned mmu_brute_index[MMU_BRUTE_INDICES];

/* Address `n` of those that the used entries make. */
vaddr_t mmu_brute_address(unsigned n);

void mmu_brute_start(struct model *m);
/* The events, on the current CPU; a store is one too. Each ends with everyone taking in all there is. */
void mmu_brute_stored(void);
void mmu_brute_cr3(pfn_t root, unsigned pcid, bool keep);
void mmu_brute_pge(bool on);
void mmu_brute_invlpg(vaddr_t va);
void mmu_brute_invpcid(enum model_invpcid type, unsigned pcid, vaddr_t va);
void mmu_brute_fault(vaddr_t va);

/* All outcomes of a read on the current CPU, without doubles: leaf values without G, 0 for a fault. => how many. */
unsigned mmu_brute_outcomes(vaddr_t va, uint64_t *leaf, unsigned max);
/* Does any CPU hold something that names this frame? */
bool mmu_brute_holds(pfn_t frame);

#endif
