/*
 * kernel_boot: everything between the trampoline and kernel_main, in order.
 *
 * Runs on the boot stack, first on the trampoline's tables, from init_tables on those that stay. Interrupts are off.
 */
#include "arch/arch.h"
#include "arch/x86_64/user.h"
#include "kernel/console.h"
#include "kernel/heap_debug.h"
#include "kernel/heap_source.h"
#include "kernel/init.h"
#include "kernel/low_memory.h"
#include "kernel/main.h"
#include "kernel/mover.h"
#include "kernel/physical.h"
#include "kernel/reclaim.h"
#include "kernel/stacks.h"
#include "kernel/symbols.h"
#include "kernel/task_run.h"

struct init init;

/* Called by entry64: boot information and image by their physical addresses, and the tick of the first instruction. */
void kernel_boot(uint64_t info, uint64_t image, uint64_t first_tick);

static void start_heap(void)
{
    enum status s = heap_init(&machine.heap, heap_source_of(&machine.vmm));
    if (s == STATUS_OK) {
        heap_debug_start();
    }
    if (s == STATUS_OK && machine.options.heap_bytes > 0) {
        /* Not tried where it cannot be: filling and giving back again takes minutes. */
        bool fits = bytes_to_pages_up(machine.options.heap_bytes).v <= pmm_stats(&machine.pmm).free.v;
        s = fits ? heap_prefill(&machine.heap, machine.options.heap_bytes) : STATUS_NOMEM;
        if (s == STATUS_NOMEM) {
            log_at(LOG_WARN, "heap=%lu: more than there is; the heap starts empty", machine.options.heap_bytes);
            s = STATUS_OK;
        }
    }
    if (s != STATUS_OK) {
        panic("the heap does not start: %s", status_name(s));
    }
}

/* The symbol table and the names that belong to it, where the loader left them, stay reserved: for backtraces. */
static void use_symbols(void)
{
    uint64_t bytes = init.symbols.end - init.symbols.start;
    uint64_t names_bytes = init.symbol_names.end - init.symbol_names.start;
    const void *table = physical_map(init.symbols.start, bytes, VMM_READ, symbols_tag);
    const char *names = physical_map(init.symbol_names.start, names_bytes, VMM_READ, symbols_names_tag);
    if (table != NULL && names != NULL) {
        symbols_use(table, bytes, names, names_bytes);
    }
}

static void leave_for_later(void)
{
    pfn_t first = paddr_to_pfn(init.info_address);
    pfn_t end = pfn(bytes_to_pages_up(init.info_address.v + init.info.total_bytes).v);
    reclaim.info = (struct frame_run){first, npages(end.v - first.v)};
    reclaim_keep(init.symbols.start, init.symbols.end);
    reclaim_keep(init.symbol_names.start, init.symbol_names.end);
    reclaim_keep(machine.image_start.v + ((uint64_t)image_keep - LAYOUT_IMAGE_BASE), machine.image_end.v);
    if (init.info.framebuffer.present) {
        const struct mb2_framebuffer *f = &init.info.framebuffer;
        reclaim_keep(f->address, f->address + (uint64_t)f->pitch * f->height);
    }
    for (size_t i = 0; i < machine.module_count; i++) {
        reclaim_keep(machine.modules[i].start.v, machine.modules[i].end.v);
    }
    reclaim.vga = init.vga;
    reclaim.framebuffer = init.info.framebuffer;
    reclaim.acpi_count = init.acpi_count;
    reclaim.acpi = heap_alloc_array(&machine.heap, init.acpi_count, sizeof *reclaim.acpi);
    if (reclaim.acpi == NULL) {
        reclaim.acpi_count = 0;
    }
    for (size_t i = 0; i < reclaim.acpi_count; i++) {
        reclaim.acpi[i] = init.acpi[i];
    }
}

void kernel_boot(uint64_t info, uint64_t image, uint64_t first_tick)
{
    machine.first_tick = first_tick;
    machine.image_start = paddr(image);
    machine.image_end = paddr(image + ((uint64_t)image_end - LAYOUT_IMAGE_BASE));
    init.info_address = paddr(info);
    console_init();
    interrupts_init();
    features_read(&machine.cpu);
    features_enable(&machine.cpu);
    user_init(machine.cpu.syscall);
    log_set_rate(machine.cpu.tsc_hz);
    init_read_info();
    init_memory_map();
    init_acpi();
    init_tables();
    init_pmm();
    enum status s = vmm_init(&machine.vmm, &machine.pmm);
    if (s != STATUS_OK) {
        panic("the VMM does not start: %s", status_name(s));
    }
    vaddr_t stack = stacks_init();
    start_heap();
    init_copy_info();
    use_symbols();
    s = aspaces_init(&machine.aspaces, &machine.vmm);
    if (s != STATUS_OK) {
        panic("no spaces can be had: %s", status_name(s));
    }
    low_memory_init();
    mover_init();
    task_run_init();
    leave_for_later();
    enter_on_stack(stack.v, kernel_main);
}
