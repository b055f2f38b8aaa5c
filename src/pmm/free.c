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
        owner_of(pmm, b)->in_own--;
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
    if (!code_is_unshared(code)) {
        b->retained--;
    }
    struct pmm_cpu *cpu = may_cache && (b->lane & LANE_DIRECT) == 0 ? cpu_or_null(pmm) : NULL;
    if (b->mode == PMM_BLOCK_CLOSED) {
        block_lose_frame(pmm, frame);
    } else if (code == CODE_BAD_ONCE) {
        goes_bad(pmm, b, frame);
    } else if (cpu != NULL && (b->lane ^ cpu->lane) <= LANE_CLASS) {
        unsigned class = class_of(b);
        magazine_make_room(pmm, cpu, class);
        struct pmm_magazine *m = &cpu->loaded[class];
        code_set(pmm, frame, CODE_CACHED);
        m->frames[magazine_count(m)] = frame;
        tally_set(m, tally_get(m) + TALLY_FREE);
        cpu_knows(pmm, cpu); /* its descriptor was found there */
        cpu_trusts_codes(pmm, cpu, frame);
        return;
    } else {
        put_frame(pmm, b, frame);
    }
    pmm->freed++;
    if (__builtin_expect(pmm->emergency < pmm->emergency_wanted, 0)) {
        emergency_top_up(pmm);
    }
}

__attribute__((always_inline)) static inline enum status free_one(struct pmm *pmm, uint64_t frame)
{
    struct pmm_block *b = block_find(pmm, frame);
    if (b == NULL || index_in_block(frame) >= b->carved || !code_is_once(code_get(pmm, frame))) {
        return STATUS_MISUSE;
    }
    free_once(pmm, b, frame, true);
    trace(pmm, PMM_EVENT_FREE, frame, 1);
    return STATUS_OK;
}

__attribute__((always_inline)) static inline enum status free_slow(struct pmm *pmm, const char *call, uint64_t frame,
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

/* This CPU is inside. false: the loaded magazine is full. */
__attribute__((always_inline)) static inline bool magazine_put(struct pmm *pmm, struct pmm_cpu *cpu, unsigned class,
                                                               uint64_t frame)
{
    struct pmm_magazine *m = &cpu->loaded[class];
    uint64_t tally = tally_get(m);
    unsigned count = (uint8_t)tally;
    if (__builtin_expect(count >= PMM_MAGAZINE_FRAMES, 0)) {
        return false;
    }
    code_set(pmm, frame, CODE_CACHED);
    m->frames[count] = frame;
    tally_set(m, tally + TALLY_FREE);
    return true;
}

/* A frame that came out of a magazine: its code says all, in the range that this CPU may trust it. */
__attribute__((always_inline)) static inline bool free_drawn(struct pmm *pmm, struct pmm_cpu *cpu, uint64_t frame)
{
    bool taken = false;
    if (__builtin_expect(cpu_enter(cpu), 1)) {
        if (__builtin_expect(frame - cpu->drawn_first < known_get(&cpu->drawn_count), 1)) {
            descriptor_prefetch(pmm, frame);
            unsigned code = code_get(pmm, frame);
            if (__builtin_expect(code == CODE_DRAWN + PMM_USER, 1)) {
                taken = magazine_put(pmm, cpu, PMM_USER, frame);
            } else if (__builtin_expect(code == CODE_DRAWN + PMM_KERNEL, 1)) {
                taken = magazine_put(pmm, cpu, PMM_KERNEL, frame);
            }
        }
        cpu_leave(cpu);
    }
    return taken;
}

/* Any frame that a magazine can take. Below the carve mark of a block that is not handed out whole a code is true. */
static bool free_found(struct pmm *pmm, struct pmm_cpu *cpu, uint64_t frame)
{
    bool taken = false;
    uint64_t block = block_of(frame);
    if (cpu_enter(cpu)) {
        if (block - known_get(&cpu->known_first) < known_get(&cpu->known_count)) {
            const struct pmm_block *b = &pmm->blocks[block]; /* first: the codes of one never used may not be there */
            unsigned class = lane_get(b) ^ cpu->lane;
            taken = class <= LANE_CLASS && index_in_block(frame) < carved_get(b)
                    && code_is_unshared(code_get(pmm, frame)) && magazine_put(pmm, cpu, class, frame);
        }
        cpu_leave(cpu);
    }
    return taken;
}

/* Kept out of line, like all that is rare here: inlined it would make the fast path save registers. */
__attribute__((noinline)) static enum status free_other(struct pmm *pmm, uint64_t frame, const void *caller)
{
    struct pmm_cpu *cpu = pmm->only_cpu;
    if (pmm->cpu_count > 1) {
        cpu = &pmm->cpus[arch_cpu()];
        if (free_drawn(pmm, cpu, frame)) {
            return STATUS_OK;
        }
    }
    bool taken = free_found(pmm, cpu, frame);
    return taken ? STATUS_OK : free_slow(pmm, "pmm_free", frame, caller);
}

CACHE_LINE_ALIGNED enum status pmm_free(struct pmm *pmm, pfn_t frame)
{
    if (free_drawn(pmm, pmm->only_cpu, frame.v)) {
        return STATUS_OK;
    }
    return free_other(pmm, frame.v, __builtin_return_address(0));
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
