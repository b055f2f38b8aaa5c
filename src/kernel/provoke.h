/* Deliberate faults, to see (and test) what the machine says of them. */
#ifndef CAIRN_KERNEL_PROVOKE_H
#define CAIRN_KERNEL_PROVOKE_H

#include <stdbool.h>

#include "lib/status.h"
#include "lib/units.h"

/* Does it. Returns, always false, only for what is refused rather than fatal, or when nothing came of it (said so). */
bool provoke(const char *name);
/* Prints all names, a blank before each. */
void provoke_names(void);

/* What a wrong call answered. */
void provoke_told(const char *call, enum status s);
/* The compiler can neither see what it points to nor leave an access out. */
static inline void *provoke_hidden(uint64_t address)
{
    void *p = vaddr_to_ptr(vaddr(address));
    __asm__ volatile("" : "+r"(p));
    return p;
}

/* ---- provoke_heap.c: misuse of the heap. Some of it faults in guard mode, and there alone (debug=heap) ---- */

void provoke_heap_double_free(void);
void provoke_heap_foreign(void);
void provoke_heap_write_after_free(void);
void provoke_heap_overflow(void); /* of a large block, which faults always */
void provoke_heap_cache_double_free(void);
void provoke_heap_cache_overflow(void);

/* ---- provoke_user.c: violations by user mode ---- */

/* => done; false: there is none of this name. */
bool provoke_user(const char *name);
void provoke_user_names(void);

#endif
