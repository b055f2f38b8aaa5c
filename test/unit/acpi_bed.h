/*
 * What the tests of ACPI share: physical memory with tables in it, and a check of the answer.
 */
#ifndef CAIRN_TEST_UNIT_ACPI_BED_H
#define CAIRN_TEST_UNIT_ACPI_BED_H

#include "unit/boot_again.h"

#include "boot/acpi.h"

enum {
    ACPI_BED_BASE = 0x7FE0123,   /* where the bed's memory lies, physically; no alignment is promised */
    ACPI_BED_TABLES_MAX = 16,
    ACPI_BED_HEADER_BYTES = 36,
    ACPI_BED_RSDP_BYTES = 36,
};

struct acpi_bed {
    uint8_t *bytes;           /* memory [base, base + size) is readable, nothing else */
    uint32_t size, capacity;
    uint64_t base;
    uint8_t rsdp[ACPI_BED_RSDP_BYTES];
    uint64_t tables[ACPI_BED_TABLES_MAX]; /* for the root table; put any address there */
    uint32_t table_count;
    uint32_t rsdt, xsdt;      /* offsets in bytes, once acpi_bed_finish made them */
    bool wrong_read;          /* a read that the contract forbids: of nothing, or over the end of the address space */
};

void acpi_bed_begin(struct acpi_bed *b, void *memory, uint32_t capacity);
/* A table from here to acpi_bed_close, which fills in length and checksum. Returns its offset in the memory. */
uint32_t acpi_bed_open(struct acpi_bed *b, const char *signature, uint8_t revision);
void acpi_bed_put(struct acpi_bed *b, const void *bytes, uint32_t count);
void acpi_bed_put_number(struct acpi_bed *b, uint64_t value, uint32_t bytes);
void acpi_bed_close(struct acpi_bed *b, uint32_t table);
/* The checksum anew, over the length that the table says, where that is in the memory. */
void acpi_bed_repair(struct acpi_bed *b, uint32_t table);
/* The same for both of the RSDP's. */
void acpi_bed_repair_rsdp(struct acpi_bed *b);

/* SRAT's header and reserved bytes, then entries. */
uint32_t acpi_bed_open_srat(struct acpi_bed *b, uint8_t revision);
void acpi_bed_cpu(struct acpi_bed *b, uint8_t apic_id, uint32_t domain);
void acpi_bed_x2apic(struct acpi_bed *b, uint32_t apic_id, uint32_t domain);
void acpi_bed_memory(struct acpi_bed *b, uint32_t domain, uint64_t base, uint64_t bytes);
void acpi_bed_memory_with(struct acpi_bed *b, uint32_t domain, uint64_t base, uint64_t bytes, uint32_t flags);
void acpi_bed_slit(struct acpi_bed *b, uint64_t domains, const uint8_t *matrix, uint32_t matrix_bytes);

/* RSDT, for version 2 the XSDT too, and the RSDP. */
void acpi_bed_finish(struct acpi_bed *b, unsigned version);

/* A sound machine: node 0 with the CPU of APIC id 1 and the first GiB, node 1 with the second, and their distances. */
struct acpi_machine_bed {
    struct acpi_bed bed;
    uint32_t srat, slit; /* offsets */
};
void acpi_bed_machine(struct acpi_machine_bed *m, void *memory, uint32_t capacity);

/* The acpi_read of the bed's memory; ctx is the bed. */
bool acpi_bed_read(void *ctx, paddr_t at, void *to, size_t bytes);

/* acpi_open and acpi_read_nodes, the answer checked: false for one that breaks the contract. */
bool acpi_bed_nodes(struct acpi_bed *b, size_t rsdp_bytes, uint32_t apic_id, struct acpi_nodes *nodes,
                    enum status *status);

/* The node of a frame: that of its range, else 0. */
unsigned acpi_bed_node_of(const struct acpi_nodes *nodes, uint64_t frame);

#endif
