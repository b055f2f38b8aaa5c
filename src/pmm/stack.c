/*
 * The stacks that blocks lie on: those of a region, by how free they are, and an owner's lists.
 *
 * A block that is nobody's current one lies on the stack that its free count says. A push moves it up when its count
 * passes a border; nothing moves it down: frames are drawn from current blocks only (those lie nowhere), and who draws
 * from another restacks it. So a pair of alloc and free never moves a block to and fro.
 */
#include "pmm/block.h"
#include "pmm/never.h"

#define ALWAYS_INLINE __attribute__((always_inline)) static inline /* what they share is computed once */

ALWAYS_INLINE uint32_t *stack_head(struct pmm_region *r, const struct pmm_block *b, unsigned stack)
{
    if (stack == STACK_WHOLE) {
        return &r->whole;
    }
    return stack == STACK_HOLED ? &r->holed : &r->stacks[class_of(b)][stack];
}

ALWAYS_INLINE enum pmm_supply kind_of(const struct pmm_block *b, unsigned stack)
{
    return stack == STACK_HOLED ? PMM_SUPPLY_HOLED : stack == STACK_WHOLE ? PMM_SUPPLY_WHOLE
                                                                          : (enum pmm_supply)class_of(b);
}

ALWAYS_INLINE void unstack(struct pmm *pmm, struct pmm_block *b)
{
    unsigned stack = b->stack;
    if (stack == STACK_NONE || stack == STACK_CURRENT) {
        return;
    }
    if (stack >= STACK_OWNER_PARTLY) {
        owner_list_remove(pmm, b);
        return;
    }
    struct pmm_region *r = &pmm->regions[b->region];
    b->stack = STACK_NONE;
    pmm->whole_blocks -= stack == STACK_WHOLE;
    if (b->next != PMM_NO_BLOCK) {
        pmm->blocks[b->next].prev = b->prev;
    }
    if (b->prev != PMM_NO_BLOCK) {
        pmm->blocks[b->prev].next = b->next;
        return;
    }
    *stack_head(r, b, stack) = b->next;
    if (b->next != PMM_NO_BLOCK) {
        return;
    }
    if (stack >= PMM_STACKS || (r->masks[class_of(b)] &= (uint8_t)~(1U << stack)) == 0) {
        supply_leave(pmm, r, kind_of(b, stack));
    }
}

void block_unstack(struct pmm *pmm, struct pmm_block *b) { unstack(pmm, b); }

ALWAYS_INLINE void stack_push(struct pmm *pmm, struct pmm_block *b, unsigned stack)
{
    struct pmm_region *r = &pmm->regions[b->region];
    uint32_t *head = stack_head(r, b, stack);
    uint32_t self = (uint32_t)(b - pmm->blocks);
    b->stack = (uint8_t)(stack & 0xFU);
    b->next = *head;
    b->prev = PMM_NO_BLOCK;
    *head = self;
    pmm->whole_blocks += stack == STACK_WHOLE;
    if (b->next != PMM_NO_BLOCK) {
        pmm->blocks[b->next].prev = self;
        return;
    }
    if (stack < PMM_STACKS) {
        r->masks[class_of(b)] |= (uint8_t)(1U << stack);
    }
    if ((r->listed >> kind_of(b, stack) & 1) == 0) {
        supply_join(pmm, b->region, kind_of(b, stack));
    }
}

void above_becomes_head(struct pmm *pmm, const struct pmm_block *b)
{
    uint64_t above = (uint64_t)(b - pmm->blocks) + 1;
    const struct pmm_region *r = &pmm->regions[b->region];
    if (above >= r->watermark) {
        return;
    }
    bool is_lone = has_gaps(r) && (has_few_blocks(r) || above % (PAGE_BYTES / PMM_BLOCK_BYTES) == 0);
    if (is_lone && !block_is_open(pmm, r, above)) {
        return; /* its descriptor may not be there */
    }
    if (pmm->blocks[above].mode == PMM_BLOCK_RUN_PART) {
        pmm->blocks[above].mode = PMM_BLOCK_RUN_HEAD;
    }
}

/* A block with nothing in use forgets its stack: all its frames are free from its mark on, in order of address. */
ALWAYS_INLINE void start_anew(struct pmm *pmm, struct pmm_block *b)
{
    if (b->usable == PMM_BLOCK_FRAMES) {
        b->top = 0;
        b->loose = 0;
        b->is_near = 0;
        carved_set(b, 0);
    }
    above_becomes_head(pmm, b);
}

/* A block that is nobody's own, from or to where others than partly free ones lie, or none. */
static void restack(struct pmm *pmm, struct pmm_block *b)
{
    unsigned stack = STACK_NONE;
    if (b->free == b->usable && b->free > 0) {
        start_anew(pmm, b);
        stack = b->usable == PMM_BLOCK_FRAMES ? STACK_WHOLE : STACK_HOLED;
    } else if (b->free > 0) {
        stack = (b->free - 1U) / STACK_FRAMES;
    }
    if (stack == b->stack) {
        return;
    }
    unstack(pmm, b);
    if (stack != STACK_NONE) {
        stack_push(pmm, b, stack);
    }
}

static void restack_owned(struct pmm *pmm, struct pmm_block *b)
{
    unsigned stack = b->free > 0 ? STACK_OWNER_PARTLY : STACK_OWNER_FULL;
    if (stack != b->stack) {
        unstack(pmm, b);
        owner_list_add(pmm, b, stack);
    }
}

void block_restack(struct pmm *pmm, struct pmm_block *b)
{
    if (b == &pmm->low || !block_has_stack(b) || b->stack == STACK_CURRENT) {
        return; /* these lie on no stack */
    }
    if (b->owner != 0 && (b->free == 0 || b->free != b->usable)) {
        restack_owned(pmm, b);
        return;
    }
    if (b->owner != 0) {
        owner_disown(pmm, b); /* nothing of it is in use */
    }
    if (b->stack < PMM_STACKS && b->free != b->usable) {
        if (b->free == 0 || (b->free - 1U) / STACK_FRAMES != b->stack) {
            stack_move(pmm, b);
        }
    } else {
        restack(pmm, b);
    }
}

void block_place(struct pmm *pmm, struct pmm_block *b)
{
    if (b->owner != 0 || b->free == b->usable || b->mode != PMM_BLOCK_OPEN) {
        block_restack(pmm, b);
    } else if (b->free > 0) {
        stack_push_partly(pmm, b);
    }
}

void block_place_opened(struct pmm *pmm, struct pmm_block *b)
{
    if (b->free > 0 && b->free == b->usable) { /* no run that began in it goes on above: it was never used */
        stack_push(pmm, b, b->usable == PMM_BLOCK_FRAMES ? STACK_WHOLE : STACK_HOLED);
    } else if (b->free > 0) {
        stack_push_partly(pmm, b);
    }
}

struct pmm_block *stack_first(struct pmm *pmm, struct pmm_region *r, enum pmm_supply kind)
{
    if (kind == PMM_SUPPLY_HOLED) {
        return &pmm->blocks[r->holed];
    }
    if (kind == PMM_SUPPLY_WHOLE) {
        return &pmm->blocks[r->whole];
    }
    return stack_fullest(pmm, r, kind);
}

/* The node and class have none any more. => the block that it was, lying nowhere, or `none`. */
static struct pmm_block *current_drop(struct pmm *pmm, unsigned node, unsigned class)
{
    struct pmm_block *b = pmm->current[node][class];
    pmm->current[node][class] = &pmm->none;
    pmm->currents = (uint16_t)(pmm->currents & ~current_bit(node, class));
    return b;
}

void current_retire(struct pmm *pmm, unsigned node, unsigned class)
{
    struct pmm_block *b = current_drop(pmm, node, class);
    b->stack = STACK_NONE;
    if (b->owner == 0 && b->mode == PMM_BLOCK_OPEN && b->free != b->usable && b->free > 0) {
        stack_push_partly(pmm, b);
    } else {
        block_restack(pmm, b);
    }
}

void currents_retire(struct pmm *pmm)
{
    for (unsigned bits = pmm->currents; bits != 0; bits &= bits - 1) {
        unsigned bit = (unsigned)__builtin_ctz(bits);
        current_retire(pmm, bit / PMM_CLASSES, bit % PMM_CLASSES);
    }
}

struct pmm_block *current_take_whole(struct pmm *pmm, unsigned bit)
{
    unsigned at = (unsigned)__builtin_ctz(bit);
    struct pmm_block *b = current_drop(pmm, at / PMM_CLASSES, at % PMM_CLASSES);
    b->stack = STACK_NONE;
    start_anew(pmm, b);
    return b;
}

void current_set(struct pmm *pmm, struct pmm_block *b, unsigned node, unsigned class)
{
    if (b->stack == STACK_CURRENT) {
        for (unsigned bits = pmm->currents; bits != 0; bits &= bits - 1) {
            unsigned bit = (unsigned)__builtin_ctz(bits);
            if (pmm->current[bit / PMM_CLASSES][bit % PMM_CLASSES] == b) {
                current_drop(pmm, bit / PMM_CLASSES, bit % PMM_CLASSES);
            }
        }
    } else {
        unstack(pmm, b);
    }
    current_put(pmm, b, node, class);
}
