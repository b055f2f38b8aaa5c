/*
 * The exercise.
 *
 * 1. Purpose. One command that works every layer of the kernel the way a busy machine would, on the real memory of this
 * machine, and believes nothing: it keeps a record of its own of all it was given and of all it put there, and
 * compares. If it prints `exercise: ok`, then every frame that could be had was had, held what was written into it, and
 * came back.
 *
 * 2. A round has four parts, and every part ends with nothing held:
 *
 *      frames  takes every free frame (beyond 1 GiB of RAM: 64 Ki frames, among them one of each region and the last
 *              free one of each, by claim), fills each with a pattern of its own through a temporary mapping, asks that
 *              nothing more can be had when nothing is left, looks for a frame given twice, then verifies and returns
 *              them in random order
 *      spaces  builds tables of spaces: maps, protects, shares and unmaps ranges in them from outside (slot 510) and
 *              from inside, at places where tables of every level begin and end; writes through temporary mappings
 *              and reads inside, and the other way round
 *      shared  spaces with mappings (exercise_shared.c): each page is read and written as user mode would, and comes
 *              by a fault; stretches are shared, taken back, moved and given up, spaces are cloned
 *      heap    random sizes and alignments, realloc, contents verified before every step that ends or moves a block
 *
 *    Then the validators of all layers run, and the counts are compared with those at the round's beginning.
 *
 * 3. The record. Nothing of it is taken from the product: the frames' numbers are in a list (8 bytes a frame; sorted by
 * itself to find a number twice), the pages of spaces in a table of cells, the heap's blocks in a table with their
 * seed. Its memory is kernel pages, taken before the part begins: it is in use while the part runs and so is counted,
 * not hidden. Contents are functions of (number, round, seed), so no copy of them is needed, and what an earlier round
 * left behind can never pass for this round's.
 *
 * 4. Counts (EX-8). Frames in use may differ between two rounds only by what the layers say of themselves that they
 * keep: the arena's nodes (never given back), the tables of the kernel arena, the bookkeeping of spaces. These are
 * subtracted, so the rest must be equal to the frame. Metadata and earmark change into each other as blocks are used
 * for the first time; their sum may not change. Spaces and heap are shrunk before anything is counted, so that spares
 * which a round warmed up are not its debt.
 *
 * 5. Memory short: a part asks for its record first. The list of frames takes a five-hundredth of the memory it lists.
 * A machine that has not even the record's room fails with the words "memory for the record".
 *
 * 6. A failure stops at once. Nothing is cleaned up then, except that the kernel's own space is current again: what was
 * found broken can be looked at with `who`, `pt`, `frames`, `check`, which need no memory.
 *
 * 7. Determinism: the same seed, rounds and machine give the same calls in the same order; the seed is printed.
 *
 * 8. Context: thread, at the monitor; switches spaces, so nothing else may run in a space of its own meanwhile.
 *
 * 9. Rejected: a bitmap over all of RAM as the record of frames (at 4 TiB it is 128 MiB, nearly all of it empty);
 * checking only the first and last word of a frame (a stray write into the middle would pass; all 512 words cost less
 * than a second a GiB).
 */
#include "kernel/exercise.h"

#include "arch/arch.h"
#include "kernel/console.h"
#include "lib/macros.h"

enum { RECORD_ALIGN_LOG2 = __builtin_ctz(PAGE_BYTES) };

bool exercise_failed(struct exercise *ex, const char *format, ...)
{
    if (ex->failure[0] == '\0') {
        struct buffer_sink text;
        buffer_sink_init(&text, ex->failure, sizeof ex->failure);
        va_list args;
        va_start(args, format);
        sink_vprintf(&text.sink, format, args);
        va_end(args);
    }
    return false;
}

void exercise_dot(struct exercise *ex)
{
    if (!ex->quiet) {
        print(".");
        ex->in_dots = true;
    }
}

void exercise_note(struct exercise *ex, const char *format, ...)
{
    if (ex->quiet) {
        return;
    }
    print("%sexercise: ", ex->in_dots ? "\n" : "");
    ex->in_dots = false;
    va_list args;
    va_start(args, format);
    sink_vprintf(console, format, args);
    va_end(args);
    print("\n");
}

void *exercise_record(struct exercise *ex, uint64_t bytes, const char *what)
{
    enum status s = kpages_alloc(&machine.vmm, bytes_to_pages_up(bytes), RECORD_ALIGN_LOG2,
                                 KPAGES_GUARDED | KPAGES_ZEROED, what, &ex->record);
    if (s != STATUS_OK) {
        exercise_failed(ex, "memory for the record '%s', %lu bytes: %s", what, bytes, status_name(s));
        return NULL;
    }
    return vaddr_to_ptr(ex->record);
}

bool exercise_record_free(struct exercise *ex)
{
    enum status s = kpages_free(&machine.vmm, ex->record);
    return s == STATUS_OK || exercise_failed(ex, "the record's pages do not go back: %s", status_name(s));
}

void exercise_shuffle(struct exercise *ex, uint64_t *items, uint64_t count)
{
    for (uint64_t i = count; i > 1; i--) {
        uint64_t j = rng_below(&ex->rng, i), other = items[j];
        items[j] = items[i - 1];
        items[i - 1] = other;
    }
}

/* Heapsort: lets items[at] sink until no child is larger. */
static void sift_down(uint64_t *items, uint64_t at, uint64_t count)
{
    uint64_t item = items[at];
    for (uint64_t child; (child = 2 * at + 1) < count; at = child) {
        child += child + 1 < count && items[child + 1] > items[child];
        if (items[child] <= item) {
            break;
        }
        items[at] = items[child];
    }
    items[at] = item;
}

void exercise_sort(uint64_t *items, uint64_t count)
{
    for (uint64_t i = count / 2; i-- > 0;) {
        sift_down(items, i, count);
    }
    for (uint64_t i = count; i-- > 1;) {
        uint64_t largest = items[0];
        items[0] = items[i];
        items[i] = largest;
        sift_down(items, 0, i);
    }
}

/* ---- Counts ---- */

static struct exercise_counts count_all(void)
{
    struct pmm_stats p = pmm_stats(&machine.pmm);
    struct heap_stats h = heap_stats(&machine.heap);
    const struct vmm *v = &machine.vmm;
    /* Bookkeeping of the spaces: a page each, with addresses of its own. */
    const uint64_t stock = machine.aspaces.stock.count + machine.aspaces.stock.drawn;
    uint64_t kept = v->node_pages.v + v->kernel_tables.v + stock;
    return (struct exercise_counts){
        .ram = p.ram.v,
        .free = p.free.v + kept,
        .used = p.used.v - kept,
        .reserved = p.reserved.v,
        .promised = p.promised.v,
        .metadata_and_earmarked = p.metadata.v + p.earmarked.v,
        .arena_ranges = v->arena.ranges - stock,
        .arena_pages = v->arena.used.v - stock,
        .spaces = v->space_count,
        .heap_blocks = h.blocks,
        .heap_used_bytes = h.used_bytes,
        .heap_held_bytes = h.held_bytes,
    };
}

static bool compare_counts(struct exercise *ex, const struct exercise_counts *before,
                           const struct exercise_counts *after)
{
    const struct {
        const char *name;
        uint64_t before, after;
    } all[] = {
        {"RAM frames", before->ram, after->ram},
        {"reserved frames", before->reserved, after->reserved},
        {"promised frames", before->promised, after->promised},
        {"metadata and earmarked frames", before->metadata_and_earmarked, after->metadata_and_earmarked},
        {"spaces", before->spaces, after->spaces},
        {"heap blocks", before->heap_blocks, after->heap_blocks},
        {"heap bytes in use", before->heap_used_bytes, after->heap_used_bytes},
        {"heap bytes held", before->heap_held_bytes, after->heap_held_bytes},
        {"arena ranges", before->arena_ranges, after->arena_ranges},
        {"arena pages", before->arena_pages, after->arena_pages},
        {"used frames", before->used, after->used},
        {"free frames", before->free, after->free},
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i].before != all[i].after) {
            return exercise_failed(ex, "EX-8: round %u began with %lu %s and ends with %lu", ex->round, all[i].before,
                                   all[i].name, all[i].after);
        }
    }
    return true;
}

static bool validate(struct exercise *ex)
{
    const struct {
        const char *layer;
        enum status s;
    } all[] = {
        {"pmm_check", pmm_check(&machine.pmm, console)},
        {"vmm_check", vmm_check(&machine.vmm, console)},
        {"aspaces_check", aspaces_check(&machine.aspaces, console)},
        {"arena_check", arena_check(&machine.vmm.arena, console)},
        {"heap_check", heap_check(&machine.heap, console)},
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i].s != STATUS_OK) {
            return exercise_failed(ex, "%s after round %u: %s", all[i].layer, ex->round, status_name(all[i].s));
        }
    }
    return true;
}

/* ---- Rounds ---- */

/* What caches keep goes back, so that it is nobody's debt. */
static void shrink_all(void)
{
    (void)aspaces_reclaim(&machine.aspaces, npages(UINT64_MAX));
    heap_shrink(&machine.heap);
}

static bool run_round(struct exercise *ex)
{
    /* What the monitor's own commands left cached in the heap goes first, so that it is not this round's. */
    shrink_all();
    struct exercise_counts before = count_all();
    if (!exercise_frames(ex) || !exercise_spaces(ex) || !exercise_shared(ex) || !exercise_heap(ex)) {
        return false;
    }
    shrink_all();
    struct exercise_counts after = count_all();
    return validate(ex) && compare_counts(ex, &before, &after);
}

bool exercise_run(struct exercise *ex)
{
    for (ex->round = 1; ex->round <= ex->rounds; ex->round++) {
        uint64_t start = arch_ticks();
        ex->rng = rng_seeded(ex->seed + ex->round);
        ex->salt = rng_next(&ex->rng);
        exercise_note(ex, "round %u of %u", ex->round, ex->rounds);
        if (!run_round(ex)) {
            return false;
        }
        exercise_note(ex, "round %u of %u: all checked, all given back, %lu ticks", ex->round, ex->rounds,
                      arch_ticks() - start);
    }
    return true;
}
