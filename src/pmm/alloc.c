/*
 * Frames one at a time: alloc, free, references, promises (see pmm.c, sections 3 and 4).
 */
#include "pmm/internal.h"

/* ---- Alloc ---- */

/*
 * Open a never-used block of the first region of this group. A user block is not made to pay while another can: that
 * one is opened first, for the kernel.
 */
static enum status open_fresh(struct pmm *pmm, unsigned class, unsigned group)
{
    struct pmm_region *r = &pmm->regions[pmm->supply[PMM_SUPPLY_FRESH][group]];
    uint64_t block = fresh_block(pmm, r);
    ASSERT(block != FRAME_NONE); /* a region on this list has a never-used block */
    if (block == FRAME_NONE) {
        return STATUS_CORRUPT;
    }
    bool user = (class & PMM_USER) != 0;
    if (user && open_cost(pmm, block).v > 0 && partly_free(pmm, 0) == NULL) {
        user = false;
    }
    return block_open(pmm, r, block, user);
}

/* A block for `class` from the first list that has one; null: there is none but by opening or sharing. */
static struct pmm_block *choose(struct pmm *pmm, unsigned class, unsigned group)
{
    const enum pmm_supply order[] = {(enum pmm_supply)class, PMM_SUPPLY_IDLE};
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        uint16_t region = pmm->supply[order[i]][group];
        if (region != PMM_NO_REGION) {
            return stack_first(pmm, &pmm->regions[region], order[i]);
        }
    }
    return NULL;
}

/*
 * Make a block with a free frame the current one of `class`. => OK; NOMEM: only frames below 1 MiB are left, if any;
 * CORRUPT.
 */
static enum status refill(struct pmm *pmm, unsigned class)
{
    current_retire(pmm, class);
    unsigned other = 1 - class;
    for (unsigned group = 0; group < PMM_GROUPS;) {
        struct pmm_block *b = choose(pmm, class, group);
        if (b != NULL) {
            current_set(pmm, b, class);
            return STATUS_OK;
        }
        if (pmm->supply[PMM_SUPPLY_FRESH][group] != PMM_NO_REGION) {
            enum status s = open_fresh(pmm, class, group);
            if (s != STATUS_OK) {
                return s;
            }
            group = 0; /* what was opened may lie in another region than was asked for */
        } else if (++group == PMM_GROUPS && pmm->current[other]->free > 0 &&
                   partly_free(pmm, other) == pmm->current[other]) {
            current_retire(pmm, other); /* to its class's stacks, or to the idle ones */
            group = 0;
        }
    }
    struct pmm_block *b = partly_free(pmm, other);
    if (b == NULL) {
        return STATUS_NOMEM;
    }
    current_set(pmm, b, class);
    return STATUS_OK;
}

static enum status take_below_1m(struct pmm *pmm, uint64_t *frame)
{
    struct pmm_region *r = &pmm->regions[0];
    bool never = r->base == 0 && !r->left_out && !block_is_open(pmm, r, 0);
    while (pmm->low.free == 0 && never && usable_count(pmm, 0, frames_below_1m()) > 0) {
        enum status s = block_open(pmm, r, 0, 0);
        if (s != STATUS_OK) {
            return s;
        }
        never = !block_is_open(pmm, r, 0);
    }
    if (pmm->low.free == 0) {
        return STATUS_NOMEM;
    }
    *frame = block_take(pmm, &pmm->low, 1);
    return STATUS_OK;
}

/* Kept out of line, like all that is rare here: inlined it would make the fast path save registers. */
__attribute__((noinline)) static enum status alloc_slow(struct pmm *pmm, unsigned flags, pfn_t *frame)
{
    if ((flags & ~(unsigned)(PMM_USER | PMM_PROMISED | PMM_BELOW_1M)) != 0) {
        return misuse("pmm_alloc: unknown flags %#x", flags);
    }
    bool promised = (flags & PMM_PROMISED) != 0;
    if (promised && pmm->promised == 0) {
        return misuse("pmm_alloc: PMM_PROMISED, but nothing is promised (flags %#x, free %lu)", flags, pmm->spare);
    }
    if (!promised && pmm->spare == 0) {
        return STATUS_NOMEM;
    }
    uint64_t taken;
    unsigned class = flags & PMM_USER;
    enum status s;
    if ((flags & PMM_BELOW_1M) != 0) {
        s = take_below_1m(pmm, &taken);
    } else {
        s = pmm->current[class]->free > 0 ? STATUS_OK : refill(pmm, class);
        if (s == STATUS_OK) {
            taken = block_take(pmm, pmm->current[class], 1);
        } else if (s == STATUS_NOMEM) {
            s = take_below_1m(pmm, &taken);
        }
    }
    if (s != STATUS_OK) {
        return s;
    }
    *(promised ? &pmm->promised : &pmm->spare) -= 1;
    pmm->allocated++;
    *frame = pfn(taken);
    return STATUS_OK;
}

enum status pmm_alloc(struct pmm *pmm, unsigned flags, pfn_t *frame)
{
    static_assert(PMM_KERNEL == 0 && PMM_USER == 1, "the class is the flag");
    if (__builtin_expect(flags <= PMM_USER && pmm->spare != 0, 1)) {
        struct pmm_block *b = pmm->current[flags];
        if (__builtin_expect(b->top != 0, 1)) {
            *frame = pfn(block_pop(pmm, b, pmm->current_first[flags], 1));
            pmm->spare--;
            pmm->allocated++;
            return STATUS_OK;
        }
        if (b->free != 0) {
            *frame = pfn(block_carve(pmm, b, pmm->current_first[flags], 1));
            pmm->spare--;
            pmm->allocated++;
            return STATUS_OK;
        }
    }
    return alloc_slow(pmm, flags, frame);
}

/* ---- Free ---- */

__attribute__((noinline)) static enum status rise(struct pmm *pmm, struct pmm_block *b)
{
    block_restack(pmm, b);
    return STATUS_OK;
}

/* Push a frame that nobody uses any more. => OK, always. */
static inline enum status put_back(struct pmm *pmm, struct pmm_block *b, uint64_t frame)
{
    block_push(pmm, b, frame);
    pmm->spare++;
    pmm->freed++;
    if (__builtin_expect(b->free == b->rise, 0)) {
        return rise(pmm, b);
    }
    return STATUS_OK;
}

__attribute__((noinline)) static enum status free_slow(struct pmm *pmm, const char *call, uint64_t frame)
{
    struct pmm_block *b = block_find(pmm, frame);
    if (b == NULL || pmm->states[frame] != 1) {
        return pmm_complain(pmm, call, frame, "not a frame in use exactly once");
    }
    return put_back(pmm, b, frame);
}

enum status pmm_free(struct pmm *pmm, pfn_t frame)
{
    uint64_t block = block_of(frame.v);
    const struct pmm_known *known = &pmm->known[group_of_block(block)];
    if (__builtin_expect(block - known->first < known->count && block != 0, 1)) {
        struct pmm_block *b = &pmm->blocks[block];
        /* The descriptor first: only an open block has states. */
        if (__builtin_expect(b->mode == PMM_BLOCK_OPEN && pmm->states[frame.v] == 1, 1)) {
            return put_back(pmm, b, frame.v);
        }
    }
    return free_slow(pmm, "pmm_free", frame.v);
}

enum status pmm_free_at(struct pmm *pmm, paddr_t address)
{
    if (!is_page_aligned(address.v)) {
        struct pmm_frame f = pmm_query(pmm, paddr_to_pfn(address));
        return misuse("pmm_free: address %#lx is not the start of a frame (frame at %#lx is %s, references %u)",
                      address.v, pfn_to_paddr(paddr_to_pfn(address)).v, pmm_state_name(f.state), f.references);
    }
    return pmm_free(pmm, paddr_to_pfn(address));
}

/* ---- References ---- */

enum status pmm_retain(struct pmm *pmm, pfn_t frame)
{
    struct pmm_block *b = block_find(pmm, frame.v);
    unsigned code = b == NULL ? CODE_ABSENT : pmm->states[frame.v];
    if (!code_is_count(code)) {
        return pmm_complain(pmm, "pmm_retain", frame.v, "not a frame in use");
    }
    if (code == CODE_COUNT_MAX) {
        return STATUS_LIMIT; /* PMM_REFERENCES_MAX */
    }
    pmm->states[frame.v] = (uint16_t)(code + 1);
    return STATUS_OK;
}

enum status pmm_release(struct pmm *pmm, pfn_t frame, bool *freed)
{
    struct pmm_block *b = block_find(pmm, frame.v);
    unsigned code = b == NULL ? CODE_ABSENT : pmm->states[frame.v];
    if (!code_is_count(code)) {
        return pmm_complain(pmm, "pmm_release", frame.v, "not a frame in use");
    }
    if (freed != NULL) {
        *freed = code == 1;
    }
    if (code > 1) {
        pmm->states[frame.v] = (uint16_t)(code - 1);
        return STATUS_OK;
    }
    return put_back(pmm, b, frame.v);
}

/* ---- Promises ---- */

enum status pmm_promise(struct pmm *pmm, npages_t n)
{
    if (n.v > pmm->spare) {
        return STATUS_NOMEM;
    }
    pmm->spare -= n.v;
    pmm->promised += n.v;
    return STATUS_OK;
}

enum status pmm_unpromise(struct pmm *pmm, npages_t n)
{
    if (n.v > pmm->promised) {
        return misuse("pmm_unpromise: %lu frames, but only %lu are promised", n.v, pmm->promised);
    }
    pmm->promised -= n.v;
    pmm->spare += n.v;
    return STATUS_OK;
}
