/*
 * The validator's look at what is outside the regions: magazines, the zero pool, owners.
 */
#include "pmm/check.h"
#include "pmm/zero_pool.h"

/* Is this frame one that a magazine may hold? Each is met once: its code is turned for the time being. */
static bool is_cached(const struct pmm *pmm, uint64_t frame)
{
    struct pmm_frame f = pmm_query(pmm, pfn(frame));
    return f.state == PMM_STATE_CACHED;
}

/* How often a frame stands in all of them before this place. Quadratic in at most a few hundred frames. */
static bool stands_before(const struct pmm_magazine *m, uint32_t at)
{
    for (uint32_t i = 0; i < at; i++) {
        if (m->frames[i] == m->frames[at]) {
            return true;
        }
    }
    return false;
}

/* => frames in the zero pool */
static uint64_t check_zero_pool(struct check *c)
{
    const struct pmm *pmm = c->pmm;
    if (zeroed_frames(pmm) > pmm->zero_capacity) {
        wrong(c, "PMM-I9: %lu frames in a zero pool with room for %zu", zeroed_frames(pmm), pmm->zero_capacity);
        return 0;
    }
    for (unsigned class = 0; class < PMM_CLASSES; class++) {
        for (size_t i = 0; i < pmm->zero_count[class]; i++) {
            pfn_t frame = *zero_pool_place(pmm, class, i);
            if (!is_cached(pmm, frame.v)) {
                wrong(c, "PMM-I9: frame %#lx in the zero pool is no cached one", frame.v);
            }
        }
    }
    return zeroed_frames(pmm);
}

/* PMM-I11: the blocks whose codes this CPU trusts are of one region, open, and of its magazines' lane. */
static bool trusts_rightly(const struct pmm *pmm, const struct pmm_cpu *cpu)
{
    uint64_t first = block_of(cpu->drawn_first), end = first + block_of(cpu->drawn_count);
    const struct pmm_region *r = region_find(pmm, first);
    bool ok = r != NULL && first != 0 && end <= r->watermark && cpu->drawn_count % PMM_BLOCK_FRAMES == 0
              && (unsigned)r->node << LANE_NODE_SHIFT == cpu->lane && r->zone >= pmm->cache_zone && !pmm->has_closed;
    for (uint64_t block = first; ok && block < end; block++) {
        ok = block_is_open(pmm, r, block);
    }
    return ok;
}

/* PMM-I9: with the count of CACHED codes equal to the frames that stand somewhere, none stands twice. */
void check_cached(struct check *c)
{
    const struct pmm *pmm = c->pmm;
    uint64_t frames = 0;
    for (size_t i = 0; i < pmm->cpu_count; i++) {
        for (unsigned k = 0; k < PMM_CLASSES * 2; k++) {
            const struct pmm_magazine *m = magazine_of(&pmm->cpus[i], k);
            for (uint32_t at = 0; at < magazine_count(m) && at < PMM_MAGAZINE_FRAMES; at++, frames++) {
                if (!is_cached(pmm, m->frames[at]) || stands_before(m, at)) {
                    wrong(c, "PMM-I9: CPU %zu: frame %#lx in a magazine is no cached one, or stands there twice", i,
                          m->frames[at]);
                }
            }
            if (magazine_count(m) > PMM_MAGAZINE_FRAMES || pmm->cpus[i].whole_count > PMM_WHOLE_CACHED) {
                wrong(c, "PMM-I9: CPU %zu: a magazine of %u frames", i, magazine_count(m));
            }
        }
    }
    for (size_t i = 0; i < pmm->cpu_count; i++) {
        for (uint32_t at = 0; at < pmm->cpus[i].whole_count && at < PMM_WHOLE_CACHED; at++) {
            uint64_t block = pmm->cpus[i].whole[at];
            if (!is_cached(pmm, block_start(block)) || pmm->blocks[block].mode != PMM_BLOCK_CACHED) {
                wrong(c, "PMM-I9: CPU %zu: block %#lx, ready to be handed out whole, is not cached", i, block);
            }
            frames += PMM_BLOCK_FRAMES;
        }
        if (pmm->cpus[i].drawn_count != 0 && !trusts_rightly(pmm, &pmm->cpus[i])) {
            wrong(c, "PMM-I11: CPU %zu trusts the codes of %#lx frames from %#lx on, which are not all its own", i,
                  pmm->cpus[i].drawn_count, pmm->cpus[i].drawn_first);
        }
    }
    frames += check_zero_pool(c);
    if (frames != c->cached) {
        wrong(c, "PMM-I9: %lu frames stand in magazines and the zero pool, %lu have the code", frames, c->cached);
    }
}

/* One list of an owner: counts blocks and the frames in use in them. */
static bool check_list(const struct pmm *pmm, unsigned owner, uint32_t head, unsigned stack, uint64_t *blocks,
                       uint64_t *used, uint32_t in_zone[PMM_ZONES])
{
    uint32_t prev = PMM_NO_BLOCK;
    for (uint32_t at = head; at != PMM_NO_BLOCK; at = pmm->blocks[at].next) {
        const struct pmm_region *r = region_find(pmm, at);
        if (r == NULL || !block_is_open(pmm, r, at) || ++*blocks > pmm->whole_total) {
            return false;
        }
        const struct pmm_block *b = &pmm->blocks[at];
        if (b->owner != owner || b->stack != stack || b->prev != prev || (b->lane & LANE_DIRECT) == 0) {
            return false;
        }
        *used += (uint64_t)b->usable - b->free;
        in_zone[r->zone]++;
        prev = at;
    }
    return true;
}

void check_owners(struct check *c)
{
    const struct pmm *pmm = c->pmm;
    size_t open = 0, partly = 0, listed = 0;
    uint32_t in_zone[2][PMM_ZONES] = {{0}}; /* blocks with free frames, and without */
    for (size_t i = 0; i < pmm->owner_capacity; i++) {
        const struct pmm_owner *o = &pmm->owners[i];
        if (o->is_open == 0) {
            continue;
        }
        open++;
        partly += o->partly != PMM_NO_BLOCK;
        uint64_t blocks = 0, used = 0;
        unsigned owner = (unsigned)i + 1;
        bool sound = check_list(pmm, owner, o->partly, STACK_OWNER_PARTLY, &blocks, &used, in_zone[0])
                     && check_list(pmm, owner, o->full, STACK_OWNER_FULL, &blocks, &used, in_zone[1]);
        if (!sound || blocks != o->blocks || used != o->in_own) {
            wrong(c, "PMM-I10: owner %u: %lu blocks and %lu frames on its lists, charged for %u and %lu", owner, blocks,
                  used, o->blocks, o->in_own);
        }
    }
    for (uint32_t at = pmm->owners_partly; at != 0 && listed <= open; at = pmm->owners[at - 1].next_open) {
        listed++;
    }
    for (unsigned zone = 0; zone < PMM_ZONES; zone++) {
        if (in_zone[0][zone] != pmm->owned_partly[zone]) {
            wrong(c, "PMM-I10: zone %u has %u blocks of owners with free frames, counted %u", zone, in_zone[0][zone],
                  pmm->owned_partly[zone]);
        }
    }
    unsigned zones = 0;
    for (unsigned zone = 0; zone < PMM_ZONES; zone++) {
        zones |= (unsigned)(pmm->owned_partly[zone] > 0) << zone;
    }
    if (zones != pmm->owned_zones) {
        wrong(c, "PMM-I10: owners' blocks have free frames in zones %#x, remembered are %#x", zones, pmm->owned_zones);
    }
    if (open != pmm->owner_count || listed != partly) {
        wrong(c, "PMM-I10: %zu owners are open, counted %zu; %zu have free frames, listed %zu", open, pmm->owner_count,
              partly, listed);
    }
}
