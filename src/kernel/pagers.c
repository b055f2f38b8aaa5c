#include "kernel/pagers.h"

#include "lib/string.h"

/* How many of the `bytes` of an object are in its page `page`, which begins at *start. */
static uint64_t bytes_in_page(uint64_t bytes, uint64_t page, uint64_t *start)
{
    *start = pages_to_bytes(npages(page));
    uint64_t rest = *start < bytes ? bytes - *start : 0;
    return rest < PAGE_BYTES ? rest : PAGE_BYTES;
}

/* The loader may lie. */
uint64_t module_bytes(const struct module *module)
{
    return module->end.v > module->start.v ? module->end.v - module->start.v : 0;
}

/* From anywhere in physical memory into `to`, frame by frame. */
static enum status copy_physical(char *to, paddr_t from, uint64_t bytes)
{
    enum status s = STATUS_OK;
    while (bytes > 0 && s == STATUS_OK) {
        uint64_t offset = page_offset_bytes(from.v), rest = PAGE_BYTES - offset, n = bytes < rest ? bytes : rest;
        vaddr_t page;
        s = temp_map(&machine.vmm, paddr_to_pfn(from), &page);
        if (s == STATUS_OK) {
            memcpy(to, vaddr_to_ptr(vaddr_add(page, offset)), n);
            s = temp_unmap(&machine.vmm, page);
        }
        to += n;
        from = paddr(from.v + n);
        bytes -= n;
    }
    return s;
}

static enum status fill_from_module(void *ctx, uint64_t page, pfn_t frame)
{
    const struct module *module = ctx;
    uint64_t start, n = bytes_in_page(module_bytes(module), page, &start);
    vaddr_t to;
    enum status s = temp_map(&machine.vmm, frame, &to);
    if (s != STATUS_OK) {
        return s;
    }
    char *bytes = vaddr_to_ptr(to);
    s = copy_physical(bytes, paddr(module->start.v + start), n);
    memset(bytes + n, 0, PAGE_BYTES - n);
    enum status undone = temp_unmap(&machine.vmm, to);
    return s != STATUS_OK ? s : undone;
}

bool module_read(const struct module *module, uint64_t at, void *to, uint64_t bytes)
{
    const uint64_t all = module_bytes(module);
    return at <= all && bytes <= all - at && copy_physical(to, paddr(module->start.v + at), bytes) == STATUS_OK;
}

npages_t module_pages(const struct module *module) { return bytes_to_pages_up(module_bytes(module)); }

struct pager pager_of_module(const struct module *module)
{
    return (struct pager){.name = module->args, .ctx = (void *)(uintptr_t)module, .fill = fill_from_module};
}

static enum status fill_from_bytes(void *ctx, uint64_t page, pfn_t frame)
{
    const struct pager_bytes *from = ctx;
    uint64_t start, n = bytes_in_page(from->count, page, &start);
    vaddr_t to;
    enum status s = temp_map(&machine.vmm, frame, &to);
    if (s == STATUS_OK) {
        memcpy(vaddr_to_ptr(to), (const char *)from->bytes + start, n);
        memset((char *)vaddr_to_ptr(to) + n, 0, PAGE_BYTES - n);
        s = temp_unmap(&machine.vmm, to);
    }
    return s;
}

struct pager pager_of_bytes(const struct pager_bytes *bytes)
{
    return (struct pager){.name = "bytes of the kernel", .ctx = (void *)(uintptr_t)bytes, .fill = fill_from_bytes};
}
