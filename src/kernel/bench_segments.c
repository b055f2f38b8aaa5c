/*
 * The benchmarks of segments: what a fault asks of a list, with one permission in it and with 10,000; what it costs to
 * share one, of one page and of a GiB in memory (which takes a machine of 2 GiB), and to take that back.
 */
#include "aspace/segment.h"
#include "kernel/bench_spaces.h"

enum { SHARERS = 10000, SEGMENT_WHOLE = SEGMENT_PAGES_MAX };
/* What is timed, of bench->flags. */
enum { PERMITS, GRANT, GRANT_READ, NARROW, REVOKE };

static struct aspace *sharers; /* SHARERS of them */
static vaddr_t segment_va;

static enum status permits(struct bench_work *w, uint64_t ops)
{
    unsigned wrong = 0;
    for (uint64_t i = 0; i < ops; i++) {
        wrong |= (unsigned)segment_permits(&sharers[i % w->n.v], segment_va, VMM_READ);
    }
    return wrong == 0 ? STATUS_OK : STATUS_CORRUPT;
}

static enum status only_chooses(struct bench_work *w, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        __asm__ volatile("" : : "r"(&sharers[i % w->n.v]) : "memory");
    }
    return STATUS_OK;
}

static enum status grant(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return segment_grant(&w->own_space->space, segment_va, &sharers[0], w->flags);
}
static enum status narrow(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return segment_narrow(&w->own_space->space, segment_va, &sharers[0], VMM_READ);
}
static enum status revoke(struct bench_work *w, uint64_t ops)
{
    (void)ops;
    return segment_revoke(&w->own_space->space, segment_va, &sharers[0]);
}

/* The call that the row is about is timed, what leads to it and from it is not. */
static enum status timed_if(bool is_it, bench_body *body, struct bench_work *w, struct bench_result *result)
{
    return is_it ? bench_add(result, body, bench_no_call, w, 1) : body(w, 1);
}

static enum status measure_calls(const struct bench *bench, struct bench_work *w, struct bench_result *result)
{
    const unsigned what = bench->flags;
    enum status s = STATUS_OK;
    w->flags = what == GRANT_READ ? VMM_READ : VMM_READ | VMM_WRITE;
    for (unsigned i = 0; i < BENCH_ROUNDS && s == STATUS_OK; i++) {
        s = timed_if(what == GRANT || what == GRANT_READ, grant, w, result);
        s = s == STATUS_OK && what == NARROW ? timed_if(true, narrow, w, result) : s;
        s = s == STATUS_OK ? timed_if(what == REVOKE, revoke, w, result) : s;
    }
    return s;
}

/* `count` sharers with a table where segments are; those that a check is about have this one. */
static enum status make_sharers(const struct bench *bench, struct bench_space *b, vaddr_t other, size_t count)
{
    enum status s = STATUS_OK;
    for (size_t i = 0; i < count && s == STATUS_OK; i++) {
        s = aspace_create(&b->system, &sharers[i], (struct aspace_limits){0});
        s = s == STATUS_OK ? segment_grant(&b->space, other, &sharers[i], VMM_READ) : s;
        s = s == STATUS_OK && bench->flags == PERMITS ? segment_grant(&b->space, segment_va, &sharers[i], VMM_READ)
                                                      : s;
    }
    return s;
}

static enum status end_sharers(size_t count, enum status s)
{
    for (size_t i = 0; i < count; i++) {
        const enum status ended = sharers[i].system != NULL ? aspace_destroy(&sharers[i]) : STATUS_OK;
        s = s == STATUS_OK ? ended : s;
    }
    return s;
}

static enum status measure(const struct bench *bench, struct bench_result *result, struct bench_space *b)
{
    const bool is_check = bench->flags == PERMITS;
    const size_t count = is_check ? bench->frames : 1;
    const struct segment_request r = {.pages = npages(is_check ? 1 : bench->frames), .rights = VMM_READ | VMM_WRITE,
                                      .tag = "bench"};
    const struct segment_request one = {.pages = npages(1), .rights = VMM_READ, .tag = "bench"};
    struct bench_work w = {.own_space = b, .n = npages(count)};
    vaddr_t other = {0};
    enum status s = segment_create(&b->space, &one, &other);
    s = s == STATUS_OK ? segment_create(&b->space, &r, &segment_va) : s;
    for (uint64_t i = 0; i < r.pages.v && s == STATUS_OK; i++) {
        s = aspace_fault(&b->space, vaddr_add_pages(segment_va, i), VMM_WRITE, NULL);
    }
    s = s == STATUS_OK ? make_sharers(bench, b, other, count) : s;
    if (s == STATUS_OK) {
        s = is_check ? bench_add(result, permits, only_chooses, &w, SHARERS) : measure_calls(bench, &w, result);
    }
    return end_sharers(count, s);
}

static enum status bench_segment(const struct bench *bench, struct bench_result *result)
{
    vaddr_t memory;
    const npages_t pages = bytes_to_pages_up(SHARERS * sizeof *sharers);
    enum status s = kpages_alloc(&machine.vmm, pages, ARENA_ALIGN_PAGE, KPAGES_ZEROED, "bench", &memory);
    if (s != STATUS_OK) {
        return s;
    }
    sharers = vaddr_to_ptr(memory);
    s = bench_on_system(bench, result, measure);
    const enum status freed = kpages_free(&machine.vmm, memory);
    return s == STATUS_OK ? freed : s;
}

const struct bench bench_segments[] = {
    {"segments_check", "may it? with one permission beside the owner's", bench_segment, PERMITS, 1},
    {"segments_check_many", "the same with 10,000, one after the other", bench_segment, PERMITS, SHARERS},
    {"segments_grant_1", "a segment with one page there granted to another space", bench_segment, GRANT, 1},
    {"segments_narrow_1", "its rights made fewer", bench_segment, NARROW, 1},
    {"segments_revoke_1", "and revoked", bench_segment, REVOKE, 1},
    {"segments_grant_1g", "the same of 262,144 pages that are there", bench_segment, GRANT, SEGMENT_WHOLE},
    {"segments_grant_1g_read", "the same, to be read only", bench_segment, GRANT_READ, SEGMENT_WHOLE},
    {"segments_revoke_1g", "and revoked", bench_segment, REVOKE, SEGMENT_WHOLE},
    {0},
};
