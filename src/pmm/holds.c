/*
 * What the lists say: which frames are RAM (the runs), and which of them are held. For blocks never used this is all
 * there is; an open block's states say it themselves.
 */
#include "lib/string.h"
#include "pmm/internal.h"

size_t run_at(const struct pmm *pmm, uint64_t frame)
{
    size_t low = 0, high = pmm->run_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (run_end(pmm->runs[middle]) > frame) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

size_t hold_at(const struct pmm *pmm, uint64_t frame)
{
    size_t low = 0, high = pmm->hold_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (hold_end(pmm->holds[middle]) > frame) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

uint64_t usable_next(const struct pmm *pmm, uint64_t from, uint64_t end, uint64_t *stop)
{
    while (from < end) {
        size_t run = run_at(pmm, from);
        if (run == pmm->run_count || pmm->runs[run].first.v >= end) {
            return end;
        }
        from = pmm->runs[run].first.v > from ? pmm->runs[run].first.v : from;
        size_t hold = hold_at(pmm, from);
        uint64_t hold_first = hold < pmm->hold_count ? pmm->holds[hold].first.v : FRAME_NONE;
        if (hold_first <= from) {
            from = hold_end(pmm->holds[hold]);
        } else if (from == 0) {
            from = 1;
        } else if (from >= pmm->claim_first && from < pmm->claim_end) {
            from = pmm->claim_end;
        } else {
            if (stop != NULL) {
                uint64_t claim = pmm->claim_first > from ? pmm->claim_first : FRAME_NONE;
                *stop = least(least(run_end(pmm->runs[run]), hold_first), least(claim, end));
            }
            return from;
        }
    }
    return end;
}

uint64_t usable_count(const struct pmm *pmm, uint64_t from, uint64_t end)
{
    uint64_t count = 0;
    uint64_t stop = from;
    for (from = usable_next(pmm, from, end, &stop); from < end;) {
        count += stop - from;
        from = stop < end ? usable_next(pmm, stop, end, &stop) : end;
    }
    return count;
}

enum pmm_state unopened_state(const struct pmm *pmm, uint64_t frame, uint64_t *stop)
{
    size_t run = run_at(pmm, frame);
    if (run == pmm->run_count || pmm->runs[run].first.v > frame) {
        *stop = run == pmm->run_count ? FRAME_NONE : pmm->runs[run].first.v;
        return PMM_STATE_ABSENT;
    }
    *stop = run_end(pmm->runs[run]);
    size_t hold = hold_at(pmm, frame);
    if (hold < pmm->hold_count) {
        bool held = pmm->holds[hold].first.v <= frame;
        *stop = least(*stop, held ? hold_end(pmm->holds[hold]) : pmm->holds[hold].first.v);
        if (held) {
            return pmm->holds[hold].kind == HOLD_BAD ? PMM_STATE_BAD : PMM_STATE_RESERVED;
        }
    }
    if (frame == 0) {
        *stop = 1;
        return PMM_STATE_RESERVED;
    }
    return PMM_STATE_UNTOUCHED;
}

/* Make [at, at + remove) of the list `count` entries of `with`. */
static void splice(struct pmm *pmm, size_t at, size_t remove, const struct frame_hold *with, size_t count)
{
    memmove(&pmm->holds[at + count], &pmm->holds[at + remove], (pmm->hold_count - at - remove) * sizeof *pmm->holds);
    for (size_t i = 0; i < count; i++) {
        pmm->holds[at + i] = with[i];
    }
    pmm->hold_count = pmm->hold_count - remove + count;
}

enum status holds_trim(struct pmm *pmm, uint64_t first, uint64_t end)
{
    size_t at = hold_at(pmm, first);
    size_t remove = 0;
    struct frame_hold left[2];
    size_t count = 0;
    for (; at + remove < pmm->hold_count && pmm->holds[at + remove].first.v < end; remove++) {
        struct frame_hold h = pmm->holds[at + remove];
        if (h.first.v < first) {
            left[count++] = (struct frame_hold){h.first, (uint32_t)(first - h.first.v), h.kind};
        }
        if (hold_end(h) > end) {
            left[count++] = (struct frame_hold){pfn(end), (uint32_t)(hold_end(h) - end), h.kind};
        }
    }
    if (pmm->hold_count - remove + count > pmm->hold_capacity) {
        return STATUS_LIMIT;
    }
    splice(pmm, at, remove, left, count);
    return STATUS_OK;
}
