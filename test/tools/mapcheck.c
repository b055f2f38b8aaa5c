/*
 * mapcheck FILE...: what the kernel would make of a memory map, on the host.
 *
 * The format of a file (test/data/memory-maps/README.md), one entry a line:
 *     BASE LENGTH TYPE          hex, hex, decimal
 *     node N BASE LENGTH        memory affinity: read and checked, no part of the runs
 *     # anything                a comment, also behind an entry
 * Each file is read whole, then normalised as the kernel does it: only type 1 makes runs, nothing is carved out,
 * and frames beyond the PMM's reach are left out.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot/memmap.h"
#include "pmm/pmm.h"

enum { LINE_BYTES = 1024, REASON_BYTES = 160, FIELDS_MAX = 5 };

struct map {
    struct memmap_entry *entries;
    size_t count, capacity;
};

static const char usage[] =
    "usage: mapcheck [--limit ADDRESS] [--] FILE...\n"
    "Normalises memory maps as the kernel does. For each FILE (- is standard input):\n"
    "    map FILE runs N frames N regions N\n"
    "    run BASE FRAMES                       one line a run; base in hex, bytes\n"
    "or  unusable FILE: reason                 no RAM in it, or not a memory map\n"
    "  --limit ADDRESS   memory at or above it is left out, like the kernel's mem= (default: none;\n"
    "                    the kernel itself stops at 0x4000000000000, what the PMM reaches)\n"
    "A FILE has lines `BASE LENGTH TYPE` (hex, hex, decimal; 1 is usable), `node N BASE LENGTH`, and # comments.\n"
    "Exit status: 0 all usable, 1 at least one is not, 2 wrong use.\n";

static bool parse_number(const char *text, int base, uint64_t max, uint64_t *out)
{
    const char *digits = base == 10 ? "0123456789" : "0123456789abcdefABCDEF";
    if (base == 16 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        text += 2;
    }
    if (*text == '\0' || text[strspn(text, digits)] != '\0') {
        return false; /* strtoull alone would take a sign and leading space */
    }
    errno = 0;
    unsigned long long value = strtoull(text, NULL, base);
    *out = value;
    return errno == 0 && value <= max;
}

static bool add_entry(struct map *map, struct memmap_entry entry)
{
    if (map->count == map->capacity) {
        size_t capacity = map->capacity > 0 ? 2 * map->capacity : 64;
        struct memmap_entry *grown = realloc(map->entries, capacity * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        map->entries = grown;
        map->capacity = capacity;
    }
    map->entries[map->count++] = entry;
    return true;
}

/* One line, which is written to. Null: understood; else what is wrong with it. */
static const char *parse_line(struct map *map, char *line)
{
    static const char space[] = " \t\r\n\v\f";
    char *fields[FIELDS_MAX], *rest = NULL;
    size_t count = 0;
    line[strcspn(line, "#")] = '\0';
    for (char *f = strtok_r(line, space, &rest); f != NULL && count < FIELDS_MAX; f = strtok_r(NULL, space, &rest)) {
        fields[count++] = f;
    }
    uint64_t node, base, length, type;
    if (count == 0) {
        return NULL;
    }
    if (strcmp(fields[0], "node") == 0) {
        bool ok = count == 4 && parse_number(fields[1], 10, UINT32_MAX, &node);
        ok = ok && parse_number(fields[2], 16, UINT64_MAX, &base) && parse_number(fields[3], 16, UINT64_MAX, &length);
        return ok ? NULL : "not `node N BASE LENGTH`";
    }
    if (count != 3 || !parse_number(fields[0], 16, UINT64_MAX, &base) ||
        !parse_number(fields[1], 16, UINT64_MAX, &length) || !parse_number(fields[2], 10, UINT32_MAX, &type)) {
        return "not `BASE LENGTH TYPE` (hex, hex, decimal)";
    }
    return add_entry(map, (struct memmap_entry){base, length, (uint32_t)type}) ? NULL : "out of memory";
}

static bool read_stream(struct map *map, FILE *file, char *reason)
{
    char line[LINE_BYTES];
    for (unsigned long number = 1; fgets(line, sizeof line, file) != NULL; number++) {
        size_t len = strlen(line);
        const char *wrong = NULL;
        if (len == sizeof line - 1 && line[len - 1] != '\n') {
            wrong = "too long";
        } else if ((len == 0 || line[len - 1] != '\n') && !feof(file)) {
            wrong = "a zero byte"; /* the text ends before its line does */
        } else {
            wrong = parse_line(map, line);
        }
        if (wrong != NULL) {
            snprintf(reason, REASON_BYTES, "line %lu: %s", number, wrong);
            return false;
        }
    }
    if (ferror(file)) {
        snprintf(reason, REASON_BYTES, "cannot be read: %s", strerror(errno));
        return false;
    }
    return true;
}

static bool read_map(struct map *map, const char *path, char *reason)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "r");
    if (file == NULL) {
        snprintf(reason, REASON_BYTES, "cannot be opened: %s", strerror(errno));
        return false;
    }
    bool ok = read_stream(map, file, reason);
    if (!is_stdin) {
        fclose(file);
    }
    return ok;
}

static struct memmap_entry get_entry(const void *ctx, size_t index)
{
    return ((const struct map *)ctx)->entries[index];
}

static void print_runs(const char *path, const struct frame_run *runs, const struct memmap_result *result)
{
    printf("map %s runs %zu frames %" PRIu64 " regions %zu\n", path, result->runs, result->frames.v,
           pmm_count_regions(runs, result->runs));
    for (size_t i = 0; i < result->runs; i++) {
        printf("run 0x%" PRIx64 " %" PRIu64 "\n", pfn_to_paddr(runs[i].first).v, runs[i].frames.v);
    }
    if (result->beyond.v > 0) {
        fprintf(stderr, "mapcheck: %s: %" PRIu64 " frames at or above the limit are left out\n", path,
                result->beyond.v);
    }
}

/* True: the map has RAM. Else `reason` says why not. */
static bool check_map(const struct map *map, const char *path, pfn_t limit, char *reason)
{
    /* A run begins where an entry begins or ends, so there are no more runs than edges. */
    struct memmap_scratch scratch = {calloc(2 * map->count + 1, sizeof *scratch.edges), 2 * map->count};
    struct frame_run *runs = calloc(2 * map->count + 1, sizeof *runs);
    struct memmap_result result = {0};
    enum status status = STATUS_NOMEM;
    if (scratch.edges != NULL && runs != NULL) {
        status = memmap_normalise(get_entry, map, map->count, MEMMAP_WANT_USABLE, limit, scratch, runs,
                                  2 * map->count + 1, &result);
    }
    if (status == STATUS_OK) {
        print_runs(path, runs, &result);
    } else if (status == STATUS_ABSENT && result.beyond.v > 0) {
        snprintf(reason, REASON_BYTES, "no RAM below 0x%" PRIx64 " (%" PRIu64 " frames at or above it)",
                 pfn_to_paddr(limit).v, result.beyond.v);
    } else if (status == STATUS_ABSENT) {
        snprintf(reason, REASON_BYTES, "no RAM: %zu entries, not one whole usable frame", map->count);
    } else {
        snprintf(reason, REASON_BYTES, "%s", status_name(status));
    }
    free(scratch.edges);
    free(runs);
    return status == STATUS_OK;
}

static bool check_file(const char *path, pfn_t limit)
{
    struct map map = {0};
    char reason[REASON_BYTES] = "";
    bool ok = read_map(&map, path, reason) && check_map(&map, path, limit, reason);
    if (!ok) {
        printf("unusable %s: %s\n", path, reason);
    }
    free(map.entries);
    return ok;
}

static int wrong_use(const char *what, const char *argument)
{
    fprintf(stderr, "mapcheck: %s%s\n%s", what, argument, usage);
    return 2;
}

int main(int argc, char **argv)
{
    uint64_t limit_bytes;
    pfn_t limit = pfn(UINT64_MAX);
    int first = 1;
    for (; first < argc && argv[first][0] == '-' && argv[first][1] != '\0'; first++) {
        const char *option = argv[first];
        if (strcmp(option, "--") == 0) {
            first++;
            break;
        }
        if (strcmp(option, "--help") == 0 || strcmp(option, "-h") == 0) {
            fputs(usage, stdout);
            return 0;
        }
        if (strcmp(option, "--limit") != 0) {
            return wrong_use("unknown option ", option);
        }
        if (++first == argc || !parse_number(argv[first], 16, UINT64_MAX, &limit_bytes)) {
            return wrong_use("--limit needs an address in hex", "");
        }
        limit = paddr_to_pfn(paddr(limit_bytes));
    }
    if (first == argc) {
        return wrong_use("no FILE", "");
    }
    bool ok = true;
    for (int i = first; i < argc; i++) {
        ok = check_file(argv[i], limit) && ok;
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "mapcheck: cannot write: %s\n", strerror(errno));
        return 1;
    }
    return ok ? 0 : 1;
}
