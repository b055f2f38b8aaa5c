/* The JSON writer: a bit a level remembers whether a comma is due. */
#include "kernel/json.h"

#include "lib/macros.h"

static void put_escaped(struct sink *out, const char *text)
{
    sink_printf(out, "\"");
    for (const char *c = text; *c != '\0'; c++) {
        unsigned char byte = (unsigned char)*c;
        if (byte == '"' || byte == '\\') {
            sink_printf(out, "\\%c", byte);
        } else if (byte < ' ' || byte > '~') {
            /* Bytes above ASCII come from a loader's strings, in an unknown encoding: shown as Latin-1, so that the
             * line stays valid. */
            sink_printf(out, "\\u%04x", byte);
        } else {
            sink_printf(out, "%c", byte);
        }
    }
    sink_printf(out, "\"");
}

static void put_key(struct json *j, const char *key)
{
    uint32_t bit = 1U << j->depth;
    if ((j->has_item & bit) != 0) {
        sink_printf(j->out, ",");
    }
    j->has_item |= bit;
    if (key != NULL) {
        put_escaped(j->out, key);
        sink_printf(j->out, ":");
    }
}

static void open_level(struct json *j, bool list)
{
    ASSERT(j->depth < JSON_DEPTH_MAX);
    j->depth++;
    uint32_t bit = 1U << j->depth;
    j->has_item &= ~bit;
    j->is_list = list ? j->is_list | bit : j->is_list & ~bit;
    sink_printf(j->out, list ? "[" : "{");
}

struct json json_begin(struct sink *out)
{
    struct json j = {.out = out};
    open_level(&j, false);
    return j;
}

void json_close(struct json *j)
{
    sink_printf(j->out, (j->is_list & 1U << j->depth) != 0 ? "]" : "}");
    j->depth--;
}

void json_end(struct json *j)
{
    json_close(j);
    ASSERT(j->depth == 0);
    sink_printf(j->out, "\n");
}

void json_object(struct json *j, const char *key)
{
    put_key(j, key);
    open_level(j, false);
}

void json_list(struct json *j, const char *key)
{
    put_key(j, key);
    open_level(j, true);
}

void json_number(struct json *j, const char *key, uint64_t value)
{
    put_key(j, key);
    sink_printf(j->out, "%lu", value);
}

void json_bool(struct json *j, const char *key, bool value)
{
    put_key(j, key);
    sink_printf(j->out, value ? "true" : "false");
}

void json_text(struct json *j, const char *key, const char *text)
{
    put_key(j, key);
    put_escaped(j->out, text);
}
