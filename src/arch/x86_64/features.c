#include "arch/x86_64/features.h"

#include "arch/x86_64/cpu.h"
#include "lib/string.h"

bool features_smap;

static void read_names(struct cpu_features *f, uint32_t max_extended)
{
    struct cpuid_result r = cpuid(0, 0);
    memcpy(f->vendor, &r.ebx, 4);
    memcpy(f->vendor + 4, &r.edx, 4);
    memcpy(f->vendor + 8, &r.ecx, 4);
    for (uint32_t i = 0; i < 3 && max_extended >= 0x80000004; i++) {
        r = cpuid(0x80000002 + i, 0);
        memcpy(f->brand + i * sizeof r, &r, sizeof r);
    }
}

/* Leaf 15H: crystal frequency and ratio; leaf 16H: base frequency in MHz. Absent under most emulators. */
static uint64_t read_tsc_hz(uint32_t max_basic)
{
    if (max_basic >= 0x15) {
        struct cpuid_result r = cpuid(0x15, 0);
        if (r.eax != 0 && r.ebx != 0 && r.ecx != 0) {
            return (uint64_t)r.ecx * r.ebx / r.eax;
        }
    }
    return max_basic >= 0x16 ? (uint64_t)(cpuid(0x16, 0).eax & 0xFFFF) * 1000000 : 0;
}

/* Intel CPUs without RDCL_NO (leaf 7, IA32_ARCH_CAPABILITIES) may read kernel memory from user mode (Meltdown). */
static bool meltdown_possible(const struct cpu_features *f, struct cpuid_result leaf7)
{
    bool has_capabilities = (leaf7.edx >> 29) & 1;
    if (memcmp(f->vendor, "GenuineIntel", 12) != 0) {
        return false;
    }
    if (!has_capabilities) {
        return true;
    }
    return (read_msr(MSR_ARCH_CAPABILITIES) & 1) == 0;
}

unsigned features_physical_bits(void)
{
    return cpuid(0x80000000, 0).eax >= 0x80000008 ? cpuid(0x80000008, 0).eax & 0xFF : 36;
}

bool features_page_1g(void) { return (cpuid(0x80000001, 0).edx >> 26 & 1) != 0; }

void features_read(struct cpu_features *f)
{
    *f = (struct cpu_features){.physical_bits = features_physical_bits()};
    uint32_t max_basic = cpuid(0, 0).eax;
    uint32_t max_extended = cpuid(0x80000000, 0).eax;
    read_names(f, max_extended);
    struct cpuid_result basic = cpuid(1, 0);
    f->pge = (basic.edx >> 13) & 1;
    f->hypervisor = (basic.ecx >> 31) & 1;
    bool has_count = ((basic.edx >> 28) & 1) != 0 && ((basic.ebx >> 16) & 0xFF) != 0;
    f->package_cpus = has_count ? (basic.ebx >> 16) & 0xFF : 1;
    struct cpuid_result extended = cpuid(0x80000001, 0);
    f->nx = (extended.edx >> 20) & 1;
    f->page_1g = features_page_1g();
    f->syscall = (extended.edx >> 11) & 1; /* in 64-bit mode all known CPUs have it (SDM 2B, APM 3) */
    if (max_extended >= 0x80000007) {
        f->invariant_tsc = (cpuid(0x80000007, 0).edx >> 8) & 1;
    }
    struct cpuid_result leaf7 = {0};
    if (max_basic >= 7) {
        leaf7 = cpuid(7, 0);
        f->smep = (leaf7.ebx >> 7) & 1;
        f->smap = (leaf7.ebx >> 20) & 1;
        f->umip = (leaf7.ecx >> 2) & 1;
    }
    f->meltdown_open = meltdown_possible(f, leaf7);
    f->tsc_hz = read_tsc_hz(max_basic);
}

void features_enable(const struct cpu_features *f)
{
    write_msr(MSR_PAT, FEATURES_PAT_MIRRORED);
    /* Without MCE a machine check resets the machine without a word. */
    uint32_t mce = cpuid(1, 0).edx >> 7 & 1;
    write_cr4(read_cr4() | (mce != 0 ? CR4_MCE : 0) | (f->pge ? CR4_PGE : 0));
    write_cr4(read_cr4() | (f->smep ? CR4_SMEP : 0) | (f->smap ? CR4_SMAP : 0) | (f->umip ? CR4_UMIP : 0));
    /*
     * x87 and SSE for user mode. XSAVE stays off: so FXSAVE's image is all that user mode can have there (user.asm).
     * SYSENTER has no target, whatever the firmware left; SYSCALL's is user_init's to set.
     */
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    if ((cpuid(1, 0).edx >> 11 & 1) != 0) {
        write_msr(MSR_SYSENTER_CS, 0);
    }
    write_cr3(read_cr3());
    features_smap = f->smap;
}
