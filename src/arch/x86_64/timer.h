/*
 * The timer that ends turns of user mode: that of the local APIC, or the PIT through the 8259A where there is no APIC.
 * Periodic; how long a turn is depends on the machine and matters to nobody.
 */
#ifndef CAIRN_ARCH_X86_64_TIMER_H
#define CAIRN_ARCH_X86_64_TIMER_H

#include "arch/x86_64/interrupt.h"

enum timer_kind { TIMER_NONE, TIMER_APIC, TIMER_PIT, TIMER_X2APIC };

/* Vectors of the timer: PIT, which is the first of the 8259A's sixteen, and APIC. */
enum { TIMER_VECTOR_PIT = 0x20, TIMER_VECTOR_APIC = 0x40 };

/* Registers of a device: a page, uncached. Null: it cannot be had. */
typedef volatile uint32_t *timer_map_fn(paddr_t page);

/*
 * From now on it ticks, and interrupts may be allowed in user mode: each tick that comes there ends the run
 * (user_leave). All other interrupts of devices are masked; those that come nevertheless are acknowledged, no more.
 * => what ticks; `want` other than TIMER_NONE: only that one, TIMER_APIC in x2APIC mode too.
 */
enum timer_kind timer_start(timer_map_fn *map, enum timer_kind want);

static inline bool timer_is_tick(uint64_t vector)
{
    return vector == TIMER_VECTOR_PIT || vector == TIMER_VECTOR_APIC;
}

#endif
