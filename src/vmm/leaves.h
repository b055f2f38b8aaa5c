/* Leaves of one PT that are taken away or changed, and how they are read. Private to unmap.c. */
#ifndef CAIRN_VMM_LEAVES_H
#define CAIRN_VMM_LEAVES_H

#include "vmm/window.h"

/* So many leaves of one PT. */
struct leaves {
    vaddr_t entry;         /* the first one's, usable */
    uint64_t pages;
    unsigned count;        /* live ones in the PT */
    const pte_t *recorded; /* what the look has read; null: nothing */
};

/* The i-th leaf, from the record or from the table. */
__attribute__((always_inline)) static inline pte_t leaf(const struct leaves *l, uint64_t i)
{
    return l->recorded != NULL ? l->recorded[i] : arch_table_load(entry_at(l->entry, i));
}

enum { LEAVES_A_TURN = 4 };
#ifdef __OPTIMIZE__
#define LEAVES_UNROLLED _Pragma("GCC unroll 4")
#else /* the pragma would be ignored, with a warning */
#define LEAVES_UNROLLED
#endif

/*
 * Leaves from the i-th on that continue the device's leaf `last`, so many a turn; taken like the others. => how many.
 */
__attribute__((always_inline)) static inline uint64_t leaves_take_run(struct vmm *vmm, struct leaves l, uint64_t i,
                                                                      pte_t last, bool clear)
{
    const uint64_t from = i, page = PAGE_BYTES;
    const unsigned turn = LEAVES_A_TURN;
    for (uint64_t next = last.v + page; i + turn <= l.pages; next += turn * page, i += turn) {
        uint64_t differs = leaf(&l, i).v ^ next;
        LEAVES_UNROLLED
        for (unsigned k = 1; k < LEAVES_A_TURN; k++) {
            differs |= leaf(&l, i + k).v ^ (next + k * page);
        }
        if ((differs & ~(PTE_A | PTE_D)) != 0) {
            vmm->counters.table_loads += l.recorded != NULL ? 0 : LEAVES_A_TURN; /* they are loaded again */
            break;
        }
        LEAVES_UNROLLED
        for (unsigned k = 0; clear && k < LEAVES_A_TURN; k++) {
            arch_table_store(entry_at(l.entry, i + k), (pte_t){0});
        }
    }
    return i - from;
}

#endif
