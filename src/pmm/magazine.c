/*
 * Magazines: frames ready for one CPU, two of 64 a class. The fast paths of alloc.c and free.c use the loaded one
 * alone, without the lock; everything here holds it. An empty pair is refilled from blocks, a full one flushed to them,
 * a magazine at a time, so that a CPU that allocates and frees by turns never comes here.
 *
 * Frames in a magazine are nobody's: they count as free, their code is CACHED. They are out of the blocks' counts, so a
 * block with one of them is not wholly free; whoever needs whole blocks, exact regions or the last frames drains first.
 */
#include "pmm/fast.h"
#include "pmm/run.h"
#include "pmm/zero_pool.h"

/*
 * A refill draws from one block, and a quarter of a magazine from a second where the first gave less than that and
 * there is one for the taking: that bounds its cost.
 */
enum { REFILL_BLOCKS_MAX = 2, REFILL_ENOUGH = PMM_MAGAZINE_FRAMES / 4, REFILL_MORE = PMM_MAGAZINE_FRAMES / 4 };

/* A frame that takes longer: its block becomes wholly free, lies elsewhere, or cannot take it, or it is none. */
__attribute__((noinline)) static void put_oddly(struct pmm *pmm, uint64_t frame)
{
    struct pmm_block *b = block_find(pmm, frame);
    if (b != NULL && code_get(pmm, frame) == CODE_CACHED) {
        put_frame(pmm, b, frame);
        return;
    }
    if (b != NULL && block_has_stack(b)) { /* somebody wrote over its code: nobody knows whose it is */
        code_set(pmm, frame, CODE_LOST);
        b->usable--;
        block_restack(pmm, b);
    }
    report(REPORT_CORRUPT, "pmm: a magazine holds the frame at %#lx, whose code is not that of a cached one",
           pfn_to_paddr(pfn(frame)).v);
    pmm->reserved++;
    pmm->lost++;
}

/* A flush takes no longer than for a magazine of usual frames: others count as so many more. */
enum { ODD_COST = 8, MOVE_COST = 4 };

/*
 * The frames go to their blocks, the last ones first, as many as that allows, one at least: put_frame for each, with
 * what is the same for most of one region done once.
 */
CACHE_LINE_ALIGNED static void flush(struct pmm *pmm, struct pmm_cpu *cpu, struct pmm_magazine *m)
{
    uint16_t *const codes = pmm->states;
    uint64_t first = pmm->known_first, known = pmm->known_count;
    struct pmm_block *blocks = &pmm->blocks[first];
    const uint64_t *at = m->frames + magazine_count(m), *stop = m->frames, *counted = at;
    while (at > stop) {
        uint64_t frame = *--at, block = block_of(frame) - first;
        if (__builtin_expect(block < known && __atomic_load_n(&codes[frame], __ATOMIC_RELAXED) == CODE_CACHED, 1)) {
            struct pmm_block *b = &blocks[block];
            const unsigned free = block_push_most(codes, b, frame); /* else it is put_oddly's */
            if (__builtin_expect(free != 0, 1)) {
                if (__builtin_expect(free % STACK_FRAMES == 1, 0)) {
                    block_restack(pmm, b);
                    stop += at - stop > MOVE_COST ? MOVE_COST : at - stop;
                }
                continue;
            }
        }
        count_known(pmm, (uint64_t)(counted - at - 1));
        put_oddly(pmm, frame);
        counted = at;
        first = pmm->known_first;
        known = pmm->known_count;
        blocks = &pmm->blocks[first];
        stop += at - stop > ODD_COST ? ODD_COST : at - stop;
    }
    count_known(pmm, (uint64_t)(counted - at));
    unsigned left = (unsigned)(at - m->frames);
    cpu->moved -= magazine_count(m) - left;
    counter_add(&cpu->freed, magazine_freed(m));
    tally_set(m, left);
}

static void whole_empty(struct pmm *pmm, struct pmm_cpu *cpu)
{
    while (cpu->whole_count > 0) {
        struct pmm_block *b = &pmm->blocks[cpu->whole[cpu->whole_count - 1]];
        whole_count_set(cpu, cpu->whole_count - 1);
        cpu->moved -= PMM_BLOCK_FRAMES;
        block_make_whole(pmm, b);
    }
}

static void swap(struct pmm_cpu *cpu, unsigned class)
{
    struct pmm_magazine m = cpu->loaded[class];
    cpu->loaded[class] = cpu->second[class];
    cpu->second[class] = m;
}

static uint64_t drain_cpu(struct pmm *pmm, struct pmm_cpu *cpu)
{
    uint64_t frames = 0;
    for (unsigned i = 0; i < PMM_CLASSES * 2; i++) {
        struct pmm_magazine *m = magazine_of(cpu, i);
        frames += magazine_count(m);
        while (magazine_count(m) > 0) {
            flush(pmm, cpu, m);
        }
    }
    frames += block_start(cpu->whole_count);
    whole_empty(pmm, cpu);
    __atomic_store_n(&cpu->wants_drain, 0, __ATOMIC_RELAXED);
    return frames;
}

static void obey(struct pmm *pmm, struct pmm_cpu *cpu)
{
    if (__atomic_load_n(&cpu->wants_drain, __ATOMIC_RELAXED) != 0) {
        drain_cpu(pmm, cpu);
    }
}

static enum status refill(struct pmm *pmm, struct pmm_cpu *cpu, unsigned class, struct pmm_magazine *m)
{
    uint64_t most = available(pmm, class);
    unsigned room = most < PMM_MAGAZINE_FRAMES ? (unsigned)most : (unsigned)PMM_MAGAZINE_FRAMES;
    enum status s = STATUS_NOMEM;
    for (unsigned i = 0; i < REFILL_BLOCKS_MAX && magazine_count(m) < room && magazine_count(m) < REFILL_ENOUGH; i++) {
        unsigned got;
        if (i > 0 && !class_has_more(pmm, class)) {
            break;
        }
        unsigned wanted = room - magazine_count(m);
        wanted = i > 0 && wanted > REFILL_MORE ? (unsigned)REFILL_MORE : wanted;
        s = take_frames(pmm, class, &m->frames[magazine_count(m)], wanted, CODE_CACHED, &got);
        if (s != STATUS_OK) {
            break;
        }
        tally_set(m, tally_get(m) + got);
        cpu->moved += got;
        account_pay(pmm, &pmm->spare, got);
    }
    pmm->refills++;
    if (magazine_count(m) == 0) {
        return s;
    }
    cpu_trusts_codes(pmm, cpu, m->frames[0]);
    return STATUS_OK;
}

enum status magazine_take(struct pmm *pmm, struct pmm_cpu *cpu, unsigned flags, uint64_t *frame)
{
    unsigned class = flags & PMM_USER;
    obey(pmm, cpu);
    if (magazine_count(&cpu->loaded[class]) == 0) {
        swap(cpu, class);
    }
    struct pmm_magazine *m = &cpu->loaded[class];
    if (magazine_count(m) == 0) {
        enum status s = refill(pmm, cpu, class, m);
        if (s != STATUS_OK) {
            return s;
        }
    }
    *frame = m->frames[magazine_count(m) - 1];
    if (__builtin_expect(code_get(pmm, *frame) != CODE_CACHED, 0)) {
        drain_cpu(pmm, cpu); /* says which frames are wrong, and loses them */
        return STATUS_NOMEM;
    }
    tally_set(m, tally_get(m) - 1);
    code_set(pmm, *frame, CODE_DRAWN + class);
    return STATUS_OK;
}

void magazine_make_room(struct pmm *pmm, struct pmm_cpu *cpu, unsigned class)
{
    obey(pmm, cpu);
    if (magazine_count(&cpu->loaded[class]) < PMM_MAGAZINE_FRAMES) {
        return;
    }
    if (magazine_count(&cpu->second[class]) > 0) {
        flush(pmm, cpu, &cpu->second[class]);
        pmm->flushes++;
    }
    swap(cpu, class);
}

uint64_t drain_locked(struct pmm *pmm)
{
    uint64_t frames = zeroed_frames(pmm);
    if (pmm->cpu_count <= 1 && cached_frames(pmm) == 0) {
        return 0;
    }
    zero_pool_drain(pmm);
    for (size_t i = 0; i < pmm->cpu_count; i++) {
        __atomic_store_n(&pmm->cpus[i].wants_drain, 1, __ATOMIC_RELAXED);
    }
    struct pmm_cpu *cpu = cpu_or_null(pmm);
    if (cpu != NULL) {
        frames += drain_cpu(pmm, cpu);
    }
    pmm->drains += frames > 0;
    return frames;
}

uint64_t cached_frames(const struct pmm *pmm)
{
    static_assert(PMM_CLASSES == 2, "four magazines a CPU");
    uint64_t frames = zeroed_frames(pmm);
    for (size_t i = 0; i < pmm->cpu_count; i++) { /* by index: of no CPUs there is no address */
        const struct pmm_cpu *cpu = &pmm->cpus[i];
        frames += magazine_count(&cpu->loaded[0]) + magazine_count(&cpu->second[0]) +
                  magazine_count(&cpu->loaded[1]) + magazine_count(&cpu->second[1]) +
                  block_start(__atomic_load_n(&cpu->whole_count, __ATOMIC_RELAXED));
    }
    return frames;
}

void pmm_drain(struct pmm *pmm)
{
    lock_take(&pmm->lock);
    drain_locked(pmm);
    emergency_top_up(pmm);
    lock_drop(&pmm->lock);
}
