/*
 * SRAT and SLIT: which frames are near to which node, and how far the nodes are from each other.
 *
 * 1. The format (ACPI specification 6.5, sections 5.2.16 and 5.2.17)
 *        SRAT    header, 12 reserved bytes, entries: type u8, bytes u8 (these 2 included), ...
 *                type 0  a CPU by its APIC id, and its domain      type 2  the same by x2APIC id
 *                type 1  a range of memory, and its domain
 *        SLIT    header, domains u64, a byte for each pair of domains
 *    An entry counts only with its bit *enabled*. Revision 1 has domains of 8 bits; what is beside them is not said to
 *    be zero.
 *
 * 2. Nodes
 *    Domains may have any 32-bit number; nodes are 0, 1, ... The boot CPU's domain is node 0, so that memory of which
 *    SRAT says nothing is where the kernel runs. It is looked for first, then the memory is read.
 *
 * 3. Ranges
 *    Kept sorted and disjoint, in frames, both ends rounded down: so ranges that touch still do, and no two share a
 *    frame. Neighbours of one node are joined, a range said twice is one. Mostly they come in order: the place is
 *    looked for from the end.
 *
 * 4. What is wrong, and what then
 *        an entry of fewer bytes than its type needs, or more than are left      one node
 *        a range that wraps; two domains with the same frame; a CPU in two       one node
 *        no entry for the boot CPU                                               the first memory's domain is node 0
 *        more domains than ACPI_NODES_MAX, more ranges than ACPI_RANGES_MAX      what is too much is node 0's
 *        SLIT: a domain missing, 10 not on the diagonal, less than 10 elsewhere  all equally far
 *    Each is reported. A table that contradicts itself gives no hint which half is true, and one node is always right,
 *    if slower; so nothing of it is used.
 *
 * 5. Rejected: a node for each domain that has CPUs but no memory (there is nothing to be near to); the mean of the
 *    distances there and back (an asymmetric machine is a sound machine); joining the ranges of a node over a gap (the
 *    gap may hold memory of which nothing is said).
 */
#include "boot/acpi_internal.h"

enum {
    SRAT_FIRST = 48,     /* offset of the first entry */
    ENTRY_HEADER_BYTES = 2,
    ENTRY_BYTES_MAX = 40, /* of an entry, so much is looked at */
    ENTRY_CPU = 0,
    ENTRY_MEMORY = 1,
    ENTRY_X2APIC = 2,
    CPU_BYTES = 16,
    MEMORY_BYTES = 40,
    X2APIC_BYTES = 24,
    ENABLED = 1,         /* flags of each of them, bit 0 */
    SLIT_MATRIX = 44,    /* offset */
    SLIT_DOMAINS_MAX = 1024, /* a square of more is longer than ACPI_TABLE_BYTES_MAX */
    LOCAL = 10,
};
static_assert(SLIT_DOMAINS_MAX * SLIT_DOMAINS_MAX >= ACPI_TABLE_BYTES_MAX, "no SLIT is refused for its number alone");

struct srat {
    struct acpi *acpi;
    struct acpi_table table;
    struct acpi_nodes *nodes;
    uint32_t offset;                /* of the next entry */
    uint8_t entry[ENTRY_BYTES_MAX]; /* first bytes of the last one; behind its end anything */
    uint32_t apic_id;
    bool has_cpu;                   /* domains[0] is the domain of the CPU `apic_id` */
    unsigned node_count;            /* domains so far */
    bool told_nodes, told_ranges;   /* that there are too many */
};

/* OK: `entry` is the next one; ABSENT: that was all. */
static enum status next_entry(struct srat *srat)
{
    static const uint8_t least[] = {
        [ENTRY_CPU] = CPU_BYTES, [ENTRY_MEMORY] = MEMORY_BYTES, [ENTRY_X2APIC] = X2APIC_BYTES};
    uint32_t left = srat->table.bytes - srat->offset;
    if (left == 0) {
        return STATUS_ABSENT;
    }
    if (!acpi_table_read(srat->acpi, &srat->table, srat->offset, srat->entry,
                         left < ENTRY_BYTES_MAX ? left : ENTRY_BYTES_MAX)) {
        return acpi_wrong(srat->acpi, "SRAT cannot be read at %u", srat->offset);
    }
    unsigned type = srat->entry[0], bytes = left < ENTRY_HEADER_BYTES ? 0 : srat->entry[1];
    unsigned needed = type < sizeof least ? least[type] : ENTRY_HEADER_BYTES;
    if (bytes < needed || bytes > left) {
        return acpi_wrong(srat->acpi, "SRAT: entry of type %u at %u has %u bytes; it needs %u, %u are left: one node",
                          type, srat->offset, bytes, needed, left);
    }
    srat->offset += bytes;
    return STATUS_OK;
}

/* Is this an enabled entry for the CPU? Then its domain. */
static bool is_our_cpu(const struct srat *srat, uint32_t *domain)
{
    const uint8_t *e = srat->entry;
    if (e[0] == ENTRY_CPU && (e[4] & ENABLED) != 0 && e[3] == srat->apic_id) {
        /* Bits 8 to 31 came with revision 2, and lie elsewhere. */
        *domain = e[2] | (srat->table.revision >= 2 ? acpi_u32(e + 8) & ~(uint32_t)UINT8_MAX : 0);
        return true;
    }
    if (e[0] == ENTRY_X2APIC && (e[12] & ENABLED) != 0 && acpi_u32(e + 8) == srat->apic_id) {
        *domain = acpi_u32(e + 4); /* younger than revision 1: always all bits */
        return true;
    }
    return false;
}

static enum status find_cpu(struct srat *srat)
{
    uint32_t domain;
    enum status s;
    for (srat->offset = SRAT_FIRST; (s = next_entry(srat)) == STATUS_OK;) {
        if (!is_our_cpu(srat, &domain)) {
            continue;
        }
        if (srat->has_cpu && srat->nodes->domains[0] != domain) {
            return acpi_wrong(srat->acpi, "SRAT: the CPU with APIC id %u is in domain %u and in %u: one node",
                              srat->apic_id, srat->nodes->domains[0], domain);
        }
        srat->nodes->domains[0] = domain;
        srat->has_cpu = true;
    }
    return s;
}

/* The node of a domain, a new one if need be. false: there is no room for another. */
static bool node_of(struct srat *srat, uint32_t domain, unsigned *node)
{
    struct acpi_nodes *n = srat->nodes;
    for (*node = 0; *node < srat->node_count; (*node)++) {
        if (n->domains[*node] == domain) {
            return true;
        }
    }
    if (srat->node_count < ACPI_NODES_MAX) {
        n->domains[srat->node_count++] = domain;
        return true;
    }
    n->ranges_lost++;
    if (!srat->told_nodes) {
        (void)acpi_wrong(srat->acpi, "SRAT: domain %u is one more than ACPI_NODES_MAX = %d: the memory of so many as "
                         "do not fit counts to node 0", domain, ACPI_NODES_MAX);
        srat->told_nodes = true;
    }
    return false;
}

static uint64_t range_end(const struct acpi_node_range *r) { return r->first.v + r->frames.v; }

static void remove_range(struct acpi_nodes *n, size_t at)
{
    n->range_count--;
    memmove(&n->ranges[at], &n->ranges[at + 1], (n->range_count - at) * sizeof n->ranges[0]);
}

/* Frames [first, end), not empty, into the list. */
static enum status add_range(struct srat *srat, uint64_t first, uint64_t end, unsigned node)
{
    struct acpi_nodes *n = srat->nodes;
    size_t at = n->range_count;
    while (at > 0 && n->ranges[at - 1].first.v > end) {
        at--;
    }
    /* From here down to the first that ends below us: each touches us or overlaps. */
    for (; at > 0 && range_end(&n->ranges[at - 1]) >= first; at--) {
        const struct acpi_node_range *r = &n->ranges[at - 1];
        if (r->node == node) {
            first = r->first.v < first ? r->first.v : first;
            end = range_end(r) > end ? range_end(r) : end;
            remove_range(n, at - 1);
        } else if (r->first.v < end && range_end(r) > first) {
            return acpi_wrong(srat->acpi, "SRAT: frames %#lx-%#lx of domain %u, and %#lx-%#lx of domain %u: one node",
                              first, end, n->domains[node], r->first.v, range_end(r), n->domains[r->node]);
        } else if (range_end(r) == first) {
            break;
        }
    }
    if (n->range_count == ACPI_RANGES_MAX) {
        n->ranges_lost++;
        if (!srat->told_ranges) {
            (void)acpi_wrong(srat->acpi, "SRAT: more ranges than ACPI_RANGES_MAX = %d: the rest counts to node 0",
                             ACPI_RANGES_MAX);
            srat->told_ranges = true;
        }
        return STATUS_OK;
    }
    memmove(&n->ranges[at + 1], &n->ranges[at], (n->range_count - at) * sizeof n->ranges[0]);
    n->ranges[at] = (struct acpi_node_range){pfn(first), npages(end - first), node};
    n->range_count++;
    return STATUS_OK;
}

/* The memory of the entry at hand, where it is enabled. */
static enum status take_memory(struct srat *srat)
{
    const uint8_t *e = srat->entry;
    uint64_t base = acpi_u64(e + 8), bytes = acpi_u64(e + 16);
    uint32_t domain = srat->table.revision >= 2 ? acpi_u32(e + 2) : e[2];
    unsigned node;
    if ((acpi_u32(e + 28) & ENABLED) == 0) {
        return STATUS_OK;
    }
    if (bytes > UINT64_MAX - base) {
        return acpi_wrong(srat->acpi, "SRAT: %#lx bytes at %#lx, of domain %u, are more than there can be: one node",
                          bytes, base, domain);
    }
    uint64_t first = paddr_to_pfn(paddr(base)).v, end = paddr_to_pfn(paddr(base + bytes)).v;
    return first < end && node_of(srat, domain, &node) ? add_range(srat, first, end, node) : STATUS_OK;
}

static enum status find_memory(struct srat *srat)
{
    enum status s;
    for (srat->offset = SRAT_FIRST; (s = next_entry(srat)) == STATUS_OK;) {
        if (srat->entry[0] == ENTRY_MEMORY && (s = take_memory(srat)) != STATUS_OK) {
            break;
        }
    }
    return s;
}

static enum status read_srat(struct srat *srat)
{
    enum status s = acpi_find(srat->acpi, "SRAT", &srat->table);
    if (s != STATUS_OK) {
        return s;
    }
    if (srat->table.revision == 0 || srat->table.bytes < SRAT_FIRST) {
        return acpi_wrong(srat->acpi, "SRAT of revision %u in %u bytes: one node", srat->table.revision,
                          srat->table.bytes);
    }
    s = find_cpu(srat);
    srat->node_count = srat->has_cpu ? 1 : 0;
    if (s == STATUS_ABSENT) {
        s = find_memory(srat);
    }
    if (s == STATUS_CORRUPT || srat->nodes->range_count == 0) {
        return s;
    }
    if (!srat->has_cpu && srat->node_count > 1) {
        (void)acpi_wrong(srat->acpi, "SRAT: no entry for the CPU with APIC id %u; domain %u, whose memory comes first, "
                         "is node 0", srat->apic_id, srat->nodes->domains[0]);
    }
    srat->nodes->node_count = srat->node_count;
    return STATUS_OK;
}

/* The distance of two domains, as it stands in the table. false: it does not, or cannot be. */
static bool distance_of(struct acpi *acpi, const struct acpi_table *slit, uint32_t from, uint32_t to, uint32_t count,
                        uint8_t *distance)
{
    if (from >= count || to >= count) {
        (void)acpi_wrong(acpi, "SLIT knows domains below %u, there is one of %u: all are taken as equally far", count,
                         from >= count ? from : to);
        return false;
    }
    bool read = acpi_table_read(acpi, slit, SLIT_MATRIX + from * count + to, distance, 1);
    if (!read || (from == to ? *distance != LOCAL : *distance < LOCAL)) {
        (void)acpi_wrong(acpi, "SLIT: from domain %u to %u it cannot be %u: all are taken as equally far", from, to,
                         read ? *distance : 0);
        return false;
    }
    return true;
}

static bool read_slit(struct acpi *acpi, struct acpi_nodes *n)
{
    struct acpi_table slit;
    uint8_t number[sizeof(uint64_t)];
    if (acpi_find(acpi, "SLIT", &slit) != STATUS_OK) {
        return false;
    }
    bool read = acpi_table_read(acpi, &slit, ACPI_HEADER_BYTES, number, sizeof number);
    uint64_t count = read ? acpi_u64(number) : 0;
    if (!read || count > SLIT_DOMAINS_MAX || count * count > slit.bytes - SLIT_MATRIX) {
        (void)acpi_wrong(acpi, "SLIT of %lu domains in %u bytes: all are taken as equally far", count, slit.bytes);
        return false;
    }
    for (unsigned i = 0; i < n->node_count * n->node_count; i++) {
        if (!distance_of(acpi, &slit, n->domains[i / n->node_count], n->domains[i % n->node_count], (uint32_t)count,
                         &n->distance[i])) {
            return false;
        }
    }
    return true;
}

static void be_one_node(struct acpi_nodes *n)
{
    n->range_count = 0;
    n->node_count = 1;
    n->domains[0] = 0;
    n->has_distances = false;
    n->ranges_lost = 0;
}

enum status acpi_read_nodes(struct acpi *acpi, uint32_t apic_id, struct acpi_nodes *nodes)
{
    struct srat srat = {.acpi = acpi, .nodes = nodes, .apic_id = apic_id};
    be_one_node(nodes);
    enum status s = read_srat(&srat);
    if (s != STATUS_OK) {
        be_one_node(nodes);
    } else if (nodes->node_count > 1) {
        nodes->has_distances = read_slit(acpi, nodes);
    }
    return s;
}
