/* For each 8 bytes of the memory: the thing they belong to, and when that was touched last; for each line the same. */
#include "bench/arena_touched.h"

#include "bench/bed.h"

enum { WORD_BYTES = sizeof(uint64_t), WORDS_PER_LINE = TOUCHED_LINE_BYTES / WORD_BYTES };

static uint64_t first_byte, words, blind_words;
static uint32_t *thing;     /* number of its first word, and 1; 0: none is known there */
static uint32_t *seen;      /* at that word: the round it was touched in */
static uint32_t *line_seen; /* at each line the same */
static uint32_t round_now;
static uint64_t things, lines;

void touched_open(const void *memory, size_t bytes, size_t blind)
{
    if (words > 0) {
        bed_unreserve(thing, words * sizeof *thing);
        bed_unreserve(seen, words * sizeof *seen);
        bed_unreserve(line_seen, words / WORDS_PER_LINE * sizeof *line_seen);
    }
    first_byte = (uintptr_t)memory;
    words = bytes / WORD_BYTES;
    blind_words = blind / WORD_BYTES;
    thing = bed_reserve(words * sizeof *thing);
    seen = bed_reserve(words * sizeof *seen);
    line_seen = bed_reserve(words / WORDS_PER_LINE * sizeof *line_seen);
    round_now = 0;
    touched_clear();
}

void touched_know(const void *first, size_t bytes, size_t each)
{
    uint64_t begin = ((uintptr_t)first - first_byte) / WORD_BYTES;
    for (uint64_t i = 0; i < bytes / WORD_BYTES; i++) {
        thing[begin + i] = (uint32_t)(begin + i - i % (each / WORD_BYTES) + 1);
    }
}

void touched_clear(void)
{
    round_now++;
    things = lines = 0;
}

uint64_t touched_things(void) { return things; }
uint64_t touched_lines(void) { return lines; }

static void see(uint32_t *when, uint64_t *count)
{
    *count += *when != round_now;
    *when = round_now;
}

static void touch(const void *p)
{
    uint64_t word = ((uintptr_t)p - first_byte) / WORD_BYTES; /* what lies before the memory has a large number */
    if (word >= words || word < blind_words) {
        return;
    }
    see(&line_seen[word / WORDS_PER_LINE], &lines);
    if (thing[word] != 0) {
        see(&seen[thing[word] - 1], &things);
    }
}

static void touch_range(const uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += WORD_BYTES) {
        touch(p + i);
    }
}

/* ---- What the compiler calls ---- */

#define ACCESS(name_)        \
    void name_(void *p);     \
    void name_(void *p) { touch(p); }
#define SIZES(prefix_) ACCESS(prefix_##1) ACCESS(prefix_##2) ACCESS(prefix_##4) ACCESS(prefix_##8)
SIZES(__tsan_read)
SIZES(__tsan_write)
SIZES(__tsan_unaligned_read)
SIZES(__tsan_unaligned_write)

#define RANGE(name_)                      \
    void name_(void *p, size_t bytes);    \
    void name_(void *p, size_t bytes) { touch_range(p, bytes); }
RANGE(__tsan_read_range)
RANGE(__tsan_write_range)

#define WIDE(name_)          \
    void name_(void *p);     \
    void name_(void *p) { touch_range(p, 2 * sizeof(uint64_t)); }
WIDE(__tsan_read16)
WIDE(__tsan_write16)
WIDE(__tsan_unaligned_read16)
WIDE(__tsan_unaligned_write16)

void __tsan_init(void);
void __tsan_init(void) {}
void __tsan_func_entry(void *caller);
void __tsan_func_entry(void *caller) { (void)caller; }
void __tsan_func_exit(void);
void __tsan_func_exit(void) {}
