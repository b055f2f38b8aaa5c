/*
 * Heaps side by side: ours, and those that programs use, behind one interface. Host only.
 */
#ifndef CAIRN_RIVALS_HEAPS_H
#define CAIRN_RIVALS_HEAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_rival {
    const char *name;
    /* Before anything else; null: nothing is to be done. false: it is not on this machine. */
    bool (*find)(struct heap_rival *rival);
    /* An empty heap, and its end; null: it is the process's own and keeps what it has from one use to the next. */
    void (*begin)(void);
    void (*end)(void);
    /* null: memory is short. Alignment: a power of two; of the others, 16 bytes. */
    void *(*alloc)(size_t bytes);
    void *(*alloc_aligned)(size_t align_bytes, size_t bytes);
    void *(*resize)(void *block, size_t bytes);
    void (*release)(void *block);
    /* Pages held now, metadata included; null: count what the process has touched. */
    uint64_t (*held_pages)(void);
};

extern struct heap_rival heap_cairn, heap_glibc, heap_mimalloc, heap_jemalloc;

#endif
