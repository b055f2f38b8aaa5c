/*
 * libFuzzer: any list of entries as a memory map, normalised with any limit and little or much scratch, and held
 * against a model that asks, for each boundary, what covers it.
 *
 * An entry takes 7 bytes of the input: a base and a length, each a byte shifted by up to 60 bits and moved by some
 * bytes up or down, so that ends meet, overlap by a little, and wrap; and a type.
 */
#include "boot/memmap.h"
#include "fuzz/port.h"

enum { ENTRIES = 48, RUNS = 64 };

struct map {
    struct memmap_entry entries[ENTRIES];
    size_t count;
};

static struct memmap_entry get(const void *ctx, size_t index) { return ((const struct map *)ctx)->entries[index]; }

static uint64_t take_number(struct input *in)
{
    uint64_t shift = take(in, 1) % 61, value = take(in, 1), near = take(in, 1);
    return (value << shift) + near - 128 * (near > 200);
}

static bool is_wanted(const struct map *m, uint64_t byte, unsigned want)
{
    bool usable = false, acpi = false;
    for (size_t i = 0; i < m->count; i++) {
        struct memmap_entry e = m->entries[i];
        if (byte - e.base < e.length && byte >= e.base) {
            usable = usable || e.type == MEMMAP_USABLE;
            acpi = acpi || e.type == MEMMAP_ACPI_RECLAIMABLE;
            if (e.type != MEMMAP_USABLE && e.type != MEMMAP_ACPI_RECLAIMABLE) {
                return false;
            }
        }
    }
    return acpi ? (want & MEMMAP_WANT_ACPI) != 0 : usable && (want & MEMMAP_WANT_USABLE) != 0;
}

/* Is each byte of the frame wanted? What covers a byte changes only at ends of entries. */
static bool is_ram(const struct map *m, uint64_t frame, unsigned want, pfn_t limit)
{
    if (frame >= limit.v || frame >= bytes_to_pages_down(UINT64_MAX).v) {
        return false;
    }
    uint64_t base = pfn_to_paddr(pfn(frame)).v;
    bool ram = is_wanted(m, base, want);
    for (size_t i = 0; ram && i < m->count; i++) {
        uint64_t ends[2] = {m->entries[i].base, m->entries[i].base + m->entries[i].length};
        for (int end = 0; end < 2; end++) {
            ram = ram && (ends[end] - base >= PAGE_BYTES || is_wanted(m, ends[end], want));
        }
    }
    return ram;
}

static bool in_runs(const struct frame_run *runs, size_t count, uint64_t frame)
{
    for (size_t i = 0; i < count; i++) {
        if (frame - runs[i].first.v < runs[i].frames.v && frame >= runs[i].first.v) {
            return true;
        }
    }
    return false;
}

/* At and around each end of an entry, and at the limit: runs and model say the same. */
static void compare(const struct map *m, const struct frame_run *runs, size_t count, unsigned want, pfn_t limit)
{
    for (size_t i = 0; i <= m->count; i++) {
        for (unsigned side = 0; side < 2; side++) {
            uint64_t at = i == m->count ? pfn_to_paddr(limit).v
                                        : m->entries[i].base + (side != 0 ? m->entries[i].length : 0);
            for (uint64_t d = 0; d < 3; d++) {
                uint64_t frame = paddr_to_pfn(paddr(at)).v + d - 1;
                if (frame <= bytes_to_pages_down(UINT64_MAX).v &&
                    in_runs(runs, count, frame) != is_ram(m, frame, want, limit)) {
                    abort();
                }
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct map m = {.count = 0};
    struct memmap_edge edges[2 * ENTRIES];
    struct frame_run runs[RUNS];
    struct memmap_result result;
    unsigned want = 1 + (unsigned)take(&in, 1) % 3;
    pfn_t limit = pfn(take_number(&in));
    size_t capacity = take(&in, 1), room = take(&in, 1);
    for (; in.left > 0 && m.count < ENTRIES; m.count++) {
        m.entries[m.count] = (struct memmap_entry){take_number(&in), take_number(&in), (uint32_t)take(&in, 1) % 8};
    }
    struct memmap_scratch scratch = {edges, capacity % 4 != 0 ? 2 * ENTRIES : capacity / 4 % (2 * ENTRIES)};
    room = room % 4 != 0 ? RUNS : room / 4 % RUNS;
    enum status s = memmap_normalise(get, &m, m.count, want, limit, scratch, runs, room, &result);
    uint64_t frames = 0;
    for (size_t i = 0; i < result.runs; i++) {
        if (runs[i].frames.v == 0 || (i > 0 && runs[i].first.v <= run_end(runs[i - 1]))) {
            abort();
        }
        frames += runs[i].frames.v;
    }
    bool sound = result.runs <= room && result.frames.v == frames &&
                 (s == STATUS_OK ? result.runs > 0 : result.runs == 0 && (s == STATUS_ABSENT || s == STATUS_LIMIT));
    if (!sound) {
        abort();
    }
    if (s != STATUS_LIMIT && result.entries_lost == 0 && result.runs_lost == 0) {
        compare(&m, runs, result.runs, want, limit);
    }
    for (size_t i = 0; i < result.runs; i++) { /* what is lost may only be less memory */
        if (!is_ram(&m, runs[i].first.v, want, limit) || !is_ram(&m, run_end(runs[i]) - 1, want, limit)) {
            abort();
        }
    }
    return 0;
}
