/* The validator and the walks on broken tables: broken through the model's physical memory, so on the host only. */
#include "arch/layout.h"
#include "model/model.h"
#include "unit/vmm_share_bed.h"

enum { RW = VMM_READ | VMM_WRITE };

/* Space a has one page at VA_PRIVATE, and a kernel page exists. */
static bool start(struct vmm_bed *bed, vaddr_t *kernel_page)
{
    return vmm_bed_open(bed) && EXPECT_OK(vmm_map(bed->vmm, &bed->a, vaddr(VA_PRIVATE), npages(1), RW)) &&
           EXPECT_OK(kpages_alloc(bed->vmm, npages(1), ARENA_ALIGN_PAGE, 0, "check", kernel_page)) &&
           EXPECT(vmm_bed_check(bed->vmm));
}

static void finish(struct vmm_bed *bed, vaddr_t kernel_page)
{
    EXPECT_OK(kpages_free(bed->vmm, kernel_page));
    vmm_bed_close(bed);
}

/* The check says CORRUPT, names the invariant, and is content again when the word at `at` is put back. */
static void expect_seen(struct vmm_bed *bed, const char *invariant, paddr_t at, uint64_t broken)
{
    static char text[3000];
    struct buffer_sink b;
    buffer_sink_init(&b, text, sizeof text);
    uint64_t old = model_phys_read64(model_machine, at);
    model_phys_write64(model_machine, at, broken);
    EXPECT_EQ(vmm_check(bed->vmm, &b.sink), STATUS_CORRUPT);
    bool named = false;
    for (const char *c = text; *c != '\0'; c++) {
        named = named || strncmp(c, invariant, strlen(invariant)) == 0;
    }
    if (!EXPECT(named)) {
        test_note("wanted %s, got: %s", invariant, text);
    }
    model_phys_write64(model_machine, at, old);
    EXPECT(vmm_bed_check(bed->vmm));
}

static uint64_t word_at(paddr_t at) { return model_phys_read64(model_machine, at); }

static paddr_t entry_of(const struct space *s, uint64_t va, unsigned level)
{
    return model_entry_at(model_machine, s->root, vaddr(va), level);
}

TEST_HOST(vmm_check, sees_each_invariant_broken)
{
    struct vmm_bed bed;
    vaddr_t kernel_page;
    REQUIRE(start(&bed, &kernel_page));
    const struct space *a = &bed.a;
    paddr_t pte = entry_of(a, VA_PRIVATE, 1), pde = entry_of(a, VA_PRIVATE, 2);
    expect_seen(&bed, "VMM-I1", pde, word_at(pde) + (1ULL << 9));                       /* counts one too many */
    expect_seen(&bed, "VMM-I1", entry_of(a, kernel_page.v, 2), word_at(entry_of(a, kernel_page.v, 2)) & ~(1ULL << 9));
    expect_seen(&bed, "VMM-I1", entry_of(a, LAYOUT_TEMP_BASE, 3),
                word_at(entry_of(a, LAYOUT_TEMP_BASE, 3)) | 1ULL << 52);
    expect_seen(&bed, "VMM-I5", pde, word_at(pde) & ~PTE_W);
    expect_seen(&bed, "VMM-I5", pde, word_at(pde) & ~PTE_U);
    expect_seen(&bed, "VMM-I5", entry_of(a, kernel_page.v, 2), word_at(entry_of(a, kernel_page.v, 2)) | PTE_U);
    paddr_t self = entry_of(a, LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF), 4),
            foreign = entry_of(a, LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN), 4);
    expect_seen(&bed, "VMM-I2", self, pte_make(bed.b.root, PTE_P | PTE_W | PTE_XD).v);
    expect_seen(&bed, "VMM-I2", self, word_at(self) | PTE_U);
    expect_seen(&bed, "VMM-I2", foreign,
                pte_make(bed.b.root, PTE_P | PTE_W | PTE_XD).v); /* a is not current: nothing is open there */
    paddr_t kernel = entry_of(a, LAYOUT_KERNEL_BASE, 4);
    expect_seen(&bed, "VMM-I3", kernel, 0);
    expect_seen(&bed, "VMM-I3", paddr(kernel.v + 3ULL * ENTRY_BYTES), word_at(kernel)); /* slot 259 */
    expect_seen(&bed, "VMM-I4", pte, pte_make(pfn(model_machine->ram.v - 1), word_at(pte) & ~PTE_FRAME_MASK).v);
    expect_seen(&bed, "VMM-I4", pde, pte_make(pfn(model_machine->ram.v - 1), word_at(pde) & ~PTE_FRAME_MASK).v);
    expect_seen(&bed, "VMM-I5", pte, word_at(pte) & ~PTE_XD);
    expect_seen(&bed, "VMM-I5", entry_of(a, LAYOUT_IMAGE_BASE, 1), word_at(entry_of(a, LAYOUT_IMAGE_BASE, 1)) | PTE_W);
    expect_seen(&bed, "VMM-I5", pte, word_at(pte) | 1ULL << 58); /* bits that are no rights */
    expect_seen(&bed, "VMM-I6", paddr(pte.v + ENTRY_BYTES), word_at(pte));
    vaddr_t temp;
    EXPECT_OK(temp_map(bed.vmm, bed.a.root, &temp));
    expect_seen(&bed, "VMM-I7", entry_of(a, temp.v, 1), 0);
    expect_seen(&bed, "VMM-I7", paddr(entry_of(a, temp.v, 1).v + ENTRY_BYTES), word_at(entry_of(a, temp.v, 1)));
    EXPECT_OK(temp_unmap(bed.vmm, temp));
    finish(&bed, kernel_page);
}

/* Writable and executable is what the mark says, no more and no less; the zero frame is for copy on write only. */
TEST_HOST(vmm_check, sees_marks_that_do_not_fit_the_rights)
{
    struct vmm_bed bed;
    vaddr_t kernel_page;
    REQUIRE(start(&bed, &kernel_page));
    const unsigned named = RW | VMM_EXECUTE | VMM_WRITE_EXECUTE;
    const pfn_t zero = zero_frame_of(&bed);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE + 2 * PAGE_BYTES), npages(1), named));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_PRIVATE + 3 * PAGE_BYTES), zero, npages(1), named | VMM_COPY,
                             true));
    const paddr_t plain = entry_of(&bed.a, VA_PRIVATE, 1), both = paddr(plain.v + 2ULL * ENTRY_BYTES),
                  copy = paddr(plain.v + 3ULL * ENTRY_BYTES);
    expect_seen(&bed, "VMM-I5", both, word_at(both) & ~PTE_WX);
    expect_seen(&bed, "VMM-I5", both, word_at(both) & ~PTE_W);
    expect_seen(&bed, "VMM-I5", both, word_at(both) | PTE_XD);
    expect_seen(&bed, "VMM-I5", plain, word_at(plain) | PTE_WX);
    expect_seen(&bed, "VMM-I5", copy, word_at(copy) & ~PTE_COW_WRITE);
    expect_seen(&bed, "VMM-I5", copy, word_at(copy) | PTE_W);
    expect_seen(&bed, "VMM-I4", copy, word_at(copy) & ~(PTE_COW | PTE_COW_WRITE | PTE_WX));
    finish(&bed, kernel_page);
}

TEST_HOST(vmm_check, sees_wrong_figures_and_a_broken_arena)
{
    struct vmm_bed bed;
    vaddr_t kernel_page;
    REQUIRE(start(&bed, &kernel_page));
    uint64_t *figures[] = {&bed.a.pages.v,
                           &bed.a.tables.v,
                           &bed.vmm->kernel.pages.v,
                           &bed.vmm->kernel.tables.v,
                           &bed.vmm->kernel_tables.v,
                           &bed.vmm->arena.used.v};
    for (unsigned i = 0; i < ARRAY_LEN(figures); i++) {
        ++*figures[i];
        EXPECT_EQ(vmm_check(bed.vmm, NULL), STATUS_CORRUPT);
        --*figures[i];
    }
    /* The sum is right, its parts are not. */
    bed.vmm->kernel.tables.v++, bed.vmm->kernel_tables.v--;
    EXPECT_EQ(vmm_check(bed.vmm, NULL), STATUS_CORRUPT);
    bed.vmm->kernel.tables.v--, bed.vmm->kernel_tables.v++;
    /* A table that somebody else holds too, a PML4 in a free frame, an empty table that was not given back. */
    pfn_t pt = pte_pfn((pte_t){word_at(entry_of(&bed.a, VA_PRIVATE, 2))}), root = bed.a.root;
    EXPECT_OK(pmm_retain(bed.vmm->pmm, pt));
    EXPECT_EQ(vmm_check(bed.vmm, NULL), STATUS_CORRUPT);
    EXPECT_OK(pmm_release(bed.vmm->pmm, pt, NULL));
    bed.a.root = pfn(model_machine->ram.v - 1);
    EXPECT_EQ(vmm_check(bed.vmm, NULL), STATUS_CORRUPT);
    bed.a.root = root;
    paddr_t pte = entry_of(&bed.a, VA_PRIVATE, 1), pde = entry_of(&bed.a, VA_PRIVATE, 2);
    uint64_t leaf = word_at(pte), parent = word_at(pde);
    model_phys_write64(model_machine, pte, 0);
    model_phys_write64(model_machine, pde, parent - (1ULL << 9));
    bed.a.pages.v--;
    EXPECT_EQ(vmm_check(bed.vmm, NULL), STATUS_CORRUPT);
    bed.a.pages.v++;
    model_phys_write64(model_machine, pde, parent);
    model_phys_write64(model_machine, pte, leaf);
    finish(&bed, kernel_page);
}

/* Every call stops at an entry that no correct code wrote, and changes nothing. */
TEST_HOST(vmm_check, corrupt_entries_are_reported_and_not_followed)
{
    struct vmm_bed bed;
    vaddr_t kernel_page;
    REQUIRE(start(&bed, &kernel_page));
    static const struct { unsigned level; uint64_t bits; } broken[] = {
        {4, PTE_PS}, {4, PTE_G}, {3, PTE_PCD}, {3, 1ULL << 60}, {2, 1ULL << 62}, {2, PTE_G}, {2, PTE_PWT},
    };
    test_expect_reports(5 * ARRAY_LEN(broken));
    for (unsigned turn = 0; turn < ARRAY_LEN(broken); turn++) {
        paddr_t at = entry_of(&bed.a, VA_PRIVATE, broken[turn].level);
        uint64_t old = word_at(at), free = pmm_stats(bed.vmm->pmm).free.v;
        model_phys_write64(model_machine, at, old | broken[turn].bits);
        const vaddr_t va = vaddr(VA_PRIVATE);
        struct vmm_walk w;
        EXPECT_EQ(vmm_translate(bed.vmm, &bed.a, va, &w), STATUS_CORRUPT);
        EXPECT_EQ(w.level, broken[turn].level);
        EXPECT_EQ(vmm_map(bed.vmm, &bed.a, vaddr_add_pages(va, 1), npages(1), RW), STATUS_CORRUPT);
        EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, vaddr_add_pages(va, 1), pfn(1), npages(1), RW, false),
                  STATUS_CORRUPT);
        EXPECT_EQ(vmm_unmap(bed.vmm, &bed.a, va, npages(1)), STATUS_CORRUPT);
        EXPECT_EQ(vmm_protect(bed.vmm, &bed.a, va, npages(1), VMM_READ), STATUS_CORRUPT);
        EXPECT_EQ(vmm_check(bed.vmm, NULL), STATUS_CORRUPT);
        EXPECT_EQ(pmm_stats(bed.vmm->pmm).free.v, free);
        model_phys_write64(model_machine, at, old);
    }
    finish(&bed, kernel_page);
}

static bool only_one(void *ctx, const struct vmm_mapping *m)
{
    *(struct vmm_mapping *)ctx = *m;
    return false;
}

/* Large pages are seen as such and never descended into (R3). */
TEST_HOST(vmm_check, large_pages_are_recognised)
{
    struct vmm_bed bed;
    vaddr_t kernel_page;
    REQUIRE(start(&bed, &kernel_page));
    const unsigned levels[] = {2, 3};
    for (unsigned i = 0; i < ARRAY_LEN(levels); i++) {
        unsigned level = levels[i];
        const uint64_t va = VA_PRIVATE + level_span_bytes(level); /* the neighbour of the one that is used */
        paddr_t at = paddr(entry_of(&bed.a, VA_PRIVATE, level).v + ENTRY_BYTES);
        model_phys_write64(model_machine, at, level_span_bytes(level) * 3 | PTE_P | PTE_W | PTE_U | PTE_XD | PTE_PS);
        struct vmm_walk w;
        EXPECT_OK(vmm_translate(bed.vmm, &bed.a, vaddr(va + 0x12345), &w));
        EXPECT(w.present && w.level == level && w.page_bytes == level_span_bytes(level) && w.rights == (RW | VMM_USER));
        EXPECT_EQ(w.address.v, level_span_bytes(level) * 3 + 0x12345);
        EXPECT_EQ(vmm_map(bed.vmm, &bed.a, vaddr(va), npages(1), RW), STATUS_EXISTS);
        EXPECT_EQ(vmm_map(bed.vmm, &bed.a, vaddr(va - PAGE_BYTES), npages(2), RW), STATUS_EXISTS);
        npages_t taken = vmm_bed_limit(&bed, 0); /* no table to cut it with */
        EXPECT_EQ(vmm_unmap(bed.vmm, &bed.a, vaddr(va), npages(1)), STATUS_NOMEM);
        EXPECT_EQ(vmm_protect(bed.vmm, &bed.a, vaddr(va), npages(1), RW), STATUS_NOMEM);
        vmm_bed_unlimit(&bed, taken);
        struct vmm_mapping m = {0};
        vmm_visit(bed.vmm, &bed.a, vaddr(va), vaddr(LAYOUT_USER_END), only_one, &m);
        EXPECT(m.base.v == va && m.page_bytes == level_span_bytes(level) &&
               pages_to_bytes(m.pages) == level_span_bytes(level));
        model_phys_write64(model_machine, at, 0);
    }
    finish(&bed, kernel_page);
}

TEST_HOST(vmm_check, tables_that_are_not_as_promised_are_refused_at_the_start)
{
    static struct vmm vmm;
    struct model *m = model_start(16 * MIB);
    test_expect_reports(5);
    static const struct { uint64_t va; unsigned level;
    } needed[] = {
        {LAYOUT_SLOT_BASE(LAYOUT_SLOT_FOREIGN), 4},
        {LAYOUT_KERNEL_BASE, 4},
        {LAYOUT_TEMP_BASE, 3},
        {LAYOUT_TEMP_BASE, 2},
    };
    for (unsigned i = 0; i < ARRAY_LEN(needed); i++) {
        paddr_t at = model_entry_at(m, m->boot_root, vaddr(needed[i].va), needed[i].level);
        uint64_t old = word_at(at);
        model_phys_write64(m, at, old == 0 ? pte_make(m->boot_root, PTE_P | PTE_W).v : 0);
        model_root_load(m, pfn_to_paddr(m->boot_root));
        EXPECT_EQ(vmm_init(&vmm, &m->pmm), STATUS_CORRUPT);
        model_phys_write64(m, at, old);
    }
    /* A large page where the PT of temporary mappings should be (R3). */
    paddr_t at = model_entry_at(m, m->boot_root, vaddr(LAYOUT_TEMP_BASE), 2);
    uint64_t old = word_at(at);
    model_phys_write64(m, at, level_span_bytes(2) | PTE_P | PTE_W | PTE_XD | PTE_PS);
    model_root_load(m, pfn_to_paddr(m->boot_root));
    EXPECT_EQ(vmm_init(&vmm, &m->pmm), STATUS_CORRUPT);
    model_phys_write64(m, at, old);
}
