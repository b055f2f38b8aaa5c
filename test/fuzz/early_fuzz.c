/*
 * libFuzzer: any runs, any holds, then frames until there are none, held against a map of bytes, one a frame.
 *
 * Runs and holds are in the first FRAMES frames, and a few where addresses end.
 */
#include "boot/early.h"
#include "fuzz/port.h"
#include "lib/string.h"

enum { FRAMES = 1024, RUNS = 32 };
enum mark { OUTSIDE, FREE, HELD };

static void hold(struct early *e, uint8_t *marks, struct input *in)
{
    enum { WILD = 251 };
    uint64_t start = take(in, 3), end = start + take(in, 3) - (take(in, 1) > WILD ? 0x800000 : 0);
    unsigned kind = (unsigned)take(in, 1) % 5;
    if (take(in, 1) > WILD) {
        end = UINT64_MAX - take(in, 2);
    }
    enum status s = early_hold(e, start, end, (enum hold_kind)kind);
    bool valid = end >= start && kind <= HOLD_BAD;
    if ((s == STATUS_INVALID) == valid || (s != STATUS_OK && s != STATUS_INVALID && s != STATUS_LIMIT)) {
        abort();
    }
    for (uint64_t f = 0; s == STATUS_OK && f < FRAMES; f++) {
        uint64_t base = pfn_to_paddr(pfn(f)).v;
        if (marks[f] == FREE && start < base + PAGE_BYTES && end > base && start != end) {
            marks[f] = HELD;
        }
    }
}

/* The holds are sorted, apart, inside runs, and are just what is marked. */
static void check_holds(const struct early *e, const uint8_t *marks)
{
    static uint8_t seen[FRAMES];
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < e->hold_count; i++) {
        if (e->holds[i].frames == 0 || (i > 0 && e->holds[i].first.v < hold_end(e->holds[i - 1])) ||
            hold_end(e->holds[i]) > FRAMES) {
            abort();
        }
        for (uint64_t f = e->holds[i].first.v; f < hold_end(e->holds[i]); f++) {
            seen[f] = 1;
        }
    }
    for (uint64_t f = 0; f < FRAMES; f++) {
        if (seen[f] != (marks[f] == HELD)) {
            abort();
        }
    }
}

static void serve_all(struct early *e, uint8_t *marks)
{
    uint64_t said = early_free(e).v, served = 0;
    for (pfn_t frame;;) {
        enum status s = early_alloc(e, HOLD_USED + (served % 3 == 0), &frame);
        if (s == STATUS_LIMIT) {
            return; /* holds of two kinds, taken in turn, may be too many */
        }
        if (s == STATUS_NOMEM) {
            break;
        }
        if (s != STATUS_OK || frame.v == 0 || frame.v >= FRAMES || marks[frame.v] != FREE) {
            abort();
        }
        marks[frame.v] = HELD;
        served++;
    }
    if (served != said || early_free(e).v != 0) {
        abort();
    }
    for (uint64_t f = 1; f < FRAMES; f++) {
        if (marks[f] == FREE) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct early e;
    struct input in = {data, size};
    struct frame_run runs[RUNS];
    uint8_t marks[FRAMES] = {OUTSIDE};
    size_t count = 0;
    bool sorted = true;
    uint64_t last = 0;
    for (size_t wanted = take(&in, 1) % RUNS; count < wanted && last < FRAMES; count++) {
        uint64_t gap = take(&in, 1), frames = take(&in, 1);
        uint64_t first = last + (count > 0 ? gap : gap / 16), end = first + frames < FRAMES ? first + frames : FRAMES;
        if (first >= end || (count > 0 && gap == 0)) {
            sorted = false;
            end = first > end ? first : end;
        }
        runs[count] = (struct frame_run){pfn(first), npages(end - first)};
        memset(marks + (first < FRAMES ? first : FRAMES), FREE, first < end ? end - first : 0);
        last = end;
    }
    enum status s = early_init(&e, runs, count);
    if (s != (sorted ? STATUS_OK : STATUS_INVALID)) {
        abort();
    }
    if (s != STATUS_OK) {
        return 0;
    }
    while (in.left > 0) {
        hold(&e, marks, &in);
    }
    check_holds(&e, marks);
    serve_all(&e, marks);
    check_holds(&e, marks);
    return 0;
}
