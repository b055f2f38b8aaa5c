/*
 * Ways to edit page tables, behind one interface: the product and its rivals, over the model machine (test/model/).
 * What each is good for stands in README.md.
 *
 * Spaces are numbers; space 0 is the one that the machine starts in. Ranges are page-aligned, in the user half. Unlike
 * the product, the rivals do not look before they change: what is mapped must not be mapped, what is unmapped or
 * protected must be; a wrong call ends where it is found, and what was done stays. So does what was mapped when memory
 * runs out. Their tables stay until the space goes; the product's may go back.
 *
 * One machine and one subject at a time: start() follows model_start(). One CPU.
 */
#ifndef CAIRN_TEST_RIVALS_PAGING_PAGING_H
#define CAIRN_TEST_RIVALS_PAGING_PAGING_H

#include "lib/status.h"
#include "vmm/vmm.h"

enum {
    PAGING_SPACES = 4,
    PAGING_SUBJECTS = 6,
    PAGING_FLUSH_PAGES_MAX = 32, /* as the product's: more pages than this are flushed by one CR3 load */
};

struct reach;

struct paging_subject {
    const char *name;
    const struct reach *reach; /* of a rival; the product has its own */
    bool maps_all_memory;      /* free frames too, so the model finds each one mapped when it goes back (R13) */
    enum status (*start)(const struct paging_subject *s);
    /* A new empty space. => OK; NOMEM. */
    enum status (*create)(const struct paging_subject *s, unsigned space);
    /* With all its tables; not the current one. */
    enum status (*destroy)(const struct paging_subject *s, unsigned space);
    enum status (*switch_to)(const struct paging_subject *s, unsigned space);
    /* Tables that become empty stay (true), or go back. => false: it does the other thing, whatever is asked for. */
    bool (*keep_tables)(const struct paging_subject *s, unsigned space, bool keep);
    /* The frames [first, first + pages), just mapped. Rights are VMM_*. */
    enum status (*map)(const struct paging_subject *s, unsigned space, vaddr_t va, pfn_t first, npages_t pages,
                       unsigned rights);
    enum status (*unmap)(const struct paging_subject *s, unsigned space, vaddr_t va, npages_t pages);
    enum status (*protect)(const struct paging_subject *s, unsigned space, vaddr_t va, npages_t pages,
                           unsigned rights);
    /* Time to spare before the next call: tables may be zeroed ahead. Null: nothing is done with it. => OK. */
    enum status (*idle)(const struct paging_subject *s);
    /* The PML4. */
    pfn_t (*root)(const struct paging_subject *s, unsigned space);
};

extern const struct paging_subject paging_cairn, paging_naive, paging_reload, paging_window, paging_ring, paging_direct;
/* The product's own. */
const struct vmm_counters *paging_cairn_counters(void);

/*
 * Violations that the model has found, but for those that maps_all_memory explains; model_want_violations first where
 * that is so.
 */
unsigned paging_violations(const struct paging_subject *s);

/* All of them, the product first. */
extern const struct paging_subject *const paging_subjects[PAGING_SUBJECTS];

#endif
