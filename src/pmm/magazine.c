/*
 * Magazines: frames ready for one CPU, two of 64 a class. The fast paths of alloc.c and free.c use the loaded one
 * alone, without the lock; everything here holds it. An empty pair is refilled from blocks, a full one flushed to them,
 * a magazine at a time, so that a CPU that allocates and frees by turns never comes here.
 *
 * Frames in a magazine are nobody's: they count as free, their code is CACHED. They are out of the blocks' counts, so a
 * block with one of them is not wholly free; whoever needs whole blocks, exact regions or the last frames drains first.
 */
#include "pmm/fast.h"

enum { REFILL_BLOCKS_MAX = 4 }; /* blocks that one refill draws from: bounds its cost */

struct pmm_cpu *cpu_or_null(const struct pmm *pmm)
{
    if (pmm->cpu_count == 0) {
        return NULL;
    }
    struct pmm_cpu *cpu = &pmm->cpus[pmm->cpu_count > 1 ? arch_cpu() : 0];
    return cpu->inside != 0 ? NULL : cpu;
}

/* A frame that takes longer: its block becomes wholly free, lies elsewhere, or cannot take it, or it is none. */
__attribute__((noinline)) static void put_oddly(struct pmm *pmm, uint64_t frame)
{
    struct pmm_block *b = block_find(pmm, frame);
    if (b != NULL && code_get(pmm, frame) == CODE_CACHED) {
        put_frame(pmm, b, frame);
        return;
    }
    if (b != NULL && block_has_stack(b)) { /* somebody wrote over its code: nobody knows whose it is */
        block_make_holed(pmm, b);
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

/* The frames go to their blocks: put_frame for each, with what is the same for most of one region done once. */
static void empty(struct pmm *pmm, struct pmm_magazine *m)
{
    uint64_t known_first = pmm->known_first, known_count = pmm->known_count;
    uint32_t pushed = 0;
    for (const uint64_t *at = m->frames, *end = at + m->count; at < end; at++) {
        uint64_t frame = *at, block = block_of(frame);
        struct pmm_block *b = &pmm->blocks[block];
        /* block_push, but that a block that is wholly free then, or corrupt, is left to put_oddly. */
        unsigned code = CODE_LINK + index_in_block(frame), top = b->top, free = b->free + 1U;
        if (__builtin_expect(block - known_first >= known_count || code_get(pmm, frame) != CODE_CACHED
                             || (uint16_t)(top - 1) < CODE_LINK - 1 || free >= b->usable, 0)) {
            count_pushed(pmm, pushed);
            pushed = 0;
            put_oddly(pmm, frame);
            known_first = pmm->known_first;
            known_count = pmm->known_count;
            continue;
        }
        code_set(pmm, frame, top == 0 ? code : top);
        b->top = (uint16_t)code;
        b->free = (uint16_t)free;
        pushed++;
        if (__builtin_expect(free % STACK_FRAMES == 1, 0)) {
            block_restack(pmm, b);
        }
    }
    count_pushed(pmm, pushed);
    magazine_count_set(m, 0);
}

static void whole_empty(struct pmm *pmm, struct pmm_cpu *cpu)
{
    while (cpu->whole_count > 0) {
        struct pmm_block *b = &pmm->blocks[cpu->whole[cpu->whole_count - 1]];
        whole_count_set(cpu, cpu->whole_count - 1);
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
        empty(pmm, m);
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

static enum status refill(struct pmm *pmm, unsigned class, struct pmm_magazine *m)
{
    uint64_t most = available(pmm, class);
    unsigned room = most < PMM_MAGAZINE_FRAMES ? (unsigned)most : (unsigned)PMM_MAGAZINE_FRAMES;
    enum status s = STATUS_NOMEM;
    for (unsigned i = 0; i < REFILL_BLOCKS_MAX && m->count < room; i++) {
        unsigned got;
        s = take_frames(pmm, class, &m->frames[m->count], room - m->count, CODE_CACHED, &got);
        if (s != STATUS_OK) {
            break;
        }
        magazine_count_set(m, m->count + got);
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
        enum status s = refill(pmm, class, m);
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
    counter_step(&cpu->allocated);
    return STATUS_OK;
}

void magazine_make_room(struct pmm *pmm, struct pmm_cpu *cpu, unsigned class)
{
    obey(pmm, cpu);
    if (cpu->loaded[class]->count < PMM_MAGAZINE_FRAMES) {
        return;
    }
    if (cpu->second[class]->count > 0) {
        empty(pmm, cpu->second[class]);
        pmm->flushes++;
    }
    swap(cpu, class);
}

uint64_t drain_locked(struct pmm *pmm)
{
    uint64_t frames = pmm->zero_count;
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
    uint64_t frames = pmm->zero_count;
    for (size_t i = 0; i < pmm->cpu_count; i++) {
        for (unsigned k = 0; k < PMM_CLASSES * 2; k++) {
            frames += __atomic_load_n(&pmm->cpus[i].magazines[k / 2][k % 2].count, __ATOMIC_RELAXED);
        }
        frames += block_start(__atomic_load_n(&pmm->cpus[i].whole_count, __ATOMIC_RELAXED));
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
