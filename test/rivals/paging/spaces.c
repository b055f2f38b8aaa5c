/* The rivals' spaces: PML4s with the kernel's entries, and how a space ends. */
#include "rivals/paging/rival.h"

static const unsigned kernel_slots[] = {LAYOUT_SLOT_KERNEL, LAYOUT_SLOT_PMM, LAYOUT_SLOT_TEMP, RIVAL_SLOT,
                                        LAYOUT_SLOT_IMAGE};
enum { KERNEL_SLOTS = sizeof kernel_slots / sizeof kernel_slots[0], TABLES_MAX = 8192 };

static struct {
    pfn_t root[PAGING_SPACES];
    unsigned current;
    pte_t kernel[KERNEL_SLOTS];
    pfn_t gone[TABLES_MAX]; /* tables of a space that ends */
    unsigned gone_count;
} now;

static uint64_t slot_offset(unsigned slot) { return slot * (uint64_t)ENTRY_BYTES; }

enum status rival_start(const struct paging_subject *s)
{
    enum status status = s->reach->prepare == NULL ? STATUS_OK : s->reach->prepare();
    now.current = 0;
    now.root[0] = model_machine->boot_root;
    for (unsigned i = 0; i < KERNEL_SLOTS; i++) {
        paddr_t at = paddr(pfn_to_paddr(now.root[0]).v + slot_offset(kernel_slots[i]));
        now.kernel[i] = (pte_t){model_phys_read64(model_machine, at)};
    }
    return status;
}

enum status rival_create(const struct paging_subject *s, unsigned space)
{
    pfn_t root;
    enum status status = rival_take_frame(&root);
    if (status != STATUS_OK) {
        return status;
    }
    vaddr_t page = s->reach->show(root);
    arch_page_zero(page);
    for (unsigned i = 0; i < KERNEL_SLOTS; i++) {
        arch_table_store(vaddr_add(page, slot_offset(kernel_slots[i])), now.kernel[i]);
    }
    arch_table_store(vaddr_add(page, slot_offset(LAYOUT_SLOT_SELF)), pte_make(root, PTE_P | PTE_W | PTE_XD));
    s->reach->hide(page);
    now.root[space] = root;
    return STATUS_OK;
}

/* Frames of all tables below `table`, which is the one of `level` for `va`. */
static void collect(const struct reach *reach, pfn_t table, vaddr_t va, unsigned level)
{
    vaddr_t page = reach->is_recursive ? recursive_entry(LAYOUT_SLOT_FOREIGN, va, level) : reach->show(table);
    unsigned entries = level == PAGING_LEVELS ? LAYOUT_SLOT_KERNEL : TABLE_ENTRIES;
    for (unsigned i = 0; i < entries; i++) {
        pte_t e = arch_table_load(vaddr_add(page, slot_offset(i)));
        if (!pte_is_present(e)) {
            continue;
        }
        if (level > 2) {
            collect(reach, pte_pfn(e), vaddr_add(va, i * level_span_bytes(level)), level - 1);
        }
        if (now.gone_count == TABLES_MAX) {
            arch_fatal("a rival's space has more than TABLES_MAX tables");
        }
        now.gone[now.gone_count++] = pte_pfn(e);
    }
    if (!reach->is_recursive) {
        reach->hide(page);
    }
}

enum status rival_destroy(const struct paging_subject *s, unsigned space)
{
    const struct reach *reach = s->reach;
    now.gone_count = 0;
    if (reach->is_recursive) {
        reach->open(now.root[space]);
    }
    collect(reach, now.root[space], vaddr(0), PAGING_LEVELS);
    if (reach->is_recursive) {
        reach->close();
    }
    arch_root_load(arch_root()); /* no page that showed a table outlives it */
    enum status status = rival_free_frame(now.root[space]);
    for (unsigned i = 0; status == STATUS_OK && i < now.gone_count; i++) {
        status = rival_free_frame(now.gone[i]);
    }
    return status;
}

enum status rival_switch_to(const struct paging_subject *s, unsigned space)
{
    (void)s;
    if (space != now.current) {
        now.current = space;
        arch_root_load(pfn_to_paddr(now.root[space]));
    }
    return STATUS_OK;
}

bool rival_keep_tables(const struct paging_subject *s, unsigned space, bool keep)
{
    (void)s;
    (void)space;
    return keep;
}

pfn_t rival_root(const struct paging_subject *s, unsigned space)
{
    (void)s;
    return now.root[space];
}

bool rival_is_current(unsigned space) { return space == now.current; }
