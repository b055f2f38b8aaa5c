/*
 * Twelve wrong calls, and what each heap makes of them. Each is tried in a process of its own, where it may crash, stop
 * or hang. First the wrong call, with the free of what it damaged: told of or not. Then the aftermath: blocks come and
 * go, no two may overlap, and every block's bytes must stay as they were written, those too that were in use before.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/heap_bench.h"
#include "lib/rng.h"

enum {
    OBJECT_BYTES = 64,
    LARGE_BYTES = 48 * 1024,
    OTHERS = 48, /* blocks in use before and after */
    BETWEEN = 40,
    STEPS = 4000, /* of which half are allocs */
    LIVE = 320,
    HANG_SECONDS = 2,
    STRAY_BYTE = 0x41,
};

struct block {
    uint8_t *at; /* null: none */
    size_t bytes;
    uint8_t fill;
};

struct trial {
    const struct heap_rival *rival;
    unsigned kind;
    struct block others[OTHERS], live[LIVE];
    struct rng rng;
};

/* ---- Blocks ---- */

static struct block get(struct trial *t, size_t bytes)
{
    struct block b = {t->rival->alloc(bytes), bytes, (uint8_t)(1 + rng_below(&t->rng, 255))};
    if (b.at != NULL) {
        memset(b.at, b.fill, bytes);
    }
    return b;
}

static bool is_whole(const struct block *b)
{
    for (size_t i = 0; i < b->bytes; i++) {
        if (b->at[i] != b->fill) {
            return false;
        }
    }
    return true;
}

static bool overlaps_one(const struct block *b, const struct block *blocks, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct block *o = &blocks[i];
        if (o != b && o->at != NULL && b->at < o->at + o->bytes && o->at < b->at + b->bytes) {
            return true;
        }
    }
    return false;
}

/* => is everything in order? */
static bool step(struct trial *t)
{
    static const uint16_t sizes[] = {OBJECT_BYTES, OBJECT_BYTES, OBJECT_BYTES, 48, 200, 1000, 5000, LARGE_BYTES};
    struct block *b = &t->live[rng_below(&t->rng, LIVE)];
    if (b->at != NULL) {
        const bool whole = is_whole(b);
        t->rival->release(b->at);
        b->at = NULL;
        return whole;
    }
    size_t bytes = sizes[rng_below(&t->rng, sizeof sizes / sizeof sizes[0])];
    bytes = heap_can(t->rival, bytes) ? bytes : OBJECT_BYTES;
    const struct block fresh = {t->rival->alloc(bytes), bytes, (uint8_t)(1 + rng_below(&t->rng, 255))};
    if (fresh.at == NULL || overlaps_one(&fresh, t->live, LIVE) || overlaps_one(&fresh, t->others, OTHERS)) {
        return false;
    }
    *b = fresh;
    memset(b->at, b->fill, b->bytes);
    return true;
}

static bool aftermath(struct trial *t)
{
    for (unsigned i = 0; i < STEPS; i++) {
        if (!step(t)) {
            return false;
        }
    }
    for (unsigned i = 0; i < OTHERS; i++) {
        if (t->others[i].at != NULL && !is_whole(&t->others[i])) {
            return false;
        }
    }
    return true;
}

/* ---- The twelve; true: told by the answer ---- */

static void release(struct trial *t, struct block *b)
{
    t->rival->release(b->at);
    b->at = NULL;
}

static bool free_twice(struct trial *t, unsigned between, size_t bytes)
{
    struct block victim = get(t, bytes), rest[BETWEEN];
    for (unsigned i = 0; i < between; i++) {
        rest[i] = get(t, OBJECT_BYTES);
    }
    t->rival->release(victim.at);
    for (unsigned i = 0; i < between; i++) {
        release(t, &rest[i]);
    }
    t->rival->release(victim.at);
    return false;
}

static bool twice_at_once(struct trial *t) { return free_twice(t, 0, OBJECT_BYTES); }
static bool twice_after_1(struct trial *t) { return free_twice(t, 1, OBJECT_BYTES); }
static bool twice_after_40(struct trial *t) { return free_twice(t, BETWEEN, OBJECT_BYTES); }
static bool twice_large(struct trial *t) { return free_twice(t, 0, LARGE_BYTES); }

/* Past the last byte that is the caller's, or in front of the first; then the block and its neighbours go. */
static bool write_outside(struct trial *t, ptrdiff_t from, size_t bytes)
{
    struct block b[3] = {get(t, OBJECT_BYTES), get(t, OBJECT_BYTES), get(t, OBJECT_BYTES)};
    uint8_t *edge = b[1].at + (from < 0 ? 0 : t->rival->usable(b[1].at));
    __asm__("" : "+r"(edge)); /* or the compiler may think that it knows better */
    memset(edge + from, STRAY_BYTE, bytes);
    release(t, &b[1]);
    release(t, &b[2]);
    release(t, &b[0]);
    return false;
}

static bool over_by_1(struct trial *t) { return write_outside(t, 0, 1); }
static bool over_by_16(struct trial *t) { return write_outside(t, 0, 16); }
static bool under_by_16(struct trial *t) { return write_outside(t, -16, 16); }

static bool free_interior(struct trial *t)
{
    t->rival->release(t->others[OTHERS / 2].at + OBJECT_BYTES / 4);
    return false;
}

static bool free_foreign(struct trial *t)
{
    static _Alignas(OBJECT_BYTES) uint8_t foreign[4 * OBJECT_BYTES];
    t->rival->release(foreign + OBJECT_BYTES);
    return false;
}

static bool write_after_free(struct trial *t)
{
    struct block b = get(t, OBJECT_BYTES);
    uint8_t *at = b.at;
    release(t, &b);
    __asm__("" : "+r"(at));
    memset(at, STRAY_BYTE, OBJECT_BYTES);
    return false;
}

static bool array_overflows(struct trial *t)
{
    volatile size_t count = SIZE_MAX / 16 + 2;
    return t->rival->alloc_array(count, 16) == NULL;
}

static bool resize_overflows(struct trial *t)
{
    volatile size_t bytes = SIZE_MAX - 100;
    return t->rival->resize(t->others[OTHERS / 2].at, bytes) == NULL;
}

static const struct {
    bool (*run)(struct trial *t);
    size_t bytes;
} kinds[HEAP_MISUSES] = {
    {twice_at_once, OBJECT_BYTES},    {twice_after_1, OBJECT_BYTES}, {twice_after_40, OBJECT_BYTES},
    {over_by_1, OBJECT_BYTES},        {over_by_16, OBJECT_BYTES},    {under_by_16, OBJECT_BYTES},
    {free_interior, OBJECT_BYTES},    {free_foreign, OBJECT_BYTES},  {write_after_free, OBJECT_BYTES},
    {twice_large, LARGE_BYTES},       {array_overflows, OBJECT_BYTES}, {resize_overflows, OBJECT_BYTES},
};
const char *const heap_misuse_names[HEAP_MISUSES] = {
    "double free, at once", "double free, after 1", "double free, after 40", "overflow by 1",
    "overflow by 16",       "underflow by 16",      "interior free",         "foreign free",
    "write after free",     "double free of large", "array size overflow",   "realloc to a huge size",
};
const char *const heap_verdict_names[HEAP_VERDICTS] = {"crashed", "taken", "survived", "later", "reported", "-"};

/* ---- The process ---- */

/* A letter for each thing that happened: 't' told, 'n' not told; then 'x' not in order, 'l' in order and told now, 'o'
 * in order. */
static _Noreturn void run(const struct heap_rival *rival, unsigned kind, int told)
{
    static struct trial t;
    const struct rlimit no_core = {0, 0}, time = {HANG_SECONDS, HANG_SECONDS}; /* its own, not the clock's */
    setrlimit(RLIMIT_CORE, &no_core);
    setrlimit(RLIMIT_CPU, &time);
    dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
    t = (struct trial){.rival = rival, .kind = kind, .rng = rng_seeded(kind + 1)};
    heap_begin(rival, LARGE_BYTES);
    for (unsigned i = 0; i < OTHERS; i++) {
        t.others[i] = get(&t, OBJECT_BYTES);
    }
    const uint64_t before = rival->reports == NULL ? 0 : rival->reports();
    const bool answered = kinds[kind].run(&t);
    const uint64_t at_once = rival->reports == NULL ? 0 : rival->reports();
    (void)!write(told, answered || at_once != before ? "t" : "n", 1);
    const bool in_order = aftermath(&t), is_later = rival->reports != NULL && rival->reports() != at_once;
    (void)!write(told, !in_order ? "x" : is_later ? "l" : "o", 1);
    _exit(0);
}

static enum heap_verdict verdict(const char *told, ssize_t letters, int status)
{
    if (letters == 2) {
        return told[1] == 'x'   ? HEAP_TAKEN
               : told[0] == 't' ? HEAP_REPORTED
               : told[1] == 'l' ? HEAP_LATER
                                : HEAP_SURVIVED;
    }
    /* A library that finds it says so and stops. */
    const bool is_stopped = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
    return !is_stopped ? HEAP_CRASHED : letters == 0 ? HEAP_REPORTED : HEAP_LATER;
}

enum heap_verdict heap_measure_misuse(const struct heap_rival *rival, unsigned kind)
{
    int ends[2], status;
    char told[2];
    if (!heap_can(rival, kinds[kind].bytes)) {
        return HEAP_CANNOT;
    }
    fflush(NULL);
    const pid_t child = pipe(ends) == 0 ? fork() : -1;
    if (child == 0) {
        run(rival, kind, ends[1]);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) {
        fprintf(stderr, "bench: no process for %s\n", rival->name);
        exit(1);
    }
    close(ends[1]);
    ssize_t letters = 0;
    while (letters < 2 && read(ends[0], &told[letters], 1) == 1) {
        letters++;
    }
    close(ends[0]);
    return verdict(told, letters, status);
}
