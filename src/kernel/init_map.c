/* The memory map made into runs, and what is in use inside them told to the watermark allocator. */
#include "kernel/console.h"
#include "kernel/init.h"

enum { EDGES_MAX = 2 * EARLY_RUNS_MAX, SECTION_ALLOCATED = 2 /* SHF_ALLOC: part of the image */ };

static struct memmap_edge edges[EDGES_MAX];

static struct memmap_entry entry_of(const void *ctx, size_t index) { return mb2_map_entry(ctx, (uint32_t)index); }

static enum status normalise(unsigned want, pfn_t limit, struct frame_run *runs, size_t *count,
                             struct memmap_result *result)
{
    struct memmap_scratch scratch = {edges, EDGES_MAX};
    enum status s = memmap_normalise(entry_of, &init.info, init.info.map_count, want, limit, scratch, runs,
                                     EARLY_RUNS_MAX, result);
    *count = result->runs;
    return s;
}

/* The first frame that is not used: mem=, what the CPU can address, what the PMM can describe. */
static pfn_t frame_limit(void)
{
    uint64_t limit = bytes_to_pages_down(LAYOUT_PMM_REACH_BYTES).v;
    if (machine.cpu.physical_bits < 64) {
        uint64_t addressable = bytes_to_pages_down(1ULL << machine.cpu.physical_bits).v;
        limit = addressable < limit ? addressable : limit;
    }
    return pfn(machine.options.mem_limit.v < limit ? machine.options.mem_limit.v : limit);
}

static void must_hold(uint64_t start, uint64_t end, const char *what)
{
    enum status s = start < end ? early_hold(&init.early, start, end, HOLD_RESERVED) : STATUS_OK;
    if (s == STATUS_LIMIT) {
        panic("%s at %#lx-%#lx cannot be kept: %s (EARLY_HOLDS_MAX = %u)", what, start, end, status_name(s),
              EARLY_HOLDS_MAX);
    } else if (s != STATUS_OK) {
        log_at(LOG_WARN, "%s at %#lx-%#lx: %s, ignored", what, start, end, status_name(s));
    }
}

static uint16_t read_ebda_segment(void)
{
    enum { EBDA_POINTER = 0x40E };
    const volatile uint16_t *bda = init_window_map(INIT_WINDOW_BUILD, pfn(0));
    return bda[EBDA_POINTER / sizeof *bda];
}

/* A section whose contents the loader put somewhere for us: the symbol table and its names. */
static bool loaded_section(uint32_t index, struct mb2_section *out)
{
    return mb2_section(&init.info, index, out) && (out->flags & SECTION_ALLOCATED) == 0 && out->address != 0;
}

static void hold_sections(void)
{
    struct mb2_section section;
    for (uint32_t i = 0; i < init.info.elf.count; i++) {
        if (loaded_section(i, &section)) {
            must_hold(section.address, section.address + section.bytes, "an ELF section");
        }
    }
}

static bool touches(pfn_t frame, uint64_t start, uint64_t end)
{
    return start < end && ranges_overlap(frame.v, frame.v + 1, paddr_to_pfn(paddr(start)).v, bytes_to_pages_up(end).v);
}

/* The loader packs tightly: does something that stays lie in this frame of the boot information too? */
static bool is_shared(pfn_t frame)
{
    struct mb2_section section;
    for (uint32_t i = 0; i < init.info.elf.count; i++) {
        if (loaded_section(i, &section) && touches(frame, section.address, section.address + section.bytes)) {
            return true;
        }
    }
    for (uint32_t i = 0; i < init.info.module_count; i++) {
        if (touches(frame, init.info.modules[i].start, init.info.modules[i].end)) {
            return true;
        }
    }
    return touches(frame, machine.image_start.v, machine.image_end.v);
}

struct frame_run init_info_frames(void)
{
    uint64_t first = paddr_to_pfn(init.info_address).v;
    uint64_t end = bytes_to_pages_up(init.info_address.v + init.info.total_bytes).v;
    while (first < end && is_shared(pfn(first))) {
        first++;
    }
    while (first < end && is_shared(pfn(end - 1))) {
        end--;
    }
    return (struct frame_run){pfn(first), npages(end - first)};
}

/* By the byte, so that a frame shared with usable memory is kept too; only whole ACPI frames are given back later. */
static void hold_acpi(void)
{
    for (uint32_t i = 0; i < init.info.map_count; i++) {
        struct memmap_entry entry = mb2_map_entry(&init.info, i);
        if (entry.type == MEMMAP_ACPI_RECLAIMABLE && entry.length > 0) {
            uint64_t end = entry.length > UINT64_MAX - entry.base ? UINT64_MAX : entry.base + entry.length;
            must_hold(entry.base, end, "ACPI tables");
        }
    }
}

static void hold_all(void)
{
    if (early_hold_pc(&init.early, read_ebda_segment(), init.efi) != STATUS_OK) {
        panic("the first page cannot be kept");
    }
    must_hold(machine.image_start.v, machine.image_end.v, "the kernel image");
    must_hold(init.info_address.v, init.info_address.v + init.info.total_bytes, "the boot information");
    hold_sections();
    for (uint32_t i = 0; i < init.info.module_count; i++) {
        must_hold(init.info.modules[i].start, init.info.modules[i].end, "a module");
    }
    const struct mb2_framebuffer *screen = &init.info.framebuffer;
    if (screen->present) {
        must_hold(screen->address, screen->address + (uint64_t)screen->pitch * screen->height, "the framebuffer");
    }
    hold_acpi();
}

void init_memory_map(void)
{
    struct memmap_result acpi, all;
    pfn_t limit = frame_limit();
    /* Twice: once to know which part is ACPI's; none is no error. */
    enum status s = normalise(MEMMAP_WANT_ACPI, limit, init.acpi, &init.acpi_count, &acpi);
    if (s == STATUS_OK || s == STATUS_ABSENT) {
        s = normalise(MEMMAP_WANT_USABLE | MEMMAP_WANT_ACPI, limit, init.runs, &init.run_count, &all);
    }
    if (s != STATUS_OK) {
        panic("the memory map has no usable RAM below %#lx: %s", pfn_to_paddr(limit).v, status_name(s));
    }
    machine.above_reach = all.beyond;
    if (all.entries_lost + all.runs_lost > 0) {
        log_at(LOG_WARN, "memory map: %lu entries and %lu runs are too many, left out (EARLY_RUNS_MAX = %u)",
               all.entries_lost, all.runs_lost, EARLY_RUNS_MAX);
    }
    if (early_init(&init.early, init.runs, init.run_count) != STATUS_OK) {
        panic("the watermark allocator refuses %lu runs", init.run_count);
    }
    hold_all();
}

pfn_t init_frame(enum hold_kind kind)
{
    pfn_t frame;
    enum status s = early_alloc(&init.early, kind, &frame);
    if (s != STATUS_OK) {
        panic("no frame for the first tables: %s", status_name(s));
    }
    return frame;
}
