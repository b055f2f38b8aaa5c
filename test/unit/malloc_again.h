/* The programs' malloc (src/user/malloc.c) beside the C library's: other names. */
#ifndef CAIRN_TEST_UNIT_MALLOC_AGAIN_H
#define CAIRN_TEST_UNIT_MALLOC_AGAIN_H

#define malloc user_malloc
#define calloc user_calloc
#define realloc user_realloc
#define free user_free

#endif
