/*
 * Contiguous runs: giving them back, whole or in parts, splitting them, and how long one may be (pmm_runs.h). First a
 * look that changes nothing, then what cannot fail.
 */
#include "pmm/fast.h"
#include "pmm/run.h"

/* First frame of [first, end) that this call may not free, or `end`; *why says why. */
static uint64_t look(struct pmm *pmm, uint64_t first, uint64_t end, const char **why)
{
    uint64_t stop;
    for (uint64_t at = first; at < end; at = stop) {
        struct pmm_block *b = block_find(pmm, at);
        stop = part_end(at, end);
        *why = "not a frame in use exactly once";
        if (b == NULL) {
            return at;
        }
        if (block_is_run(b)) {
            if (at != first && b->mode == PMM_BLOCK_RUN_HEAD) {
                *why = "the beginning of another run";
                return at;
            }
            continue;
        }
        for (uint64_t f = at; f < stop; f++) {
            if (index_in_block(f) >= b->carved || !code_is_once(code_get(pmm, f))) {
                return f;
            }
        }
    }
    return end;
}

static inline void make_whole(struct pmm *pmm, struct pmm_block *b)
{
    b->mode = PMM_BLOCK_OPEN; /* carved and top are 0 */
    b->free = PMM_BLOCK_FRAMES;
    struct pmm_region *r = &pmm->regions[b->region];
    count_free(pmm, r, PMM_BLOCK_FRAMES);
    pmm->spare += PMM_BLOCK_FRAMES;
    block_place_whole(pmm, r, b);
}

void block_make_whole(struct pmm *pmm, struct pmm_block *b) { make_whole(pmm, b); }

static void count_pushed(struct pmm *pmm, struct pmm_block *b, uint64_t pushed)
{
    count_free_in(pmm, b, (int64_t)pushed);
    pmm->spare += pushed;
    pmm->freed += pushed;
    if (b->owner != 0) {
        owner_of(pmm, b)->in_own -= pushed;
    }
}

/* Frames [first, end) of one block, all used once: pushed one after the other, counted together. */
static void free_in_block(struct pmm *pmm, struct pmm_block *b, uint64_t first, uint64_t end)
{
    uint64_t pushed = 0;
    for (uint64_t f = end; f-- > first;) { /* the lowest on top */
        if (code_is_unshared(code_get(pmm, f)) && block_has_stack(b) && block_push(pmm, b, f)) {
            pushed++;
            continue;
        }
        count_pushed(pmm, b, pushed); /* before its owner may lose the block */
        pushed = 0;
        free_once(pmm, b, f, false); /* shared once, bad, or its block is closed */
    }
    count_pushed(pmm, b, pushed);
    block_restack(pmm, b);
}

static inline void freed(struct pmm *pmm, uint64_t first, uint64_t frames)
{
    struct pmm_cpu *cpu = cpu_or_null(pmm);
    if (cpu != NULL) { /* for the next time */
        cpu_knows(pmm, cpu);
    }
    emergency_top_up(pmm);
    trace(pmm, PMM_EVENT_FREE, first, frames);
}

/* A block that was handed out whole, alone or in a longer run. false: it was not. */
static bool free_block(struct pmm *pmm, uint64_t first)
{
    struct pmm_block *b = block_find_again(pmm, block_of(first));
    if (b == NULL || !block_is_run(b)) {
        return false;
    }
    make_whole(pmm, b);
    pmm->freed += PMM_BLOCK_FRAMES;
    freed(pmm, first, PMM_BLOCK_FRAMES);
    return true;
}

static void do_free(struct pmm *pmm, uint64_t first, uint64_t end)
{
    uint64_t stop;
    for (uint64_t at = first; at < end; at = stop) {
        struct pmm_block *b = block_find(pmm, at);
        stop = part_end(at, end);
        if (block_is_run(b) && stop - at == PMM_BLOCK_FRAMES) {
            block_make_whole(pmm, b);
            pmm->freed += PMM_BLOCK_FRAMES;
            continue;
        }
        if (block_is_run(b)) {
            block_split(pmm, b);
        }
        free_in_block(pmm, b, at, stop);
    }
    freed(pmm, first, end - first);
}

/*
 * A run of exactly one block to this CPU's cache of whole blocks. Without the lock, as frames go to a magazine; with
 * many CPUs under it, since `mode` shares its byte.
 */
static bool cache_block(struct pmm *pmm, uint64_t first)
{
    struct pmm_cpu *cpu = pmm->only_cpu;
    uint64_t block = block_of(first);
    if (!cpu_enter(cpu)) {
        return false;
    }
    bool cached = false;
    struct pmm_block *b = &pmm->blocks[block];
    if (block - known_get(&cpu->known_first) < known_get(&cpu->known_count) && cpu->whole_count < PMM_WHOLE_CACHED
        && b->mode == PMM_BLOCK_RUN_HEAD && b->next == RUN_OF_ONE_BLOCK && (b->lane ^ cpu->lane) <= LANE_CLASS) {
        b->mode = PMM_BLOCK_CACHED;
        cpu->whole[cpu->whole_count] = block;
        whole_count_set(cpu, cpu->whole_count + 1);
        counter_add(&cpu->freed, PMM_BLOCK_FRAMES);
        cached = true;
    }
    cpu_leave(cpu);
    return cached;
}

__attribute__((noinline)) static enum status free_run(struct pmm *pmm, pfn_t first, npages_t n, const void *caller)
{
    uint64_t end = first.v + n.v;
    if (n.v == 0 || end < first.v) {
        return STATUS_INVALID;
    }
    const char *why;
    lock_take(&pmm->lock);
    uint64_t wrong = look(pmm, first.v, end, &why);
    if (wrong == end) {
        do_free(pmm, first.v, end);
    }
    lock_drop(&pmm->lock);
    if (wrong < end) {
        return pmm_complain(pmm, "pmm_free_run", wrong, why, caller);
    }
    return STATUS_OK;
}

/* The same of one block. */
__attribute__((noinline)) static enum status free_run_of_one(struct pmm *pmm, pfn_t first, const void *caller)
{
    lock_take(&pmm->lock);
    bool is_done = free_block(pmm, first.v);
    lock_drop(&pmm->lock);
    return is_done ? STATUS_OK : free_run(pmm, first, npages(PMM_BLOCK_FRAMES), caller);
}

/* As pmm_alloc_run: the way into the cache saves no register. */
CACHE_LINE_ALIGNED enum status pmm_free_run(struct pmm *pmm, pfn_t first, npages_t n)
{
    if (n.v != PMM_BLOCK_FRAMES || index_in_block(first.v) != 0) {
        return free_run(pmm, first, n, __builtin_return_address(0));
    }
    return cache_block(pmm, first.v) ? STATUS_OK : free_run_of_one(pmm, first, __builtin_return_address(0));
}

enum status pmm_split_run(struct pmm *pmm, pfn_t first, npages_t n)
{
    uint64_t end = first.v + n.v, wrong = end, stop;
    if (n.v == 0 || end < first.v) {
        return STATUS_INVALID;
    }
    lock_take(&pmm->lock);
    for (uint64_t at = first.v; at < end && wrong == end; at = stop) {
        struct pmm_block *b = block_find(pmm, at);
        stop = part_end(at, end);
        for (uint64_t f = at; f < stop && wrong == end && (b == NULL || !block_is_run(b)); f++) {
            bool used = b != NULL && index_in_block(f) < b->carved && code_is_used(code_get(pmm, f));
            wrong = used ? end : f;
        }
    }
    for (uint64_t at = first.v; at < end && wrong == end; at = part_end(at, end)) {
        struct pmm_block *b = block_find(pmm, at);
        if (block_is_run(b)) {
            block_split(pmm, b);
        }
    }
    lock_drop(&pmm->lock);
    if (wrong < end) {
        return pmm_complain(pmm, "pmm_split_run", wrong, "not a frame in use", __builtin_return_address(0));
    }
    return STATUS_OK;
}

/* Longest stretch of ones in the map, up to `limit` bits. */
static uint64_t longest(const struct block_map *map, uint64_t limit)
{
    uint64_t best = 0, length = 0;
    for (unsigned i = 0; i < PMM_BLOCK_FRAMES && i < limit; i++) {
        length = (map->word[i / 64] >> (i % 64) & 1) != 0 ? length + 1 : 0;
        best = length > best ? length : best;
    }
    return best;
}

static uint64_t largest_in_blocks(struct pmm *pmm, uint64_t limit)
{
    uint64_t best = 0;
    for (size_t place = 0; place < pmm->region_count; place++) {
        const struct pmm_region *r = region_at(pmm, place);
        for (uint64_t block = r->base; !r->left_out && block < region_end(r) && block_start(block) < limit; block++) {
            uint64_t length = 0, start = block_start(block), stop = start;
            uint64_t border = frames_below_1m(); /* no run crosses it */
            if (block_is_open(pmm, r, block)) {
                block_be_written(pmm, &pmm->blocks[block]);
                struct block_map map = block_free_map(pmm, &pmm->blocks[block]);
                length = longest(&map, limit - start);
            } else if (!pmm->broken) {
                uint64_t end = start + PMM_BLOCK_FRAMES < limit ? start + PMM_BLOCK_FRAMES : limit;
                for (uint64_t at = usable_next(pmm, start, end, &stop); at < end;
                     at = usable_next(pmm, stop, end, &stop)) {
                    stop = at < border && stop > border ? border : stop;
                    length = stop - at > length ? stop - at : length;
                }
            }
            best = length > best ? length : best;
        }
    }
    if (pmm->low.mode == PMM_BLOCK_OPEN) {
        block_be_written(pmm, &pmm->low);
        struct block_map map = block_free_map(pmm, &pmm->low);
        uint64_t length = longest(&map, limit);
        best = length > best ? length : best;
    }
    return best;
}

npages_t pmm_largest_run(struct pmm *pmm, pfn_t limit)
{
    uint64_t best = 0;
    lock_take(&pmm->lock);
    drain_locked(pmm);
    currents_retire(pmm);
    for (size_t place = 0; place < pmm->region_count; place++) {
        uint64_t frames = region_largest_extent(pmm, region_at(pmm, place), limit.v);
        best = frames > best ? frames : best;
    }
    uint64_t inside = best >= PMM_BLOCK_FRAMES ? 0 : largest_in_blocks(pmm, limit.v);
    best = best > inside ? best : inside;
    best = best < pmm->spare ? best : pmm->spare;
    lock_drop(&pmm->lock);
    return npages(best);
}
