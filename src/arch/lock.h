/*
 * A spin lock with interrupts off, and the words that let Clang check who holds it (-Wthread-safety).
 *
 * With one CPU the lock is the interrupt flag alone: `shared` false costs no atomic access.
 */
#ifndef CAIRN_ARCH_LOCK_H
#define CAIRN_ARCH_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/arch.h"

#ifdef __clang__
#define LOCK_TYPE __attribute__((capability("lock")))
#define REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define ACQUIRES(...) __attribute__((acquire_capability(__VA_ARGS__), no_thread_safety_analysis))
#define RELEASES(...) __attribute__((release_capability(__VA_ARGS__), no_thread_safety_analysis))
#else
#define LOCK_TYPE
#define REQUIRES(...)
#define ACQUIRES(...)
#define RELEASES(...)
#endif

struct LOCK_TYPE lock {
    uint32_t taken;
    bool shared;          /* more than one CPU: set before the first use */
    uint64_t saved_flags; /* of the holder, as arch_interrupts_off gave them */
};

static inline void lock_take(struct lock *l) ACQUIRES(l)
{
    uint64_t flags = arch_interrupts_off();
    if (l->shared) {
        while (__atomic_exchange_n(&l->taken, 1, __ATOMIC_ACQUIRE) != 0) {
            while (__atomic_load_n(&l->taken, __ATOMIC_RELAXED) != 0) {
                __builtin_ia32_pause();
            }
        }
    }
    l->saved_flags = flags;
}

static inline void lock_drop(struct lock *l) RELEASES(l)
{
    uint64_t flags = l->saved_flags;
    if (l->shared) {
        __atomic_store_n(&l->taken, 0, __ATOMIC_RELEASE);
    }
    arch_interrupts_restore(flags);
}

#endif
