/*
 * The units of the whole project, as types, so that a frame number is never added to an address.
 *
 * Each unit is a struct with the one member `v`; the conversions below are the only place that knows how
 * large a page is. At -O1 and above they cost nothing.
 *
 *   paddr_t   a physical address, bytes         pfn_t     a frame's number: physical address / 4096
 *   vaddr_t   a virtual address, bytes          npages_t  a count of pages or of frames
 *   pte_t     one paging-structure entry
 */
#ifndef CAIRN_LIB_UNITS_H
#define CAIRN_LIB_UNITS_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct { uint64_t v; } paddr_t;
typedef struct { uint64_t v; } vaddr_t;
typedef struct { uint64_t v; } pfn_t;
typedef struct { uint64_t v; } npages_t;
typedef struct { uint64_t v; } pte_t;

#define PAGE_SHIFT 12

enum {
    PAGE_BYTES = 1 << PAGE_SHIFT,
    PAGES_PER_2M = 512, /* frames of a block; entries of a paging structure */
};

#define KIB 1024UL
#define MIB (1024UL * KIB)
#define GIB (1024UL * MIB)
#define TIB (1024UL * GIB)

static inline paddr_t paddr(uint64_t bytes) { return (paddr_t){bytes}; }
static inline vaddr_t vaddr(uint64_t bytes) { return (vaddr_t){bytes}; }
static inline pfn_t pfn(uint64_t number) { return (pfn_t){number}; }
static inline npages_t npages(uint64_t count) { return (npages_t){count}; }

static inline paddr_t pfn_to_paddr(pfn_t f) { return paddr(f.v << PAGE_SHIFT); }
static inline pfn_t paddr_to_pfn(paddr_t a) { return pfn(a.v >> PAGE_SHIFT); }
static inline pfn_t pfn_add(pfn_t f, uint64_t frames) { return pfn(f.v + frames); }

static inline vaddr_t vaddr_add(vaddr_t a, uint64_t bytes) { return vaddr(a.v + bytes); }
static inline vaddr_t vaddr_add_pages(vaddr_t a, uint64_t pages) { return vaddr(a.v + (pages << PAGE_SHIFT)); }
static inline vaddr_t vaddr_page(vaddr_t a) { return vaddr(a.v & ~(uint64_t)(PAGE_BYTES - 1)); }
static inline uint64_t vaddr_page_number(vaddr_t a) { return a.v >> PAGE_SHIFT; }
static inline uint64_t page_offset_bytes(uint64_t address) { return address & (PAGE_BYTES - 1); }
static inline bool is_page_aligned(uint64_t address) { return page_offset_bytes(address) == 0; }

static inline uint64_t pages_to_bytes(npages_t n) { return n.v << PAGE_SHIFT; }
/* Whole pages in `bytes`, the rest dropped. */
static inline npages_t bytes_to_pages_down(uint64_t bytes) { return npages(bytes >> PAGE_SHIFT); }
/* Pages needed to hold `bytes`; no overflow for any argument. */
static inline npages_t bytes_to_pages_up(uint64_t bytes)
{
    return npages((bytes >> PAGE_SHIFT) + (page_offset_bytes(bytes) != 0));
}

/* Pointers and addresses; a pointer here is always a kernel (or host) virtual address. */
static inline void *vaddr_to_ptr(vaddr_t a) { return (void *)(uintptr_t)a.v; }
static inline vaddr_t ptr_to_vaddr(const void *p) { return vaddr((uintptr_t)p); }

#endif
