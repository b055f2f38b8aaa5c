/*
 * Operations on a PMM, drawn by dice, each held against the model. The dice are a seed or a fuzzer's bytes.
 */
#ifndef CAIRN_TEST_UNIT_PMM_RANDOM_OPS_H
#define CAIRN_TEST_UNIT_PMM_RANDOM_OPS_H

#include "unit/pmm_model.h"

struct dice {
    struct rng rng;
    const uint8_t *bytes; /* null: from the seed */
    size_t left;
};

/* In [0, bound), bound > 0. Where the bytes are used up, 0. */
uint64_t dice_below(struct dice *d, uint64_t bound);
/* True once in `times`. */
bool dice_one_in(struct dice *d, uint64_t times);

/* The calls that answer with a status, and of those that answer otherwise the ones that can say no. */
enum play_call {
    CALL_INIT, CALL_ALLOC, CALL_FREE, CALL_FREE_AT, CALL_RETAIN, CALL_RELEASE, CALL_ZERO_FRAME_SET, CALL_ZERO_FRAME,
    CALL_CLAIM, CALL_GIVE_BACK, CALL_PROMISE, CALL_UNPROMISE, CALL_ALLOC_MANY, CALL_FREE_MANY, CALL_ALLOC_RUN,
    CALL_FREE_RUN, CALL_SPLIT_RUN, CALL_OWNER_OPEN, CALL_OWNER_CLOSE, CALL_UNCHARGE, CALL_LOW_ADD, CALL_LOW_REMOVE,
    CALL_EMERGENCY_RESERVE, CALL_ZONE_RESERVE, CALL_ALLOC_ZEROED, CALL_ZERO_FILL, CALL_MARK_BAD, CALL_REGION_ADD,
    CALL_REGION_REMOVE,
    PLAY_CALLS,
};
const char *play_call_name(enum play_call call);

enum { PLAY_STATUSES = STATUS_NOT_YET + 1, PLAY_LOWS = 3, PLAY_MANY = 300, PLAY_HOLDS_SLACK = 3 };

/* How often each call answered what, over all games. */
struct play_tally {
    uint64_t seen[PLAY_CALLS][PLAY_STATUSES];
    uint64_t reports;
};

struct play;
struct play_low {
    struct pmm_low low;
    struct play *play;
    bool is_added;
    uint64_t calls;  /* in this call */
    bool was_called; /* since a request last found as much as its threshold available */
};

struct play {
    struct dice dice;
    struct bed_arena *arena;
    struct pmm_bed *bed;
    struct pmm_model *model;
    struct pmm *pmm;
    struct play_tally *tally;
    struct play_low lows[PLAY_LOWS];
    unsigned callbacks;    /* enum play_callbacks, of the call in progress */
    bool reclaims;         /* a callback is being called */
    bool has_swapped;      /* callbacks have allocated in this call, not only freed */
    uint64_t backs;        /* calls of back() before the call in progress */
    uint64_t zeroing;      /* the frame that is being zeroed, or MODEL_NO_FRAME */
    uint64_t zeroed;       /* frames, in the filling in progress */
    bool is_traced;
    bool limit_was_tried;  /* 65,000 references take their time */
    uint64_t traced, to_trace; /* frames handed out since there is a trace: told, and so it is */
    uint64_t drawn;        /* frames that this step drew with PMM_EMERGENCY */
    bool is_corrupt;       /* a call of this step said so */
    uint64_t may_lose;     /* frames that are gone when the backing fails in this step */
    uint64_t step;
    const char *what;      /* the last operation's name */
    unsigned reports;      /* before the call in progress */
    pfn_t frames[PLAY_MANY];
};

enum play_depth {
    PLAY_LIGHT,    /* totals after each step, everything now and then */
    PLAY_THOROUGH, /* everything after each step */
};

/*
 * A game: a map of at most so many blocks (>= 5), a bed and a model, all drawn from p->dice, and pmm_init. `fail_at`:
 * that call of back() and all later ones fail; 0: none. false: this map does not make a game (p->bed is null then), or
 * something is wrong.
 */
bool play_begin(struct play *p, struct bed_arena *arena, struct play_tally *tally, uint64_t most_blocks,
                uint64_t fail_at);
/* One operation, and what must hold after it. false: something is wrong, and it was said what. */
bool play_step(struct play *p, enum play_depth depth);
/* All frames come back, and then all is as at first. */
bool play_end(struct play *p);

/* ---- What the operations share (pmm_random_ops.c) ---- */

/* What callbacks may do that are called in this call. */
enum play_callbacks { CALLS_NOBODY, CALLS_TO_FREE, CALLS_TO_ALLOCATE };
/* Around each call: `may` is what it may answer. Counts statuses and reports; true where all is well and it is OK. */
void play_calls(struct play *p, enum play_callbacks callbacks);
bool play_answers(struct play *p, enum play_call call, enum status s, unsigned may);
/* The statuses of a request: before what it did is written down. */
bool play_served(struct play *p, enum play_call call, unsigned flags, uint64_t n, enum status s);
void play_took(struct play *p, unsigned flags, pfn_t frame); /* one frame of a request that was OK */
/* After a request that got frames of this zone: is what the zone keeps left there? */
void play_zone_is_kept(struct play *p, unsigned flags, enum pmm_zone zone);

uint64_t play_find(struct play *p, enum model_kind kind); /* any frame of that kind, or MODEL_NO_FRAME */
uint64_t play_anywhere(struct play *p);                   /* in use, anywhere in the window, or wild */
uint64_t play_in_use(struct play *p);                     /* mostly used once */
unsigned play_flags(struct play *p);
unsigned play_owner(struct play *p);                      /* most of the time one that is open */
/* A frame in use lost its last reference, or will: its own block's owner is charged less. */
unsigned play_owner_of(const struct play *p, uint64_t frame);
void play_released(struct play *p, uint64_t frame, unsigned owner);

/* ---- The operations ---- */

/* pmm_random_frames.c */
void play_alloc(struct play *p);
void play_free(struct play *p);
void play_retain(struct play *p);
void play_reference_limit(struct play *p);
void play_zero_frame(struct play *p);
void play_claim(struct play *p);
void play_give_back(struct play *p);
void play_promise(struct play *p);
void play_questions(struct play *p);

/* pmm_random_runs.c */
void play_alloc_many(struct play *p);
void play_free_many(struct play *p);
void play_alloc_run(struct play *p);
void play_free_run(struct play *p);
void play_split_run(struct play *p);
void play_largest_run(struct play *p);

/* pmm_random_owners.c */
void play_owner_open(struct play *p);
void play_owner_close(struct play *p);
void play_uncharge(struct play *p);
void play_policy(struct play *p);

/* pmm_random_change.c */
void play_promise_all(struct play *p);
void play_mark_bad(struct play *p);
void play_region_add(struct play *p);
void play_region_remove(struct play *p);

/* pmm_random_pressure.c */
void play_lows(struct play *p);
/* After a request for frames: were those called that must be? */
void play_lows_after(struct play *p, unsigned flags, uint64_t avail_before, enum status s);
void play_reserves(struct play *p);
void play_squeeze(struct play *p);
void play_alloc_zeroed(struct play *p);
void play_zero_fill(struct play *p);
void play_drain(struct play *p);
void play_trace(struct play *p);

#endif
