/* Data by virtual address: words and whole pages. */
#include "lib/string.h"
#include "model/mmu.h"

uint64_t model_read64(struct model *m, vaddr_t va)
{
    const uint64_t *at = model_access(m, va, false);
    return at == NULL ? 0 : *at;
}

/* Frames below RAM's end that a write changes; the frame is found anew from the host's address. */
static pfn_t frame_of(const struct model *m, const void *at)
{
    return pfn(bytes_to_pages_down((uint64_t)((const char *)at - m->memory_base)).v);
}

void *model_pointer(vaddr_t page)
{
    struct model *m = model_machine;
    void *at = model_access(m, page, true);
    if (at != NULL) {
        m->shown[frame_of(m, at).v] = vaddr_page(page);
    }
    return at;
}

vaddr_t model_address(const void *pointer)
{
    const struct model *m = model_machine;
    return vaddr_add(m->shown[frame_of(m, pointer).v], page_offset_bytes(ptr_to_vaddr(pointer).v));
}

void model_write64(struct model *m, vaddr_t va, uint64_t value)
{
    const void *at = model_access(m, va, true);
    if (at != NULL) {
        history_store(m, frame_of(m, at), (unsigned)(page_offset_bytes(va.v) / ENTRY_BYTES), value);
    }
}

bool model_replace64(struct model *m, vaddr_t va, uint64_t *old, uint64_t value)
{
    pte_t *at = model_access(m, va, true);
    if (at == NULL) {
        return true; /* a violation, reported; nothing more is to be had of it */
    }
    pfn_t frame = frame_of(m, at);
    unsigned index = (unsigned)(page_offset_bytes(va.v) / ENTRY_BYTES);
    if (m->before_replace != NULL) {
        m->before_replace(m, frame, index, at);
    }
    if (at->v != *old) {
        *old = at->v;
        return false;
    }
    history_replace(m, frame, index, value);
    return true;
}

static void write_page(struct model *m, char *page, const uint64_t *from)
{
    const struct model_table *t = table_of(m, frame_of(m, page));
    if (t == NULL || t->roles == 0) {
        if (from == NULL) {
            memset(page, 0, PAGE_BYTES);
        } else {
            memmove(page, from, PAGE_BYTES);
        }
        return;
    }
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        history_store(m, frame_of(m, page), i, from == NULL ? 0 : from[i]);
    }
}

void model_page_zero(struct model *m, vaddr_t page)
{
    char *at = model_access(m, page, true);
    if (at != NULL) {
        write_page(m, at, NULL);
    }
}

void model_page_copy(struct model *m, vaddr_t to, vaddr_t from)
{
    char *target = model_access(m, to, true);
    const uint64_t *source = model_access(m, from, false);
    if (target != NULL && source != NULL) {
        write_page(m, target, source);
    }
}
