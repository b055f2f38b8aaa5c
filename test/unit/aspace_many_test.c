/*
 * As many spaces as there can be, each with a mailbox page, a stream page that its neighbour reads, and six pages that
 * a group of spaces shares (a frame has at most PMM_REFERENCES_MAX users). All pages are there, in all tables. And a
 * segment that all of them may read. On the
 * model machine, whose RAM takes the host's memory only where it is touched; the whole number without the adversary,
 * who looks at each root in turn.
 */
#include <stdlib.h>
#include <time.h>

#include "aspace/mapping.h"
#include "aspace/segment.h"
#include "model/model.h"
#include "unit/aspace_bed.h"

enum { GROUP = 8 * TABLE_ENTRIES, SHARED_PAGES = 6, FEW = 500, LOANS = 24 };

static struct {
    struct vmm vmm;
    struct aspaces system;
    struct aspace *spaces;
    unsigned count;
    struct object *shared; /* of the group */
} many;

static struct object *object_at(struct aspace *space, vaddr_t va)
{
    struct aspace_query q = {0};
    EXPECT_OK(aspace_query(space, va, &q));
    return q.object;
}

/* => the address of its stream */
static bool furnish(unsigned i, vaddr_t *stream)
{
    struct aspace *space = &many.spaces[i];
    const unsigned flags = ASPACE_GLOBAL | ASPACE_POPULATE;
    if (i % GROUP == 0 && many.shared != NULL && !EXPECT_OK(object_release(many.shared))) {
        return false;
    }
    if (i % GROUP == 0 && !EXPECT_OK(object_create_anonymous(&many.system, npages(SHARED_PAGES), &many.shared))) {
        return false;
    }
    const vaddr_t mailbox = map_it(space, want(npages(1), ARW, flags)),
                  six = map_it(space, want_object(many.shared, 0, npages(SHARED_PAGES), ARW, flags));
    if (i > 0) { /* what the one before streams */
        struct aspace *before = &many.spaces[i - 1];
        const vaddr_t at = map_it(space, want_object(object_at(before, *stream), 0, npages(1), AR, flags));
        EXPECT_EQ(at.v, stream->v);
    }
    *stream = map_it(space, want(npages(1), ARW, flags));
    return mailbox.v != 0 && six.v != 0 && stream->v != 0;
}

static bool open(unsigned count, uint64_t ram_bytes, bool is_judged)
{
    struct model *m = model_start(ram_bytes);
    if (!is_judged) {
        model_be_plain(m);
    }
    many.count = count;
    many.shared = NULL;
    many.spaces = calloc(count, sizeof *many.spaces);
    return EXPECT(many.spaces != NULL) &&
           EXPECT_OK(vmm_init_with(&many.vmm, &m->pmm, model_pointer, model_address)) &&
           EXPECT_OK(aspaces_init(&many.system, &many.vmm));
}

/* The page of the group's that the space has, and what it shows. */
static void check_one(unsigned i)
{
    struct aspace *space = &many.spaces[i];
    const unsigned last = i + 1 == many.count;
    EXPECT_EQ(space->pages.v, 1 + SHARED_PAGES + 1 + (i > 0 ? 1U : 0U));
    EXPECT_EQ(space->tables.pages.v, space->pages.v);
    const struct mapping *m = mapping_from(space, vaddr(0));
    for (; m != NULL; m = mapping_next(m)) {
        struct aspace_query q = {0};
        EXPECT_OK(aspace_query(space, m->base, &q));
        pte_t leaf = {0};
        EXPECT_OK(vmm_leaf(&many.vmm, &space->tables, m->base, &leaf));
        EXPECT(q.frame.v != 0 && pte_pfn(leaf).v == q.frame.v);
        const unsigned sharers = q.sharers;
        EXPECT(sharers == 1 || sharers == 2 || (m->pages.v == SHARED_PAGES && sharers <= GROUP) || last);
    }
}

static uint64_t nanoseconds(void)
{
    struct timespec t = {0};
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The shortest time that lending 2 MiB from the first space to the second, and the end of that, has taken. */
static uint64_t time_of_a_loan(void)
{
    struct aspace *a = &many.spaces[0], *b = &many.spaces[1];
    struct aspace_request r = want(npages(PAGES_PER_2M), ARW, ASPACE_GLOBAL | ASPACE_POPULATE);
    r.align_log2 = 21;
    const vaddr_t va = map_it(a, r);
    uint64_t best = UINT64_MAX;
    for (unsigned i = 0; i < LOANS; i++) {
        const uint64_t before = nanoseconds();
        EXPECT_OK(aspace_share(a, va, r.pages, b, AR, vaddr(0)));
        EXPECT(b->tables.borrowed.root != NULL);
        EXPECT_OK(aspace_withdraw(a, va, r.pages, b));
        const uint64_t taken = nanoseconds() - before;
        best = taken < best ? taken : best;
    }
    EXPECT_OK(aspace_unmap(a, va, r.pages));
    return best;
}

/*
 * A segment of the first space's for as many as a frame may have users. The last of them may use it as the first does,
 * and who comes too late is refused.
 */
static void share_with_all(void)
{
    const struct segment_request r = {.pages = npages(PAGES_PER_2M), .rights = ARW, .tag = "all"};
    struct aspace *owner = &many.spaces[0];
    unsigned granted = 0;
    vaddr_t va = {0};
    EXPECT_OK(segment_create(owner, &r, &va));
    EXPECT_OK(aspace_fault(owner, va, VMM_WRITE, NULL));
    const uint64_t used = pmm_stats(many.vmm.pmm).used.v;
    for (unsigned i = 1; i < many.count; i++) {
        const enum status s = segment_grant(owner, va, &many.spaces[i], AR);
        granted += s == STATUS_OK;
        if (s != STATUS_OK && !(EXPECT_EQ(s, STATUS_LIMIT) && EXPECT(granted + 2 >= PMM_REFERENCES_MAX))) {
            return;
        }
    }
    test_note("a segment that %u others may read: %lu frames more", granted, pmm_stats(many.vmm.pmm).used.v - used);
    for (unsigned i = 1; i < many.count; i += 1 + many.count / 1000) {
        const bool has = i <= granted;
        EXPECT_EQ(segment_permits(&many.spaces[i], va, VMM_READ), has ? STATUS_OK : STATUS_ABSENT);
        EXPECT_EQ(segment_permits(&many.spaces[i], va, VMM_WRITE), has ? STATUS_DENIED : STATUS_ABSENT);
    }
    pte_t mine = {0}, last = {0};
    EXPECT_OK(vmm_leaf(&many.vmm, &owner->tables, va, &mine));
    EXPECT_OK(vmm_leaf(&many.vmm, &many.spaces[granted].tables, va, &last));
    EXPECT(pte_pfn(mine).v == pte_pfn(last).v && (last.v & PTE_W) == 0);
    for (unsigned i = 1; i <= granted; i += 2) {
        EXPECT_OK(segment_revoke(owner, va, &many.spaces[i]));
        EXPECT_EQ(segment_permits(&many.spaces[i], va, VMM_READ), STATUS_ABSENT);
    }
    bool all = true;
    for (unsigned i = 2; i <= granted; i += 2) { /* each of the others is still found */
        all = all && segment_permits(&many.spaces[i], va, VMM_READ) == STATUS_OK;
    }
    EXPECT(all);
}

static void close(void)
{
    EXPECT_OK(object_release(many.shared));
    for (unsigned i = 0; i < many.count; i++) {
        if (!EXPECT_OK(aspace_destroy(&many.spaces[i]))) {
            break;
        }
    }
    EXPECT_OK(aspaces_check(&many.system, NULL));
    EXPECT(many.system.mappings.used == 0 && many.system.objects.used == 0 && many.system.global.used.v == 0);
    EXPECT_OK(aspaces_end(&many.system));
    free(many.spaces);
}

static void play(unsigned count, uint64_t ram_bytes, bool is_judged)
{
    REQUIRE(open(count, ram_bytes, is_judged));
    const uint64_t used = pmm_stats(many.vmm.pmm).used.v;
    vaddr_t stream = {0};
    bool ok = true;
    uint64_t alone = 0;
    for (unsigned i = 0; i < count && ok; i++) {
        ok = EXPECT_OK(aspace_create(&many.system, &many.spaces[i], (struct aspace_limits){0})) &&
             furnish(i, &stream);
        alone = ok && i == 1 ? time_of_a_loan() : alone;
    }
    if (ok) {
        const uint64_t frames = pmm_stats(many.vmm.pmm).used.v - used;
        test_note("%u spaces: %lu frames, of which %lu are bookkeeping, %lu of each space's", count, frames,
                  many.system.stock.drawn + many.system.stock.count, frames / count);
        for (unsigned i = 0; i < count; i += count / 100) {
            check_one(i);
        }
        check_one(count - 1);
        const uint64_t among_all = time_of_a_loan();
        test_note("a loan and its end take %lu ns among %u spaces, %lu ns between two", among_all, count, alone);
        EXPECT(is_judged || among_all < 8 * alone); /* a look at each would take hundreds of times as long */
        share_with_all();
    }
    close();
}

TEST_HOST(aspace_many, spaces_with_mailboxes_and_streams_are_there_at_once)
{
    play(FEW, 64 * MIB, true);
}

TEST_HOST(aspace_many, all_of_65536_spaces_are_there_at_once)
{
    play(VMM_SPACES_MAX - 1, 4 * GIB, false); /* one has the tables of segments, one is the kernel's own */
}
