/*
 * System calls: what user mode and the kernel agree on. Included by both; nothing here but numbers and structs.
 *
 * SYSCALL with the number in RAX and up to six arguments in RDI, RSI, RDX, R10, R8, R9. It answers a status
 * (lib/status.h) in RAX and, where the call says so, a value in RDX. RCX and R11 are lost; all other registers are
 * kept, but for those of a message (TASK_RECEIVE).
 *
 * Addresses are given out in the global part: a pointer there means the same to every task, though only those may
 * follow it who have the page. TASK_PRIVATE asks for the private part instead. Sizes are in bytes and mean whole pages:
 * they are rounded up, addresses must be those of pages.
 *
 * Whatever is not OK has changed nothing. Any call, with any argument:
 *   UNSUPPORTED no such call
 *   INVALID     unaligned, empty, overflowing, unknown rights or flags
 *   RANGE       no address of user mode
 *   DENIED      without the right that is needed; sealed; a buffer that the task itself may not use so
 *   ABSENT      no such page, no such task (any more), no such module
 *   LIMIT       of the task, or of the receiver: nobody can be filled up by others, who may give it pages, lent or for
 *               good, only as long as it then has at most half of the pages and ranges that it may have; a constant
 *               that is named here. A page shared, or a module mapped, in the private part where the task has it
 *               ASPACE_TIMES (8) times. FREE, SHARE, TRANSFER, WITHDRAW of more than a page, where it was given on in
 *               so many ways that the call would take too long (ASPACE_LOOKS): to be asked for less at once
 *   NOMEM       memory is short
 */
#ifndef CAIRN_TASK_ABI_H
#define CAIRN_TASK_ABI_H

#include <stdint.h>

#include "lib/status.h"

enum task_call {
    /* () Another ready task runs; alone, the caller goes on. => OK */
    TASK_YIELD = 0,
    /* (code) Does not come back. */
    TASK_EXIT,
    /* (bytes, rights | flags, align_log2) => OK, RDX: address of zeros. align_log2 0: that of a page, up to 39. */
    TASK_ALLOC,
    /* (va, bytes) Any part of what the task has. => OK; ABSENT; DENIED: sealed */
    TASK_FREE,
    /* (name, name bytes, flags) A boot module by its name, read-only, the same pages for all. => OK, RDX: address;
     * EXISTS: the task has it in the global part already; LIMIT: TASK_NAME_BYTES, with an end */
    TASK_MAP_MODULE,
    /* (va, bytes, rights) At most what it was given with. => OK; ABSENT; DENIED */
    TASK_PROTECT,
    /* (va, struct task_range *) => OK; ABSENT: nothing is there */
    TASK_QUERY,
    /* (va, bytes, to, rights, to_va) `to` may use it too; at the same address, or at to_va if this is not 0. => OK;
     * NOT_GLOBAL: private, and no to_va; EXISTS */
    TASK_SHARE,
    /* (va, bytes, to, rights) `to` has it, and the caller no more. Global only. => as TASK_SHARE */
    TASK_TRANSFER,
    /* (va, bytes, from) What was shared with `from` is taken back, also from those it gave it to. => OK; ABSENT */
    TASK_WITHDRAW,
    /* (entry, argument, const struct task_keep *, count, stack bytes) A new task: the private part copied on write, of
     * the global part what `keep` names, page by page, a fresh stack there with a guard below; it begins at `entry`
     * with `argument` in RDI. => OK, RDX: its id; as TASK_SHARE for what is kept; LIMIT: TASK_KEEP_MAX; tasks in all */
    TASK_CLONE,
    /* (va, bytes) Neither freed nor protected from now on. => OK; ABSENT */
    TASK_SEAL,
    /* (to, word0, word1, va, bytes, flags) See below. => OK; ABSENT: no such task; LIMIT: no room, or more of the
     * caller's wait there already than there is room for; TASK_DATA_BYTES; with pages as TASK_SHARE, TASK_TRANSFER */
    TASK_SEND,
    /* (from, buffer, bytes, flags) See below. from 0: anybody. => OK and the message; AGAIN: none, with TASK_NO_WAIT or
     * from itself; ABSENT: `from` is no more, and left none; LIMIT: data longer than the buffer, RDX: the bytes that it
     * takes there; DENIED: not the task's to write. The message stays then */
    TASK_RECEIVE,
    /* (text, bytes) To the kernel's log, under the task's name. => OK; LIMIT: TASK_LOG_BYTES */
    TASK_LOG,
    /* (struct task_stats *) The caller's own. => OK */
    TASK_STATS,
    /* (bytes, rights) Up to 1 GiB of zeros that are used by all of whom the caller says so. => OK, RDX: address, a
     * multiple of 1 GiB; RANGE: more */
    TASK_SEGMENT_CREATE,
    /* (va, to, rights) `to` may use it too, at most as the caller may. => OK; EXISTS: it may already; DENIED: more
     * rights, or not the caller's segment */
    TASK_SEGMENT_GRANT,
    /* (va, of, rights) `of` may do less from now on. => OK; ABSENT: it may not use it; DENIED: not less */
    TASK_SEGMENT_NARROW,
    /* (va, from) `from` may not use it any more. The caller's own: it gives it up; of one that it has created, it is no
     * more for anybody. => OK; ABSENT; DENIED */
    TASK_SEGMENT_REVOKE,
    /* (va, bytes) More of it, or less: what was behind the new end is gone. => OK; SHARED: others may use it, and have
     * used pages that would go; RANGE: more than 1 GiB */
    TASK_SEGMENT_RESIZE,
    /* (name, name bytes, rights) A file: a segment that begins as a boot module does, in pages of its own, which are
     * filled when they are first touched. What it grows by is zeros. => OK, RDX: address; as TASK_MAP_MODULE; RANGE */
    TASK_SEGMENT_FILE,
    TASK_CALLS,
};

enum task_rights { TASK_READ = 1, TASK_WRITE = 2, TASK_EXECUTE = 4 }; /* never write and execute together */

enum task_flags {
    TASK_PRIVATE = 1 << 16,  /* ALLOC, MAP_MODULE: in the private part */
    TASK_POPULATE = 1 << 17, /* ALLOC: all pages now, not when they are touched */
    TASK_GUARDS = 1 << 18,   /* ALLOC: a page that nobody has on either side */
    TASK_DATA = 1 << 19,     /* SEND: the bytes at va are copied */
    TASK_GIVE = 1 << 20,     /* SEND: the pages at va are transferred, with the rights given beside this flag */
    TASK_LEND = 1 << 21,     /* SEND: the pages at va are shared, with these rights */
    TASK_NO_WAIT = 1 << 22,  /* RECEIVE */
};

/*
 * Messages. Always six registers, which the receiver finds so:
 *   RDI sender   RSI receiver   RDX time (ticks, when it was sent)   R10 id   R8 word 0   R9 word 1
 * The id counts all messages of the system; its upper byte is the kind, which the kernel sets: a receiver that sees
 * TASK_MESSAGE_PAGES knows that [word 0, word 0 + word 1) are pages it has got with this message, for the words are the
 * address and the bytes then. With data, word 0 and word 1 are the sender's, and the data lie in the buffer: a struct
 * that begins with their length.
 * A message to a task that waits goes into its registers at once; else it is kept until asked for, in order.
 */
enum task_message_kind { TASK_MESSAGE_WORDS, TASK_MESSAGE_DATA, TASK_MESSAGE_PAGES };
#define TASK_MESSAGE_KIND(id) ((id) >> 56)

enum { TASK_DATA_BYTES = 1024, TASK_LOG_BYTES = 256, TASK_NAME_BYTES = 32, TASK_KEEP_MAX = 16 };

struct task_data {
    uint64_t bytes; /* that follow */
    uint8_t at[];
};

/* What a clone keeps of the global part. */
struct task_keep {
    uint64_t va, bytes;
    uint64_t rights; /* at most the caller's */
};

struct task_range {
    uint64_t va, bytes;    /* of the whole range */
    uint32_t rights, allowed;
    uint32_t flags;        /* TASK_PRIVATE or not */
    uint32_t is_sealed;
    uint32_t giver;        /* task that shared it; 0: nobody */
    uint32_t sharers;      /* mappings of the same pages */
    uint64_t is_resident;  /* the page asked for has a frame */
};

struct task_stats {
    uint32_t id, messages;           /* messages that wait */
    uint64_t pages, pages_max;       /* in ranges; 0: no limit */
    uint64_t ranges, ranges_max;
    uint64_t messages_max;
    uint64_t calls, faults, switches;
    uint64_t ticks;                  /* in user mode and in calls */
};

/* What a program finds in registers at its start: RDI argument count, RSI vector of strings (null at its end), in its
 * stack, which ends at RSP; RDX its id. A clone: RDI the argument, RDX its id. */

#endif
