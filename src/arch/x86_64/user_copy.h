/* The instructions that may touch user pages for the kernel's own sake, and where they go on after a fault. */
#ifndef CAIRN_ARCH_X86_64_USER_COPY_H
#define CAIRN_ARCH_X86_64_USER_COPY_H

#include <stdint.h>

/* Copy; one side is a range of user addresses, the caller has seen to that. Returns the bytes that were not copied. */
uint64_t user_copy(void *to, const void *from, uint64_t bytes);

enum user_text { USER_TEXT_ENDED, USER_TEXT_FULL, USER_TEXT_FAULT };
/* Copy up to and with the first 0, at most `bytes`; *left: those not written to. */
enum user_text user_copy_text(char *to, const char *from, uint64_t bytes, uint64_t *left);

/* An instruction of these, and where it goes on when its access to user memory cannot be had. Ended by 0. */
struct user_fixup {
    uint64_t at, go_on;
};
extern const struct user_fixup user_fixups[];

#endif
