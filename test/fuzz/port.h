/* The port of the fuzz programs: the layers' reports are no findings, a fatal one is. Included by each, once. */
#ifndef CAIRN_TEST_FUZZ_PORT_H
#define CAIRN_TEST_FUZZ_PORT_H

#include <stdlib.h>

#include "arch/arch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void arch_report(enum report_kind kind, const char *text)
{
    (void)kind;
    (void)text;
}

void arch_fatal(const char *text)
{
    (void)text;
    abort();
}

/* The input, taken from the front. Past its end all is zero. */
struct input {
    const uint8_t *at;
    size_t left;
};

__attribute__((unused)) static uint64_t take(struct input *in, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes && in->left > 0; i++, in->left--) {
        value |= (uint64_t)*in->at++ << (8 * i);
    }
    return value;
}

#endif
