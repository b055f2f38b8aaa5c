/* The memory map made into runs, and what is in use inside them told to the watermark allocator. */
#include "kernel/console.h"
#include "kernel/init.h"
#include "kernel/reclaim.h"

enum {
    ENTRIES_MAX = 12288,          /* of the memory map: two edges each; the room is given back with .init */
    EDGES_MAX = 2 * ENTRIES_MAX,
    PC_HOLE_START = 640,          /* KiB: screen and ROMs up to 1 MiB, on every PC, whatever the map says */
    SECTION_SYMBOLS = 2,          /* SHT_SYMTAB */
    SYMBOLS_MAX_BYTES = 16 * MIB, /* ours are a hundredth of it */
};

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
    } else {
        init_badram_warn(start, end, what);
    }
}

static uint16_t read_ebda_segment(void)
{
    enum { EBDA_POINTER = 0x40E };
    const volatile uint16_t *bda = init_window_map(INIT_WINDOW_BUILD, pfn(0));
    return bda[EBDA_POINTER / sizeof *bda];
}

/* All of it RAM that nothing else is known to be in? */
static bool is_in_ram(uint64_t start, uint64_t end)
{
    for (size_t i = 0; i < init.run_count; i++) {
        if (start >= pfn_to_paddr(init.runs[i].first).v && end <= pfn_to_paddr(pfn(run_end(init.runs[i]))).v) {
            return true;
        }
    }
    return false;
}

static bool is_over_image(uint64_t start, uint64_t end)
{
    return ranges_overlap(start, end, machine.image_start.v, machine.image_end.v);
}

/* A section whose contents the loader put somewhere for us, where they can be. */
static bool loaded_section(uint32_t index, struct init_part *part, struct mb2_section *section)
{
    if (!mb2_section(&init.info, index, section) || section->address == 0 || section->bytes == 0) {
        return false;
    }
    *part = (struct init_part){section->address, section->address + section->bytes};
    bool sound = section->bytes <= SYMBOLS_MAX_BYTES && part->end > part->start &&
                 is_in_ram(part->start, part->end) && !is_over_image(part->start, part->end);
    if (!sound) {
        log_at(LOG_WARN, "ELF section %u, %lu bytes at %#lx, cannot be: left out", index, section->bytes,
               section->address);
    }
    return sound;
}

/* Of all that the loader loaded besides the image only the symbols are of use; the rest becomes free memory. */
static void find_symbols(void)
{
    struct mb2_section table, names;
    for (uint32_t i = 0; i < init.info.elf.count; i++) {
        if (mb2_section(&init.info, i, &table) && table.type == SECTION_SYMBOLS) {
            if (!loaded_section(i, &init.symbols, &table) ||
                !loaded_section(table.link, &init.symbol_names, &names)) {
                init.symbols = init.symbol_names = (struct init_part){0};
            }
            return;
        }
    }
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

/* Kept as they are said to be, all of them; what is wrong is told. */
static void hold_modules(void)
{
    for (uint32_t i = 0; i < init.info.module_count; i++) {
        const struct mb2_module *m = &init.info.modules[i];
        if (m->start == m->end) {
            continue;
        }
        if (!is_in_ram(m->start, m->end)) {
            log_at(LOG_WARN, "the module at %#lx-%#lx is not all in RAM", m->start, m->end);
        }
        if (is_over_image(m->start, m->end)) {
            log_at(LOG_WARN, "the module at %#lx-%#lx lies over the kernel: it is not what was loaded", m->start,
                   m->end);
        }
        must_hold(m->start, m->end, "a module");
    }
}

static void hold_all(void)
{
    find_symbols();
    if (early_hold_pc(&init.early, read_ebda_segment(), init.efi) != STATUS_OK) {
        panic("the first page cannot be kept");
    }
    must_hold(PC_HOLE_START * KIB, MIB, "the PC's screen and ROMs");
    for (size_t i = 0; i < init.early.hold_count; i++) { /* so far these are the PC's own */
        reclaim_keep(pfn_to_paddr(init.early.holds[i].first).v, pfn_to_paddr(pfn(hold_end(init.early.holds[i]))).v);
    }
    must_hold(machine.image_start.v, machine.image_end.v, "the kernel image");
    must_hold(init.info_address.v, init.info_address.v + init.info.total_bytes, "the boot information");
    must_hold(init.symbols.start, init.symbols.end, "the symbol table");
    must_hold(init.symbol_names.start, init.symbol_names.end, "the symbols' names");
    hold_modules();
    struct mb2_framebuffer *screen = &init.info.framebuffer;
    if (screen->present && is_over_image(screen->address, screen->address + (uint64_t)screen->pitch * screen->height)) {
        log_at(LOG_WARN, "the framebuffer at %#lx would lie over the kernel: not used", screen->address);
        screen->present = false;
    }
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
    if (s == STATUS_LIMIT) {
        panic("the memory map has more reserved entries than fit: %u entries (ENTRIES_MAX = %u)", init.info.map_count,
              ENTRIES_MAX);
    } else if (s != STATUS_OK) {
        panic("the memory map has no usable RAM below %#lx: %s", pfn_to_paddr(limit).v, status_name(s));
    }
    machine.above_reach = all.beyond;
    if (all.entries_lost + all.runs_lost > 0) {
        log_at(LOG_WARN, "memory map: %lu entries and %lu runs are too many, left out (EARLY_RUNS_MAX = %u)",
               all.entries_lost, all.runs_lost, EARLY_RUNS_MAX);
    }
    init_badram_plan();
    if (early_init(&init.early, init.runs, init.run_count) != STATUS_OK) {
        panic("the watermark allocator refuses %lu runs", init.run_count);
    }
    hold_all();
    init_badram_hold();
}

pfn_t init_frame(enum hold_kind kind)
{
    pfn_t frame;
    enum status s = early_alloc(&init.early, kind, &frame);
    if (s != STATUS_OK) {
        npages_t ram = npages(0), held = npages(0);
        for (size_t i = 0; i < init.run_count; i++) {
            ram.v += init.runs[i].frames.v;
        }
        for (size_t i = 0; i < init.early.hold_count; i++) {
            held.v += init.early.holds[i].frames;
        }
        panic("no frame for the first tables: %s; of %lu KiB of RAM %lu KiB are in use, or said to be, or bad",
              status_name(s), pages_to_bytes(ram) / KIB, pages_to_bytes(held) / KIB);
    }
    return frame;
}
