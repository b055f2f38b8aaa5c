/*
 * The frame of an edit of two spaces: as edit.h, with the locks of both. Private to src/vmm/.
 *
 * Locks: the current space's window lock where one of them is foreign, then the table locks in order of id.
 */
#ifndef CAIRN_VMM_PAIR_H
#define CAIRN_VMM_PAIR_H

#include "vmm/edit.h"

struct pair {
    struct vmm *vmm;
    struct space *a, *b;
};

/* => OK; MISUSE, reported: inside of another edit or of a visit, or a space whose own window is open (R18). */
enum status pair_begin(const struct pair *p, vaddr_t va, const char *call);
/* The same where the caller has looked: there is no other edit, and neither's own window is open. */
void pair_begin_known(const struct pair *p, const char *call);
void pair_end(const struct pair *p);
/* The tables of `space`, one of the two, are in their window from here on. */
void pair_show(const struct pair *p, struct space *space);
/* As edit_promise: *changed: look again. n > 0. */
enum status pair_promise(const struct pair *p, npages_t n, bool *changed);

#endif
