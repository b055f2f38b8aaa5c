/*
 * More benchmarks of spaces: faults as user mode meets them, from the instruction that faults to its end, measured by
 * the program itself, which reads the clock before and after; clones, messages, copies.
 *
 * A program touches a run of pages twice: the second time nothing faults, and what the clock and the loop cost is taken
 * off. The page below the run is touched before, so that its table is there.
 */
#include "arch/arch.h"
#include "kernel/bench.h"
#include "kernel/idle.h"
#include "kernel/program.h"
#include "kernel/usercopy.h"
#include "pmm/pmm_pressure.h"

enum {
    WRITE = 1 << 0,    /* what is timed: a write, else a read */
    ZEROED = 1 << 1,   /* frames were zeroed ahead */
    READ_FIRST = 1 << 2, /* the pages show the zero frame */
    CLONED = 1 << 3,   /* the pages were written, and their space cloned */
    TABLE_TOO = 1 << 4, /* with the first write behind a table shared by the clone */

    FAULT_PAGES = PROGRAM_DATA_PAGES - 1,
    FAULT_ROUNDS = 8,
    CLONE_BYTES = 64 * MIB,
};

/* RDI: the first page, RCX: pages. The sum of the times in RBX, the longest in R10. */
#define TOUCH_LOOP(touch)                                                                               \
    "xor %ebx, %ebx\n xor %r10d, %r10d\n 1: rdtsc\n shl $32, %rdx\n or %rdx, %rax\n mov %rax, %r8\n" touch \
    "\n rdtsc\n shl $32, %rdx\n or %rdx, %rax\n sub %r8, %rax\n add %rax, %rbx\n"                       \
    "cmp %rax, %r10\n cmovb %rax, %r10\n add $4096, %rdi\n dec %rcx\n jnz 1b\n int $0x80"
USER_CODE(bench_writes, TOUCH_LOOP("mov %rdi, (%rdi)"));
USER_CODE(bench_reads, TOUCH_LOOP("mov (%rdi), %r9"));

static struct program parent, child;

struct touches {
    uint64_t ticks, most; /* of all of them; of the longest one; the clock included */
};

/* => OK, *t: how long they took; UNSUPPORTED: it did not get through */
static enum status touch_pages(struct program *p, uint64_t first, uint64_t pages, struct touches *t)
{
    program_begin(p);
    p->context.frame.rdi = PROGRAM_DATA + first * PAGE_BYTES;
    p->context.frame.rcx = pages;
    enum status s = program_run(p);
    *t = (struct touches){p->context.frame.rbx, p->context.frame.r10};
    return s == STATUS_OK && p->context.frame.vector != INTERRUPT_FROM_USER ? STATUS_UNSUPPORTED : s;
}

/* One program with other code in the same pages would do; two are simpler. */
static enum status make(struct program *p, bool writes)
{
    return writes ? program_make(p, bench_writes, bench_writes_end) : program_make(p, bench_reads, bench_reads_end);
}

/* Frames zeroed ahead, as idle time does it, or none. */
static void prepare_pool(bool zeroed)
{
    pmm_drain(&machine.pmm);
    for (unsigned i = 0; zeroed && i < MACHINE_ZERO_FRAMES; i++) {
        idle_step();
    }
}

/* Touch, from the page `first` on; then once more, which is taken off. */
static enum status time_faults(struct program *p, uint64_t first, uint64_t pages, struct bench_result *result)
{
    struct touches t, off;
    enum status s = touch_pages(p, first, pages, &t);
    if (s == STATUS_OK) {
        s = touch_pages(p, first, pages, &off);
    }
    if (s == STATUS_OK) {
        const uint64_t most = t.most - off.most;
        result->ops += pages;
        result->ticks += t.ticks - off.ticks;
        result->most = most > result->most ? most : result->most;
    }
    return s;
}

/* Pages of data that were never touched: given up, and mapped anew. */
static enum status fresh_data(struct program *p)
{
    const vaddr_t data = vaddr(PROGRAM_DATA);
    enum status s = aspace_unmap(&p->space, data, npages(PROGRAM_DATA_PAGES));
    struct aspace_request r = {.pages = npages(PROGRAM_DATA_PAGES), .rights = VMM_READ | VMM_WRITE | VMM_USER,
                               .flags = ASPACE_AT, .va = data, .tag = "data"};
    vaddr_t at;
    return s == STATUS_OK ? aspace_map(&p->space, &r, &at) : s;
}

/* All pages are read in the space of the program, on its behalf. */
static enum status read_first(struct program *p)
{
    uint64_t word, left = 0;
    enum status s = current_enter(&p->space);
    for (unsigned i = 0; s == STATUS_OK && i < PROGRAM_DATA_PAGES; i++) {
        left += copy_from_user(&word, vaddr(PROGRAM_DATA + i * PAGE_BYTES), sizeof word);
    }
    current_leave();
    return s == STATUS_OK && left > 0 ? STATUS_UNSUPPORTED : s;
}

static enum status fault_round(const struct bench *bench, struct bench_result *result)
{
    struct touches before;
    enum status s = fresh_data(&parent);
    if (s == STATUS_OK && (bench->flags & READ_FIRST) != 0) {
        s = read_first(&parent);
    }
    if (s == STATUS_OK) {
        s = touch_pages(&parent, 0, 1, &before);
    }
    prepare_pool((bench->flags & ZEROED) != 0);
    return s == STATUS_OK ? time_faults(&parent, 1, FAULT_PAGES, result) : s;
}

/* What was written before is written again in a clone, which lives for a round. */
static enum status clone_round(const struct bench *bench, struct bench_result *result)
{
    struct touches before;
    const bool first = (bench->flags & TABLE_TOO) != 0;
    enum status s = touch_pages(&parent, 0, PROGRAM_DATA_PAGES, &before);
    child = (struct program){0};
    if (s == STATUS_OK) {
        s = aspace_clone(&parent.space, &child.space, NULL, NULL);
    }
    if (s != STATUS_OK) {
        return s;
    }
    prepare_pool(true);
    if (!first) {
        s = touch_pages(&child, 0, 1, &before);
    }
    if (s == STATUS_OK) {
        s = time_faults(&child, 1, first ? 1 : FAULT_PAGES, result);
    }
    enum status ended = program_end(&child);
    return s == STATUS_OK ? ended : s;
}

static enum status end(struct program *p, enum status s)
{
    enum status ended = program_end(p);
    (void)aspaces_reclaim(&machine.aspaces, npages(UINT64_MAX));
    return s == STATUS_OK ? ended : s;
}

static enum status bench_faults(const struct bench *bench, struct bench_result *result)
{
    enum status s = make(&parent, (bench->flags & WRITE) != 0);
    if (s != STATUS_OK) {
        return s;
    }
    for (unsigned i = 0; i < FAULT_ROUNDS && s == STATUS_OK; i++) {
        s = ((bench->flags & CLONED) != 0 ? clone_round : fault_round)(bench, result);
    }
    return end(&parent, s);
}

/* ---- Into user mode and back ---- */

USER_CODE(bench_leaves, "1: int $0x80\n jmp 1b");

static enum status run_and_leave(struct bench_work *w, uint64_t ops)
{
    (void)w;
    enum status s = STATUS_OK;
    for (uint64_t i = 0; i < ops && s == STATUS_OK; i++) {
        s = user_run(&parent.context);
    }
    return s;
}

static enum status copy_words(struct bench_work *w, uint64_t ops)
{
    static uint8_t page[PAGE_BYTES];
    uint64_t left = 0;
    for (uint64_t i = 0; i < ops; i++) {
        left += copy_to_user(vaddr(PROGRAM_DATA), page, w->n.v);
    }
    return left == 0 ? STATUS_OK : STATUS_UNSUPPORTED;
}

/* In the space of a program that has come to its first interrupt and has a page of data. */
static enum status bench_inside(const struct bench *bench, struct bench_result *result)
{
    enum status s = program_make(&parent, bench_leaves, bench_leaves_end);
    if (s != STATUS_OK) {
        return s;
    }
    struct bench_work w = {.n = npages(bench->frames)};
    s = program_run(&parent);
    s = s == STATUS_OK ? current_enter(&parent.space) : s;
    s = s == STATUS_OK ? copy_words(&w, 1) : s;
    if (s == STATUS_OK) {
        s = bench_add(result, bench->frames > 0 ? copy_words : run_and_leave, bench_nothing, &w, BENCH_LOOPS);
    }
    current_leave();
    return end(&parent, s);
}

/* ---- Clones and messages ---- */

static enum status clone_once(struct bench_work *w, uint64_t ops)
{
    (void)w;
    (void)ops;
    return aspace_clone(&parent.space, &child.space, NULL, NULL);
}

static enum status nothing(struct bench_work *w, uint64_t ops)
{
    (void)w;
    (void)ops;
    return STATUS_OK;
}

/* An operation is a resident page. */
static enum status bench_clone(const struct bench *bench, struct bench_result *result)
{
    (void)bench;
    parent = child = (struct program){0};
    const npages_t pages = bytes_to_pages_up(CLONE_BYTES);
    struct aspace_request r = {.pages = pages, .rights = VMM_READ | VMM_WRITE | VMM_USER, .flags = ASPACE_POPULATE,
                               .tag = "bench"};
    vaddr_t va;
    enum status s = aspace_create(&machine.aspaces, &parent.space, (struct aspace_limits){0});
    if (s != STATUS_OK) {
        return s;
    }
    s = aspace_map(&parent.space, &r, &va);
    if (s == STATUS_OK) {
        struct bench_work w = {0};
        s = bench_add(result, clone_once, nothing, &w, 1);
        result->ops = pages.v;
    }
    if (s == STATUS_OK) {
        s = program_end(&child);
    }
    return end(&parent, s);
}

enum { SHARE = 1, WITHDRAW = 2, TRANSFER = 3 };

static enum status share_once(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return aspace_share(&parent.space, w->va, w->n, &child.space, VMM_READ | VMM_USER, vaddr(0));
}
static enum status withdraw_once(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return aspace_withdraw(&parent.space, w->va, w->n, &child.space);
}
static enum status transfer_once(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return aspace_transfer(&parent.space, w->va, w->n, &child.space, VMM_READ | VMM_WRITE | VMM_USER);
}
static enum status transfer_back(struct bench_work *w)
{
    return aspace_transfer(&child.space, w->va, w->n, &parent.space, VMM_READ | VMM_WRITE | VMM_USER);
}

static enum status timed_or_not(bool timed, bench_body *body, struct bench_work *w, struct bench_result *result)
{
    return timed ? bench_add(result, body, nothing, w, 1) : body(w, 1);
}

static enum status message_rounds(unsigned what, struct bench_work *w, struct bench_result *result)
{
    enum status s = STATUS_OK;
    for (unsigned i = 0; i < BENCH_ROUNDS && s == STATUS_OK; i++) {
        if (what == TRANSFER) {
            s = bench_add(result, transfer_once, nothing, w, 1);
            s = s == STATUS_OK ? transfer_back(w) : s;
            continue;
        }
        s = timed_or_not(what == SHARE, share_once, w, result);
        s = s == STATUS_OK ? timed_or_not(what == WITHDRAW, withdraw_once, w, result) : s;
    }
    return s;
}

static enum status bench_message(const struct bench *bench, struct bench_result *result)
{
    parent = child = (struct program){0};
    struct bench_work w = {.n = npages(bench->frames)};
    /* The last page stays shared, so that both have tables there. */
    struct aspace_request r = {.pages = npages(w.n.v + 1), .rights = VMM_READ | VMM_WRITE | VMM_USER,
                               .flags = ASPACE_GLOBAL | ASPACE_POPULATE, .align_log2 = 21, .tag = "message"};
    enum status s = aspace_create(&machine.aspaces, &parent.space, (struct aspace_limits){0});
    if (s != STATUS_OK) {
        return s;
    }
    s = aspace_create(&machine.aspaces, &child.space, (struct aspace_limits){0});
    if (s != STATUS_OK) {
        return end(&parent, s);
    }
    s = aspace_map(&parent.space, &r, &w.va);
    if (s == STATUS_OK) {
        s = aspace_share(&parent.space, vaddr_add_pages(w.va, w.n.v), npages(1), &child.space, VMM_READ | VMM_USER,
                         vaddr(0));
    }
    s = s == STATUS_OK ? message_rounds(bench->flags, &w, result) : s;
    enum status ended = program_end(&child);
    return end(&parent, s == STATUS_OK ? ended : s);
}

const struct bench bench_user[] = {
    {"spaces_fault_write", "first write to a page, its frame zeroed ahead", bench_faults, WRITE | ZEROED, 0},
    {"spaces_fault_zeroing", "the same, the frame being zeroed now", bench_faults, WRITE, 0},
    {"spaces_fault_read", "first read of a page: the zero frame", bench_faults, 0, 0},
    {"spaces_fault_read_write", "a write to a page that shows the zero frame", bench_faults,
     WRITE | ZEROED | READ_FIRST, 0},
    {"spaces_fault_copy", "a write to a page that a clone shares: copied", bench_faults, WRITE | CLONED, 0},
    {"spaces_fault_copy_first", "the same, the first in its 2 MiB: the table too", bench_faults,
     WRITE | CLONED | TABLE_TOO, 0},
    {"spaces_user_run", "into user mode and back by INT, all registers", bench_inside, 0, 0},
    {"spaces_copy_8", "copy_to_user of 8 bytes", bench_inside, 0, sizeof(uint64_t)},
    {"spaces_copy_4096", "copy_to_user of a page", bench_inside, 0, PAGE_BYTES},
    {"spaces_clone_64m", "a clone of 64 MiB in memory, a page", bench_clone, 0, 0},
    {"spaces_share_1", "a page shared with another space", bench_message, SHARE, 1},
    {"spaces_withdraw_1", "and taken back", bench_message, WITHDRAW, 1},
    {"spaces_transfer_1", "a page moved to another space", bench_message, TRANSFER, 1},
    {"spaces_share_2m", "2 MiB shared, by one table", bench_message, SHARE, TABLE_ENTRIES},
    {"spaces_transfer_2m", "2 MiB moved", bench_message, TRANSFER, TABLE_ENTRIES},
    {0},
};
