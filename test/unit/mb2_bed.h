/*
 * What the tests of the boot information share: a builder of blocks, and a reader that touches all a parser answered.
 */
#ifndef CAIRN_TEST_UNIT_MB2_BED_H
#define CAIRN_TEST_UNIT_MB2_BED_H

#include "unit/boot_again.h"

#include "boot/mb2.h"

struct block {
    uint8_t *bytes;     /* 8-byte aligned */
    uint32_t size, capacity;
};

void block_begin(struct block *b, void *memory, uint32_t capacity);
/* A tag with this payload, padded to 8 bytes; returns where its header lies in the block. */
uint32_t block_tag(struct block *b, uint32_t type, const void *payload, uint32_t bytes);
uint32_t block_string(struct block *b, uint32_t type, const char *text);
uint32_t block_module(struct block *b, uint32_t start, uint32_t end, const char *args);
/* A memory map of `count` entries of 24 bytes; entry i is usable, at i * 2 MiB, 1 MiB long. */
uint32_t block_map(struct block *b, uint32_t count);
/* The end tag and the block's own size. */
void block_end(struct block *b);
void block_patch(struct block *b, uint32_t offset, uint32_t value);

/* One of each tag the parser knows, and some that it does not. */
void block_of_everything(struct block *b, void *memory, uint32_t capacity);

/* Reads all that *info points at, each byte of it, and normalises the map. False: it points outside the block. */
bool block_answer_is_inside(const struct mb2_info *info, const void *bytes, size_t available);

#endif
