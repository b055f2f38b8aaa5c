/*
 * What the ways to keep account of frames need of the machine: memory for their arrays, a view of frames, and, for
 * those that back their own arrays with the frames that they manage, addresses and page tables. One machine at a time.
 * host_machine.c is it on the host, kernel/machine.c in the kernel.
 */
#ifndef CAIRN_TEST_RIVALS_PMM_MACHINE_H
#define CAIRN_TEST_RIVALS_PMM_MACHINE_H

#include "lib/units.h"

/* A page at `page` has nothing behind it. true: now it has. */
typedef bool machine_fault_fn(void *ctx, void *page);

/* All that the last way had is gone. RAM has frames [0, frames), with anything in them. */
void machine_begin(uint64_t frames);

/* Zeros, aligned to a cache line, and seldom to more: arrays that all begin a page share sets of the cache. Never null.
 */
void *machine_memory(uint64_t bytes);

/* `bytes` of addresses with nothing behind them; `fault` (may be null) is told of the first access to a page. */
uint8_t *machine_addresses(uint64_t bytes, machine_fault_fn *fault, void *ctx);
/* A page of these shows this frame from now on. */
void machine_show(void *page, pfn_t frame, bool writable);
/* The same, to be written, and the frame is zeroed. */
void machine_show_zeroed(void *page, pfn_t frame);

/* The contents of frame 0; frame n is n pages behind it. A kernel has this with a direct map only. */
uint8_t *machine_view(void);

/* ---- For those who measure ---- */

/* On the host. The memory goes back to the system: what ways touch of it is counted from here on. */
void machine_forget(void);
/* On the host. Pages of it that were touched since. */
npages_t machine_touched(void);
/* All goes back to the system. */
void machine_end(void);

#endif
