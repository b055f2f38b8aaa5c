/* A sound program file, made by hand, and how it is read in tests. */
#ifndef CAIRN_TEST_UNIT_ELF_BED_H
#define CAIRN_TEST_UNIT_ELF_BED_H

#include "task/elf64.h"
#include "task/load.h"

/*
 *            file              memory                  rights
 *   code     [0, 0x1800)       [0x400000, 0x401800)    r-x, the headers are in it
 *   constant [0x2000, 0x2234)  [0x402000, 0x402234)    r--
 *   data     [0x2F00, 0x4200)  [0x404F00, 0x40A000)    rw-, zeros from 0x406200 on
 * Byte i of the file, where no header is, has the value elf_byte(i), which is never 0; so have those behind the data.
 */
enum {
    ELF_BED_BYTES = 0x4300,
    ELF_BED_HEADERS = 4, /* the three, and that of the stack */
    ELF_BED_ENTRY = 0x400200,
    ELF_BED_DATA_END = 0x406200,
    ELF_BED_END = 0x40A000,
};

struct elf_file {
    uint8_t bytes[ELF_BED_BYTES];
    uint64_t count;   /* of bytes that are there */
    bool is_outside;  /* somebody has read what is not there */
};

void elf_file_make(struct elf_file *file);
uint8_t elf_byte(uint64_t at);
/* => false: that is outside, and is noted. */
bool read_elf_file(struct elf_file *file, uint64_t at, void *to, uint64_t bytes);
struct elf_source elf_source_of(struct elf_file *file);
/* The headers, to be looked at or changed; the second: number i. */
struct elf64_header *elf_header(struct elf_file *file);
struct elf64_program_header *elf_program_header(struct elf_file *file, unsigned i);

/* What elf_read lets through may be mapped: in the private part, in order, apart, with sound rights, in the file. */
bool elf_is_sound(const struct elf_program *program, uint64_t file_bytes);

#endif
