/*
 * Many tasks at play, against a plain model: who has which page with what rights and what is written there, which
 * messages wait for whom, who is ready in what order. The model shares nothing with what it judges: arrays, searched
 * from one end to the other.
 */
#ifndef CAIRN_TEST_UNIT_TASK_PLAY_H
#define CAIRN_TEST_UNIT_TASK_PLAY_H

#include "unit/task_bed.h"

enum {
    TPLAY_TASKS = 8,
    TPLAY_PAGES = 1024,
    TPLAY_SEGMENTS = 6,
    TPLAY_LIMIT_PAGES = 32,
    TPLAY_LIMIT_MESSAGES = 4,
    TPLAY_DATA_BYTES = 64, /* at most, of those that a page begins with */
    TPLAY_STATUSES = STATUS_AGAIN + 1,
    TPLAY_BUFFER = 2048,   /* byte of a page where a task has what it tells and is told; the model looks at byte 0 on */
};

struct tplay_page {
    uint64_t va, word;
    bool is_private;           /* of one task: others may have another one at this address */
    bool has[TPLAY_TASKS], sealed[TPLAY_TASKS];
    bool gave[TPLAY_TASKS][TPLAY_TASKS]; /* to whom; once, at least */
    uint8_t rights[TPLAY_TASKS], allowed[TPLAY_TASKS];
};

/* A segment has a frame there: if it must go, and others have the segment, a resize is refused. */
enum tplay_use { TPLAY_NOT_IN_USE, TPLAY_MAYBE_IN_USE, TPLAY_IN_USE };

struct tplay_segment {
    uint64_t va, pages;          /* va 0: none */
    unsigned owner;
    bool is_file;
    uint8_t rights[TPLAY_TASKS]; /* 0: it may not use it */
    struct tplay_segment_page {
        uint64_t word;
        enum tplay_use use;
    } page[TPLAY_LIMIT_PAGES];
};

struct tplay_message {
    unsigned sender, kind;
    uint64_t count, words[2], bytes, word; /* bytes: of data, which begin with this word */
};

struct tplay_task {
    struct task *task; /* null: nobody */
    unsigned id, waits_for;
    enum task_state state;
    bool asks_again;
    struct tplay_message queue[TPLAY_LIMIT_MESSAGES];
    unsigned messages;
};

struct tplay {
    struct task_bed bed;
    struct rng rng;
    struct tplay_task tasks[TPLAY_TASKS];
    struct tplay_page pages[TPLAY_PAGES];
    struct tplay_segment segments[TPLAY_SEGMENTS];
    uint64_t gone_va;                                    /* of a segment that is no more */
    unsigned page_count, ready[TPLAY_TASKS], ready_count; /* places of tasks, in order */
    int running;                                         /* a place; -1: nobody */
    uint64_t next_count;                                 /* of messages */
    bool is_scarce;                                      /* the call may say NOMEM */
    bool has_dice;                                       /* numbers come from `dice`, until none are left */
    const uint8_t *dice;
    size_t dice_left;
    unsigned answers[TASK_CALLS + 1][TPLAY_STATUSES];     /* [TASK_CALLS]: no such call */
    unsigned calls;
};

#define BIT(status) (1U << STATUS_##status)
#define TPLAY_OR_OK (1U << 31) /* among reasons: the model does not know better */

/* ---- task_play.c: the model ---- */

static inline uint64_t tplay_die(struct tplay *p)
{
    return p->dice_left > 0 ? p->dice_left--, (uint64_t)*p->dice++ : 0;
}
static inline uint64_t tplay_below(struct tplay *p, uint64_t n)
{
    if (!p->has_dice) {
        return rng_next(&p->rng) % n;
    }
    return (n <= 256 ? tplay_die(p) : tplay_die(p) << 8 | tplay_die(p)) % n;
}
/* The page of this task at `va`; null: it has none. */
struct tplay_page *tplay_page_of(struct tplay *p, unsigned t, uint64_t va);
/* A new one that nobody has. */
struct tplay_page *tplay_page_new(struct tplay *p, uint64_t va, bool is_private);
void tplay_page_have(struct tplay_page *page, unsigned t, unsigned rights);
void tplay_page_lose(struct tplay *p, struct tplay_page *page, unsigned t);
npages_t tplay_pages(const struct tplay *p, unsigned t);
/* The place of a living task with this id; -1: none. */
int tplay_find(const struct tplay *p, uint64_t id);
/* A place that is free; -1: none. */
int tplay_place(const struct tplay *p);
void tplay_enter(struct tplay *p, unsigned t, struct task *task);
void tplay_make_ready(struct tplay *p, unsigned t);
/* It is gone, and who waits for it is told. */
void tplay_leave(struct tplay *p, unsigned t);
/* Everything of the model against what there is. */
bool tplay_agrees(struct tplay *p);
/* Some pages are read and written by who has them. */
bool tplay_touch(struct tplay *p);

/* ---- task_play_segments.c ---- */

/* In whose slot the address is; and if this task may use it. Null: none. */
struct tplay_segment *tplay_segment_at(struct tplay *p, uint64_t va);
struct tplay_segment *tplay_segment_of(struct tplay *p, unsigned t, uint64_t va);
/* Is there a segment, and is the address before its end? */
bool tplay_segment_has(const struct tplay_segment *s, uint64_t va);
/* It may use it no more; the owner's end is everybody's. */
void tplay_segment_lose(struct tplay *p, struct tplay_segment *s, unsigned t);
/* Who may do what there, and where it ends. */
bool tplay_segment_agrees(struct tplay *p, const struct tplay_segment *s, unsigned t);
bool tplay_segment_touch(struct tplay *p);
/* What is wrong with granting it to `to` (a place; -1: no such task). */
unsigned tplay_grant_reasons(struct tplay *p, int to, uint64_t va, uint64_t rights);
/* Drawn: an address in one; a size that is often the segment's. */
uint64_t tplay_draw_segment(struct tplay *p);
uint64_t tplay_draw_bytes_at(struct tplay *p, uint64_t va);

/* ---- task_play_game.c ---- */

/* A fresh bed, three tasks. => false: the bed could not be opened */
bool tplay_begin(struct tplay *p, struct rng rng);
/* One call, turn, birth or death, and everything compared. => false: something is wrong */
bool tplay_step(struct tplay *p);

/* ---- task_play_calls.c: calls of the running task, told what they may answer ---- */

/* => false: it answered what it may not, or did not do what it said */
bool tplay_memory_call(struct tplay *p);
bool tplay_message_call(struct tplay *p);
bool tplay_segment_call(struct tplay *p);
bool tplay_other_call(struct tplay *p);
bool tplay_clone_call(struct tplay *p);
/* The kernel kills some task; also when none runs. */
bool tplay_kill(struct tplay *p);

/* ---- task_play_args.c ---- */

/* The call, its answer among `reasons`; none of them: OK. => the answer; TASK_BED_WAITS; UINT32_MAX: it is wrong */
unsigned tplay_call(struct tplay *p, uint64_t number, struct task_words words, unsigned reasons);
#define CALL_IT(p, number, reasons, ...) \
    tplay_call((p), (number), (struct task_words){{__VA_ARGS__}}, (reasons))
/* Rights that no call takes: unknown ones, or to write and to execute. */
static inline bool tplay_are_wrong(uint64_t rights) { return rights > 7 || (rights & 6) == 6; }
/* Drawn: half of them good for the running task. */
uint64_t tplay_draw_va(struct tplay *p);
uint64_t tplay_draw_bytes(struct tplay *p);
uint64_t tplay_draw_rights(struct tplay *p);
uint64_t tplay_draw_id(struct tplay *p);
/* Where the running task can have an answer; 0: nowhere. */
uint64_t tplay_buffer(struct tplay *p);
/* A module's name, mostly, where it can be read, and what is wrong with it. */
struct tplay_name {
    uint64_t va, bytes;
    unsigned reasons;
};
struct tplay_name tplay_draw_name(struct tplay *p);
/* What is wrong with a range of this task: INVALID, RANGE, ABSENT. */
unsigned tplay_range_reasons(struct tplay *p, unsigned t, uint64_t va, uint64_t bytes);
/* What is wrong with giving it to `to` (a place; -1: no such task; TPLAY_TASKS: to one that has nothing yet). */
unsigned tplay_give_reasons(struct tplay *p, int to, uint64_t va, uint64_t bytes, uint64_t rights, bool takes);
/* The model does it. */
void tplay_give(struct tplay *p, unsigned to, uint64_t va, uint64_t bytes, uint64_t rights, bool takes);
static inline uint64_t tplay_page_count(uint64_t bytes) { return bytes_to_pages_up(bytes).v; }

#endif
