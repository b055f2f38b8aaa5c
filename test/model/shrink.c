/*
 * Chunks are left out, large ones first. What still fails without a chunk goes on without it; when nothing more can be
 * left out, the chunks are halved. With chunks of one, rounds go on until a whole round leaves all in.
 */
#include "model/shrink.h"

#include <stdlib.h>

#include "lib/string.h"

unsigned shrink_list(void *items, unsigned n, size_t size, bool (*fails)(void *ctx, const void *items, unsigned n),
                     void *ctx)
{
    char *now = items, *without = malloc(n * size + 1);
    unsigned chunk = n / 2 > 0 ? n / 2 : 1;
    while (without != NULL) {
        bool shorter = false;
        for (unsigned at = 0; at < n;) {
            unsigned left_out = chunk < n - at ? chunk : n - at;
            memcpy(without, now, at * size);
            memcpy(without + at * size, now + (at + left_out) * size, (n - at - left_out) * size);
            if (fails(ctx, without, n - left_out)) {
                n -= left_out;
                memcpy(now, without, n * size);
                shorter = true;
            } else {
                at += left_out;
            }
        }
        if (!shorter && chunk == 1) {
            break;
        }
        chunk = chunk > 1 ? chunk / 2 : 1;
    }
    free(without);
    return n;
}
