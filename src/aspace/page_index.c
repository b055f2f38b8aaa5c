/*
 * The sparse array (page_index.h). Nodes have room for 512 words and nothing else; how many of them are in use is
 * counted in the word that leads to the node, so that a node that becomes empty is seen without looking through it.
 *
 * Height: a number of more digits than there are levels puts new roots above the old one, which becomes word 0 of the
 * lowest of them.
 */
#include "aspace/page_index.h"

#include "lib/macros.h"

static inline unsigned digit(uint64_t number, unsigned level)
{
    return (unsigned)(number >> (level - 1) * PAGE_INDEX_DIGIT) & (PAGE_INDEX_WORDS - 1);
}

/* The numbers below a node of `level` are so many bits wide. */
static inline unsigned width(unsigned level) { return level * PAGE_INDEX_DIGIT; }

static inline unsigned in_use(uint64_t word) { return (unsigned)page_offset_bytes(word); }

uint64_t *page_index_look(const struct page_index *index, uint64_t number)
{
    if (index->levels == 0 || number >> width(index->levels) != 0) {
        return NULL;
    }
    uint64_t *node = page_index_node(index->top);
    for (unsigned level = index->levels; level > 1 && node != NULL; level--) {
        node = page_index_node(node[digit(number, level)]);
    }
    return node == NULL ? NULL : &node[digit(number, 1)];
}

/* ---- What is missing ---- */

/* Nodes of levels 1 to `level` that cover [first, last]. */
static uint64_t nodes_over(unsigned level, uint64_t first, uint64_t last)
{
    uint64_t nodes = 0;
    for (; level > 0; level--) {
        nodes += (last >> width(level)) - (first >> width(level)) + 1;
    }
    return nodes;
}

/* The same, without those that are there, below a word that leads to a node of `level` whose numbers these are. */
static uint64_t nodes_missing(uint64_t word, unsigned level, uint64_t first, uint64_t last)
{
    if (word == 0 || level == 1) {
        return word == 0 ? nodes_over(level, first, last) : 0;
    }
    uint64_t nodes = 0;
    for (uint64_t at = first; at <= last;) {
        const uint64_t end = ((at >> width(level - 1)) + 1) << width(level - 1); /* of what the word leads to */
        const uint64_t stop = end <= last ? end - 1 : last;
        nodes += nodes_missing(page_index_node(word)[digit(at, level)], level - 1, at, stop);
        at = stop + 1;
    }
    return nodes;
}

static unsigned levels_for(uint64_t number)
{
    unsigned levels = 1;
    while (number >> width(levels) != 0) {
        levels++;
    }
    return levels;
}

size_t page_index_missing(const struct page_index *index, uint64_t first, uint64_t count)
{
    const uint64_t numbers = 1ULL << width(PAGE_INDEX_LEVELS_MAX);
    if (first > numbers || count > numbers - first) {
        return SIZE_MAX;
    }
    if (count == 0) {
        return 0;
    }
    const uint64_t last = first + count - 1;
    const unsigned high = levels_for(last);
    if (index->levels == 0 || high <= index->levels) {
        return nodes_missing(index->top, index->levels == 0 ? high : index->levels, first, last);
    }
    const uint64_t old = 1ULL << width(index->levels); /* numbers below the root of now */
    uint64_t nodes = first < old ? nodes_missing(index->top, index->levels, first, old - 1) : 0;
    nodes += nodes_over(index->levels, first < old ? old : first, last);
    for (unsigned level = index->levels + 1; level <= high; level++) {
        const uint64_t from = first >> width(level), to = last >> width(level);
        nodes += to - from + 1 + (from > 0); /* and the one above the old root */
    }
    return nodes;
}

/* ---- Setting ---- */

/* A node below `*word`, which was 0: nobody counts it yet. */
static void grow(uint64_t *word, struct stock *stock) { *word = ptr_to_vaddr(stock_take(stock)).v; }

static void add_root(struct page_index *index, struct stock *stock)
{
    const uint64_t below = index->top;
    grow(&index->top, stock);
    if (below != 0) {
        *page_index_node(index->top) = below;
        index->top++;
    }
    index->levels++;
}

/* From 0 to what is not. */
static void put(struct page_index *index, struct stock *stock, uint64_t number, uint64_t word)
{
    if (index->levels == 0) {
        index->levels = levels_for(number);
        grow(&index->top, stock);
    }
    while (number >> width(index->levels) != 0) {
        add_root(index, stock);
    }
    uint64_t *at = &index->top;
    for (unsigned level = index->levels; level > 0; level--) {
        uint64_t *below = &page_index_node(*at)[digit(number, level)];
        if (*below == 0) {
            *at += 1;
            if (level > 1) {
                grow(below, stock);
            }
        }
        at = below;
    }
    *at = word;
    index->count++;
}

/* From what is not 0 to 0; nodes that become empty go. */
static void take_out(struct page_index *index, struct stock *stock, uint64_t number)
{
    uint64_t *path[PAGE_INDEX_LEVELS_MAX + 1]; /* [level]: the word that leads there; [0]: the one to clear */
    path[index->levels] = &index->top;
    for (unsigned level = index->levels; level > 0; level--) {
        path[level - 1] = &page_index_node(*path[level])[digit(number, level)];
    }
    *path[0] = 0;
    index->count--;
    for (unsigned level = 1; level <= index->levels; level++) {
        *path[level] -= 1;
        if (in_use(*path[level]) != 0) {
            return;
        }
        stock_put(stock, page_index_node(*path[level]));
        *path[level] = 0;
    }
    index->levels = 0;
}

void page_index_set(struct page_index *index, struct stock *stock, uint64_t number, uint64_t word)
{
    ASSERT(number >> width(PAGE_INDEX_LEVELS_MAX) == 0);
    if (word == 0 && page_index_get(index, number) != 0) {
        take_out(index, stock, number);
    } else if (word != 0 && !page_index_replace(index, number, word)) {
        put(index, stock, number, word);
    }
}

/* ---- All of it ---- */

/* Below a word that leads to a node of `level`, which covers `from` and begins with `base`. */
static uint64_t next_below(uint64_t word, unsigned level, uint64_t base, uint64_t from, uint64_t end)
{
    const uint64_t *node = page_index_node(word);
    for (unsigned i = digit(from, level); i < PAGE_INDEX_WORDS; i++) {
        const uint64_t at = base + ((uint64_t)i << width(level - 1));
        if (at >= end) {
            return end;
        }
        if (node[i] == 0) {
            continue;
        }
        const uint64_t start = at > from ? at : from;
        const uint64_t found = level == 1 ? at : next_below(node[i], level - 1, at, start, end);
        if (found < end) {
            return found;
        }
    }
    return end;
}

uint64_t page_index_next(const struct page_index *index, uint64_t from, uint64_t end)
{
    if (index->levels == 0 || from >= end || from >> width(index->levels) != 0) {
        return end;
    }
    return next_below(index->top, index->levels, 0, from, end);
}

/* Depth: five at most. */
static void clear_below(uint64_t word, unsigned level, struct stock *stock)
{
    uint64_t *node = page_index_node(word);
    for (unsigned i = 0; level > 1 && i < PAGE_INDEX_WORDS; i++) {
        if (node[i] != 0) {
            clear_below(node[i], level - 1, stock);
        }
    }
    stock_put(stock, node);
}

void page_index_clear(struct page_index *index, struct stock *stock)
{
    if (index->levels > 0) {
        clear_below(index->top, index->levels, stock);
    }
    *index = (struct page_index){0};
}

static enum status corrupt(struct sink *out, const char *what, uint64_t at, uint64_t found, uint64_t expected)
{
    if (out != NULL) {
        sink_printf(out, "page index: %s: at %lu: %lu where %lu is expected\n", what, at, found, expected);
    }
    return STATUS_CORRUPT;
}

static enum status check_below(uint64_t word, unsigned level, uint64_t base, struct sink *out, uint64_t *count)
{
    const uint64_t *node = page_index_node(word);
    unsigned words = 0;
    for (unsigned i = 0; i < PAGE_INDEX_WORDS; i++) {
        words += node[i] != 0;
    }
    if (words == 0 || words != in_use(word)) {
        return corrupt(out, "words in use of a node", base, words, in_use(word));
    }
    *count += level == 1 ? words : 0;
    enum status s = STATUS_OK;
    for (uint64_t i = 0; level > 1 && i < PAGE_INDEX_WORDS && s == STATUS_OK; i++) {
        s = node[i] == 0 ? STATUS_OK : check_below(node[i], level - 1, base + (i << width(level - 1)), out, count);
    }
    return s;
}

enum status page_index_check(const struct page_index *index, struct sink *out)
{
    if ((index->levels == 0) != (index->top == 0) || index->levels > PAGE_INDEX_LEVELS_MAX) {
        return corrupt(out, "levels", 0, index->levels, 0);
    }
    uint64_t count = 0;
    enum status s = index->levels == 0 ? STATUS_OK : check_below(index->top, index->levels, 0, out, &count);
    return s != STATUS_OK || count == index->count ? s : corrupt(out, "words in all", 0, count, index->count);
}
