/* What acpi.c and acpi_srat.c share. */
#ifndef CAIRN_BOOT_ACPI_INTERNAL_H
#define CAIRN_BOOT_ACPI_INTERNAL_H

#include "boot/acpi.h"
#include "lib/string.h"

enum { ACPI_HEADER_BYTES = 36 }; /* signature, length, revision, checksum, and who made it */

static inline uint32_t acpi_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint64_t acpi_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* Counts a problem and reports it, "ACPI: ...". Returns CORRUPT. */
__attribute__((format(printf, 2, 3))) enum status acpi_wrong(struct acpi *acpi, const char *format, ...);

#endif
