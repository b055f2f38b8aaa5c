/*
 * The block near an owner: where its frames come from while it has no block of its own.
 *
 * The frames of one owner mostly go together, when it ends. So it matters less how full the blocks are that it draws
 * from than how many owners share each: an owner goes on drawing from the same partly free block, and not from one that
 * is near another owner while there are others. An emptier one lasts longer, and is for those who hold much: an owner
 * with few frames, which may not come to hold many more, takes one that is half full. When none is left, the oldest
 * block of those that owners have to themselves and did not fill serves everybody, before a whole one is broken.
 *
 * `near` and `is_near` are hints: the block lies on its stack as any other, and may be anybody's or nobody's when it is
 * looked at next.
 */
#include "pmm/owner.h"

/*
 * The block that was near this owner, whatever it is now; null: there was none. Descriptors stay backed, and those of
 * a region that went are zeroed: no block of the user class.
 */
static inline struct pmm_block *block_near(struct pmm *pmm, const struct pmm_owner *o)
{
    return o->near != PMM_NO_BLOCK ? &pmm->blocks[o->near] : NULL;
}

static inline void leave(struct pmm_owner *o, struct pmm_block *b)
{
    if (b != NULL) {
        b->is_near = 0;
    }
    o->near = PMM_NO_BLOCK;
}

void near_leave(struct pmm *pmm, struct pmm_owner *o) { leave(o, block_near(pmm, o)); }

/*
 * The stacks of partly free blocks for an owner that holds so many frames, a bit each: two neighbours, one up for each
 * half a block more that it holds; none from two blocks on. So owners of other sizes look at other blocks, though each
 * looks at two only.
 */
static inline unsigned stacks_fitting(const struct pmm_owner *o)
{
    enum { STEP = PMM_BLOCK_FRAMES / 2, STEPS = 4, FIRST = 3U << 1 /* 65 to 192 free frames */ };
    static_assert(FIRST << (STEPS - 1) < 1 << PMM_STACKS, "there are such stacks");
    const uint64_t step = (o->in_own + o->elsewhere) / STEP;
    return step < STEPS ? (unsigned)FIRST << step : 0;
}

/*
 * The emptiest of those that fit, or of all that r has, that is near nobody, if one of the first two is. Else the
 * first, and the second is near nobody from now on: its owner may have stopped growing long ago. More looks leave more
 * whole, and take longer (docs/design/0041-owner-policy.md).
 */
static struct pmm_block *emptiest(struct pmm *pmm, const struct pmm_owner *o, const struct pmm_region *r)
{
    const unsigned all = r->masks[PMM_USER], fitting = all & stacks_fitting(o), mask = fitting != 0 ? fitting : all;
    const unsigned level = 31 - (unsigned)__builtin_clz(mask), below = mask - (1U << level);
    struct pmm_block *first = &pmm->blocks[r->stacks[PMM_USER][level]];
    uint32_t next = first->next;
    if (first->is_near && next == PMM_NO_BLOCK && below != 0) {
        next = r->stacks[PMM_USER][31 - (unsigned)__builtin_clz(below)];
    }
    if (!first->is_near || next == PMM_NO_BLOCK) {
        return first;
    }
    struct pmm_block *second = &pmm->blocks[next];
    const bool is_near = second->is_near;
    second->is_near = 0;
    return is_near ? first : second;
}

/* Above 16 MiB, in the home node: low memory is served last, frame by frame. */
static struct pmm_block *choose(struct pmm *pmm, const struct pmm_owner *o)
{
    const unsigned home = home_node(pmm);
    for (enum pmm_zone zone = PMM_ZONE_HIGH; zone >= PMM_ZONE_4G; zone--) {
        const uint64_t kinds = (pmm->nodes_with[zone] & pmm->kinds_given) >> home;
        if ((kinds & KIND(PMM_SUPPLY_USER) & OF_ONE_NODE) != 0) {
            return emptiest(pmm, o, &pmm->regions[pmm->supply[PMM_SUPPLY_USER][zone][home]]);
        }
        if (pmm->node_count == 1 && tails_lie_in(pmm, zone)) {
            struct pmm_block *oldest = &pmm->blocks[pmm->owners[pmm->owners_partly - 1].partly];
            owner_lose_block(pmm, oldest);
            return oldest;
        }
        if ((kinds & KINDS_IDLE & OF_ONE_NODE) != 0) {
            return NULL; /* these come before a lower zone and another node */
        }
    }
    return NULL;
}

enum status near_take(struct pmm *pmm, struct pmm_owner *o, unsigned flags, uint64_t *frame)
{
    struct pmm_block *b = block_near(pmm, o);
    if (b == NULL || b->stack >= PMM_STACKS || class_of(b) != PMM_USER) {
        leave(o, b);
        b = choose(pmm, o);
        if (b == NULL) {
            return STATUS_ABSENT;
        }
        b->is_near = 1;
        o->near = (uint32_t)(b - pmm->blocks);
    }
    if (owner_draw(pmm, o, b, flags, frame) != STATUS_OK) {
        leave(o, b); /* another zone may have some for it */
        return STATUS_ABSENT;
    }
    o->elsewhere++;
    if (b->free % STACK_FRAMES == 0) {
        block_restack(pmm, b);
    }
    return STATUS_OK;
}
