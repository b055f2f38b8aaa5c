/*
 * The current space, as one with mappings. Whose tables CR3 names is the VMM's to know; that they belong to a struct
 * aspace is known here, when it was entered by these calls. Spaces of tables alone (struct space) may be entered as
 * well: then there is no current aspace.
 */
#ifndef CAIRN_KERNEL_CURRENT_H
#define CAIRN_KERNEL_CURRENT_H

#include "arch/x86_64/user.h"
#include "aspace/aspace.h"

/* Null: none of those that were entered is current. */
struct aspace *current_aspace(void);
/* Make its tables current. => as space_switch. */
enum status current_enter(struct aspace *space);
/* The kernel's own space, space 0, is current again. */
void current_leave(void);

/* What is current now, and back to it: it must still be there. */
struct current {
    struct space *tables;
    struct aspace *space;
};
struct current current_note(void);
void current_return(struct current to);

/*
 * user_run in this space; before and after it, whatever space was current. => as user_run and space_switch.
 * *out (may be null) tells of a page fault that ended the run (vector 14).
 */
enum status current_run(struct aspace *space, struct user_context *context, struct aspace_fault *out);

#endif
