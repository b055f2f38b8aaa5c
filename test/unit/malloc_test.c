/* The malloc of programs: sizes, alignment, what goes back when, and random calls against a plain list of blocks. */
#include <stdlib.h>

#include "unit/test.h"
#include "user/pages.h"

/* From here on the names are the programs'. */
static void *host_take(size_t bytes, size_t align) { return aligned_alloc(align, bytes); }
static void host_give(void *at) { free(at); }

#include "unit/malloc_again.h"
#include "user/malloc.h"

static struct {
    size_t bytes;      /* given out */
    unsigned takes, gives, complaints;
    bool is_short;
} kernel;

void *pages_take(size_t bytes, unsigned align_log2)
{
    const size_t align = align_log2 > 0 ? (size_t)1 << align_log2 : PAGE_BYTES;
    void *at = kernel.is_short || !is_page_aligned(bytes) || bytes > GIB ? NULL : host_take(bytes, align);
    if (at != NULL) {
        memset(at, 0, bytes);
        kernel.bytes += bytes;
        kernel.takes++;
    }
    return at;
}

void pages_give_back(void *at, size_t bytes)
{
    kernel.bytes -= bytes;
    kernel.gives++;
    host_give(at);
}

void pages_complain(const char *call, const void *block)
{
    (void)call;
    (void)block;
    kernel.complaints++;
}

static void begin(void) { memset(&kernel, 0, sizeof kernel); }

/* Nothing is in use: one chunk at most is kept, and here it goes too. */
static void end(void *last_small)
{
    const struct malloc_stats st = malloc_stats();
    EXPECT(st.small == (last_small != NULL) && st.large == 0 && st.chunks == 1);
    EXPECT_EQ(kernel.bytes, MALLOC_CHUNK_BYTES);
    EXPECT_EQ(st.bytes, kernel.bytes);
    host_give((void *)((uintptr_t)last_small & ~(uintptr_t)(MALLOC_CHUNK_BYTES - 1)));
    malloc_forget();
}

TEST_HOST(user_malloc, small_blocks_are_cut_from_chunks_large_ones_are_pages_that_go_back_at_once)
{
    begin();
    char *last = malloc(1);
    EXPECT(kernel.takes == 1 && kernel.bytes == MALLOC_CHUNK_BYTES);
    for (size_t bytes = 0; bytes <= MALLOC_SMALL_MAX_BYTES; bytes += 1 + bytes / 9) {
        char *block = malloc(bytes);
        EXPECT(block != NULL && (uintptr_t)block % MALLOC_ALIGN_BYTES == 0);
        memset(block, 1, bytes);
        free(block);
    }
    EXPECT_EQ(kernel.takes, 1);
    for (size_t bytes = MALLOC_SMALL_MAX_BYTES + 1; bytes < 10 * MIB; bytes *= 3) {
        char *block = malloc(bytes);
        EXPECT(block != NULL && is_page_aligned((uintptr_t)block));
        EXPECT_EQ(kernel.bytes, MALLOC_CHUNK_BYTES + pages_to_bytes(bytes_to_pages_up(bytes)));
        memset(block, 1, bytes);
        free(block);
        EXPECT_EQ(kernel.bytes, MALLOC_CHUNK_BYTES);
    }
    end(last);
}

TEST_HOST(user_malloc, sizes_that_are_no_numbers_and_memory_that_is_short_give_null)
{
    begin();
    char *last = malloc(1), *block = malloc(3 * PAGE_BYTES);
    EXPECT(malloc(SIZE_MAX) == NULL && malloc(SIZE_MAX - PAGE_BYTES) == NULL);
    EXPECT(calloc(SIZE_MAX / 2, 3) == NULL && calloc(1UL << 32, 1UL << 32) == NULL);
    EXPECT(realloc(block, SIZE_MAX) == NULL);
    kernel.is_short = true;
    EXPECT(malloc(3 * PAGE_BYTES) == NULL && realloc(block, MIB) == NULL);
    unsigned count = 0;
    char *blocks[200];
    while (count < ARRAY_LEN(blocks) && (blocks[count] = malloc(MALLOC_SMALL_MAX_BYTES)) != NULL) {
        count++;
    }
    EXPECT(count > 100 && count < ARRAY_LEN(blocks));
    EXPECT_EQ(malloc_stats().small, count + 1);
    while (count > 0) {
        free(blocks[--count]);
    }
    free(block);
    free(NULL);
    end(last);
}

TEST_HOST(user_malloc, chunks_go_back_when_they_are_empty_but_the_last)
{
    enum { BLOCKS = 1000 };
    static char *blocks[BLOCKS];
    begin();
    char *last = malloc(1);
    for (unsigned i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(5000);
        EXPECT(blocks[i] != NULL);
    }
    EXPECT(malloc_stats().chunks > 4);
    for (unsigned i = 0; i < BLOCKS; i++) {
        free(blocks[i * 7 % BLOCKS]);
    }
    EXPECT(kernel.gives > 3);
    end(last);
}

TEST_HOST(user_malloc, what_is_no_block_is_complained_of_and_changes_nothing)
{
    begin();
    char *last = malloc(100), *other = malloc(100), *large = malloc(5 * PAGE_BYTES);
    const struct malloc_stats before = malloc_stats();
    free(last + 1);
    free(last + 16);
    free((char *)((uintptr_t)last & ~(uintptr_t)(MALLOC_CHUNK_BYTES - 1)));
    free(other + 10 * (other - last));
    EXPECT(realloc(last + 8, 10) == NULL);
    EXPECT_EQ(kernel.complaints, 5);
    const struct malloc_stats after = malloc_stats();
    EXPECT(memcmp(&before, &after, sizeof before) == 0);
    free(other);
    free(large);
    end(last);
}

/* ---- Random calls ---- */

enum { BLOCKS_MAX = 400 };

static struct block {
    unsigned char *at;
    size_t bytes;
    unsigned char mark;
} blocks[BLOCKS_MAX];

static bool is_marked(const struct block *b)
{
    for (size_t i = 0; i < b->bytes; i++) {
        if (b->at[i] != b->mark) {
            return false;
        }
    }
    return true;
}

static size_t random_size(struct rng *rng)
{
    switch (rng_below(rng, 10)) {
    case 0: return rng_below(rng, 200000);
    case 1: return MALLOC_SMALL_MAX_BYTES - 2 + rng_below(rng, 5);
    case 2: return rng_below(rng, MALLOC_SMALL_MAX_BYTES);
    default: return rng_below(rng, 500);
    }
}

static void play(struct rng *rng)
{
    struct block *b = &blocks[rng_below(rng, BLOCKS_MAX)];
    const size_t bytes = random_size(rng);
    EXPECT(is_marked(b));
    if (b->at == NULL) {
        b->at = rng_below(rng, 2) == 0 ? malloc(bytes) : calloc(1, bytes);
    } else if (rng_below(rng, 2) == 0) {
        unsigned char *at = realloc(b->at, bytes);
        b->bytes = bytes < b->bytes ? bytes : b->bytes;
        b->at = at;
        EXPECT(is_marked(b));
    } else {
        free(b->at);
        *b = (struct block){0};
        return;
    }
    b->bytes = bytes;
    b->mark = (unsigned char)rng_next(rng);
    memset(b->at, b->mark, bytes);
}

TEST_HOST(user_malloc, random_calls_keep_every_byte)
{
    struct rng rng = rng_seeded(test_seed());
    begin();
    char *last = malloc(1);
    for (unsigned i = 0; i < 20000 * test_effort(); i++) {
        play(&rng);
    }
    size_t in_use = 0;
    for (unsigned i = 0; i < BLOCKS_MAX; i++) {
        in_use += blocks[i].at != NULL;
    }
    EXPECT_EQ(malloc_stats().small + malloc_stats().large, in_use + 1);
    EXPECT_EQ(malloc_stats().bytes, kernel.bytes);
    for (unsigned i = 0; i < BLOCKS_MAX; i++) {
        EXPECT(is_marked(&blocks[i]));
        free(blocks[i].at);
        blocks[i] = (struct block){0};
    }
    end(last);
}

TEST_HOST(user_malloc, calloc_gives_zeros_and_realloc_keeps_what_there_is_room_for)
{
    begin();
    unsigned char *last = malloc(1);
    for (size_t bytes = 1; bytes < 40000; bytes += 1 + bytes / 3) {
        unsigned char *dirty = malloc(bytes);
        memset(dirty, 0xAA, bytes);
        free(dirty);
        unsigned char *clean = calloc(bytes, 1);
        for (size_t i = 0; i < bytes; i++) {
            EXPECT(clean[i] == 0);
        }
        clean[bytes - 1] = 7;
        clean = realloc(clean, 3 * bytes);
        EXPECT_EQ(clean[bytes - 1], 7);
        clean = realloc(clean, bytes);
        EXPECT_EQ(clean[bytes - 1], 7);
        free(clean);
    }
    end(last);
}
