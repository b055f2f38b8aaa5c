/* `fragmentation`: whole blocks after long use, of all subjects (fragmentation.h). */
#include "bench/fragmentation.h"

#include <stdio.h>
#include <string.h>

#include "bench/bed.h"

#define WORKLOAD(name, kind, percent) {name, name ":move", name ":64k", name ":own", kind, percent}
enum { WORKLOADS = 8, SEEDS_MOST = 5, COLUMN = 8 };
static const struct {
    const char *name, *move_name, *runs_name, *own_name;
    enum frag_kind kind;
    unsigned percent;
} workloads[WORKLOADS] = {
    WORKLOAD("W1-50", FRAG_W1, 50), WORKLOAD("W1-80", FRAG_W1, 80),
    WORKLOAD("W2-50", FRAG_W2, 50), WORKLOAD("W2-80", FRAG_W2, 80),
    WORKLOAD("W2k-50", FRAG_W2K, 50), WORKLOAD("W2k-80", FRAG_W2K, 80),
    WORKLOAD("W2s-50", FRAG_W2S, 50), WORKLOAD("W2s-80", FRAG_W2S, 80),
};

static struct frag_figures figures[FRAG_SUBJECTS][WORKLOADS];

/* The mean over the seeds. */
static struct frag_figures play_all(const struct frag_subject *s, unsigned workload,
                                    const struct bench_options *options)
{
    struct frag_play play = {.frames = bytes_to_pages_down(options->quick ? 256 * MIB : 4 * GIB).v, .rounds = 200};
    play.traffic = (options->quick ? 20 : 40) * play.frames;
    uint64_t seeds = options->quick ? 1 : options->seeds < SEEDS_MOST ? options->seeds : SEEDS_MOST;
    struct frag_figures sum = {0};
    for (uint64_t i = 0; i < seeds; i++) {
        play.seed = options->seed + i;
        struct frag_figures f = frag_play(s, workloads[workload].kind, workloads[workload].percent, &play);
        sum.whole += f.whole / (double)seeds;
        sum.runs_64k += f.runs_64k / (double)seeds;
        sum.own = f.own < 0 ? -1 : sum.own + f.own / (double)seeds;
        sum.to_move = f.to_move < 0 || sum.to_move < 0 ? -1 : sum.to_move + f.to_move / (double)seeds;
    }
    return sum;
}

static unsigned number_of(const char *name)
{
    unsigned i = 0;
    while (strcmp(frag_subjects[i].name, name) != 0) {
        i++;
    }
    return i;
}

static void put(unsigned subject, const char *workload, double value, const char *unit)
{
    bench_add((struct bench_result){"fragmentation", frag_subjects[subject].name, workload, value, unit, 0, NULL});
}

static void tell(unsigned subject)
{
    for (unsigned w = 0; w < WORKLOADS; w++) {
        const struct frag_figures *f = &figures[subject][w];
        put(subject, workloads[w].name, f->whole, "%");
        put(subject, workloads[w].runs_name, f->runs_64k, "%");
        if (f->to_move >= 0) {
            put(subject, workloads[w].move_name, f->to_move, "frames");
        }
        if (f->own >= 0) {
            put(subject, workloads[w].own_name, f->own, "%");
        }
    }
}

static void print_table(const char *title, double (*value)(const struct frag_figures *f), int decimals)
{
    printf("\n%-16s", title);
    for (unsigned w = 0; w < WORKLOADS; w++) {
        printf("  %*s", COLUMN, workloads[w].name);
    }
    printf("\n");
    for (unsigned i = 0; i < FRAG_SUBJECTS; i++) {
        printf("%-16s", frag_subjects[i].name);
        for (unsigned w = 0; w < WORKLOADS; w++) {
            double v = value(&figures[i][w]);
            if (v < 0) {
                printf("  %*s", COLUMN, "-");
            } else {
                printf("  %*.*f", COLUMN, decimals, v);
            }
        }
        printf("\n");
    }
}

static double whole(const struct frag_figures *f) { return f->whole; }
static double to_move(const struct frag_figures *f) { return f->to_move; }
static double own(const struct frag_figures *f) { return f->own; }
static double runs_64k(const struct frag_figures *f) { return f->runs_64k; }

void bench_fragmentation(const struct bench_options *options)
{
    for (unsigned i = 0; i < FRAG_SUBJECTS; i++) {
        const struct frag_subject *s = &frag_subjects[i];
        /* A quick run plays those as well whose frames are the same. */
        if (s->same_as != NULL && !options->quick) {
            memcpy(figures[i], figures[number_of(s->same_as)], sizeof figures[i]);
        }
        for (unsigned w = 0; w < WORKLOADS && (s->same_as == NULL || options->quick); w++) {
            figures[i][w] = play_all(s, w, options);
        }
        fprintf(stderr, "%s%s", s->name, i == FRAG_SUBJECTS - 1 ? "\n" : " ");
        tell(i);
    }
    printf("fragmentation: after long use; %s of frames\n", options->quick ? "256 MiB" : "4 GiB");
    print_table("whole blocks, %", whole, 1);
    print_table("frames to move", to_move, 0);
    print_table("64 KiB runs, %", runs_64k, 1);
    print_table("own blocks, %", own, 1);
    printf("\nwhole blocks: in percent of free frames / 512. Frames to move: until that is 90; -: frames of the kernel"
           "\nare in the way. 64 KiB runs: free frames in such aligned runs, in percent of all that is free."
           "\nOwn blocks: frames of processes that went back with blocks of their own, in percent of all; -: nobody"
           "\nhas such.\n");
}
