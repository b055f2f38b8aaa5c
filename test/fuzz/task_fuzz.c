/*
 * libFuzzer: any bytes as a game of tasks (unit/task_play.h): from them all dice are thrown, until they are used up;
 * each answer, right and content is compared with the plain model, and in the end all memory is back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "arch/arch.h"
#include "expect.h"
#include "unit/task_play.h"

enum { STEPS_MAX = 300, POOL_PAGES = 160 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- What the bed wants of its runner ---- */

void arch_report(enum report_kind kind, const char *text)
{
    if (kind != REPORT_NOTE) {
        fprintf(stderr, "reported: %s\n", text);
        abort();
    }
}

void arch_fatal(const char *text)
{
    fprintf(stderr, "fatal: %s\n", text);
    abort();
}

static uint8_t *pool; /* for one input */
static size_t pool_used;

void *test_pages(size_t pages)
{
    void *at = pool + pages_to_bytes(npages(pool_used));
    pool_used += pages;
    return pool_used <= POOL_PAGES ? memset(at, 0, pages_to_bytes(npages(pages))) : NULL;
}

void *test_port_pages(size_t pages)
{
    void *base = mmap(NULL, pages_to_bytes(npages(pages)), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return base == MAP_FAILED ? NULL : base;
}

void test_port_pages_free(void *base, size_t pages) { munmap(base, pages_to_bytes(npages(pages))); }

/* ---- The input ---- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tplay play;
    if (pool == NULL) {
        pool = aligned_alloc(PAGE_BYTES, pages_to_bytes(npages(POOL_PAGES)));
    }
    if (pool == NULL || size < 8) {
        return -1;
    }
    pool_used = 0;
    if (!tplay_begin(&play, rng_seeded(size))) {
        abort();
    }
    play.has_dice = true;
    play.dice = data;
    play.dice_left = size;
    for (unsigned i = 0; i < STEPS_MAX && play.dice_left > 0; i++) {
        if (!tplay_step(&play) || expect_has_failed()) {
            fprintf(stderr, "step %u\n", i);
            abort();
        }
    }
    play.has_dice = false;
    task_bed_close(&play.bed);
    if (expect_has_failed()) {
        abort();
    }
    return 0;
}
