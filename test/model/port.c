/* The host's side of arch.h: every access goes through the model machine's MMU. */
#include "arch/arch.h"
#include "lib/string.h"
#include "model/model.h"

static uint64_t read64(vaddr_t va)
{
    const uint64_t *at = model_access(model_machine, va, false);
    return at == NULL ? 0 : *at;
}

static void write64(vaddr_t va, uint64_t value)
{
    uint64_t *at = model_access(model_machine, va, true);
    if (at != NULL) {
        *at = value;
    }
}

pte_t arch_table_load(vaddr_t entry) { return (pte_t){read64(entry)}; }
void arch_table_store(vaddr_t entry, pte_t value) { write64(entry, value.v); }
uint64_t arch_read64(vaddr_t va) { return read64(va); }
void arch_write64(vaddr_t va, uint64_t value) { write64(va, value); }

void arch_invlpg(vaddr_t va) { model_invlpg(model_machine, va); }
paddr_t arch_root(void) { return model_machine->cpu[model_machine->current_cpu].root; }
void arch_root_load(paddr_t root) { model_root_load(model_machine, root); }

void arch_page_zero(vaddr_t page)
{
    void *at = model_access(model_machine, page, true);
    if (at != NULL) {
        memset(at, 0, PAGE_BYTES);
    }
}

void arch_page_copy(vaddr_t to, vaddr_t from)
{
    void *target = model_access(model_machine, to, true);
    const void *source = model_access(model_machine, from, false);
    if (target != NULL && source != NULL) {
        memmove(target, source, PAGE_BYTES);
    }
}

/* Counts itself; without a machine too, since others than the VMM may ask. */
uint64_t arch_ticks(void)
{
    static uint64_t ticks;
    return ++ticks;
}
