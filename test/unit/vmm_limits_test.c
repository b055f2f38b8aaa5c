/* Where the VMM's fixed tables end (gather, record), and where a change must not take the look's word: host only, they
 * need physical addresses that no machine has. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "model/model.h"
#include "unit/arena_bed.h"
#include "unit/vmm_bed.h"

enum { RW = VMM_READ | VMM_WRITE };

static const pfn_t device = {0x80000000};

/*
 * More tables unhooked at once than the gather has room for, frames (64 tables) and window pages (32) alike, with no
 * owned frame that would flush in between: each must be freed, and no window page may go on showing one of them.
 */
TEST_HOST(vmm_limits, more_tables_than_the_gather_holds_go_back_at_once)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const uint64_t tables = VMM_GATHER_TABLES + 6;
    const npages_t pages = npages(tables * PAGES_PER_2M);
    for (unsigned i = 0; i < 2; i++) {
        pfn_t first = pfn_add(device, i * pages.v);
        EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_PRIVATE), first, pages, RW, false));
        for (uint64_t k = 0; k < tables; k++) {
            EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr_add_pages(vaddr(VA_PRIVATE), k * PAGES_PER_2M)),
                      first.v + k * PAGES_PER_2M);
        }
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr(VA_PRIVATE), pages));
        EXPECT_EQ(bed.a.tables.v, 1);
    }
    for (uint64_t k = 0; k < tables; k++) { /* and all of them when the space dies */
        vaddr_t va = vaddr_add_pages(vaddr(VA_PRIVATE), k * PAGES_PER_2M);
        EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, va, device, npages(1), RW, false));
    }
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

/* A range whose look reads more than the record keeps: two edge tables that are not full, and 550 between. */
TEST_HOST(vmm_limits, a_range_beyond_the_record_is_read_again)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const npages_t pages = npages(PAGES_PER_2M * 552ULL - 2);
    static_assert(2 * (PAGES_PER_2M - 1) + 552 > VMM_RECORD_ENTRIES, "more than the record keeps");
    const vaddr_t va = vaddr_add_pages(vaddr(VA_PRIVATE), 1);
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, va, device, pages, RW, false));
    EXPECT_OK(vmm_protect(bed.vmm, &bed.a, va, pages, VMM_READ));
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr_add_pages(va, pages.v - 1)), device.v + pages.v - 1);
    EXPECT_EQ(vmm_unmap(bed.vmm, &bed.a, va, npages(pages.v + 1)), STATUS_ABSENT);
    EXPECT(vmm_bed_check(bed.vmm));
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, va, pages));
    EXPECT(bed.a.tables.v == 1 && bed.a.pages.v == 0);
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

/* Tables are missing at the front of the range and there at its end: what was made is known to be empty, the rest is
 * taken from the record, and the two are not mixed up. */
TEST_HOST(vmm_limits, a_range_from_missing_tables_into_present_ones)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const vaddr_t border = vaddr_add_pages(vaddr(VA_PRIVATE), PAGES_PER_1G);
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr_add_pages(border, 100), device, npages(1), RW, false));
    const uint64_t before = PAGES_PER_2M * 3ULL;
    const vaddr_t va = vaddr(border.v - pages_to_bytes(npages(before)));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, va, npages(before + 50), RW));
    EXPECT_EQ(vmm_bed_frame_of(&bed, &bed.a, vaddr_add_pages(border, 100)), device.v);
    EXPECT_EQ(bed.a.pages.v, before + 51);
    EXPECT_EQ(bed.a.tables.v, 1 + 1 + 2 + 4);
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

/* The second frame is no RAM: the first one's reference goes back. */
TEST_HOST(vmm_limits, frames_that_cannot_all_be_owned_are_not_owned_at_all)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    const pfn_t last = pfn(model_machine->ram.v - 1);
    EXPECT_OK(pmm_claim(bed.vmm->pmm, last, npages(1)));
    test_expect_reports(1);
    EXPECT_EQ(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_GLOBAL), last, npages(2), RW, true), STATUS_MISUSE);
    EXPECT_EQ(pmm_query(bed.vmm->pmm, last).references, 1);
    EXPECT_OK(pmm_free(bed.vmm->pmm, last));
    vmm_bed_close(&bed);
}

/* A count that says less than what was found: reported, not believed, nothing changed. */
TEST_HOST(vmm_limits, a_table_that_holds_more_than_it_counts_is_corrupt)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(3), RW));
    paddr_t pde = model_entry_at(model_machine, bed.a.root, vaddr(VA_PRIVATE), 2);
    uint64_t old = model_phys_read64(model_machine, pde);
    model_phys_write64(model_machine, pde, old - (1ULL << 9));
    test_expect_reports(2);
    EXPECT_EQ(vmm_unmap(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(3)), STATUS_CORRUPT);
    EXPECT_EQ(vmm_protect(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(3), VMM_READ), STATUS_CORRUPT);
    model_phys_write64(model_machine, pde, old);
    EXPECT(vmm_bed_check(bed.vmm));
    vmm_bed_close(&bed);
}

/* What the boot code left in the slot for zeroing is gone after the start (VMM-I7). */
TEST_HOST(vmm_limits, the_slot_for_zeroing_is_empty_between_calls)
{
    static struct vmm vmm;
    struct model *m = model_start(16 * MIB);
    paddr_t slot = model_entry_at(m, m->boot_root, vaddr(LAYOUT_TEMP_BASE), 1);
    model_phys_write64(m, slot, pte_make(m->image_pt, PTE_P | PTE_W | PTE_XD).v);
    model_root_load(m, pfn_to_paddr(m->boot_root));
    (void)arch_read64(vaddr(LAYOUT_TEMP_BASE)); /* as the boot code does: the CPU remembers it */
    EXPECT_OK(vmm_init_with(&vmm, &m->pmm, model_pointer, model_address));
    EXPECT_EQ(model_phys_read64(m, slot), 0);
}

/* Rights are what the whole walk leaves: an upper entry that is narrower than the leaf decides. */
TEST_HOST(vmm_limits, effective_rights_are_those_of_the_narrowest_entry)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(1), RW | VMM_USER));
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_GLOBAL), npages(1), VMM_READ | VMM_EXECUTE));
    static const struct { uint64_t va, flip; unsigned rights; } narrowed[] = {
        {VA_PRIVATE, PTE_W, VMM_READ | VMM_USER},
        {VA_PRIVATE, PTE_U, RW},
        {VA_GLOBAL, PTE_XD, VMM_READ},
    };
    for (unsigned i = 0; i < ARRAY_LEN(narrowed); i++) {
        for (unsigned level = 2; level <= PAGING_LEVELS; level++) {
            paddr_t at = model_entry_at(model_machine, bed.a.root, vaddr(narrowed[i].va), level);
            uint64_t old = model_phys_read64(model_machine, at);
            model_phys_write64(model_machine, at, old ^ narrowed[i].flip);
            model_root_load(model_machine, pfn_to_paddr(bed.vmm->current->root));
            struct vmm_walk w;
            EXPECT_OK(vmm_translate(bed.vmm, &bed.a, vaddr(narrowed[i].va), &w));
            EXPECT_EQ(w.rights, narrowed[i].rights);
            model_phys_write64(model_machine, at, old);
        }
    }
    vmm_bed_close(&bed);
}

/* A space that was destroyed is one no longer, whatever is asked of it; the number of spaces goes back. */
TEST_HOST(vmm_limits, a_destroyed_space_is_no_space)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    static struct space c;
    const unsigned count = bed.vmm->space_count;
    EXPECT_OK(space_create(bed.vmm, &c));
    EXPECT_OK(space_destroy(bed.vmm, &c));
    EXPECT_EQ(bed.vmm->space_count, count);
    test_expect_reports(3);
    EXPECT_EQ(vmm_map(bed.vmm, &c, vaddr(VA_PRIVATE), npages(1), RW), STATUS_MISUSE);
    EXPECT_EQ(space_switch(bed.vmm, &c), STATUS_MISUSE);
    EXPECT_EQ(space_destroy(bed.vmm, &c), STATUS_MISUSE);
    bed.vmm->space_count = VMM_SPACES_MAX + 1;
    EXPECT_EQ(space_create(bed.vmm, &c), STATUS_LIMIT);
    bed.vmm->space_count = count;
    vmm_bed_close(&bed);
}

static bool merged(void *ctx, const struct vmm_mapping *m)
{
    (void)m;
    return ++*(unsigned *)ctx < 2; /* the second one says stop */
}

static bool counted(void *ctx, const struct vmm_mapping *m)
{
    (void)m;
    ++*(unsigned *)ctx;
    return true;
}

/* Neighbours that continue each other in frames but not in kind stay apart, and a visitor that stops is not called
 * again. */
TEST_HOST(vmm_limits, visit_keeps_kinds_apart_and_stops_when_told)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    pfn_t frame = pfn(model_machine->ram.v - 4);
    EXPECT_OK(pmm_claim(bed.vmm->pmm, frame, npages(4)));
    vaddr_t va = vaddr(VA_PRIVATE);
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, va, frame, npages(2), RW, true)); /* owned ... */
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr_add_pages(va, 2), pfn_add(frame, 2), npages(2), RW, false));
    paddr_t last = model_entry_at(model_machine, bed.a.root, vaddr_add_pages(va, 3), 1);
    model_phys_write64(model_machine, last, model_phys_read64(model_machine, last) | PTE_PCD); /* ... and uncached */
    unsigned calls = 0;
    vmm_visit(bed.vmm, &bed.a, vaddr(0), vaddr(LAYOUT_USER_END), counted, &calls);
    EXPECT_EQ(calls, 3);
    calls = 0;
    vmm_visit(bed.vmm, &bed.a, vaddr(0), vaddr(LAYOUT_USER_END), merged, &calls);
    EXPECT_EQ(calls, 2);
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, va, npages(4)));
    for (uint64_t i = 0; i < 4; i++) {
        EXPECT_OK(pmm_free(bed.vmm->pmm, pfn_add(frame, i)));
    }
    vmm_bed_close(&bed);
}

struct asker {
    struct vmm_bed *bed;
    unsigned calls;
    uint64_t last_frame;
};

static bool ask_elsewhere(void *ctx, const struct vmm_mapping *m)
{
    struct asker *asker = ctx;
    asker->calls++;
    asker->last_frame = paddr_to_pfn(m->address).v;
    EXPECT_EQ(vmm_bed_frame_of(asker->bed, &asker->bed->b, vaddr(VA_GLOBAL)), UINT64_MAX);
    return true;
}

/* The visitor names another space just where the visit leaves a table: the visit goes on in its own space. */
TEST_HOST(vmm_limits, a_visitor_may_ask_at_the_end_of_a_table)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    for (uint64_t i = 0; i < 3; i++) { /* the last two pages of a table, the first of the next */
        vaddr_t va = vaddr_add_pages(vaddr(VA_PRIVATE), PAGES_PER_2M - 2 + i);
        EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, va, pfn_add(device, 10 * i), npages(1), RW, false));
    }
    struct asker asker = {.bed = &bed};
    vmm_visit(bed.vmm, &bed.a, vaddr(0), vaddr(LAYOUT_USER_END), ask_elsewhere, &asker);
    EXPECT(asker.calls == 3 && asker.last_frame == device.v + 20);
    vmm_bed_close(&bed);
}

/* A small page and a large one that continues it are two mappings. */
TEST_HOST(vmm_limits, visit_keeps_page_sizes_apart)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    vaddr_t va = vaddr_add_pages(vaddr(VA_PRIVATE), PAGES_PER_2M - 1);
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, va, pfn(device.v - 1), npages(1), RW, false));
    paddr_t at = paddr(model_entry_at(model_machine, bed.a.root, va, 2).v + ENTRY_BYTES);
    model_phys_write64(model_machine, at, pte_make(device, PTE_P | PTE_W | PTE_XD | PTE_PS).v);
    unsigned calls = 0;
    vmm_visit(bed.vmm, &bed.a, vaddr(0), vaddr(LAYOUT_USER_END), counted, &calls);
    EXPECT_EQ(calls, 2);
    model_phys_write64(model_machine, at, 0);
    vmm_bed_close(&bed);
}

static bool is_no_window(void *ctx, const struct vmm_mapping *m)
{
    unsigned slot = table_index(m->base, PAGING_LEVELS);
    *(bool *)ctx = *(bool *)ctx && slot != LAYOUT_SLOT_SELF && slot != LAYOUT_SLOT_FOREIGN;
    return true;
}

/* R23: tables are no mappings, in either window. */
TEST_HOST(vmm_limits, a_visit_of_everything_leaves_the_windows_out)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_PRIVATE), device, npages(1), RW, false));
    bool none = true;
    vmm_visit(bed.vmm, bed.home, vaddr(0), vaddr(0), is_no_window, &none);
    vmm_visit(bed.vmm, &bed.a, vaddr(0), vaddr(0), is_no_window, &none);
    EXPECT(none);
    vmm_bed_close(&bed);
}

/* Neither nodes nor addresses for them: refused, nothing lost. */
TEST_HOST(vmm_limits, kernel_pages_without_a_node_are_refused)
{
    struct vmm_bed bed;
    REQUIRE(vmm_bed_open(&bed));
    struct vmm *vmm = bed.vmm;
    const struct arena arena = vmm->arena;
    const vaddr_t node_next = vmm->node_next, none = vaddr(1);
    const uint64_t used = pmm_stats(vmm->pmm).used.v;
    arena_bed_hide_nodes(&vmm->arena);
    vmm->node_next = vaddr(LAYOUT_ARENA_BASE);
    vaddr_t base = none;
    EXPECT_EQ(kpages_alloc(vmm, npages(1), ARENA_ALIGN_PAGE, KPAGES_GUARDED, "none", &base), STATUS_NOMEM);
    EXPECT(base.v == none.v && pmm_stats(vmm->pmm).used.v == used && pmm_stats(vmm->pmm).promised.v == 0);
    vmm->arena = arena;
    vmm->node_next = node_next;
    vmm_bed_close(&bed);
}
