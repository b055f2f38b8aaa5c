/*
 * Small steps that the PMM's tests have in common, and a copy of all that a PMM is made of, to see that a call changed
 * nothing.
 */
#ifndef CAIRN_TEST_UNIT_PMM_STEPS_H
#define CAIRN_TEST_UNIT_PMM_STEPS_H

#include "pmm/pmm_change.h"
#include "pmm/pmm_owners.h"
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"
#include "unit/pmm_bed.h"

bool text_has(const char *text, const char *part);
/* The last report has this word; else it is printed. */
bool report_has(const char *word);

/*
 * bed_starts, and the lock is a real one from then on, as with several CPUs: a call that takes it twice, or calls back
 * under it, hangs.
 */
bool starts(struct pmm_bed *bed);
/* Magazines for so many CPUs; 0: none. */
void some_cpus(struct pmm_bed *bed, size_t cpus);
enum pmm_state state_of(const struct pmm_bed *bed, uint64_t frame);
/* One frame, which must be had; 0 when it was not. */
uint64_t take_one(struct pmm_bed *bed, unsigned flags);
void free_one(struct pmm_bed *bed, uint64_t frame);
/* Memory for the numbers of all frames of RAM. */
uint64_t *frame_list(const struct pmm_bed *bed);
/* pmm_alloc into the list until NOMEM. => how many. */
uint64_t take_list(struct pmm_bed *bed, unsigned flags, uint64_t *list);
void free_list(struct pmm_bed *bed, const uint64_t *list, uint64_t count);
/* Open every block of RAM: nothing is earmarked afterwards, so that each frame free is one that can be had. */
void open_all(struct pmm_bed *bed);
/* These blocks, all of them RAM and open: each free frame is one that can be had. Null: it does not start. */
struct pmm_bed *open_machine(uint64_t first_block, uint64_t blocks, size_t cpus);
/* A frame of block `block` in this state, 0: there is none. */
uint64_t frame_in_state(const struct pmm_bed *bed, uint64_t block, enum pmm_state state);

/* ---- Nothing changed, to the byte ---- */

struct snap {
    struct pmm_bed bed;
    unsigned char *arrays, *regions, *cpus, *owners, *pool;
};
struct snap *snap_new(const struct pmm_bed *bed);
void snap_take(struct snap *snap, const struct pmm_bed *bed);
/* All is what it was, but the count of misuses and what was remembered of the last frame looked up. */
bool snap_same(struct snap *snap, const struct pmm_bed *bed);

/*
 * The call is a misuse: one report more, that names it and has the words; nothing changed to the byte; all is sound.
 * `reports` counts them for test_expect_reports.
 */
bool misuse_is_sound(struct snap *snap, const struct pmm_bed *bed, enum status s, unsigned reports,
                     const char *const words[], size_t count);

#define EXPECT_MISUSE(snap, bed, call, ...)                                                        \
    do {                                                                                           \
        const char *const words_[] = {__VA_ARGS__};                                                \
        snap_take((snap), (bed));                                                                  \
        unsigned reports_ = test_reports();                                                        \
        enum status status_ = (call);                                                              \
        if (!misuse_is_sound((snap), (bed), status_, reports_, words_, ARRAY_LEN(words_))) {       \
            test_note("line %d: %s", __LINE__, #call);                                             \
        }                                                                                          \
        test_expect_reports(reports_ + 1);                                                         \
    } while (0)

#endif
