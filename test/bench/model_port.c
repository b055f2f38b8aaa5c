/* What the model machine needs of the program it runs in: the unit tests have a runner, the benchmarks this. */
#include <stdio.h>

#include "bench/bed.h"
#include "unit/test.h"

/* A violation that nobody asked for. */
bool test_expect(bool ok, const char *text, const char *file, int line)
{
    if (!ok) {
        fprintf(stderr, "%s:%d: %s\n", file, line, text);
        bed_fail("the model machine", STATUS_CORRUPT);
    }
    return ok;
}

void *test_port_pages(size_t pages) { return bed_reserve(pages_to_bytes(npages(pages))); }
void test_port_pages_free(void *base, size_t pages) { bed_unreserve(base, pages_to_bytes(npages(pages))); }
