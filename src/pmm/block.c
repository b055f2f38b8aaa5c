/*
 * One block: its stack of free frames, and the region's stacks of blocks.
 *
 * A block that is nobody's current one lies on the stack that its free count says, and `rise` is the count at which a
 * free must move it. Nothing moves it down: frames are drawn from current blocks only (those lie nowhere), and who
 * draws from another restacks it. So a pair of alloc and free never moves a block to and fro.
 */
#include "pmm/internal.h"

uint64_t block_take(struct pmm *pmm, struct pmm_block *b, unsigned code)
{
    uint64_t first = block_first(pmm, b);
    if (b->top != 0) {
        return block_pop(pmm, b, first, code);
    }
    return block_carve(pmm, b, first, code);
}

/* Carve up to `index`: free frames passed go on the stack, the lowest on top. */
static void carve_up_to(struct pmm *pmm, struct pmm_block *b, uint64_t first, unsigned index)
{
    for (unsigned i = index; i > b->carved; i--) {
        if (pmm->states[first + i - 1] == CODE_NEVER) {
            block_push(pmm, b, first + i - 1);
            b->free--; /* it was counted already, as never carved */
            pmm->regions[b->region].free--;
        }
    }
    b->carved = index > b->carved ? (uint16_t)index : b->carved;
}

void block_take_range(struct pmm *pmm, struct pmm_block *b, uint64_t first, uint64_t end)
{
    uint64_t start = block_first(pmm, b);
    carve_up_to(pmm, b, start, (unsigned)(end - start));
    unsigned above = 0;
    for (unsigned code = b->top; code != 0;) {
        uint64_t frame = start + code - CODE_LINK;
        unsigned below = pmm->states[frame] == code ? 0 : pmm->states[frame];
        if (frame < first || frame >= end) {
            above = code;
        } else {
            pmm->states[frame] = 1;
            b->free--;
            pmm->regions[b->region].free--;
            if (above == 0) {
                b->top = (uint16_t)below;
            } else {
                pmm->states[start + above - CODE_LINK] = (uint16_t)(below == 0 ? above : below);
            }
        }
        code = below;
    }
    block_restack(pmm, b);
}

/* ---- The region's stacks ---- */

static uint32_t *stack_head(struct pmm_region *r, unsigned stack)
{
    if (stack == STACK_WHOLE) {
        return &r->whole;
    }
    return stack == STACK_HOLED ? &r->holed : &r->stacks[stack / PMM_STACKS][stack % PMM_STACKS];
}

/* The stack became empty or not: keep the masks and the region's lists right. */
static void stack_changed(struct pmm *pmm, struct pmm_region *r, unsigned stack)
{
    if (stack >= STACK_HOLED) {
        supply_update(pmm, r, PMM_SUPPLY_IDLE, r->holed != PMM_NO_BLOCK || r->whole != PMM_NO_BLOCK);
        return;
    }
    unsigned class = stack / PMM_STACKS;
    unsigned bit = 1U << (stack % PMM_STACKS);
    bool empty = *stack_head(r, stack) == PMM_NO_BLOCK;
    r->masks[class] = (uint8_t)(empty ? r->masks[class] & ~bit : r->masks[class] | bit);
    supply_update(pmm, r, (enum pmm_supply)class, r->masks[class] != 0);
}

void block_unstack(struct pmm *pmm, struct pmm_block *b)
{
    unsigned stack = b->stack;
    if (stack == STACK_NONE) {
        return;
    }
    struct pmm_region *r = &pmm->regions[b->region];
    b->stack = STACK_NONE;
    if (b->next != PMM_NO_BLOCK) {
        pmm->blocks[b->next].prev = b->prev;
    }
    if (b->prev != PMM_NO_BLOCK) {
        pmm->blocks[b->prev].next = b->next;
        return;
    }
    *stack_head(r, stack) = b->next;
    if (b->next == PMM_NO_BLOCK) {
        stack_changed(pmm, r, stack);
    }
}

static void stack_push(struct pmm *pmm, struct pmm_block *b, unsigned stack)
{
    struct pmm_region *r = &pmm->regions[b->region];
    uint32_t *head = stack_head(r, stack);
    uint32_t self = (uint32_t)(b - pmm->blocks);
    b->stack = (uint8_t)stack;
    b->next = *head;
    b->prev = PMM_NO_BLOCK;
    *head = self;
    if (b->next != PMM_NO_BLOCK) {
        pmm->blocks[b->next].prev = self;
    } else {
        stack_changed(pmm, r, stack);
    }
}

void block_restack(struct pmm *pmm, struct pmm_block *b)
{
    if (b == &pmm->low || b == pmm->current[0] || b == pmm->current[1]) {
        return; /* these lie on no stack, and their `rise` is RISE_NEVER */
    }
    unsigned stack = STACK_NONE;
    if (b->free == 0) {
        b->rise = 1;
    } else if (b->free == b->usable) {
        stack = b->usable == PMM_BLOCK_FRAMES ? STACK_WHOLE : STACK_HOLED;
        b->rise = RISE_NEVER;
    } else {
        unsigned level = (b->free - 1U) / STACK_FRAMES;
        unsigned rise = (level + 1) * STACK_FRAMES + 1;
        stack = b->class * (unsigned)PMM_STACKS + level;
        b->rise = (uint16_t)(rise < b->usable ? rise : b->usable);
    }
    if (stack != b->stack) {
        block_unstack(pmm, b);
        if (stack != STACK_NONE) {
            stack_push(pmm, b, stack);
        }
    }
}

void current_retire(struct pmm *pmm, unsigned class)
{
    struct pmm_block *b = pmm->current[class];
    pmm->current[class] = &pmm->none;
    pmm->current_first[class] = 0;
    if (b != &pmm->none) {
        block_restack(pmm, b);
    }
}

void current_set(struct pmm *pmm, struct pmm_block *b, unsigned class)
{
    block_unstack(pmm, b);
    b->class = (uint8_t)class;
    b->rise = RISE_NEVER;
    pmm->current[class] = b;
    pmm->current_first[class] = block_first(pmm, b);
}

/* ---- A block's first codes ---- */

static void fill(struct pmm *pmm, uint64_t from, uint64_t to, unsigned code)
{
    for (; from < to; from++) {
        pmm->states[from] = (uint16_t)code;
    }
}

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* Codes of a block whose states are all zero, as the lists say. Returns true when it is all RAM and nothing is held. */
static bool write_codes(struct pmm *pmm, uint64_t start, uint64_t end)
{
    static const uint16_t code_of_kind[] = {
        [HOLD_RESERVED] = CODE_RESERVED, [HOLD_USED] = 1, [HOLD_METADATA] = CODE_METADATA};
    bool plain = start != 0;
    uint64_t at = start;
    for (size_t i = run_at(pmm, start); i < pmm->run_count && pmm->runs[i].first.v < end; i++) {
        uint64_t first = clamp(pmm->runs[i].first.v, start, end);
        plain = plain && first == at;
        fill(pmm, at, first, CODE_ABSENT);
        at = clamp(run_end(pmm->runs[i]), start, end);
    }
    plain = plain && at == end;
    fill(pmm, at, end, CODE_ABSENT);
    for (size_t i = hold_at(pmm, start); i < pmm->hold_count && pmm->holds[i].first.v < end; i++) {
        struct frame_hold h = pmm->holds[i];
        plain = false;
        fill(pmm, clamp(h.first.v, start, end), clamp(hold_end(h), start, end), code_of_kind[h.kind]);
    }
    if (start == 0 && pmm->states[0] == CODE_NEVER) {
        pmm->states[0] = CODE_RESERVED; /* frame 0 is never handed out */
    }
    plain = plain && !ranges_overlap(start, end, pmm->claim_first, pmm->claim_end);
    fill(pmm, clamp(pmm->claim_first, start, end), clamp(pmm->claim_end, start, end), 1);
    return plain;
}

/* Descriptor of frames [from, to) whose codes are written. */
static void set_up(struct pmm *pmm, struct pmm_block *b, uint64_t from, uint64_t to, bool plain)
{
    uint64_t start = block_first(pmm, b);
    unsigned usable = plain ? (unsigned)(to - from) : 0, free = usable, carved = index_in_block(from);
    for (uint64_t f = from; !plain && f < to; f++) {
        unsigned code = pmm->states[f];
        bool is_count = code_is_count(code);
        usable += code == CODE_NEVER || is_count || code == CODE_METADATA;
        free += code == CODE_NEVER;
        carved = is_count ? (unsigned)(f - start) + 1 : carved;
    }
    b->free = (uint16_t)free;
    b->usable = (uint16_t)usable;
    b->carved = (uint16_t)index_in_block(from);
    carve_up_to(pmm, b, start, carved); /* PMM-I4: no count beyond the mark */
}

void block_write(struct pmm *pmm, struct pmm_region *r, uint64_t block, unsigned class, uint64_t paid,
                 uint64_t paid_end)
{
    uint64_t start = block_start(block), end = block_start(block + 1);
    bool plain = write_codes(pmm, start, end);
    for (uint64_t f = clamp(paid, start, end); f < paid_end && f < end; f++) {
        plain = false;
        pmm->states[f] = pmm->states[f] == CODE_NEVER ? CODE_METADATA : pmm->states[f];
    }
    struct pmm_block *b = &pmm->blocks[block];
    *b = (struct pmm_block){.region = (uint16_t)(r - pmm->regions), .mode = PMM_BLOCK_OPEN, .class = (uint8_t)class,
                            .stack = STACK_NONE, .next = PMM_NO_BLOCK, .prev = PMM_NO_BLOCK, .gap_next = PMM_NO_BLOCK};
    uint64_t from = start;
    if (block == 0) {
        pmm->low = *b;
        pmm->low.rise = RISE_NEVER;
        from = frames_below_1m();
        set_up(pmm, &pmm->low, 0, from, false);
    }
    set_up(pmm, b, from, end, plain);
}
