/* All ways of this folder, by name. */
#include "rivals/pmm/frames.h"

#include "lib/string.h"

#define CALLS(way_) .start = way_##_start, .alloc = way_##_alloc, .free = way_##_free
#define BLOCKS(way_) .alloc_block = way_##_alloc_block, .free_block = way_##_free_block
#define KEEPS(way_) .own = way_##_own, .kept = way_##_kept, .keeps = way_##_keeps
#define SEES_ALL .sees = FRAMES_SEES_DOUBLE | FRAMES_SEES_OUTSIDE
#define SEES_DOUBLE .sees = FRAMES_SEES_DOUBLE

const struct frames_way frames_ways[FRAMES_WAYS] = {
    {"raw-stack", CALLS(raw)},
    {"flat-stack", SEES_ALL, CALLS(flat), BLOCKS(flat)},
    {"table-list", SEES_ALL, CALLS(table_list)},
    {"frame-list", CALLS(frame_list)},
    {"bitmap", SEES_DOUBLE, CALLS(bitmap), BLOCKS(bitmap)},
    {"next-fit", SEES_DOUBLE, CALLS(next_fit), BLOCKS(next_fit)},
    {"zero-pages", SEES_DOUBLE, CALLS(zero_pages), BLOCKS(zero_pages), KEEPS(zero_pages)},
    {"inverted", SEES_DOUBLE, CALLS(inverted), KEEPS(inverted)},
    {"by-region", SEES_ALL, CALLS(by_region), BLOCKS(by_region)},
    {"summary", SEES_DOUBLE, CALLS(summary), BLOCKS(summary)},
    {"faulted", SEES_DOUBLE, CALLS(faulted), BLOCKS(faulted), KEEPS(faulted)},
    {"extent", SEES_DOUBLE, CALLS(extent), BLOCKS(extent)},
    {"buddy", SEES_ALL, CALLS(buddy_frames), BLOCKS(buddy_frames)},
    {"buddy-cpu", SEES_ALL, CALLS(buddy_cpu), BLOCKS(buddy_cpu), .cached = buddy_cpu_cached},
    {"tree", SEES_DOUBLE, CALLS(tree), BLOCKS(tree), .alloc_kernel = tree_alloc_kernel},
};

const struct frames_way *frames_way(const char *name)
{
    for (unsigned i = 0; i < FRAMES_WAYS; i++) {
        if (strcmp(frames_ways[i].name, name) == 0) {
            return &frames_ways[i];
        }
    }
    return NULL;
}
