/*
 * An ELF file is looked at: a header, a table of program headers, and of each PT_LOAD what it says. Nobody vouches for
 * any of it.
 *
 * 1. Each number is compared with what there is before it is used: sums are never made of numbers not yet bounded
 *    (offset <= file, then length <= file - offset). Headers are copied out of the source before they are looked at, so
 *    a file that changes meanwhile is looked at once only.
 * 2. Refused is also what other loaders take in silence, since whoever wrote the file is better served by a reason:
 *    segments that share a page (one page has one set of rights), that are out of order, or writable and executable,
 *    that want zeros where nobody may write, and a stack that is to be executable.
 * 3. Sections are not looked at: they are for linkers and debuggers.
 */
#include "arch/layout.h"
#include "lib/macros.h"
#include "lib/string.h"
#include "task/elf64.h"
#include "task/load.h"

enum { PROGRAM_HEADERS_MAX = 64 };

#define PRIVATE_END LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL)

struct reading {
    const struct elf_source *source;
    struct elf_program *program;
    const char *why;
};

static enum status refuse(struct reading *r, enum status status, const char *why)
{
    r->why = why;
    return status;
}

static bool is_inside(const struct elf_source *source, uint64_t at, uint64_t bytes)
{
    return at <= source->bytes && bytes <= source->bytes - at;
}

static bool read_at(const struct reading *r, uint64_t at, void *to, uint64_t bytes)
{
    return is_inside(r->source, at, bytes) && r->source->read(r->source->ctx, at, to, bytes);
}

/* ---- The header ---- */

/* Of what kind is it? */
static enum status check_kind(struct reading *r, const struct elf64_header *h)
{
    static const uint8_t magic[] = {0x7F, 'E', 'L', 'F'};
    if (memcmp(h->magic, magic, sizeof magic) != 0) {
        return refuse(r, STATUS_INVALID, "not an ELF file");
    }
    if (h->class != ELF_CLASS_64) {
        return h->class == ELF_CLASS_32 ? refuse(r, STATUS_UNSUPPORTED, "a 32-bit file")
                                        : refuse(r, STATUS_INVALID, "neither 32-bit nor 64-bit");
    }
    if (h->data != ELF_DATA_LITTLE) {
        return h->data == ELF_DATA_BIG ? refuse(r, STATUS_UNSUPPORTED, "a big-endian file")
                                       : refuse(r, STATUS_INVALID, "neither little-endian nor big-endian");
    }
    if (h->ident_version != ELF_VERSION || h->version != ELF_VERSION) {
        return refuse(r, STATUS_INVALID, "not of version 1");
    }
    if (h->os_abi != ELF_ABI_SYSTEM_V) {
        return refuse(r, STATUS_UNSUPPORTED, "for another system (OS ABI)");
    }
    if (h->machine != ELF_MACHINE_X86_64) {
        return refuse(r, STATUS_UNSUPPORTED, "for another machine than x86-64");
    }
    if (h->type != ELF_TYPE_EXECUTABLE) {
        return h->type == ELF_TYPE_SHARED
                   ? refuse(r, STATUS_UNSUPPORTED, "position-independent or a library; link it with -static -no-pie")
                   : refuse(r, STATUS_UNSUPPORTED, "not an executable");
    }
    return STATUS_OK;
}

static enum status check_header(struct reading *r, const struct elf64_header *h)
{
    const enum status s = check_kind(r, h);
    if (s != STATUS_OK) {
        return s;
    }
    if (h->header_bytes != sizeof *h) {
        return refuse(r, STATUS_INVALID, "a header of another size than 64 bytes");
    }
    if (h->program_header_bytes != sizeof(struct elf64_program_header)) {
        return refuse(r, STATUS_INVALID, "program headers of another size than 56 bytes");
    }
    if (h->program_header_count == 0) {
        return refuse(r, STATUS_INVALID, "no program headers");
    }
    if (h->program_header_count > PROGRAM_HEADERS_MAX) {
        return refuse(r, STATUS_LIMIT, "more than 64 program headers (PROGRAM_HEADERS_MAX)");
    }
    if (!is_inside(r->source, h->program_headers,
                   h->program_header_count * sizeof(struct elf64_program_header))) {
        return refuse(r, STATUS_INVALID, "program headers outside of the file");
    }
    return STATUS_OK;
}

/* ---- Segments ---- */

/* Where it lies in memory: in the private part, behind all before it, on pages of its own. */
static enum status check_place(struct reading *r, const struct elf64_program_header *p)
{
    if (p->va < LAYOUT_USER_FIRST) {
        return refuse(r, STATUS_INVALID, "a segment in the first 64 KiB");
    }
    if (p->va >= PRIVATE_END || p->bytes > PRIVATE_END - p->va) {
        return refuse(r, STATUS_INVALID, "a segment outside the private part");
    }
    if (p->align > 1 && (p->align & (p->align - 1)) != 0) {
        return refuse(r, STATUS_INVALID, "an alignment that is no power of two");
    }
    if (p->align > 1 && ((p->va ^ p->offset) & (p->align - 1)) != 0) {
        return refuse(r, STATUS_INVALID, "a segment whose offset and address differ in its alignment");
    }
    if (r->program->count > 0) {
        const struct elf_segment *before = &r->program->segments[r->program->count - 1];
        if (vaddr_page_number(vaddr(p->va)) <= vaddr_page_number(vaddr_add(before->va, before->bytes - 1))) {
            return refuse(r, STATUS_INVALID, "segments out of order, overlapping, or on one page");
        }
    }
    return STATUS_OK;
}

static enum status check_contents(struct reading *r, const struct elf64_program_header *p)
{
    if (p->file_bytes > p->bytes) {
        return refuse(r, STATUS_INVALID, "a segment that is larger in the file than in memory");
    }
    if (!is_inside(r->source, p->offset, p->file_bytes)) {
        return refuse(r, STATUS_INVALID, "a segment that is not wholly in the file");
    }
    if (p->file_bytes > 0 && page_offset_bytes(p->offset) != page_offset_bytes(p->va)) {
        return refuse(r, STATUS_INVALID, "a segment whose offset and address differ within the page");
    }
    if ((p->flags & (ELF_READ | ELF_WRITE | ELF_EXECUTE)) == 0) {
        return refuse(r, STATUS_INVALID, "a segment without any right");
    }
    if ((p->flags & ELF_WRITE) != 0 && (p->flags & ELF_EXECUTE) != 0) {
        return refuse(r, STATUS_INVALID, "a segment that is writable and executable");
    }
    if ((p->flags & ELF_WRITE) == 0 && p->bytes > p->file_bytes) {
        return refuse(r, STATUS_UNSUPPORTED, "zeros in a segment that may not be written");
    }
    return STATUS_OK;
}

static enum status take_segment(struct reading *r, const struct elf64_program_header *p)
{
    if (p->bytes == 0 && p->file_bytes == 0) {
        return STATUS_OK;
    }
    enum status s = check_contents(r, p);
    s = s == STATUS_OK ? check_place(r, p) : s;
    if (s == STATUS_OK && r->program->count == ELF_SEGMENTS_MAX) {
        s = refuse(r, STATUS_LIMIT, "more than 8 segments (ELF_SEGMENTS_MAX)");
    }
    if (s == STATUS_OK) {
        r->program->segments[r->program->count++] = (struct elf_segment){
            .va = vaddr(p->va),
            .bytes = p->bytes,
            .file_bytes = p->file_bytes,
            .offset = p->offset,
            .rights = VMM_READ | ((p->flags & ELF_WRITE) != 0 ? (unsigned)VMM_WRITE : 0) |
                      ((p->flags & ELF_EXECUTE) != 0 ? (unsigned)VMM_EXECUTE : 0),
        };
    }
    return s;
}

static enum status take_header(struct reading *r, const struct elf64_program_header *p)
{
    switch (p->type) {
    case ELF_SEGMENT_LOAD: return take_segment(r, p);
    case ELF_SEGMENT_NULL:
    case ELF_SEGMENT_NOTE:
    case ELF_SEGMENT_HEADERS: return STATUS_OK;
    case ELF_SEGMENT_INTERPRETER: return refuse(r, STATUS_UNSUPPORTED, "it wants an interpreter; link it with -static");
    case ELF_SEGMENT_DYNAMIC: return refuse(r, STATUS_UNSUPPORTED, "it is linked dynamically; link it with -static");
    case ELF_SEGMENT_TLS: return refuse(r, STATUS_UNSUPPORTED, "it wants thread-local storage");
    case ELF_SEGMENT_STACK:
        return (p->flags & ELF_EXECUTE) == 0 ? STATUS_OK
                                             : refuse(r, STATUS_UNSUPPORTED, "it wants a stack that is executable");
    default:
        return p->type >= ELF_SEGMENT_OS_FIRST ? STATUS_OK
                                               : refuse(r, STATUS_UNSUPPORTED, "a program header of an unknown kind");
    }
}

/* ---- All of it ---- */

static bool is_code(const struct elf_program *program, uint64_t va)
{
    for (unsigned i = 0; i < program->count; i++) {
        const struct elf_segment *s = &program->segments[i];
        if ((s->rights & VMM_EXECUTE) != 0 && va >= s->va.v && va - s->va.v < s->bytes) {
            return true;
        }
    }
    return false;
}

static enum status read_all(struct reading *r)
{
    struct elf64_header h;
    if (!read_at(r, 0, &h, sizeof h)) {
        return refuse(r, STATUS_INVALID, "it ends within the ELF header");
    }
    enum status s = check_header(r, &h);
    for (unsigned i = 0; i < h.program_header_count && s == STATUS_OK; i++) {
        struct elf64_program_header p;
        s = read_at(r, h.program_headers + i * sizeof p, &p, sizeof p)
                ? take_header(r, &p)
                : refuse(r, STATUS_INVALID, "program headers that cannot be read");
    }
    if (s == STATUS_OK && r->program->count == 0) {
        s = refuse(r, STATUS_INVALID, "nothing to load");
    }
    if (s == STATUS_OK && !is_code(r->program, h.entry)) {
        s = refuse(r, STATUS_INVALID, "an entry outside of the executable segments");
    }
    r->program->entry = vaddr(h.entry);
    return s;
}

enum status elf_read(const struct elf_source *source, struct elf_program *program, const char **why)
{
    struct reading r = {.source = source, .program = program, .why = NULL};
    *program = (struct elf_program){0};
    const enum status s = read_all(&r);
    if (s != STATUS_OK) {
        *program = (struct elf_program){0};
    }
    *why = r.why;
    return s;
}
