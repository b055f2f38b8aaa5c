/*
 * ACPI tables as far as memory needs them (ACPI specification 6.5, section 5.2): which node a frame is near to (SRAT),
 * and how far the nodes are from each other (SLIT). Untrusted input, like all that firmware says.
 *
 * The tables lie anywhere in physical memory; they are copied out through a function of the caller, piece by piece.
 * What is wrong is reported (REPORT_FIRMWARE) and answered with a status, never an assert. No global state.
 */
#ifndef CAIRN_BOOT_ACPI_H
#define CAIRN_BOOT_ACPI_H

#include "lib/status.h"
#include "lib/units.h"

enum {
    ACPI_TABLE_BYTES_MAX = 1 << 20, /* a longer table is not read */
    ACPI_TABLES_MAX = 1024,         /* of the root table's entries, so many are looked at */
    ACPI_NODES_MAX = 8,             /* further domains' memory counts to node 0 */
    ACPI_RANGES_MAX = 256,          /* further ones' memory counts to node 0; neighbours of one node are one range */
    ACPI_PROBLEMS_TOLD_MAX = 16,    /* further ones are only counted */
};

/* Copy `bytes` > 0 bytes of physical memory, [at, at + bytes), which does not wrap. false: not all may be read. */
typedef bool (*acpi_read)(void *ctx, paddr_t at, void *to, size_t bytes);

/* Where the tables are. Filled by acpi_open. */
struct acpi {
    acpi_read read;
    void *ctx;
    paddr_t root;          /* RSDT or XSDT */
    uint32_t entries;      /* addresses in it, at most ACPI_TABLES_MAX */
    uint32_t entry_bytes;  /* of one: 4 or 8 */
    uint32_t problems;     /* things found wrong */
};

struct acpi_table {
    paddr_t at;
    uint32_t bytes; /* header included; >= 36, <= ACPI_TABLE_BYTES_MAX; at + bytes does not wrap */
    uint8_t revision;
};

/*
 * Find the root table from a copy of the RSDP of `rsdp_bytes` bytes: the XSDT, and where that is not there or not sound
 * the RSDT. => OK; CORRUPT: neither, reported. Unless OK, acpi_find answers ABSENT.
 */
enum status acpi_open(struct acpi *acpi, const uint8_t *rsdp, size_t rsdp_bytes, acpi_read read, void *ctx);

/*
 * The first table with this signature of four characters. All its bytes are read, once, for its checksum.
 * => OK; ABSENT: there is none; CORRUPT: there is one, but length or checksum is wrong, reported. *table is filled for
 * OK only.
 */
enum status acpi_find(struct acpi *acpi, const char *signature, struct acpi_table *table);

/* Copy bytes [offset, offset + bytes) of the table. false: not all of them are in it, or cannot be read. */
bool acpi_table_read(const struct acpi *acpi, const struct acpi_table *table, uint32_t offset, void *to, size_t bytes);

/* Frames [first, first + frames) are near to this node. */
struct acpi_node_range {
    pfn_t first;
    npages_t frames; /* > 0 */
    unsigned node;   /* < node_count */
};

struct acpi_nodes {
    struct acpi_node_range ranges[ACPI_RANGES_MAX]; /* sorted, disjoint; memory in none is node 0's */
    size_t range_count;
    unsigned node_count;              /* at least 1 */
    uint32_t domains[ACPI_NODES_MAX]; /* the firmware's number of each node */
    bool has_distances;               /* false: all are equally far */
    uint8_t distance[ACPI_NODES_MAX * ACPI_NODES_MAX]; /* [from * node_count + to]; 10 is local, 255 unreachable */
    uint32_t ranges_lost;             /* entries counted to node 0: ACPI_NODES_MAX or ACPI_RANGES_MAX was reached */
};

/*
 * The nodes: SRAT's domains that have memory, numbered from 0 in the order in which they come there, but the domain of
 * the CPU with this APIC id first, memory or not. A frame on the border belongs to the upper range.
 * => OK; ABSENT: there is no SRAT, or no memory in it; CORRUPT: SRAT is wrong anywhere, reported. Unless OK: one node,
 * no ranges. What is wrong with SLIT costs the distances only. O(tables' bytes + entries * ranges).
 */
enum status acpi_read_nodes(struct acpi *acpi, uint32_t apic_id, struct acpi_nodes *nodes);

#endif
