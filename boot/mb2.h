/*
 * Multiboot2 boot information (specification 2.0, section 3.6), read as untrusted input.
 *
 * Sizes, alignment, overflow, unterminated strings, entry sizes and a missing end tag are checked from the first
 * line on: what is wrong gets a status and a word, never an assert; what is sound is used. Nothing is copied: all
 * pointers point into the block. No global state.
 */
#ifndef CAIRN_BOOT_MB2_H
#define CAIRN_BOOT_MB2_H

#include "boot/memmap.h"
#include "lib/status.h"

enum {
    MB2_MODULES_MAX = 64,        /* more are counted and reported, not kept */
    MB2_BLOCK_BYTES_MAX = 0x1FF000, /* a larger block is cut: what lies beyond is not read */
    MB2_PROBLEMS_TOLD_MAX = 32,  /* problems told in words; further ones are only counted */
    MB2_PROBLEM_TEXT_BYTES = 128, /* longer texts are cut */
};

struct mb2_module {
    uint64_t start, end;   /* physical bytes, [start, end), start <= end */
    const char *args;      /* terminated inside the block; "" when there is none */
};

struct mb2_framebuffer {
    uint64_t address;
    uint32_t pitch, width, height;
    uint8_t bpp, type;     /* type 2: EGA text */
    bool present;
};

struct mb2_elf {           /* section headers of the loaded image (tag 9) */
    const uint8_t *headers; /* null: absent or malformed */
    uint32_t count, entry_bytes, names_index;
};

/* Where the memory map is from; the first of these that is there and sound. */
enum mb2_map_source { MB2_MAP_NONE, MB2_MAP_MULTIBOOT2, MB2_MAP_EFI, MB2_MAP_BASIC };

struct mb2_info {
    const char *command_line;  /* never null, "" when absent */
    const char *loader_name;   /* likewise */
    const uint8_t *map;        /* first entry of the memory map; null when there is none */
    enum mb2_map_source map_source; /* whose entries they are */
    uint32_t map_entry_bytes;  /* the stride: >= 20 (base, length, type), EFI >= 40, basic 4 */
    uint32_t map_count;
    struct mb2_module modules[MB2_MODULES_MAX];
    uint32_t module_count, modules_lost; /* lost: more than MB2_MODULES_MAX, or end before start */
    struct mb2_elf elf;
    const uint8_t *rsdp;       /* copy of the ACPI RSDP inside the block, null when absent */
    uint32_t rsdp_bytes;       /* 20 or more, 36 or more for version 2 */
    uint32_t rsdp_version;     /* 1 or 2: which tag; the newer when both are there */
    struct mb2_framebuffer framebuffer;
    bool efi_map;              /* an EFI memory map tag is there (the machine is UEFI) */
    bool efi;                  /* that or any other EFI tag: system table, image handle, boot services not ended */
    bool firmware_runs;        /* EFI boot services were not ended: their memory is in use */
    uint64_t load_base;        /* where the image lies; 0 when the tag is absent */
    uint32_t total_bytes;      /* of the block, as far as it was read */
    uint32_t problems;         /* things found wrong, each told to `problem` */
};

/* Told of each thing that is wrong, in words; may be null. */
typedef void (*mb2_problem)(void *ctx, const char *text);

/*
 * Read the block at `bytes`, of which `available` bytes may be accessed (the block says its own length, which is not
 * believed). `bytes` must be 8-byte aligned. O(bytes of the block). Of a tag that may be there once the first sound
 * one counts. => OK: *info is filled, perhaps with problems counted; CORRUPT: not a boot information block at all,
 * not one tag in it is whole (*info is empty but valid, and the reason is a problem).
 */
enum status mb2_parse(const void *bytes, size_t available, struct mb2_info *info, mb2_problem problem, void *ctx);

/*
 * Entry `index` < info->map_count, beyond an empty one: exactly as the loader gave it; of an EFI map with EFI's type
 * translated; of basic memory the part below 1 MiB and that from there on.
 */
struct memmap_entry mb2_map_entry(const struct mb2_info *info, uint32_t index);
/* In words: "the EFI map". */
const char *mb2_map_source_name(enum mb2_map_source source);

/*
 * One section header of the ELF tag, as far as it is needed, exactly as given (address + bytes may wrap). false: out
 * of range.
 */
struct mb2_section {
    uint64_t address, bytes;
    uint32_t type, flags;
    uint32_t link; /* of a symbol table: the section with its names */
};
bool mb2_section(const struct mb2_info *info, uint32_t index, struct mb2_section *out);

#endif
