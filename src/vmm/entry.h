/*
 * What our own non-leaf entries look like: rights (R1, R2), the live count of the table below, and what no correct
 * code writes. Private to src/vmm/.
 */
#ifndef CAIRN_VMM_ENTRY_H
#define CAIRN_VMM_ENTRY_H

#include "arch/layout.h"
#include "arch/paging.h"

/*
 * The live count: present entries of the table below, 0..512, in bits that the CPU ignores in non-leaf entries:
 * bits 58:52 hold its upper seven bits, bits 11:9 the lower three. 1023 is kept for tables with several parents.
 */
enum {
    COUNT_SEVERAL = 1023, /* several parents: nothing is known of the number */
    COUNT_LOW_SHIFT = 9,
    COUNT_LOW_BITS = 3,
    COUNT_HIGH_SHIFT = 52,
};
#define COUNT_LOW_MASK 0x0000000000000E00ULL
#define COUNT_HIGH_MASK 0x07F0000000000000ULL
#define COUNT_MASK (COUNT_LOW_MASK | COUNT_HIGH_MASK)

/* Bits of a leaf that hold no right, no frame and nothing of ours: always 0 in what this code writes. */
#define LEAF_UNUSED_MASK 0x7FF0000000000000ULL
/* The same of a non-leaf entry, where the count has some of them. R2: never global, never cache bits. */
#define TABLE_UNUSED_MASK (0x7000000000000000ULL | PTE_PWT | PTE_PCD | PTE_G)
/*
 * Non-leaf, ignored bit 59: the table is lent by another space, which edits it; not edited through this entry. An entry
 * with W = 0 and without this bit names a table that all its parents see read-only (copy on write).
 */
#define ENTRY_BORROWED 0x0800000000000000ULL

/* Rights of entries that name tables (R2) and of the window slots (R1). */
#define TABLE_BITS_KERNEL (PTE_P | PTE_W)
#define TABLE_BITS_USER (PTE_P | PTE_W | PTE_U)
#define SLOT_BITS (PTE_P | PTE_W | PTE_XD)

/* What decides a walk: all but accessed, dirty (R5) and the count. */
#define WALK_MASK (~(PTE_A | PTE_D | COUNT_MASK))

static inline unsigned entry_count(pte_t e)
{
    return (unsigned)((e.v & COUNT_HIGH_MASK) >> COUNT_HIGH_SHIFT << COUNT_LOW_BITS |
                      (e.v & COUNT_LOW_MASK) >> COUNT_LOW_SHIFT);
}

static inline pte_t entry_with_count(pte_t e, unsigned count)
{
    uint64_t high = (uint64_t)(count >> COUNT_LOW_BITS) << COUNT_HIGH_SHIFT;
    uint64_t low = (uint64_t)count << COUNT_LOW_SHIFT & COUNT_LOW_MASK;
    return (pte_t){(e.v & ~COUNT_MASK) | high | low};
}

/*
 * Present entries that name tables: shared; of these, closed: not edited through (borrowed, or all parents read-only),
 * or lent, and edited through. Only entries that are not shared are believed without another look (frames.h).
 */
static inline bool entry_is_shared(pte_t e) { return (e.v & COUNT_MASK) == COUNT_MASK; }
static inline bool entry_is_borrowed(pte_t e) { return entry_is_shared(e) && (e.v & ENTRY_BORROWED) != 0; }
static inline bool entry_is_closed(pte_t e) { return entry_is_shared(e) && (e.v & (PTE_W | ENTRY_BORROWED)) != PTE_W; }
static inline bool entry_is_lent(pte_t e) { return entry_is_shared(e) && !entry_is_closed(e); }

/* One more; the lower bits have room for it seven times of eight. */
static inline pte_t entry_count_up(pte_t e)
{
    const bool carries = (e.v & COUNT_LOW_MASK) == COUNT_LOW_MASK;
    return carries ? entry_with_count(e, entry_count(e) + 1) : (pte_t){e.v + (1ULL << COUNT_LOW_SHIFT)};
}

/* A present entry of a table of `level` that is a large page (R3). */
static inline bool entry_is_large(pte_t e, unsigned level) { return (level == 2 || level == 3) && (e.v & PTE_PS) != 0; }

/* A present entry of a table of `level` 2..4 that no correct code wrote; it must not be followed. */
static inline bool entry_is_corrupt(pte_t e, unsigned level)
{
    if (level == PAGING_LEVELS && (e.v & PTE_PS) != 0) {
        return true;
    }
    if (entry_is_large(e, level)) { /* the frame must be aligned; bit 12 is the PAT bit, which we leave 0 */
        return (e.v & PTE_FRAME_MASK & (level_span_bytes(level) - 1)) != 0 || (e.v & LEAF_UNUSED_MASK & ~PTE_WX) != 0;
    }
    bool is_odd = (e.v & ENTRY_BORROWED) != 0 && (!entry_is_shared(e) || level == PAGING_LEVELS);
    return (e.v & TABLE_UNUSED_MASK) != 0 || is_odd;
}

static inline bool is_kernel_half(vaddr_t va) { return va.v >= LAYOUT_KERNEL_BASE; }

/* Pages of address space behind one entry of a table of `level`: 512^(level - 1). */
enum { TABLE_INDEX_BITS = 9 };
static inline unsigned level_span_log2(unsigned level) { return TABLE_INDEX_BITS * (level - 1); }
static inline uint64_t level_span_pages(unsigned level) { return 1ULL << level_span_log2(level); }

/* Pages from `va` to the end of the entry of `level` that covers it. */
static inline uint64_t pages_to_span_end(vaddr_t va, unsigned level)
{
    uint64_t span = level_span_pages(level);
    return span - (vaddr_page_number(va) & (span - 1));
}

/* Entries of `level` that [va, va + pages) touches; pages > 0. */
static inline uint64_t spans_touched(vaddr_t va, uint64_t pages, unsigned level)
{
    uint64_t span = level_span_pages(level);
    return (((vaddr_page_number(va) & (span - 1)) + pages - 1) >> level_span_log2(level)) + 1;
}

#endif
