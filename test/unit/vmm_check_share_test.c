/* The validator on shared tables whose marks, references or loans are broken: host only, through physical memory. */
#include "arch/layout.h"
#include "model/model.h"
#include "unit/vmm_bed.h"
#include "vmm/entry.h"
#include "vmm/vmm_share.h"

enum { RW = VMM_READ | VMM_WRITE };

static struct vmm_loan loan;

static paddr_t entry_of(const struct space *s, uint64_t va, unsigned level)
{
    return model_entry_at(model_machine, s->root, vaddr(va), level);
}

static uint64_t word_at(paddr_t at)
{
    return model_phys_read64(model_machine, at);
}

/* The check says so, naming the invariant. */
static void expect_named(struct vmm *vmm, const char *invariant)
{
    static char text[3000];
    struct buffer_sink b;
    buffer_sink_init(&b, text, sizeof text);
    EXPECT_EQ(vmm_check(vmm, &b.sink), STATUS_CORRUPT);
    bool named = false;
    for (const char *c = text; *c != '\0'; c++) {
        named = named || strncmp(c, invariant, strlen(invariant)) == 0;
    }
    if (!EXPECT(named)) {
        test_note("wanted %s, got: %s", invariant, text);
    }
}

static void expect_seen(struct vmm *vmm, const char *invariant, paddr_t at, uint64_t broken)
{
    const uint64_t old = word_at(at);
    model_phys_write64(model_machine, at, broken);
    expect_named(vmm, invariant);
    model_phys_write64(model_machine, at, old);
    EXPECT(vmm_bed_check(vmm));
}

static uint64_t counting(uint64_t entry, unsigned count)
{
    return entry_with_count((pte_t){entry}, count).v;
}

TEST_HOST(vmm_check, sees_loans_and_entries_that_differ)
{
    for (unsigned level = 2; level <= 3; level++) {
        struct vmm_bed bed;
        loan = (struct vmm_loan){0};
        REQUIRE(vmm_bed_open(&bed));
        struct vmm *vmm = bed.vmm;
        EXPECT_OK(vmm_map(vmm, &bed.a, vaddr(VA_PRIVATE), npages(1), RW));
        EXPECT_OK(vmm_map(vmm, &bed.b, vaddr(VA_PRIVATE), npages(1), RW));
        EXPECT_OK(vmm_lend(vmm, &bed.a, vaddr(VA_PRIVATE), &bed.b, vaddr(VA_GLOBAL), level, VMM_READ, &loan));
        EXPECT(vmm_bed_check(vmm));
        const paddr_t lent = entry_of(&bed.a, VA_PRIVATE, level), borrowed = entry_of(&bed.b, VA_GLOBAL, level);
        const uint64_t other = word_at(entry_of(&bed.b, VA_PRIVATE, level)) & PTE_FRAME_MASK;
        expect_seen(vmm, "VMM-I10", lent, counting(word_at(lent), 1)); /* not marked */
        expect_seen(vmm, "VMM-I10", borrowed, word_at(borrowed) & ~ENTRY_BORROWED);
        expect_seen(vmm, "VMM-I10", borrowed, word_at(borrowed) | PTE_W); /* a right that the loan does not give */
        expect_seen(vmm, "VMM-I10", borrowed, word_at(borrowed) & ~PTE_XD);
        expect_seen(vmm, "VMM-I10", borrowed, (word_at(borrowed) & ~PTE_FRAME_MASK) | other); /* another table */
        expect_seen(vmm, "VMM-I10", borrowed, 0);
        expect_seen(vmm, "VMM-I10", entry_of(&bed.b, VA_PRIVATE, level),
                    word_at(borrowed)); /* borrowed at a second place */
        struct avl_tree all = bed.a.lent;
        bed.a.lent.root = NULL;
        expect_named(vmm, "VMM-I10");
        bed.a.lent = all;
        loan.to.v += level_span_bytes(level);
        expect_named(vmm, "VMM-I10");
        loan.to.v -= level_span_bytes(level);
        const pfn_t table = pte_pfn((pte_t){word_at(lent)});
        EXPECT_OK(pmm_retain(vmm->pmm, table));
        expect_named(vmm, "VMM-I9");
        EXPECT_OK(pmm_release(vmm->pmm, table, NULL));
        EXPECT_OK(vmm_withdraw(vmm, &loan));
        vmm_bed_close(&bed);
    }
}

TEST_HOST(vmm_check, sees_references_that_are_not_the_parents)
{
    for (unsigned whole = 0; whole < 2; whole++) {
        struct vmm_bed bed;
        REQUIRE(vmm_bed_open(&bed));
        struct vmm *vmm = bed.vmm;
        EXPECT_OK(vmm_map(vmm, &bed.a, vaddr(VA_PRIVATE), npages(1), RW));
        EXPECT_OK(vmm_clone(vmm, &bed.a, &bed.b, vaddr(VA_PRIVATE), npages(whole ? PAGES_PER_1G : PAGES_PER_2M)));
        EXPECT(vmm_bed_check(vmm));
        const unsigned level = whole ? 3 : 2;
        const paddr_t one = entry_of(&bed.a, VA_PRIVATE, level), two = entry_of(&bed.b, VA_PRIVATE, level);
        expect_seen(vmm, "VMM-I9", one, 0);
        expect_seen(vmm, "VMM-I9", two, 0);
        expect_seen(vmm, "VMM-I9", two, word_at(two) | PTE_XD);
        expect_seen(vmm, "VMM-I10", one, word_at(one) | PTE_W); /* as if it lent it */
        const pfn_t table = pte_pfn((pte_t){word_at(one)}),
                    pt = pte_pfn((pte_t){word_at(entry_of(&bed.a, VA_PRIVATE, 2))});
        EXPECT_OK(pmm_retain(vmm->pmm, table));
        expect_named(vmm, "VMM-I9");
        EXPECT_OK(pmm_release(vmm->pmm, table, NULL));
        EXPECT_OK(pmm_retain(vmm->pmm, pt)); /* behind a PD that both have: one parent */
        expect_named(vmm, "VMM-I9");
        EXPECT_OK(pmm_release(vmm->pmm, pt, NULL));
        EXPECT_OK(vmm_unshare(vmm, &bed.b, vaddr(VA_PRIVATE), npages(1)));
        const paddr_t leaf = entry_of(&bed.b, VA_PRIVATE, 1);
        expect_seen(vmm, "VMM-I5", leaf, word_at(leaf) | PTE_W); /* marked for copy on write, and writable */
        expect_seen(vmm, "VMM-I5", leaf, word_at(leaf) & ~PTE_COW);
        vmm_bed_close(&bed);
    }
}
