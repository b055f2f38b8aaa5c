/* The host's VMM for tests: a fresh machine of 64 MiB each time. */
#include "unit/vmm_env.h"

#include "model/model.h"
#include "unit/test.h"

struct vmm *test_vmm(void)
{
    static struct vmm vmm;
    struct model *m = model_start(64 * MIB);
    model_global_pages(m, true);
    return test_expect(vmm_init_with(&vmm, &m->pmm, model_pointer, model_address) == STATUS_OK,
                       "vmm_init_with(&vmm, &m->pmm, model_pointer, model_address) == STATUS_OK", __FILE__, __LINE__)
               ? &vmm
               : NULL;
}
