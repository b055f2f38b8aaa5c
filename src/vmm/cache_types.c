/*
 * Cache types.
 *
 * 1. The rule: one cache type a frame (R4; SDM 3A 12.12.4: aliases of different types "may lead to undefined operations
 *    that can result in a system failure"). RAM of the PMM is write-back: temporary mappings, zeroing and copying use
 *    it so. For all other frames it is what the first mapping says.
 *
 * 2. What is kept: a table of ranges of frames, disjoint, each with its type and the number of pages mapped in it. Two
 *    ranges of one type that touch become one. A range goes when its last page is unmapped; until then all of its
 *    frames keep their type, those too that are not mapped just now. It needs no memory, and each call looks at no more
 *    than VMM_CACHE_RANGES ranges: devices are few and mapped in large pieces.
 *
 * 3. Which leaves are counted is written in them: PTE_DEVICE. So unmapping asks nobody what a frame is, and RAM that is
 *    mapped, be it owned or not, costs nothing. Frames of which some are RAM and some are not are counted all.
 *
 * 4. The short way. The range used last is the first of the table, and its bounds have the type above the frame number:
 *    a map there is two comparisons and an addition. A run of leaves that go is one subtraction.
 *
 * 5. Whether a frame is RAM, the PMM says: it is in one of its runs (memory map and hotplug), whatever its state. What
 *    the memory map calls reserved is a device. Frames that become RAM while they are mapped as a device stay so until
 *    they are unmapped: whoever adds the memory sees to that.
 *
 * 6. The stack of temporary mappings is write-back too, and not in the table: it is looked at when a range of another
 *    type comes.
 *
 * 7. Rejected: a type a frame in the PMM's states (devices lie outside of them); a search of all mappings (O(memory));
 *    types by MTRR (they are the firmware's, and PAT overrides them where it matters: write-combining).
 */
#include "vmm/cache_types.h"

#include "lib/report.h"
#include "vmm/frames.h"
#include "vmm/vmm_marks.h"

/* A range has at most 2^40 frames, below the type. */
static bool overlaps(const struct vmm_cache_range *r, uint64_t first, uint64_t end)
{
    return r->first < end && first < r->end;
}

static uint64_t frame_part(uint64_t typed) { return typed & ((1ULL << (TYPED_SHIFT + __builtin_ctz(PTE_PWT))) - 1); }

static const char *type_name(uint64_t typed)
{
    static const char *const names[] = {"write-back", "write-combining", "uncached-minus", "uncached"};
    return names[(typed - frame_part(typed)) >> (TYPED_SHIFT + __builtin_ctz(PTE_PWT))];
}

/* To the front, where the next one is looked for first. */
static struct vmm_cache_range *use(struct vmm_cache *cache, unsigned i)
{
    const struct vmm_cache_range r = cache->range[i];
    cache->range[i] = cache->range[0];
    cache->range[0] = r;
    return &cache->range[0];
}

static void drop(struct vmm_cache *cache, unsigned i)
{
    cache->range[i] = cache->range[--cache->count];
    cache->range[cache->count] = (struct vmm_cache_range){0};
}

/* Does another type hold for a frame of these? */
static bool conflicts(const struct vmm *vmm, uint64_t first, uint64_t end)
{
    const struct vmm_cache *cache = &vmm->cache;
    for (unsigned i = 0; i < cache->count; i++) {
        const struct vmm_cache_range *r = &cache->range[i];
        const struct vmm_cache_range bare = {frame_part(r->first), frame_part(r->end), 0};
        if (overlaps(&bare, frame_part(first), frame_part(end)) && !overlaps(r, first, end)) {
            return true;
        }
    }
    return false;
}

/* They become one with all ranges of their type that they touch. => false: there is no room. */
static bool add(struct vmm_cache *cache, struct vmm_cache_range new)
{
    unsigned joined = 0;
    for (unsigned i = 0; i < cache->count; i++) {
        joined += cache->range[i].first <= new.end && new.first <= cache->range[i].end;
    }
    if (joined == 0 && cache->count == VMM_CACHE_RANGES) {
        return false;
    }
    for (unsigned i = 0; i < cache->count;) {
        const struct vmm_cache_range r = cache->range[i];
        if (r.first > new.end || new.first > r.end) {
            i++;
            continue;
        }
        new.first = r.first < new.first ? r.first : new.first;
        new.end = r.end > new.end ? r.end : new.end;
        new.mapped += r.mapped;
        drop(cache, i);
    }
    cache->range[cache->count] = new;
    use(cache, cache->count++);
    return true;
}

__attribute__((noinline)) struct typed_leaves cache_types_find(struct vmm *vmm, pfn_t first, uint64_t pages,
                                                               uint64_t bits)
{
    const uint64_t ram = pmm_count_ram(vmm->pmm, first, npages(pages)).v;
    const uint64_t typed = typed_frame(first, bits);
    if (ram > 0 && typed != first.v) { /* write-back is type 0 */
        return (struct typed_leaves){STATUS_CONFLICT, bits};
    }
    if (ram == pages) {
        return (struct typed_leaves){STATUS_OK, bits & ~PTE_DEVICE};
    }
    if (conflicts(vmm, typed, typed + pages) || (typed != first.v && temp_shows(vmm, first, pages))) {
        return (struct typed_leaves){STATUS_CONFLICT, bits};
    }
    if (!add(&vmm->cache, (struct vmm_cache_range){typed, typed + pages, pages})) {
        report(REPORT_NOTE,
               "vmm_map_frames: frames %#lx to %#lx as %s: %u ranges of devices are mapped, VMM_CACHE_RANGES is %u",
               first.v, first.v + pages, type_name(typed), vmm->cache.count, VMM_CACHE_RANGES);
        return (struct typed_leaves){STATUS_LIMIT, bits};
    }
    return (struct typed_leaves){STATUS_OK, bits};
}

/* The range that has this frame, at the front; null: none. */
static struct vmm_cache_range *find(struct vmm_cache *cache, uint64_t typed)
{
    for (unsigned i = 0; i < cache->count; i++) {
        if (typed >= cache->range[i].first && typed < cache->range[i].end) {
            return use(cache, i);
        }
    }
    return NULL;
}

static void report_unknown(pte_t leaf)
{
    const uint64_t typed = typed_frame(pte_pfn(leaf), leaf.v);
    report(REPORT_CORRUPT, "a leaf %#lx of frame %#lx as %s was in the tables, and in no range of devices", leaf.v,
           frame_part(typed), type_name(typed));
}

__attribute__((noinline)) void cache_types_forget(struct vmm *vmm, pte_t leaf, uint64_t pages)
{
    uint64_t typed = typed_frame(pte_pfn(leaf), leaf.v);
    while (pages > 0) {
        struct vmm_cache_range *r = find(&vmm->cache, typed);
        if (r == NULL || r->mapped == 0) {
            report_unknown(leaf);
            return;
        }
        uint64_t here = r->end - typed < pages ? r->end - typed : pages;
        here = here < r->mapped ? here : r->mapped;
        r->mapped -= here;
        if (r->mapped == 0) {
            drop(&vmm->cache, 0);
        }
        typed += here;
        pages -= here;
    }
}

void device_leaf_gone(struct vmm *vmm, pte_t leaf, unsigned level)
{
    const uint64_t inside = level_span_bytes(level) - 1;
    device_leaves_gone(vmm, (pte_t){leaf.v & ~(PTE_FRAME_MASK & inside)}, level_span_pages(level));
}

/* Not what device_leaves_come decides anew: the frame may have become RAM meanwhile. */
void device_leaf_copied(struct vmm *vmm, pte_t leaf)
{
    struct vmm_cache_range *r = find(&vmm->cache, typed_frame(pte_pfn(leaf), leaf.v));
    if (r == NULL) {
        report_unknown(leaf);
        return;
    }
    r->mapped++;
}

bool frame_is_write_back(const struct vmm *vmm, pfn_t frame)
{
    return vmm->cache.count == 0 || !conflicts(vmm, frame.v, frame.v + 1);
}

const char *cache_census_add(struct cache_census *census, const struct vmm *vmm, pte_t leaf, unsigned level)
{
    const uint64_t pat = level == 1 ? PTE_PS : (uint64_t)PAGE_BYTES;
    if ((leaf.v & PTE_DEVICE) == 0) {
        return (leaf.v & (PTE_PWT | PTE_PCD | pat)) != 0 ? "has a cache type, and is no device" : NULL;
    }
    const uint64_t inside = level_span_bytes(level) - 1, pages = level_span_pages(level);
    const uint64_t typed = typed_frame(pte_pfn((pte_t){leaf.v & ~inside}), leaf.v);
    for (unsigned i = 0; i < vmm->cache.count; i++) {
        const struct vmm_cache_range *r = &vmm->cache.range[i];
        if (typed >= r->first && typed + pages <= r->end) {
            census->found[i] += pages;
            return (leaf.v & (PTE_OWNED | pat)) != 0 ? "is a device with an owner, or with PAT" : NULL;
        }
    }
    return "is of no range of devices";
}

bool cache_census_agrees(const struct cache_census *census, const struct vmm *vmm, struct sink *out)
{
    bool ok = true;
    for (unsigned i = 0; i < vmm->cache.count; i++) {
        const struct vmm_cache_range *r = &vmm->cache.range[i];
        bool apart = true;
        for (unsigned k = 0; k < i; k++) {
            apart = apart && !overlaps(&(struct vmm_cache_range){frame_part(r->first), frame_part(r->end), 0},
                                       frame_part(vmm->cache.range[k].first), frame_part(vmm->cache.range[k].end));
        }
        if (!apart || r->mapped != census->found[i] || r->mapped == 0) {
            ok = false;
            if (out != NULL) {
                sink_printf(out, "VMM-I8: frames %#lx to %#lx as %s: %lu pages are mapped, %lu are counted%s\n",
                            frame_part(r->first), frame_part(r->end), type_name(r->first), census->found[i], r->mapped,
                            apart ? "" : ", in another range too");
            }
        }
    }
    return ok;
}
