/*
 * Bring-up: from the trampoline to kernel_main. All of src/kernel/init_*.c lies in .init and is given back afterwards,
 * with everything in boot/.
 *
 *   init_boot.c     kernel_boot: the order of things
 *   init_info.c     boot information: found, read, later copied to the heap
 *   init_map.c      memory map to runs, and what is in use inside them
 *   init_badram.c   bad memory in them
 *   init_acpi.c     NUMA nodes from ACPI
 *   init_tables.c   page tables of our own, from the watermark allocator
 *   init_pmm.c      the PMM's arrays, and the hand-over
 */
#ifndef CAIRN_KERNEL_INIT_H
#define CAIRN_KERNEL_INIT_H

#include "arch/layout.h"
#include "boot/acpi.h"
#include "boot/early.h"
#include "boot/mb2.h"
#include "kernel/machine.h"

/* Pages of the boot window: the boot information from 0 on, and at its end two for a while. */
enum {
    INIT_WINDOW_PAGES = LAYOUT_BOOT_WINDOW_BYTES / PAGE_BYTES,
    INIT_WINDOW_BUILD = INIT_WINDOW_PAGES - 1, /* the frame that is being filled */
    INIT_WINDOW_VGA = INIT_WINDOW_PAGES - 2,
    INIT_INFO_PAGES = INIT_WINDOW_PAGES - 2,
};

/* From the linker script, addresses only: the end of what is thrown away, the image's end, its sections. */
extern const char image_keep[], image_end[];
extern const char image_text[], image_text_end[], image_rodata[], image_rodata_end[], image_data[], image_data_end[];
extern const char image_init_text[], image_init_text_end[], image_init_rodata[], image_init_rodata_end[];
extern const char image_init_data[], image_init_data_end[];

/* A part of physical memory that the loader filled for us. */
struct init_part {
    uint64_t start, end; /* bytes; start == end: there is none */
};

struct init {
    paddr_t info_address;       /* of the boot information */
    struct mb2_info info;       /* points into the boot window */
    bool efi, vga;
    struct init_part symbols, symbol_names; /* ELF sections; both or none */
    struct early early;
    struct frame_run runs[EARLY_RUNS_MAX]; /* usable and ACPI-reclaimable */
    size_t run_count;
    struct frame_run acpi[EARLY_RUNS_MAX]; /* the ACPI-reclaimable part */
    size_t acpi_count;
    struct pmm_node_range node_ranges[ACPI_RANGES_MAX]; /* sorted, disjoint, of nodes that are not 0 */
    size_t node_range_count;
    const uint8_t *node_distance; /* [from * machine.node_count + to]; null: all equally far */
};

extern struct init init;

/* Boot window, in the tables that are loaded now. */
void *init_window_map(unsigned page, pfn_t frame);
static inline void *init_window(unsigned page)
{
    return vaddr_to_ptr(vaddr_add_pages(vaddr(LAYOUT_BOOT_WINDOW), page));
}

void init_read_info(void);     /* maps and parses the block; panics when there is none */
void init_copy_info(void);     /* what stays of it, to the heap */
void init_memory_map(void);    /* panics when there is no RAM */
void init_badram_plan(void);   /* on the runs, which may be cut; panics when all of them is bad */
void init_badram_hold(void);   /* after everything else is held, before the first init_frame */
void init_badram_warn(uint64_t start, uint64_t end, const char *what); /* these bytes are in use: if they are bad */
pfn_t init_frame(enum hold_kind kind); /* from the watermark allocator; panics when there is none */
void init_acpi(void);          /* nodes; after init_memory_map, before the PMM; never fails */
void init_tables(void);        /* builds and loads the final tables */
void init_pmm(void);

#endif
