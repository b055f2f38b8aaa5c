/*
 * Magazines: frames ready for one CPU, two of 64 a class. The fast paths of alloc.c and free.c use the loaded one
 * alone, without the lock; everything here holds it. An empty pair is refilled from blocks, a full one flushed to them,
 * a magazine at a time, so that a CPU that allocates and frees by turns never comes here.
 *
 * Frames in a magazine are nobody's: they count as free, their code is CACHED. They are out of the blocks' counts, so a
 * block with one of them is not wholly free; whoever needs whole blocks, exact regions or the last frames drains first.
 */
#include "pmm/fast.h"

/*
 * A refill draws from one block, and half a magazine from a second where the first gave little and there is one for
 * the taking: that bounds its cost.
 */
enum { REFILL_BLOCKS_MAX = 2, REFILL_ENOUGH = PMM_MAGAZINE_FRAMES / 4, REFILL_MORE = PMM_MAGAZINE_FRAMES / 2 };

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

static void count_pushed(struct pmm *pmm, uint32_t frames)
{
    if (frames > 0) {
        count_free(pmm, &pmm->regions[pmm->known_region], frames);
        pmm->spare += frames;
    }
}

/* A flush takes no longer than for a magazine of usual frames: others count as so many more. */
enum { ODD_COST = 8, MOVE_COST = 4 };

/*
 * The frames go to their blocks, the last ones first, as many as that allows, one at least: put_frame for each, with
 * what is the same for most of one region done once.
 */
static void flush(struct pmm *pmm, struct pmm_cpu *cpu, struct pmm_magazine *m)
{
    uint64_t known_first = pmm->known_first, known_count = pmm->known_count;
    uint32_t pushed = 0;
    const uint64_t *at = m->frames + m->count, *stop = m->frames;
    while (at > stop) {
        uint64_t frame = *--at, block = block_of(frame);
        struct pmm_block *b = &pmm->blocks[block];
        /* block_push, but that a block that is wholly free then, or corrupt, is left to put_oddly. */
        if (__builtin_expect(block - known_first >= known_count || code_get(pmm, frame) != CODE_CACHED
                             || (uint16_t)(b->top - 1) < CODE_LINK - 1 || b->free + 1U >= b->usable, 0)) {
            count_pushed(pmm, pushed);
            pushed = 0;
            put_oddly(pmm, frame);
            known_first = pmm->known_first;
            known_count = pmm->known_count;
            stop += at - stop > ODD_COST ? ODD_COST : at - stop;
            continue;
        }
        unsigned code = link_to(frame), top = b->top, free = b->free + 1U;
        code_set(pmm, frame, top == 0 ? code : top);
        b->top = (uint16_t)code;
        b->free = (uint16_t)free;
        pushed++;
        if (__builtin_expect(free % STACK_FRAMES == 1, 0)) {
            block_restack(pmm, b);
            stop += at - stop > MOVE_COST ? MOVE_COST : at - stop;
        }
    }
    count_pushed(pmm, pushed);
    unsigned left = (unsigned)(at - m->frames);
    cpu->moved -= m->count - left;
    magazine_count_set(m, left);
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
    struct pmm_magazine *m = cpu->loaded[class];
    cpu->loaded[class] = cpu->second[class];
    cpu->second[class] = m;
}

static uint64_t drain_cpu(struct pmm *pmm, struct pmm_cpu *cpu)
{
    uint64_t frames = 0;
    for (unsigned i = 0; i < PMM_CLASSES * 2; i++) {
        struct pmm_magazine *m = &cpu->magazines[i / 2][i % 2];
        frames += m->count;
        while (m->count > 0) {
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
    for (unsigned i = 0; i < REFILL_BLOCKS_MAX && m->count < room && m->count < REFILL_ENOUGH; i++) {
        unsigned got;
        if (i > 0 && !class_has_more(pmm, class)) {
            break;
        }
        unsigned wanted = room - m->count;
        wanted = i > 0 && wanted > REFILL_MORE ? (unsigned)REFILL_MORE : wanted;
        s = take_frames(pmm, class, &m->frames[m->count], wanted, CODE_CACHED, &got);
        if (s != STATUS_OK) {
            break;
        }
        magazine_count_set(m, m->count + got);
        cpu->moved += got;
        account_pay(pmm, &pmm->spare, got);
    }
    pmm->refills++;
    return m->count > 0 ? STATUS_OK : s;
}

enum status magazine_take(struct pmm *pmm, struct pmm_cpu *cpu, unsigned flags, uint64_t *frame)
{
    unsigned class = flags & PMM_USER;
    obey(pmm, cpu);
    if (cpu->loaded[class]->count == 0) {
        swap(cpu, class);
    }
    struct pmm_magazine *m = cpu->loaded[class];
    if (m->count == 0) {
        enum status s = refill(pmm, cpu, class, m);
        if (s != STATUS_OK) {
            return s;
        }
    }
    *frame = m->frames[m->count - 1];
    if (__builtin_expect(code_get(pmm, *frame) != CODE_CACHED, 0)) {
        drain_cpu(pmm, cpu); /* says which frames are wrong, and loses them */
        return STATUS_NOMEM;
    }
    magazine_count_set(m, m->count - 1);
    code_set(pmm, *frame, 1);
    return STATUS_OK;
}

void magazine_make_room(struct pmm *pmm, struct pmm_cpu *cpu, unsigned class)
{
    obey(pmm, cpu);
    if (cpu->loaded[class]->count < PMM_MAGAZINE_FRAMES) {
        return;
    }
    if (cpu->second[class]->count > 0) {
        flush(pmm, cpu, cpu->second[class]);
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

static uint64_t count_of(const struct pmm_magazine *m) { return __atomic_load_n(&m->count, __ATOMIC_RELAXED); }

uint64_t cached_frames(const struct pmm *pmm)
{
    static_assert(PMM_CLASSES == 2, "four magazines a CPU");
    uint64_t frames = zeroed_frames(pmm);
    for (size_t i = 0; i < pmm->cpu_count; i++) { /* by index: of no CPUs there is no address */
        const struct pmm_cpu *cpu = &pmm->cpus[i];
        frames += count_of(&cpu->magazines[0][0]) + count_of(&cpu->magazines[0][1]) +
                  count_of(&cpu->magazines[1][0]) + count_of(&cpu->magazines[1][1]) +
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
