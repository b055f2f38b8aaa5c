/*
 * Seeded random calls over several spaces, against a record of single pages that shares nothing with the product:
 * for each page whether it is mapped, its rights, and the number that was written into it.
 */
#include "arch/arch.h"
#include "arch/layout.h"
#include "unit/vmm_bed.h"

enum { PARTS = 3, PART_PAGES = 700, SPACES = 2 };

/* Each part lies over the end of a table of another level. */
static const uint64_t part_base[PARTS] = {
    VA_PRIVATE + 400ULL * PAGE_BYTES,
    VA_GLOBAL - 300ULL * PAGE_BYTES,
    LAYOUT_SLOT_BASE(9) - 350ULL * PAGE_BYTES,
};

struct page_record {
    bool mapped;
    unsigned rights;
    uint64_t number; /* the page's first word */
};

struct random_run {
    struct vmm_bed bed;
    struct space *space[SPACES];
    struct rng rng;
    uint64_t numbers;
    struct page_record page[SPACES][PARTS][PART_PAGES];
};

static struct random_run run;

struct target {
    unsigned space, part;
    uint64_t first, pages;
    vaddr_t va;
    struct page_record *page;
};

static struct target random_target(struct random_run *r)
{
    struct target t = {.space = (unsigned)rng_below(&r->rng, SPACES), .part = (unsigned)rng_below(&r->rng, PARTS)};
    t.first = rng_below(&r->rng, PART_PAGES);
    uint64_t longest = rng_below(&r->rng, 3) == 0 ? PART_PAGES - t.first : 8;
    t.pages = 1 + rng_below(&r->rng, longest);
    if (t.pages > PART_PAGES - t.first) {
        t.pages = PART_PAGES - t.first;
    }
    t.va = vaddr_add_pages(vaddr(part_base[t.part]), t.first);
    t.page = &r->page[t.space][t.part][t.first];
    return t;
}

static bool all_are(const struct target *t, bool mapped)
{
    for (uint64_t i = 0; i < t->pages; i++) {
        if (t->page[i].mapped != mapped) {
            return false;
        }
    }
    return true;
}

static unsigned random_rights(struct rng *rng)
{
    static const unsigned rights[] = {VMM_READ, VMM_READ | VMM_WRITE, VMM_READ | VMM_EXECUTE};
    return rights[rng_below(rng, ARRAY_LEN(rights))];
}

static void random_map(struct random_run *r, const struct target *t)
{
    unsigned rights = random_rights(&r->rng);
    bool is_free = all_are(t, false);
    enum status s = vmm_map(r->bed.vmm, r->space[t->space], t->va, npages(t->pages), rights);
    if (is_free && s == STATUS_NOMEM) {
        return; /* on a small machine */
    }
    EXPECT_EQ(s, is_free ? STATUS_OK : STATUS_EXISTS);
    for (uint64_t i = 0; is_free && i < t->pages; i++) {
        t->page[i] = (struct page_record){true, rights, 0};
    }
}

static void random_unmap(struct random_run *r, const struct target *t)
{
    bool mapped = all_are(t, true);
    EXPECT_EQ(vmm_unmap(r->bed.vmm, r->space[t->space], t->va, npages(t->pages)), mapped ? STATUS_OK : STATUS_ABSENT);
    for (uint64_t i = 0; mapped && i < t->pages; i++) {
        t->page[i] = (struct page_record){0};
    }
}

static void random_protect(struct random_run *r, const struct target *t)
{
    unsigned rights = random_rights(&r->rng);
    bool mapped = all_are(t, true);
    EXPECT_EQ(vmm_protect(r->bed.vmm, r->space[t->space], t->va, npages(t->pages), rights),
              mapped ? STATUS_OK : STATUS_ABSENT);
    for (uint64_t i = 0; mapped && i < t->pages; i++) {
        t->page[i].rights = rights;
    }
}

/* Translation for any space; contents where the space is current. */
static void compare(struct random_run *r, const struct target *t)
{
    bool is_current = r->bed.vmm->current == r->space[t->space];
    for (uint64_t i = 0; i < t->pages && i < 8; i++) {
        struct page_record *p = &t->page[i];
        vaddr_t va = vaddr_add_pages(t->va, i);
        struct vmm_walk w;
        EXPECT_OK(vmm_translate(r->bed.vmm, r->space[t->space], va, &w));
        EXPECT_EQ(w.present, p->mapped);
        EXPECT_EQ(w.rights, p->mapped ? p->rights : 0);
        if (!is_current || !p->mapped) {
            continue;
        }
        EXPECT_EQ(arch_read64(va), p->number);
        if ((p->rights & VMM_WRITE) != 0) {
            p->number = ++r->numbers;
            arch_write64(va, p->number);
        }
    }
}

static void random_step(struct random_run *r)
{
    struct target t = random_target(r);
    switch (rng_below(&r->rng, 10)) {
    case 0:
    case 1:
    case 2: random_map(r, &t); break;
    case 3:
    case 4: random_unmap(r, &t); break;
    case 5: random_protect(r, &t); break;
    case 6: {
        struct space *spaces[] = {&r->bed.a, &r->bed.b, r->bed.home};
        vmm_bed_switch(&r->bed, spaces[rng_below(&r->rng, ARRAY_LEN(spaces))]);
        break;
    }
    default: compare(r, &t); break;
    }
}

static void compare_figures(struct random_run *r)
{
    for (unsigned s = 0; s < SPACES; s++) {
        uint64_t pages = 0;
        for (unsigned part = 0; part < PARTS; part++) {
            for (unsigned i = 0; i < PART_PAGES; i++) {
                pages += r->page[s][part][i].mapped;
            }
        }
        EXPECT_EQ(r->space[s]->pages.v, pages);
    }
}

TEST(vmm, random_calls_agree_with_a_record_of_pages)
{
    memset(&run, 0, sizeof run);
    REQUIRE(vmm_bed_open(&run.bed));
    run.space[0] = &run.bed.a;
    run.space[1] = &run.bed.b;
    run.rng = rng_seeded(test_seed());
    for (unsigned i = 1; i <= 1500 * test_effort(); i++) {
        random_step(&run);
        if (i % 250 == 0) {
            compare_figures(&run);
            EXPECT(vmm_bed_check(run.bed.vmm));
        }
    }
    vmm_bed_close(&run.bed);
}
