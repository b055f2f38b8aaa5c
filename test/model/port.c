/* The host's side of arch.h: every access goes through the model machine's MMU. */
#include "arch/arch.h"
#include "model/model.h"

/* Somebody else's turn (struct model, between). */
static void between(void)
{
    void (*const turn)(struct model *m) = model_machine->between;
    if (turn != NULL) {
        model_machine->between = NULL;
        turn(model_machine);
        model_machine->between = turn;
    }
}

pte_t arch_table_load(vaddr_t entry) { return (pte_t){model_read64(model_machine, entry)}; }
void arch_table_store(vaddr_t entry, pte_t value)
{
    model_write64(model_machine, entry, value.v);
    between();
}
bool arch_table_replace(vaddr_t entry, pte_t *old, pte_t value)
{
    const bool stored = model_replace64(model_machine, entry, &old->v, value.v);
    between();
    return stored;
}
uint64_t arch_read64(vaddr_t va) { return model_read64(model_machine, va); }
void arch_write64(vaddr_t va, uint64_t value) { model_write64(model_machine, va, value); }

void arch_invlpg(vaddr_t va)
{
    model_invlpg(model_machine, va);
    between();
}
paddr_t arch_root(void) { return model_root(model_machine); }
void arch_root_load(paddr_t root) { model_root_load(model_machine, root); }

void arch_page_zero(vaddr_t page) { model_page_zero(model_machine, page); }
void arch_page_copy(vaddr_t to, vaddr_t from)
{
    model_page_copy(model_machine, to, from);
    between();
}

/* Counts itself; without a machine too, since others than the VMM may ask. */
uint64_t arch_ticks(void)
{
    static uint64_t ticks;
    return ++ticks;
}
