/*
 * What hand-written histories of the model's MMU are made of: a root, tables, pages that hold a number, stores to
 * entries by physical address, and the expected outcome of an access.
 */
#ifndef CAIRN_TEST_UNIT_MMU_BED_H
#define CAIRN_TEST_UNIT_MMU_BED_H

#include "arch/layout.h"
#include "model/model.h"
#include "unit/test.h"

#define MMU_TABLE (PTE_P | PTE_W | PTE_U)
#define MMU_RW    (PTE_P | PTE_W | PTE_XD)
#define MMU_RO    (PTE_P | PTE_XD)
#define MMU_SLOT  (PTE_P | PTE_W | PTE_XD)
/* An address in the private user part; others are pages behind it. */
#define MMU_VA 0x0000028000000000

struct mmu_bed {
    struct model *m;
    pfn_t root; /* loaded on CPU 0, PCID 0 */
};

/* A fresh machine by one maker's rules whose CPU 0 runs on a root of its own. Violations are only counted. */
struct mmu_bed mmu_bed(const struct model_variant *variant);

/* Frames in use: a table of zeroes; a page with `number` in its first word; a root with its self slot. */
pfn_t mmu_table(struct mmu_bed *bed);
pfn_t mmu_page(struct mmu_bed *bed, uint64_t number);
pfn_t mmu_root(struct mmu_bed *bed);
void mmu_free(struct mmu_bed *bed, pfn_t frame);

/* The place of an entry; tables on the way are made, each linked by one store. */
paddr_t mmu_entry(struct mmu_bed *bed, pfn_t root, uint64_t va, unsigned level);
/* A store to an entry by the current CPU. */
void mmu_store(struct mmu_bed *bed, paddr_t entry, uint64_t value);
/* Map `frame` at `va`; => the place of the PTE. */
paddr_t mmu_map(struct mmu_bed *bed, pfn_t root, uint64_t va, pfn_t frame, uint64_t bits);
static inline uint64_t mmu_value(pfn_t frame, uint64_t bits)
{
    return pte_make(frame, bits).v;
}

/* The current CPU: CR3 with a PCID. */
void mmu_load(struct mmu_bed *bed, pfn_t root, unsigned pcid, bool keep);

/* What the rules make of an access now; MODEL_NONE: it sees what memory says. */
void mmu_expect(struct mmu_bed *bed, uint64_t va, enum model_kind kind, enum model_rule rule, const char *file,
                int line);
#define MMU_EXPECT(bed, va, kind, rule) mmu_expect(bed, va, kind, rule, __FILE__, __LINE__)
/* Exactly the violations so far, and the last one is of this rule. */
void mmu_expect_violations(struct mmu_bed *bed, unsigned count, enum model_rule rule, const char *file, int line);
#define MMU_EXPECT_VIOLATIONS(bed, count, rule) mmu_expect_violations(bed, count, rule, __FILE__, __LINE__)

/* May something reach this frame at `va` (MODEL_READ), on the current CPU? */
bool mmu_may_reach(struct mmu_bed *bed, uint64_t va, pfn_t frame);

#define MMU_MAKERS 3
extern const struct model_variant *const mmu_makers[MMU_MAKERS]; /* Intel, AMD, AMD with TCE */

#endif
