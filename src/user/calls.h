/*
 * System calls as functions, one for each of task/abi.h, which says what they do and answer.
 *
 * SYSCALL keeps all registers but RAX, RCX, R11, and RDX where a value is answered.
 */
#ifndef CAIRN_USER_CALLS_H
#define CAIRN_USER_CALLS_H

#include "task/abi.h"

typedef uint64_t user_address; /* of user mode: what the kernel calls vaddr_t */

/* Any call with any arguments: RDI, RSI, RDX, R10, R8, R9. Afterwards what is in these registers then. */
static inline enum status call(uint64_t number, uint64_t a[6])
{
    register uint64_t r10 __asm__("r10") = a[3];
    register uint64_t r8 __asm__("r8") = a[4];
    register uint64_t r9 __asm__("r9") = a[5];
    uint64_t status = number;
    __asm__ volatile("syscall"
                     : "+a"(status), "+D"(a[0]), "+S"(a[1]), "+d"(a[2]), "+r"(r10), "+r"(r8), "+r"(r9)
                     :
                     : "rcx", "r11", "memory");
    a[3] = r10;
    a[4] = r8;
    a[5] = r9;
    return (enum status)status;
}

static inline enum status call_0(enum task_call number)
{
    uint64_t status = number;
    __asm__ volatile("syscall" : "+a"(status) : : "rcx", "rdx", "r11", "memory");
    return (enum status)status;
}

static inline enum status call_3(enum task_call number, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t status = number;
    __asm__ volatile("syscall" : "+a"(status), "+d"(c) : "D"(a), "S"(b) : "rcx", "r11", "memory");
    return (enum status)status;
}

/* The address that is answered, in *at; 0 where the answer is not OK. */
static inline enum status call_3_at(enum task_call number, uint64_t a, uint64_t b, uint64_t c, uint64_t *at)
{
    uint64_t status = number;
    __asm__ volatile("syscall" : "+a"(status), "+d"(c) : "D"(a), "S"(b) : "rcx", "r11", "memory");
    const enum status s = (enum status)status;
    *at = s == STATUS_OK ? c : 0;
    return s;
}

/* Six arguments; *at as above, and may be null. */
static inline enum status call_6(enum task_call number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                                 uint64_t f, uint64_t *at)
{
    uint64_t registers[6] = {a, b, c, d, e, f};
    const enum status s = call(number, registers);
    if (at != NULL) {
        *at = s == STATUS_OK ? registers[2] : 0;
    }
    return s;
}

static inline uint64_t address_of(const void *p) { return (uintptr_t)p; }

/* ---- Turns and ends ---- */

static inline enum status call_yield(void) { return call_0(TASK_YIELD); }

_Noreturn static inline void call_exit(int64_t code)
{
    for (;;) {
        (void)!call_3(TASK_EXIT, (uint64_t)code, 0, 0);
    }
}

/* ---- Memory ---- */

static inline enum status call_alloc(uint64_t bytes, uint64_t rights_and_flags, unsigned align_log2,
                                     user_address *va)
{
    return call_3_at(TASK_ALLOC, bytes, rights_and_flags, align_log2, va);
}

static inline enum status call_free(user_address va, uint64_t bytes) { return call_3(TASK_FREE, va, bytes, 0); }

static inline enum status call_map_module(const char *name, uint64_t name_bytes, uint64_t flags, user_address *va)
{
    return call_3_at(TASK_MAP_MODULE, address_of(name), name_bytes, flags, va);
}

static inline enum status call_protect(user_address va, uint64_t bytes, uint64_t rights)
{
    return call_3(TASK_PROTECT, va, bytes, rights);
}

static inline enum status call_query(user_address va, struct task_range *range)
{
    return call_3(TASK_QUERY, va, address_of(range), 0);
}

static inline enum status call_share(user_address va, uint64_t bytes, unsigned to, uint64_t rights,
                                     user_address to_va)
{
    return call_6(TASK_SHARE, va, bytes, to, rights, to_va, 0, NULL);
}

static inline enum status call_transfer(user_address va, uint64_t bytes, unsigned to, uint64_t rights)
{
    return call_6(TASK_TRANSFER, va, bytes, to, rights, 0, 0, NULL);
}

static inline enum status call_withdraw(user_address va, uint64_t bytes, unsigned from)
{
    return call_3(TASK_WITHDRAW, va, bytes, from);
}

static inline enum status call_seal(user_address va, uint64_t bytes) { return call_3(TASK_SEAL, va, bytes, 0); }

/* ---- Segments ---- */

static inline enum status call_segment_create(uint64_t bytes, uint64_t rights, user_address *va)
{
    return call_3_at(TASK_SEGMENT_CREATE, bytes, rights, 0, va);
}

static inline enum status call_segment_grant(user_address va, unsigned to, uint64_t rights)
{
    return call_3(TASK_SEGMENT_GRANT, va, to, rights);
}

static inline enum status call_segment_narrow(user_address va, unsigned of, uint64_t rights)
{
    return call_3(TASK_SEGMENT_NARROW, va, of, rights);
}

static inline enum status call_segment_revoke(user_address va, unsigned from)
{
    return call_3(TASK_SEGMENT_REVOKE, va, from, 0);
}

static inline enum status call_segment_resize(user_address va, uint64_t bytes)
{
    return call_3(TASK_SEGMENT_RESIZE, va, bytes, 0);
}

static inline enum status call_segment_file(const char *name, uint64_t name_bytes, uint64_t rights, user_address *va)
{
    return call_3_at(TASK_SEGMENT_FILE, address_of(name), name_bytes, rights, va);
}

/* ---- Tasks; see also task_begin in runtime.h ---- */

static inline enum status call_clone(user_address entry, uint64_t argument, const struct task_keep *keep,
                                     uint64_t count, uint64_t stack_bytes, unsigned *id)
{
    uint64_t value;
    const enum status s = call_6(TASK_CLONE, entry, argument, address_of(keep), count, stack_bytes, 0, &value);
    *id = (unsigned)value;
    return s;
}

static inline enum status call_stats(struct task_stats *stats)
{
    return call_3(TASK_STATS, address_of(stats), 0, 0);
}

static inline enum status call_log(const char *text, uint64_t bytes)
{
    return call_3(TASK_LOG, address_of(text), bytes, 0);
}

/* ---- Messages ---- */

struct message {
    uint64_t from, to, time, id, word0, word1;
};

static inline enum status call_send(unsigned to, uint64_t word0, uint64_t word1, user_address va, uint64_t bytes,
                                    uint64_t rights_and_flags)
{
    return call_6(TASK_SEND, to, word0, word1, va, bytes, rights_and_flags, NULL);
}

/* => *m is what came. LIMIT: m->time is how many bytes it would take. */
static inline enum status call_receive(unsigned from, void *buffer, uint64_t bytes, uint64_t flags,
                                       struct message *m)
{
    uint64_t r[6] = {from, address_of(buffer), bytes, flags};
    const enum status s = call(TASK_RECEIVE, r);
    *m = (struct message){r[0], r[1], r[2], r[3], r[4], r[5]};
    return s;
}

#endif
