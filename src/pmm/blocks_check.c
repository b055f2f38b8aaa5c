/*
 * The validator's look at one block: its descriptor against its frames' codes.
 */
#include "pmm/check.h"
#include "pmm/codes.h"

struct tally { /* frames of a block, by what their codes say */
    uint64_t links, never, holes, used, metadata, reserved, bad, cached, lost, retained;
    uint64_t links_of[PMM_BLOCK_FRAMES / EIGHTH_FRAMES];
    uint64_t like_free[PMM_BLOCK_FRAMES / EIGHTH_FRAMES]; /* in use, but a quick look takes them for free */
    bool hidden; /* where the mark's eighth has loose frames, no code in it from the mark on is a free one's */
};

/* What a walk over the stack found. */
struct depth {
    size_t all, of[PMM_BLOCK_FRAMES / EIGHTH_FRAMES];
};

/* PMM-I2: walk the stack, marking frames. => false: it is broken. */
static bool stack_depth(struct check *c, const struct pmm_block *b, uint64_t start, struct depth *depth)
{
    uint64_t seen[PMM_BLOCK_FRAMES / 64] = {0};
    for (unsigned code = b->top; code != 0; depth->all++) {
        unsigned index = code - CODE_LINK;
        if (!code_is_link(code) || index >= b->carved || !code_is_link(code_get(c->pmm, start + index))) {
            wrong(c, "PMM-I2: block %#lx: code %#x on the stack is no free carved frame", block_of(start), code);
            return false;
        }
        if ((seen[index / 64] >> (index % 64) & 1) != 0) {
            wrong(c, "PMM-I2: block %#lx: frame %u is on the stack twice", block_of(start), index);
            return false;
        }
        seen[index / 64] |= 1ULL << (index % 64);
        depth->of[index / EIGHTH_FRAMES]++;
        unsigned below = code_get(c->pmm, start + index);
        code = below == code ? 0 : below;
    }
    return true;
}

/* PMM-I3: the stack that this block belongs on. */
static unsigned stack_wanted(const struct pmm *pmm, const struct pmm_block *b)
{
    if (b == &pmm->low || !block_has_stack(b)) {
        return STACK_NONE;
    }
    for (unsigned i = 0; i < pmm->node_count * PMM_CLASSES; i++) {
        if (b == pmm->current[i / PMM_CLASSES][i % PMM_CLASSES]) {
            return STACK_CURRENT;
        }
    }
    if (b->owner != 0) {
        return b->free > 0 ? STACK_OWNER_PARTLY : STACK_OWNER_FULL;
    }
    if (b->free == 0) {
        return STACK_NONE;
    }
    if (b->free == b->usable) {
        return b->usable == PMM_BLOCK_FRAMES ? STACK_WHOLE : STACK_HOLED;
    }
    return (b->free - 1U) / STACK_FRAMES;
}

/* Frames whose codes mean something: those below the mark. */
static struct tally take_tally(struct check *c, const struct pmm_block *b, uint64_t from, uint64_t to)
{
    const struct pmm *pmm = c->pmm;
    struct tally t = {.hidden = true};
    uint64_t start = block_start(block_of(from));
    for (uint64_t f = from; f < to; f++) {
        unsigned code = code_get(pmm, f);
        bool carved = f - start < b->carved;
        size_t run = run_at(pmm, f);
        bool is_ram = run < pmm->run_count && pmm->runs[run].first.v <= f;
        t.never += !carved && (is_ram || !b->late);
        t.holes += !carved && !is_ram;
        if (code_is_drawn(code) && (!carved || b->owner != 0)) {
            wrong(c, "PMM-I11: a magazine gave frame %#lx out, says its code %#x, but %s", f, code,
                  carved ? "an owner has its block" : "it lies beyond the carve mark");
        }
        if (!carved) {
            bool is_searched = (b->loose >> (f - start) / EIGHTH_FRAMES & 1) != 0;
            t.hidden = t.hidden && !(is_searched && code_is_link(code));
            if (b->mode != PMM_BLOCK_CLOSED && !is_ram && (!b->late || f - start == b->carved)) {
                wrong(c, "PMM-I4: frame %#lx is not RAM and lies beyond the carve mark %u", f, b->carved);
            }
            continue;
        }
        t.links += code_is_link(code);
        t.links_of[index_in_block(f) / EIGHTH_FRAMES] += code_is_link(code);
        t.like_free[index_in_block(f) / EIGHTH_FRAMES] += code_is_count(code) && (code & CODE_LIKE_FREE) != 0;
        t.used += code_is_used(code);
        t.cached += code == CODE_CACHED;
        t.metadata += code == CODE_METADATA;
        t.reserved += code == CODE_RESERVED;
        t.bad += code == CODE_BAD;
        t.lost += code == CODE_LOST;
        t.retained += code_is_used(code) && !code_is_unshared(code) && code != CODE_ZERO;
        if (b->mode != PMM_BLOCK_CLOSED && code_is_absent(code) == is_ram) {
            wrong(c, "PMM-I6: frame %#lx is %s and has code %#x", f, is_ram ? "RAM" : "not RAM", code);
        }
        if (code > CODE_LAST && !code_is_link(code) && b->mode != PMM_BLOCK_CLOSED) {
            wrong(c, "PMM-I2: frame %#lx has the unknown code %#x", f, code);
        }
    }
    return t;
}

static void check_stack_of(struct check *c, const struct pmm_block *b, uint64_t start, const struct tally *t)
{
    struct depth depth = {0, {0}};
    bool is_sound = stack_depth(c, b, start, &depth);
    if (b->free != t->links + t->never) {
        wrong(c, "PMM-I2: block %#lx: %zu on the stack, %lu link codes, %lu never carved, free says %u",
              block_of(start), depth.all, t->links, t->never, b->free);
    }
    for (unsigned q = 0; q < ARRAY_LEN(depth.of) && is_sound; q++) { /* what is free and not on the stack is loose */
        bool says = (b->loose >> q & 1) != 0, is = t->links_of[q] != depth.of[q];
        if (is != says && !(says && t->like_free[q] > 0)) {
            wrong(c, "PMM-I2: block %#lx: eighth %u has %lu link codes, %zu on the stack, and its loose bit is %u",
                  block_of(start), q, t->links_of[q], depth.of[q], says);
        }
    }
    if (b->late != (t->holes > 0)) {
        wrong(c, "PMM-I4: block %#lx: late says %u, and %lu frames from its mark %u on are not RAM", block_of(start),
              b->late, t->holes, b->carved);
    }
    if (!t->hidden) {
        wrong(c, "PMM-I2: block %#lx: a code behind the mark %u looks like a loose frame", block_of(start), b->carved);
    }
    uint64_t usable = t->links + t->never + t->used + t->cached + t->metadata;
    if (b->usable != usable || b->retained != t->retained) {
        wrong(c, "PMM-I2: block %#lx: usable says %u, the states %lu; retained says %u, the states %lu",
              block_of(start), b->usable, usable, b->retained, t->retained);
    }
}

void check_block(struct check *c, const struct pmm_block *b, uint64_t from, uint64_t to, struct census *census)
{
    uint64_t start = block_start(block_of(from));
    if (b->stack != stack_wanted(c->pmm, b)) {
        wrong(c, "PMM-I3: block %#lx with %u free is on stack %u, not %u", block_of(start), b->free, b->stack,
              stack_wanted(c->pmm, b));
    }
    census->on_stack[class_of(b)][b->stack <= STACK_NONE ? b->stack : (unsigned)STACK_NONE]++;
    if (block_is_run(b) || b->mode == PMM_BLOCK_CACHED) {
        if (b->free != 0 || b->carved != 0 || b->top != 0 || b->usable != PMM_BLOCK_FRAMES || b->retained != 0 ||
            b->loose != 0 || b->late) {
            wrong(c, "PMM-I4: block %#lx is handed out whole and counts free %u, carved %u, top %#x, usable %u",
                  block_of(start), b->free, b->carved, b->top, b->usable);
        }
        for (uint64_t f = from; f < to; f++) {
            if (code_is_drawn(code_get(c->pmm, f))) {
                wrong(c, "PMM-I11: a magazine gave frame %#lx out, says its code, but its block is whole", f);
            }
        }
        *(block_is_run(b) ? &c->used : &c->cached) += PMM_BLOCK_FRAMES;
        return;
    }
    struct tally t = take_tally(c, b, from, to);
    if (b->mode == PMM_BLOCK_CLOSED) { /* whatever is not in use in it is lost */
        uint64_t ram = 0;
        for (uint64_t f = from; f < to; f++) {
            size_t run = run_at(c->pmm, f);
            ram += run < c->pmm->run_count && c->pmm->runs[run].first.v <= f;
        }
        uint64_t gone = ram - t.used - t.cached - t.metadata;
        c->reserved += gone;
        c->bad += t.bad;
        c->lost += gone - t.reserved - t.bad;
    } else {
        check_stack_of(c, b, start, &t);
        c->reserved += t.reserved + t.bad + t.lost;
        c->bad += t.bad;
        c->lost += t.lost;
        c->free += t.links + t.never;
        census->free += t.links + t.never;
    }
    c->used += t.used;
    c->cached += t.cached;
    c->metadata += t.metadata;
}
