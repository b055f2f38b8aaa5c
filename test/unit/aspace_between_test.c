/*
 * Accesses in the middle of a move: after each of its stores, invalidations and copies the page is read and written as
 * any CPU that shows it may do it just then, by all that it may hold (test/model/). Host only.
 *
 * What must be: a read finds what was written last, or faults; so does a write, and it is there after the move. After
 * the fault, which waits for the end of the move, the same is found.
 */
#include "arch/arch.h"
#include "aspace/compact.h"
#include "aspace/mapping.h"
#include "model/model.h"
#include "unit/aspace_touch.h"
#include "unit/vmm_two_cpus.h"

enum { OLD = 0x01D, NEW = 0x2E3, STEPS_MAX = 200, CPUS = 2 };

static struct aspace_bed bed;

/* One access: who, where, at which step, by which of the outcomes that are possible then. */
static struct {
    unsigned cpu;
    vaddr_t va;
    enum model_kind kind;
    unsigned step, outcome;
    unsigned at, outcomes; /* the step of now; how many outcomes there were at `step` */
    bool came;             /* it did not fault */
} visit;

static void come_between(struct model *m)
{
    if (++visit.at != visit.step) {
        return;
    }
    struct model_outcome all[MODEL_OUTCOMES];
    const unsigned mover = m->current_cpu;
    model_use_cpu(m, visit.cpu);
    visit.outcomes = model_outcomes(m, visit.va, all);
    model_use_cpu(m, mover);
    REQUIRE(visit.outcomes <= MODEL_OUTCOMES);
    if (visit.outcome >= visit.outcomes || !all[visit.outcome].mapped) {
        return;
    }
    uint64_t *word = model_frame(m, pte_pfn(all[visit.outcome].leaf));
    REQUIRE(word != NULL);
    if (visit.kind == MODEL_WRITE && (all[visit.outcome].leaf.v & PTE_W) != 0) {
        *word = NEW;
        visit.came = true;
    } else if (visit.kind == MODEL_READ) {
        EXPECT_EQ(*word, OLD);
        visit.came = true;
    }
}

/* A page, and who shows it besides. */
struct scene {
    struct aspace *space, *viewer;  /* whose page moves; whose CPU reads and writes it */
    vaddr_t va, seen;               /* where it is in the one and in the other */
};

/* What the CPUs held before is gone, and need not be thought of: it takes the model longer and longer. */
static void forget(void)
{
    const unsigned cpu = model_machine->current_cpu;
    for (unsigned i = 0; i < CPUS; i++) {
        model_use_cpu(model_machine, i);
        arch_flush_all();
    }
    model_use_cpu(model_machine, cpu);
}

/* The move of the page's frame with one visit. => the move was long enough for it */
static bool play(const struct scene *s, unsigned cpu)
{
    forget();
    put_word(&bed, s->space, s->va, OLD);
    EXPECT_OK(touch(s->viewer, s->seen, VMM_WRITE));
    const pfn_t frame = pfn(frame_shown(s->space, s->va));
    pfn_t to = pfn(0);
    enum status st;
    EXPECT_OK(pmm_alloc(bed.vmm->pmm, PMM_USER, &to));
    visit.cpu = cpu;
    visit.va = s->seen;
    visit.at = visit.outcomes = 0;
    visit.came = false;
    model_machine->between = come_between;
    EXPECT_EQ(aspaces_move_page(&bed.system, frame, to, &st), ASPACE_MOVED);
    model_machine->between = NULL;
    EXPECT(!model_frame_is_held(model_machine, frame, &(struct model_report){0}));
    EXPECT_OK(pmm_free(bed.vmm->pmm, frame));
    const uint64_t now = visit.came && visit.kind == MODEL_WRITE ? NEW : OLD;
    if (!EXPECT_EQ(get_word(&bed, s->viewer, s->seen), now) || !EXPECT_EQ(get_word(&bed, s->space, s->va), now)) {
        test_note("CPU %u, %s at step %u, outcome %u", cpu, visit.kind == MODEL_WRITE ? "write" : "read", visit.step,
                  visit.outcome);
    }
    return visit.at >= visit.step;
}

/* Every step, both kinds, every outcome. => visits that did not fault */
static unsigned play_all(const struct scene *s, unsigned cpu)
{
    static const enum model_kind kinds[] = {MODEL_READ, MODEL_WRITE};
    unsigned came = 0, faulted = 0;
    bool goes_on = true;
    for (visit.step = 1; goes_on && EXPECT(visit.step < STEPS_MAX); visit.step++) {
        for (unsigned k = 0; k < ARRAY_LEN(kinds); k++) {
            visit.kind = kinds[k];
            visit.outcome = 0;
            do {
                goes_on = play(s, cpu);
                came += visit.came;
                faulted += !visit.came;
            } while (++visit.outcome < visit.outcomes);
        }
    }
    EXPECT(visit.step > 6 && came > 0 && faulted > 0);
    return came;
}

/* CPU 1 runs in the viewer's space; this one in its own, or there too. */
static void play_scene(const struct scene *s)
{
    start_other_cpu(bed.vmm);
    change_cpu(bed.vmm);
    EXPECT_OK(space_switch(bed.vmm, &s->viewer->tables));
    change_cpu(bed.vmm);
    (void)play_all(s, 1);
    EXPECT_OK(space_switch(bed.vmm, &s->viewer->tables));
    (void)play_all(s, 0);
    EXPECT_OK(space_switch(bed.vmm, bed.home));
    change_cpu(bed.vmm);
    EXPECT_OK(space_switch(bed.vmm, &bed.vmm->kernel));
    change_cpu(bed.vmm);
    aspace_bed_close(&bed);
}

TEST_HOST(aspace_between, a_private_page)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want_at(AT_PRIVATE, npages(2), ARW, 0));
    play_scene(&(struct scene){.space = &bed.a, .viewer = &bed.a, .va = va, .seen = va});
}

TEST_HOST(aspace_between, a_page_of_an_object_in_one_space)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want(npages(2), ARW, ASPACE_GLOBAL));
    play_scene(&(struct scene){.space = &bed.a, .viewer = &bed.a, .va = va, .seen = va});
}

/* The leaves go one after the other: who sees it last writes to the same frame. */
TEST_HOST(aspace_between, a_page_that_two_spaces_show)
{
    REQUIRE(aspace_bed_open(&bed));
    const vaddr_t va = map_it(&bed.a, want(npages(2), ARW, ASPACE_GLOBAL)), there = vaddr(AT_PRIVATE);
    EXPECT_OK(aspace_share(&bed.a, va, npages(2), &bed.b, ARW, there));
    play_scene(&(struct scene){.space = &bed.a, .viewer = &bed.b, .va = va, .seen = there});
}

TEST_HOST(aspace_between, a_page_in_a_table_that_is_lent)
{
    REQUIRE(aspace_bed_open(&bed));
    struct aspace_request r = want(npages(PAGES_PER_2M), ARW, ASPACE_GLOBAL);
    r.align_log2 = 21;
    const vaddr_t va = map_it(&bed.a, r);
    put_word(&bed, &bed.a, va, OLD);
    EXPECT_OK(aspace_share(&bed.a, va, r.pages, &bed.b, ARW, vaddr(0)));
    EXPECT(bed.b.tables.borrowed.root != NULL);
    play_scene(&(struct scene){.space = &bed.a, .viewer = &bed.b, .va = va, .seen = va});
}
