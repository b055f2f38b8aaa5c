#include "unit/memmap_bed.h"

static void *array(size_t items, size_t item_bytes) { return test_pages(bytes_to_pages_up(items * item_bytes).v); }

bool bed_init(struct map_bed *bed)
{
    *bed = (struct map_bed){
        .entries = array(BED_ENTRIES_MAX, sizeof *bed->entries),
        .edges = array(2 * BED_ENTRIES_MAX, sizeof *bed->edges),
        .cuts = array(2 * BED_ENTRIES_MAX, sizeof *bed->cuts),
        .runs = array(BED_ENTRIES_MAX, sizeof *bed->runs),
        .model = array(BED_ENTRIES_MAX, sizeof *bed->model),
        .kept = array(BED_ENTRIES_MAX, sizeof *bed->kept),
    };
    return bed->entries && bed->edges && bed->cuts && bed->runs && bed->model && bed->kept;
}

void bed_add(struct map_bed *bed, uint64_t base, uint64_t length, uint32_t type)
{
    if (EXPECT(bed->count < BED_ENTRIES_MAX)) {
        bed->entries[bed->count++] = (struct memmap_entry){base, length, type};
    }
}

struct memmap_entry bed_get(const void *bed, size_t index) { return ((const struct map_bed *)bed)->entries[index]; }

enum status bed_normalise(struct map_bed *bed, unsigned want, pfn_t limit)
{
    struct memmap_scratch scratch = {bed->edges, 2 * bed->count};
    return memmap_normalise(bed_get, bed, bed->count, want, limit, scratch, bed->runs, BED_ENTRIES_MAX, &bed->result);
}

/* Boundaries in ascending order, each once: insertion sort. */
static size_t add_cut(uint64_t *cuts, size_t count, uint64_t cut)
{
    size_t at = count;
    while (at > 0 && cuts[at - 1] > cut) {
        at--;
    }
    if (at > 0 && cuts[at - 1] == cut) {
        return count;
    }
    for (size_t i = count; i > at; i--) {
        cuts[i] = cuts[i - 1];
    }
    cuts[at] = cut;
    return count + 1;
}

/* Is this byte wanted memory? Without an end there is no overflow to get wrong. */
static bool model_wants(const struct map_bed *bed, uint64_t byte, unsigned want)
{
    bool usable = false, acpi = false;
    for (size_t i = 0; i < bed->count; i++) {
        struct memmap_entry e = bed->entries[i];
        if (byte < e.base || byte - e.base >= e.length) {
            continue;
        }
        if (e.type == 1) {
            usable = true;
        } else if (e.type == 3) {
            acpi = true;
        } else {
            return false;
        }
    }
    return acpi ? (want & MEMMAP_WANT_ACPI) != 0 : usable && (want & MEMMAP_WANT_USABLE) != 0;
}

size_t bed_model(struct map_bed *bed, unsigned want, pfn_t limit)
{
    size_t cuts = add_cut(bed->cuts, 0, 0), runs = 0;
    for (size_t i = 0; i < bed->count; i++) {
        struct memmap_entry e = bed->entries[i];
        cuts = add_cut(bed->cuts, cuts, e.base);
        if (e.length <= UINT64_MAX - e.base) {
            cuts = add_cut(bed->cuts, cuts, e.base + e.length);
        }
    }
    for (size_t i = 0; i < cuts; i++) {
        if (!model_wants(bed, bed->cuts[i], want)) {
            continue;
        }
        uint64_t start = bed->cuts[i];
        while (i + 1 < cuts && model_wants(bed, bed->cuts[i + 1], want)) {
            i++;
        }
        /* The last frame below 2^64 is never RAM, so the last byte of the address space may as well be cut off. */
        uint64_t end = (i + 1 < cuts ? bed->cuts[i + 1] : UINT64_MAX) / PAGE_BYTES;
        uint64_t first = start / PAGE_BYTES + (start % PAGE_BYTES > 0);
        end = end < limit.v ? end : limit.v;
        if (first < end) {
            bed->model[runs++] = (struct frame_run){pfn(first), npages(end - first)};
        }
    }
    return runs;
}

static bool same_runs(const struct frame_run *a, size_t a_count, const struct frame_run *b, size_t b_count)
{
    for (size_t i = 0; i < a_count && i < b_count; i++) {
        if (a[i].first.v != b[i].first.v || a[i].frames.v != b[i].frames.v) {
            test_note("run %lu: %#lx + %lu, not %#lx + %lu", i, a[i].first.v, a[i].frames.v, b[i].first.v,
                      b[i].frames.v);
            return false;
        }
    }
    if (a_count != b_count) {
        test_note("%lu runs, not %lu", a_count, b_count);
    }
    return a_count == b_count;
}

static bool agrees_for(struct map_bed *bed, unsigned want, pfn_t limit)
{
    enum status status = bed_normalise(bed, want, limit);
    size_t runs = bed_model(bed, want, limit);
    uint64_t frames = 0;
    for (size_t i = 0; i < runs; i++) {
        frames += bed->model[i].frames.v;
    }
    bool ok = same_runs(bed->runs, bed->result.runs, bed->model, runs);
    if (status != (runs > 0 ? STATUS_OK : STATUS_ABSENT) || bed->result.frames.v != frames) {
        test_note("status %s, %lu frames, not %lu", status_name(status), bed->result.frames.v, frames);
        ok = false;
    }
    return ok && bed->result.entries_lost == 0 && bed->result.runs_lost == 0;
}

bool bed_agrees(struct map_bed *bed, pfn_t limit)
{
    for (unsigned want = MEMMAP_WANT_USABLE; want <= (MEMMAP_WANT_USABLE | MEMMAP_WANT_ACPI); want++) {
        if (!agrees_for(bed, want, limit)) {
            test_note("want %u, limit %#lx, %lu entries", want, limit.v, bed->count);
            return false;
        }
    }
    return true;
}

void bed_keep(struct map_bed *bed)
{
    (void)bed_normalise(bed, MEMMAP_WANT_USABLE, pfn(UINT64_MAX));
    bed->kept_count = bed->result.runs;
    memcpy(bed->kept, bed->runs, bed->result.runs * sizeof *bed->kept);
}

bool bed_same_as_kept(struct map_bed *bed)
{
    (void)bed_normalise(bed, MEMMAP_WANT_USABLE, pfn(UINT64_MAX));
    return same_runs(bed->runs, bed->result.runs, bed->kept, bed->kept_count);
}

void bed_shuffle(struct map_bed *bed, struct rng *rng)
{
    for (size_t i = bed->count; i > 1; i--) {
        size_t other = rng_below(rng, i);
        struct memmap_entry e = bed->entries[i - 1];
        bed->entries[i - 1] = bed->entries[other];
        bed->entries[other] = e;
    }
}

void bed_split(struct map_bed *bed, struct rng *rng)
{
    for (size_t i = 0, whole = bed->count; i < 2 * whole && bed->count < BED_ENTRIES_MAX; i++) {
        struct memmap_entry *e = &bed->entries[i % whole];
        if (e->length < 2) {
            continue;
        }
        /* Pages next to the ends are where a wrong rounding shows. */
        uint64_t near = e->length < 2 * PAGE_BYTES ? e->length : 2 * PAGE_BYTES;
        uint64_t low = rng_below(rng, rng_below(rng, 2) ? near : e->length);
        bed_add(bed, e->base + low, e->length - low, e->type);
        e->length = low;
    }
}

void bed_repeat(struct map_bed *bed, struct rng *rng)
{
    for (size_t i = 0, whole = bed->count; i < whole && bed->count < BED_ENTRIES_MAX; i++) {
        struct memmap_entry e = bed->entries[rng_below(rng, whole)];
        uint64_t skip = e.length > 0 ? rng_below(rng, e.length) : 0;
        bed_add(bed, e.base + skip, e.length - skip, e.type);
    }
}

void bed_overlap(struct map_bed *bed, struct rng *rng)
{
    for (size_t i = 0; i < bed->count; i++) {
        struct memmap_entry *e = &bed->entries[i];
        uint64_t more = rng_below(rng, 4 * PAGE_BYTES) * rng_below(rng, 3);
        uint64_t down = more < e->base ? more : e->base;
        if (rng_below(rng, 2)) {
            e->base -= down;
            e->length += down;
        }
        e->length += rng_below(rng, 2) ? rng_below(rng, (e->length + 2 * PAGE_BYTES) | 1) : 0;
    }
}

void bed_maul(struct map_bed *bed, struct rng *rng)
{
    for (size_t i = 0; i < bed->count; i++) {
        struct memmap_entry *e = &bed->entries[i];
        switch (rng_below(rng, 10)) {
        case 0: e->type = (uint32_t)rng_below(rng, 7); break;
        case 1: e->type = (uint32_t)rng_next(rng); break;
        case 2: e->type = MEMMAP_USABLE; break;
        case 3: e->length = 0; break;
        case 4: e->length = UINT64_MAX - rng_below(rng, 3); break;
        case 5: e->length = 0 - e->base + rng_below(rng, 3) * PAGE_BYTES - rng_below(rng, 2); break;
        case 6: e->base += rng_below(rng, 2 * PAGE_BYTES); break;
        case 7: e->length += rng_below(rng, 2 * PAGE_BYTES) - PAGE_BYTES; break;
        default: break;
        }
    }
}
