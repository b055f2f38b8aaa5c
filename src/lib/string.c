/*
 * The kernel's own memory and string functions. Built without -O2's idiom recognition (the build passes
 * -fno-tree-loop-distribute-patterns / -fno-builtin), else memset would call memset. `rep movsb/stosb` would be one
 * instruction on hardware, but counts once a byte under an emulator's instruction clock; eight bytes at a time is good
 * on both.
 */
#include "lib/string.h"

#include <stdint.h>

typedef uint64_t __attribute__((may_alias, aligned(1))) word_t;

void *memcpy(void *restrict to, const void *restrict from, size_t len_bytes)
{
    unsigned char *t = to;
    const unsigned char *f = from;
    for (; len_bytes >= 8; len_bytes -= 8, t += 8, f += 8) {
        *(word_t *)t = *(const word_t *)f;
    }
    for (; len_bytes > 0; len_bytes--) {
        *t++ = *f++;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t len_bytes)
{
    unsigned char *t = to;
    const unsigned char *f = from;
    if (t == f || len_bytes == 0) {
        return to;
    }
    if ((uintptr_t)t < (uintptr_t)f) {
        for (size_t i = 0; i < len_bytes; i++) {
            t[i] = f[i];
        }
    } else {
        for (size_t i = len_bytes; i > 0; i--) {
            t[i - 1] = f[i - 1];
        }
    }
    return to;
}

void *memset(void *to, int byte, size_t len_bytes)
{
    unsigned char *t = to;
    uint64_t word = 0x0101010101010101 * (unsigned char)byte;
    for (; len_bytes >= 32; len_bytes -= 32, t += 32) {
        ((word_t *)t)[0] = word;
        ((word_t *)t)[1] = word;
        ((word_t *)t)[2] = word;
        ((word_t *)t)[3] = word;
    }
    for (; len_bytes >= 8; len_bytes -= 8, t += 8) {
        *(word_t *)t = word;
    }
    for (; len_bytes > 0; len_bytes--) {
        *t++ = (unsigned char)byte;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t len_bytes)
{
    const unsigned char *x = a;
    const unsigned char *y = b;
    for (size_t i = 0; i < len_bytes; i++) {
        if (x[i] != y[i]) {
            return x[i] < y[i] ? -1 : 1;
        }
    }
    return 0;
}

size_t strnlen(const char *s, size_t max)
{
    size_t n = 0;
    while (n < max && s[n] != '\0') {
        n++;
    }
    return n;
}

size_t strlen(const char *s) { return strnlen(s, SIZE_MAX); }

int strncmp(const char *a, const char *b, size_t max)
{
    for (size_t i = 0; i < max; i++) {
        if (a[i] != b[i] || a[i] == '\0') {
            return (unsigned char)a[i] - (unsigned char)b[i];
        }
    }
    return 0;
}

int strcmp(const char *a, const char *b) { return strncmp(a, b, SIZE_MAX); }

char *strchr(const char *s, int c)
{
    for (;; s++) {
        if (*s == (char)c) {
            return (char *)(uintptr_t)s;
        }
        if (*s == '\0') {
            return NULL;
        }
    }
}
