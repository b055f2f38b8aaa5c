/*
 * The kernel proper: after bring-up, on the main stack.
 */
#include "kernel/main.h"

#include "arch/arch.h"
#include "kernel/console.h"
#include "kernel/machine.h"
#include "kernel/monitor.h"
#include "kernel/reclaim.h"
#include "kernel/selftest.h"
#include "kernel/serial.h"

enum { RSDP_OEM_OFFSET = 9 }; /* ACPI specification 6.5, table 5.3 */

struct machine machine;

void magic_breakpoint(const char *name)
{
    const struct options *o = &machine.options;
    if (o->debug_magic && (o->magic_name[0] == '\0' || __builtin_strcmp(o->magic_name, name) == 0)) {
        __asm__ volatile("xchg %%bx, %%bx" : : : "memory");
    }
}

static void report_cpu(void)
{
    const struct cpu_features *cpu = &machine.cpu;
    log_at(LOG_INFO, "cpu: %s%s%s, %u physical bits%s%s%s%s", cpu->vendor, cpu->brand[0] != '\0' ? ", " : "",
           cpu->brand, cpu->physical_bits, cpu->smep ? ", SMEP" : "", cpu->smap ? ", SMAP" : "",
           cpu->umip ? ", UMIP" : "", cpu->hypervisor ? ", virtual" : "");
    if (cpu->package_cpus > 1) {
        log_at(LOG_INFO, "cpu: up to %u CPUs in this package; one is used", cpu->package_cpus);
    }
    if (!cpu->syscall) {
        log_at(LOG_INFO, "cpu: no SYSCALL; no tasks");
    }
    if (cpu->meltdown_open) {
        log_at(LOG_INFO, "cpu: open to Meltdown; page-table isolation is not offered yet");
    }
}

static void report_acpi(void)
{
    if (machine.rsdp != NULL) {
        log_at(LOG_INFO, "acpi: RSDP of version %u, made by %.6s", machine.rsdp_version,
               (const char *)machine.rsdp + RSDP_OEM_OFFSET);
    } else {
        log_at(LOG_INFO, "acpi: the loader gave no RSDP");
    }
}

static void report_memory(npages_t won)
{
    struct pmm_stats s = pmm_stats(&machine.pmm);
    log_at(LOG_INFO, "memory: %lu KiB in %lu runs and %lu regions, %lu KiB free", pages_to_bytes(s.ram) / KIB,
           machine.pmm.run_count, s.regions, pages_to_bytes(s.free) / KIB);
    log_at(LOG_INFO, "memory: %lu KiB behind the PMM's arrays, %lu KiB given back after boot",
           pages_to_bytes(s.metadata) / KIB, pages_to_bytes(won) / KIB);
    if (machine.above_reach.v > 0) {
        log_at(LOG_WARN, "memory: %lu KiB left out (mem=, badram=, or beyond what CPU and PMM reach)",
               pages_to_bytes(machine.above_reach) / KIB);
    }
}

/* Nothing where the firmware names no nodes: all is one then. */
static void report_nodes(void)
{
    for (unsigned i = 0; machine.has_nodes && i < machine.node_count; i++) {
        const struct machine_node *node = &machine.nodes[i];
        char text[PMM_NODES_MAX * sizeof " 255"];
        struct buffer_sink far;
        buffer_sink_init(&far, text, sizeof text);
        for (unsigned to = 0; machine.has_distances && to < machine.node_count; to++) {
            sink_printf(&far.sink, " %u", node->distance[to]);
        }
        log_at(LOG_INFO, "memory: node %u of %u: %lu KiB, ACPI domain %u%s%s", i, machine.node_count,
               pages_to_bytes(node->ram) / KIB, node->domain, machine.has_distances ? ", distances" : "", text);
    }
    if (machine.node_count > 1 && !machine.has_distances) {
        log_at(LOG_INFO, "memory: no distances of nodes from ACPI (SLIT): all are taken as equally far");
    }
}

static void run_options(void)
{
    const struct options *o = &machine.options;
    bool ok = true;
    if (o->has_test) {
        ok = selftest_run(o->test[0] != '\0' ? o->test : NULL);
    }
    if (o->has_exec) {
        ok = monitor_exec(o->exec) && ok;
    }
    if (o->has_test || o->has_exec) {
        machine_exit(ok ? 0 : 1);
    }
}

void kernel_main(void)
{
    npages_t won = reclaim_all();
    log_at(LOG_INFO, "cairn %s, loaded by %s at %#lx", CAIRN_VERSION, machine.loader_name, machine.image_start.v);
    report_cpu();
    report_acpi();
    report_memory(won);
    report_nodes();
    machine.boot_ticks = arch_ticks() - machine.first_tick - console_ticks();
    magic_breakpoint("prompt");
    run_options();
    if (!serial_present()) {
        log_at(LOG_WARN, "no serial port: no monitor; halting");
    }
    monitor_loop();
    machine_exit(1);
}
