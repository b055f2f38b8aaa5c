/*
 * The page tables that stay.
 *
 * The frames come from the watermark allocator; each is filled through one page of the boot window while the
 * trampoline's tables are loaded. Only what must be there for the new CR3 is built here: the PML4 with its self slot,
 * the PDPTs of the four kernel slots, the image with the rights of its sections, the boot window, and the table of the
 * temporary mappings. Everything else is mapped afterwards by kmap.c through the new self window. None of these tables
 * is ever given back, so their parent entries carry no live count (vmm/entry.h).
 */
#include "arch/arch.h"
#include "kernel/init.h"
#include "lib/macros.h"
#include "vmm/window.h"

enum { IMAGE_TABLES_MAX = 2 }; /* 4 MiB of image, like the trampoline's; the linker script asserts it */

/* A table under construction. */
struct table {
    pfn_t frame;
};

void *init_window_map(unsigned page, pfn_t frame)
{
    vaddr_t va = vaddr_add_pages(vaddr(LAYOUT_BOOT_WINDOW), page);
    arch_table_store(window_entry(WINDOW_OWN, va, 1), pte_make(frame, PTE_P | PTE_W | PTE_XD));
    arch_invlpg(va); /* the page may have shown another frame before */
    return vaddr_to_ptr(va);
}

static struct table new_table(enum hold_kind kind)
{
    struct table t = {init_frame(kind)};
    init_window_map(INIT_WINDOW_BUILD, t.frame);
    arch_page_zero(ptr_to_vaddr(init_window(INIT_WINDOW_BUILD)));
    return t;
}

static void set_entry(const struct table *t, unsigned index, pte_t entry)
{
    pte_t *entries = init_window_map(INIT_WINDOW_BUILD, t->frame);
    entries[index] = entry;
}

static void link_table(const struct table *parent, vaddr_t va, unsigned level, const struct table *child)
{
    set_entry(parent, table_index(va, level), pte_make(child->frame, TABLE_BITS_KERNEL));
}

static void link_slot(const struct table *pml4, unsigned slot, const struct table *pdpt)
{
    set_entry(pml4, slot, pte_make(pdpt->frame, TABLE_BITS_KERNEL));
}

static void map_section(struct table tables[], const char *start, const char *end, uint64_t bits)
{
    for (vaddr_t va = ptr_to_vaddr(start); va.v < ptr_to_vaddr(end).v; va = vaddr_add_pages(va, 1)) {
        pfn_t frame = paddr_to_pfn(paddr(machine.image_start.v + (va.v - LAYOUT_IMAGE_BASE)));
        set_entry(&tables[table_index(va, 2)], table_index(va, 1), pte_make(frame, bits));
    }
}

static struct table build_image(void)
{
    struct table tables[IMAGE_TABLES_MAX];
    unsigned used = (unsigned)spans_touched(vaddr(LAYOUT_IMAGE_BASE),
                                            bytes_to_pages_up(machine.image_end.v - machine.image_start.v).v, 2);
    for (unsigned i = 0; i < used; i++) {
        tables[i] = new_table(HOLD_USED);
    }
    map_section(tables, image_init_text, image_init_text_end, PTE_P);
    map_section(tables, image_init_rodata, image_init_rodata_end, PTE_P | PTE_XD);
    map_section(tables, image_init_data, image_init_data_end, PTE_P | PTE_W | PTE_XD);
    map_section(tables, image_text, image_text_end, PTE_P);
    map_section(tables, image_rodata, image_rodata_end, PTE_P | PTE_XD);
    map_section(tables, image_data, image_data_end, PTE_P | PTE_W | PTE_XD);

    struct table pd = new_table(HOLD_USED);
    for (unsigned i = 0; i < used; i++) {
        link_table(&pd, vaddr(LAYOUT_IMAGE_BASE + i * level_span_bytes(2)), 2, &tables[i]);
    }
    return pd;
}

/* The boot window again, with what it shows now: boot information and screen. */
static struct table build_window(void)
{
    struct table pt = new_table(HOLD_USED);
    for (unsigned page = 0; page < INIT_WINDOW_BUILD; page++) {
        vaddr_t va = ptr_to_vaddr(init_window(page));
        pte_t entry = arch_table_load(window_entry(WINDOW_OWN, va, 1));
        if (pte_is_present(entry)) {
            set_entry(&pt, table_index(va, 1), entry);
        }
    }
    return pt;
}

static struct table build_pdpt(vaddr_t va, const struct table *pd)
{
    struct table pdpt = new_table(HOLD_USED);
    if (pd != NULL) {
        link_table(&pdpt, va, 3, pd);
    }
    return pdpt;
}

static struct table build_temp_pd(void)
{
    struct table pt = new_table(HOLD_USED);
    struct table pd = new_table(HOLD_USED);
    link_table(&pd, vaddr(LAYOUT_TEMP_BASE), 2, &pt);
    return pd;
}

void init_tables(void)
{
    struct table image_pd = build_image();
    struct table window_pt = build_window();
    link_table(&image_pd, vaddr(LAYOUT_BOOT_WINDOW), 2, &window_pt);
    struct table temp_pd = build_temp_pd();

    struct table image = build_pdpt(vaddr(LAYOUT_IMAGE_BASE), &image_pd);
    struct table temp = build_pdpt(vaddr(LAYOUT_TEMP_BASE), &temp_pd);
    struct table kernel = build_pdpt(vaddr(LAYOUT_KERNEL_BASE), NULL);
    struct table states = new_table(HOLD_METADATA);

    struct table pml4 = new_table(HOLD_USED);
    link_slot(&pml4, LAYOUT_SLOT_KERNEL, &kernel);
    link_slot(&pml4, LAYOUT_SLOT_PMM, &states);
    link_slot(&pml4, LAYOUT_SLOT_TEMP, &temp);
    link_slot(&pml4, LAYOUT_SLOT_IMAGE, &image);
    set_entry(&pml4, LAYOUT_SLOT_SELF, pte_make(pml4.frame, SLOT_BITS));
    arch_root_load(pfn_to_paddr(pml4.frame));
}
