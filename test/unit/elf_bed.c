/* A sound program file. */
#include "unit/elf_bed.h"

#include "arch/layout.h"
#include "lib/macros.h"
#include "lib/string.h"

uint8_t elf_byte(uint64_t at) { return (uint8_t)(1 + at % 251); }

struct elf64_header *elf_header(struct elf_file *file) { return (struct elf64_header *)(void *)file->bytes; }

struct elf64_program_header *elf_program_header(struct elf_file *file, unsigned i)
{
    return (struct elf64_program_header *)(void *)(file->bytes + sizeof(struct elf64_header)) + i;
}

void elf_file_make(struct elf_file *file)
{
    static const struct elf64_program_header headers[ELF_BED_HEADERS] = {
        {ELF_SEGMENT_LOAD, ELF_READ | ELF_EXECUTE, 0, 0x400000, 0, 0x1800, 0x1800, PAGE_BYTES},
        {ELF_SEGMENT_LOAD, ELF_READ, 0x2000, 0x402000, 0, 0x234, 0x234, PAGE_BYTES},
        {ELF_SEGMENT_LOAD, ELF_READ | ELF_WRITE, 0x2F00, 0x404F00, 0, 0x1300, 0x5100, PAGE_BYTES},
        {ELF_SEGMENT_STACK, ELF_READ | ELF_WRITE, 0, 0, 0, 0, 0, 16},
    };
    for (uint64_t i = 0; i < sizeof file->bytes; i++) {
        file->bytes[i] = elf_byte(i);
    }
    *elf_header(file) = (struct elf64_header){
        .magic = {0x7F, 'E', 'L', 'F'},
        .class = ELF_CLASS_64,
        .data = ELF_DATA_LITTLE,
        .ident_version = ELF_VERSION,
        .type = ELF_TYPE_EXECUTABLE,
        .machine = ELF_MACHINE_X86_64,
        .version = ELF_VERSION,
        .entry = ELF_BED_ENTRY,
        .program_headers = sizeof(struct elf64_header),
        .header_bytes = sizeof(struct elf64_header),
        .program_header_bytes = sizeof headers[0],
        .program_header_count = ARRAY_LEN(headers),
    };
    memcpy(elf_program_header(file, 0), headers, sizeof headers);
    file->count = sizeof file->bytes;
    file->is_outside = false;
}

bool read_elf_file(struct elf_file *file, uint64_t at, void *to, uint64_t bytes)
{
    if (at > file->count || bytes > file->count - at) {
        file->is_outside = true;
        return false;
    }
    memcpy(to, file->bytes + at, bytes);
    return true;
}

static bool read(void *ctx, uint64_t at, void *to, uint64_t bytes) { return read_elf_file(ctx, at, to, bytes); }

struct elf_source elf_source_of(struct elf_file *file)
{
    return (struct elf_source){.ctx = file, .bytes = file->count, .read = read};
}

static bool is_sound(const struct elf_segment *s, uint64_t file_bytes)
{
    const bool is_written = (s->rights & VMM_WRITE) != 0;
    return s->va.v >= LAYOUT_USER_FIRST && s->bytes > 0 && s->va.v + s->bytes > s->va.v &&
           s->va.v + s->bytes <= LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL) && s->file_bytes <= s->bytes &&
           s->offset + s->file_bytes >= s->offset && (s->file_bytes == 0 || s->offset + s->file_bytes <= file_bytes) &&
           (s->file_bytes == 0 || page_offset_bytes(s->offset) == page_offset_bytes(s->va.v)) &&
           (s->rights & VMM_READ) != 0 && !(is_written && (s->rights & VMM_EXECUTE) != 0) &&
           (is_written || s->bytes == s->file_bytes);
}

bool elf_is_sound(const struct elf_program *program, uint64_t file_bytes)
{
    bool ok = program->count > 0 && program->count <= ELF_SEGMENTS_MAX, has_entry = false;
    for (unsigned i = 0; i < program->count && ok; i++) {
        const struct elf_segment *s = &program->segments[i];
        ok = is_sound(s, file_bytes) &&
             (i == 0 || vaddr_page_number(vaddr_add(s[-1].va, s[-1].bytes - 1)) < vaddr_page_number(s->va));
        has_entry |= (s->rights & VMM_EXECUTE) != 0 && program->entry.v >= s->va.v &&
                     program->entry.v < s->va.v + s->bytes;
    }
    return ok && has_entry;
}
