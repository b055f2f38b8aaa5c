/* What guard mode says (guard.c, section 6). */
#include "heap/guard_internal.h"

const char *guard_site_text(const struct heap *heap, char text[static GUARD_SITE_TEXT], const void *site)
{
    if (heap->guard->config.site_text != NULL) {
        heap->guard->config.site_text(text, GUARD_SITE_TEXT, site);
    } else {
        fmt_text(text, GUARD_SITE_TEXT, "%p", site);
    }
    return text;
}

enum status guard_misuse(struct heap *heap, const char *call, const struct heap_guard_record *r, const void *site,
                         const char *what, ...)
{
    char text[REPORT_TEXT_BYTES], where[GUARD_SITE_TEXT];
    struct buffer_sink buffer;
    buffer_sink_init(&buffer, text, sizeof text);
    sink_printf(&buffer.sink, "%s: block %p of %zu bytes ", call, (void *)r->block, r->bytes);
    if (r->class_bytes != 0) {
        sink_printf(&buffer.sink, "(class %u", r->class_bytes);
    } else {
        sink_printf(&buffer.sink, "(large");
    }
    if (r->cache != NULL) {
        sink_printf(&buffer.sink, ", cache '%s'", r->cache->type.name);
    }
    sink_printf(&buffer.sink, "): ");
    va_list args;
    va_start(args, what);
    sink_vprintf(&buffer.sink, what, args);
    va_end(args);
    sink_printf(&buffer.sink, "; allocated at %s", guard_site_text(heap, where, r->alloc_site));
    if (r->state != HEAP_GUARD_LIVE) {
        sink_printf(&buffer.sink, ", freed at %s", guard_site_text(heap, where, r->free_site));
    }
    if (site != NULL) {
        sink_printf(&buffer.sink, ", now at %s", guard_site_text(heap, where, site));
    }
    return HEAP_MISUSE(heap, "%s", text);
}

bool guard_zones_are_whole(const struct heap_guard_record *r, char text[static GUARD_WHAT_TEXT])
{
    const uint8_t *end = r->block + r->bytes;
    size_t before = (size_t)(r->block - r->memory), behind = r->memory_bytes - before - r->bytes;
    size_t i = guard_first_other(end, behind, GUARD_ZONE_BYTE);
    if (i < behind) {
        fmt_text(text, GUARD_WHAT_TEXT, "overflow: byte %zu behind its end has become %#x", i, end[i]);
        return false;
    }
    if (guard_first_other(r->memory, before, GUARD_ZONE_BYTE) == before) {
        return true;
    }
    /* The nearest one, as an underflow runs downwards. */
    for (i = 1; *(r->block - i) == GUARD_ZONE_BYTE;) {
        i++;
    }
    fmt_text(text, GUARD_WHAT_TEXT, "underflow: byte %zu before it has become %#x", i, *(r->block - i));
    return false;
}
