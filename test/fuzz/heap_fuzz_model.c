/* The model of the heap's fuzz program: what is held, where, and what it contains. */
#include <string.h>

#include "heap_fuzz.h"

enum { WHOLE_BYTES = PAGE_BYTES + 512 };

uint64_t take(struct input *in, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes && in->left > 0; i++, in->left--) {
        value |= (uint64_t)*in->at++ << (8 * i);
    }
    return value;
}

uint64_t take_below(struct input *in, uint64_t limit)
{
    return take(in, limit > 256 ? 2 : 1) % limit;
}

static bool is_stamped(size_t i, size_t bytes)
{
    uint64_t in_page = page_offset_bytes(i);
    return bytes <= WHOLE_BYTES || in_page < STAMP_BYTES || in_page >= PAGE_BYTES - STAMP_BYTES ||
           i + STAMP_BYTES >= bytes;
}

/* The next byte that counts. */
static size_t after(size_t i, size_t bytes)
{
    i++;
    return is_stamped(i, bytes) ? i
           : i / PAGE_BYTES * PAGE_BYTES + PAGE_BYTES - STAMP_BYTES < bytes - STAMP_BYTES
               ? i / PAGE_BYTES * PAGE_BYTES + PAGE_BYTES - STAMP_BYTES
               : bytes - STAMP_BYTES;
}

static uint8_t stamp_at(uint64_t stamp, size_t i)
{
    return (uint8_t)(stamp * 37 + i * 11 + i / 256 * 3);
}

void model_stamp(uint8_t *base, size_t bytes, uint64_t stamp)
{
    for (size_t i = 0; i < bytes; i = after(i, bytes)) {
        base[i] = stamp_at(stamp, i);
    }
}

bool model_stamped(const uint8_t *base, size_t bytes, size_t kept, uint64_t stamp)
{
    for (size_t i = 0; i < kept; i = after(i, bytes)) {
        if (base[i] != stamp_at(stamp, i)) {
            return false;
        }
    }
    return true;
}

bool bytes_are(const uint8_t *at, size_t bytes, uint8_t value)
{
    return bytes == 0 || (at[0] == value && memcmp(at, at + 1, bytes - 1) == 0);
}

static bool overlap(const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes)
{
    return a < b + b_bytes && b < a + a_bytes;
}

void model_no_overlap(const struct model *m, const uint8_t *base, size_t bytes)
{
    for (unsigned i = 0; i < BLOCKS_MAX; i++) {
        MUST(m->blocks[i].base == NULL || !overlap(m->blocks[i].base, m->blocks[i].usable, base, bytes));
    }
    for (unsigned i = 0; i < CACHES * OBJECTS_MAX; i++) {
        const struct object *o = &m->objects[i / OBJECTS_MAX][i % OBJECTS_MAX];
        MUST(o->base == NULL || !overlap(o->base, m->caches[i / OBJECTS_MAX].type.object_bytes, base, bytes));
    }
}

bool model_is_block(const struct model *m, const void *address)
{
    for (unsigned i = 0; i < BLOCKS_MAX; i++) {
        if (address != NULL && m->blocks[i].base == address) {
            return true;
        }
    }
    return false;
}

bool model_is_object(const struct model *m, const void *address)
{
    for (unsigned i = 0; i < CACHES * OBJECTS_MAX; i++) {
        if (address != NULL && m->objects[i / OBJECTS_MAX][i % OBJECTS_MAX].base == address) {
            return true;
        }
    }
    return false;
}

bool model_unchanged(const struct model *m, struct heap_stats before)
{
    struct heap_stats now = heap_stats(&m->heap);
    uint64_t fewer = before.held_bytes - now.held_bytes;
    bool is_fewer = now.held_bytes <= before.held_bytes;
    /* All that lay ready go, or none. */
    bool is_in_full = now.ready_bytes == 0 || now.ready_bytes == before.ready_bytes;
    now.held_bytes += fewer;
    now.metadata_bytes += fewer - (before.ready_bytes - now.ready_bytes);
    now.ready_bytes = before.ready_bytes;
    now.most_held_bytes = before.most_held_bytes; /* what was held for a moment, and given back, was held */
    return is_fewer && is_in_full && memcmp(&before, &now, sizeof now) == 0;
}
