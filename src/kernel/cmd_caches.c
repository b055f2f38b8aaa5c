/* `caches`: what the heap's size classes and object caches hold, and a picture of slabs. */
#include "heap/cache.h"
#include "kernel/cmd.h"
#include "kernel/json.h"
#include "lib/string.h"

enum { PICTURES_MAX = 8 };

/* One line: a class, all mixed slabs of one kind, or a cache. */
struct row {
    const char *name;
    uint64_t piece_bytes, slabs, pieces, used, held_bytes, most_held_bytes;
};

static uint64_t waste_of(const struct row *row)
{
    return row->held_bytes - row->used * row->piece_bytes;
}

static struct row row_of(const char *name, const struct heap_class_stats *c)
{
    return (struct row){
        .name = name,
        .piece_bytes = c->object_bytes,
        .slabs = c->slabs,
        .pieces = c->objects,
        .used = c->used,
        .held_bytes = pages_to_bytes(npages(c->slabs * c->slab_pages)),
        .most_held_bytes = pages_to_bytes(npages(c->most_slabs * c->slab_pages)),
    };
}

static struct row cache_row(const struct heap_cache_stats *s)
{
    return (struct row){
        .name = s->type.name,
        .piece_bytes = s->stride_bytes,
        .slabs = s->slabs,
        .pieces = s->objects,
        .used = s->used - s->guarded,
        .held_bytes = s->held_bytes,
        .most_held_bytes = pages_to_bytes(npages(s->most_slabs * s->slab_pages)),
    };
}

/* ---- The table ---- */

static void row_json(struct json *j, const struct row *row)
{
    json_number(j, "bytes", row->piece_bytes);
    json_number(j, "slabs", row->slabs);
    json_number(j, "objects", row->pieces);
    json_number(j, "used", row->used);
    json_number(j, "held", row->held_bytes);
    json_number(j, "most_held", row->most_held_bytes);
    json_number(j, "waste", waste_of(row));
}

typedef bool stats_of(const struct heap *heap, unsigned index, struct heap_class_stats *out);

static void rows_json(struct json *j, const char *name, stats_of *stats)
{
    struct heap_class_stats c;
    json_list(j, name);
    for (unsigned i = 0; stats(&machine.heap, i, &c); i++) {
        struct row row = row_of(name, &c);
        json_object(j, NULL);
        row_json(j, &row);
        json_close(j);
    }
    json_close(j);
}

static void caches_json(void)
{
    struct json j = json_begin(console);
    rows_json(&j, "classes", heap_class_stats);
    rows_json(&j, "mixed", heap_mixed_stats);
    json_list(&j, "caches");
    const struct heap_cache *cache = NULL;
    while ((cache = heap_cache_next(&machine.heap, cache)) != NULL) {
        struct heap_cache_stats s = heap_cache_stats(cache);
        struct row row = cache_row(&s);
        json_object(&j, NULL);
        json_text(&j, "name", s.type.name);
        row_json(&j, &row);
        json_number(&j, "guarded", s.guarded);
        json_number(&j, "high_water", s.high_water);
        json_number(&j, "reserve", s.reserve);
        json_number(&j, "constructed", s.constructed);
        json_number(&j, "colours", s.colours);
        json_close(&j);
    }
    json_close(&j);
    json_end(&j);
}

static void row_print(const struct row *row)
{
    print("  %-16s %8lu %8lu %10lu %10lu %12lu %12lu %12lu", row->name, row->piece_bytes, row->slabs, row->pieces,
          row->used, row->held_bytes, waste_of(row), row->most_held_bytes);
}

/* Those that hold slabs, or did. */
static void rows_print(const char *name, stats_of *stats)
{
    struct heap_class_stats c;
    for (unsigned i = 0; stats(&machine.heap, i, &c); i++) {
        if (c.most_slabs != 0) {
            struct row row = row_of(name, &c);
            row_print(&row);
            print("\n");
        }
    }
}

static void caches_print(void)
{
    print("  %-16s %8s %8s %10s %10s %12s %12s %12s %10s\n", "", "bytes", "slabs", "objects", "used", "held", "waste",
          "most held", "most used");
    rows_print("class", heap_class_stats);
    rows_print("mixed", heap_mixed_stats);
    const struct heap_cache *cache = NULL;
    while ((cache = heap_cache_next(&machine.heap, cache)) != NULL) {
        struct heap_cache_stats s = heap_cache_stats(cache);
        struct row row = cache_row(&s);
        row_print(&row);
        print(" %10lu\n", s.high_water);
    }
}

/* ---- Pictures ---- */

struct wanted {
    const struct heap_cache *cache; /* null: the heap's own */
    bool is_mixed;
    uint64_t bytes; /* of a class's object */
    uint64_t found;
};

static void picture(void *ctx, const struct heap_slab_view *slab)
{
    struct wanted *wanted = ctx;
    if (slab->cache != wanted->cache || slab->is_mixed != wanted->is_mixed ||
        (slab->cache == NULL && !slab->is_mixed && slab->piece_bytes != wanted->bytes) ||
        wanted->found++ >= PICTURES_MAX) {
        return;
    }
    char letters[sizeof(uint64_t) * 8 + 1];
    for (unsigned first = 0; first < slab->pieces; first += sizeof letters - 1) {
        uint64_t mask = slab->free_mask[first / (sizeof letters - 1)];
        unsigned n = 0;
        for (; n < sizeof letters - 1 && first + n < slab->pieces; n++) {
            letters[n] = (mask >> n & 1) != 0 ? '.' : '#';
        }
        letters[n] = '\0';
        print("  %p |%s|\n", (const void *)(slab->base + slab->first_bytes + first * slab->piece_bytes), letters);
    }
}

static bool pictures_of(const char *name)
{
    struct wanted wanted = {.is_mixed = strcmp(name, "mixed") == 0};
    while ((wanted.cache = heap_cache_next(&machine.heap, wanted.cache)) != NULL) {
        if (strcmp(heap_cache_stats(wanted.cache).type.name, name) == 0) {
            break;
        }
    }
    if (wanted.cache != NULL) {
        wanted.is_mixed = false;
    } else if (!wanted.is_mixed && !cmd_number(name, "no cache of this name; a class", &wanted.bytes)) {
        return false;
    }
    print("# in use, . free; the address is of the first\n");
    heap_visit_slabs(&machine.heap, picture, &wanted);
    if (wanted.found > PICTURES_MAX) {
        print("  ... and %lu more slabs\n", wanted.found - PICTURES_MAX);
    } else if (wanted.found == 0) {
        print("  no slab\n");
    }
    return true;
}

static bool run_caches(const struct command_line *line)
{
    if (!cmd_args(line, 0, 1, "[-j | NAME | BYTES | mixed]")) {
        return false;
    }
    if (line->argc == 2) {
        return pictures_of(line->argv[1]);
    }
    if (line->json) {
        caches_json();
    } else {
        caches_print();
    }
    return true;
}

const struct command cmd_caches[] = {
    {"caches", "[-j | NAME | BYTES | mixed]", "size classes and object caches; a picture of slabs", run_caches},
    {0},
};
