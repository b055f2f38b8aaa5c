/*
 * The part of arch.h that is an instruction or three on the hardware: inline, since a call would cost more. Beside
 * port.c the only place that dereferences a table entry.
 */
#ifndef CAIRN_ARCH_X86_64_INLINE_H
#define CAIRN_ARCH_X86_64_INLINE_H

#include "lib/units.h"

/* volatile: one access each, in program order among themselves; the MMU is another reader. */
static inline pte_t arch_table_load(vaddr_t entry)
{
    return (pte_t){*(const volatile uint64_t *)vaddr_to_ptr(entry)};
}

static inline void arch_table_store(vaddr_t entry, pte_t value)
{
    *(volatile uint64_t *)vaddr_to_ptr(entry) = value.v;
}

/* Locked: a walker sets accessed and dirty by locked operations too (SDM 3A 4.8, 8.1.2.1). */
static inline bool arch_table_replace(vaddr_t entry, pte_t *old, pte_t value)
{
    volatile uint64_t *at = vaddr_to_ptr(entry);
    bool stored;
    __asm__ volatile("lock cmpxchgq %3, %0" : "+m"(*at), "+a"(old->v), "=@ccz"(stored) : "r"(value.v) : "memory");
    return stored;
}

/* The memory clobber keeps accesses to the page, and stores to its tables, on their side of the flush. */
static inline void arch_invlpg(vaddr_t va) { __asm__ volatile("invlpg (%0)" : : "r"(va.v) : "memory"); }

static inline uint64_t arch_interrupts_off(void)
{
    uint64_t flags;
    __asm__ volatile("pushfq; popq %0; cli" : "=r"(flags) : : "memory");
    return flags;
}

static inline void arch_interrupts_restore(uint64_t flags)
{
    __asm__ volatile("pushq %0; popfq" : : "r"(flags) : "memory", "cc");
}

#endif
