/* Where malloc's memory comes from: the kernel, or what a test puts in its place. */
#ifndef CAIRN_USER_PAGES_H
#define CAIRN_USER_PAGES_H

#include <stddef.h>

/* Zeros; whole pages. Null: there is no more. */
void *pages_take(size_t bytes, unsigned align_log2);
void pages_give_back(void *at, size_t bytes);
/* `call` was given what is no block: the program ends. */
void pages_complain(const char *call, const void *block);

#endif
