/* What the boot code has switched on, read back from this CPU. In the kernel only. */
#include "arch/arch.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/features.h"
#include "kernel/machine.h"
#include "unit/test.h"

/* R4: entry i+4 = entry i, so the PAT bit of a leaf says nothing, wherever a window shows it. */
TEST(cpu, the_pat_is_mirrored_and_its_first_entries_are_those_of_the_leaves)
{
    const uint64_t pat = read_msr(MSR_PAT);
    EXPECT_EQ(pat, FEATURES_PAT_MIRRORED);
    EXPECT_EQ(pat >> 32, pat & UINT32_MAX);
    EXPECT_EQ(pat & 0xFF, 6);                       /* 0: write-back */
    EXPECT_EQ(pat >> 8 * (PTE_CACHE_WC >> 3) & 0xFF, 1); /* write-combining */
    EXPECT_EQ(pat >> 8 * (PTE_CACHE_UC >> 3) & 0xFF, 0); /* uncached */
}

/* R11: and a flush of everything leaves it on. */
TEST(cpu, global_pages_are_on_where_the_cpu_has_them)
{
    EXPECT_EQ((read_cr4() & CR4_PGE) != 0, machine.cpu.pge);
    const uint64_t before = read_cr4();
    arch_flush_all();
    EXPECT_EQ(read_cr4(), before);
}
