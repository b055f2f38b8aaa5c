/*
 * What the commands of the monitor share: reading arguments, saying what went wrong, and printing sizes.
 *
 * Each cmd_*.c brings one table; monitor.c joins them. A command prints to the console, and says by its result whether
 * the run goes on as a success: anything that was not done is `false`.
 */
#ifndef CAIRN_KERNEL_CMD_H
#define CAIRN_KERNEL_CMD_H

#include "kernel/console.h"
#include "kernel/machine.h"
#include "kernel/monitor.h"

/* The tables of commands, each ended by a null name. */
extern const struct command cmd_memory[], cmd_spaces[], cmd_maps[], cmd_tables[], cmd_who[], cmd_system[],
    cmd_later[], cmd_segments[], cmd_compact[], cmd_exercise[], cmd_bench[], cmd_touch[], cmd_caches[], cmd_tasks[];

/* ---- Arguments ---- */

/* Between `least` and `most` arguments after the name? Else says the usage. */
bool cmd_args(const struct command_line *line, int least, int most, const char *usage);
/* A number, decimal or 0x. false: said to be none. */
bool cmd_number(const char *text, const char *what, uint64_t *value);
/* A space by its number. Null: said that there is none. */
struct space *cmd_space(const char *text);
/* The space whose tables CR3 names now. Never null. */
struct space *cmd_current_space(void);
/* A new empty space of tables alone, as `space new tables` makes it, ended by `space free`. Null: said why not. */
struct space *cmd_space_make(void);
/* "task 3 (name)" behind `before`; nothing where the space is no task's, or null. */
void cmd_print_task(const struct aspace *space, const char *before);
/* A word of r, w, x: "r", "rw", "rx", "rwx", "-". false: said to be none. */
bool cmd_rights(const char *text, unsigned *rights);

/* ---- Answers ---- */

/* OK: true. Else "WHAT: status" and false. */
bool cmd_done(const char *what, enum status s);
/* The same for a call about pages from `va` on: what is refused as INVALID or RANGE is told in words too. */
bool cmd_done_at(const char *what, enum status s, const struct space *space, vaddr_t va, npages_t pages);

enum { CMD_SIZE_TEXT = 16, CMD_RIGHTS_TEXT = 8 };
/* "4 KiB", "15.9 MiB", "1 TiB": at most four digits, rounded down to a tenth. Returns `text`. */
const char *cmd_size(char text[static CMD_SIZE_TEXT], uint64_t bytes);
/* "rwxu" with - for what is not there. Returns `text`. */
const char *cmd_rights_text(char text[static CMD_RIGHTS_TEXT], unsigned rights);

/* What `who` tells of a physical address. */
void cmd_tell_physical(paddr_t a);

/* ---- Address space, as people name it ---- */

/* The memory type that a PAT index selects after reset, mirrored as the kernel keeps it. */
const char *cmd_cache_name(unsigned pat_index);
/* Whose addresses these are: a tag of kernel pages, a part of the image (told by its rights), "private", ... Never
 * null. */
const char *cmd_owner(vaddr_t va, unsigned rights);
/* "self window", "foreign window", "bank of foreign windows". For addresses that are in one. */
const char *cmd_window_name(vaddr_t va);
/* The ends of what vmm_visit can show of each half: the user part ends below the hole, the kernel's with the address
 * space (0). The visit itself leaves the windows out. */
vaddr_t cmd_user_end(void);
vaddr_t cmd_kernel_base(void);
vaddr_t cmd_kernel_end(void);
bool cmd_is_user(vaddr_t va);

#endif
