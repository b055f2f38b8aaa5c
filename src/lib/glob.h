/* Names against patterns with * (any text) and ? (any one character). */
#ifndef CAIRN_LIB_GLOB_H
#define CAIRN_LIB_GLOB_H

#include <stdbool.h>

/* O(length of pattern * length of name), no recursion. */
bool glob_match(const char *pattern, const char *name);

#endif
