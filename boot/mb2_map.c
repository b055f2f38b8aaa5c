/*
 * The three memory maps a loader may leave, as entries of one kind (the theory is in mb2.c).
 *
 *   Multiboot2's (tag 6)   base u64, length u64, type u32: taken as it is
 *   EFI's (tag 17)         descriptors of UEFI 2.10, 7.2.3: type u32, 4 bytes, physical u64, virtual u64, pages u64,
 *                          attributes u64; longer ones are stepped over by the size that the tag says
 *   basic (tag 4)          KiB below 640 KiB, and KiB from 1 MiB up to the first hole: two entries
 *
 * The first in this order that is sound counts, alone: two maps of one machine never agree to the byte, and their union
 * would call memory usable that one of them reserves. The later ones are not even read when they are not needed, so
 * that what is wrong in them is no problem.
 */
#include "boot/mb2_internal.h"

enum {
    MAP_HEADER_BYTES = 8,     /* entry size, entry version; EFI's map has the same two */
    MAP_ENTRY_MIN_BYTES = 20, /* base, length, type */
    EFI_ENTRY_MIN_BYTES = 40,
    BASIC_BYTES = 8,          /* two u32 */
    BASIC_ENTRY_BYTES = 4,
    BASIC_LOW_KIB_MAX = 640,
};

enum efi_memory { /* UEFI 2.10, 7.2.1 */
    EFI_LOADER_CODE = 1,
    EFI_LOADER_DATA = 2,
    EFI_BOOT_CODE = 3,
    EFI_BOOT_DATA = 4,
    EFI_CONVENTIONAL = 7,
    EFI_UNUSABLE = 8,
    EFI_ACPI_RECLAIM = 9,
    EFI_ACPI_NVS = 10,
};

/* Both maps that are tables: their entries' size is said, and at least `least`. */
static bool take_table(struct parser *p, struct payload tag, const char *what, uint32_t least, enum mb2_map_source as)
{
    uint32_t entry_bytes = tag.bytes < MAP_HEADER_BYTES ? 0 : read32(tag.at);
    if (entry_bytes < least) {
        mb2_wrong(p, "%s tag of %u bytes with entries of %u: left out", what, tag.bytes, entry_bytes);
        return false;
    }
    uint32_t room = tag.bytes - MAP_HEADER_BYTES;
    if (room % entry_bytes != 0) {
        mb2_wrong(p, "%s of %u bytes is not a whole number of entries of %u", what, room, entry_bytes);
    }
    if (room < entry_bytes) {
        mb2_wrong(p, "%s without an entry: left out", what);
        return false;
    }
    p->info->map_source = as;
    p->info->map = tag.at + MAP_HEADER_BYTES;
    p->info->map_entry_bytes = entry_bytes;
    p->info->map_count = room / entry_bytes;
    return true;
}

bool mb2_parse_map(struct parser *p, struct payload tag)
{
    return take_table(p, tag, "memory map", MAP_ENTRY_MIN_BYTES, MB2_MAP_MULTIBOOT2);
}

static void take_basic(struct parser *p)
{
    if (p->basic_memory.bytes < BASIC_BYTES) {
        mb2_wrong(p, "basic memory tag of %u bytes: left out", p->basic_memory.bytes);
        return;
    }
    p->info->map_source = MB2_MAP_BASIC;
    p->info->map = p->basic_memory.at;
    p->info->map_entry_bytes = BASIC_ENTRY_BYTES;
    p->info->map_count = BASIC_BYTES / BASIC_ENTRY_BYTES;
}

void mb2_choose_map(struct parser *p)
{
    p->info->firmware_runs = p->firmware_runs;
    if (p->info->map == NULL && p->efi_map.at != NULL) {
        (void)take_table(p, p->efi_map, "EFI memory map", EFI_ENTRY_MIN_BYTES, MB2_MAP_EFI);
    }
    if (p->info->map == NULL && p->basic_memory.at != NULL) {
        take_basic(p);
    }
}

/* While boot services run, their memory and the loader's are in use. */
static uint32_t type_of_efi(uint32_t type, bool firmware_runs)
{
    switch (type) {
    case EFI_CONVENTIONAL: return MEMMAP_USABLE;
    case EFI_LOADER_CODE:
    case EFI_LOADER_DATA:
    case EFI_BOOT_CODE:
    case EFI_BOOT_DATA: return firmware_runs ? MEMMAP_RESERVED : MEMMAP_USABLE;
    case EFI_UNUSABLE: return MEMMAP_BAD;
    case EFI_ACPI_RECLAIM: return MEMMAP_ACPI_RECLAIMABLE;
    case EFI_ACPI_NVS: return MEMMAP_ACPI_NVS;
    default: return MEMMAP_RESERVED;
    }
}

static struct memmap_entry efi_entry(const uint8_t *at, bool firmware_runs)
{
    npages_t pages = npages(read64(at + 24)); /* of 4 KiB, whatever the CPU */
    uint64_t bytes = pages.v > bytes_to_pages_down(UINT64_MAX).v ? UINT64_MAX : pages_to_bytes(pages);
    return (struct memmap_entry){read64(at + 8), bytes, type_of_efi(read32(at), firmware_runs)};
}

static struct memmap_entry basic_entry(const uint8_t *at, uint32_t index)
{
    uint64_t kib = read32(at);
    if (index > 0) {
        return (struct memmap_entry){MIB, kib * KIB, MEMMAP_USABLE};
    }
    return (struct memmap_entry){0, (kib < BASIC_LOW_KIB_MAX ? kib : BASIC_LOW_KIB_MAX) * KIB, MEMMAP_USABLE};
}

struct memmap_entry mb2_map_entry(const struct mb2_info *info, uint32_t index)
{
    if (index >= info->map_count) {
        return (struct memmap_entry){0};
    }
    const uint8_t *at = info->map + (size_t)index * info->map_entry_bytes;
    switch (info->map_source) {
    case MB2_MAP_EFI: return efi_entry(at, info->firmware_runs);
    case MB2_MAP_BASIC: return basic_entry(at, index);
    default: return (struct memmap_entry){read64(at), read64(at + 8), read32(at + 16)};
    }
}

const char *mb2_map_source_name(enum mb2_map_source source)
{
    static const char *const names[] = {
        [MB2_MAP_NONE] = "no map",
        [MB2_MAP_MULTIBOOT2] = "the Multiboot2 map",
        [MB2_MAP_EFI] = "the EFI map",
        [MB2_MAP_BASIC] = "basic memory information",
    };
    return source < sizeof names / sizeof names[0] ? names[source] : "?";
}
