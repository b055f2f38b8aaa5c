/* Accesses to spaces as a CPU makes them: a fault where the tables do not permit one, and then the access itself. */
#ifndef CAIRN_TEST_UNIT_ASPACE_TOUCH_H
#define CAIRN_TEST_UNIT_ASPACE_TOUCH_H

#include "unit/aspace_bed.h"

/* Mappings that a test accesses are without VMM_USER. */
void put_word(struct aspace_bed *bed, struct aspace *space, vaddr_t va, uint64_t word);
uint64_t get_word(struct aspace_bed *bed, struct aspace *space, vaddr_t va);

/* What a fault answers. */
enum status touch(struct aspace *space, vaddr_t va, unsigned access);
/* The frame that the tables show at `va`; UINT64_MAX: none. And the rights that they leave; 0: none. */
uint64_t frame_shown(struct aspace *space, vaddr_t va);
unsigned rights_shown(struct aspace *space, vaddr_t va);

/* Pages in the space's tables, of its own (not borrowed, not shared with clones). */
uint64_t pages_shown(const struct aspace *space);

/*
 * The call with no frame to be had, then with one, two, ... until it does not answer NOMEM; nothing may have changed
 * when it does. => the number of frames that were enough. Stock is given back each time.
 */
uint64_t with_every_number_of_frames(struct aspace_bed *bed, enum status (*call)(void));

#endif
