/* Every call of the PMM, made on the machine's own: what it gives is never written to. */
#ifndef CAIRN_TEST_UNIT_PMM_EVERY_CALL_H
#define CAIRN_TEST_UNIT_PMM_EVERY_CALL_H

#include "pmm/pmm.h"
#include "unit/test.h"

enum { EVERY_CALL_FRAMES = 3000 }; /* held at once */

struct every_call {
    struct pmm *pmm;
    struct rng rng;
    struct frame_run free; /* frames that are free, for calls that name them */
    bool (*look)(void);    /* called where frames are in use; false ends it all */
    unsigned reports;      /* misuses among the calls */
    pfn_t list[EVERY_CALL_FRAMES];
};

/* All calls; all goes back, but one or two frames that stay bad the first time. false: one failed, expectations say. */
bool every_call(struct every_call *all);

#endif
