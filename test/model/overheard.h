/* What the VMM calls instead of the PMM where the model judges frames that go back (cmake/host.cmake renames them). */
#ifndef CAIRN_TEST_MODEL_OVERHEARD_H
#define CAIRN_TEST_MODEL_OVERHEARD_H

#include "pmm/pmm.h"
#include "pmm/pmm_compact.h"
#include "pmm/pmm_pressure.h"
#include "pmm/pmm_runs.h"

/*
 * Of the requests for memory that spaces and VMM make of the machine's PMM from now on, this one is refused, the first
 * being 1, and none after it; 0: none. Frames for pages that move: half of them are.
 */
void model_refuse_request(uint64_t number);
/* Has it come? */
bool model_was_refused(void);

enum status model_pmm_alloc(struct pmm *pmm, unsigned flags, pfn_t *frame);
enum status model_pmm_alloc_zeroed(struct pmm *pmm, unsigned flags, pfn_t *frame, bool *is_zero);
enum status model_pmm_alloc_many(struct pmm *pmm, unsigned flags, pfn_t *frames, npages_t n);
enum status model_pmm_alloc_run(struct pmm *pmm, unsigned flags, npages_t n, npages_t align, npages_t boundary,
                                pfn_t limit, pfn_t *first);
enum status model_pmm_promise(struct pmm *pmm, npages_t n);
enum status model_pmm_block_take(struct pmm *pmm, pfn_t first, struct pmm_block_frames *out);
unsigned model_pmm_alloc_partly(struct pmm *pmm, pfn_t *frames, unsigned n, pfn_t avoid, npages_t avoided);
enum status model_pmm_block_give(struct pmm *pmm, pfn_t first);
unsigned model_pmm_alloc_elsewhere(struct pmm *pmm, pfn_t *frames, unsigned n, pfn_t avoid, npages_t avoided);
enum status model_pmm_free(struct pmm *pmm, pfn_t frame);
enum status model_pmm_release(struct pmm *pmm, pfn_t frame, bool *freed);
enum status model_pmm_free_many(struct pmm *pmm, const pfn_t *frames, npages_t n, npages_t *done);
enum status model_pmm_free_run(struct pmm *pmm, pfn_t first, npages_t n);

#endif
