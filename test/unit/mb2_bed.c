#include "unit/mb2_bed.h"

#include "lib/string.h"

static void put(struct block *b, const void *bytes, uint32_t count)
{
    if (count == 0 || count > b->capacity - b->size) {
        return; /* nothing, or the test asked for too little room and will see it */
    }
    memcpy(b->bytes + b->size, bytes, count);
    b->size += count;
}

static void put32(struct block *b, uint32_t value) { put(b, &value, sizeof value); }
static void put64(struct block *b, uint64_t value) { put(b, &value, sizeof value); }

static void pad(struct block *b)
{
    while (b->size % 8 != 0) {
        put(b, "\xA5", 1);
    }
}

static void close_tag(struct block *b, uint32_t tag)
{
    block_patch(b, tag + 4, b->size - tag);
    pad(b);
}

static uint32_t open_tag(struct block *b, uint32_t type)
{
    uint32_t tag = b->size;
    put32(b, type);
    put32(b, 0);
    return tag;
}

void block_begin(struct block *b, void *memory, uint32_t capacity)
{
    *b = (struct block){.bytes = memory, .capacity = capacity};
    put64(b, 0);
}

uint32_t block_tag(struct block *b, uint32_t type, const void *payload, uint32_t bytes)
{
    uint32_t tag = open_tag(b, type);
    put(b, payload, bytes);
    close_tag(b, tag);
    return tag;
}

uint32_t block_string(struct block *b, uint32_t type, const char *text)
{
    return block_tag(b, type, text, (uint32_t)strlen(text) + 1);
}

uint32_t block_module(struct block *b, uint32_t start, uint32_t end, const char *args)
{
    uint32_t tag = open_tag(b, 3);
    put32(b, start);
    put32(b, end);
    put(b, args, (uint32_t)strlen(args) + 1);
    close_tag(b, tag);
    return tag;
}

uint32_t block_map(struct block *b, uint32_t count)
{
    uint32_t tag = open_tag(b, 6);
    put32(b, 24);
    put32(b, 0);
    for (uint32_t i = 0; i < count; i++) {
        put64(b, i * 2 * MIB);
        put64(b, MIB);
        put32(b, 1);
        put32(b, 0);
    }
    close_tag(b, tag);
    return tag;
}

void block_end(struct block *b)
{
    block_tag(b, 0, NULL, 0);
    block_patch(b, 0, b->size);
}

void block_patch(struct block *b, uint32_t offset, uint32_t value) { memcpy(b->bytes + offset, &value, sizeof value); }

static void add_elf(struct block *b, uint32_t count)
{
    uint32_t tag = open_tag(b, 9);
    put32(b, count);
    put32(b, 64);
    put32(b, 1);
    for (uint32_t i = 0; i < count; i++) {
        put32(b, i);         /* name */
        put32(b, 1);         /* type */
        put64(b, 6);         /* flags */
        put64(b, MIB + i);   /* address */
        put64(b, 0);         /* offset */
        put64(b, 100 + i);   /* size */
        put64(b, 9);         /* link, info */
        put64(b, 0);
        put64(b, 0);
    }
    close_tag(b, tag);
}

static void add_screen(struct block *b)
{
    uint32_t tag = open_tag(b, 8);
    put64(b, 0xFD000000);
    put32(b, 5000);
    put32(b, 1024);
    put32(b, 768);
    put(b, "\x20\x01\x00\x00", 4); /* 32 bits, RGB */
    put(b, "\x10\x08\x08\x08\x00\x08", 6);
    close_tag(b, tag);
}

void block_of_everything(struct block *b, void *memory, uint32_t capacity)
{
    static const char rsdp[36] = "RSD PTR ";
    block_begin(b, memory, capacity);
    block_string(b, 1, "exec=\"mem -j\" nonce=7");
    block_string(b, 2, "GRUB 2.06");
    block_tag(b, 4, rsdp, 8);  /* basic memory: not needed */
    block_module(b, 0x200000, 0x300000, "first module");
    block_map(b, 5);
    add_screen(b);
    add_elf(b, 3);
    block_tag(b, 14, rsdp, 20);
    block_tag(b, 15, rsdp, 36);
    block_module(b, 0x400000, 0x400000, "");
    block_tag(b, 17, rsdp, 24);
    block_tag(b, 21, "\0\0\x20\0", 4);
    block_tag(b, 77, rsdp, 13); /* nobody knows it */
    block_end(b);
}

struct area {
    uint64_t start, end;
    uint64_t sum; /* of all bytes read, so that no compiler leaves the reading out */
};

static bool holds(struct area *area, const void *at, uint64_t bytes)
{
    uint64_t start = ptr_to_vaddr(at).v;
    if (start < area->start || start > area->end || bytes > area->end - start) {
        return false;
    }
    for (uint64_t i = 0; i < bytes; i++) {
        area->sum += ((const uint8_t *)at)[i];
    }
    return true;
}

static bool holds_string(struct area *area, const char *text)
{
    return *text == '\0' || holds(area, text, strlen(text) + 1);
}

static struct memmap_entry get_entry(const void *info, size_t index) { return mb2_map_entry(info, (uint32_t)index); }

static bool map_is_sound(const struct mb2_info *info)
{
    enum { EDGES = 64, RUNS = 16 };
    struct memmap_edge edges[EDGES];
    struct frame_run runs[RUNS];
    struct memmap_result result;
    struct memmap_scratch scratch = {edges, EDGES};
    enum status status = memmap_normalise(get_entry, info, info->map_count, MEMMAP_WANT_USABLE, pfn(UINT64_MAX),
                                          scratch, runs, RUNS, &result);
    bool ok = status == STATUS_OK ? result.runs > 0 : result.runs == 0;
    for (size_t i = 0; i < result.runs; i++) {
        ok = ok && runs[i].frames.v > 0 && (i == 0 || runs[i].first.v > run_end(runs[i - 1]));
    }
    return ok && result.runs <= RUNS;
}

bool block_answer_is_inside(const struct mb2_info *info, const void *bytes, size_t available)
{
    struct area area = {ptr_to_vaddr(bytes).v, ptr_to_vaddr(bytes).v + available, 0};
    bool ok = holds_string(&area, info->command_line) && holds_string(&area, info->loader_name);
    ok = ok && info->total_bytes <= available && info->module_count <= MB2_MODULES_MAX;
    if (info->map_count > 0) {
        uint64_t map_bytes = (uint64_t)info->map_entry_bytes * info->map_count;
        uint32_t least = info->map_source == MB2_MAP_BASIC ? 4 : info->map_source == MB2_MAP_EFI ? 40 : 20;
        ok = ok && info->map_source != MB2_MAP_NONE && info->map_entry_bytes >= least &&
             holds(&area, info->map, map_bytes) && map_is_sound(info);
    }
    for (uint32_t i = 0; ok && i < info->module_count; i++) {
        ok = info->modules[i].start <= info->modules[i].end && holds_string(&area, info->modules[i].args);
    }
    struct mb2_section section;
    for (uint32_t i = 0; ok && i < info->elf.count; i++) {
        ok = mb2_section(info, i, &section) && info->elf.names_index < info->elf.count;
    }
    uint64_t elf_bytes = (uint64_t)info->elf.count * info->elf.entry_bytes;
    ok = ok && (info->elf.count == 0 || holds(&area, info->elf.headers, elf_bytes));
    ok = ok && !mb2_section(info, info->elf.count, &section) && mb2_map_entry(info, info->map_count).length == 0;
    return ok && (info->rsdp == NULL || (info->rsdp_bytes >= 20 && holds(&area, info->rsdp, info->rsdp_bytes)));
}
