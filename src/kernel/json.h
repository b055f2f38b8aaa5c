/*
 * One line of JSON into a sink, comma by comma, without a buffer. Keys and texts are escaped; numbers are unsigned
 * decimals.
 */
#ifndef CAIRN_KERNEL_JSON_H
#define CAIRN_KERNEL_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/fmt.h"

enum { JSON_DEPTH_MAX = 31 };

struct json {
    struct sink *out;
    uint32_t has_item; /* bit d: something stands already in the open level d */
    uint32_t is_list;  /* bit d: level d is a list */
    unsigned depth;
};

/* Opens the outermost object. */
struct json json_begin(struct sink *out);
/* Closes it and ends the line. */
void json_end(struct json *j);

/* `key` is null inside a list. */
void json_object(struct json *j, const char *key);
void json_list(struct json *j, const char *key);
void json_close(struct json *j);
void json_number(struct json *j, const char *key, uint64_t value);
void json_bool(struct json *j, const char *key, bool value);
void json_text(struct json *j, const char *key, const char *text);

#endif
