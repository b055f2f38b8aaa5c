/* The reverse index: whose page a frame is. The theory is in reverse.c. Private to src/aspace/ and its tests. */
#ifndef CAIRN_ASPACE_REVERSE_H
#define CAIRN_ASPACE_REVERSE_H

#include "aspace/object.h"

/*
 * A word for each frame: what it was used for last. A hint: who asks compares, so nothing is cleared when a frame goes.
 * Private pages: by family and page number of the address; pages of objects: by object and page.
 */
void reverse_note_object(struct aspaces *system, pfn_t frame, const struct object *object, uint64_t page);
void reverse_note_private(struct aspaces *system, pfn_t frame, const struct aspace *space, vaddr_t va);
/* Pages of stock that noting `frames` frames takes at most, whichever they are. O(1). */
size_t reverse_missing(const struct aspaces *system, uint64_t frames);
/*
 * The next id that `index` does not have, from `from` on: 1 to 2^ASPACE_ID_BITS - 1, and then from the beginning.
 * O(ids in use side by side there).
 */
unsigned reverse_next_id(const struct page_index *index, unsigned from);
/* Whose page a frame is: an object has it, or spaces of a family may show it at this page number; or neither. O(1). */
struct frame_use {
    struct object *object;
    const struct aspace_family *family;
    uint64_t page;
};
struct frame_use reverse_find(const struct aspaces *system, pfn_t frame);
/* The same of a frame whose word was read. */
struct frame_use reverse_read(const struct aspaces *system, pfn_t frame, uint64_t word);
/* What a word says, compared with nothing. */
#define REVERSE_OBJECT (1ULL << 63)
enum frame_kind { FRAME_UNKNOWN, FRAME_PRIVATE, FRAME_OF_OBJECT };
static inline enum frame_kind reverse_kind(uint64_t word)
{
    return word == 0 ? FRAME_UNKNOWN : (word & REVERSE_OBJECT) != 0 ? FRAME_OF_OBJECT : FRAME_PRIVATE;
}
/*
 * The words of the PMM_BLOCK_FRAMES frames of this one's block, for as long as the system lives: they lie in one node
 * of the index. Null: none of them was ever noted. A word that is not 0 may be written in place.
 */
uint64_t *reverse_words(const struct aspaces *system, pfn_t frame);
/* What `word` says is in this frame from now on; `place`: of its word, or null. */
static inline void reverse_note_word(struct aspaces *system, pfn_t frame, uint64_t word, uint64_t *place)
{
    if (place != NULL && *place != 0) {
        *place = word;
    } else {
        page_index_set(&system->used_for, &system->stock, frame.v, word);
    }
}
/* Is the frame known as this page? */
bool reverse_is_object(const struct aspaces *system, pfn_t frame, const struct object *object, uint64_t page);
bool reverse_is_private(const struct aspaces *system, pfn_t frame, const struct aspace *space, vaddr_t va);

#endif
