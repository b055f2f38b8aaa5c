/* The tree of test/rivals/pmm/ by two CPUs at once: no frame is handed out twice, and none is lost. */
#include <pthread.h>

#include "rivals/pmm/frames.h"
#include "unit/test.h"

enum { THREAD_FRAMES = 6 * 16384 + 777, THREAD_HELD = 30000, THREAD_CALLS = 400000 };

static struct {
    void *state;
    uint8_t *used; /* a byte a frame, exchanged by whoever gets or frees it */
    pfn_t *held[TREE_CPUS];
    unsigned count[TREE_CPUS];
    unsigned wrong[TREE_CPUS];
} shared;

static void *one_cpu(void *argument)
{
    const unsigned cpu = (unsigned)(uintptr_t)argument;
    struct rng rng = rng_seeded(test_seed() + cpu);
    pfn_t *held = shared.held[cpu];
    unsigned count = 0, takes = 50, wrong = 0;
    for (unsigned i = 0; i < THREAD_CALLS; i++) {
        takes = i % 20000 == 0 ? 30 + (unsigned)rng_below(&rng, 45) : takes;
        if (count < THREAD_HELD && rng_below(&rng, 100) < takes) {
            pfn_t frame = tree_alloc_on(shared.state, cpu);
            if (frame.v != FRAMES_NONE.v) {
                held[count++] = frame;
                wrong += __atomic_exchange_n(&shared.used[frame.v], 1, __ATOMIC_ACQ_REL) != 0;
            }
        } else if (count > 0) {
            unsigned at = (unsigned)rng_below(&rng, count);
            pfn_t frame = held[at];
            held[at] = held[--count];
            wrong += __atomic_exchange_n(&shared.used[frame.v], 0, __ATOMIC_ACQ_REL) != 1;
            wrong += tree_free_on(shared.state, cpu, frame) != STATUS_OK;
        }
    }
    shared.count[cpu] = count;
    shared.wrong[cpu] = wrong;
    return NULL;
}

TEST_HOST(rivals_pmm, two_cpus_share_the_tree_without_a_lock_and_no_frame)
{
    const struct frame_run runs[] = {{{0}, {THREAD_FRAMES}}};
    pthread_t threads[TREE_CPUS];
    shared.state = tree_start(runs, 1);
    shared.used = test_pages(bytes_to_pages_up(THREAD_FRAMES).v);
    REQUIRE(shared.state != NULL && shared.used != NULL);
    for (unsigned i = 0; i < TREE_CPUS; i++) {
        shared.held[i] = test_pages(bytes_to_pages_up(THREAD_HELD * sizeof(pfn_t)).v);
        REQUIRE(shared.held[i] != NULL);
    }
    for (unsigned i = 0; i < TREE_CPUS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, one_cpu, (void *)(uintptr_t)i) == 0);
    }
    uint64_t frames = 0;
    for (unsigned i = 0; i < TREE_CPUS; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
        frames += shared.count[i];
        EXPECT_EQ(shared.wrong[i], 0);
    }
    while (tree_alloc(shared.state).v != FRAMES_NONE.v) {
        frames++;
    }
    EXPECT_EQ(frames, THREAD_FRAMES); /* the counts are right */
}
