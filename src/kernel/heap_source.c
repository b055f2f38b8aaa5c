#include "kernel/heap_source.h"

#include "arch/layout.h"
#include "kernel/machine.h"

static bool asking;

bool heap_source_is_asking(void) { return asking; }

static void *pages_get(void *ctx, npages_t pages, unsigned align_log2, bool guarded)
{
    vaddr_t base;
    asking = true;
    const unsigned flags = KPAGES_POOLED | (guarded ? KPAGES_GUARDED : 0U);
    enum status s = kpages_alloc(ctx, pages, align_log2, flags, "heap", &base);
    asking = false;
    return s == STATUS_OK ? vaddr_to_ptr(base) : NULL;
}

static void pages_put(void *ctx, void *base, npages_t pages)
{
    if (kpages_free(ctx, ptr_to_vaddr(base)) != STATUS_OK) {
        panic("heap: %lu pages at %p cannot be given back", pages.v, base);
    }
}

bool heap_source_protect(void *ctx, void *base, npages_t pages, bool is_writable)
{
    struct vmm *vmm = ctx;
    const unsigned rights = VMM_READ | (is_writable ? VMM_WRITE : 0U);
    asking = true;
    enum status s = vmm_protect(vmm, &vmm->kernel, ptr_to_vaddr(base), pages, rights);
    asking = false;
    return s == STATUS_OK;
}

static bool pages_grow(void *ctx, void *base, npages_t old, npages_t pages)
{
    (void)old;
    asking = true;
    enum status s = kpages_grow(ctx, ptr_to_vaddr(base), pages);
    asking = false;
    return s == STATUS_OK;
}

static bool pages_trim(void *ctx, void *base, npages_t old, npages_t pages)
{
    (void)old;
    asking = true;
    enum status s = kpages_trim(ctx, ptr_to_vaddr(base), pages);
    asking = false;
    return s == STATUS_OK;
}

static void *pages_move(void *ctx, void *base, npages_t old, npages_t pages, unsigned align_log2)
{
    (void)old;
    vaddr_t moved;
    asking = true;
    enum status s = kpages_move(ctx, ptr_to_vaddr(base), pages, align_log2, &moved);
    asking = false;
    return s == STATUS_OK ? vaddr_to_ptr(moved) : NULL;
}

struct heap_source heap_source_of(struct vmm *vmm)
{
    return (struct heap_source){
        .ctx = vmm,
        .pages_get = pages_get,
        .pages_put = pages_put,
        .span_base = vaddr(LAYOUT_KERNEL_BASE),
        .pages_grow = pages_grow,
        .pages_trim = pages_trim,
        .pages_move = pages_move,
    };
}
