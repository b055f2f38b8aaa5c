/* Commands about physical memory: mmap, mem, frames. None of them allocates. */
#include "kernel/cmd.h"
#include "kernel/json.h"
#include "pmm/pmm_pressure.h"
#include "lib/macros.h"
#include "lib/string.h"

static uint64_t bytes_of(npages_t n)
{
    return pages_to_bytes(n);
}
static uint64_t address_of(pfn_t f)
{
    return pfn_to_paddr(f).v;
}

/* ---- mmap ---- */

/* The normaliser's own names went away with the rest of the boot code. */
static const char *type_name(uint32_t type)
{
    static const char *const names[] = {"unknown", "usable", "reserved", "ACPI reclaimable", "ACPI NVS", "bad"};
    return type < ARRAY_LEN(names) ? names[type] : names[0];
}

static void mmap_json_regions(struct json *j)
{
    struct pmm_region_stats r;
    json_list(j, "regions");
    for (size_t i = 0; pmm_region_stats(&machine.pmm, i, &r); i++) {
        json_object(j, NULL);
        json_number(j, "base", address_of(r.base));
        json_number(j, "bytes", bytes_of(r.frames));
        json_number(j, "node", r.node);
        json_close(j);
    }
    json_close(j);
}

static void mmap_json(void)
{
    struct json j = json_begin(console);
    json_list(&j, "map");
    for (size_t i = 0; i < machine.map_count; i++) {
        json_object(&j, NULL);
        json_number(&j, "base", machine.map[i].base);
        json_number(&j, "length", machine.map[i].length);
        json_number(&j, "type", machine.map[i].type);
        json_close(&j);
    }
    json_close(&j);
    json_list(&j, "runs");
    for (size_t i = 0; i < machine.pmm.run_count; i++) {
        json_object(&j, NULL);
        json_number(&j, "base", address_of(machine.pmm.runs[i].first));
        json_number(&j, "frames", machine.pmm.runs[i].frames.v);
        json_close(&j);
    }
    json_close(&j);
    mmap_json_regions(&j);
    json_end(&j);
}

static void mmap_row(uint64_t base, uint64_t bytes, const char *what)
{
    char size[CMD_SIZE_TEXT];
    /* An entry may end at 2^64 or wrap: its end is shown as the last byte, which always exists. */
    uint64_t last = bytes == 0 ? base : base + (bytes - 1);
    print("  %016lx - %016lx  %10s  %18lu  %s\n", base, last, cmd_size(size, bytes), bytes, what);
}

static bool run_mmap(const struct command_line *line)
{
    if (!cmd_args(line, 0, 0, "[-j]")) {
        return false;
    }
    if (line->json) {
        mmap_json();
        return true;
    }
    char text[48];
    print("the firmware's map, %lu entries of %s (first byte - last byte, size, bytes, type)\n", machine.map_count,
          machine.map_source);
    for (size_t i = 0; i < machine.map_count; i++) {
        const struct memmap_entry *e = &machine.map[i];
        fmt_text(text, sizeof text, "%u %s", e->type, type_name(e->type));
        mmap_row(e->base, e->length, text);
    }
    print("runs of RAM, %lu (after sorting, merging, rounding to frames)\n", machine.pmm.run_count);
    for (size_t i = 0; i < machine.pmm.run_count; i++) {
        fmt_text(text, sizeof text, "%lu frames", machine.pmm.runs[i].frames.v);
        mmap_row(address_of(machine.pmm.runs[i].first), bytes_of(machine.pmm.runs[i].frames), text);
    }
    struct pmm_region_stats r;
    print("regions, %lu (runs that touch the same 2 MiB block are in one; size is RAM)\n",
          pmm_stats(&machine.pmm).regions);
    for (size_t i = 0; pmm_region_stats(&machine.pmm, i, &r); i++) {
        char size[CMD_SIZE_TEXT];
        print("  %016lx  region %-5lu  node %u  %10s  %18lu\n", address_of(r.base), i, r.node,
              cmd_size(size, bytes_of(r.frames)), bytes_of(r.frames));
    }
    return true;
}

/* ---- mem ---- */

static void mem_json(const struct pmm_stats *s)
{
    struct json j = json_begin(console);
    json_number(&j, "ram", bytes_of(s->ram));
    json_number(&j, "free", bytes_of(s->free));
    json_number(&j, "used", bytes_of(s->used));
    json_number(&j, "metadata", bytes_of(s->metadata));
    json_number(&j, "earmarked", bytes_of(s->earmarked));
    json_number(&j, "reserved", bytes_of(s->reserved));
    json_number(&j, "bad", bytes_of(s->bad));
    json_number(&j, "untouched", bytes_of(s->untouched));
    json_number(&j, "promised", bytes_of(s->promised));
    json_number(&j, "acpi_reclaimed", bytes_of(machine.acpi_reclaimed));
    json_number(&j, "above_reach", bytes_of(machine.above_reach));
    json_number(&j, "runs", machine.pmm.run_count);
    json_number(&j, "holds", machine.pmm.hold_count);
    json_list(&j, "regions");
    struct pmm_region_stats r;
    for (size_t i = 0; pmm_region_stats(&machine.pmm, i, &r); i++) {
        json_object(&j, NULL);
        json_number(&j, "base", address_of(r.base));
        json_number(&j, "bytes", bytes_of(r.frames));
        json_number(&j, "free", bytes_of(r.free));
        json_number(&j, "untouched", bytes_of(r.untouched));
        json_number(&j, "node", r.node);
        json_close(&j);
    }
    json_close(&j);
    json_end(&j);
}

static void mem_row(const char *name, npages_t frames, const char *what)
{
    char size[CMD_SIZE_TEXT];
    print("  %-14s %10s  %18lu  %12lu  %s\n", name, cmd_size(size, bytes_of(frames)), bytes_of(frames), frames.v, what);
}

static void mem_regions(void)
{
    char ram[CMD_SIZE_TEXT], free[CMD_SIZE_TEXT], untouched[CMD_SIZE_TEXT];
    struct pmm_region_stats r;
    print("  %-6s %-16s %4s %10s %10s %10s  %18s\n", "region", "base", "node", "ram", "free", "untouched",
          "free bytes");
    for (size_t i = 0; pmm_region_stats(&machine.pmm, i, &r); i++) {
        print("  %-6lu %016lx %4u %10s %10s %10s  %18lu\n", i, address_of(r.base), r.node,
              cmd_size(ram, bytes_of(r.frames)), cmd_size(free, bytes_of(r.free)),
              cmd_size(untouched, bytes_of(r.untouched)), bytes_of(r.free));
    }
}

static bool run_mem(const struct command_line *line)
{
    if (!cmd_args(line, 0, 0, "[-j]")) {
        return false;
    }
    pmm_drain(&machine.pmm); /* so that regions and zones have all that is free */
    struct pmm_stats s = pmm_stats(&machine.pmm);
    if (line->json) {
        mem_json(&s);
        return true;
    }
    print("  %-14s %10s  %18s  %12s\n", "", "size", "bytes", "frames");
    mem_row("ram", s.ram, "");
    mem_row("free", s.free, "can still be handed out");
    mem_row("  untouched", s.untouched, "of it in blocks never used");
    mem_row("  promised", s.promised, "of it set aside");
    mem_row("used", s.used, "handed out");
    mem_row("metadata", s.metadata, "behind the frame manager's arrays");
    mem_row("earmarked", s.earmarked, "metadata of blocks never used");
    mem_row("reserved", s.reserved, "never handed out");
    mem_row("  bad", s.bad, "of it bad memory");
    print("  ACPI tables given back: %lu frames; left out (mem=, badram=, out of reach): %lu frames\n",
          machine.acpi_reclaimed.v, machine.above_reach.v);
    mem_regions();
    return true;
}

/* ---- frames ---- */

enum { ROW_CELLS = 64, CELLS_MAX = 2048 };

struct cell {
    uint64_t untouched, free, used, reserved, bad, metadata; /* frames */
};

struct picture {
    uint64_t cell_frames; /* a power of two, at least a block */
    uint64_t row;         /* number of the row being filled: first frame / (cell_frames * ROW_CELLS) */
    bool started;
    struct cell cells[ROW_CELLS];
};

static char cell_letter(const struct cell *c)
{
    uint64_t all = c->untouched + c->free + c->used + c->reserved + c->bad + c->metadata;
    if (all == 0) {
        return ' ';
    }
    if (c->metadata * 2 > all) {
        return 'M';
    }
    if ((c->reserved + c->bad) * 2 > all) {
        return c->bad > c->reserved ? 'B' : 'R';
    }
    if (c->used == 0) {
        return c->bad != 0 ? 'b' : c->metadata != 0 ? 'm' : c->reserved != 0 ? 'r' : c->untouched == all ? '.' : '-';
    }
    /* A tenth is shown as soon as one frame is in use, and all of it only when nothing is free. */
    uint64_t tenths = c->used * 10 / all;
    return c->free + c->untouched == 0 ? '#' : (char)('0' + (tenths == 0 ? 1 : tenths > 9 ? 9 : tenths));
}

static void picture_flush(struct picture *p)
{
    char letters[ROW_CELLS + 1];
    for (size_t i = 0; i < ROW_CELLS; i++) {
        letters[i] = cell_letter(&p->cells[i]);
    }
    letters[ROW_CELLS] = '\0';
    print("  %016lx |%s|\n", address_of(pfn(p->row * p->cell_frames * ROW_CELLS)), letters);
    memset(p->cells, 0, sizeof p->cells);
}

/* The row changes: print the full one, and dots for rows without RAM. */
static void picture_row(struct picture *p, uint64_t row)
{
    if (p->started && row == p->row) {
        return;
    }
    if (p->started) {
        picture_flush(p);
        if (row > p->row + 1) {
            print("  ...\n");
        }
    }
    p->started = true;
    p->row = row;
}

static void cell_add(struct cell *c, enum pmm_state state, uint64_t frames)
{
    switch (state) {
    case PMM_STATE_UNTOUCHED: c->untouched += frames; break;
    case PMM_STATE_FREE:
    case PMM_STATE_CACHED: c->free += frames; break;
    case PMM_STATE_USED:
    case PMM_STATE_RUN:
    case PMM_STATE_ZERO: c->used += frames; break;
    case PMM_STATE_RESERVED:
    case PMM_STATE_LOST: c->reserved += frames; break;
    case PMM_STATE_BAD: c->bad += frames; break;
    case PMM_STATE_METADATA: c->metadata += frames; break;
    case PMM_STATE_OUTSIDE:
    case PMM_STATE_ABSENT:
    case PMM_STATES: break;
    }
}

static bool picture_add(void *ctx, pfn_t first, npages_t frames, enum pmm_state state)
{
    struct picture *p = ctx;
    for (uint64_t at = first.v, left = frames.v; left > 0;) {
        uint64_t number = at / p->cell_frames;
        uint64_t room = (number + 1) * p->cell_frames - at;
        uint64_t here = left < room ? left : room;
        picture_row(p, number / ROW_CELLS);
        cell_add(&p->cells[number % ROW_CELLS], state, here);
        at += here;
        left -= here;
    }
    return true;
}

/* RAM frames: cells are as many as fill the screen, whatever holes there are between them. */
static uint64_t cell_frames_for(uint64_t ram_frames)
{
    uint64_t frames = PMM_BLOCK_FRAMES;
    while (frames * CELLS_MAX < ram_frames) {
        frames *= 2;
    }
    return frames;
}

static bool run_frames(const struct command_line *line)
{
    if (!cmd_args(line, 0, 0, "")) {
        return false;
    }
    char cell[CMD_SIZE_TEXT], row[CMD_SIZE_TEXT];
    struct picture p = {.cell_frames = cell_frames_for(pmm_stats(&machine.pmm).ram.v)};
    print("a character is %s, a row %s:  . never used  - free again  1..9 tenths in use  # all in use\n",
          cmd_size(cell, bytes_of(npages(p.cell_frames))), cmd_size(row, bytes_of(npages(p.cell_frames * ROW_CELLS))));
    print("  R B M mostly reserved, bad, metadata  r b m free but for some of it  blank: no RAM\n");
    pmm_walk(&machine.pmm, picture_add, &p);
    if (p.started) {
        picture_flush(&p);
    }
    return true;
}

const struct command cmd_memory[] = {
    {"mmap", "[-j]", "the firmware's memory map, the runs, the regions made of them", run_mmap},
    {"mem", "[-j]", "totals of physical memory, and each region", run_mem},
    {"frames", "", "a picture of physical memory", run_frames},
    {0},
};
