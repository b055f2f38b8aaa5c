/*
 * libFuzzer: any bytes as physical memory with ACPI tables in it. The first byte of the input says how, the next the
 * boot CPU's APIC id, then come the RSDP's 36 bytes and memory from address 0 on.
 *
 * Checksums would keep the bytes out, so mostly they are made right first: of the RSDP, of both root tables, and of
 * each table that these name. The answer keeps its contract (acpi_bed.c), and where SRAT is sound it is held against
 * each of its entries, read once more. The corpus begins with the tables of QEMU machines (q35 and pc, 2 to 10 nodes).
 */
#include "fuzz/port.h"
#include "lib/string.h"
#include "unit/acpi_bed.h"

enum { AS_IT_IS = 1, SHORT_RSDP = 2 }; /* bits of the first byte */
enum { RSDT_BASED = 16, XSDT_BASED = 24, TABLES = 64 };

static uint64_t number(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;
    memcpy(&value, at, bytes);
    return value;
}

/* The tables first, then the table that names them; small addresses only, others are nowhere. */
static void repair_tables(struct acpi_bed *b, uint64_t root, size_t entry_bytes)
{
    for (uint64_t i = 0, at = root + ACPI_BED_HEADER_BYTES; i < TABLES && root < b->size; i++, at += entry_bytes) {
        if (at + entry_bytes <= b->size && number(b->bytes + at, entry_bytes) < b->size) {
            acpi_bed_repair(b, (uint32_t)number(b->bytes + at, entry_bytes));
        }
    }
    acpi_bed_repair(b, root < b->size ? (uint32_t)root : b->size);
}

static void repair(struct acpi_bed *b)
{
    repair_tables(b, number(b->rsdp + RSDT_BASED, 4), 4);
    repair_tables(b, number(b->rsdp + XSDT_BASED, 8), 8);
    acpi_bed_repair_rsdp(b);
}

/* Each enabled range, to its first and last frame, is of the node of its domain, or was left out and counted. */
static void check_ranges(struct acpi_bed *b, size_t rsdp_bytes, const struct acpi_nodes *nodes)
{
    struct acpi acpi;
    struct acpi_table srat;
    uint8_t e[40];
    uint32_t out = 0;
    if (acpi_open(&acpi, b->rsdp, rsdp_bytes, acpi_bed_read, b) != STATUS_OK ||
        acpi_find(&acpi, "SRAT", &srat) != STATUS_OK) {
        abort();
    }
    for (uint32_t at = 48; at < srat.bytes; at += e[1]) {
        if (!acpi_table_read(&acpi, &srat, at, e, 2) || e[1] < 2) {
            abort();
        }
        if (e[0] != 1) {
            continue;
        }
        if (!acpi_table_read(&acpi, &srat, at, e, sizeof e)) {
            abort();
        }
        uint64_t base = number(e + 8, 8), bytes = number(e + 16, 8);
        uint64_t first = paddr_to_pfn(paddr(base)).v, end = paddr_to_pfn(paddr(base + bytes)).v;
        uint32_t domain = (uint32_t)number(e + 2, srat.revision < 2 ? 1 : 4);
        if (e[28] % 2 == 0 || first == end) {
            continue;
        }
        bool first_is = nodes->domains[acpi_bed_node_of(nodes, first)] == domain;
        bool last_is = nodes->domains[acpi_bed_node_of(nodes, end - 1)] == domain;
        out += !first_is || !last_is;
    }
    if (out > nodes->ranges_lost) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    static struct acpi_nodes nodes;
    struct acpi_bed b = {.base = 0};
    unsigned how = (unsigned)take(&in, 1);
    uint32_t apic_id = (uint32_t)take(&in, 1);
    for (size_t i = 0; i < sizeof b.rsdp; i++) {
        b.rsdp[i] = (uint8_t)take(&in, 1);
    }
    b.bytes = malloc(in.left > 0 ? in.left : 1);
    if (b.bytes == NULL) {
        return 0;
    }
    b.size = b.capacity = (uint32_t)in.left;
    memcpy(b.bytes, in.at, in.left);
    if ((how & AS_IT_IS) == 0) {
        repair(&b);
    }
    size_t rsdp_bytes = (how & SHORT_RSDP) != 0 ? 20 : sizeof b.rsdp;
    enum status s;
    if (!acpi_bed_nodes(&b, rsdp_bytes, apic_id, &nodes, &s)) {
        abort();
    }
    if (s == STATUS_OK) {
        check_ranges(&b, rsdp_bytes, &nodes);
    }
    free(b.bytes);
    return 0;
}
