/* Pagers of the kernel's own: what an object's pages are filled from. */
#ifndef CAIRN_KERNEL_PAGERS_H
#define CAIRN_KERNEL_PAGERS_H

#include "aspace/object.h"
#include "kernel/machine.h"

/* A boot module, zeros behind its end. The module stays where the loader put it; its pages are copies. */
struct pager pager_of_module(const struct module *module);
npages_t module_pages(const struct module *module);
uint64_t module_bytes(const struct module *module);
/* => false: [at, at + bytes) is not all in it, or cannot be read now. */
bool module_read(const struct module *module, uint64_t at, void *to, uint64_t bytes);

/* Bytes of the kernel's, such as code of a test; they stay in place as long as the object. */
struct pager_bytes {
    const void *bytes;
    uint64_t count;
};
struct pager pager_of_bytes(const struct pager_bytes *bytes);

#endif
