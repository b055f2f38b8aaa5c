/*
 * Statistics: totals, zones, regions, states.
 */
#include "pmm/account.h"
#include "pmm/zero_pool.h"

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

struct pmm_stats stats_locked(const struct pmm *pmm)
{
    uint64_t cached = cached_frames(pmm), owed = least(pmm->debt, pmm->spare);
    uint64_t free = pmm_free_frames(pmm) - owed + cached;
    struct pmm_stats s = {
        .ram = npages(pmm->ram),
        .free = npages(free),
        .metadata = npages(pmm->metadata),
        .earmarked = npages(pmm->earmarked - (pmm->debt - owed)),
        .reserved = npages(pmm->reserved),
        .promised = npages(pmm->promised),
        .emergency = npages(pmm->emergency),
        .cached = npages(cached),
        .zeroed = npages(zeroed_frames(pmm)),
        .zeroed_kernel = npages(pmm->zero_count[PMM_KERNEL]),
        /* The earmark is paid from open blocks first: what they lack is not free in the others. */
        .untouched = npages(least(pmm->untouched, pmm_free_frames(pmm))),
        .bad = npages(pmm->bad),
        .lost = npages(pmm->lost),
        .whole = npages(block_start(pmm->whole_blocks)),
        .regions = pmm->shown_count,
        .owners = pmm->owner_count,
        .allocated = pmm->allocated,
        .freed = pmm->freed,
        .zero_hits = pmm->zero_hits,
        .zero_misses = pmm->zero_misses,
        .refills = pmm->refills,
        .flushes = pmm->flushes,
        .drains = pmm->drains,
        .reclaims = pmm->reclaims,
        .misuses = pmm->misuses,
    };
    for (size_t i = 0; i < pmm->cpu_count; i++) {
        uint64_t cpu_freed = __atomic_load_n(&pmm->cpus[i].freed, __ATOMIC_RELAXED);
        for (unsigned k = 0; k < PMM_CLASSES * 2; k++) {
            cpu_freed += magazine_freed(magazine_of(&pmm->cpus[i], k));
        }
        s.allocated += pmm->cpus[i].moved + cpu_freed;
        s.freed += cpu_freed;
    }
    s.allocated -= cached - zeroed_frames(pmm);
    s.used = npages(pmm->used_at_start + s.allocated - s.freed);
    for (enum pmm_zone z = PMM_ZONE_1M; z < PMM_ZONES; z++) {
        s.zones[z] = (struct pmm_zone_stats){npages(zone_free(pmm, z)), npages(pmm->zone_reserve[z])};
    }
    return s;
}

struct pmm_stats pmm_stats(const struct pmm *pmm)
{
    lock_take(lock_of(pmm));
    struct pmm_stats s = stats_locked(pmm);
    lock_drop(lock_of(pmm));
    return s;
}

/* First place whose region is shown as `index`. */
static size_t place_of_shown(const struct pmm *pmm, size_t index)
{
    size_t low = 0, high = pmm->region_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (pmm->places[middle].shown >= index) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

bool pmm_region_stats(const struct pmm *pmm, size_t index, struct pmm_region_stats *out)
{
    lock_take(lock_of(pmm));
    if (index >= pmm->shown_count) {
        lock_drop(lock_of(pmm));
        return false;
    }
    size_t place = place_of_shown(pmm, index);
    const struct pmm_region *r = region_at(pmm, place);
    *out = (struct pmm_region_stats){.base = pfn(ram_first(pmm, block_start(r->base))), .node = r->node};
    for (; place < pmm->region_count && pmm->places[place].shown == index; place++) {
        r = region_at(pmm, place);
        out->frames.v += block_start(r->blocks) - r->absent;
        out->free.v += r->free;
        out->untouched.v += r->untouched;
    }
    out->span = npages(ram_end(pmm, block_start(region_end(r))) - out->base.v);
    lock_drop(lock_of(pmm));
    return true;
}

size_t region_place(const struct pmm *pmm, const struct pmm_region *r)
{
    size_t low = 0, high = pmm->region_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (region_at(pmm, middle)->base >= r->base) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

enum status pmm_misuse(struct pmm *pmm, const char *format, ...)
{
    char text[REPORT_TEXT_BYTES];
    struct buffer_sink sink;
    buffer_sink_init(&sink, text, sizeof text);
    va_list args;
    va_start(args, format);
    sink_vprintf(&sink.sink, format, args);
    va_end(args);
    __atomic_fetch_add(&pmm->misuses, 1, __ATOMIC_RELAXED);
    return misuse("%s", text);
}
