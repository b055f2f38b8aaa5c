/*
 * ACPI: from the RSDP to a table, read as if an enemy had written it.
 *
 * 1. The format (ACPI specification 6.5, section 5.2), all numbers little-endian and at any address
 *        RSDP    "RSD PTR ", checksum, OEM, revision, RSDT's address u32; from revision 2 on length u32, XSDT's address
 *                u64, a checksum over that length. The bytes of what a checksum covers add up to 0.
 *        table   signature, length u32 (header included), revision, checksum, 26 bytes of who made it, contents
 *        RSDT, XSDT   a table of addresses of tables, u32 or u64 each
 *
 * 2. What is believed: nothing
 *    The caller's read function says what of physical memory is there; addresses are only compared with what is left of
 *    the address space, so no sum can wrap. A length is used once it is known to lie between the header's and
 *    ACPI_TABLE_BYTES_MAX. The memory may change between two reads: each read of a number is checked by itself, so a
 *    checksum is a test against accidents, and nothing depends on it.
 *
 * 3. What is wrong, and what then
 *        RSDP's own checksum, signature, size              CORRUPT: no tables
 *        the longer RSDP's checksum or length, the XSDT    the RSDT
 *        an address of 0 in the root table                 passed over without a word: some firmware clears them so
 *        an address with nothing to read behind it         passed over
 *        more addresses than ACPI_TABLES_MAX               the rest is not looked at
 *        wrong length or checksum of the table wanted      CORRUPT: no second of its kind is tried
 *    Each is reported, at most ACPI_PROBLEMS_TOLD_MAX times.
 *
 * 4. Cost: a read of 36 bytes for each table before the one wanted, and all bytes of that one. Tables nobody asks for
 *    are not summed.
 *
 * 5. Rejected: mapping whole tables, which needs addresses for a length that nobody vouches for; structs laid over the
 *    bytes (mb2.c, section 5).
 *
 * 6. Context: boot, one CPU, no lock, no state but *acpi. It is in .init and goes with it.
 */
#include <stdarg.h>

#include "boot/acpi_internal.h"
#include "lib/fmt.h"
#include "lib/report.h"

enum {
    RSDP1_BYTES = 20,
    RSDP2_BYTES = 36,
    RSDP_REVISION = 15, /* offsets */
    RSDP_RSDT = 16,
    RSDP_LENGTH = 20,
    RSDP_XSDT = 24,
    HEADER_LENGTH = 4,
    HEADER_REVISION = 8,
    SIGNATURE_BYTES = 4,
    CHUNK_BYTES = 128, /* read at a time for a checksum */
};

enum status acpi_wrong(struct acpi *acpi, const char *format, ...)
{
    if (acpi->problems < UINT32_MAX) {
        acpi->problems++;
    }
    if (acpi->problems <= ACPI_PROBLEMS_TOLD_MAX) {
        char text[REPORT_TEXT_BYTES];
        struct buffer_sink buffer;
        buffer_sink_init(&buffer, text, sizeof text);
        va_list args;
        va_start(args, format);
        sink_vprintf(&buffer.sink, format, args);
        va_end(args);
        report(REPORT_FIRMWARE, "ACPI: %s", text);
    }
    return STATUS_CORRUPT;
}

static uint8_t sum_of(const uint8_t *at, size_t bytes)
{
    unsigned sum = 0;
    for (size_t i = 0; i < bytes; i++) {
        sum += at[i];
    }
    return (uint8_t)sum;
}

static bool read_at(const struct acpi *acpi, paddr_t at, void *to, size_t bytes)
{
    return bytes <= UINT64_MAX - at.v && acpi->read(acpi->ctx, at, to, bytes);
}

bool acpi_table_read(const struct acpi *acpi, const struct acpi_table *table, uint32_t offset, void *to, size_t bytes)
{
    return offset <= table->bytes && bytes <= table->bytes - offset && bytes > 0 &&
           read_at(acpi, paddr(table->at.v + offset), to, bytes);
}

/* All bytes of the table, the header's included, add up to 0. */
static enum status check_sum(struct acpi *acpi, const struct acpi_table *table, const char *name)
{
    uint8_t chunk[CHUNK_BYTES];
    unsigned sum = 0;
    for (uint32_t offset = 0, part; offset < table->bytes; offset += part) {
        part = table->bytes - offset < CHUNK_BYTES ? table->bytes - offset : CHUNK_BYTES;
        if (!acpi_table_read(acpi, table, offset, chunk, part)) {
            return acpi_wrong(acpi, "%s at %#lx: its byte %u of %u cannot be read", name, table->at.v, offset,
                              table->bytes);
        }
        sum += sum_of(chunk, part);
    }
    return sum % 256 == 0 ? STATUS_OK
                          : acpi_wrong(acpi, "%s at %#lx: the checksum of its %u bytes is wrong by %u", name,
                                       table->at.v, table->bytes, sum % 256);
}

/* The table whose header this is, once length and checksum are found right. */
static enum status check_table(struct acpi *acpi, paddr_t at, const uint8_t header[], const char *name,
                               struct acpi_table *table)
{
    struct acpi_table found = {at, acpi_u32(header + HEADER_LENGTH), header[HEADER_REVISION]};
    if (found.bytes < ACPI_HEADER_BYTES || found.bytes > UINT64_MAX - at.v) {
        return acpi_wrong(acpi, "%s at %#lx cannot have %u bytes", name, at.v, found.bytes);
    }
    if (found.bytes > ACPI_TABLE_BYTES_MAX) {
        return acpi_wrong(acpi, "%s at %#lx has %u bytes, more than ACPI_TABLE_BYTES_MAX = %d", name, at.v,
                          found.bytes, ACPI_TABLE_BYTES_MAX);
    }
    enum status s = check_sum(acpi, &found, name);
    if (s == STATUS_OK) {
        *table = found;
    }
    return s;
}

static enum status use_root(struct acpi *acpi, paddr_t at, const char *name, uint32_t entry_bytes)
{
    uint8_t header[ACPI_HEADER_BYTES];
    struct acpi_table root;
    if (!read_at(acpi, at, header, sizeof header)) {
        return acpi_wrong(acpi, "no %s can be read at %#lx", name, at.v);
    }
    if (memcmp(header, name, SIGNATURE_BYTES) != 0) {
        return acpi_wrong(acpi, "there is no %s at %#lx", name, at.v);
    }
    enum status s = check_table(acpi, at, header, name, &root);
    if (s != STATUS_OK) {
        return s;
    }
    acpi->root = at;
    acpi->entry_bytes = entry_bytes;
    acpi->entries = (root.bytes - ACPI_HEADER_BYTES) / entry_bytes;
    if (acpi->entries > ACPI_TABLES_MAX) {
        (void)acpi_wrong(acpi, "%s says %u tables, ACPI_TABLES_MAX = %d are looked at", name, acpi->entries,
                         ACPI_TABLES_MAX);
        acpi->entries = ACPI_TABLES_MAX;
    }
    return STATUS_OK;
}

/* The XSDT's address; 0 when there is none to be used. */
static paddr_t xsdt_address(struct acpi *acpi, const uint8_t *rsdp, size_t rsdp_bytes)
{
    if (rsdp[RSDP_REVISION] < 2) {
        return paddr(0);
    }
    uint32_t length = rsdp_bytes < RSDP2_BYTES ? 0 : acpi_u32(rsdp + RSDP_LENGTH);
    if (length < RSDP2_BYTES || length > rsdp_bytes || sum_of(rsdp, length) != 0) {
        (void)acpi_wrong(acpi, "RSDP of revision %u: the checksum of its %u bytes (%lu are there) is wrong",
                         rsdp[RSDP_REVISION], length, rsdp_bytes);
        return paddr(0);
    }
    return paddr(acpi_u64(rsdp + RSDP_XSDT));
}

enum status acpi_open(struct acpi *acpi, const uint8_t *rsdp, size_t rsdp_bytes, acpi_read read, void *ctx)
{
    *acpi = (struct acpi){.read = read, .ctx = ctx, .entry_bytes = sizeof(uint32_t)};
    if (rsdp_bytes < RSDP1_BYTES || memcmp(rsdp, "RSD PTR ", 8) != 0 || sum_of(rsdp, RSDP1_BYTES) != 0) {
        return acpi_wrong(acpi, "%lu bytes that are no RSDP, or its checksum is wrong", rsdp_bytes);
    }
    paddr_t xsdt = xsdt_address(acpi, rsdp, rsdp_bytes);
    if (xsdt.v != 0 && use_root(acpi, xsdt, "XSDT", sizeof(uint64_t)) == STATUS_OK) {
        return STATUS_OK;
    }
    paddr_t rsdt = paddr(acpi_u32(rsdp + RSDP_RSDT));
    return rsdt.v != 0 ? use_root(acpi, rsdt, "RSDT", sizeof(uint32_t))
                       : acpi_wrong(acpi, "the RSDP names no table that could be used");
}

enum status acpi_find(struct acpi *acpi, const char *signature, struct acpi_table *table)
{
    for (uint32_t i = 0; i < acpi->entries; i++) {
        uint8_t header[ACPI_HEADER_BYTES], address[sizeof(uint64_t)] = {0};
        /* Within the root table, which ends below 2^64. */
        paddr_t entry = paddr(acpi->root.v + ACPI_HEADER_BYTES + (uint64_t)i * acpi->entry_bytes);
        if (!read_at(acpi, entry, address, acpi->entry_bytes)) {
            return acpi_wrong(acpi, "the root table at %#lx cannot be read", acpi->root.v);
        }
        paddr_t at = paddr(acpi_u64(address));
        if (at.v == 0) {
            continue;
        }
        if (!read_at(acpi, at, header, sizeof header)) {
            (void)acpi_wrong(acpi, "no table can be read at %#lx", at.v);
        } else if (memcmp(header, signature, SIGNATURE_BYTES) == 0) {
            return check_table(acpi, at, header, signature, table);
        }
    }
    return STATUS_ABSENT;
}
