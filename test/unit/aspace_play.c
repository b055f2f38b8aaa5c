/* Running histories of spaces; shrinking and printing them. */
#include "unit/aspace_play_map.h"

#include "aspace/compact.h"
#include "model/shrink.h"
#include "unit/vmm_bed.h"

enum { RAM_MIB = 64, SWEEP_EVERY = 128, COMPARE_EVERY = 16, FRAMES_PLENTY = 2048, RECORDS_MAX = 16384 };

struct aplay aplay;

/* ---- Verdicts ---- */

void aplay_fail(const char *format, ...)
{
    if (!aplay.result.failed) {
        va_list args;
        va_start(args, format);
        struct buffer_sink b;
        buffer_sink_init(&b, aplay.result.text, sizeof aplay.result.text);
        sink_vprintf(&b.sink, format, args);
        va_end(args);
        aplay.result.failed = true;
        aplay.result.what = format;
    }
}

void aplay_say(const char *format, ...)
{
    static char text[APLAY_TEXT_BYTES];
    if (aplay.says) {
        va_list args;
        va_start(args, format);
        struct buffer_sink b;
        buffer_sink_init(&b, text, sizeof text);
        sink_vprintf(&b.sink, format, args);
        va_end(args);
        test_note("%s", text);
    }
}

unsigned aplay_shortage(void) { return aplay.is_scarce ? APLAY_BIT(STATUS_NOMEM) : 0; }

bool aplay_answer(enum aplay_kind kind, enum status s, unsigned must, unsigned may)
{
    const unsigned reports = test_reports();
    aplay.counts->answers[kind][s]++;
    aplay.counts->calls++;
    aplay.counts->succeeded += s == STATUS_OK;
    if (s == STATUS_OK ? must != 0 : ((must | may) & APLAY_BIT(s)) == 0) {
        aplay.result.kind = kind;
        aplay.result.answer = s;
        aplay_fail("%s answers %s; it must be one of %#x (0: ok), or may be of %#x", aplay_kind_name(kind),
                   status_name(s), must, may);
    }
    if ((reports != aplay.reports) != (s == STATUS_MISUSE)) {
        aplay_fail("%s answers %s with %u reports, the last one: %s", aplay_kind_name(kind), status_name(s),
                   reports - aplay.reports, test_last_report());
    }
    aplay.reports = reports;
    return s == STATUS_OK && !aplay.result.failed;
}

/* ---- One operation ---- */

static void reclaim(void)
{
    aplay.counts->dropped += (unsigned)aspaces_reclaim(&aplay.system, npages(64)).v;
    (void)aplay_answer(APLAY_RECLAIM, STATUS_OK, 0, 0);
}

static void compact(const struct aplay_op *op)
{
    struct aspace_compaction c = {0};
    (void)aplay_answer(APLAY_COMPACT, aspaces_compact(&aplay.system, op->pages % 8, &c), 0, 0);
    aplay_say("aspaces_compact: %lu blocks won, %lu pages moved", c.won, c.moved);
    aplay.counts->moved += (unsigned)c.moved;
}

static void switch_to(const struct aplay_op *op)
{
    struct aplay_space *s = &aplay.space[op->space];
    struct space *to = s->lives && op->how % 3 != 0 ? &s->space.tables : aplay.home;
    aplay_say("space_switch(%u)", to->id);
    (void)aplay_answer(APLAY_SWITCH, space_switch(&aplay.vmm, to), 0, 0);
}

static void run_kind(const struct aplay_op *op)
{
    if ((op->kind == APLAY_MAP_GLOBAL || op->kind == APLAY_SHARE) && !aplay_has_room()) {
        return;
    }
    switch ((enum aplay_kind)op->kind) {
    case APLAY_CREATE: aplay_create(op); break;
    case APLAY_DESTROY: aplay_destroy(op); break;
    case APLAY_CLONE: aplay_clone(op); break;
    case APLAY_LIMITS: aplay_limits(op); break;
    case APLAY_MAP:
    case APLAY_MAP_GLOBAL:
    case APLAY_MAP_OBJECT: aplay_map(op); break;
    case APLAY_UNMAP: aplay_unmap(op); break;
    case APLAY_PROTECT: aplay_protect(op); break;
    case APLAY_SEAL: aplay_seal(op); break;
    case APLAY_SHARE: aplay_share(op); break;
    case APLAY_TRANSFER: aplay_transfer(op); break;
    case APLAY_WITHDRAW: aplay_withdraw(op); break;
    case APLAY_TOUCH: aplay_touch(op); break;
    case APLAY_QUERY: aplay_query(op); break;
    case APLAY_FIND: aplay_find_next(op); break;
    case APLAY_USERS: aplay_users(op); break;
    case APLAY_OBJECT_NEW: aplay_object_new(op); break;
    case APLAY_OBJECT_HOLD: aplay_object_hold(op); break;
    case APLAY_OBJECT_RELEASE: aplay_object_release(op); break;
    case APLAY_OBJECT_RESIZE: aplay_object_resize(op); break;
    case APLAY_OBJECT_POPULATE: aplay_object_populate(op); break;
    case APLAY_RECLAIM: reclaim(); break;
    case APLAY_SWITCH: switch_to(op); break;
    case APLAY_IDLE: model_idle(model_machine, &aplay.vmm, op->how % PMM_CLASSES, npages(op->pages % 64)); break;
    case APLAY_COMPACT: compact(op); break;
    default: break;
    }
}

/* Mostly spaces that there are; for those that are to be made, one that is not. */
static uint8_t pick_space(unsigned from, bool lives)
{
    for (unsigned k = from; k < from + APLAY_SPACES; k++) {
        if (aplay.space[k % APLAY_SPACES].lives == lives) {
            return (uint8_t)(k % APLAY_SPACES);
        }
    }
    return (uint8_t)from;
}

static struct aplay_op with_spaces(struct aplay_op op)
{
    if (op.which / 8 % 16 != 0) {
        op.space = pick_space(op.space, op.kind != APLAY_CREATE);
        op.other = pick_space(op.other, op.kind != APLAY_CLONE);
    }
    return op;
}

/* Free records of pools, taken while a call runs: it has to ask for memory for each that it needs. */
static struct {
    struct pool *pool;
    void *record;
} taken_records[RECORDS_MAX];

static unsigned take_records(void)
{
    struct pool *const pools[] = {&aplay.system.mappings, &aplay.system.objects, &aplay.system.families};
    unsigned n = 0;
    for (unsigned i = 0; i < ARRAY_LEN(pools); i++) {
        while (pools[i]->free > 0 && n < RECORDS_MAX) {
            taken_records[n].pool = pools[i];
            taken_records[n++].record = pool_take(pools[i]);
        }
    }
    return n;
}

static void put_records(unsigned n)
{
    while (n > 0) {
        n--;
        if (pool_put(taken_records[n].pool, taken_records[n].record) != STATUS_OK) {
            aplay_fail("a record that was taken is none");
        }
    }
}

static void run_op(const struct aplay_op *op)
{
    struct pmm *pmm = &model_machine->pmm;
    /* A space that ends needs no memory, but without records it passes gifts on whole, which the map does not know. */
    const unsigned records = op->frames == 0 && op->kind != APLAY_DESTROY ? take_records() : 0;
    if (op->frames < 4) { /* nothing in stock either */
        aplay.counts->dropped += (unsigned)aspaces_reclaim(&aplay.system, npages(UINT64_MAX)).v;
    }
    const struct pmm_stats st = pmm_stats(pmm);
    const uint64_t free = st.free.v - st.promised.v;
    npages_t taken = npages(0);
    aplay.is_scarce = op->frames != APLAY_PLENTY || free < FRAMES_PLENTY;
    if (op->frames != APLAY_PLENTY && free > op->frames) {
        taken = npages(free - op->frames);
        taken = pmm_promise(pmm, taken) == STATUS_OK ? taken : npages(0);
    }
    run_kind(op);
    if (taken.v > 0 && pmm_unpromise(pmm, taken) != STATUS_OK) {
        aplay_fail("frames that were promised are not");
    }
    put_records(records);
    aplay.is_scarce = false;
}

static void judge_machine(void)
{
    if (model_machine->violations > 0) {
        aplay.result.failed = false; /* what came of it counts less */
        aplay_fail("%s", model_machine->first_violation);
    }
}

static void judge(unsigned at, const struct aplay_op *op)
{
    aplay.result.at = at;
    aplay_compare(&aplay.space[op->space]);
    aplay_compare(&aplay.space[op->other]);
    for (unsigned k = 0; k < APLAY_SPACES && at % COMPARE_EVERY == 0; k++) {
        aplay_compare(&aplay.space[k]);
    }
    if (at % SWEEP_EVERY == SWEEP_EVERY - 1 && !aplay.result.failed) {
        aplay_sweep();
    }
    judge_machine();
}

/* ---- A history ---- */

static npages_t reclaim_for(void *ctx, npages_t wanted) { return aspaces_reclaim(ctx, wanted); }

static bool start(bool says, struct aplay_counts *counts)
{
    memset(&aplay, 0, sizeof aplay);
    struct model *m = model_start(RAM_MIB * MIB);
    model_global_pages(m, true);
    model_want_violations(m);
    aplay.says = says;
    aplay.counts = counts;
    aplay.reports = test_reports();
    pfn_t zero;
    if (vmm_init_with(&aplay.vmm, &m->pmm, model_pointer, model_address) != STATUS_OK ||
        pmm_alloc(&m->pmm, PMM_KERNEL, &zero) != STATUS_OK || frame_zero(&aplay.vmm, zero) != STATUS_OK ||
        pmm_zero_frame_set(&m->pmm, zero) != STATUS_OK) {
        aplay_fail("no machine");
        return false;
    }
    aplay.home = aplay.vmm.current;
    return true;
}

static void end(uint64_t frames)
{
    if (space_switch(&aplay.vmm, aplay.home) != STATUS_OK) {
        aplay_fail("no switch to the first space");
    }
    for (unsigned i = 0; i < APLAY_OBJECTS; i++) {
        const struct aplay_op op = {.kind = APLAY_OBJECT_RELEASE};
        while (aplay.object[i].object != NULL && aplay.object[i].holders > 0 && !aplay.result.failed) {
            if (object_release(aplay.object[i].object) != STATUS_OK) {
                aplay_fail("object %p cannot be released, operation %u", (void *)aplay.object[i].object, op.kind);
            }
            aplay.object[i].holders--;
            aplay_settle(&aplay.object[i]);
        }
    }
    for (uint8_t k = 0; k < APLAY_SPACES && !aplay.result.failed; k++) {
        const struct aplay_op op = {.kind = APLAY_DESTROY, .space = k};
        if (aplay.space[k].lives) {
            aplay_destroy(&op);
            aplay_sweep();
        }
    }
    if (!aplay.result.failed && aspaces_end(&aplay.system) != STATUS_OK) {
        aplay_fail("aspaces_end: spaces or objects are left");
    }
    const uint64_t now = vmm_bed_frames(&aplay.vmm);
    if (!aplay.result.failed && now != frames) {
        aplay_fail("%lu frames are in use in the end, %lu were in the beginning", now, frames);
    }
}

struct aplay_result aplay_run(const struct aplay_op *ops, unsigned n, bool says, struct aplay_counts *counts)
{
    if (!start(says, counts)) {
        return aplay.result;
    }
    const uint64_t frames = vmm_bed_frames(&aplay.vmm);
    aplay.low = (struct pmm_low){.reclaim = reclaim_for, .ctx = &aplay.system};
    if (aspaces_init(&aplay.system, &aplay.vmm) != STATUS_OK ||
        pmm_low_add(&model_machine->pmm, &aplay.low) != STATUS_OK) {
        aplay_fail("no spaces");
    }
    for (unsigned i = 0; i < n && !aplay.result.failed; i++) {
        const struct aplay_op op = with_spaces(ops[i]);
        run_op(&op);
        judge(i, &op);
    }
    if (!aplay.result.failed) {
        aplay.result.at = n;
        aplay_sweep();
        end(frames);
        judge_machine();
    }
    test_expect_reports(test_reports());
    return aplay.result;
}

/* ---- Shrinking, printing ---- */

static bool still_fails(void *ctx, const void *items, unsigned n)
{
    static struct aplay_counts counts;
    const struct aplay_result *wanted = ctx, r = aplay_run(items, n, false, &counts);
    return r.failed && r.what == wanted->what && r.kind == wanted->kind && r.answer == wanted->answer;
}

unsigned aplay_shrink(struct aplay_op *ops, unsigned n)
{
    static struct aplay_counts counts;
    struct aplay_result r = aplay_run(ops, n, false, &counts);
    n = r.failed && r.at + 1 < n ? r.at + 1 : n;
    return r.failed ? shrink_list(ops, n, sizeof *ops, still_fails, &r) : n;
}

void aplay_print(const struct aplay_op *ops, unsigned n)
{
    static struct aplay_counts counts;
    const struct aplay_result r = aplay_run(ops, n, true, &counts);
    test_note("operation %u: %s", r.at, r.text);
    test_note("static const struct aplay_op failing[] = { /* kind, space, other, frames, numbers */");
    for (unsigned i = 0; i < n; i++) {
        const struct aplay_op *op = &ops[i];
        test_note("    {APLAY_%s, %u, %u, %u, %#x, %#x, %#x, %#x, %#x},", aplay_kind_name(op->kind), op->space,
                  op->other, op->frames, op->which, op->first, op->pages, op->rights, op->how);
    }
    test_note("};");
}
