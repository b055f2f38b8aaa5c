/*
 * NUMA nodes from the ACPI tables, before there is an allocator: the tables are read where they lie, through one page
 * of the boot window.
 */
#include "arch/x86_64/cpu.h"
#include "boot/acpi.h"
#include "kernel/init.h"
#include "lib/string.h"

static_assert((int)ACPI_NODES_MAX == (int)PMM_NODES_MAX, "all nodes that are found can be used");

static struct acpi_nodes found;

/* What the page of the window shows. */
struct view {
    pfn_t frame;
    const char *page; /* null: nothing yet */
    struct memmap_entry entry; /* of the map, where the last byte that was looked for is: the next is mostly near it */
};

static bool is_in(const struct memmap_entry *e, paddr_t at) { return at.v >= e->base && at.v - e->base < e->length; }

/*
 * Does the memory map say that something is there? Reading elsewhere may reach a device, or nothing at all, which on
 * some machines is a machine check. Bits above the physical width would be a fault.
 */
static bool is_readable(struct view *view, paddr_t at)
{
    if (machine.cpu.physical_bits < 64 && at.v >= 1ULL << machine.cpu.physical_bits) {
        return false;
    }
    for (uint32_t i = 0; !is_in(&view->entry, at) && i < init.info.map_count; i++) {
        struct memmap_entry e = mb2_map_entry(&init.info, i);
        if (e.type != MEMMAP_BAD) {
            view->entry = e;
        }
    }
    return is_in(&view->entry, at);
}

static bool read_physical(void *ctx, paddr_t at, void *to, size_t bytes)
{
    struct view *view = ctx;
    for (char *out = to; bytes > 0;) {
        uint64_t offset = page_offset_bytes(at.v), part = PAGE_BYTES - offset < bytes ? PAGE_BYTES - offset : bytes;
        pfn_t frame = paddr_to_pfn(at);
        if (view->page == NULL || view->frame.v != frame.v) {
            if (!is_readable(view, at)) {
                return false;
            }
            view->frame = frame;
            view->page = init_window_map(INIT_WINDOW_BUILD, frame);
        }
        memcpy(out, view->page + offset, part);
        out += part;
        at.v += part;
        bytes -= part;
    }
    return true;
}

/* As the firmware knows it: all 32 bits where the CPU tells them (leaf 0BH), else the 8 of leaf 1. */
static uint32_t apic_id(void)
{
    struct cpuid_result wide = cpuid(0, 0).eax >= 0xB ? cpuid(0xB, 0) : (struct cpuid_result){0};
    return wide.ebx != 0 ? wide.edx : cpuid(1, 0).ebx >> 24;
}

/* RAM of [first, end), in frames. */
static uint64_t ram_in(uint64_t first, uint64_t end)
{
    uint64_t frames = 0;
    for (size_t i = 0; i < init.run_count; i++) {
        uint64_t run_first = init.runs[i].first.v, last_end = run_end(init.runs[i]);
        uint64_t from = run_first > first ? run_first : first, to = last_end < end ? last_end : end;
        frames += from < to ? to - from : 0;
    }
    return frames;
}

/* The ranges that have RAM of other nodes than 0, whose the rest is. */
static void use_ranges(void)
{
    uint64_t elsewhere = 0;
    for (size_t i = 0; i < found.range_count; i++) {
        const struct acpi_node_range *r = &found.ranges[i];
        uint64_t frames = r->node != 0 ? ram_in(r->first.v, r->first.v + r->frames.v) : 0;
        if (frames > 0) {
            init.node_ranges[init.node_range_count++] = (struct pmm_node_range){r->first, r->frames, r->node};
            machine.nodes[r->node].ram.v += frames;
            elsewhere += frames;
        }
    }
    machine.nodes[0].ram = npages(ram_in(0, UINT64_MAX) - elsewhere);
}

void init_acpi(void)
{
    struct acpi acpi;
    struct view view = {.page = NULL};
    found.node_count = 1;
    if (init.info.rsdp != NULL &&
        acpi_open(&acpi, init.info.rsdp, init.info.rsdp_bytes, read_physical, &view) == STATUS_OK &&
        acpi_read_nodes(&acpi, apic_id(), &found) == STATUS_OK) {
        machine.has_nodes = true;
    }
    init.node_distance = found.has_distances ? found.distance : NULL;
    machine.node_count = found.node_count;
    machine.has_distances = found.has_distances;
    for (unsigned node = 0; node < found.node_count; node++) {
        machine.nodes[node].domain = found.domains[node];
        for (unsigned to = 0; to < found.node_count; to++) {
            machine.nodes[node].distance[to] = found.distance[node * found.node_count + to];
        }
    }
    use_ranges();
}
