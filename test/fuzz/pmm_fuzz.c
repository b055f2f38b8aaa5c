/*
 * libFuzzer: any bytes as a map and a sequence of PMM calls, played as the random tests play theirs, against the model.
 *
 * The first byte says whether and when the backing fails; from the rest all dice are thrown (unit/pmm_random_ops.h),
 * until it is used up.
 */
#include <stdio.h>
#include <stdlib.h>

#include "arch/arch.h"
#include "expect.h"
#include "unit/pmm_random_ops.h"

enum { STEPS_MAX = 400, BLOCKS_MAX = 5 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- The port, and what the test bed wants of its runner ---- */

static unsigned reports;
static char last_report[512];

void arch_report(enum report_kind kind, const char *text)
{
    if (kind != REPORT_NOTE) {
        reports++;
        fmt_text(last_report, sizeof last_report, "%s", text);
    }
}

void arch_fatal(const char *text)
{
    fprintf(stderr, "fatal: %s\n", text);
    abort();
}

unsigned test_reports(void) { return reports; }
const char *test_last_report(void) { return last_report; }

/* Once: the arena lasts for all inputs. */
void *test_pages(size_t pages) { return aligned_alloc(PAGE_BYTES, pages_to_bytes(npages(pages))); }

/* ---- The input ---- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bed_arena arena;
    static struct play_tally tally;
    static struct play play;
    if (arena.base == NULL) {
        arena = bed_arena();
    }
    if (size < 4 || arena.base == NULL) {
        return -1;
    }
    uint64_t fail_at = data[0] < 240 ? 0 : data[0] - 239U;
    play.dice = (struct dice){.bytes = data + 1, .left = size - 1};
    bool good = play_begin(&play, &arena, &tally, BLOCKS_MAX, fail_at);
    if (play.bed == NULL) {
        return 0;
    }
    while (good && play.dice.left > 0 && play.step < STEPS_MAX) {
        good = play_step(&play, PLAY_LIGHT);
    }
    if (!good || !play_end(&play)) {
        fprintf(stderr, "step %lu: %s\n", play.step, play.what);
        abort();
    }
    return 0;
}
