/* What mb2.c and mb2_map.c share: a tag's payload, and the parser's state. */
#ifndef CAIRN_BOOT_MB2_INTERNAL_H
#define CAIRN_BOOT_MB2_INTERNAL_H

#include "boot/mb2.h"
#include "lib/string.h"

/* What follows a tag's header: `bytes` bytes at `at`, all of them readable. */
struct payload {
    const uint8_t *at;
    uint32_t bytes;
};

struct parser {
    struct mb2_info *info;
    mb2_problem problem;
    void *ctx;
    uint32_t sound;  /* bit t: a tag of type t < 32 was read and accepted */
    struct payload efi_map, basic_memory; /* kept unread, until it is known whether they are needed */
    bool firmware_runs;                   /* the tag that says so: boot services were not ended */
};

static inline uint32_t read32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint64_t read64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* Counts a problem and tells it. */
__attribute__((format(printf, 2, 3))) void mb2_wrong(struct parser *p, const char *format, ...);

/* The Multiboot2 memory map tag. True: it is sound. */
bool mb2_parse_map(struct parser *p, struct payload tag);
/* After all tags: where there is no such map, the next best that the loader left. */
void mb2_choose_map(struct parser *p);

#endif
