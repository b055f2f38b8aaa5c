/*
 * Calls that share and unshare tables let others in between: while they wait for memory, and between two of their
 * edits. What was looked at by then may be another thing. Host only: others come where locks are taken.
 */
#include "arch/arch.h"
#include "model/cpu.h"
#include "model/model.h"
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"
#include "unit/vmm_share_bed.h"
#include "unit/vmm_two_cpus.h"
#include "vmm/entry.h"
#include "vmm/frames.h"
#include "vmm/vmm_large.h"
#include "vmm/vmm_marks.h"
#include "vmm/vmm_share.h"

enum { R = VMM_READ, RW = VMM_READ | VMM_WRITE, PART = PAGES_PER_2M };

static struct vmm_bed bed;
static struct space third;
static struct vmm_loan loan, more;

static vaddr_t part_at(unsigned part) { return vaddr_add_pages(vaddr(VA_PRIVATE), (uint64_t)part * PART); }

/* ---- Between two edits of one call ---- */

static void (*act)(void);
static unsigned locks_until, acted;

static bool is_locked(const struct space *space)
{
    return space->window_lock.taken != 0 || space->table_lock.taken != 0;
}

/* The n-th time that a lock is about to be taken while none is held, somebody else has the CPU first. */
static void come_between(void)
{
    void (*now)(void) = act;
    if (now == NULL || bed.vmm->editing != NULL || is_locked(bed.home) || is_locked(&bed.a) || is_locked(&bed.b) ||
        locks_until-- > 0) {
        return;
    }
    act = NULL;
    acted++;
    now();
}

/* b borrows the first part of a, and has tables of its own behind the second. */
static bool open_between(void)
{
    loan = more = (struct vmm_loan){0};
    acted = 0;
    if (!vmm_bed_open(&bed)) {
        return false;
    }
    struct space *const spaces[] = {bed.home, &bed.a, &bed.b};
    for (unsigned i = 0; i < ARRAY_LEN(spaces); i++) {
        spaces[i]->window_lock.shared = spaces[i]->table_lock.shared = true;
    }
    return EXPECT_OK(space_create(bed.vmm, &third)) &&
           EXPECT_OK(vmm_map(bed.vmm, &bed.a, part_at(0), npages(3), RW)) &&
           EXPECT_OK(vmm_map(bed.vmm, &bed.b, part_at(1), npages(3), RW)) &&
           EXPECT_OK(vmm_lend(bed.vmm, &bed.a, part_at(0), &bed.b, part_at(0), 2, RW, &loan));
}

static void close_between(void)
{
    EXPECT_EQ(acted, 1);
    EXPECT_EQ(pmm_stats(bed.vmm->pmm).promised.v, 0);
    EXPECT(vmm_bed_check(bed.vmm));
    for (unsigned i = 0; i < 2; i++) {
        struct vmm_loan *l = i == 0 ? &loan : &more;
        EXPECT_OK(l->lender != NULL ? vmm_withdraw(bed.vmm, l) : STATUS_OK);
    }
    EXPECT_OK(space_destroy(bed.vmm, &third));
    vmm_bed_close(&bed);
}

/* More tables are to be copied than were counted. */
static void share_more(void) { EXPECT_OK(vmm_clone(bed.vmm, &bed.b, &third, part_at(1), npages(PART))); }
/* There is another loan, at the end of the range. */
static void lend_more(void)
{
    EXPECT_OK(vmm_lend(bed.vmm, &bed.a, part_at(0), &bed.b, part_at(2), 2, R, &more));
}
/* The loan is over, if it was not. */
static void withdraw_it(void)
{
    enum status expected = loan.lender != NULL ? STATUS_OK : STATUS_ABSENT;
    EXPECT_EQ(vmm_withdraw(bed.vmm, &loan), expected);
}
/* The struct is that of another loan now. */
static void lend_elsewhere(void)
{
    withdraw_it();
    EXPECT_OK(vmm_lend(bed.vmm, &bed.a, part_at(0), &third, part_at(0), 2, R, &loan));
}

TEST_HOST(vmm_between, what_others_share_between_two_edits_of_unsharing_is_unshared_too)
{
    static void (*const acts[])(void) = {share_more, lend_more, withdraw_it, lend_elsewhere};
    for (unsigned i = 0; i < ARRAY_LEN(acts); i++) {
        for (unsigned n = 0, found = 1; found > 0; n++) { /* each time that there is */
            REQUIRE(open_between());
            act = acts[i];
            locks_until = n;
            model_before_lock = come_between;
            EXPECT_OK(vmm_unshare(bed.vmm, &bed.b, part_at(0), npages(3 * PART)));
            model_before_lock = NULL;
            act = NULL;
            found = acted;
            for (unsigned part = 0; part < 3; part++) {
                struct vmm_walk w;
                EXPECT_OK(vmm_translate(bed.vmm, &bed.b, part_at(part), &w));
                EXPECT(!entry_is_shared(w.entry[2]));
            }
            acted = 1;
            close_between();
        }
    }
}

TEST_HOST(vmm_between, a_loan_that_others_end_first_is_not_there_any_more)
{
    REQUIRE(open_between());
    act = withdraw_it;
    locks_until = 0;
    model_before_lock = come_between;
    EXPECT_EQ(vmm_withdraw(bed.vmm, &loan), STATUS_ABSENT);
    model_before_lock = NULL;
    close_between();
}

/* ---- While a call waits for memory ---- */

struct hoard {
    npages_t promised;
    pfn_t frame;
};

static npages_t give(void *ctx, npages_t wanted)
{
    struct hoard *hoard = ctx;
    if (act == NULL) {
        return npages(0);
    }
    void (*now)(void) = act;
    act = NULL;
    acted++;
    vmm_bed_unlimit(&bed, hoard->promised);
    hoard->promised.v = 0;
    EXPECT_OK(pmm_free(bed.vmm->pmm, hoard->frame));
    now();
    return wanted;
}

static enum status lend_it(void)
{
    return vmm_lend(bed.vmm, &bed.a, part_at(0), &third, part_at(0), 2, RW, &more);
}
static enum status clone_it(void) { return vmm_clone(bed.vmm, &bed.b, &third, part_at(1), npages(PART)); }
static enum status unshare_it(void) { return vmm_unshare(bed.vmm, &bed.b, part_at(0), npages(2 * PART)); }

/* There is no frame, and who is asked for some does `meanwhile`. */
static enum status call_without_frames(enum status (*call)(void), void (*meanwhile)(void))
{
    struct hoard hoard;
    struct pmm_low low = {.reclaim = give, .ctx = &hoard};
    EXPECT_OK(pmm_alloc(bed.vmm->pmm, PMM_KERNEL, &hoard.frame));
    hoard.promised = vmm_bed_limit(&bed, 0);
    EXPECT_OK(pmm_low_add(bed.vmm->pmm, &low));
    act = meanwhile;
    enum status s = call();
    EXPECT_OK(pmm_low_remove(bed.vmm->pmm, &low));
    return s;
}

static void map_there(void)
{
    EXPECT_OK(vmm_map(bed.vmm, &third, part_at(0), npages(1), RW));
    EXPECT_OK(vmm_map(bed.vmm, &third, part_at(1), npages(1), RW));
}
static void map_beside(void) { EXPECT_OK(vmm_map(bed.vmm, &third, part_at(7), npages(1), RW)); }
static void unmap_it(void)
{
    withdraw_it();
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, part_at(0), npages(3)));
    EXPECT_OK(vmm_unmap(bed.vmm, &bed.b, part_at(1), npages(3)));
}
static void lend_it_first(void)
{
    EXPECT_OK(vmm_lend(bed.vmm, &bed.b, part_at(1), &bed.a, part_at(4), 2, R, &more));
}
static void switch_to_it(void) { vmm_bed_switch(&bed, &third); }

/* What was seen before counts no more: something is there now, or nothing, or it is shared, or tables are there. */
TEST_HOST(vmm_between, what_changes_while_a_call_waits_for_memory_is_seen)
{
    static const struct {
        enum status (*call)(void);
        void (*act)(void);
        enum status expected;
    } cases[] = {
        {lend_it, map_there, STATUS_EXISTS},    {clone_it, map_there, STATUS_EXISTS},
        {lend_it, unmap_it, STATUS_ABSENT},     {clone_it, unmap_it, STATUS_OK},
        {lend_it, map_beside, STATUS_OK},       {clone_it, lend_it_first, STATUS_SHARED},
        {lend_it, switch_to_it, STATUS_OK},     {clone_it, map_beside, STATUS_OK},
        {unshare_it, unmap_it, STATUS_OK},      {clone_it, switch_to_it, STATUS_OK},
        {unshare_it, share_more, STATUS_OK},    {unshare_it, switch_to_it, STATUS_OK},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        REQUIRE(open_between());
        if (!EXPECT_EQ(call_without_frames(cases[i].call, cases[i].act), cases[i].expected)) {
            test_note("case %u", i);
        }
        vmm_bed_switch(&bed, bed.home);
        close_between();
    }
}

/* The same struct, for another loan: it would be in two lists. */
TEST_HOST(vmm_between, a_struct_that_is_lent_with_meanwhile_is_refused)
{
    REQUIRE(open_between());
    EXPECT_OK(vmm_withdraw(bed.vmm, &loan));
    test_expect_reports(1);
    EXPECT_EQ(call_without_frames(lend_it, lend_more), STATUS_MISUSE);
    EXPECT(more.borrower == &bed.b && bed.a.lent.root == &more.by_from && avl_next(&more.by_from) == NULL);
    close_between();
}

/* ---- Marks that another CPU sets meanwhile ---- */

static bool was_copied, was_read;

/* The copy is complete when its temporary mapping goes: CPU 1 reads the first page then, if it can. */
static bool read_elsewhere(vaddr_t flushed)
{
    if (flushed.v == temp_slot_page(TEMP_SLOT_ZERO).v && !was_copied) {
        was_copied = true;
        model_use_cpu(model_machine, 1);
        if (model_can_access(model_machine, vaddr(VA_PRIVATE), false)) {
            (void)model_read64(model_machine, vaddr(VA_PRIVATE));
            was_read = true;
        }
        model_use_cpu(model_machine, 0);
    }
    return false;
}

static void open_marks(void)
{
    struct vmm_marks m;
    start_other_cpu(bed.vmm);
    EXPECT_OK(vmm_map(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(3), RW));
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(3), VMM_ACCESSED | VMM_DIRTY, &m));
    EXPECT_OK(vmm_clone(bed.vmm, &bed.a, &bed.b, vaddr(VA_PRIVATE), npages(PART)));
    change_cpu(bed.vmm);
    EXPECT_OK(space_switch(bed.vmm, &bed.a));
    change_cpu(bed.vmm);
}

/* R19. What is read while the table is copied is marked in the copy, or was not read. */
TEST_HOST(vmm_between, a_page_that_is_read_while_its_table_is_copied_is_marked)
{
    struct vmm_marks m;
    REQUIRE(vmm_bed_open(&bed));
    open_marks();
    was_copied = was_read = false;
    model_machine->loses_invlpg = read_elsewhere;
    EXPECT_OK(vmm_unshare(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(1)));
    model_machine->loses_invlpg = NULL;
    EXPECT_OK(vmm_marks(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(1), 0, &m));
    EXPECT(was_copied && (!was_read || m.accessed.v == 1));
    change_cpu(bed.vmm);
    EXPECT_OK(space_switch(bed.vmm, &bed.vmm->kernel));
    change_cpu(bed.vmm);
    vmm_bed_close(&bed);
}

/* It was broken by then: it is put back, and works as before. */
TEST_HOST(vmm_between, a_table_whose_copy_fails_is_put_back)
{
    REQUIRE(vmm_bed_open(&bed));
    open_marks();
    const pfn_t frame = {vmm_bed_frame_of(&bed, &bed.a, vaddr_add_pages(vaddr(VA_PRIVATE), 2))};
    uint64_t taken = 0;
    while (pmm_retain(bed.vmm->pmm, frame) == STATUS_OK) {
        taken++;
    }
    test_expect_reports(test_reports());
    EXPECT_EQ(vmm_unshare(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(1)), STATUS_LIMIT);
    test_expect_reports(test_reports());
    EXPECT_EQ(rights_of(&bed, &bed.a, vaddr(VA_PRIVATE)), R);
    EXPECT(vmm_bed_check(bed.vmm));
    for (; taken > 0; taken--) {
        EXPECT_OK(pmm_release(bed.vmm->pmm, frame, NULL));
    }
    EXPECT_OK(vmm_unshare(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(1)));
    change_cpu(bed.vmm);
    EXPECT_EQ(arch_read64(vaddr(VA_PRIVATE)), 0);
    EXPECT_OK(space_switch(bed.vmm, &bed.vmm->kernel));
    change_cpu(bed.vmm);
    vmm_bed_close(&bed);
}

/* A write of CPU 1 that comes just before the table is unhooked, by a translation that it has. */
static void write_elsewhere(struct model *m, pfn_t table, unsigned index, pte_t *entry)
{
    (void)table;
    (void)index;
    (void)entry;
    m->before_replace = NULL;
    model_use_cpu(m, 1);
    model_write64(m, vaddr_add_pages(vaddr(VA_PRIVATE), 300), 5);
    model_use_cpu(m, 0);
}

/* R19. The look saw no page dirty; or all that there can be, and then the table is not read once more. */
TEST_HOST(vmm_between, a_page_that_is_written_to_before_a_promotion_breaks_its_table_is_dirty)
{
    for (unsigned is_dirty = 0; is_dirty < 2; is_dirty++) {
        struct vmm_marks m;
        pfn_t run;
        REQUIRE(vmm_bed_open(&bed));
        start_other_cpu(bed.vmm);
        EXPECT_OK(pmm_alloc_run(bed.vmm->pmm, PMM_USER, npages(PART), npages(PART), npages(0), PMM_NO_LIMIT, &run));
        EXPECT_OK(vmm_map_frames(bed.vmm, &bed.a, vaddr(VA_PRIVATE), run, npages(PART), RW, false));
        change_cpu(bed.vmm);
        EXPECT_OK(space_switch(bed.vmm, &bed.a));
        if (is_dirty != 0) {
            arch_write64(vaddr(VA_PRIVATE), 1);
        }
        change_cpu(bed.vmm);
        vmm_bed_switch(&bed, &bed.a);
        const uint64_t stores = bed.vmm->counters.table_stores;
        model_machine->before_replace = write_elsewhere;
        EXPECT_OK(vmm_promote(bed.vmm, &bed.a, vaddr(VA_PRIVATE), 2, 0));
        EXPECT_EQ(bed.vmm->counters.table_stores - stores, is_dirty != 0 ? 2 : 2 + 2);
        EXPECT_OK(vmm_marks(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(PART), 0, &m));
        EXPECT_EQ(m.dirty.v, PART);
        EXPECT_OK(vmm_unmap(bed.vmm, &bed.a, vaddr(VA_PRIVATE), npages(PART)));
        EXPECT_OK(pmm_free_run(bed.vmm->pmm, run, npages(PART)));
        change_cpu(bed.vmm);
        EXPECT_OK(space_switch(bed.vmm, &bed.vmm->kernel));
        change_cpu(bed.vmm);
        vmm_bed_close(&bed);
    }
}
