/* What this CPU has, from CPUID, and switching on: SMEP, SMAP, UMIP, global pages, the mirrored PAT (rule R4). */
#ifndef CAIRN_ARCH_X86_64_FEATURES_H
#define CAIRN_ARCH_X86_64_FEATURES_H

#include <stdbool.h>
#include <stdint.h>

struct cpu_features {
    bool nx, pge, smep, smap, umip, page_1g, syscall, hypervisor, invariant_tsc, meltdown_open;
    unsigned physical_bits;
    unsigned package_cpus; /* logical CPUs of this package, as CPUID leaf 1 says; 1 when it does not */
    char vendor[13], brand[49];
    uint64_t tsc_hz; /* 0: unknown until measured */
};

/*
 * PAT entries: 6 write-back, 1 write-combining, 7 uncached-minus, 0 uncached; entry i+4 = entry i, so that bit 7 of a
 * large leaf, which a window shows as the PAT bit of a small one, never changes a cache type (rule R4).
 */
#define FEATURES_PAT_MIRRORED 0x0007010600070106ULL

/* Of a physical address: CPUID 80000008H, 36 where the CPU does not say (SDM 3A 4.1.4). */
unsigned features_physical_bits(void);
bool features_page_1g(void);
void features_read(struct cpu_features *f);
/* CR4 and PAT. Call once on each CPU, after the boot tables are in use. */
void features_enable(const struct cpu_features *f);

/*
 * Has features_enable switched SMAP on? Then the supervisor's access to user pages needs a bracket (port.c, user.asm),
 * and user mode's AC flag has to be cleared when the kernel is entered (entry.asm). Read-only.
 */
extern bool features_smap;

#endif
