/*
 * A loader between GRUB and the kernel that lies: test_hostile.py boots it with the real kernel as its module. It loads
 * the kernel's segments where they want to be, forges a Multiboot2 information block, and jumps to the kernel's entry.
 *
 * `shim=NAME` on the command line chooses the lie (forge() below); the command line goes on to the kernel. 32-bit code
 * in flat memory; all addresses are its own choice, on a machine of 256 MiB:
 *
 *   16 MiB  what modules claim     48 MiB  this program     64 MiB  copy of the kernel's file     96 MiB  the block
 */
#include <stdint.h>

enum {
    KIB = 1 << 10,
    MIB = 1 << 20,
    FILE_COPY = 64 * MIB,
    BLOCK = 96 * MIB,
    BLOCK_LOW = 0x4000,
    KERNEL = 1 * MIB,
    MANY_ENTRIES = 10000,
    LOADER_MAGIC = 0x36D76289,
};

enum tag_type {
    COMMAND_LINE = 1,
    LOADER = 2,
    MODULE = 3,
    BASIC = 4,
    MAP = 6,
    FRAMEBUFFER = 8,
    SECTIONS = 9,
    EFI_MAP = 17,
};

enum { USABLE = 1, RESERVED = 2, ACPI = 3 };

/* ---- Bytes ---- */

static void copy(void *to, const void *from, uint32_t bytes)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

static void clear(void *to, uint32_t bytes)
{
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(0) : "memory");
}

static uint32_t length(const char *s)
{
    uint32_t n = 0;
    while (s[n] != 0) {
        n++;
    }
    return n;
}

static int begins(const char *text, const char *with)
{
    while (*with != 0 && *text == *with) {
        text++;
        with++;
    }
    return *with == 0;
}

/* ---- What GRUB gave ---- */

static char own_line[2048];
static const char *command_line = "", *lie = "";
static const uint8_t *file; /* the kernel's ELF */
static uint32_t file_bytes;

static int is(const char *name) { return begins(lie, name) && (lie[length(name)] == ' ' || lie[length(name)] == 0); }

static void read_block(const uint32_t *block)
{
    const uint8_t *end = (const uint8_t *)block + block[0], *at = (const uint8_t *)(block + 2);
    while (at < end && *(const uint32_t *)at != 0) {
        const uint32_t *tag = (const uint32_t *)at;
        if (tag[0] == COMMAND_LINE) {
            copy(own_line, tag + 2, tag[1] - 8 < sizeof own_line ? tag[1] - 8 : sizeof own_line - 1);
            command_line = own_line; /* the block lies where the kernel goes */
        } else if (tag[0] == MODULE) {
            file = (const uint8_t *)tag[2];
            file_bytes = tag[3] - tag[2];
        }
        at += (tag[1] + 7) & ~7U;
    }
    for (const char *c = command_line; *c != 0; c++) {
        if (begins(c, "shim=")) {
            lie = c + 5;
        }
    }
}

/* ---- The kernel's file: ELF-64 ---- */

struct elf {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, segments, sections;
    uint32_t flags;
    uint16_t bytes, segment_bytes, segment_count, section_bytes, section_count, names;
};
struct segment {
    uint32_t type, flags;
    uint64_t offset, virtual_address, physical, in_file, in_memory, align;
};
struct section {
    uint32_t name, type;
    uint64_t flags, address, offset, bytes;
    uint32_t link, info;
    uint64_t align, entry_bytes;
};

static uint32_t load_kernel(void)
{
    copy((void *)FILE_COPY, file, file_bytes);
    const struct elf *elf = (const void *)FILE_COPY;
    const struct segment *s = (const void *)(FILE_COPY + (uint32_t)elf->segments);
    for (int i = 0; i < elf->segment_count; i++) {
        if (s[i].type == 1 && s[i].in_memory > 0) {
            clear((void *)(uint32_t)s[i].physical, (uint32_t)s[i].in_memory);
            copy((void *)(uint32_t)s[i].physical, (void *)(FILE_COPY + (uint32_t)s[i].offset), (uint32_t)s[i].in_file);
        }
    }
    return (uint32_t)elf->entry;
}

/* ---- The block ---- */

static uint8_t *block, *at, *tag;

static void put32(uint32_t v)
{
    copy(at, &v, 4);
    at += 4;
}
static void put64(uint64_t v)
{
    copy(at, &v, 8);
    at += 8;
}
static void begin(uint32_t type)
{
    tag = at;
    put32(type);
    put32(0);
}
static void end(void)
{
    uint32_t bytes = (uint32_t)(at - tag);
    copy(tag + 4, &bytes, 4);
    while (((at - block) & 7) != 0) {
        *at++ = 0;
    }
}

static void put_text(uint32_t type, const char *text, int terminated)
{
    begin(type);
    copy(at, text, length(text));
    at += length(text);
    if (terminated) {
        *at++ = 0;
    }
    end();
}

static void put_module(uint32_t start, uint32_t stop)
{
    begin(MODULE);
    put32(start);
    put32(stop);
    put32(0x00746165); /* "eat" */
    end();
}

static void put_entry(uint64_t base, uint64_t bytes, uint32_t type)
{
    put64(base);
    put64(bytes);
    put32(type);
    put32(0);
}

static void put_true_entries(void)
{
    put_entry(0, 0x9FC00, USABLE);
    put_entry(0x9FC00, 0x400, RESERVED);
    put_entry(0xF0000, 0x10000, RESERVED);
    put_entry(MIB, 255U * MIB - 0x20000, USABLE);
}

static void put_map(void)
{
    begin(MAP);
    put32(is("entry-size-0") ? 0 : is("entry-size-huge") ? 0xFFFFFFFF : 24);
    put32(0);
    put_true_entries();
    if (is("overlaps")) {
        put_entry(8 * MIB, 24 * MIB, RESERVED);
        put_entry(4 * MIB, 100 * MIB, USABLE);
        put_entry(20 * MIB + 123, 1, 77);
        put_entry(0, ~0ULL, USABLE);
        put_entry(256U * MIB - 0x20000, ~0ULL, RESERVED);
        put_entry(~0ULL, ~0ULL, USABLE);
        put_entry(64 * MIB, 0, RESERVED);
    } else if (is("acpi-over-all")) {
        put_entry(KERNEL, 4 * MIB, ACPI);
        put_entry(BLOCK, MIB, ACPI);
        put_entry(16 * MIB, MIB, ACPI);
        put_entry(0, MIB, ACPI);
    } else if (is("many-entries")) {
        for (uint32_t i = 0; i < MANY_ENTRIES; i++) {
            put_entry(128 * MIB + i * 8 * KIB, 4 * KIB, i % 2 != 0 ? RESERVED : USABLE);
        }
    }
    end();
}

static void put_maps(void)
{
    if (is("no-map") || is("basic-map")) {
        if (is("basic-map")) {
            begin(BASIC);
            put32(639);
            put32(127 * 1024);
            end();
        }
    } else if (is("efi-map")) {
        begin(EFI_MAP);
        put32(48);
        put32(1);
        static const uint32_t parts[][3] = {{7, 0, 0x9F}, {7, MIB, 0x6F00}, {9, 0x7000000, 16}, {0, 0x7010000, 99}};
        for (int i = 0; i < 4; i++) {
            put64(parts[i][0]);
            put64(parts[i][1]);
            put64(0);
            put64(parts[i][2]);
            put64(0xF);
            put64(0);
        }
        end();
    } else {
        put_map();
    }
}

static void put_modules(void)
{
    if (is("modules")) {
        put_module(KERNEL, KERNEL + 0x9000);                 /* over what is thrown away after boot */
        put_module(KERNEL + 0x80000, KERNEL + 0x90000);      /* over the kernel itself */
        put_module(16 * MIB, 20 * MIB);
        put_module(18 * MIB, 22 * MIB);
        put_module(BLOCK, BLOCK + 0x100);                    /* over the block */
        put_module(0xF0000000, 0xFFFFFFFF);
        put_module(300U * MIB, 301U * MIB);
        put_module(5 * MIB, 4 * MIB);
    } else if (is("module-over-all")) {
        put_module(0, 0xFFFFFFFF);
    } else if (is("many-modules")) {
        for (uint32_t i = 0; i < 100; i++) {
            put_module(16 * MIB + i * 0x3000, 16 * MIB + i * 0x3000 + 0x1001);
        }
    }
}

/* As GRUB does: the headers of the file, with the addresses to which what is not part of the image was loaded. */
static void put_sections(void)
{
    const struct elf *elf = (const void *)FILE_COPY;
    begin(SECTIONS);
    put32(is("sections-lie") ? 0xFFFFFF : elf->section_count);
    put32(elf->section_bytes);
    put32(elf->names);
    struct section *first = (void *)at;
    copy(at, (void *)(FILE_COPY + (uint32_t)elf->sections), (uint32_t)elf->section_count * elf->section_bytes);
    at += (uint32_t)elf->section_count * elf->section_bytes;
    for (int i = 0; i < elf->section_count; i++) {
        struct section *s = &first[i];
        if (s->address == 0 && s->bytes > 0) {
            s->address = FILE_COPY + s->offset;
        }
        if (s->type == 2 && is("sections-lie")) {
            s->address = -(uint64_t)MIB;
            s->bytes = 2 * MIB;
        } else if (s->type == 2 && is("symbols-huge")) {
            s->bytes = 0xF0000000;
        } else if (s->type == 2 && is("symbols-elsewhere")) {
            s->link = 0xFFFF;
        } else if (s->type == 3 && is("symbols-of-noise")) {
            s->address = KERNEL + 0x20000;
        } else if (s->type == 2 && is("symbols-of-noise")) {
            s->address = FILE_COPY + 0x1003;
        }
    }
    end();
}

static void put_framebuffer(void)
{
    if (is("framebuffer-over-kernel")) {
        begin(FRAMEBUFFER);
        put64(KERNEL);
        put32(4 * KIB);
        put32(1024);
        put32(256);
        put32(32 | 1 << 8);
        put64(0);
        end();
    }
}

static uint32_t forge(void)
{
    block = (uint8_t *)(is("low-block") ? BLOCK_LOW : BLOCK);
    at = block;
    put64(0);
    if (is("unterminated")) {
        put_text(COMMAND_LINE, command_line, 0);
    }
    put_text(COMMAND_LINE, command_line, 1);
    put_text(LOADER, "shim", 1);
    put_modules();
    put_maps();
    put_framebuffer();
    put_sections();
    if (!is("no-end")) {
        put64(8ULL << 32);
    }
    uint32_t bytes = is("size-0") ? 0 : is("size-huge") ? 0xFFFFFFFF : (uint32_t)(at - block);
    copy(block, &bytes, 4);
    if (is("unaligned")) {
        copy(block + 0xFFE, block, bytes);
        return (uint32_t)block + 0xFFE;
    }
    return is("nowhere") ? 0xE0000000 : is("null") ? 0 : is("in-kernel") ? KERNEL + 0x2000 : (uint32_t)block;
}

void shim_main(const uint32_t *info)
{
    read_block(info);
    uint32_t entry = load_kernel();
    __asm__ volatile("jmp *%0" : : "r"(entry), "a"(LOADER_MAGIC), "b"(forge()) : "memory");
    __builtin_unreachable();
}

__asm__(".section .multiboot, \"a\"\n"
        ".balign 8\n"
        "header: .long 0xE85250D6, 0, header_end - header, -(0xE85250D6 + (header_end - header))\n"
        ".word 0, 0\n .long 8\n"
        "header_end:\n"
        ".section .text\n"
        ".globl shim_start\n"
        "shim_start:\n"
        "    cli\n"
        "    cld\n"
        "    lea stack_top, %esp\n"
        "    push %ebx\n"
        "    call shim_main\n"
        "    ud2\n"
        ".section .bss\n"
        ".balign 16\n"
        "    .skip 16384\n"
        "stack_top:\n"
        ".section .text\n");
