/*
 * libFuzzer: any bytes as a program file. Nothing outside of them is read; what is taken is sound, and every byte of it
 * that is to be loaded is there.
 */
#include "fuzz/port.h"
#include "lib/string.h"
#include "unit/elf_bed.h"

struct bytes {
    const uint8_t *at;
    uint64_t count;
};

static bool read(void *ctx, uint64_t at, void *to, uint64_t bytes)
{
    const struct bytes *b = ctx;
    if (at > b->count || bytes > b->count - at) {
        abort();
    }
    memcpy(to, b->at + at, bytes);
    return true;
}

static volatile uint64_t sum;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes b = {data, size};
    const struct elf_source source = {.ctx = &b, .bytes = size, .read = read};
    struct elf_program program;
    const char *why;
    const enum status s = elf_read(&source, &program, &why);
    if ((s == STATUS_OK) != (why == NULL) || (s == STATUS_OK ? !elf_is_sound(&program, size) : program.count != 0)) {
        abort();
    }
    for (unsigned i = 0; i < program.count; i++) {
        for (uint64_t at = 0; at < program.segments[i].file_bytes; at++) {
            sum += data[program.segments[i].offset + at];
        }
    }
    return 0;
}
