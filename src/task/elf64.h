/* ELF64 as the files have it: what is needed of the System V ABI, "Object Files". All little-endian. */
#ifndef CAIRN_TASK_ELF64_H
#define CAIRN_TASK_ELF64_H

#include <assert.h>
#include <stdint.h>

struct elf64_header {
    uint8_t magic[4]; /* 0x7F, "ELF" */
    uint8_t class, data, ident_version, os_abi, abi_version, padding[7];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, program_headers, section_headers; /* address; offsets in the file */
    uint32_t flags;
    uint16_t header_bytes, program_header_bytes, program_header_count;
    uint16_t section_header_bytes, section_header_count, section_names;
};

struct elf64_program_header {
    uint32_t type, flags;
    uint64_t offset, va, physical, file_bytes, bytes, align;
};

static_assert(sizeof(struct elf64_header) == 64 && sizeof(struct elf64_program_header) == 56, "as in the file");

enum { ELF_CLASS_32 = 1, ELF_CLASS_64 = 2 };
enum { ELF_DATA_LITTLE = 1, ELF_DATA_BIG = 2 };
enum { ELF_ABI_SYSTEM_V = 0, ELF_VERSION = 1 };
enum { ELF_TYPE_EXECUTABLE = 2, ELF_TYPE_SHARED = 3 };
enum { ELF_MACHINE_X86_64 = 62 };
enum {
    ELF_SEGMENT_NULL = 0,
    ELF_SEGMENT_LOAD = 1,
    ELF_SEGMENT_DYNAMIC = 2,
    ELF_SEGMENT_INTERPRETER = 3,
    ELF_SEGMENT_NOTE = 4,
    ELF_SEGMENT_HEADERS = 6,
    ELF_SEGMENT_TLS = 7,
    ELF_SEGMENT_OS_FIRST = 0x60000000, /* from here on: of an OS, of a CPU; hints, but for */
    ELF_SEGMENT_STACK = 0x6474E551,    /* the rights of the stack */
};
enum { ELF_EXECUTE = 1, ELF_WRITE = 2, ELF_READ = 4 };

#endif
