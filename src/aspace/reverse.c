/*
 * Who maps this frame: the reverse index.
 *
 * 1. One word a frame says what it was used for last: page P of object O, or the private page at page number P of the
 *    spaces of family F. It is a hint. Nothing is done when a frame is freed: a word is believed only when the object
 *    says that this frame is its page P, or the tables of a space of the family show it at P. So a stale word leads
 *    nowhere, and a new owner writes over it.
 *
 * 2. That is enough, because a private page never moves: clone gives it to others at the same address, copy on write
 *    replaces the frame (which is noted anew) and not the address, and when private memory becomes an object, the
 *    object's pages are noted. A frame that is an object's and shown in a private mapping (copy on write, not written
 *    to yet) is the object's.
 *
 * 3. Cost: an index look-up, a look-up by id, then the object's mappings of that page (O(log mappings + users)), or a
 *    walk of four loads in each member of the family. 8 bytes a frame in use, in pages of 512 words.
 *
 * 4. Frames of physical objects are no RAM of ours, and may be in several objects. These are asked one by one:
 *    O(objects).
 *
 * Rejected: a list of users for each frame (memory for each leaf, and every clone of a table would have to add to 512
 * lists); a descriptor for each frame (16 bytes and more for all of RAM, used or not).
 */
#include "aspace/segment_list.h"

enum {
    WORD_PAGE_BITS = 35, /* page numbers of the user half, and of objects */
};

static_assert(ASPACE_PAGES_MAX <= 1ULL << WORD_PAGE_BITS, "an object's page fits");

/* For who is in no hurry: page_index_get is inline, a hundred bytes and more each time. */
static uint64_t get(const struct page_index *index, uint64_t number)
{
    const uint64_t *word = page_index_look(index, number);
    return word != NULL ? *word : 0;
}

unsigned reverse_next_id(const struct page_index *index, unsigned from)
{
    const unsigned last = (1U << ASPACE_ID_BITS) - 1;
    unsigned id = from;
    while (id == 0 || id > last || get(index, id) != 0) {
        id = id >= last ? 1 : id + 1;
    }
    return id;
}

static uint64_t make_word(uint64_t kind, unsigned id, uint64_t page)
{
    return kind | ((uint64_t)id & ((1ULL << ASPACE_ID_BITS) - 1)) << WORD_PAGE_BITS | page;
}
static uint64_t word_id(uint64_t word) { return (word & ~REVERSE_OBJECT) >> WORD_PAGE_BITS; }
static uint64_t word_page(uint64_t word) { return word & ((1ULL << WORD_PAGE_BITS) - 1); }

/* One function for all who note. */
__attribute__((noinline)) static void note(struct aspaces *system, pfn_t frame, uint64_t word)
{
    if (!page_index_replace(&system->used_for, frame.v, word)) {
        page_index_set(&system->used_for, &system->stock, frame.v, word);
    }
}

void reverse_note_object(struct aspaces *system, pfn_t frame, const struct object *object, uint64_t page)
{
    note(system, frame, make_word(REVERSE_OBJECT, object->id, page));
}

void reverse_note_private(struct aspaces *system, pfn_t frame, const struct aspace *space, vaddr_t va)
{
    note(system, frame, make_word(0, space->family->id, vaddr_page_number(va)));
}

bool reverse_is_object(const struct aspaces *system, pfn_t frame, const struct object *object, uint64_t page)
{
    return get(&system->used_for, frame.v) == make_word(REVERSE_OBJECT, object->id, page);
}

bool reverse_is_private(const struct aspaces *system, pfn_t frame, const struct aspace *space, vaddr_t va)
{
    return get(&system->used_for, frame.v) == make_word(0, space->family->id, vaddr_page_number(va));
}

/*
 * The tree may have to grow first to the height that the last frame of RAM takes, one node a level, and each frame may
 * be in a leaf node of its own, with all nodes on the way but the root.
 */
size_t reverse_missing(const struct aspaces *system, uint64_t frames)
{
    const uint64_t end = pmm_frames_end(system->vmm->pmm).v;
    unsigned levels = system->used_for.levels > 0 ? system->used_for.levels : 1;
    while (end > 1ULL << levels * PAGE_INDEX_DIGIT) {
        levels++;
    }
    return levels - system->used_for.levels + (levels - 1) * (size_t)frames;
}

uint64_t *reverse_words(const struct aspaces *system, pfn_t frame)
{
    static_assert((int)PAGE_INDEX_WORDS == (int)PMM_BLOCK_FRAMES, "a node of words for a block of frames");
    return page_index_look(&system->used_for, frame.v - frame.v % PMM_BLOCK_FRAMES);
}

struct frame_use reverse_read(const struct aspaces *system, pfn_t frame, uint64_t word)
{
    const uint64_t id = word_id(word), page = word_page(word);
    if ((word & REVERSE_OBJECT) == 0) {
        return (struct frame_use){NULL, (void *)(uintptr_t)(word != 0 ? get(&system->family_of, id) : 0),
                                  page};
    }
    struct object *o = (void *)(uintptr_t)get(&system->object_of, id);
    const bool has = o != NULL && o->kind != OBJECT_PHYSICAL && page < o->pages.v &&
                     object_resident(o, page).v == frame.v;
    return (struct frame_use){has ? o : NULL, NULL, page};
}

struct frame_use reverse_find(const struct aspaces *system, pfn_t frame)
{
    return reverse_read(system, frame, get(&system->used_for, frame.v));
}

/* ---- Who maps it ---- */

struct users {
    struct aspaces *system;
    pfn_t frame;
    aspace_user_fn *visit;
    void *ctx;
    bool found, stopped;
};

static void tell(struct users *u, struct aspace *space, vaddr_t va)
{
    u->found = true;
    u->stopped = u->stopped || !u->visit(u->ctx, space, va);
}

static bool shows(struct users *u, struct aspace *space, vaddr_t va)
{
    struct vmm_walk w;
    return vmm_translate(u->system->vmm, &space->tables, va, &w) == STATUS_OK && w.present &&
           paddr_to_pfn(w.address).v == u->frame.v;
}

/* All who have the segment. */
static void users_of_segment(struct users *u, const struct segment *s, vaddr_t va)
{
    struct segment_entry e = {0};
    while (!u->stopped && segment_list_next(s, &e)) {
        tell(u, e.space, va);
    }
}

/* A private mapping of the object may have a page of its own there. */
static void users_of_object(struct users *u, const struct object *object, uint64_t page)
{
    const struct mapping *m = object_overlap_first(object, page, page + 1);
    for (; m != NULL && !u->stopped; m = object_overlap_next(m, page, page + 1)) {
        const vaddr_t va = vaddr_add_pages(m->base, page - m->first);
        if (is_segments_space(m->space)) {
            users_of_segment(u, object->segment, va);
        } else if ((m->flags & ASPACE_PRIVATE) == 0 || shows(u, m->space, va)) {
            tell(u, m->space, va);
        }
    }
}

static void users_in_family(struct users *u, const struct aspace_family *family, uint64_t page)
{
    const vaddr_t va = vaddr_add_pages(vaddr(0), page);
    for (struct aspace *space = family->first; space != NULL && !u->stopped; space = space->relative) {
        if (shows(u, space, va)) {
            tell(u, space, va);
        }
    }
}

static void users_of_physical(struct users *u)
{
    const struct page_index *objects = &u->system->object_of;
    const uint64_t end = 1ULL << ASPACE_ID_BITS;
    for (uint64_t id = page_index_next(objects, 1, end); id < end && !u->stopped;
         id = page_index_next(objects, id + 1, end)) {
        const struct object *o = (const void *)(uintptr_t)get(objects, id);
        if (o->kind == OBJECT_PHYSICAL && u->frame.v - o->first.v < o->pages.v) {
            users_of_object(u, o, u->frame.v - o->first.v);
        }
    }
}

static void users_of_frame(struct users *u)
{
    const struct frame_use use = reverse_find(u->system, u->frame);
    if (use.object != NULL) {
        users_of_object(u, use.object, use.page);
    } else if (use.family != NULL) {
        users_in_family(u, use.family, use.page);
    }
    if (!u->found && !u->stopped) {
        users_of_physical(u);
    }
}

enum status aspaces_users(struct aspaces *system, pfn_t frame, aspace_user_fn *visit, void *ctx)
{
    struct users u = {system, frame, visit, ctx, false, false};
    const enum status s = aspaces_begin(system, "aspaces_users");
    if (s != STATUS_OK) {
        return s;
    }
    if (frame.v != system->zero.v) { /* that one is everybody's */
        users_of_frame(&u);
    }
    aspaces_done(system);
    return u.found ? STATUS_OK : STATUS_ABSENT;
}
