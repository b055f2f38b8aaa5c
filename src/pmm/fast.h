/*
 * What the fast paths do without the lock: into this CPU's magazines, and counting there.
 */
#ifndef CAIRN_PMM_FAST_H
#define CAIRN_PMM_FAST_H

#include "pmm/account.h"

/* Functions so short that where they begin is a tenth of what they take: not left to chance. */
#define CACHE_LINE_ALIGNED __attribute__((noinline, aligned(64)))

/*
 * The fast paths' way into this CPU's magazines. A CPU that is inside already was interrupted there: who interrupts it
 * goes to the blocks. So interrupts stay on, and nothing but the compiler must keep the order. Without the lock.
 */
/* Other CPUs look at these while their own one writes them: no access is torn, and no order is needed. */
static inline void whole_count_set(struct pmm_cpu *cpu, unsigned count)
{
    __atomic_store_n(&cpu->whole_count, count, __ATOMIC_RELAXED);
}
static inline void counter_add(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline uint64_t known_get(const uint64_t *known) { return __atomic_load_n(known, __ATOMIC_RELAXED); }
static inline void cpu_knows(const struct pmm *pmm, struct pmm_cpu *cpu)
{
    __atomic_store_n(&cpu->known_first, pmm->known_first, __ATOMIC_RELAXED);
    __atomic_store_n(&cpu->known_count, pmm->known_count, __ATOMIC_RELAXED);
}
static inline struct pmm_cpu *cpu_or_null(const struct pmm *pmm) /* this CPU's, where magazines can be used right now */
{
    if (pmm->cpu_count == 0) {
        return NULL;
    }
    struct pmm_cpu *cpu = &pmm->cpus[pmm->cpu_count > 1 ? arch_cpu() : 0];
    return cpu->inside != 0 ? NULL : cpu;
}
static inline bool cpu_enter(struct pmm_cpu *cpu)
{
    if (__builtin_expect(cpu->inside != 0, 0)) {
        return false;
    }
    __atomic_store_n(&cpu->inside, 1, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return true;
}
static inline void cpu_leave(struct pmm_cpu *cpu)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&cpu->inside, 0, __ATOMIC_RELAXED);
}

/* The descriptor of its block will be written to. Anywhere in it will do, which saves an instruction. */
__attribute__((always_inline)) static inline void descriptor_prefetch(const struct pmm *pmm, uint64_t frame)
{
    __builtin_prefetch((const unsigned char *)pmm->blocks + frame / (PMM_BLOCK_FRAMES / PMM_BLOCK_BYTES), 1);
}

/* A whole block from this CPU's cache of them, without the lock. */
static inline bool cached_block(struct pmm *pmm, unsigned class, pfn_t *first)
{
    struct pmm_cpu *cpu = pmm->only_cpu;
    if (!cpu_enter(cpu)) {
        return false;
    }
    unsigned count = cpu->whole_count;
    if (count > 0) {
        uint64_t block = cpu->whole[count - 1];
        struct pmm_block *b = &pmm->blocks[block];
        whole_count_set(cpu, count - 1);
        lane_set(b, (b->lane & ~(unsigned)LANE_CLASS) | class);
        b->mode = PMM_BLOCK_RUN_HEAD; /* of one block, as it was when it came */
        *first = pfn(block_start(block));
    }
    cpu_leave(cpu);
    return count > 0;
}

#endif
