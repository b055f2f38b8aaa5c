/*
 * Owners and the blocks of their own (pmm_owners.h). An owner's block lies on one of its owner's two lists, linked
 * through next and prev, so that it can be found when the owner goes; owners with a partly free block are a list
 * themselves, so that their frames can be found when memory is short.
 */
#include "pmm/owner.h"
#include "pmm/whole.h"

/* ---- Lists ---- */

/* Of the owner of b. Those that come are the last: whose block with free frames is the oldest gives it first. */
static void partly_changed(struct pmm *pmm, struct pmm_owner *o, const struct pmm_block *b, bool listed)
{
    uint32_t self = b->owner;
    uint32_t next = listed ? 0 : o->next_open, prev = listed ? pmm->owners_partly_last : o->prev_open;
    o->next_open = 0;
    o->prev_open = prev;
    *(prev != 0 ? &pmm->owners[prev - 1].next_open : &pmm->owners_partly) = listed ? self : next;
    *(next != 0 ? &pmm->owners[next - 1].prev_open : &pmm->owners_partly_last) = listed ? self : prev;
}

static inline void owned_partly_less(struct pmm *pmm, const struct pmm_block *b)
{
    unsigned zone = pmm->regions[b->region].zone;
    pmm->owned_partly[zone]--;
    pmm->owned_zones &= ~((pmm->owned_partly[zone] == 0 ? 1U : 0U) << zone);
}

__attribute__((always_inline)) static inline void list_add(struct pmm *pmm, struct pmm_owner *o, struct pmm_block *b,
                                                           unsigned stack)
{
    uint32_t *head = stack == STACK_OWNER_PARTLY ? &o->partly : &o->full;
    b->stack = (uint8_t)(stack & 0xFU);
    if (stack == STACK_OWNER_PARTLY) {
        unsigned zone = pmm->regions[b->region].zone;
        pmm->owned_partly[zone]++;
        pmm->owned_zones |= 1U << zone;
    }
    b->next = *head;
    b->prev = PMM_NO_BLOCK;
    *head = (uint32_t)(b - pmm->blocks);
    if (b->next != PMM_NO_BLOCK) {
        pmm->blocks[b->next].prev = *head;
    } else if (stack == STACK_OWNER_PARTLY) {
        partly_changed(pmm, o, b, true);
    }
}

void owner_list_add(struct pmm *pmm, struct pmm_block *b, unsigned stack)
{
    list_add(pmm, owner_of(pmm, b), b, stack);
}

__attribute__((always_inline)) static inline void list_remove(struct pmm *pmm, struct pmm_owner *o, struct pmm_block *b)
{
    unsigned stack = b->stack;
    b->stack = STACK_NONE;
    if (stack == STACK_OWNER_PARTLY) {
        owned_partly_less(pmm, b);
    }
    if (b->next != PMM_NO_BLOCK) {
        pmm->blocks[b->next].prev = b->prev;
    }
    if (b->prev != PMM_NO_BLOCK) {
        pmm->blocks[b->prev].next = b->next;
        return;
    }
    *(stack == STACK_OWNER_PARTLY ? &o->partly : &o->full) = b->next;
    if (stack == STACK_OWNER_PARTLY && b->next == PMM_NO_BLOCK) {
        partly_changed(pmm, o, b, false);
    }
}

void owner_list_remove(struct pmm *pmm, struct pmm_block *b) { list_remove(pmm, owner_of(pmm, b), b); }

/* ---- Blocks of its own ---- */

static void own(struct pmm *pmm, struct pmm_owner *o, struct pmm_block *b)
{
    b->owner = (uint16_t)(o - pmm->owners + 1);
    lane_set(b, b->lane | (unsigned)PMM_USER | LANE_DIRECT);
    o->blocks++;
}

void owner_disown(struct pmm *pmm, struct pmm_block *b)
{
    struct pmm_owner *o = owner_of(pmm, b);
    uint64_t used = (uint64_t)b->usable - b->free;
    if (b->stack != STACK_NONE) {
        list_remove(pmm, o, b);
    }
    o->in_own -= used;
    o->elsewhere += used;
    o->blocks--;
    b->owner = 0;
    if (pmm->regions[b->region].zone >= pmm->cache_zone) {
        lane_set(b, b->lane & ~(unsigned)LANE_DIRECT);
    }
}

void owner_lose_block(struct pmm *pmm, struct pmm_block *b)
{
    owner_disown(pmm, b);
    block_restack(pmm, b);
}

struct pmm_block *owners_yield_block(struct pmm *pmm)
{
    if (pmm->owners_partly == 0) {
        return NULL;
    }
    struct pmm_block *b = &pmm->blocks[pmm->owners[pmm->owners_partly - 1].partly];
    owner_disown(pmm, b);
    return b;
}

bool owners_give_block(struct pmm *pmm)
{
    struct pmm_block *b = owners_yield_block(pmm);
    if (b != NULL) {
        block_restack(pmm, b);
    }
    return b != NULL;
}

bool owners_may_have_more(const struct pmm *pmm)
{
    uint64_t free = pmm_free_frames(pmm);
    return block_start(pmm->whole_blocks) + pmm->untouched >= free - free / pmm->owner_guard;
}

/* Back to where it belongs after a frame less: with others of its owner, or, if all of it is free, to nobody. */
static inline void restack(struct pmm *pmm, struct pmm_owner *o, struct pmm_block *b)
{
    if (b->stack == STACK_NONE && b->owner != 0 && b->free > 0 && b->free != b->usable) {
        list_add(pmm, o, b, STACK_OWNER_PARTLY);
    } else if (b->free == 0 || b->stack != STACK_OWNER_PARTLY) {
        block_restack(pmm, b);
    }
}

/* Not inline: it is long, and all that owners draw comes through here. */
__attribute__((noinline)) enum status owner_draw(struct pmm *pmm, struct pmm_owner *o, struct pmm_block *b,
                                                 unsigned flags, uint64_t *frame)
{
    bool may = zone_leaves(pmm, (enum pmm_zone)pmm->regions[b->region].zone, flags, 1);
    uint64_t *account = may ? account_for(pmm, flags, 1) : NULL;
    if (account == NULL) {
        return STATUS_NOMEM;
    }
    if (block_take_one(pmm, b, frame, 1) == 0) {
        return STATUS_CORRUPT;
    }
    account_pay(pmm, account, 1);
    pmm->allocated++;
    o->drawn++;
    return STATUS_OK;
}

enum status owner_take(struct pmm *pmm, struct pmm_owner *o, unsigned flags, uint64_t *frame)
{
    enum status s = STATUS_OK;
    uint64_t last; /* this one stays for others */
    do {
        struct pmm_block *b = o->partly != PMM_NO_BLOCK ? &pmm->blocks[o->partly] : NULL;
        if (b == NULL) {
            b = take_whole(pmm, flags, &s, &last);
            if (b == NULL) {
                break;
            }
            own(pmm, o, b);
        }
        enum status drawn = owner_draw(pmm, o, b, flags, frame);
        if (drawn == STATUS_OK) {
            o->in_own++;
            restack(pmm, o, b);
            return STATUS_OK;
        }
        if (drawn == STATUS_NOMEM) {
            block_restack(pmm, b); /* one that it just got goes back */
            break;
        }
    } while (owner_may_take(pmm, o, flags));
    return s == STATUS_OK ? STATUS_ABSENT : s;
}

/* ---- Coming and going ---- */

enum status pmm_owner_open(struct pmm *pmm, unsigned *owner)
{
    lock_take(&pmm->lock);
    size_t place = 0;
    while (place < pmm->owner_capacity && pmm->owners[place].is_open != 0) {
        place++; /* O(owners): spaces come and go seldom */
    }
    if (place < pmm->owner_capacity) {
        pmm->owners[place] = (struct pmm_owner){
            .partly = PMM_NO_BLOCK, .full = PMM_NO_BLOCK, .near = PMM_NO_BLOCK, .is_open = 1};
        pmm->owner_count++;
        *owner = (unsigned)place + 1;
        trace(pmm, PMM_EVENT_OWNER_OPEN, 0, 0);
    }
    lock_drop(&pmm->lock);
    return place < pmm->owner_capacity ? STATUS_OK : STATUS_LIMIT; /* config.owner_capacity */
}

/*
 * Everything in use in it is free again. Where all 512 frames can be used, no code is looked at. false: it was found
 * corrupt and is closed now; what was used in it stays so.
 */
static bool take_back(struct pmm *pmm, struct pmm_block *b)
{
    uint64_t used = (uint64_t)b->usable - b->free, first = block_first(pmm, b);
    if (b->usable == PMM_BLOCK_FRAMES) {
        b->free = PMM_BLOCK_FRAMES;
    } else {
        for (unsigned i = 0; i < b->carved && b->free < b->usable; i++) {
            if (code_get(pmm, first + i) == 1 && !block_push(pmm, b, first + i)) {
                return false;
            }
        }
    }
    count_free_in(pmm, b, (int64_t)used);
    pmm->spare += used;
    pmm->freed += used;
    return true;
}

static void close_blocks(struct pmm *pmm, struct pmm_owner *o, const uint32_t *list, struct pmm_owner_end *end)
{
    while (*list != PMM_NO_BLOCK) {
        struct pmm_block *b = &pmm->blocks[*list];
        uint64_t used = (uint64_t)b->usable - b->free;
        if (b->retained == 0 && take_back(pmm, b)) {
            end->blocks.v++;
            end->frames.v += used;
            o->in_own -= used;
        } else {
            end->left.v += used;
        }
        if (b->owner != 0) {
            owner_lose_block(pmm, b);
        }
    }
}

enum status pmm_owner_close(struct pmm *pmm, unsigned owner, struct pmm_owner_end *end)
{
    struct pmm_owner_end sum = {{0}, {0}, {0}};
    lock_take(&pmm->lock);
    struct pmm_owner *o = owner_find(pmm, owner);
    if (o != NULL) {
        close_blocks(pmm, o, &o->partly, &sum);
        close_blocks(pmm, o, &o->full, &sum);
        near_leave(pmm, o);
        o->is_open = 0;
        pmm->owner_count--;
        trace(pmm, PMM_EVENT_OWNER_CLOSE, 0, sum.frames.v);
        emergency_top_up(pmm);
    }
    lock_drop(&pmm->lock);
    if (o == NULL) {
        return pmm_misuse(pmm, "pmm_owner_close: no owner %u is open (caller %p)", owner, __builtin_return_address(0));
    }
    if (end != NULL) {
        *end = sum;
    }
    return STATUS_OK;
}

static bool takes_back(const struct pmm *pmm, unsigned owner, uint64_t frame)
{
    const struct pmm_region *r = region_find(pmm, block_of(frame));
    if (owner == 0 || r == NULL || !block_is_open(pmm, r, block_of(frame)) || frame < frames_below_1m()) {
        return false;
    }
    const struct pmm_block *b = &pmm->blocks[block_of(frame)];
    return b->owner == owner && b->retained == 0 && index_in_block(frame) < b->carved && code_get(pmm, frame) == 1;
}

bool pmm_owner_takes_back(const struct pmm *pmm, unsigned owner, pfn_t frame)
{
    lock_take(lock_of(pmm));
    bool answer = takes_back(pmm, owner, frame.v);
    lock_drop(lock_of(pmm));
    return answer;
}

enum status pmm_uncharge(struct pmm *pmm, unsigned owner, npages_t n)
{
    lock_take(&pmm->lock);
    struct pmm_owner *o = owner_find(pmm, owner);
    uint64_t held = o == NULL ? 0 : o->elsewhere;
    bool right = o != NULL && n.v <= held;
    if (right) {
        o->elsewhere -= n.v;
    }
    lock_drop(&pmm->lock);
    if (!right) {
        return pmm_misuse(pmm, "pmm_uncharge: owner %u %s %lu frames outside its blocks, not %lu (caller %p)", owner,
                          o == NULL ? "is not open, and holds" : "holds", held, n.v, __builtin_return_address(0));
    }
    return STATUS_OK;
}

bool pmm_owner_stats(const struct pmm *pmm, unsigned owner, struct pmm_owner_stats *out)
{
    lock_take(lock_of(pmm));
    const struct pmm_owner *o = owner_find(pmm, owner);
    if (o != NULL) {
        *out = (struct pmm_owner_stats){npages(o->blocks), npages(o->in_own), npages(o->elsewhere), o->drawn};
    }
    lock_drop(lock_of(pmm));
    return o != NULL;
}

struct pmm_policy pmm_policy(const struct pmm *pmm)
{
    return (struct pmm_policy){npages(pmm->owner_threshold), pmm->owner_guard};
}

void pmm_policy_set(struct pmm *pmm, struct pmm_policy policy)
{
    lock_take(&pmm->lock);
    pmm->owner_threshold = policy.owner_threshold.v;
    pmm->owner_guard = policy.owner_guard;
    lock_drop(&pmm->lock);
}
