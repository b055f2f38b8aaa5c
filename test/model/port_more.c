/* arch.h on the model machine: what concerns other CPUs. */
#include "arch/arch.h"
#include "model/model.h"

pfn_t arch_frames_end(void)
{
    const unsigned bits = model_machine->variant.physical_bits;
    return bits == 0 ? pfn_add(paddr_to_pfn(paddr(PTE_FRAME_MASK)), 1) : paddr_to_pfn(paddr(1ULL << bits));
}

void arch_flush_all(void)
{
    struct model *m = model_machine;
    if (model_has_global_pages(m)) {
        model_global_pages(m, false);
        model_global_pages(m, true);
    } else {
        model_root_load(m, model_root(m));
    }
}

bool arch_has_1g_pages(void) { return model_machine == NULL || !model_machine->variant.no_1g_pages; }

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
            arch_flush_all();
        }
    }
    m->current_cpu = self;
}
