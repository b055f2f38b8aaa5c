/* Spaces: creating, switching, destroying; and bringing the VMM up. */
#include "vmm/space.h"

#include "arch/arch.h"
#include "lib/report.h"
#include "vmm/edit.h"
#include "vmm/frames.h"
#include "vmm/kpages.h"
#include "vmm/map.h"
#include "vmm/request.h"
#include "vmm/share.h"

const unsigned vmm_kernel_slots[VMM_KERNEL_SLOTS] = {LAYOUT_SLOT_KERNEL, LAYOUT_SLOT_PMM, LAYOUT_SLOT_TEMP,
                                                     LAYOUT_SLOT_IMAGE};

static vaddr_t slot_entry(unsigned slot)
{
    return window_entry(WINDOW_OWN, vaddr(LAYOUT_SLOT_BASE(slot)), PAGING_LEVELS);
}

/* The current tables as the boot code must have left them. => OK; CORRUPT, reported. */
static enum status adopt_tables(struct vmm *vmm)
{
    /*
     * Before the slot is known to be good, the window cannot be used: the walk to its own entry is the check, on
     * hardware by a fault.
     */
    pte_t self = table_load(vmm, slot_entry(LAYOUT_SLOT_SELF));
    pte_t foreign = table_load(vmm, slot_entry(LAYOUT_SLOT_FOREIGN));
    if ((self.v & WALK_MASK) != pte_make(vmm->kernel.root, SLOT_BITS).v || foreign.v != 0) {
        report(REPORT_CORRUPT, "vmm_init: root %#lx: the self slot holds %#lx, the foreign slot %#lx",
               vmm->kernel.root.v, self.v, foreign.v);
        return STATUS_CORRUPT;
    }
    for (unsigned i = 0; i < VMM_KERNEL_SLOTS; i++) {
        pte_t e = table_load(vmm, slot_entry(vmm_kernel_slots[i]));
        if (!pte_is_present(e) || entry_is_corrupt(e, PAGING_LEVELS) || entry_count(e) != 0) {
            report(REPORT_CORRUPT, "vmm_init: kernel slot %u holds %#lx, not a PDPT", vmm_kernel_slots[i], e.v);
            return STATUS_CORRUPT;
        }
        vmm->kernel_entries[i] = (pte_t){e.v & WALK_MASK};
    }
    for (unsigned level = PAGING_LEVELS - 1; level > 1; level--) {
        pte_t e = table_load(vmm, window_entry(WINDOW_OWN, vaddr(LAYOUT_TEMP_BASE), level));
        if (!pte_is_present(e) || entry_is_corrupt(e, level) || entry_is_large(e, level)) {
            report(REPORT_CORRUPT, "vmm_init: no PT for temporary mappings: level %u holds %#lx", level, e.v);
            return STATUS_CORRUPT;
        }
    }
    return STATUS_OK;
}

enum status vmm_init(struct vmm *vmm, struct pmm *pmm) { return vmm_init_with(vmm, pmm, vaddr_to_ptr, ptr_to_vaddr); }

enum status vmm_init_with(struct vmm *vmm, struct pmm *pmm, void *(*pointer)(vaddr_t page),
                          vaddr_t (*address)(const void *pointer))
{
    *vmm = (struct vmm){
        .pmm = pmm,
        .pointer = pointer,
        .address = address,
        .frames_end = arch_frames_end(),
        .space_count = 1,
        .next_id = 1,
        .node_next = vaddr(LAYOUT_ARENA_NODES),
    };
    vmm->online.mask = 1ULL << arch_cpu();
    vmm->kernel = (struct space){
        .root = paddr_to_pfn(arch_root()),
        .tables = npages(1),
        .cpus = vmm->online,
        .vmm = vmm,
    };
    vmm->current = vmm->newest = &vmm->kernel;
    trust_nothing(vmm);
    enum status s = adopt_tables(vmm);
    if (s != STATUS_OK) {
        return s;
    }
    temp_slot_clear(vmm, TEMP_SLOT_ZERO); /* the boot code may have used it */
    return kernel_arena_init(vmm);
}

/* A PML4 with the kernel's entries and itself; built where nobody sees it. */
static void build_root(struct vmm *vmm, pfn_t root)
{
    vaddr_t page = temp_slot_set(vmm, TEMP_SLOT_ZERO, root);
    arch_page_zero(page);
    for (unsigned i = 0; i < VMM_KERNEL_SLOTS; i++) {
        table_store(vmm, vaddr_add(page, vmm_kernel_slots[i] * (uint64_t)ENTRY_BYTES),
                     vmm->kernel_entries[i]);
    }
    table_store(vmm, vaddr_add(page, LAYOUT_SLOT_SELF * (uint64_t)ENTRY_BYTES), pte_make(root, SLOT_BITS));
    temp_slot_clear(vmm, TEMP_SLOT_ZERO);
}

static struct space *find_before(struct vmm *vmm, const struct space *space)
{
    struct space *before = &vmm->kernel;
    while (before != NULL && before->next != space) {
        before = before->next;
    }
    return before;
}

enum status space_create(struct vmm *vmm, struct space *space)
{
    if (vmm->space_count > VMM_SPACES_MAX || vmm->next_id == UINT32_MAX) {
        report(REPORT_NOTE, "space_create: there are %u spaces, VMM_SPACES_MAX is %u", vmm->space_count,
               VMM_SPACES_MAX);
        return STATUS_LIMIT;
    }
    if (space == NULL) {
        return misuse("space_create: no struct to make a space of");
    }
    /* One that lives says so: only then is it looked for. */
    if (space == &vmm->kernel || (space->vmm == vmm && find_before(vmm, space) != NULL)) {
        return misuse("space_create: the struct at %p is space %u, which was not destroyed", (void *)space, space->id);
    }
    pfn_t root;
    enum status s = pmm_alloc(vmm->pmm, PMM_KERNEL, &root);
    if (s != STATUS_OK) {
        return s;
    }
    build_root(vmm, root);
    *space = (struct space){.root = root, .id = vmm->next_id++, .tables = npages(1), .vmm = vmm};
    vmm->newest->next = space;
    vmm->newest = space;
    vmm->space_count++;
    return STATUS_OK;
}

enum status space_destroy(struct vmm *vmm, struct space *space)
{
    enum status s = request_check_space(vmm, space, "space_destroy");
    if (s != STATUS_OK) {
        return s;
    }
    if (space->waiting > 0) {
        return misuse("space_destroy: %u edits of space %u wait for memory", space->waiting, space->id);
    }
    struct space *before = find_before(vmm, space);
    if (space->cpus.mask != 0 || before == NULL) {
        return misuse("space_destroy: space %u is %s", space->id,
                      space->cpus.mask != 0 ? "current" : "the kernel's own, or in no list");
    }
    if (space->lent.root != NULL) {
        return misuse("space_destroy: space %u lends what it has at %#lx to space %u", space->id,
                      vmm_loan_by_from(space->lent.root)->from.v,
                      vmm_loan_by_from(space->lent.root)->borrower->id);
    }
    const enum status loans = loans_end_all(vmm, space);
    if (loans != STATUS_OK && loans != STATUS_CORRUPT) {
        return loans;
    }
    enum window w = WINDOW_OWN;
    s = edit_begin(vmm, space, vaddr(0), "space_destroy", &w);
    if (s != STATUS_OK) {
        return s;
    }
    if (space->tables.v > 1) {
        unmap_user_half(vmm, space);
    }
    foreign_close(vmm, space);
    edit_end(vmm, space, w);
    if (space->tables.v != 1 || space->pages.v != 0) {
        report(REPORT_CORRUPT, "space_destroy: space %u still has %lu tables and %lu pages: they are lost", space->id,
               space->tables.v - 1, space->pages.v);
    }
    before->next = space->next;
    if (vmm->newest == space) {
        vmm->newest = before;
    }
    vmm->space_count--;
    s = pmm_free(vmm->pmm, space->root);
    space->vmm = NULL;
    space->next = NULL;
    const bool is_whole = loans == STATUS_OK && space->tables.v == 1 && space->pages.v == 0;
    return s == STATUS_OK && is_whole ? STATUS_OK : STATUS_CORRUPT;
}

enum status space_keep_tables(struct vmm *vmm, struct space *space, bool keep)
{
    enum status s = request_check_space(vmm, space, "space_keep_tables");
    if (s != STATUS_OK || space->keeps_tables == keep) {
        return s;
    }
    const vaddr_t first = vaddr(0), arena = vaddr(LAYOUT_ARENA_BASE);
    enum window w = WINDOW_OWN;
    s = edit_begin(vmm, space, first, "space_keep_tables", &w);
    if (s != STATUS_OK) {
        return s;
    }
    space->keeps_tables = keep;
    if (!keep) {
        free_empty_tables(vmm, space, first, HALF_PAGES);
    }
    if (!keep && space == &vmm->kernel) {
        free_empty_tables(vmm, space, arena, bytes_to_pages_down(LAYOUT_KERNEL_END - LAYOUT_ARENA_BASE).v);
    }
    edit_end(vmm, space, w);
    return STATUS_OK;
}

struct space *space_find(struct vmm *vmm, unsigned id)
{
    struct space *space = &vmm->kernel;
    while (space != NULL && space->id != id) {
        space = space->next;
    }
    return space;
}
