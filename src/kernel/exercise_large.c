/*
 * `exercise vmm`, its end: each space gets large pages too, of both sizes, as they were mapped, after promotion and
 * after demotion, for whoever reads the tables. Read only, of frames where no machine of ours has anything; and one of
 * fresh frames. On a CPU without pages of 1 GiB, those of 2 MiB alone.
 */
#include "arch/arch.h"
#include "arch/layout.h"
#include "kernel/exercise_vmm.h"
#include "vmm/vmm_large.h"

enum { LEVEL_2M = 2, LEVEL_1G = 3, GIB_PAGES = PAGES_PER_2M * TABLE_ENTRIES };

/* A slot in which the history has nothing; the frames behind 4 TiB, as far as the CPU has addresses. */
#define LARGE_BASE LAYOUT_SLOT_BASE(3)

struct large_run {
    struct exercise *ex;
    struct space *space;
    pfn_t first; /* frames of the next part */
    vaddr_t va;  /* of the next part */
    bool is_short; /* of memory: what could not be had is not there, and that is no failure (EX-6) */
};

/* => false: not done; all ends here. */
static bool must(struct large_run *r, const char *what, enum status s)
{
    if (s == STATUS_NOMEM) {
        r->is_short = true;
        return false;
    }
    return s == STATUS_OK || exercise_failed(r->ex, "EX-4: %s at %#lx in space %u: %s", what, r->va.v, r->space->id,
                                             status_name(s));
}

/* So many pages of a size, and then on to the next GiB. */
static bool map(struct large_run *r, uint64_t pages, unsigned flags)
{
    return must(r, "mapping large pages",
                vmm_map_frames(&machine.vmm, r->space, r->va, r->first, npages(pages), VMM_READ | flags, false));
}

static void go_on(struct large_run *r)
{
    r->va = vaddr_add_pages(r->va, GIB_PAGES);
    r->first = pfn_add(r->first, GIB_PAGES);
}

static bool part_of_1g(struct large_run *r)
{
    struct vmm *vmm = &machine.vmm;
    if (!map(r, GIB_PAGES, VMM_1G)) {
        return false;
    }
    go_on(r);
    if (!map(r, GIB_PAGES, VMM_2M) ||
        !must(r, "promotion to 1 GiB", vmm_promote(vmm, r->space, r->va, LEVEL_1G, 0))) {
        return false;
    }
    go_on(r);
    bool ok = map(r, GIB_PAGES, VMM_1G) && must(r, "demotion of 1 GiB", vmm_demote(vmm, r->space, r->va));
    go_on(r);
    return ok;
}

static bool part_of_2m(struct large_run *r)
{
    struct vmm *vmm = &machine.vmm;
    if (!map(r, PAGES_PER_2M, 0) ||
        !must(r, "promotion to 2 MiB", vmm_promote(vmm, r->space, r->va, LEVEL_2M, 0))) {
        return false;
    }
    go_on(r);
    bool ok = map(r, 3UL * PAGES_PER_2M, VMM_LARGE) && must(r, "demotion of 2 MiB", vmm_demote(vmm, r->space, r->va)) &&
              must(r, "unmapping part of a large page",
                   vmm_unmap(vmm, r->space, vaddr_add_pages(r->va, 2UL * PAGES_PER_2M + 1), npages(PAGES_PER_2M - 1)));
    go_on(r);
    return ok;
}

bool exercise_vmm_large(struct exercise *ex, struct space *space)
{
    const uint64_t most = paddr_to_pfn(paddr(4 * TIB)).v, end = machine.vmm.frames_end.v;
    struct large_run r = {.ex = ex, .space = space, .va = vaddr(LARGE_BASE)};
    r.first = pfn(end > most ? most : end / 2);
    bool done = (!arch_has_1g_pages() || part_of_1g(&r)) && part_of_2m(&r) &&
                must(&r, "mapping a fresh large page",
                     vmm_map(&machine.vmm, space, r.va, npages(PAGES_PER_2M), VMM_READ | VMM_WRITE | VMM_2M));
    return done || r.is_short;
}
