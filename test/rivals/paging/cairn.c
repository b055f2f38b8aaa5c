/* The product, behind the rivals' interface; and the list of all. */
#include "model/model.h"
#include "rivals/paging/paging.h"

static struct vmm vmm;
static struct space spaces[PAGING_SPACES]; /* [0] is not used: the kernel's own is in the VMM */

static struct space *find(unsigned space) { return space == 0 ? &vmm.kernel : &spaces[space]; }

static enum status start(const struct paging_subject *s)
{
    (void)s;
    return vmm_init_with(&vmm, &model_machine->pmm, model_pointer, model_address);
}

static enum status create(const struct paging_subject *s, unsigned space)
{
    (void)s;
    return space_create(&vmm, find(space));
}

static enum status destroy(const struct paging_subject *s, unsigned space)
{
    (void)s;
    return space_destroy(&vmm, find(space));
}

static enum status switch_to(const struct paging_subject *s, unsigned space)
{
    (void)s;
    return space_switch(&vmm, find(space));
}

static bool keep_tables(const struct paging_subject *s, unsigned space, bool keep)
{
    (void)s;
    return space_keep_tables(&vmm, find(space), keep) == STATUS_OK;
}

static enum status map(const struct paging_subject *s, unsigned space, vaddr_t va, pfn_t first, npages_t pages,
                       unsigned rights)
{
    (void)s;
    return vmm_map_frames(&vmm, find(space), va, first, pages, rights, false);
}

static enum status unmap(const struct paging_subject *s, unsigned space, vaddr_t va, npages_t pages)
{
    (void)s;
    return vmm_unmap(&vmm, find(space), va, pages);
}

static enum status protect(const struct paging_subject *s, unsigned space, vaddr_t va, npages_t pages, unsigned rights)
{
    (void)s;
    return vmm_protect(&vmm, find(space), va, pages, rights);
}

static enum status idle(const struct paging_subject *s)
{
    (void)s;
    return model_idle(model_machine, &vmm, PMM_KERNEL, npages(MODEL_ZERO_FRAMES)) > 0 ? STATUS_OK : STATUS_NOMEM;
}

static pfn_t root(const struct paging_subject *s, unsigned space)
{
    (void)s;
    return find(space)->root;
}

const struct paging_subject paging_cairn = {
    .name = "cairn",
    .start = start,
    .create = create,
    .destroy = destroy,
    .switch_to = switch_to,
    .keep_tables = keep_tables,
    .map = map,
    .unmap = unmap,
    .protect = protect,
    .idle = idle,
    .root = root,
};

const struct vmm_counters *paging_cairn_counters(void) { return &vmm.counters; }

unsigned paging_violations(const struct paging_subject *s)
{
    return model_machine->violations - (s->maps_all_memory ? model_machine->of_rule[MODEL_FREED_PAGE] : 0);
}

const struct paging_subject *const paging_subjects[PAGING_SUBJECTS] = {&paging_cairn,  &paging_naive, &paging_reload,
                                                                       &paging_window, &paging_ring,  &paging_direct};
