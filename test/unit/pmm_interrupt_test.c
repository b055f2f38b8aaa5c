/*
 * A timer interrupt that itself allocates and frees lands on every instruction of the PMM's calls in turn. In the
 * kernel only: the call runs with interrupts on and EFLAGS.TF set, and the debug exception behind its k-th instruction
 * is the interrupt, for k = 0, 1, 2, ... until the call has no k-th instruction. Where the call has interrupts off no
 * interrupt could land.
 *
 * The first of the interrupt's works comes exactly so. For the others it is not stepped through what runs with
 * interrupts off, which is most of a call: TF comes back with the flags that were saved in front of it. That leaves out
 * one place each time, between the POPF and the instruction behind it, where nothing of the PMM happens.
 *
 * Real interrupts stay away meanwhile: the interrupt controller is masked. The last test lets the real timer in.
 */
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/interrupt.h"
#include "kernel/machine.h"
#include "pmm/pmm_owners.h"
#include "pmm/pmm_pressure.h"
#include "unit/pmm_bed.h"
#include "unit/pmm_scene.h"

/* ---- The stepper ---- */

enum { FLAG_TRAP = 1 << 8, FLAG_INTERRUPTS = 1 << 9, EVERY_INSTRUCTION = -1, EXCEPTION_DEBUG = 1 };

static struct {
    bool on;
    bool exact;     /* through what runs with interrupts off as well */
    int64_t wanted; /* the interrupt comes behind this instruction, of those that one can come behind */
    int64_t seen;   /* of these, so far */
    uint64_t landed;
    struct scene *scene;
    const struct scene_timer *timer;
} stepping;

static void on_step(struct interrupt_frame *f)
{
    bool could_come = (f->rflags & FLAG_INTERRUPTS) != 0;
    if (stepping.on && could_come) {
        if (stepping.wanted == EVERY_INSTRUCTION || stepping.seen == stepping.wanted) {
            stepping.landed++;
            stepping.timer->run(stepping.scene);
        }
        stepping.on = stepping.seen != stepping.wanted;
        stepping.seen++;
    }
    if (!stepping.on || (!could_come && !stepping.exact)) {
        f->rflags &= ~(uint64_t)FLAG_TRAP; /* flags saved by the call may bring it back: then once more */
    }
}

/* The 8259A pair, by its data sheet: vectors 0x20 to 0x2F, all masked but those of `open`. */
enum { PIC_MASTER = 0x20, PIC_SLAVE = 0xA0, PIC_DATA = 1, PIC_VECTOR = 0x20, PIC_EOI = 0x20, IRQ_TIMER = 0 };

static void interrupt_controller(uint8_t open)
{
    enum { INIT_WITH_ICW4 = 0x11, SLAVE_VECTORS = 8, SLAVE_AT_IRQ2 = 4, SLAVE_ID = 2, MODE_8086 = 1, ALL = 0xFF };
    static const uint8_t words[][2] = {
        {PIC_VECTOR, PIC_VECTOR + SLAVE_VECTORS}, {SLAVE_AT_IRQ2, SLAVE_ID}, {MODE_8086, MODE_8086}, {ALL, ALL}};
    out8(PIC_MASTER, INIT_WITH_ICW4);
    out8(PIC_SLAVE, INIT_WITH_ICW4);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        out8(PIC_MASTER + PIC_DATA, words[i][0]);
        out8(PIC_SLAVE + PIC_DATA, words[i][1]);
    }
    out8(PIC_MASTER + PIC_DATA, (uint8_t)~open);
}

static inline void flags_set(uint64_t flags)
{
    __asm__ volatile("pushfq\n\torq %0, (%%rsp)\n\tpopfq" : : "r"(flags) : "memory", "cc");
}

static inline void flags_clear(uint64_t flags)
{
    __asm__ volatile("pushfq\n\tandq %0, (%%rsp)\n\tpopfq" : : "r"(~flags) : "memory", "cc");
}

/* => the interrupt landed. */
static bool run_stepped(struct scene *sc, const struct scene_call *call, const struct scene_timer *timer,
                        int64_t wanted)
{
    stepping.scene = sc;
    stepping.timer = timer;
    stepping.exact = timer == scene_timers;
    stepping.wanted = wanted;
    stepping.seen = 0;
    stepping.landed = 0;
    stepping.on = true;
    flags_set(FLAG_TRAP | FLAG_INTERRUPTS);
    call->run(sc);
    flags_clear(FLAG_TRAP | FLAG_INTERRUPTS);
    stepping.on = false;
    return stepping.landed > 0;
}

/* ---- One call, one interrupt ---- */

static bool sound(const struct scene *sc)
{
    char text[512];
    struct buffer_sink sink;
    buffer_sink_init(&sink, text, sizeof text);
    bool ok = EXPECT_EQ(pmm_check(sc->pmm, &sink.sink), STATUS_OK);
    if (!ok) {
        test_note("%s", text);
    }
    return ok;
}

enum { CHECK_EVERY_BED = 8, CHECK_EVERY_MACHINE = 64 }; /* instructions: what is wrong then stays wrong */

/* The call once, the interrupt behind instruction `wanted`; *landed: it came before the call ended. */
static bool once(struct scene *sc, const struct scene_call *call, const struct scene_timer *timer, int64_t wanted,
                 bool check, bool *landed)
{
    struct pmm_stats before = pmm_stats(sc->pmm);
    bool ok = scene_begin(sc) && call->prepare(sc);
    if (ok) {
        *landed = run_stepped(sc, call, timer, wanted);
        uint64_t held = sc->held_count + sc->run_frames.v + sc->timer_count;
        struct pmm_stats now = pmm_stats(sc->pmm);
        /* The interrupt may have taken the last. */
        bool too_few = sc->scarce && sc->status == STATUS_NOMEM && now.free.v < call->needs;
        ok = (too_few || EXPECT_EQ(sc->status, STATUS_OK)) && EXPECT_EQ(sc->timer_status, STATUS_OK);
        ok = ok && scene_apart(sc) && EXPECT_EQ(now.used.v, before.used.v + held) && (!check || sound(sc));
    }
    ok = scene_end(sc) && ok;
    pmm_drain(sc->pmm);
    struct pmm_stats after = pmm_stats(sc->pmm);
    ok = EXPECT_EQ(after.free.v, before.free.v) && EXPECT_EQ(after.used.v, before.used.v) && ok;
    ok = EXPECT_EQ(after.cached.v, 0) && ok;
    if (!ok) {
        test_note("%s, behind instruction %ld of those that can be interrupted: %s", call->name, wanted, timer->name);
    }
    return ok;
}

/* Uninterrupted, the call does what its name says. */
static bool does_it(struct scene *sc, const struct scene_call *call)
{
    bool ok = scene_begin(sc) && call->prepare(sc);
    struct pmm_stats before = pmm_stats(sc->pmm);
    if (ok) {
        call->run(sc);
    }
    struct pmm_stats after = pmm_stats(sc->pmm);
    ok = ok && EXPECT_EQ(sc->status, STATUS_OK);
    ok = ok && (call->event == SCENE_ANY || EXPECT_EQ(after.refills, before.refills + (call->event == SCENE_REFILL)));
    ok = ok && (call->event == SCENE_ANY || EXPECT_EQ(after.flushes, before.flushes + (call->event == SCENE_FLUSH)));
    ok = scene_end(sc) && ok;
    pmm_drain(sc->pmm);
    if (!ok) {
        test_note("%s, uninterrupted", call->name);
    }
    return ok;
}

/*
 * Behind every instruction of the call, one after the other; then behind each in one go, where that can be. *places:
 * how many there were.
 */
static bool everywhere(struct scene *sc, const struct scene_call *call, const struct scene_timer *timer,
                       int64_t check_every, int64_t *places)
{
    bool landed = true;
    *places = 0;
    while (landed) {
        if (!once(sc, call, timer, *places, *places % check_every == 0, &landed)) {
            return false;
        }
        *places += landed;
    }
    return !timer->balanced || once(sc, call, timer, EVERY_INSTRUCTION, true, &landed);
}

static bool interrupt_call(struct scene *sc, const struct scene_call *call, int64_t check_every)
{
    enum { PLACES_MIN = 8 }; /* a call has more instructions that can be interrupted */
    int64_t exact = 0, places;
    for (const struct scene_timer *timer = scene_timers; timer->name != NULL; timer++) {
        if (!everywhere(sc, call, timer, check_every, &places)) {
            return false;
        }
        exact = timer == scene_timers ? places : exact;
        if (!EXPECT(places > PLACES_MIN && places >= exact - exact / 4)) { /* and TF always came back */
            test_note("%s: %ld places, %ld for the first interrupt", call->name, places, exact);
            return false;
        }
    }
    return true;
}

static bool interrupt_calls(struct scene *sc, const struct scene_call *calls, int64_t check_every)
{
    bool ok = true;
    interrupt_handler *before = interrupt_hook(EXCEPTION_DEBUG, on_step);
    interrupt_controller(0);
    for (const struct scene_call *call = calls; ok && call->name != NULL; call++) {
        ok = does_it(sc, call) && interrupt_call(sc, call, check_every);
    }
    interrupt_hook(EXCEPTION_DEBUG, before);
    return ok;
}

/* ---- The beds ---- */

enum { BED_BLOCK = 2048 /* at 4 GiB */, BED_LOW_BLOCKS = 2, BED_BLOCKS = 6, BED_POOL_FRAMES = 16, BED_OWNERS = 2 };

static struct pmm_bed *machine_with_magazines(struct bed_arena *arena)
{
    struct pmm_bed *bed = bed_new(arena, BED_BLOCK - BED_LOW_BLOCKS, BED_BLOCK + BED_BLOCKS, 0);
    if (bed == NULL) {
        return NULL;
    }
    bed_run(bed, (BED_BLOCK - BED_LOW_BLOCKS) * PMM_BLOCK_FRAMES, (BED_LOW_BLOCKS + BED_BLOCKS) * PMM_BLOCK_FRAMES);
    bed_with_cpus(bed, 1);
    bed_with_owners(bed, BED_OWNERS);
    bed_with_zero_pool(bed, BED_POOL_FRAMES);
    return bed_starts(bed) ? bed : NULL;
}

static void on_a_bed(unsigned flags, const struct scene_call *calls)
{
    struct pmm_bed *bed = machine_with_magazines(NULL);
    REQUIRE(bed != NULL);
    struct scene sc = {.pmm = &bed->pmm, .flags = flags};
    REQUIRE(pmm_owner_open(&bed->pmm, &sc.owner) == STATUS_OK);
    interrupt_calls(&sc, calls, CHECK_EVERY_BED);
    EXPECT_EQ(pmm_owner_close(&bed->pmm, sc.owner, NULL), STATUS_OK);
    bed_sound(bed);
}

TEST(pmm_interrupt, an_interrupt_may_allocate_and_free_at_every_instruction_of_a_kernel_call)
{
    on_a_bed(PMM_KERNEL, scene_calls);
}

TEST(pmm_interrupt, an_interrupt_may_allocate_and_free_at_every_instruction_of_a_user_call)
{
    on_a_bed(PMM_USER, scene_calls);
}

TEST(pmm_interrupt, so_it_may_where_owners_and_zeroed_frames_are_asked_for)
{
    on_a_bed(PMM_USER, scene_bed_calls);
}

TEST(pmm_interrupt, so_it_may_on_the_machines_own_frames)
{
    struct scene sc = {.pmm = &machine.pmm, .flags = PMM_KERNEL};
    pmm_drain(&machine.pmm);
    interrupt_calls(&sc, scene_calls, CHECK_EVERY_MACHINE);
}

TEST(pmm_interrupt, an_interrupt_may_land_in_an_alloc_that_opens_a_block)
{
    struct bed_arena arena = bed_arena();
    interrupt_handler *before = interrupt_hook(EXCEPTION_DEBUG, on_step);
    interrupt_controller(0);
    bool ok = true;
    for (const struct scene_timer *timer = scene_timers; ok && timer->name != NULL; timer++) {
        bool landed = true;
        for (int64_t k = 0; ok && landed; k++) {
            struct pmm_bed *bed = machine_with_magazines(&arena);
            ok = EXPECT(bed != NULL);
            struct scene sc = {.pmm = &bed->pmm, .flags = PMM_KERNEL};
            ok = ok && once(&sc, &scene_opening_call, timer, k, true, &landed);
        }
    }
    interrupt_hook(EXCEPTION_DEBUG, before);
    struct pmm_bed *bed = machine_with_magazines(&arena);
    REQUIRE(bed != NULL);
    struct scene sc = {.pmm = &bed->pmm, .flags = PMM_KERNEL};
    REQUIRE(scene_begin(&sc));
    uint64_t untouched = pmm_stats(&bed->pmm).untouched.v;
    scene_opening_call.run(&sc);
    EXPECT(pmm_stats(&bed->pmm).untouched.v < untouched);
}

TEST(pmm_interrupt, where_frames_are_scarce_none_is_lost_and_none_is_refused_that_is_there)
{
    enum { NEEDS_MAX = 2, FREE = SCENE_TIMER_FRAMES + NEEDS_MAX };
    struct pmm_bed *bed = machine_with_magazines(NULL);
    uint64_t first = (BED_BLOCK + 2) * PMM_BLOCK_FRAMES;
    REQUIRE(bed != NULL && bed_fill(bed, first, PMM_BLOCK_FRAMES));
    for (uint64_t i = 0; i < FREE; i++) {
        REQUIRE(pmm_free(&bed->pmm, pfn(first + 3 * i)) == STATUS_OK);
    }
    pmm_drain(&bed->pmm);
    struct scene sc = {.pmm = &bed->pmm, .flags = PMM_KERNEL, .scarce = true};
    struct scene_call few[2] = {0};
    for (const struct scene_call *call = scene_calls; call->name != NULL; call++) {
        few[0] = *call;
        if (call->needs <= NEEDS_MAX && !interrupt_calls(&sc, few, CHECK_EVERY_BED)) {
            return;
        }
    }
}

/* ---- The real timer ---- */

/* 8254, by its data sheet. */
enum { PIT_CHANNEL_0 = 0x40, PIT_CONTROL = 0x43, PIT_RATE_LOW_HIGH = 0x34, PIT_DIVISOR = 119 /* 10 kHz */ };

static struct scene *timer_scene;
static uint64_t timer_ticks;

static void on_timer(struct interrupt_frame *f)
{
    (void)f;
    static const unsigned in_turn[] = {0, 2, 3, 5, 1, 2, 4, 7, 6, 8}; /* takes and gives the same over a round */
    scene_timers[in_turn[timer_ticks % ARRAY_LEN(in_turn)]].run(timer_scene);
    timer_ticks++;
    out8(PIC_MASTER, PIC_EOI);
}

TEST(pmm_interrupt, the_real_timer_may_land_wherever_it_does)
{
    enum { TICKS = 300, CALLS_MAX = 3000000 };
    struct scene sc = {.pmm = &machine.pmm, .flags = PMM_KERNEL};
    struct rng rng = rng_seeded(test_seed());
    pmm_drain(&machine.pmm);
    struct pmm_stats before = pmm_stats(&machine.pmm);
    timer_scene = &sc;
    timer_ticks = 0;
    interrupt_handler *other = interrupt_hook(PIC_VECTOR + IRQ_TIMER, on_timer);
    interrupt_controller(1 << IRQ_TIMER);
    out8(PIT_CONTROL, PIT_RATE_LOW_HIGH);
    out8(PIT_CHANNEL_0, PIT_DIVISOR);
    out8(PIT_CHANNEL_0, 0);
    bool ok = true;
    uint64_t done = 0;
    for (; ok && done < CALLS_MAX && timer_ticks < TICKS; done++) {
        uint64_t room = SCENE_HELD_MAX - sc.held_count;
        bool more = sc.held_count == 0 || (room > 0 && rng_below(&rng, 2) == 0);
        for (uint64_t n = 1 + rng_below(&rng, more ? room : sc.held_count); ok && n > 0; n--) {
            flags_set(FLAG_INTERRUPTS);
            scene_calls[more ? 0 : 2].run(&sc);
            flags_clear(FLAG_INTERRUPTS);
            ok = EXPECT_EQ(sc.status, STATUS_OK) && EXPECT_EQ(sc.timer_status, STATUS_OK);
        }
    }
    interrupt_controller(0);
    interrupt_hook(PIC_VECTOR + IRQ_TIMER, other);
    EXPECT(timer_ticks >= TICKS);
    scene_apart(&sc);
    sound(&sc);
    scene_end(&sc);
    pmm_drain(&machine.pmm);
    struct pmm_stats after = pmm_stats(&machine.pmm);
    EXPECT_EQ(after.free.v, before.free.v);
    EXPECT_EQ(after.used.v, before.used.v);
    sound(&sc);
}
