/*
 * The machine: the one instance of each layer, and what is known of the computer it runs on. Filled by main.c in boot
 * order.
 */
#ifndef CAIRN_KERNEL_MACHINE_H
#define CAIRN_KERNEL_MACHINE_H

#include "arch/x86_64/features.h"
#include "aspace/aspace.h"
#include "boot/memmap.h"
#include "heap/heap.h"
#include "kernel/options.h"
#include "lib/report.h"
#include "pmm/pmm.h"
#include "task/task.h"
#include "vmm/vmm.h"

struct module {
    paddr_t start, end; /* bytes; end exclusive */
    char *args;         /* on the heap */
    struct object *object; /* its pages; null: never asked for */
};

/* A NUMA node, as ACPI has it. */
struct machine_node {
    npages_t ram;    /* frames of the runs that are near to it */
    uint32_t domain; /* ACPI's number of it */
    uint8_t distance[PMM_NODES_MAX]; /* to each node; 10 is local */
};

enum { MACHINE_CPUS = 1, MACHINE_OWNERS = 64, MACHINE_ZERO_FRAMES = 64, MACHINE_ZERO_TABLES = 16 };

struct machine {
    struct pmm pmm;
    struct pmm_cpu pmm_cpus[MACHINE_CPUS];
    struct pmm_owner pmm_owners[MACHINE_OWNERS]; /* spaces */
    pfn_t zero_pool[MACHINE_ZERO_FRAMES];
    struct vmm vmm;
    struct aspaces aspaces;
    struct heap heap;
    struct tasks tasks;
    struct options options;
    struct cpu_features cpu;

    struct memmap_entry *map;   /* as the loader gave it; on the heap */
    size_t map_count;
    char *map_source;           /* in words, which of the loader's maps; on the heap */
    npages_t acpi_reclaimed;    /* the part of the PMM's runs that was ACPI-reclaimable, given back */
    npages_t above_reach;       /* frames left out by mem=, by too much badram=, or above the PMM's reach */
    struct machine_node nodes[PMM_NODES_MAX]; /* 0 is the boot CPU's */
    unsigned node_count;        /* at least 1 */
    bool has_nodes;             /* false: ACPI says nothing of nodes, or nothing that can be used */
    bool has_distances;         /* false: all are equally far */
    struct module *modules;
    size_t module_count;
    char *loader_name, *command_line;
    paddr_t image_start, image_end; /* where the kernel image lies, boot and init parts included */
    unsigned char *rsdp;        /* copy of the ACPI RSDP on the heap; null: none */
    size_t rsdp_bytes;
    unsigned rsdp_version;      /* of the Multiboot2 tag: 1 for ACPI 1.0, 2 later */
    uint64_t first_tick;        /* of the first instruction */
    uint64_t boot_ticks;        /* first instruction to prompt, output not counted */
    uint64_t page_faults, spurious_faults;
    unsigned tests_running;     /* > 0: misuse reports go to the test bed, not to the log */
};

extern struct machine machine;

/* ---- ending ---- */

/* Prints `cairn-exit STATUS NONCE`, drains, tells QEMU, and else halts. STATUS 0 or 1. */
_Noreturn void machine_exit(int status);
_Noreturn void machine_reboot(void);

/* "panic: TEXT", registers of the caller, backtrace, then machine_exit(1). A panic inside a panic just ends. */
__attribute__((format(printf, 1, 2))) _Noreturn void panic(const char *format, ...);

/* A backtrace of the caller to the console; symbol names where they are known. */
void backtrace_here(void);

/* The self-tests' side: misuse and other reports while tests run (test/unit/runner.c). */
void selftest_report(enum report_kind kind, const char *text);

#endif
