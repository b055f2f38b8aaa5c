/*
 * arch.h on the hardware, with inline.h. (arch_report and arch_fatal are the kernel's: panic.c.)
 */
#include "arch/arch.h"

#include "arch/paging.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/features.h"

/* Only one CPU is started: no set can name another. */
void arch_flush_others(uint64_t cpus, const vaddr_t *pages, size_t count)
{
    (void)cpus;
    (void)pages;
    (void)count;
    arch_fatal("a flush of CPUs that were never started");
}

paddr_t arch_root(void) { return pfn_to_paddr(paddr_to_pfn(paddr(read_cr3()))); }
void arch_root_load(paddr_t root) { write_cr3(root.v); }

/* A change of CR4.PGE drops all entries of all PCIDs (SDM 3A 4.10.4.1). Without PGE there are no global ones. */
void arch_flush_all(void)
{
    const uint64_t cr4 = read_cr4();
    if ((cr4 & CR4_PGE) != 0) {
        write_cr4(cr4 & ~(uint64_t)CR4_PGE);
        write_cr4(cr4);
    } else {
        write_cr3(read_cr3());
    }
}

pfn_t arch_frames_end(void)
{
    const pfn_t most = pfn_add(paddr_to_pfn(paddr(PTE_FRAME_MASK)), 1);
    unsigned bits = features_physical_bits();
    pfn_t end = bits < 64 ? paddr_to_pfn(paddr(1ULL << bits)) : most;
    return end.v < most.v ? end : most;
}

bool arch_has_1g_pages(void)
{
    static enum { UNKNOWN, NO, YES } answer; /* CPUID leaves a virtual machine */
    if (answer == UNKNOWN) {
        answer = features_page_1g() ? YES : NO;
    }
    return answer == YES;
}

/* `rep stosq` and `rep movsq`: one count a word under an emulator's instruction clock, fast strings on hardware. */
void arch_page_zero(vaddr_t page)
{
    void *to = vaddr_to_ptr(page);
    uint64_t words = PAGE_BYTES / sizeof(uint64_t);
    __asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(0) : "memory");
}

void arch_page_copy(vaddr_t to_page, vaddr_t from_page)
{
    void *to = vaddr_to_ptr(to_page);
    const void *from = vaddr_to_ptr(from_page);
    uint64_t words = PAGE_BYTES / sizeof(uint64_t);
    __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

/* EFLAGS.AC lets the supervisor touch user pages under SMAP; only between these two. */
static inline void allow_user_pages(void)
{
    if (features_smap) {
        __asm__ volatile("stac" : : : "memory", "cc");
    }
}

static inline void forbid_user_pages(void)
{
    if (features_smap) {
        __asm__ volatile("clac" : : : "memory", "cc");
    }
}

unsigned arch_cpu(void) { return 0; } /* only one is started */

uint64_t arch_read64(vaddr_t va)
{
    allow_user_pages();
    uint64_t value = *(const volatile uint64_t *)vaddr_to_ptr(va);
    forbid_user_pages();
    return value;
}

void arch_write64(vaddr_t va, uint64_t value)
{
    allow_user_pages();
    *(volatile uint64_t *)vaddr_to_ptr(va) = value;
    forbid_user_pages();
}

uint64_t arch_ticks(void) { return read_tsc(); }
