/*
 * The benchmark `fragmentation`: how many blocks of 512 frames are whole after long use, in percent of as many as there
 * could be (free frames / 512).
 *
 *   W1   fill to 95 %, free random frames down to the level; 200 rounds: free 5 % of all at random, allocate back.
 *        Mean of the last 20
 *   W2   eight processes grow at a time, a random one by 1-32 frames a turn; sizes log-uniform from 16 to 1/32 of all
 *        frames; climb to 95 %; then random finished ones exit until the level is reached; hold it, growing, for N/2
 *        allocations; measure; climb again. Mean of all samples after the first 10 N of 40 N allocations
 *   W2k  and after each fiftieth user frame one of the kernel; above 4 % of the level these die at random
 *   W2s  W2 with processes of 16 frames to just less than 1/256 of all
 *
 * N is 2^20 (4 GiB): processes of up to 32,768 and 4,095 frames.
 */
#ifndef CAIRN_TEST_BENCH_FRAGMENTATION_H
#define CAIRN_TEST_BENCH_FRAGMENTATION_H

#include "bench/bench.h"
#include "lib/units.h"

/* Who wants a frame. A process has a number of the subject's. */
enum { FRAG_NOBODY = 0, FRAG_KERNEL = UINT32_MAX };

/* Frames are numbers from 0 to the subject's end, whatever the machine calls them. */
struct frag_subject {
    const char *name;
    /* Another subject that hands out the very same frames (rivals_pmm tests), so that one is played; or null. */
    const char *same_as;
    void (*start)(const struct frag_subject *self, uint64_t frames);
    uint64_t (*alloc)(uint32_t who); /* UINT64_MAX: nothing is free */
    void (*free)(uint64_t frame);
    /* A process comes. Null: they are all alike. */
    uint32_t (*open)(void);
    /* It goes: each of its frames is handed to `leave`, then close. Null: they are freed. */
    void (*leave)(uint32_t who, uint64_t frame);
    void (*close)(uint32_t who);
    /* Percent of the frames of processes that went back with blocks of their own. Null: nobody has such. */
    double (*own)(void);
    /* Frames that nobody has, and that are not to be had as they lie: its own, those in caches. */
    void (*hidden)(void (*tell)(uint64_t first, uint64_t frames));
    void (*end)(void);
};

enum { FRAG_SUBJECTS = 17 };
extern const struct frag_subject frag_subjects[FRAG_SUBJECTS];

struct frag_figures {
    double whole;    /* percent of the ideal */
    double to_move;  /* frames, until nine tenths of the ideal are whole; kernel frames stay. < 0: that cannot be */
    double runs_64k; /* percent of what is free, in aligned runs of 16 frames */
    double own;      /* percent of the frames of processes; < 0: the subject does not say */
};

/* ---- What is in use, beside the subject's own books ---- */

void frag_books_begin(uint64_t frames);
void frag_books_end(void);
void frag_used(uint64_t frame, bool by_kernel);
void frag_freed(uint64_t frame, bool by_kernel);
uint64_t frag_in_use(void);
struct frag_figures frag_measure(const struct frag_subject *subject);

/* ---- Workloads ---- */

enum frag_kind { FRAG_W1, FRAG_W2, FRAG_W2K, FRAG_W2S, FRAG_KINDS };
struct frag_play {
    uint64_t frames, traffic; /* allocations in all, of W2 */
    unsigned rounds;          /* of W1; the last tenth is measured */
    uint64_t seed;
};
struct frag_figures frag_play(const struct frag_subject *s, enum frag_kind kind, unsigned percent,
                              const struct frag_play *play);

#endif
