/*
 * One frame at a time: alloc (see pmm.c, sections 3 and 10).
 */
#include "pmm/fast.h"
#include "pmm/owner.h"
#include "pmm/take.h"

enum {
    FLAGS_KNOWN =
        PMM_USER | PMM_PROMISED | PMM_BELOW_1M | PMM_BELOW_16M | PMM_BELOW_4G | PMM_EMERGENCY | PMM_NO_RECLAIM,
    FLAGS_MAGAZINE = PMM_USER | PMM_PROMISED | PMM_EMERGENCY | PMM_NO_RECLAIM, /* what a magazine can serve */
};

enum status check_flags(struct pmm *pmm, const char *call, unsigned flags, unsigned allowed, const void *caller)
{
    if ((flags & FLAGS_MASK & ~allowed) != 0) {
        return pmm_misuse(pmm, "%s: flags %#x, known are %#x (caller %p)", call, flags & FLAGS_MASK, allowed, caller);
    }
    unsigned owner = flags >> PMM_OWNER_SHIFT;
    if (owner != 0 && owner_find(pmm, owner) == NULL) {
        return pmm_misuse(pmm, "%s: no owner %u is open (flags %#x, caller %p)", call, owner, flags, caller);
    }
    return STATUS_OK;
}

#define ALWAYS_INLINE __attribute__((always_inline)) static inline

/* From the blocks, past the magazines. */
ALWAYS_INLINE enum status from_blocks(struct pmm *pmm, unsigned flags, uint64_t *frame)
{
    uint64_t *account = account_for(pmm, flags, 1);
    enum status s = account == NULL ? STATUS_NOMEM : take_frame(pmm, flags, frame);
    if (s == STATUS_OK) {
        account_pay(pmm, account, 1);
        pmm->allocated++;
    }
    return s;
}

/* The same, when it was refused with this status: what is in magazines may do. */
__attribute__((noinline)) static enum status from_drained(struct pmm *pmm, unsigned flags, uint64_t *frame,
                                                          enum status s)
{
    return drain_locked(pmm) == 0 ? s : from_blocks(pmm, flags, frame);
}

ALWAYS_INLINE enum status alloc_inline(struct pmm *pmm, unsigned flags, uint64_t *frame)
{
    unsigned owner = flags >> PMM_OWNER_SHIFT;
    struct pmm_owner *o = NULL;
    enum status s = STATUS_ABSENT;
    if ((flags & PMM_PROMISED) != 0 && pmm->promised == 0) {
        return STATUS_MISUSE;
    }
    if (owner != 0) {
        flags = (flags & FLAGS_MASK) | PMM_USER;
        o = &pmm->owners[owner - 1];
        s = owner_may_take(pmm, o, flags) ? owner_take(pmm, o, flags, frame) : STATUS_ABSENT;
        s = s == STATUS_ABSENT && near_may_take(pmm, o, flags) ? near_take(pmm, o, flags, frame) : s;
        if (s != STATUS_ABSENT) {
            return s;
        }
    }
    struct pmm_cpu *cpu = (flags & ~(unsigned)FLAGS_MAGAZINE) == 0 ? cpu_or_null(pmm) : NULL;
    if (cpu != NULL) {
        s = magazine_take(pmm, cpu, flags, frame);
        if (s == STATUS_OK && (flags & PMM_PROMISED) != 0) { /* its frame was nobody's promise: another one is now */
            pmm->promised--;
            pmm->spare++;
        }
    }
    if (s != STATUS_OK) {
        s = from_blocks(pmm, flags, frame);
        s = s == STATUS_OK ? s : from_drained(pmm, flags, frame, s);
    }
    if (o != NULL && s == STATUS_OK) {
        o->elsewhere++;
        o->drawn++;
    }
    return s;
}

enum status alloc_locked(struct pmm *pmm, unsigned flags, uint64_t *frame) { return alloc_inline(pmm, flags, frame); }

ALWAYS_INLINE enum status alloc_once(struct pmm *pmm, unsigned flags, uint64_t *frame)
{
    lock_take(&pmm->lock);
    enum status s = alloc_inline(pmm, flags, frame);
    if (s == STATUS_OK) {
        trace(pmm, PMM_EVENT_ALLOC, *frame, 1);
    }
    lock_drop(&pmm->lock);
    return s;
}

/* It was refused: others are asked to give memory back. */
__attribute__((noinline)) static enum status alloc_again(struct pmm *pmm, unsigned flags, uint64_t *frame)
{
    enum status s = STATUS_NOMEM;
    unsigned rounds = 0;
    while (s == STATUS_NOMEM && low_reclaim(pmm, flags, 1, &rounds)) {
        s = alloc_once(pmm, flags, frame);
    }
    return s;
}

/* Kept out of line, like all that is rare here: inlined it would make the fast path save registers. */
__attribute__((noinline)) enum status alloc_call(struct pmm *pmm, const char *call, unsigned flags, pfn_t *frame,
                                                 const void *caller)
{
    bool is_usual = (flags & FLAGS_MASK & ~(unsigned)FLAGS_KNOWN) == 0
                    && (flags <= FLAGS_MASK || owner_find(pmm, flags >> PMM_OWNER_SHIFT) != NULL);
    enum status s = is_usual ? STATUS_OK : check_flags(pmm, call, flags, FLAGS_KNOWN, caller);
    if (s != STATUS_OK) {
        return s;
    }
    uint64_t taken = FRAME_NONE;
    s = alloc_once(pmm, flags, &taken);
    if (s == STATUS_NOMEM && pmm->low_first != NULL) {
        s = alloc_again(pmm, flags, &taken);
    }
    if (s == STATUS_MISUSE) {
        return pmm_misuse(pmm, "%s: PMM_PROMISED, but nothing is promised (flags %#x, free %lu, caller %p)", call,
                          flags, pmm->spare, caller);
    }
    if (s == STATUS_OK) {
        *frame = pfn(taken);
        if (pmm->low_first != NULL) {
            low_look(pmm, flags);
        }
    }
    return s;
}

__attribute__((always_inline)) static inline bool alloc_on(struct pmm *pmm, struct pmm_cpu *cpu, unsigned flags,
                                                           pfn_t *frame)
{
    static_assert(PMM_KERNEL == 0 && PMM_USER == 1, "the class is the flag");
    if (__builtin_expect(flags <= PMM_USER && cpu_enter(cpu), 1)) {
        struct pmm_magazine *m = &cpu->loaded[flags];
        uint64_t tally = tally_get(m);
        unsigned count = (uint8_t)tally;
        if (__builtin_expect(count != 0, 1)) {
            uint64_t taken = m->frames[count - 1];
            if (__builtin_expect(code_get(pmm, taken) == CODE_CACHED, 1)) {
                code_set(pmm, taken, CODE_DRAWN + flags);
                tally_set(m, tally - 1);
                cpu_leave(cpu);
                *frame = pfn(taken);
                return true;
            }
        }
        cpu_leave(cpu);
    }
    return false;
}

/* Many CPUs: which one this is is a call, for which the usual path would have to save registers. */
__attribute__((noinline)) static enum status alloc_on_this(struct pmm *pmm, unsigned flags, pfn_t *frame,
                                                           const void *caller)
{
    bool served = alloc_on(pmm, &pmm->cpus[arch_cpu()], flags, frame);
    return served ? STATUS_OK : alloc_call(pmm, "pmm_alloc", flags, frame, caller);
}

CACHE_LINE_ALIGNED enum status pmm_alloc(struct pmm *pmm, unsigned flags, pfn_t *frame)
{
    if (alloc_on(pmm, pmm->only_cpu, flags, frame)) {
        return STATUS_OK;
    }
    const void *caller = __builtin_return_address(0);
    return pmm->cpu_count > 1 ? alloc_on_this(pmm, flags, frame, caller)
                              : alloc_call(pmm, "pmm_alloc", flags, frame, caller);
}
