/*
 * The port: everything the layers need of a machine, and all of it. src/arch/x86_64/ is the hardware, test/model/ the
 * host's. What must hold is said once, here.
 *
 * All of it may be called from thread, interrupt and fault-handler context. Nothing here allocates or takes a lock.
 *
 * A port where table accesses, INVLPG and the interrupt flag are an instruction or three defines them inline, in a
 * header that the build names in ARCH_INLINE_HEADER; else they are functions.
 */
#ifndef CAIRN_ARCH_ARCH_H
#define CAIRN_ARCH_ARCH_H

#include "lib/report.h"
#include "lib/units.h"

#ifdef ARCH_INLINE_HEADER
#include ARCH_INLINE_HEADER
#endif

/* ---- Paging structures, reached by the addresses of the windows (layout.h) ---- */

/*
 * Load or store one entry. `entry` is the address of an 8-byte aligned entry in a window page; the walk to it goes
 * through the MMU like any access, so whatever the MMU has cached of that window page counts. One single access each,
 * never torn, never reordered by the compiler against other calls of this header.
 *
 * INVLPG: drops the translation of the page of `va` and all paging-structure-cache entries of this CPU (SDM 3A
 * 4.10.4.1; APM 2 5.5.3: EFER.TCE must be 0, or it drops only those that lead to the page, which is too little).
 */
#ifndef ARCH_INLINE_HEADER
pte_t arch_table_load(vaddr_t entry);
void arch_table_store(vaddr_t entry, pte_t value);
void arch_invlpg(vaddr_t va);
#endif

/*
 * Store `value` if the entry still is *old: one atomic operation, also against the walkers of all CPUs, so that no
 * accessed or dirty bit is lost that one of them sets after it was loaded (R19). => true: stored; false: nothing is,
 * and *old is what is there.
 */
#ifndef ARCH_INLINE_HEADER
bool arch_table_replace(vaddr_t entry, pte_t *old, pte_t value);
#endif

/*
 * The same on other CPUs: each CPU of `cpus` (bit n is CPU n, never the caller's) drops the pages of
 * pages[0, count), global ones too, or with null everything as arch_flush_all, and its paging-structure caches. All of
 * them have done it on return (R13).
 */
void arch_flush_others(uint64_t cpus, const vaddr_t *pages, size_t count);

/* CR3, without flags: the physical address of the current PML4. Loading flushes all but global entries. */
paddr_t arch_root(void);
void arch_root_load(paddr_t root);

/* Drops everything that this CPU has cached of paging structures, global translations too (SDM 3A 4.10.4.1). */
void arch_flush_all(void);

/* The end of all frame numbers: those that the CPU has addresses for are below; a page-table entry names no other. */
pfn_t arch_frames_end(void);

/* Has the CPU pages of 1 GiB (CPUID 80000001H, EDX bit 26)? All have those of 2 MiB. */
bool arch_has_1g_pages(void);

/* ---- Memory by virtual address, through the MMU ---- */

/* Whole pages; both page-aligned and mapped with the rights that the access needs. */
void arch_page_zero(vaddr_t page);
void arch_page_copy(vaddr_t to, vaddr_t from);

/* One aligned 8-byte access to a mapped address. */
uint64_t arch_read64(vaddr_t va);
void arch_write64(vaddr_t va, uint64_t value);

/* ---- CPUs and interrupts ---- */

/* The CPU that runs this, from 0 up, without gaps. Steady while interrupts are off. */
unsigned arch_cpu(void);

/* Interrupts off on this CPU; the flags as they were, for arch_interrupts_restore. May be nested. */
#ifndef ARCH_INLINE_HEADER
uint64_t arch_interrupts_off(void);
void arch_interrupts_restore(uint64_t flags);
#endif

/* ---- Time and reports ---- */

/* A counter that only grows: TSC ticks, or the host's idea of them. */
uint64_t arch_ticks(void);

/* Takes a report (report.h); `text` is terminated and valid only during the call. May not return for REPORT_MISUSE. */
void arch_report(enum report_kind kind, const char *text);

/* Stops for good: the machine's panic, or abort() on the host. */
_Noreturn void arch_fatal(const char *text);

#endif
