/* What the rivals share: spaces, the ways to reach a table, the batched walk. */
#ifndef CAIRN_TEST_RIVALS_PAGING_RIVAL_H
#define CAIRN_TEST_RIVALS_PAGING_RIVAL_H

#include "arch/arch.h"
#include "arch/layout.h"
#include "model/model.h"
#include "model/overheard.h"
#include "rivals/paging/paging.h"

/*
 * How a rival comes to the entries of a table.
 *
 * Recursive ones know the address of every entry, through their own slot or through the foreign one between open and
 * close. The others show the table's frame somewhere.
 */
struct reach {
    bool is_recursive;
    /* What the boot code would have made, beyond the model's own tables; null: nothing. */
    enum status (*prepare)(void);
    /* Where any frame can be read and written, until hide. Recursive: one at a time, for zeroing and for new roots. */
    vaddr_t (*show)(pfn_t frame);
    void (*hide)(vaddr_t page);
    /* Recursive: the tables of another space. */
    void (*open)(pfn_t root);
    void (*close)(void);
};

extern const struct reach reach_recursive;

/* PML4 slot of the rivals' own kernel mappings: the first that the address map leaves free. */
enum { RIVAL_SLOT = LAYOUT_SLOT_TEMP + 1 };
static_assert(RIVAL_SLOT < LAYOUT_SLOT_BANK_FIRST && RIVAL_SLOT != LAYOUT_SLOT_SELF &&
                  RIVAL_SLOT != LAYOUT_SLOT_FOREIGN,
              "nothing else is there");

#define RIVAL_TABLE_BITS (PTE_P | PTE_W)
#define RIVAL_LEAF_BITS (PTE_P | PTE_W | PTE_XD)
#define RIVAL_RIGHTS_BITS (PTE_W | PTE_U | PTE_XD)

/* ---- recursive.c ---- */

/* The entry for `va` in the table of `level`, through the slot `last`: LAYOUT_SLOT_SELF or LAYOUT_SLOT_FOREIGN. */
vaddr_t recursive_entry(unsigned last, vaddr_t va, unsigned level);

/* ---- window.c ---- */

enum {
    WINDOW_PAGES = 512 * MIB / PAGE_BYTES,
    WINDOW_TABLES = WINDOW_PAGES / TABLE_ENTRIES, /* also the number of pages that show them */
};
/* The page used next, WINDOW_TABLES ... WINDOW_PAGES; tests move it to the end of a lap. */
extern unsigned window_next;

/* ---- spaces.c ---- */

enum status rival_start(const struct paging_subject *s);
enum status rival_create(const struct paging_subject *s, unsigned space);
enum status rival_destroy(const struct paging_subject *s, unsigned space);
enum status rival_switch_to(const struct paging_subject *s, unsigned space);
bool rival_keep_tables(const struct paging_subject *s, unsigned space, bool keep);
pfn_t rival_root(const struct paging_subject *s, unsigned space);
bool rival_is_current(unsigned space);

/* The model hears of frames that rivals take and give back, as of the product's. */
static inline enum status rival_take_frame(pfn_t *frame)
{
    return model_pmm_alloc(&model_machine->pmm, PMM_KERNEL, frame);
}
static inline enum status rival_free_frame(pfn_t frame) { return model_pmm_free(&model_machine->pmm, frame); }

/* Bits of a leaf with rights VMM_*. */
static inline uint64_t rival_rights(unsigned rights)
{
    return ((rights & VMM_WRITE) != 0 ? PTE_W : 0) | ((rights & VMM_USER) != 0 ? PTE_U : 0) |
           ((rights & VMM_EXECUTE) != 0 ? 0 : PTE_XD);
}

/* ---- batch.c ---- */

enum status batch_map(const struct paging_subject *s, unsigned space, vaddr_t va, pfn_t first, npages_t pages,
                      unsigned rights);
enum status batch_unmap(const struct paging_subject *s, unsigned space, vaddr_t va, npages_t pages);
enum status batch_protect(const struct paging_subject *s, unsigned space, vaddr_t va, npages_t pages, unsigned rights);

/* A subject of the batched walk. */
#define RIVAL_BATCHED(name_, reach_)                                                                     \
    .name = (name_), .reach = (reach_), .start = rival_start, .create = rival_create,                    \
    .destroy = rival_destroy, .switch_to = rival_switch_to, .keep_tables = rival_keep_tables,            \
    .map = batch_map, .unmap = batch_unmap, .protect = batch_protect, .root = rival_root

#endif
