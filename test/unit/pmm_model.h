/*
 * The slow, obvious model of the PMM: a few bytes a frame, everything by looking at every frame. It shares no code with
 * src/pmm/.
 *
 * What is policy (which free frame is served, whether an owner gets a block of its own, what lies in a magazine) it
 * takes from the PMM's own answers and checks that they may be so. For each call it says which statuses are right;
 * NOMEM is judged after the call, before what it did is written down, so that what callbacks gave back meanwhile
 * counts.
 */
#ifndef CAIRN_TEST_UNIT_PMM_MODEL_H
#define CAIRN_TEST_UNIT_PMM_MODEL_H

#include "pmm/pmm_change.h"
#include "pmm/pmm_owners.h"
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"
#include "unit/pmm_bed.h"

enum model_kind {
    MODEL_OUTSIDE,
    MODEL_ABSENT,
    MODEL_FREE, /* from here on it is RAM */
    MODEL_USED,
    MODEL_RUN, /* in a block handed out whole */
    MODEL_ZERO,
    MODEL_RESERVED,
    MODEL_BAD,
    MODEL_METADATA,
    MODEL_GONE, /* was free until the backing failed; nobody knows */
    MODEL_KINDS,
};

enum model_mark { /* bits, of frames */
    MARK_GOES_BAD = 1 << 0,
    MARK_WAS_SHARED = 1 << 1, /* since it was allocated */
    MARK_CLAIMED = 1 << 2,    /* by nobody's owner */
    MARK_ZEROED = 1 << 3,     /* its contents are zero, until somebody gets it */
    MARK_GOING = 1 << 4,      /* with its owner */
};

enum { MODEL_OWNERS = 8, MODEL_NONE_RUN = 0 };
#define MODEL_NO_FRAME UINT64_MAX

struct model_owner {
    bool is_open;
    uint64_t held;  /* frames: drawn, neither freed in its own block nor uncharged */
    uint64_t drawn; /* frames */
};

struct pmm_model {
    struct pmm_bed *bed;
    uint64_t first, end;   /* the window, in frames */
    uint8_t *kind;         /* [frame - first] */
    uint8_t *marks;        /* [frame - first], enum model_mark */
    uint16_t *references;  /* [frame - first] */
    uint16_t *region;      /* [block - first block]: number of its region, from 1 up; 0: none */
    uint32_t *run;         /* [block - first block]: number of the run it was handed out in; 0: none */
    bool *is_head;         /* [block - first block]: the run began here */
    bool *is_left_out;     /* [block - first block] */
    uint8_t *node;         /* [block - first block] */
    uint64_t *scratch[2];  /* slots for temporary sets */
    uint64_t counts[MODEL_KINDS];
    uint16_t regions_made;
    uint32_t runs_made;
    uint64_t promised, emergency, emergency_wanted; /* frames */
    uint64_t zone_reserve[PMM_ZONES];
    uint64_t zero_frame;   /* or MODEL_NO_FRAME */
    uint64_t cached;       /* frames in magazines and in the zero pool before the call in progress */
    uint64_t came_free;    /* frames, since the emergency reserve was last looked at */
    uint64_t allocated, freed; /* frames */
    uint64_t misuses;
    struct model_owner owners[MODEL_OWNERS + 1];
    uint64_t earmarked, earmarked_at, changes; /* the last count of units, and what it was counted for */
    bool ok; /* all has agreed so far */
};

/* A disagreement is remembered in the model. */
#define AGREE(m, c) model_note_ok((m), EXPECT(c))
#define AGREE_EQ(m, a, b) model_note_ok((m), EXPECT_EQ((a), (b)))
static inline bool model_note_ok(struct pmm_model *m, bool ok)
{
    m->ok = m->ok && ok;
    return ok;
}

/* ---- pmm_model.c: what there is ---- */

/* From the bed's runs and holds, before or after bed_start; the bed tells it of metadata from now on. */
struct pmm_model *model_new(struct pmm_bed *bed);
/* Would pmm_init have to think harder than the model does (less free than metadata takes)? */
bool model_is_poor(const struct pmm_model *m);
enum model_kind model_kind(const struct pmm_model *m, uint64_t frame);
unsigned model_marks(const struct pmm_model *m, uint64_t frame);
unsigned model_references(const struct pmm_model *m, uint64_t frame);
uint64_t model_region(const struct pmm_model *m, uint64_t block); /* 0: none */
void model_set(struct pmm_model *m, uint64_t frame, enum model_kind kind);
uint64_t model_count(const struct pmm_model *m, enum model_kind kind);
uint64_t model_used(const struct pmm_model *m); /* what pmm_stats calls used */
/* Pages and tables of all blocks of kept regions that do not exist. */
uint64_t model_earmarked(struct pmm_model *m);
uint64_t model_free(struct pmm_model *m);  /* what pmm_stats calls free */
uint64_t model_avail(struct pmm_model *m); /* the part of it that any request may have, but for zones' reserves */
uint64_t model_for_all(struct pmm_model *m); /* and without these */
enum pmm_zone model_zone(uint64_t frame);
unsigned model_node(const struct pmm_model *m, uint64_t frame);
bool model_is_left_out(const struct pmm_model *m, uint64_t frame);
/* Units that these blocks would need and no region has. */
uint64_t model_new_units(struct pmm_model *m, uint64_t first_block, uint64_t end_block);
void model_add_region(struct pmm_model *m, uint64_t first_block, uint64_t end_block, unsigned node);
void model_remove_region(struct pmm_model *m, uint64_t number);
/* Has the backing failed? Then much may fail that else could not. */
bool model_is_broken(const struct pmm_model *m);
bool model_is_cached(const struct pmm_model *m, uint64_t frame); /* as the PMM says */
/* Frames that this CPU cannot get at, as the PMM says: in another's magazine. */
uint64_t model_out_of_reach(const struct pmm_model *m);

/* ---- pmm_model_calls.c: what calls do ---- */

#define MAY(s) (1U << (s)) /* a set of statuses */

/* What the PMM says happened; each expects that it may. */
void model_allocated(struct pmm_model *m, uint64_t frame);
void model_claimed(struct pmm_model *m, uint64_t first, uint64_t frames);
void model_metadata(struct pmm_model *m, uint64_t frame);

/* Can a request for `n` frames with these flags be met, must it be? */
bool model_may_serve(struct pmm_model *m, unsigned flags, uint64_t n);
bool model_must_serve(struct pmm_model *m, unsigned flags, uint64_t n);
/* Are the flags themselves wrong for `n` calls of pmm_alloc? */
bool model_flags_wrong(const struct pmm_model *m, unsigned flags, uint64_t n);
uint64_t model_kept_by_zones(const struct pmm_model *m, unsigned flags); /* from such a request, at most */
enum pmm_zone model_highest_zone(unsigned flags); /* that may serve it */
bool model_has_reserves(const struct pmm_model *m);
/* May such a request take `n` frames of this zone, whatever lies in magazines? */
bool model_zone_leaves(const struct pmm_model *m, enum pmm_zone zone, unsigned flags, uint64_t n);
uint64_t model_limit(unsigned flags); /* the frame that all lie below; UINT64_MAX: none */

unsigned model_claim(struct pmm_model *m, uint64_t first, uint64_t frames); /* a set of statuses */
unsigned model_give_back(const struct pmm_model *m, uint64_t first, uint64_t frames); /* a set of statuses */
unsigned model_retain(const struct pmm_model *m, uint64_t frame); /* a set of statuses */
/* pmm_free (or _release, which takes more than the last reference). */
enum status model_free_one(const struct pmm_model *m, uint64_t frame);
enum status model_release(const struct pmm_model *m, uint64_t frame);
unsigned model_mark_bad(struct pmm_model *m, uint64_t frame); /* a set of statuses */
/* What these do where they answer OK. */
void model_retained(struct pmm_model *m, uint64_t frame);
void model_released(struct pmm_model *m, uint64_t frame);
void model_marked_bad(struct pmm_model *m, uint64_t frame);

/* After a call in which the backing failed: frames that paid for what never came are gone, at most `most`. */
void model_mourn(struct pmm_model *m, uint64_t most);

/* ---- pmm_model_runs.c: contiguous runs ---- */

struct model_wish { /* arguments of pmm_alloc_run that are sound */
    uint64_t n, align, boundary, limit;
    unsigned flags;
};
/* The first run that meets the wish; `sure`: only one that must be found. MODEL_NO_FRAME: there is none. */
uint64_t model_find_run(const struct pmm_model *m, struct model_wish wish, bool sure);
uint64_t model_longest_run(const struct pmm_model *m, uint64_t limit, bool sure); /* frames */
/* Does [first, first + n) meet it? */
bool model_run_fits(const struct pmm_model *m, struct model_wish wish, uint64_t first);
void model_run_taken(struct pmm_model *m, uint64_t first, uint64_t n);
unsigned model_free_run(const struct pmm_model *m, uint64_t first, uint64_t n);  /* a set of statuses */
unsigned model_split_run(const struct pmm_model *m, uint64_t first, uint64_t n); /* a set of statuses */
/* Is this block handed out whole, and the one below in the same run? */
bool model_continues_run(const struct pmm_model *m, uint64_t frame);
void model_run_freed(struct pmm_model *m, uint64_t first, uint64_t n);
void model_split(struct pmm_model *m, uint64_t first, uint64_t n);

/* ---- pmm_model_agrees.c: comparison ---- */

/* Totals only. `drawn`: frames that this call drew with PMM_EMERGENCY. */
bool model_totals_agree(struct pmm_model *m, uint64_t drawn);
/* Every frame, every total, every region and owner. */
bool model_agrees(struct pmm_model *m);

#endif
