/* The structs behind aspace.h. Read-only but for src/aspace/. */
#ifndef CAIRN_ASPACE_ASPACE_TYPES_H
#define CAIRN_ASPACE_ASPACE_TYPES_H

#include "aspace/page_index.h"
#include "aspace/stock.h"
#include "lib/avl.h"
#include "vmm/vmm_share.h"

/* Spaces that descend from one by cloning: private pages are at the same address in all that have them. */
struct aspace_family {
    unsigned id;
    unsigned members;
    struct aspace *first;
};

struct aspace {
    _Alignas(16) struct space tables; /* its page tables: what the CPU sees. Rights fit below an address (segments) */
    struct aspaces *system;           /* null: destroyed */
    struct avl_tree mappings;         /* by address */
    struct avl_node *asked;           /* its root, where questions begin; null: they begin with its segments */
    unsigned segments;                /* that it may use */
    struct arena *arena;              /* addresses of the private part; null: none was wanted yet */
    struct aspace_limits limits;
    npages_t pages;                   /* in mappings */
    size_t ranges;                    /* mappings */
    struct aspace_family *family;
    struct aspace *relative;          /* the next one of the family */
    struct aspace *next, *previous;   /* all of the system */
    bool gives;                       /* it has shared something, once */
    /* Of a withdrawal under way (gifts.c): null and 0 between calls. */
    struct aspace *next_giver;
    unsigned marks;
};

struct aspaces {
    struct vmm *vmm;
    struct aspace *first;             /* all spaces, the newest first */
    struct arena global;              /* addresses of the global part */
    struct arena_reserve nodes;       /* of this and of the spaces' arenas */
    struct page_index node_pages;     /* their pages, numbered, by address */
    unsigned arenas;                  /* of spaces */
    struct stock stock;               /* memory for all below */
    size_t reserved;                  /* pages of it that the call under way relies on: not to be trimmed */
    pfn_t recent;                     /* that object_page_get gave last: not to be dropped in the same call */
    struct pool mappings, objects, families, loans, segments;
    struct page_index object_of;      /* object by its id */
    struct page_index family_of;      /* family by its id */
    struct page_index used_for;       /* reverse index: by frame number; reverse.h */
    struct page_index slots;          /* segment by the number of its GiB */
    struct aspace segment_tables;     /* has the tables of all segments (segment.c); made with the first one */
    unsigned next_object, next_family;
    unsigned reclaim_next;            /* object at which the search for clean pages goes on */
    pfn_t zero;                       /* the zero frame */
    bool busy;                        /* a call is in the middle of a change: a callback must not begin another */
};

#endif
