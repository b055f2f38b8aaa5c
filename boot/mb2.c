/*
 * Multiboot2 boot information, read as if an enemy had written it.
 *
 * 1. The format (Multiboot2 specification 2.0, section 3.6), all numbers little-endian
 *        block   total u32, reserved u32, tags ..., end tag
 *        tag     type u32, bytes u32 (these 8 included), payload; the next tag begins at the next multiple of 8
 *    Where the specification and GRUB differ, GRUB counts: the numbers of the ELF tag are u32, not u16.
 *
 * 2. What is believed: nothing
 *    Every read goes through struct payload, a stretch known to lie inside the block. Lengths are compared with what is
 *    known to be there by subtraction, so no sum can wrap. Fields are copied out with memcpy: a block may put them
 *    at any address. Strings count only with their terminator inside their own tag.
 *
 * 3. What is wrong, and what then
 *        fewer bytes readable than the block claims     the readable part is read
 *        tag shorter than 8 bytes                       the walk ends: the next tag cannot be found
 *        tag longer than the block                      cut; its whole entries count; the walk ends
 *        no end tag                                     told; all else counts
 *        a tag that may be there once comes again       the first sound one counts
 *        string without terminator                      ""
 *        map entries shorter than 20 bytes              no map
 *        map not a whole number of entries              the whole ones count
 *        no map                                         EFI's, else basic memory (mb2_map.c)
 *        module that ends before it starts              dropped, counted as lost
 *        modules over each other                        told; both kept: their frames are not free either way
 *        more section headers than fit                  those that fit count
 *        screen that does not fit its own pitch         no screen
 *        not one whole tag                              CORRUPT: this is no boot information block
 *    Each is told in words to `problem`, at most MB2_PROBLEMS_TOLD_MAX times (a block of 2 MiB holds a quarter of a
 *    million bad tags, and a serial line is slow); all are counted. A cut map may lack the entry that would make a
 *    part of it reserved. It is used, and told: the alternative is not to boot.
 *
 * 4. Cost: one walk over the tags; each string is read once; at most 64 modules are compared in pairs.
 *
 * 5. Rejected: copying all into structures of our own, which needs memory before there is an allocator (the block is
 *    kept from the allocator instead); structs laid over the tags, which hide the field that was not checked.
 *
 * 6. Context: boot, one CPU, no lock, no state but *info. It is in .init and goes with it.
 */
#include <stdarg.h>

#include "boot/mb2_internal.h"
#include "lib/fmt.h"

enum {
    BLOCK_HEADER_BYTES = 8,
    TAG_HEADER_BYTES = 8,
    TAG_ALIGN_BYTES = 8,
    MODULE_HEADER_BYTES = 8,
    ELF_HEADER_BYTES = 12,     /* count, entry size, names' index */
    ELF32_SECTION_BYTES = 40,
    ELF64_SECTION_BYTES = 64,
    RSDP1_BYTES = 20,
    RSDP2_BYTES = 36,
    SCREEN_BYTES = 22,         /* up to and including the type */
};

enum tag_type {
    TAG_END = 0,
    TAG_COMMAND_LINE = 1,
    TAG_LOADER = 2,
    TAG_MODULE = 3,
    TAG_BASIC_MEMORY = 4,
    TAG_MAP = 6,
    TAG_FRAMEBUFFER = 8,
    TAG_ELF = 9,
    TAG_EFI32_TABLE = 11,
    TAG_EFI64_TABLE = 12,
    TAG_RSDP1 = 14,
    TAG_RSDP2 = 15,
    TAG_EFI_MAP = 17,
    TAG_EFI_SERVICES = 18,
    TAG_EFI32_IMAGE = 19,
    TAG_EFI64_IMAGE = 20,
    TAG_LOAD_BASE = 21,
};

void mb2_wrong(struct parser *p, const char *format, ...)
{
    if (p->info->problems < UINT32_MAX) {
        p->info->problems++;
    }
    if (p->problem == NULL || p->info->problems > MB2_PROBLEMS_TOLD_MAX) {
        return;
    }
    char text[MB2_PROBLEM_TEXT_BYTES];
    struct buffer_sink buffer;
    buffer_sink_init(&buffer, text, sizeof text);
    va_list args;
    va_start(args, format);
    sink_vprintf(&buffer.sink, format, args);
    va_end(args);
    p->problem(p->ctx, text);
}

/* The string at `offset` of the payload; null when its end is not inside. */
static const char *read_string(struct payload tag, uint32_t offset)
{
    const char *text = (const char *)tag.at + offset;
    uint32_t room = tag.bytes - offset;
    return strnlen(text, room) < room ? text : NULL;
}

static bool parse_string(struct parser *p, struct payload tag, const char *what, const char **out)
{
    const char *text = read_string(tag, 0);
    if (text == NULL) {
        mb2_wrong(p, "%s of %u bytes has no end: left out", what, tag.bytes);
        return false;
    }
    *out = text;
    return true;
}

static void tell_overlaps(struct parser *p, struct mb2_module module)
{
    for (uint32_t i = 0; i < p->info->module_count; i++) {
        struct mb2_module other = p->info->modules[i];
        if (ranges_overlap(module.start, module.end, other.start, other.end)) {
            mb2_wrong(p, "module at %#lx to %#lx lies over the one at %#lx to %#lx", module.start, module.end,
                      other.start, other.end);
        }
    }
}

static void parse_module(struct parser *p, struct payload tag)
{
    if (tag.bytes < MODULE_HEADER_BYTES) {
        mb2_wrong(p, "module tag of %u bytes: left out", tag.bytes);
        p->info->modules_lost++;
        return;
    }
    struct mb2_module module = {read32(tag.at), read32(tag.at + 4), read_string(tag, MODULE_HEADER_BYTES)};
    if (module.end < module.start) {
        mb2_wrong(p, "module at %#lx ends before it, at %#lx: left out", module.start, module.end);
        p->info->modules_lost++;
        return;
    }
    if (module.args == NULL) {
        mb2_wrong(p, "arguments of the module at %#lx have no end: left out", module.start);
        module.args = "";
    }
    if (p->info->module_count == MB2_MODULES_MAX) {
        mb2_wrong(p, "module at %#lx is one more than MB2_MODULES_MAX = %d: left out", module.start,
                  MB2_MODULES_MAX);
        p->info->modules_lost++;
        return;
    }
    tell_overlaps(p, module);
    p->info->modules[p->info->module_count++] = module;
}

static bool parse_elf(struct parser *p, struct payload tag)
{
    if (tag.bytes < ELF_HEADER_BYTES) {
        mb2_wrong(p, "ELF tag of %u bytes: left out", tag.bytes);
        return false;
    }
    struct mb2_elf elf = {tag.at + ELF_HEADER_BYTES, read32(tag.at), read32(tag.at + 4), read32(tag.at + 8)};
    if (elf.count == 0) {
        return true; /* an image without section headers: nothing to keep, nothing wrong */
    }
    if (elf.entry_bytes != ELF32_SECTION_BYTES && elf.entry_bytes < ELF64_SECTION_BYTES) {
        mb2_wrong(p, "ELF section headers of %u bytes: left out", elf.entry_bytes);
        return false;
    }
    uint32_t fits = (tag.bytes - ELF_HEADER_BYTES) / elf.entry_bytes;
    if (elf.count > fits) {
        mb2_wrong(p, "ELF tag says %u section headers and holds %u", elf.count, fits);
        elf.count = fits;
    }
    if (elf.count > 0 && elf.names_index >= elf.count) {
        mb2_wrong(p, "ELF section %u of %u is said to hold the names", elf.names_index, elf.count);
        elf.names_index = 0; /* the null section: no names */
    }
    if (elf.count > 0) {
        p->info->elf = elf;
    }
    return elf.count > 0;
}

static bool parse_rsdp(struct parser *p, struct payload tag, uint32_t version)
{
    if (tag.bytes < (version == 1 ? RSDP1_BYTES : RSDP2_BYTES)) {
        mb2_wrong(p, "ACPI RSDP of version %u in %u bytes: left out", version, tag.bytes);
        return false;
    }
    if (version > p->info->rsdp_version) {
        p->info->rsdp = tag.at;
        p->info->rsdp_bytes = tag.bytes;
        p->info->rsdp_version = version;
    }
    return true;
}

static bool parse_screen(struct parser *p, struct payload tag)
{
    if (tag.bytes < SCREEN_BYTES) {
        mb2_wrong(p, "framebuffer tag of %u bytes: left out", tag.bytes);
        return false;
    }
    struct mb2_framebuffer screen = {read64(tag.at),      read32(tag.at + 8), read32(tag.at + 12),
                                     read32(tag.at + 16), tag.at[20],         tag.at[21], true};
    uint64_t row_bytes = ((uint64_t)screen.width * screen.bpp + 7) / 8;
    uint64_t bytes = (uint64_t)screen.pitch * screen.height;
    if (row_bytes == 0 || bytes == 0 || row_bytes > screen.pitch || bytes > UINT64_MAX - screen.address) {
        mb2_wrong(p, "framebuffer %ux%u, %u bits, pitch %u at %#lx cannot be: left out", screen.width, screen.height,
              screen.bpp, screen.pitch, screen.address);
        return false;
    }
    p->info->framebuffer = screen;
    return true;
}

static bool parse_load_base(struct parser *p, struct payload tag)
{
    if (tag.bytes < 4) {
        mb2_wrong(p, "load address tag of %u bytes: left out", tag.bytes);
        return false;
    }
    p->info->load_base = read32(tag.at);
    return true;
}

/* Reads a tag that may be there once. True: it is sound. */
static bool parse_single(struct parser *p, uint32_t type, struct payload tag)
{
    switch (type) {
    case TAG_COMMAND_LINE: return parse_string(p, tag, "command line", &p->info->command_line);
    case TAG_LOADER: return parse_string(p, tag, "loader name", &p->info->loader_name);
    case TAG_MAP: return mb2_parse_map(p, tag);
    case TAG_FRAMEBUFFER: return parse_screen(p, tag);
    case TAG_ELF: return parse_elf(p, tag);
    case TAG_RSDP1: return parse_rsdp(p, tag, 1);
    case TAG_RSDP2: return parse_rsdp(p, tag, 2);
    case TAG_LOAD_BASE: return parse_load_base(p, tag);
    case TAG_BASIC_MEMORY: p->basic_memory = tag; return true;
    case TAG_EFI_MAP:
        p->efi_map = tag;
        p->info->efi = p->info->efi_map = true;
        return true;
    case TAG_EFI_SERVICES: p->firmware_runs = true; [[fallthrough]];
    case TAG_EFI32_TABLE:
    case TAG_EFI64_TABLE:
    case TAG_EFI32_IMAGE:
    case TAG_EFI64_IMAGE: p->info->efi = true; return true;
    default: return false; /* not ours to read: network, SMBIOS, APM, ... or unknown */
    }
}

static void parse_tag(struct parser *p, uint32_t type, struct payload tag)
{
    if (type == TAG_MODULE) {
        parse_module(p, tag);
        return;
    }
    uint32_t bit = type < 32 ? 1U << type : 0;
    if ((p->sound & bit) != 0) {
        mb2_wrong(p, "tag %u is there again: the first one counts", type);
    } else if (parse_single(p, type, tag)) {
        p->sound |= bit;
    }
}

/* Walks the tags of a block of `total` readable bytes. Returns how many were whole. */
static uint32_t walk_tags(struct parser *p, const uint8_t *block, uint32_t total)
{
    uint32_t whole = 0;
    /* offset <= total + 7 after the last tag: far from the end of uint32_t. */
    for (uint32_t offset = BLOCK_HEADER_BYTES; offset < total && total - offset >= TAG_HEADER_BYTES;) {
        uint32_t type = read32(block + offset), bytes = read32(block + offset + 4), room = total - offset;
        if (bytes < TAG_HEADER_BYTES) {
            mb2_wrong(p, "tag %u at %#x says %u bytes: nothing behind it is read", type, offset, bytes);
            return whole;
        }
        if (bytes > room) {
            mb2_wrong(p, "tag %u at %#x says %u bytes where %u are left", type, offset, bytes, room);
            if (whole > 0) {
                parse_tag(p, type, (struct payload){block + offset + TAG_HEADER_BYTES, room - TAG_HEADER_BYTES});
            }
            return whole;
        }
        whole++;
        if (type == TAG_END) {
            if (bytes != TAG_HEADER_BYTES) {
                mb2_wrong(p, "the end tag says %u bytes", bytes);
            }
            return whole;
        }
        parse_tag(p, type, (struct payload){block + offset + TAG_HEADER_BYTES, bytes - TAG_HEADER_BYTES});
        offset += (bytes + TAG_ALIGN_BYTES - 1) / TAG_ALIGN_BYTES * TAG_ALIGN_BYTES;
    }
    mb2_wrong(p, "the end tag is missing");
    return whole;
}

static void clear(struct mb2_info *info)
{
    memset(info, 0, sizeof *info);
    info->command_line = "";
    info->loader_name = "";
}

enum status mb2_parse(const void *bytes, size_t available, struct mb2_info *info, mb2_problem problem, void *ctx)
{
    clear(info);
    struct parser p = {.info = info, .problem = problem, .ctx = ctx};
    if (bytes == NULL || ptr_to_vaddr(bytes).v % TAG_ALIGN_BYTES != 0) {
        mb2_wrong(&p, "no boot information: it would lie at %#lx", ptr_to_vaddr(bytes).v);
        return STATUS_CORRUPT;
    }
    if (available < BLOCK_HEADER_BYTES + TAG_HEADER_BYTES) {
        mb2_wrong(&p, "no boot information: %lu bytes are too few", available);
        return STATUS_CORRUPT;
    }
    uint32_t said = read32(bytes);
    uint32_t limit = available < MB2_BLOCK_BYTES_MAX ? (uint32_t)available : MB2_BLOCK_BYTES_MAX;
    if (said > limit) {
        mb2_wrong(&p, "the block says %u bytes, %u are read", said, limit);
    }
    uint32_t total = said < limit ? said : limit;
    if (walk_tags(&p, bytes, total) == 0) {
        mb2_wrong(&p, "no boot information: a block of %u bytes without one whole tag", said);
        return STATUS_CORRUPT; /* *info is still empty: what is cut counts only behind a whole tag */
    }
    mb2_choose_map(&p);
    info->total_bytes = total;
    return STATUS_OK;
}

bool mb2_section(const struct mb2_info *info, uint32_t index, struct mb2_section *out)
{
    if (index >= info->elf.count) {
        return false;
    }
    const uint8_t *at = info->elf.headers + (size_t)index * info->elf.entry_bytes;
    if (info->elf.entry_bytes < ELF64_SECTION_BYTES) { /* Elf32_Shdr: name, type, flags, address, offset, size, link */
        *out = (struct mb2_section){read32(at + 12), read32(at + 20), read32(at + 4), read32(at + 8), read32(at + 24)};
    } else { /* Elf64_Shdr: the same order; of the flags the low half is what is needed */
        *out = (struct mb2_section){read64(at + 16), read64(at + 32), read32(at + 4), read32(at + 8), read32(at + 40)};
    }
    return true;
}
