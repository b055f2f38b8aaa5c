/*
 * The calls by which the exercise changes something. Normally each is just the product's call.
 *
 * A build with -DCAIRN_BREAK_... breaks one promise of the product *here*, between the product and the exercise, so
 * that the product's sources stay clean: the exercise does not know, and must notice by its own record. Such builds are
 * booted by the tests, and must fail.
 *
 *   CAIRN_BREAK_FRAME_TWICE     now and then a frame is given out that is out already
 *   CAIRN_BREAK_FOREIGN_LOST    now and then a change of another space is acknowledged and not made
 *   CAIRN_BREAK_HEAP_OVERWRITE  now and then one byte of a heap block changes after it was written
 */
#ifndef CAIRN_KERNEL_EXERCISE_PORT_H
#define CAIRN_KERNEL_EXERCISE_PORT_H

#include "kernel/machine.h"

enum { EXERCISE_BREAK_EVERY = 101 };

static inline enum status exercise_port_alloc(unsigned flags, pfn_t *frame)
{
#ifdef CAIRN_BREAK_FRAME_TWICE
    static uint64_t calls;
    static pfn_t before;
    if (++calls % EXERCISE_BREAK_EVERY == 0) {
        *frame = before;
        return STATUS_OK;
    }
    enum status s = pmm_alloc(&machine.pmm, flags, frame);
    before = *frame;
    return s;
#else
    return pmm_alloc(&machine.pmm, flags, frame);
#endif
}

/* Is this change of `space`, which was made, to be lost again? Only foreign ones are. */
static inline bool exercise_port_loses(const struct space *space)
{
#ifdef CAIRN_BREAK_FOREIGN_LOST
    static uint64_t changes;
    return space != machine.vmm.current && ++changes % EXERCISE_BREAK_EVERY == 0;
#else
    (void)space;
    return false;
#endif
}

static inline enum status exercise_port_map(struct space *space, vaddr_t va, npages_t pages, unsigned rights)
{
    enum status s = vmm_map(&machine.vmm, space, va, pages, rights);
    return s == STATUS_OK && exercise_port_loses(space) ? vmm_unmap(&machine.vmm, space, va, pages) : s;
}

static inline enum status exercise_port_map_frame(struct space *space, vaddr_t va, pfn_t frame, unsigned rights)
{
    enum status s = vmm_map_frames(&machine.vmm, space, va, frame, npages(1), rights, true);
    return s == STATUS_OK && exercise_port_loses(space) ? vmm_unmap(&machine.vmm, space, va, npages(1)) : s;
}

static inline enum status exercise_port_unmap(struct space *space, vaddr_t va, npages_t pages)
{
    return vmm_unmap(&machine.vmm, space, va, pages);
}

static inline enum status exercise_port_protect(struct space *space, vaddr_t va, npages_t pages, unsigned rights)
{
    enum status s = vmm_protect(&machine.vmm, space, va, pages, rights);
    /* Lost: one page, the last of them, is read-only again. */
    vaddr_t last = vaddr_add_pages(va, pages.v - 1);
    return s == STATUS_OK && exercise_port_loses(space) ? vmm_protect(&machine.vmm, space, last, npages(1), VMM_READ)
                                                        : s;
}

/* Told of each heap block after its bytes were written. */
static inline void exercise_port_written(uint8_t *block, uint64_t bytes)
{
#ifdef CAIRN_BREAK_HEAP_OVERWRITE
    static uint64_t writes;
    if (++writes % EXERCISE_BREAK_EVERY == 0) {
        block[bytes / 2] ^= 1;
    }
#else
    (void)block;
    (void)bytes;
#endif
}

#endif
