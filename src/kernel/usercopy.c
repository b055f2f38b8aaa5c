/*
 * Copies go page by page of the user side. Before the first byte of a page is touched, one look at the tables: a page
 * that is there, but for the kernel alone (VMM_USER missing, as where a mapping has no rights), would let the kernel in
 * without a fault, so it is asked for as user mode would. All else is left to the CPU: what is absent or read-only
 * faults, and the handler (fault_user.c) brings it or sends the copy to its end by user_fixups.
 *
 * Rejected: a look at the mappings for each page (a search; the tables say the same in four loads); trusting the range
 * alone (a space may hold pages that its user mode must not read).
 */
#include "kernel/usercopy.h"

#include "arch/layout.h"
#include "arch/x86_64/user_copy.h"
#include "kernel/current.h"
#include "kernel/fault.h"
#include "lib/string.h"

uint64_t usercopy_fixup(uint64_t rip)
{
    for (const struct user_fixup *f = user_fixups; f->at != 0; f++) {
        if (f->at == rip) {
            return f->go_on;
        }
    }
    return 0;
}

static bool is_user_range(vaddr_t va, uint64_t bytes)
{
    return va.v >= LAYOUT_USER_FIRST && va.v < LAYOUT_USER_END && bytes <= LAYOUT_USER_END - va.v;
}

static bool is_kernels_alone(vaddr_t va)
{
    struct fault_walk w = fault_walk(va);
    return w.present && !w.user;
}

/* May the page at `va` be tried? */
static bool may_try(vaddr_t va, unsigned access)
{
    if (!is_kernels_alone(va)) {
        return true;
    }
    struct aspace *space = current_aspace();
    return space != NULL && aspace_fault(space, va, access | VMM_USER, fault_of_user_last()) == STATUS_OK &&
           !is_kernels_alone(va);
}

static uint64_t in_page(vaddr_t va, uint64_t bytes)
{
    uint64_t rest = PAGE_BYTES - page_offset_bytes(va.v);
    return bytes < rest ? bytes : rest;
}

static uint64_t copy_pages(vaddr_t user, unsigned access, char *kernel, uint64_t bytes)
{
    uint64_t left = is_user_range(user, bytes) ? 0 : bytes;
    while (bytes > 0 && left == 0) {
        uint64_t n = in_page(user, bytes);
        if (!may_try(user, access)) {
            return bytes;
        }
        left = (access & VMM_WRITE) != 0 ? user_copy(vaddr_to_ptr(user), kernel, n)
                                         : user_copy(kernel, vaddr_to_ptr(user), n);
        bytes -= n - left;
        kernel += n;
        user = vaddr_add(user, n);
    }
    return bytes;
}

uint64_t copy_from_user(void *to, vaddr_t from, uint64_t bytes)
{
    uint64_t left = copy_pages(from, VMM_READ, to, bytes);
    if (left > 0) {
        memset((char *)to + (bytes - left), 0, left);
    }
    return left;
}

uint64_t copy_to_user(vaddr_t to, const void *from, uint64_t bytes)
{
    return copy_pages(to, VMM_WRITE, (char *)(uintptr_t)from, bytes);
}

static enum status copy_text(char *to, vaddr_t from, uint64_t size, uint64_t *length)
{
    uint64_t room = from.v < LAYOUT_USER_END ? LAYOUT_USER_END - from.v : 0, done = 0;
    if (!is_user_range(from, 1)) {
        return STATUS_RANGE;
    }
    while (done < size && done < room) {
        vaddr_t at = vaddr_add(from, done);
        uint64_t left = 0, n = in_page(at, size - done);
        enum user_text end = may_try(at, VMM_READ) ? user_copy_text(to + done, vaddr_to_ptr(at), n, &left)
                                                   : USER_TEXT_FAULT;
        if (end == USER_TEXT_FAULT) {
            return STATUS_DENIED;
        }
        done += n - left;
        if (end == USER_TEXT_ENDED) {
            *length = done - 1;
            return STATUS_OK;
        }
    }
    return done < size ? STATUS_DENIED : STATUS_LIMIT;
}

enum status strncpy_from_user(char *to, vaddr_t from, uint64_t size, uint64_t *length)
{
    if (size == 0) {
        return STATUS_INVALID;
    }
    enum status s = copy_text(to, from, size, length);
    if (s != STATUS_OK) {
        memset(to, 0, size); /* nothing of a part of it stays */
    }
    return s;
}
