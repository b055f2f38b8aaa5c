/*
 * The slow, obvious model of the PMM: one byte and one count a frame, everything by looking at every frame. It shares
 * no code with src/pmm/.
 */
#ifndef CAIRN_TEST_UNIT_PMM_MODEL_H
#define CAIRN_TEST_UNIT_PMM_MODEL_H

#include "unit/pmm_bed.h"

enum model_kind { MODEL_OUTSIDE, MODEL_ABSENT, MODEL_FREE, MODEL_USED, MODEL_RESERVED, MODEL_METADATA };

struct pmm_model {
    struct pmm_bed *bed;
    uint64_t first, end;  /* the window, in frames */
    uint8_t *kind;        /* [frame - first] */
    uint16_t *references;
    bool *is_left_out;    /* [block - first block] */
    uint64_t promised;
    uint64_t *scratch[2]; /* slots for temporary sets */
};

/* From the bed's runs and holds, before or after bed_start; the bed tells it of metadata from now on. */
struct pmm_model *model_new(struct pmm_bed *bed);
enum model_kind model_kind(const struct pmm_model *m, uint64_t frame);
uint64_t model_count(const struct pmm_model *m, enum model_kind kind);
/* Pages and tables of all blocks of kept regions that do not exist. */
uint64_t model_earmarked(const struct pmm_model *m);
uint64_t model_free(const struct pmm_model *m); /* what pmm_stats calls free */

/* What the PMM says happened; each expects that it may. */
void model_allocated(struct pmm_model *m, uint64_t frame);
void model_freed(struct pmm_model *m, uint64_t frame);
void model_metadata(struct pmm_model *m, uint64_t frame);

/* What the PMM must answer; on OK the model has done it. */
enum status model_claim(struct pmm_model *m, uint64_t first, uint64_t frames);
enum status model_give_back(struct pmm_model *m, uint64_t first, uint64_t frames);
enum status model_release(struct pmm_model *m, uint64_t frame, bool only_last);
enum status model_retain(struct pmm_model *m, uint64_t frame);

/* Compare every frame and every total with the PMM. */
bool model_agrees(const struct pmm_model *m);

#endif
