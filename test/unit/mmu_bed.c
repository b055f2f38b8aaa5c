/* The bed of the model's histories. */
#include "unit/mmu_bed.h"

#include "model/overheard.h"

const struct model_variant *const mmu_makers[MMU_MAKERS] = {&model_intel, &model_amd, &model_amd_tce};

pfn_t mmu_table(struct mmu_bed *bed)
{
    pfn_t frame = {0};
    EXPECT_EQ(pmm_alloc(&bed->m->pmm, PMM_KERNEL, &frame), STATUS_OK);
    memset(model_frame(bed->m, frame), 0, PAGE_BYTES);
    return frame;
}

pfn_t mmu_page(struct mmu_bed *bed, uint64_t number)
{
    pfn_t frame = mmu_table(bed);
    model_phys_write64(bed->m, pfn_to_paddr(frame), number);
    return frame;
}

static paddr_t entry_in(pfn_t table, unsigned index)
{
    return paddr(pfn_to_paddr(table).v + index * (uint64_t)ENTRY_BYTES);
}

pfn_t mmu_root(struct mmu_bed *bed)
{
    pfn_t root = mmu_table(bed);
    model_phys_write64(bed->m, entry_in(root, LAYOUT_SLOT_SELF), mmu_value(root, MMU_SLOT));
    return root;
}

void mmu_free(struct mmu_bed *bed, pfn_t frame)
{
    EXPECT_EQ(model_pmm_free(&bed->m->pmm, frame), STATUS_OK);
}

struct mmu_bed mmu_bed(const struct model_variant *variant)
{
    struct mmu_bed bed = {.m = model_start(16 * MIB)};
    bed.m->variant = *variant;
    model_want_violations(bed.m);
    bed.root = mmu_root(&bed);
    mmu_load(&bed, bed.root, 0, false);
    return bed;
}

void mmu_store(struct mmu_bed *bed, paddr_t entry, uint64_t value)
{
    model_phys_store64(bed->m, entry, value);
}

paddr_t mmu_entry(struct mmu_bed *bed, pfn_t root, uint64_t va, unsigned level)
{
    pfn_t table = root;
    for (unsigned l = PAGING_LEVELS; l > level; l--) {
        paddr_t at = entry_in(table, table_index(vaddr(va), l));
        if ((model_phys_read64(bed->m, at) & PTE_P) == 0) {
            mmu_store(bed, at, mmu_value(mmu_table(bed), MMU_TABLE));
        }
        table = pte_pfn((pte_t){model_phys_read64(bed->m, at)});
    }
    return entry_in(table, table_index(vaddr(va), level));
}

paddr_t mmu_map(struct mmu_bed *bed, pfn_t root, uint64_t va, pfn_t frame, uint64_t bits)
{
    paddr_t at = mmu_entry(bed, root, va, 1);
    mmu_store(bed, at, mmu_value(frame, bits));
    return at;
}

void mmu_load(struct mmu_bed *bed, pfn_t root, unsigned pcid, bool keep)
{
    model_cr3_load(bed->m, pfn_to_paddr(root), pcid, keep);
}

void mmu_expect(struct mmu_bed *bed, uint64_t va, enum model_kind kind, enum model_rule rule, const char *file,
                int line)
{
    struct model_verdict v = model_judge(bed->m, vaddr(va), kind);
    if (!test_expect(v.rule == rule, "the outcome of this access", file, line)) {
        test_note("wanted: %s; got: %s", model_rule_name(rule), model_rule_name(v.rule));
    }
}

void mmu_expect_violations(struct mmu_bed *bed, unsigned count, enum model_rule rule, const char *file, int line)
{
    bool ok = bed->m->violations == count && (count == 0 || bed->m->last.rule == rule);
    if (!test_expect(ok, "these violations", file, line)) {
        test_note("wanted %u, the last: %s; got %u: %s", count, model_rule_name(rule), bed->m->violations,
                  bed->m->last_violation);
    }
}

bool mmu_may_reach(struct mmu_bed *bed, uint64_t va, pfn_t frame)
{
    struct model_outcome outcome[MODEL_OUTCOMES];
    unsigned count = model_outcomes(bed->m, vaddr(va), outcome);
    for (unsigned i = 0; i < count && i < MODEL_OUTCOMES; i++) {
        if (outcome[i].mapped && pte_pfn(outcome[i].leaf).v == frame.v) {
            return true;
        }
    }
    return false;
}
