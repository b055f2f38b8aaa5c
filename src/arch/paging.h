/*
 * The format of an x86-64 paging-structure entry (SDM 3A 4.5), 4-level paging. Pure data: shared by the hardware port
 * and the host model.
 */
#ifndef CAIRN_ARCH_PAGING_H
#define CAIRN_ARCH_PAGING_H

#include "lib/units.h"

#define PTE_P 0x1ULL          /* present */
#define PTE_W 0x2ULL          /* writable */
#define PTE_U 0x4ULL          /* user mode may use it */
#define PTE_PWT 0x8ULL        /* PAT index bit 0 */
#define PTE_PCD 0x10ULL       /* PAT index bit 1 */
#define PTE_A 0x20ULL         /* accessed, set by the walker */
#define PTE_D 0x40ULL         /* dirty, set by the walker in leaves */
#define PTE_PS 0x80ULL        /* PDPTE and PDE: a leaf (large page); PTE: PAT index bit 2 */
#define PTE_G 0x100ULL        /* global */
#define PTE_OWNED 0x200ULL    /* leaf, ignored bit 9: this mapping holds one reference to its frame */
#define PTE_DEVICE 0x400ULL   /* leaf, ignored bit 10: no RAM of the PMM; its cache type is registered */
#define PTE_COW 0x800ULL      /* leaf, ignored bit 11: its frame may have other users, of copies: W = 0 until alone */
#define PTE_COW_WRITE 0x0010000000000000ULL /* leaf with PTE_COW, ignored bit 52: a write gets a copy, or the frame */
#define PTE_WX 0x0020000000000000ULL /* leaf, ignored bit 53: writing and executing both were asked for by name */
#define PTE_XD 0x8000000000000000ULL /* no instruction fetch (EFER.NXE) */
/* PAT index 1, which the port programs as write-combining; index 3, uncached. The upper four are the same (R4). */
#define PTE_CACHE_WC PTE_PWT
#define PTE_CACHE_UC (PTE_PWT | PTE_PCD)
#define PTE_FRAME_MASK 0x000FFFFFFFFFF000ULL

enum {
    PAGING_LEVELS = 4, /* 4: PML4, 3: PDPT, 2: PD, 1: PT */
    TABLE_ENTRIES = 512,
    ENTRY_BYTES = 8,
};

static inline bool pte_is_present(pte_t e) { return (e.v & PTE_P) != 0; }
static inline pfn_t pte_pfn(pte_t e) { return paddr_to_pfn(paddr(e.v & PTE_FRAME_MASK)); }
static inline pte_t pte_make(pfn_t f, uint64_t bits) { return (pte_t){pfn_to_paddr(f).v | bits}; }

/* Index of the entry for `va` in the table of `level` (1..4). */
static inline unsigned table_index(vaddr_t va, unsigned level)
{
    return (unsigned)(vaddr_page_number(va) >> (9 * (level - 1))) & (TABLE_ENTRIES - 1);
}

/* Bytes of address space behind one entry of a table of `level`: 4 KiB, 2 MiB, 1 GiB, 512 GiB. */
static inline uint64_t level_span_bytes(unsigned level) { return pages_to_bytes(npages(1)) << (9 * (level - 1)); }

/* 48-bit canonical form: bits 63:47 all alike. */
static inline bool vaddr_is_canonical(vaddr_t a) { return (uint64_t)((int64_t)(a.v << 16) >> 16) == a.v; }

#endif
