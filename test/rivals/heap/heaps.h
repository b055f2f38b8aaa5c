/*
 * Heaps side by side: ours, those that programs use, and the ways of this folder, behind one interface. Host only.
 */
#ifndef CAIRN_RIVALS_HEAPS_H
#define CAIRN_RIVALS_HEAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_slab_pages {
    uint64_t held;    /* in slabs now */
    uint64_t classes; /* one slab for each class that has had one since the beginning */
};

struct heap_rival {
    const char *name;
    /* Before anything else; null: nothing is to be done. false: it is not on this machine. */
    bool (*find)(struct heap_rival *rival);
    /*
     * An empty heap, and its end; null: it is the process's own and keeps what it has from one use to the next. Before
     * the end all blocks are released. No block that is asked for will be longer than `largest_bytes` or aligned to
     * more than its next power of two.
     */
    void (*begin)(size_t largest_bytes);
    void (*end)(void);
    /* null: memory is short. Alignment: a power of two; of the others, 16 bytes. */
    void *(*alloc)(size_t bytes);
    void *(*alloc_aligned)(size_t align_bytes, size_t bytes);
    void *(*resize)(void *block, size_t bytes);
    void (*release)(void *block);
    /* Zeroed; null: memory is short, or the product too large. */
    void *(*alloc_array)(size_t count, size_t bytes);
    /* Bytes that the caller of this block may use. */
    size_t (*usable)(void *block);
    /* Pages held now, metadata included; null: count what the process has touched. */
    uint64_t (*held_pages)(void);
    /* Null: it has no slabs. */
    struct heap_slab_pages (*slab_pages)(void);
    /* Give back what holds nothing; null: it does not. */
    void (*shrink)(void);
    /* Wrong calls that it has told of so far; null: it stops the program, if it tells at all. */
    uint64_t (*reports)(void);
    /* The longest block there can be; 0: no such limit. */
    size_t most_bytes;
    const char *limit; /* says so */
};

extern struct heap_rival heap_cairn, heap_cairn_guard, heap_glibc, heap_mimalloc, heap_jemalloc;
extern struct heap_rival heap_tlsf_idea, heap_first_fit, heap_carving, heap_buddy, heap_single_pages, heap_one_size;

#endif
