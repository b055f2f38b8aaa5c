/* arch.h on the model machine: what concerns other CPUs. */
#include "arch/arch.h"
#include "model/model.h"

pfn_t arch_frames_end(void) { return pfn_add(paddr_to_pfn(paddr(PTE_FRAME_MASK)), 1); } /* 52 bits of address */

/* The others do it one after the other, at once. */
void arch_flush_others(uint64_t cpus, const vaddr_t *pages, size_t count)
{
    struct model *m = model_machine;
    const unsigned self = m->current_cpu;
    for (unsigned cpu = 0; cpu < MODEL_CPUS; cpu++) {
        if (cpu == self || (cpus >> cpu & 1) == 0) {
            continue;
        }
        m->current_cpu = cpu;
        for (size_t i = 0; pages != NULL && i < count; i++) {
            model_invlpg(m, pages[i]);
        }
        if (pages == NULL) {
            model_root_load(m, model_root(m));
        }
    }
    m->current_cpu = self;
}
