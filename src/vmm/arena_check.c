/* The arena's validator: ARENA-I1 to I3, nodes against bounds, neighbours and counters. */
#include "vmm/arena_node.h"

static enum status corrupt(struct sink *out, const char *invariant, vaddr_t at, uint64_t found, uint64_t expected)
{
    if (out != NULL) {
        sink_printf(out, "%s: at %#lx: %#lx where %#lx is expected\n", invariant, at.v, found, expected);
    }
    return STATUS_CORRUPT;
}

enum status arena_check(const struct arena *a, struct sink *out)
{
    uint64_t at = a->base.v, used = 0, ranges = 0, unused = 0;
    const struct arena_node *before = NULL;
    for (const struct arena_node *n = a->first; n != NULL; before = n, n = n->next) {
        if (n->base.v != at || n->pages.v == 0 || n->pages.v > bytes_to_pages_down(a->end.v - at).v ||
            n->prev != before) {
            return corrupt(out, "ARENA-I1 nodes tile the arena", n->base, n->pages.v, at);
        }
        if (before != NULL && before->tag == NULL && n->tag == NULL) {
            return corrupt(out, "ARENA-I2 no two free neighbours", n->base, n->pages.v, before->pages.v);
        }
        used += n->tag != NULL ? n->pages.v : 0;
        ranges += n->tag != NULL;
        at = node_end(n);
    }
    if (at != a->end.v) {
        return corrupt(out, "ARENA-I1 nodes end at the arena's end", a->end, at, a->end.v);
    }
    for (const struct arena_node *n = a->unused; n != NULL && unused <= a->unused_count; n = n->next) {
        unused++;
    }
    if (used != a->used.v || ranges != a->ranges || unused != a->unused_count) {
        if (out != NULL) {
            sink_printf(out, "ARENA-I3: %lu pages in %lu ranges, %lu nodes unused; the counters say %lu, %lu, %lu\n",
                        used, ranges, unused, a->used.v, (uint64_t)a->ranges, (uint64_t)a->unused_count);
        }
        return STATUS_CORRUPT;
    }
    return STATUS_OK;
}
