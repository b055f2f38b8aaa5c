/* Which frames are in use, as the benchmark knows by itself, and what follows from where they lie. */
#include <string.h>

#include "bench/bed.h"
#include "bench/fragmentation.h"

enum { RUN_FRAMES = 64 * KIB / PAGE_BYTES, PERCENT_WANTED = 90 };

static struct {
    uint64_t frames, in_use, blocks, runs;
    uint16_t *in_block;  /* frames in use, */
    uint16_t *of_kernel; /* and those of the kernel among them */
    uint8_t *in_run;
    /* The same with what is hidden: */
    uint16_t *shut_block;
    uint8_t *shut_run;
} books;

void frag_books_begin(uint64_t frames)
{
    books.frames = frames;
    books.in_use = 0;
    books.blocks = frames / PMM_BLOCK_FRAMES;
    books.runs = frames / RUN_FRAMES;
    books.in_block = bed_reserve(books.blocks * sizeof *books.in_block);
    books.of_kernel = bed_reserve(books.blocks * sizeof *books.of_kernel);
    books.shut_block = bed_reserve(books.blocks * sizeof *books.shut_block);
    books.in_run = bed_reserve(books.runs);
    books.shut_run = bed_reserve(books.runs);
}

void frag_books_end(void)
{
    bed_unreserve(books.in_block, books.blocks * sizeof *books.in_block);
    bed_unreserve(books.of_kernel, books.blocks * sizeof *books.of_kernel);
    bed_unreserve(books.shut_block, books.blocks * sizeof *books.shut_block);
    bed_unreserve(books.in_run, books.runs);
    bed_unreserve(books.shut_run, books.runs);
}

void frag_used(uint64_t frame, bool by_kernel)
{
    if (frame >= books.frames) {
        bed_fail("a frame that there is not", STATUS_RANGE);
    }
    books.in_use++;
    books.in_block[frame / PMM_BLOCK_FRAMES]++;
    books.of_kernel[frame / PMM_BLOCK_FRAMES] += by_kernel;
    books.in_run[frame / RUN_FRAMES]++;
}

void frag_freed(uint64_t frame, bool by_kernel)
{
    books.in_use--;
    books.in_block[frame / PMM_BLOCK_FRAMES]--;
    books.of_kernel[frame / PMM_BLOCK_FRAMES] -= by_kernel;
    books.in_run[frame / RUN_FRAMES]--;
}

uint64_t frag_in_use(void) { return books.in_use; }

static void hide(uint64_t first, uint64_t frames)
{
    for (uint64_t f = first; f < first + frames && f < books.frames; f++) {
        books.shut_block[f / PMM_BLOCK_FRAMES]++;
        books.shut_run[f / RUN_FRAMES]++;
    }
}

/* Emptying those blocks first that have the least in use. */
static double frames_to_move(uint64_t whole, double ideal)
{
    uint64_t with[PMM_BLOCK_FRAMES + 1] = {0};
    double wanted = ideal * PERCENT_WANTED / 100 - (double)whole, moved = 0;
    for (uint64_t i = 0; i < books.blocks; i++) {
        with[books.shut_block[i]] += books.of_kernel[i] == 0;
    }
    for (unsigned used = 1; used <= PMM_BLOCK_FRAMES && wanted > 0; used++) {
        double blocks = (double)with[used] < wanted ? (double)with[used] : wanted;
        moved += blocks * used;
        wanted -= blocks;
    }
    return wanted > 0 ? -1 : moved;
}

struct frag_figures frag_measure(const struct frag_subject *subject)
{
    uint64_t whole = 0, runs = 0;
    memcpy(books.shut_block, books.in_block, books.blocks * sizeof *books.in_block);
    memcpy(books.shut_run, books.in_run, books.runs);
    if (subject->hidden != NULL) {
        subject->hidden(hide);
    }
    for (uint64_t i = 0; i < books.blocks; i++) {
        whole += books.shut_block[i] == 0;
    }
    for (uint64_t i = 0; i < books.runs; i++) {
        runs += books.shut_run[i] == 0;
    }
    double free = (double)(books.frames - books.in_use), ideal = free / PMM_BLOCK_FRAMES;
    return (struct frag_figures){.whole = 100 * (double)whole / ideal, .to_move = frames_to_move(whole, ideal),
                                 .runs_64k = 100 * (double)(runs * RUN_FRAMES) / free};
}
