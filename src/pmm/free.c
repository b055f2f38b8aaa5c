/*
 * One frame at a time: free (see pmm.c, sections 4 and 10).
 */
#include "pmm/fast.h"

/* Its block loses it for good. */
static void goes_bad(struct pmm *pmm, struct pmm_block *b, uint64_t frame)
{
    code_set(pmm, frame, CODE_BAD);
    b->usable--;
    pmm->reserved++;
    pmm->bad++;
    if (b->owner != 0) {
        owner_find(pmm, b->owner)->in_own--;
    }
    if (b->owner != 0 && b->usable == 0) {
        owner_lose_block(pmm, b); /* all of it is bad */
    } else {
        block_restack(pmm, b);
    }
}

void free_once(struct pmm *pmm, struct pmm_block *b, uint64_t frame, bool may_cache)
{
    unsigned code = code_get(pmm, frame);
    if (code != 1) {
        b->retained--;
    }
    struct pmm_cpu *cpu = may_cache ? cpu_or_null(pmm) : NULL;
    if (b->mode == PMM_BLOCK_CLOSED) {
        block_lose_frame(pmm, frame);
    } else if (code == CODE_BAD_ONCE) {
        goes_bad(pmm, b, frame);
    } else if (cpu != NULL && (b->lane ^ cpu->lane) <= LANE_CLASS) {
        unsigned class = class_of(b);
        magazine_make_room(pmm, cpu, class);
        struct pmm_magazine *m = cpu->loaded[class];
        code_set(pmm, frame, CODE_CACHED);
        m->frames[m->count] = frame;
        magazine_count_set(m, m->count + 1);
        counter_step(&cpu->freed);
        cpu_knows(pmm, cpu); /* its descriptor was found there */
        return;
    } else {
        put_frame(pmm, b, frame);
    }
    pmm->freed++;
    if (__builtin_expect(pmm->emergency < pmm->emergency_wanted, 0)) {
        emergency_top_up(pmm);
    }
}

static enum status free_one(struct pmm *pmm, uint64_t frame)
{
    struct pmm_block *b = block_find(pmm, frame);
    if (b == NULL || index_in_block(frame) >= b->carved || !code_is_once(code_get(pmm, frame))) {
        return STATUS_MISUSE;
    }
    free_once(pmm, b, frame, true);
    trace(pmm, PMM_EVENT_FREE, frame, 1);
    return STATUS_OK;
}

__attribute__((noinline)) static enum status free_slow(struct pmm *pmm, const char *call, uint64_t frame,
                                                       const void *caller)
{
    lock_take(&pmm->lock);
    enum status s = free_one(pmm, frame);
    lock_drop(&pmm->lock);
    if (s == STATUS_MISUSE) {
        return pmm_complain(pmm, call, frame, "not a frame in use exactly once", caller);
    }
    return s;
}

__attribute__((always_inline)) static inline bool free_on(struct pmm *pmm, struct pmm_cpu *cpu, pfn_t frame)
{
    uint64_t block = block_of(frame.v);
    if (__builtin_expect(cpu_enter(cpu), 1)) {
        if (__builtin_expect(block - known_get(&cpu->known_first) < known_get(&cpu->known_count), 1)) {
            const struct pmm_block *b = &pmm->blocks[block];
            unsigned class = lane_get(b) ^ cpu->lane;
            /* The descriptor first: below the carve mark of a block that is not handed out whole a code is true. */
            if (__builtin_expect(class <= LANE_CLASS && index_in_block(frame.v) < carved_get(b)
                                 && code_get(pmm, frame.v) == 1, 1)) {
                struct pmm_magazine *m = cpu->loaded[class];
                unsigned count = m->count;
                if (__builtin_expect(count < PMM_MAGAZINE_FRAMES, 1)) {
                    code_set(pmm, frame.v, CODE_CACHED);
                    m->frames[count] = frame.v;
                    magazine_count_set(m, count + 1);
                    counter_step(&cpu->freed);
                    cpu_leave(cpu);
                    return true;
                }
            }
        }
        cpu_leave(cpu);
    }
    return false;
}

__attribute__((noinline)) static enum status free_on_this(struct pmm *pmm, pfn_t frame, const void *caller)
{
    bool taken = free_on(pmm, &pmm->cpus[arch_cpu()], frame);
    return taken ? STATUS_OK : free_slow(pmm, "pmm_free", frame.v, caller);
}

enum status pmm_free(struct pmm *pmm, pfn_t frame)
{
    if (free_on(pmm, pmm->only_cpu, frame)) {
        return STATUS_OK;
    }
    const void *caller = __builtin_return_address(0);
    return pmm->cpu_count > 1 ? free_on_this(pmm, frame, caller) : free_slow(pmm, "pmm_free", frame.v, caller);
}

enum status pmm_free_at(struct pmm *pmm, paddr_t address)
{
    const void *caller = __builtin_return_address(0);
    uint64_t frame = paddr_to_pfn(address).v;
    if (!is_page_aligned(address.v)) {
        return pmm_complain(pmm, "pmm_free_at", frame, "the address is not the start of a frame", caller);
    }
    return free_slow(pmm, "pmm_free_at", frame, caller);
}
