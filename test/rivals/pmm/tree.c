/*
 * A two-level bitmap tree with reservations by CPUs: the idea of LLFree (Wrenger et al., USENIX ATC 2023), from the
 * published design, without a lock.
 *
 *   tree     32 blocks, 16,384 frames: a count of what is free in it and nobody's, and whether it is reserved
 *   block    512 frames: a count of what is free, or "handed out whole"
 *   bits     64 bytes a block: one a frame
 *
 * A CPU reserves a tree, and with it all that it counts as free: the count moves into the CPU's own word. An alloc
 * takes one off that, finds a block of the tree that has one (takes one off that), then a bit. Each step is one
 * compare-and-swap; each count is lowered before and raised after what it counts, so that whoever got the count finds
 * the bit. A free sets the bit, raises the block, and then the CPU's count, if the tree is its own, else the tree's.
 *
 * When its own is used up, a CPU first fetches what others freed into its tree; then it reserves the fullest tree that
 * has a sixteenth free, so that others empty; and when nothing is left it takes away what another CPU has reserved. A
 * CPU that frees four times in a row into one tree that is nobody's reserves that.
 *
 * Kernel frames draw from a reservation of their own: two classes that share a tree only when nothing else is left.
 */
#include "rivals/pmm/bits.h"
#include "rivals/pmm/machine.h"

enum { TREE_BLOCKS = 32, TREE_FRAMES = TREE_BLOCKS * FRAMES_BLOCK, FREES_IN_A_ROW = 4,
       LANES = 2 * TREE_CPUS, TRIES = 3 };
/* A tree with less is reserved only when all have less. */
enum { WORTH_IT = TREE_FRAMES / 16 };
#define RESERVED (1U << 31)  /* in a tree's word, above its count */
#define WHOLE (1U << 15)     /* a block handed out whole; its count is 0 then */
#define NO_TREE UINT32_MAX
#define HAS_TREE (1ULL << 63) /* in a lane's word: it has a reservation; the tree above bit 32, the count below */

#define LOAD(p_) __atomic_load_n((p_), __ATOMIC_ACQUIRE)
#define SWAP_IF(p_, was_, to_) \
    __atomic_compare_exchange_n((p_), (was_), (to_), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)

/* One CPU's, of one class. Other CPUs may take `word` away. */
struct lane {
    _Alignas(64) uint64_t word;
    uint64_t block;     /* where the last alloc found something */
    uint64_t freed_to;  /* the tree of the last frees, */
    unsigned frees;     /* so many in a row */
};

struct tree {
    struct lane lanes[LANES]; /* first the CPUs' user classes */
    uint64_t *bits;     /* set: free */
    uint16_t *blocks;
    uint32_t *trees;
    uint64_t tree_count, block_count;
};

void *tree_start(const struct frame_run *runs, size_t run_count)
{
    uint64_t frames = frames_end(runs, run_count);
    if (frames == 0) {
        return NULL;
    }
    machine_begin(frames);
    struct tree *t = machine_memory(sizeof *t);
    t->tree_count = (frames + TREE_FRAMES - 1) / TREE_FRAMES;
    t->block_count = t->tree_count * TREE_BLOCKS;
    t->bits = machine_memory(t->block_count * FRAMES_BLOCK / 8);
    t->blocks = machine_memory(t->block_count * sizeof *t->blocks);
    t->trees = machine_memory(t->tree_count * sizeof *t->trees);
    for (size_t i = 0; i < run_count; i++) {
        bits_add(t->bits, runs[i].first.v, run_end(runs[i]));
    }
    for (uint64_t i = 0; i < t->block_count * BITS_BLOCK_WORDS; i++) {
        unsigned free = bits_count(t->bits[i]);
        t->blocks[i / BITS_BLOCK_WORDS] = (uint16_t)(t->blocks[i / BITS_BLOCK_WORDS] + free);
        t->trees[i / BITS_BLOCK_WORDS / TREE_BLOCKS] += free;
    }
    return t;
}

static inline uint32_t lane_tree(uint64_t word) { return (uint32_t)(word >> 32 & 0x7FFFFFFF); }
static inline uint32_t lane_free(uint64_t word) { return (uint32_t)word; }
static inline uint64_t lane_word(uint64_t tree, uint32_t free) { return HAS_TREE | tree << 32 | free; }

/* ---- Counts ---- */

/* => the tree of which it had so many and has so many less; NO_TREE: it has not. */
static inline uint32_t lane_take(struct lane *l, uint32_t n)
{
    uint64_t word = LOAD(&l->word);
    do {
        if (lane_free(word) < n) {
            return NO_TREE;
        }
    } while (!SWAP_IF(&l->word, &word, word - n));
    return lane_tree(word);
}

/* => false: the lane has another tree. */
static inline bool lane_give(struct lane *l, uint64_t tree, uint32_t n)
{
    uint64_t word = LOAD(&l->word);
    do {
        if ((word & HAS_TREE) == 0 || lane_tree(word) != tree) {
            return false;
        }
    } while (!SWAP_IF(&l->word, &word, word + n));
    return true;
}

/* To the tree itself; `flags` are those that it loses. */
static inline void tree_give(struct tree *t, uint64_t tree, uint32_t n, uint32_t flags)
{
    uint32_t word = LOAD(&t->trees[tree]);
    while (!SWAP_IF(&t->trees[tree], &word, (word & ~flags) + n)) {
    }
}

/* All that the tree counts, if it counts `least` or more, and `flags` is what it says else. => how many. */
static uint32_t tree_fetch(struct tree *t, uint64_t tree, uint32_t least, uint32_t flags)
{
    uint32_t word = LOAD(&t->trees[tree]);
    do {
        uint32_t free = word & ~RESERVED;
        if (free < least || (word & RESERVED) != flags) {
            return 0;
        }
    } while (!SWAP_IF(&t->trees[tree], &word, RESERVED));
    return word & ~RESERVED;
}

/* ---- Reservations ---- */

/* `word` is no longer any lane's: its count goes back to its tree. */
static void return_word(struct tree *t, uint64_t word)
{
    if ((word & HAS_TREE) != 0) {
        tree_give(t, lane_tree(word), lane_free(word), RESERVED);
    }
}

static void settle(struct tree *t, struct lane *l, uint64_t tree, uint32_t free)
{
    return_word(t, __atomic_exchange_n(&l->word, lane_word(tree, free), __ATOMIC_ACQ_REL));
    if (l->block / TREE_BLOCKS != tree) {
        l->block = tree * TREE_BLOCKS;
    }
}

/* Of the trees that are nobody's and count `least` or more, the one that counts least. */
static bool reserve_fullest(struct tree *t, struct lane *l, uint32_t least)
{
    uint64_t best = t->tree_count;
    uint32_t best_free = TREE_FRAMES + 1;
    for (uint64_t tree = 0; tree < t->tree_count; tree++) {
        uint32_t word = LOAD(&t->trees[tree]);
        if ((word & RESERVED) == 0 && word >= least && word < best_free) {
            best = tree;
            best_free = word;
        }
    }
    uint32_t free = best == t->tree_count ? 0 : tree_fetch(t, best, 1, 0);
    if (free > 0) {
        settle(t, l, best, free);
    }
    return free > 0;
}

/* Takes away what other lanes have and do not use: first those of its own class. */
static bool rob(struct tree *t, struct lane *l, uint32_t least)
{
    unsigned self = (unsigned)(l - t->lanes);
    for (unsigned i = 1; i < LANES; i++) {
        struct lane *other = &t->lanes[(self ^ i) % LANES];
        uint64_t word = LOAD(&other->word);
        /* With what was freed into its tree by others, which it does not know yet. */
        while ((word & HAS_TREE) != 0 &&
               lane_free(word) + (LOAD(&t->trees[lane_tree(word)]) & ~RESERVED) >= least) {
            if (SWAP_IF(&other->word, &word, 0)) {
                return_word(t, word);
                return true;
            }
        }
    }
    return false;
}

/* A tree with something free. => false: there is none. */
static bool reserve(struct tree *t, struct lane *l)
{
    return reserve_fullest(t, l, WORTH_IT) || reserve_fullest(t, l, 1) || rob(t, l, 1);
}

/* The lane has nothing: what others freed into its tree, else another tree. */
static __attribute__((noinline)) bool more(struct tree *t, struct lane *l)
{
    uint64_t word = LOAD(&l->word);
    if ((word & HAS_TREE) != 0) {
        uint64_t tree = lane_tree(word);
        uint32_t free = tree_fetch(t, tree, 1, RESERVED);
        if (free > 0) {
            if (!lane_give(l, tree, free)) {
                tree_give(t, tree, free, 0); /* it was robbed meanwhile */
            }
            return true;
        }
    }
    return reserve(t, l);
}

/* ---- Single frames ---- */

static inline bool block_take(struct tree *t, uint64_t block)
{
    uint16_t word = LOAD(&t->blocks[block]);
    do {
        if (word == 0 || (word & WHOLE) != 0) {
            return false;
        }
    } while (!SWAP_IF(&t->blocks[block], &word, (uint16_t)(word - 1)));
    return true;
}

/* A bit of a block whose count was lowered for it: there is one, though others may move it while this one looks. */
static inline pfn_t bit_take(struct tree *t, uint64_t block)
{
    for (uint64_t at = block * BITS_BLOCK_WORDS;; at = block * BITS_BLOCK_WORDS + (at + 1) % BITS_BLOCK_WORDS) {
        uint64_t word = LOAD(&t->bits[at]);
        while (word != 0) {
            if (SWAP_IF(&t->bits[at], &word, word & (word - 1))) {
                return pfn(at * BITS_WORD + (unsigned)__builtin_ctzll(word));
            }
        }
    }
}

/* The lane's count was lowered: its tree has one. => FRAMES_NONE: others changed blocks under the search. */
static inline pfn_t take_in_tree(struct tree *t, struct lane *l, uint64_t tree)
{
    uint64_t block = l->block / TREE_BLOCKS == tree ? l->block : tree * TREE_BLOCKS;
    for (unsigned i = 0; i < TREE_BLOCKS; i++) {
        if (block_take(t, block)) {
            l->block = block;
            return bit_take(t, block);
        }
        block = tree * TREE_BLOCKS + (block + 1) % TREE_BLOCKS;
    }
    return FRAMES_NONE;
}

static inline pfn_t alloc_in(struct tree *t, struct lane *l)
{
    for (unsigned tries = 0; tries < TRIES * LANES; tries++) {
        uint32_t tree = lane_take(l, 1);
        if (tree == NO_TREE) {
            if (!more(t, l)) {
                break;
            }
            continue;
        }
        pfn_t frame = take_in_tree(t, l, tree);
        if (frame.v != FRAMES_NONE.v) {
            return frame;
        }
        tree_give(t, tree, 1, 0);
    }
    return FRAMES_NONE;
}

/* Frees gather in one tree: it is worth having, if it is nobody's. */
static inline void follow(struct tree *t, struct lane *l, uint64_t tree)
{
    if (l->freed_to != tree) {
        l->freed_to = tree;
        l->frees = 0;
    } else if (++l->frees == FREES_IN_A_ROW) {
        l->frees = 0;
        uint32_t free = tree_fetch(t, tree, 1, 0);
        if (free > 0) {
            settle(t, l, tree, free);
        }
    }
}

enum status tree_free_on(void *state, unsigned cpu, pfn_t frame)
{
    struct tree *t = state;
    uint64_t block = frame.v / FRAMES_BLOCK, at = frame.v / BITS_WORD, bit = 1ULL << frame.v % BITS_WORD;
    if (block >= t->block_count || (LOAD(&t->blocks[block]) & WHOLE) != 0) {
        return STATUS_MISUSE;
    }
    uint64_t word = LOAD(&t->bits[at]);
    do {
        if ((word & bit) != 0) {
            return STATUS_MISUSE;
        }
    } while (!SWAP_IF(&t->bits[at], &word, word | bit));
    __atomic_fetch_add(&t->blocks[block], 1, __ATOMIC_ACQ_REL);
    struct lane *l = &t->lanes[cpu];
    uint64_t tree = block / TREE_BLOCKS;
    if (!lane_give(l, tree, 1)) {
        tree_give(t, tree, 1, 0);
        follow(t, l, tree);
    }
    return STATUS_OK;
}

pfn_t tree_alloc_on(void *state, unsigned cpu)
{
    struct tree *t = state;
    return alloc_in(t, &t->lanes[cpu]);
}

FRAMES_HOT pfn_t tree_alloc(void *state) { return tree_alloc_on(state, 0); }
FRAMES_HOT enum status tree_free(void *state, pfn_t frame) { return tree_free_on(state, 0, frame); }
pfn_t tree_alloc_kernel(void *state)
{
    struct tree *t = state;
    return alloc_in(t, &t->lanes[TREE_CPUS]);
}

/* ---- Blocks ---- */

/* A wholly free block of a tree of which so much was taken off the counts. */
static pfn_t block_in_tree(struct tree *t, uint64_t tree)
{
    for (uint64_t block = tree * TREE_BLOCKS; block < (tree + 1) * TREE_BLOCKS; block++) {
        uint16_t word = FRAMES_BLOCK;
        if (LOAD(&t->blocks[block]) == word && SWAP_IF(&t->blocks[block], &word, WHOLE)) {
            return pfn(block * FRAMES_BLOCK);
        }
    }
    return FRAMES_NONE;
}

static bool tree_take(struct tree *t, uint64_t tree, uint32_t n)
{
    uint32_t word = LOAD(&t->trees[tree]);
    do {
        if ((word & ~RESERVED) < n) {
            return false;
        }
    } while (!SWAP_IF(&t->trees[tree], &word, word - n));
    return true;
}

pfn_t tree_alloc_block(void *state)
{
    struct tree *t = state;
    struct lane *l = &t->lanes[0];
    uint32_t own = lane_take(l, FRAMES_BLOCK);
    if (own != NO_TREE) {
        pfn_t first = block_in_tree(t, own);
        if (first.v != FRAMES_NONE.v) {
            return first;
        }
        if (!lane_give(l, own, FRAMES_BLOCK)) {
            tree_give(t, own, FRAMES_BLOCK, 0);
        }
    }
    do {
        for (uint64_t i = 0; i < t->tree_count; i++) {
            uint64_t tree = (l->block / TREE_BLOCKS + i) % t->tree_count;
            if (tree_take(t, tree, FRAMES_BLOCK)) {
                pfn_t first = block_in_tree(t, tree);
                if (first.v != FRAMES_NONE.v) {
                    return first;
                }
                tree_give(t, tree, FRAMES_BLOCK, 0);
            }
        }
    } while (rob(t, l, FRAMES_BLOCK));
    return FRAMES_NONE;
}

enum status tree_free_block(void *state, pfn_t first)
{
    struct tree *t = state;
    uint64_t block = first.v / FRAMES_BLOCK, tree = block / TREE_BLOCKS;
    uint16_t word = WHOLE;
    if (first.v % FRAMES_BLOCK != 0 || block >= t->block_count ||
        !SWAP_IF(&t->blocks[block], &word, (uint16_t)FRAMES_BLOCK)) {
        return STATUS_MISUSE;
    }
    if (!lane_give(&t->lanes[0], tree, FRAMES_BLOCK)) {
        tree_give(t, tree, FRAMES_BLOCK, 0);
    }
    return STATUS_OK;
}
