/*
 * Copies between the kernel and the current space's user half, on behalf of user mode.
 *
 * What user mode may not touch is not touched for it: the kernel's addresses, the windows, ranges that wrap, and pages
 * of the user half that are the kernel's alone. Missing pages come as they would for user mode itself (aspace_fault);
 * where they cannot, the copy ends there.
 *
 * Context: thread, with the space current whose memory is meant.
 */
#ifndef CAIRN_KERNEL_USERCOPY_H
#define CAIRN_KERNEL_USERCOPY_H

#include "lib/status.h"
#include "lib/units.h"

/*
 * => the bytes that were not copied: 0 when all were. What comes before them was; where the end of it lies within a
 * page is not exact. What copy_from_user does not bring is set to zero.
 */
[[nodiscard]] uint64_t copy_from_user(void *to, vaddr_t from, uint64_t bytes);
[[nodiscard]] uint64_t copy_to_user(vaddr_t to, const void *from, uint64_t bytes);

/*
 * A string, with its end, into `to`, which has room for `size` bytes; *length is without the end.
 * => OK; LIMIT: it has no end within `size`; DENIED: part of it cannot be read in user mode; RANGE: no user address;
 * INVALID: no room. Then `to` holds the empty string, where there is room for it.
 */
enum status strncpy_from_user(char *to, vaddr_t from, uint64_t size, uint64_t *length);

/* For the fault handler: where the kernel goes on when its access to user memory at `rip` fails; 0: not in a copy. */
uint64_t usercopy_fixup(uint64_t rip);

#endif
