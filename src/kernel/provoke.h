/* Deliberate faults, to see (and test) what the machine says of them. */
#ifndef CAIRN_KERNEL_PROVOKE_H
#define CAIRN_KERNEL_PROVOKE_H

#include <stdbool.h>

/* Does it. Returns, always false, only for what is refused rather than fatal, or when nothing came of it (said so). */
bool provoke(const char *name);
/* Prints all names, a blank before each. */
void provoke_names(void);

/* ---- provoke_user.c: violations by user mode ---- */

/* => done; false: there is none of this name. */
bool provoke_user(const char *name);
void provoke_user_names(void);

#endif
