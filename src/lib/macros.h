/*
 * Three tiers of assertion, and small macros.
 *
 *   VERIFY   a caller's misuse: always on, O(1); see report.h: it reports and returns, it does not stop
 *   ASSERT   what this code believes of itself: debug builds only
 *   CHECK    a whole validator run around an operation: debug builds with -DCAIRN_CHECK
 */
#ifndef CAIRN_LIB_MACROS_H
#define CAIRN_LIB_MACROS_H

#include <stddef.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The struct that holds `member`, from a pointer to the member. */
#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

/* Stops the machine (kernel) or the process (host) with the text; never returns. */
_Noreturn void assert_failed(const char *what, const char *file, int line);

#ifdef CAIRN_DEBUG
#define ASSERT(condition) ((condition) ? (void)0 : assert_failed(#condition, __FILE__, __LINE__))
#else
#define ASSERT(condition) ((void)sizeof(condition))
#endif

#endif
