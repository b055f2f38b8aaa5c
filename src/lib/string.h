/*
 * The memory and string functions of the C library that Cairn uses. On the host they come from the C library;
 * in the kernel from string.c. Compilers emit calls to the first four on their own.
 */
#ifndef CAIRN_LIB_STRING_H
#define CAIRN_LIB_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t len_bytes);
void *memmove(void *to, const void *from, size_t len_bytes);
void *memset(void *to, int byte, size_t len_bytes);
int memcmp(const void *a, const void *b, size_t len_bytes);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t max);
char *strchr(const char *s, int c);

#endif
