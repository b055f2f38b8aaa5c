/*
 * `bench rivals`: what the ways cost inside the kernel, in instructions, on real frames over a map with holes
 * (real_map): page faults, mappings, zeroing and tables included. All calls go through a pointer, those of Cairn's PMM
 * too. Each row starts its way anew, and leaves everything as it was.
 */
#include "kernel/bench.h"
#include "kernel/console.h"
#include "lib/rng.h"
#include "lib/string.h"
#include "rivals/pmm/bits.h"
#include "rivals/pmm/kernel/cairn.h"
#include "rivals/pmm/kernel/real.h"

enum { PAIRS = 1000, SEED = 0xCA1124, KEPT_ONE_IN = 64 };

/* A row's `flags`. */
enum workload {
    START,      /* the start over the map */
    START_64M,  /* over one run of 64 MiB; the same with memory that is not there behind it, so that it is */
    START_4G,   /* 4 GiB in all, */
    START_1T,   /* 1 TiB */
    PAIR,       /* an alloc and a free */
    ALLOC,      /* all of memory */
    GROW,       /* of these, those calls for which the way took a frame for itself */
    FREE,       /* all of it in random order */
    HALF,       /* at half full a random free and an alloc */
    FULL,       /* the same when nothing else is free */
    BLOCK,      /* 512 frames, and back */
};

static struct {
    const struct frames_way *way;
    void *state;
    pfn_t *held; /* frames in use; behind them there is room for the answer that none is left */
    uint64_t count;
    struct rng rng;
} play;

/* ---- Bodies ---- */

static enum status start_once(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    play.state = play.way->start(w->config->runs, w->config->run_count);
    return play.state == NULL ? STATUS_UNSUPPORTED : STATUS_OK;
}

static enum status pairs(struct bench_work *w, uint64_t ops)
{
    (void)w;
    enum status bad = STATUS_OK;
    for (uint64_t i = 0; i < ops; i++) {
        bad |= play.way->free(play.state, play.way->alloc(play.state));
    }
    return bad;
}

static enum status blocks(struct bench_work *w, uint64_t ops)
{
    (void)w;
    enum status bad = STATUS_OK;
    for (uint64_t i = 0; i < ops; i++) {
        bad |= play.way->free_block(play.state, play.way->alloc_block(play.state));
    }
    return bad;
}

static enum status allocs(struct bench_work *w, uint64_t ops)
{
    (void)w;
    for (uint64_t i = 0; i < ops; i++) {
        play.held[play.count] = play.way->alloc(play.state);
        play.count += play.held[play.count].v != FRAMES_NONE.v;
    }
    return STATUS_OK;
}

/* The last ones: they were shuffled. */
static enum status frees(struct bench_work *w, uint64_t ops)
{
    (void)w;
    enum status bad = STATUS_OK;
    for (uint64_t i = 0; i < ops; i++) {
        bad |= play.way->free(play.state, play.held[--play.count]);
    }
    return bad;
}

/* One in use for another; those that come are not freed again. */
static enum status churn(struct bench_work *w, uint64_t ops)
{
    (void)w;
    enum status bad = STATUS_OK;
    for (uint64_t i = 0; i < ops; i++) {
        bad |= play.way->free(play.state, play.held[i]);
        play.held[i] = play.way->alloc(play.state);
    }
    return bad;
}

/* ---- Rows ---- */

static uint64_t own(void) { return play.way->own == NULL ? 0 : play.way->own(play.state); }

static uint64_t all_frames(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < REAL_RUNS; i++) {
        sum += real_map[i].frames.v;
    }
    return sum;
}

static void shuffle(void)
{
    for (uint64_t i = play.count; i > 1; i--) {
        uint64_t at = rng_below(&play.rng, i);
        pfn_t other = play.held[at];
        play.held[at] = play.held[i - 1];
        play.held[i - 1] = other;
    }
}

/* Each call alone, since it may be one of those that count. */
static enum status grow(struct bench_result *result, struct bench_work *w)
{
    enum status s = STATUS_OK;
    for (uint64_t before = UINT64_MAX; s == STATUS_OK && play.count != before;) {
        before = play.count;
        uint64_t had = own();
        struct bench_result one = {0};
        s = bench_add(&one, allocs, bench_nothing, w, 1);
        if (own() > had) {
            result->ops++;
            result->ticks += one.ticks;
            result->most = one.ticks > result->most ? one.ticks : result->most;
        }
    }
    return s;
}

static void tell_memory(const char *when)
{
    const uint64_t kept = play.way->kept == NULL ? 0 : play.way->kept(play.state);
    print("  %s, %s: of the frames %lu are its own, %lu when all others are in use; beside them it has %lu\n",
          play.way->name, when, own(), kept, real_taken().v);
}

/* With all of memory in use, or a half, in any order. */
static enum status after_filling(const struct bench *bench, struct bench_result *result, struct bench_work *w)
{
    (void)allocs(w, all_frames());
    if (bench->flags == FULL) {
        tell_memory("all others in use");
    }
    shuffle();
    if (bench->flags == FREE) {
        return bench_add(result, frees, bench_nothing, w, play.count);
    }
    if (bench->flags == HALF) {
        enum status s = frees(w, play.count / 2);
        return s == STATUS_OK ? bench_add(result, churn, bench_nothing, w, play.count / 2) : s;
    }
    return bench_add(result, churn, bench_nothing, w, PAIRS);
}

/* On a way that has started. */
static enum status run_started(const struct bench *bench, struct bench_result *result, struct bench_work *w)
{
    enum status s;
    switch (bench->flags) {
    case PAIR:
        s = pairs(w, 1);
        return s == STATUS_OK ? bench_add(result, pairs, bench_nothing, w, PAIRS) : s;
    case BLOCK:
        s = blocks(w, 1);
        return s == STATUS_OK ? bench_add(result, blocks, bench_nothing, w, PAIRS) : s;
    case ALLOC: /* but what it may keep for itself */
        return bench_add(result, allocs, bench_nothing, w, all_frames() - all_frames() / KEPT_ONE_IN);
    case GROW:
        return grow(result, w);
    default:
        return after_filling(bench, result, w);
    }
}

/* The run that is there, and memory behind it that is not, or somebody else's: no way touches it. */
static enum status run_start_over(uint64_t bytes, struct bench_result *result)
{
    const uint64_t more = bytes_to_pages_down(bytes).v - real_map[REAL_LARGE].frames.v;
    struct frame_run runs[] = {real_map[REAL_LARGE], {pfn(BITS_PAGE_FRAMES), npages(more)}};
    struct pmm_config config = {.runs = runs, .run_count = more > 0 ? 2 : 1};
    struct bench_work w = {.config = &config};
    return bench_add(result, start_once, bench_nothing, &w, 1);
}

static enum status run_taken(const struct bench *bench, struct bench_result *result)
{
    struct pmm_config config = {.runs = (struct frame_run *)(uintptr_t)real_map, .run_count = REAL_RUNS};
    struct bench_work w = {.config = &config};
    enum status s;
    switch (bench->flags) {
    case START:
        s = bench_add(result, start_once, bench_nothing, &w, 1);
        break;
    case START_64M:
        s = run_start_over(64 * MIB, result);
        break;
    case START_4G:
        s = run_start_over(4 * GIB, result);
        break;
    case START_1T:
        s = run_start_over(TIB, result);
        break;
    default:
        s = start_once(&w, 1);
        return s == STATUS_OK ? run_started(bench, result, &w) : s;
    }
    tell_memory(bench->summary);
    return s;
}

/* Does the row rivals_WAY_WORKLOAD measure this one? */
static bool is_row_of(const char *row, const struct frames_way *way)
{
    const char *name = strchr(row, '_') + 1;
    const size_t length = strlen(way->name);
    return strncmp(name, way->name, length) == 0 && name[length] == '_';
}

static const struct frames_way *way_of_row(const char *row)
{
    for (unsigned i = 0; i < FRAMES_WAYS; i++) {
        if (is_row_of(row, &frames_ways[i])) {
            return &frames_ways[i];
        }
    }
    return is_row_of(row, &frames_cairn[0]) ? &frames_cairn[0] : &frames_cairn[1];
}

/* With room to note the frames in use; it lies elsewhere, as those to try the ways on are taken already. */
static enum status run_with_room(const struct bench *bench, struct bench_result *result)
{
    const npages_t pages = bytes_to_pages_up((all_frames() + 1) * sizeof *play.held); /* and an answer */
    vaddr_t held;
    enum status s = kpages_alloc(&machine.vmm, pages, ARENA_ALIGN_PAGE, 0, "bench", &held);
    if (s != STATUS_OK) {
        return s;
    }
    play.way = way_of_row(bench->name);
    play.held = vaddr_to_ptr(held);
    play.count = 0;
    play.rng = rng_seeded(SEED);
    s = run_taken(bench, result);
    enum status freed = kpages_free(&machine.vmm, held);
    return s == STATUS_OK ? freed : s;
}

static enum status run(const struct bench *bench, struct bench_result *result)
{
    enum status s = real_map_take();
    if (s != STATUS_OK) {
        print("rivals: the frames to try them on cannot be had (a machine of 5 GiB has them): %s\n", status_name(s));
        return s;
    }
    s = run_with_room(bench, result);
    enum status given = real_map_give();
    return s == STATUS_OK ? given : s;
}

/* The names of ways have no underscore. */
#define ROW(name_, workload_, kind_, summary_) {"rivals_" name_ "_" workload_, summary_, run, kind_, 0}
#define ROWS(name_)                                                   \
    ROW(name_, "start", START, "its start"),                          \
    ROW(name_, "pair", PAIR, "an alloc and a free"),                  \
    ROW(name_, "alloc", ALLOC, "an alloc, of all there is"),          \
    ROW(name_, "free", FREE, "a free, of all in random order"),       \
    ROW(name_, "half", HALF, "a free and an alloc at half full"),     \
    ROW(name_, "full", FULL, "the same where nothing else is free")
#define BLOCKS(name_) ROWS(name_), ROW(name_, "block", BLOCK, "512 aligned frames, and back")
#define LATE(name_) ROW(name_, "grow", GROW, "an alloc for which it took frames itself")
#define SIZES(name_)                                                  \
    ROW(name_, "start_64m", START_64M, "its start over 64 MiB"),      \
    ROW(name_, "start_4g", START_4G, "its start over 4 GiB"),         \
    ROW(name_, "start_1t", START_1T, "its start over 1 TiB")

const struct bench bench_rivals[] = {
    BLOCKS("cairn"), LATE("cairn"), SIZES("cairn"),
    BLOCKS("eager-cairn"), SIZES("eager-cairn"),
    ROWS("raw-stack"),
    BLOCKS("flat-stack"),
    ROWS("table-list"),
    ROWS("frame-list"),
    BLOCKS("bitmap"), SIZES("bitmap"),
    BLOCKS("next-fit"),
    BLOCKS("zero-pages"),
    ROWS("inverted"),
    BLOCKS("by-region"),
    BLOCKS("summary"),
    BLOCKS("faulted"), LATE("faulted"), SIZES("faulted"),
    BLOCKS("extent"),
    BLOCKS("buddy"),
    BLOCKS("buddy-cpu"),
    BLOCKS("tree"),
    {0},
};
