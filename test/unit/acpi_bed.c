#include "unit/acpi_bed.h"

#include "lib/string.h"

enum { LENGTH = 4, REVISION = 8, CHECKSUM = 9, RSDP1_BYTES = 20, RSDP_CHECKSUM = 8, RSDP_CHECKSUM2 = 32 };

void acpi_bed_begin(struct acpi_bed *b, void *memory, uint32_t capacity)
{
    *b = (struct acpi_bed){.bytes = memory, .capacity = capacity, .base = ACPI_BED_BASE};
}

void acpi_bed_put(struct acpi_bed *b, const void *bytes, uint32_t count)
{
    if (count == 0 || count > b->capacity - b->size) {
        return; /* nothing, or the test asked for too little room and will see it */
    }
    memcpy(b->bytes + b->size, bytes, count);
    b->size += count;
}

void acpi_bed_put_number(struct acpi_bed *b, uint64_t value, uint32_t bytes) { acpi_bed_put(b, &value, bytes); }

uint32_t acpi_bed_open(struct acpi_bed *b, const char *signature, uint8_t revision)
{
    uint32_t table = b->size;
    acpi_bed_put(b, signature, 4);
    acpi_bed_put_number(b, 0, 4);
    acpi_bed_put_number(b, revision, 2); /* and the checksum, later */
    acpi_bed_put(b, "CAIRN TESTBED ONE\1\0\0\0BED \1\0\0\0", 26);
    return table;
}

static uint8_t missing_from_zero(const uint8_t *at, size_t bytes)
{
    unsigned sum = 0;
    for (size_t i = 0; i < bytes; i++) {
        sum += at[i];
    }
    return (uint8_t)-sum;
}

void acpi_bed_repair(struct acpi_bed *b, uint32_t table)
{
    uint32_t bytes;
    if (table >= b->size || b->size - table < ACPI_BED_HEADER_BYTES) {
        return;
    }
    memcpy(&bytes, b->bytes + table + LENGTH, sizeof bytes);
    if (bytes < ACPI_BED_HEADER_BYTES || bytes > b->size - table) {
        return;
    }
    b->bytes[table + CHECKSUM] = 0;
    b->bytes[table + CHECKSUM] = missing_from_zero(b->bytes + table, bytes);
}

void acpi_bed_repair_rsdp(struct acpi_bed *b)
{
    b->rsdp[RSDP_CHECKSUM] = 0;
    b->rsdp[RSDP_CHECKSUM] = missing_from_zero(b->rsdp, RSDP1_BYTES);
    b->rsdp[RSDP_CHECKSUM2] = 0;
    b->rsdp[RSDP_CHECKSUM2] = missing_from_zero(b->rsdp, ACPI_BED_RSDP_BYTES);
}

static void close_table(struct acpi_bed *b, uint32_t table)
{
    uint32_t bytes = b->size - table;
    memcpy(b->bytes + table + LENGTH, &bytes, sizeof bytes);
    acpi_bed_repair(b, table);
}

void acpi_bed_close(struct acpi_bed *b, uint32_t table)
{
    close_table(b, table);
    b->tables[b->table_count++] = b->base + table;
}

uint32_t acpi_bed_open_srat(struct acpi_bed *b, uint8_t revision)
{
    uint32_t table = acpi_bed_open(b, "SRAT", revision);
    acpi_bed_put_number(b, 1, 4);
    acpi_bed_put_number(b, 0, 8);
    return table;
}

void acpi_bed_cpu(struct acpi_bed *b, uint8_t apic_id, uint32_t domain)
{
    acpi_bed_put(b, "\0\x10", 2);
    acpi_bed_put_number(b, domain & 0xFF, 1);
    acpi_bed_put_number(b, apic_id, 1);
    acpi_bed_put_number(b, 1, 4);
    acpi_bed_put_number(b, 0x5A, 1); /* a local SAPIC's, no part of the domain */
    acpi_bed_put_number(b, domain >> 8, 3);
    acpi_bed_put_number(b, 0, 4);
}

void acpi_bed_x2apic(struct acpi_bed *b, uint32_t apic_id, uint32_t domain)
{
    acpi_bed_put(b, "\2\x18\0\0", 4);
    acpi_bed_put_number(b, domain, 4);
    acpi_bed_put_number(b, apic_id, 4);
    acpi_bed_put_number(b, 1, 4);
    acpi_bed_put_number(b, 0, 8);
}

void acpi_bed_memory_with(struct acpi_bed *b, uint32_t domain, uint64_t base, uint64_t bytes, uint32_t flags)
{
    acpi_bed_put(b, "\1\x28", 2);
    acpi_bed_put_number(b, domain, 4);
    acpi_bed_put_number(b, 0, 2);
    acpi_bed_put_number(b, base, 8);
    acpi_bed_put_number(b, bytes, 8);
    acpi_bed_put_number(b, 0, 4);
    acpi_bed_put_number(b, flags, 4);
    acpi_bed_put_number(b, 0, 8);
}

void acpi_bed_memory(struct acpi_bed *b, uint32_t domain, uint64_t base, uint64_t bytes)
{
    acpi_bed_memory_with(b, domain, base, bytes, 1);
}

void acpi_bed_slit(struct acpi_bed *b, uint64_t domains, const uint8_t *matrix, uint32_t matrix_bytes)
{
    uint32_t table = acpi_bed_open(b, "SLIT", 1);
    acpi_bed_put_number(b, domains, 8);
    acpi_bed_put(b, matrix, matrix_bytes);
    acpi_bed_close(b, table);
}

static uint32_t put_root(struct acpi_bed *b, const char *signature, uint32_t entry_bytes)
{
    uint32_t table = acpi_bed_open(b, signature, 1);
    for (uint32_t i = 0; i < b->table_count; i++) {
        acpi_bed_put_number(b, b->tables[i], entry_bytes);
    }
    close_table(b, table);
    return table;
}

void acpi_bed_finish(struct acpi_bed *b, unsigned version)
{
    b->rsdt = put_root(b, "RSDT", 4);
    b->xsdt = version >= 2 ? put_root(b, "XSDT", 8) : 0;
    uint64_t rsdt = b->base + b->rsdt, xsdt = version >= 2 ? b->base + b->xsdt : 0;
    uint32_t length = version >= 2 ? ACPI_BED_RSDP_BYTES : 0;
    memset(b->rsdp, 0, sizeof b->rsdp);
    memcpy(b->rsdp, "RSD PTR ", 8);
    memcpy(b->rsdp + 9, "CAIRN ", 6);
    b->rsdp[15] = version >= 2 ? 2 : 0;
    memcpy(b->rsdp + 16, &rsdt, 4);
    memcpy(b->rsdp + 20, &length, 4);
    memcpy(b->rsdp + 24, &xsdt, 8);
    acpi_bed_repair_rsdp(b);
}

void acpi_bed_machine(struct acpi_machine_bed *m, void *memory, uint32_t capacity)
{
    static const uint8_t matrix[] = {10, 21, 12, 10};
    struct acpi_bed *b = &m->bed;
    acpi_bed_begin(b, memory, capacity);
    acpi_bed_close(b, acpi_bed_open(b, "FACP", 3));
    m->srat = acpi_bed_open_srat(b, 3);
    acpi_bed_cpu(b, 1, 0);
    acpi_bed_memory(b, 0, 0, GIB);
    acpi_bed_memory(b, 1, GIB, GIB);
    acpi_bed_close(b, m->srat);
    m->slit = b->size;
    acpi_bed_slit(b, 2, matrix, sizeof matrix);
    acpi_bed_finish(b, 2);
}

bool acpi_bed_read(void *ctx, paddr_t at, void *to, size_t bytes)
{
    struct acpi_bed *b = ctx;
    b->wrong_read = b->wrong_read || bytes == 0 || bytes > UINT64_MAX - at.v;
    if (at.v < b->base || at.v - b->base > b->size || bytes > b->size - (at.v - b->base)) {
        return false;
    }
    memcpy(to, b->bytes + (at.v - b->base), bytes);
    return true;
}

static bool is_sound(const struct acpi_nodes *n, enum status s)
{
    bool ok = n->node_count >= 1 && n->node_count <= ACPI_NODES_MAX && n->range_count <= ACPI_RANGES_MAX;
    if (s != STATUS_OK) {
        return ok && (s == STATUS_ABSENT || s == STATUS_CORRUPT) && n->node_count == 1 && n->range_count == 0 &&
               !n->has_distances && n->ranges_lost == 0;
    }
    ok = ok && n->range_count > 0 && (!n->has_distances || n->node_count > 1);
    for (size_t i = 0; ok && i < n->range_count; i++) {
        const struct acpi_node_range *r = &n->ranges[i], *before = r - (i > 0);
        uint64_t before_end = before->first.v + before->frames.v;
        ok = r->frames.v > 0 && r->node < n->node_count && r->first.v + r->frames.v > r->first.v &&
             (i == 0 || r->first.v > before_end || (r->first.v == before_end && r->node != before->node));
    }
    for (unsigned i = 0; ok && i < n->node_count; i++) {
        for (unsigned j = 0; j < n->node_count; j++) {
            uint8_t distance = n->has_distances ? n->distance[i * n->node_count + j] : 10;
            ok = ok && (i == j ? distance == 10 : distance >= 10 && n->domains[i] != n->domains[j]);
        }
    }
    return ok;
}

bool acpi_bed_nodes(struct acpi_bed *b, size_t rsdp_bytes, uint32_t apic_id, struct acpi_nodes *nodes,
                    enum status *status)
{
    struct acpi acpi;
    memset(nodes, 0xA5, sizeof *nodes); /* what is not written is seen */
    enum status opened = acpi_open(&acpi, b->rsdp, rsdp_bytes, acpi_bed_read, b);
    *status = acpi_read_nodes(&acpi, apic_id, nodes);
    bool told = acpi.problems > 0;
    if (b->wrong_read) {
        return false;
    }
    if (opened != STATUS_OK) {
        return opened == STATUS_CORRUPT && told && *status == STATUS_ABSENT && is_sound(nodes, *status);
    }
    return is_sound(nodes, *status) && (told || *status != STATUS_CORRUPT);
}

unsigned acpi_bed_node_of(const struct acpi_nodes *nodes, uint64_t frame)
{
    for (size_t i = 0; i < nodes->range_count; i++) {
        if (frame >= nodes->ranges[i].first.v && frame - nodes->ranges[i].first.v < nodes->ranges[i].frames.v) {
            return nodes->ranges[i].node;
        }
    }
    return 0;
}
