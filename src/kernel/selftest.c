/*
 * The test bed inside the kernel: the runner's memory comes from kernel pages with guards, its reports from
 * arch_report. The tests work on the machine's own VMM where they need a real one; afterwards everything must be as
 * before, which the tests of each layer check themselves.
 */
#include "kernel/selftest.h"

#include "kernel/console.h"
#include "kernel/machine.h"
#include "unit/runner.h"

enum { PAGE_ALIGN_LOG2 = __builtin_ctz(PAGE_BYTES) };

void *test_port_pages(size_t pages)
{
    vaddr_t base;
    enum status s =
        kpages_alloc(&machine.vmm, npages(pages), PAGE_ALIGN_LOG2, KPAGES_GUARDED | KPAGES_ZEROED, "test", &base);
    return s == STATUS_OK ? vaddr_to_ptr(base) : NULL;
}

void test_port_pages_free(void *base, size_t pages)
{
    (void)pages;
    test_expect(kpages_free(&machine.vmm, ptr_to_vaddr(base)) == STATUS_OK, "the test's pages go back", __FILE__,
                __LINE__);
}

struct vmm *test_vmm(void);
struct vmm *test_vmm(void)
{
    return &machine.vmm;
}

void selftest_report(enum report_kind kind, const char *text)
{
    test_take_report(kind, text);
}

bool selftest_run(const char *glob)
{
    machine.tests_running++;
    bool ok = test_run_all(glob, console);
    machine.tests_running--;
    return ok;
}
