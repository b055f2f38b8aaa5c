/*
 * The stacks that blocks lie on: those of a region, by how free they are, and an owner's lists.
 *
 * A block that is nobody's current one lies on the stack that its free count says. A push moves it up when its count
 * passes a border; nothing moves it down: frames are drawn from current blocks only (those lie nowhere), and who draws
 * from another restacks it. So a pair of alloc and free never moves a block to and fro.
 */
#include "pmm/block.h"

#define ALWAYS_INLINE __attribute__((always_inline)) static inline /* what they share is computed once */

ALWAYS_INLINE uint32_t *stack_head(struct pmm_region *r, const struct pmm_block *b, unsigned stack)
{
    if (stack == STACK_WHOLE) {
        return &r->whole;
    }
    return stack == STACK_HOLED ? &r->holed : &r->stacks[class_of(b)][stack];
}

/* The stack became empty or not: keep the masks and the region's lists right. */
ALWAYS_INLINE void stack_changed(struct pmm *pmm, struct pmm_region *r, unsigned class, unsigned stack)
{
    if (stack == STACK_HOLED) {
        supply_update(pmm, r, PMM_SUPPLY_HOLED, r->holed != PMM_NO_BLOCK);
        return;
    }
    if (stack == STACK_WHOLE) {
        supply_update(pmm, r, PMM_SUPPLY_WHOLE, r->whole != PMM_NO_BLOCK);
        return;
    }
    unsigned bit = 1U << stack;
    bool empty = r->stacks[class][stack] == PMM_NO_BLOCK;
    r->masks[class] = (uint8_t)(empty ? r->masks[class] & ~bit : r->masks[class] | bit);
    supply_update(pmm, r, (enum pmm_supply)class, r->masks[class] != 0);
}

/* `moves`: to another stack of its class at once; whether the region has such blocks does not change. */
ALWAYS_INLINE void unstack(struct pmm *pmm, struct pmm_block *b, bool moves)
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
    if (b->next == PMM_NO_BLOCK && moves) {
        r->masks[class_of(b)] = (uint8_t)(r->masks[class_of(b)] & ~(1U << stack));
    } else if (b->next == PMM_NO_BLOCK) {
        stack_changed(pmm, r, class_of(b), stack);
    }
}

void block_unstack(struct pmm *pmm, struct pmm_block *b) { unstack(pmm, b, false); }

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
    } else {
        stack_changed(pmm, r, class_of(b), stack);
    }
}

/* A block with nothing in use forgets its stack: all its frames are free from its mark on, in order of address. */
static void start_anew(struct pmm *pmm, struct pmm_block *b)
{
    if (b->usable == PMM_BLOCK_FRAMES) {
        b->top = 0;
        b->loose = 0;
        carved_set(b, 0);
    }
    uint64_t above = (uint64_t)(b - pmm->blocks) + 1;
    const struct pmm_region *r = &pmm->regions[b->region];
    if (above >= r->watermark) {
        return;
    }
    if (r->gaps != PMM_NO_BLOCK && above % (PAGE_BYTES / PMM_BLOCK_BYTES) == 0) {
        part_becomes_head(pmm, r, above); /* its descriptor may not be there */
    } else if (pmm->blocks[above].mode == PMM_BLOCK_RUN_PART) {
        pmm->blocks[above].mode = PMM_BLOCK_RUN_HEAD;
    }
}

void block_restack(struct pmm *pmm, struct pmm_block *b)
{
    if (b == &pmm->low || !block_has_stack(b) || b->stack == STACK_CURRENT) {
        return; /* these lie on no stack */
    }
    unsigned stack = STACK_NONE;
    if (b->owner != 0 && b->free != b->usable) {
        stack = b->free > 0 ? STACK_OWNER_PARTLY : STACK_OWNER_FULL;
    } else if (b->free == b->usable && b->free > 0) {
        if (b->owner != 0) {
            owner_lose_block(pmm, b); /* restacks it: it is nobody's now */
            return;
        }
        start_anew(pmm, b);
        stack = b->usable == PMM_BLOCK_FRAMES ? STACK_WHOLE : STACK_HOLED;
    } else if (b->free > 0) {
        stack = (b->free - 1U) / STACK_FRAMES;
    }
    if (stack == b->stack) {
        return;
    }
    unstack(pmm, b, stack < PMM_STACKS && b->stack < PMM_STACKS);
    if (stack >= STACK_OWNER_PARTLY && stack != STACK_NONE) {
        owner_list_add(pmm, b, stack);
    } else if (stack != STACK_NONE) {
        stack_push(pmm, b, stack);
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
    return &pmm->blocks[r->stacks[kind][__builtin_ctz(r->masks[kind])]];
}

/* The node and class have none any more. => the block that it was, lying nowhere, or `none`. */
static struct pmm_block *current_drop(struct pmm *pmm, unsigned node, unsigned class)
{
    struct pmm_block *b = pmm->current[node][class];
    pmm->current[node][class] = &pmm->none;
    pmm->currents = (uint16_t)(pmm->currents & ~current_bit(node, class));
    return b;
}

static void current_put(struct pmm *pmm, struct pmm_block *b, unsigned node, unsigned class)
{
    pmm->currents = (uint16_t)(pmm->currents | current_bit(node, class));
    lane_set(b, (b->lane & ~(unsigned)LANE_CLASS) | class);
    pmm->current[node][class] = b;
}

void current_retire(struct pmm *pmm, unsigned node, unsigned class)
{
    struct pmm_block *b = current_drop(pmm, node, class);
    b->stack = STACK_NONE;
    if (b->free > 0) {
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

void current_set(struct pmm *pmm, struct pmm_block *b, unsigned node, unsigned class)
{
    for (unsigned bits = b->stack == STACK_CURRENT ? pmm->currents : 0; bits != 0; bits &= bits - 1) {
        unsigned bit = (unsigned)__builtin_ctz(bits);
        if (pmm->current[bit / PMM_CLASSES][bit % PMM_CLASSES] == b) {
            current_drop(pmm, bit / PMM_CLASSES, bit % PMM_CLASSES);
        }
    }
    current_retire(pmm, node, class);
    block_unstack(pmm, b);
    b->stack = STACK_CURRENT;
    current_put(pmm, b, node, class);
}
