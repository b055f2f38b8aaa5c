/* What tests of spaces begin and end with: a VMM, a system of spaces on it, three spaces, and every frame back. */
#ifndef CAIRN_TEST_UNIT_ASPACE_BED_H
#define CAIRN_TEST_UNIT_ASPACE_BED_H

#include "aspace/object.h"
#include "unit/vmm_bed.h"

enum { ASPACE_BED_SPACES = 3 };
enum { AR = VMM_READ, ARW = VMM_READ | VMM_WRITE, ARX = VMM_READ | VMM_EXECUTE };

/* Begins a 1 GiB part of the private part, where nothing is. */
#define AT_PRIVATE 0x0000012340000000

struct aspace_bed {
    struct vmm *vmm;
    struct space *home;     /* current when the test began */
    struct aspaces system;
    struct aspace a, b, c;
    bool has_spaces;
    uint64_t frames;        /* in use before */
};

/* => false: no VMM, the test has failed. The bed is large: static. */
bool aspace_bed_open(struct aspace_bed *bed);
/*
 * The validators; then back to the first space, the three spaces are destroyed, unless the test did so. No object may
 * be held any more. Every frame is back.
 */
void aspace_bed_close(struct aspace_bed *bed);
/* The validators of spaces and of the VMM; complaints become notes. */
bool aspace_bed_check(struct aspace_bed *bed);

/* Frames in use, but for pages of bookkeeping: the reverse index may get one for the place where a page goes. */
uint64_t aspace_bed_frames(const struct aspace_bed *bed);

/* A request with a tag; anonymous. */
struct aspace_request want(npages_t pages, unsigned rights, unsigned flags);
struct aspace_request want_at(uint64_t va, npages_t pages, unsigned rights, unsigned flags);
struct aspace_request want_object(struct object *object, uint64_t first, npages_t pages, unsigned rights,
                                  unsigned flags);
/* Map it, and expect that it works. => the first page; 0: it failed */
vaddr_t map_it(struct aspace *space, struct aspace_request request);

/*
 * A number that stands for all that callers can see of the spaces: mappings with all that is said of them, limits and
 * figures, frames behind the pages, addresses of objects. Equal before and after: nothing was changed.
 */
uint64_t aspace_bed_digest(struct aspace_bed *bed);
/* Mappings of the space, in words, as notes. */
void aspace_bed_note(struct aspace *space);

/* A pager for tests: page p holds words of value `seed` + p. It counts, and fails when told to. */
struct test_pager {
    struct vmm *vmm;
    uint64_t seed;
    unsigned filled, gone;
    enum status answer; /* of fill; OK: it fills */
};
struct pager test_pager(struct test_pager *p, struct vmm *vmm, uint64_t seed);

/* Map at an address, write, read, through the space's own page tables (the space must be the current one). */
void aspace_bed_switch(struct aspace_bed *bed, struct aspace *space);

#endif
