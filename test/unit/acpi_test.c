/*
 * NUMA nodes from ACPI: sound tables. What is wrong with others is in acpi_hostile_test.c.
 */
#include "unit/acpi_bed.h"
#include "unit/test.h"

enum { ROOM = 65536, APIC = 3 };

static struct acpi_nodes nodes;

static bool begin(struct acpi_bed *b)
{
    void *memory = test_pages(bytes_to_pages_up(ROOM).v);
    acpi_bed_begin(b, memory, ROOM);
    return memory != NULL;
}

static enum status read_nodes(struct acpi_bed *b)
{
    enum status s;
    EXPECT(acpi_bed_nodes(b, ACPI_BED_RSDP_BYTES, APIC, &nodes, &s));
    return s;
}

/* The tables that were put so far, and no more. */
static enum status finish(struct acpi_bed *b, uint32_t srat)
{
    acpi_bed_close(b, srat);
    acpi_bed_finish(b, 2);
    return read_nodes(b);
}

static bool is_range(size_t i, uint64_t first, uint64_t end, unsigned node)
{
    const struct acpi_node_range *r = &nodes.ranges[i];
    return i < nodes.range_count && r->first.v == first && r->first.v + r->frames.v == end && r->node == node;
}

static uint64_t frame(uint64_t address) { return paddr_to_pfn(paddr(address)).v; }

/* As QEMU 7.2 makes them: q35, 8 GiB in four nodes, a CPU in each. */
static const uint8_t qemu_srat[] = {
    0x53, 0x52, 0x41, 0x54, 0x60, 0x01, 0x00, 0x00, 0x01, 0x1A, 0x42, 0x4F, 0x43, 0x48, 0x53, 0x20,
    0x42, 0x58, 0x50, 0x43, 0x20, 0x20, 0x20, 0x20, 0x01, 0x00, 0x00, 0x00, 0x42, 0x58, 0x50, 0x43,
    0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x10, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x10, 0x01, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x10, 0x02, 0x02, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x10, 0x03, 0x03, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x01, 0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x0A, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xF0, 0x7F, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x01, 0x28, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x28, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x80, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x01, 0x28, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
};
static const uint8_t qemu_slit[] = {
    0x53, 0x4C, 0x49, 0x54, 0x3C, 0x00, 0x00, 0x00, 0x01, 0x18, 0x42, 0x4F, 0x43, 0x48, 0x53, 0x20,
    0x42, 0x58, 0x50, 0x43, 0x20, 0x20, 0x20, 0x20, 0x01, 0x00, 0x00, 0x00, 0x42, 0x58, 0x50, 0x43,
    0x01, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0A, 0x10, 0x10, 0x16,
    0x10, 0x0A, 0x16, 0x10, 0x10, 0x16, 0x0A, 0x10, 0x16, 0x10, 0x10, 0x0A,
};

TEST(acpi, the_tables_of_a_real_machine_with_four_nodes_are_read)
{
    static const uint8_t distance[] = {10, 16, 16, 22, 16, 10, 22, 16, 16, 22, 10, 16, 22, 16, 16, 10};
    struct acpi_bed b;
    REQUIRE(begin(&b));
    b.tables[b.table_count++] = b.base + b.size;
    acpi_bed_put(&b, qemu_srat, sizeof qemu_srat);
    b.tables[b.table_count++] = b.base + b.size;
    acpi_bed_put(&b, qemu_slit, sizeof qemu_slit);
    acpi_bed_finish(&b, 1);
    enum status s;
    EXPECT(acpi_bed_nodes(&b, 20, 0, &nodes, &s) && s == STATUS_OK);
    EXPECT_EQ(nodes.node_count, 4);
    EXPECT_EQ(nodes.range_count, 5);
    EXPECT(is_range(0, 0, frame(640 * KIB), 0) && is_range(1, frame(MIB), frame(2 * GIB), 0));
    EXPECT(is_range(2, frame(4 * GIB), frame(6 * GIB), 1) && is_range(3, frame(6 * GIB), frame(8 * GIB), 2));
    EXPECT(is_range(4, frame(8 * GIB), frame(10 * GIB), 3));
    EXPECT(nodes.has_distances && memcmp(nodes.distance, distance, sizeof distance) == 0);
    EXPECT(acpi_bed_nodes(&b, 20, 2, &nodes, &s) && s == STATUS_OK); /* as if CPU 2 had started */
    EXPECT(nodes.domains[0] == 2 && nodes.domains[1] == 0 && nodes.domains[2] == 1 && nodes.domains[3] == 3);
    EXPECT(is_range(0, 0, frame(640 * KIB), 1) && is_range(3, frame(6 * GIB), frame(8 * GIB), 0));
    EXPECT(nodes.distance[1] == 16 && nodes.distance[2] == 22 && nodes.distance[2 * 4 + 1] == 16);
}

TEST(acpi, a_machine_without_srat_is_one_node_and_nothing_is_wrong_with_it)
{
    struct acpi_bed b;
    REQUIRE(begin(&b));
    acpi_bed_close(&b, acpi_bed_open(&b, "FACP", 3));
    acpi_bed_finish(&b, 2);
    EXPECT(read_nodes(&b) == STATUS_ABSENT);
    EXPECT_EQ(nodes.node_count, 1);
}

TEST(acpi, a_srat_without_memory_is_as_good_as_none)
{
    struct acpi_bed b;
    REQUIRE(begin(&b));
    uint32_t srat = acpi_bed_open_srat(&b, 3);
    acpi_bed_cpu(&b, APIC, 1);
    acpi_bed_memory(&b, 1, GIB, 0);
    EXPECT(finish(&b, srat) == STATUS_ABSENT);
}

TEST(acpi, the_boot_cpus_domain_is_node_0_wherever_it_comes)
{
    struct acpi_bed b;
    REQUIRE(begin(&b));
    uint32_t srat = acpi_bed_open_srat(&b, 3);
    acpi_bed_memory(&b, 70, 0, GIB);
    acpi_bed_cpu(&b, APIC - 1, 70);
    acpi_bed_memory(&b, 9, GIB, GIB);
    acpi_bed_memory(&b, 0x80000005, 2 * GIB, GIB);
    acpi_bed_cpu(&b, APIC, 9);
    acpi_bed_cpu(&b, APIC, 9);
    REQUIRE(finish(&b, srat) == STATUS_OK);
    EXPECT_EQ(nodes.node_count, 3);
    EXPECT(nodes.domains[0] == 9 && nodes.domains[1] == 70 && nodes.domains[2] == 0x80000005);
    EXPECT(is_range(0, 0, frame(GIB), 1) && is_range(1, frame(GIB), frame(2 * GIB), 0));
    EXPECT(is_range(2, frame(2 * GIB), frame(3 * GIB), 2));
    EXPECT(!nodes.has_distances);
}

TEST(acpi, a_boot_cpu_without_memory_near_to_it_has_a_node_all_the_same)
{
    static const uint8_t matrix[] = {10, 40, 20, 40, 10, 30, 20, 30, 10};
    struct acpi_bed b;
    REQUIRE(begin(&b));
    uint32_t srat = acpi_bed_open_srat(&b, 2);
    acpi_bed_cpu(&b, APIC, 0);
    acpi_bed_memory(&b, 1, 0, GIB);
    acpi_bed_memory(&b, 2, GIB, GIB);
    acpi_bed_close(&b, srat);
    acpi_bed_slit(&b, 3, matrix, sizeof matrix);
    acpi_bed_finish(&b, 2);
    REQUIRE(read_nodes(&b) == STATUS_OK);
    EXPECT_EQ(nodes.node_count, 3);
    EXPECT(is_range(0, 0, frame(GIB), 1) && is_range(1, frame(GIB), frame(2 * GIB), 2));
    EXPECT(nodes.has_distances && memcmp(nodes.distance, matrix, sizeof matrix) == 0);
}

TEST(acpi, a_cpu_with_a_long_id_is_found_by_its_own_kind_of_entry)
{
    struct acpi_bed b;
    enum status s;
    REQUIRE(begin(&b));
    uint32_t srat = acpi_bed_open_srat(&b, 3);
    acpi_bed_cpu(&b, 0x45, 1); /* the low 8 bits of the id are another CPU's */
    acpi_bed_x2apic(&b, 0x345, 2);
    acpi_bed_memory(&b, 1, 0, GIB);
    acpi_bed_memory(&b, 2, GIB, GIB);
    acpi_bed_close(&b, srat);
    acpi_bed_finish(&b, 2);
    EXPECT(acpi_bed_nodes(&b, ACPI_BED_RSDP_BYTES, 0x345, &nodes, &s) && s == STATUS_OK && nodes.domains[0] == 2);
    EXPECT(acpi_bed_nodes(&b, ACPI_BED_RSDP_BYTES, 0x45, &nodes, &s) && s == STATUS_OK && nodes.domains[0] == 1);
}

TEST(acpi, only_enabled_entries_count)
{
    enum { HOT_PLUGGABLE = 2, NON_VOLATILE = 4 };
    struct acpi_bed b;
    REQUIRE(begin(&b));
    uint32_t srat = acpi_bed_open_srat(&b, 3);
    acpi_bed_memory(&b, 1, 0, GIB);
    acpi_bed_cpu(&b, APIC, 2);
    b.bytes[b.size - 12] = 0; /* its flags: this entry is for a CPU that may come later */
    acpi_bed_cpu(&b, APIC, 1);
    acpi_bed_x2apic(&b, APIC, 2);
    b.bytes[b.size - 12] = 0;
    acpi_bed_memory_with(&b, 2, 0, 4 * GIB, 0);
    acpi_bed_memory_with(&b, 3, 0, 4 * GIB, HOT_PLUGGABLE);
    acpi_bed_memory_with(&b, 2, GIB, GIB, 1 | HOT_PLUGGABLE | NON_VOLATILE);
    acpi_bed_put(&b, "\5\x20 a generic initiator's affinity", 32); /* and types not known are passed over */
    acpi_bed_put(&b, "\xEE\2", 2);
    REQUIRE(finish(&b, srat) == STATUS_OK);
    EXPECT_EQ(nodes.node_count, 2);
    EXPECT(nodes.domains[0] == 1 && nodes.domains[1] == 2);
    EXPECT(nodes.range_count == 2 && is_range(0, 0, frame(GIB), 0) && is_range(1, frame(GIB), frame(2 * GIB), 1));
}

TEST(acpi, in_the_first_revision_a_domain_has_8_bits)
{
    for (uint8_t revision = 1; revision <= 2; revision++) {
        struct acpi_bed b;
        REQUIRE(begin(&b));
        uint32_t srat = acpi_bed_open_srat(&b, revision);
        acpi_bed_cpu(&b, APIC, 0xAB0002);
        acpi_bed_memory(&b, 0x00EE01, 0, GIB);
        acpi_bed_memory(&b, 0xAB0002, GIB, GIB);
        REQUIRE(finish(&b, srat) == STATUS_OK);
        EXPECT_EQ(nodes.node_count, 2);
        EXPECT_EQ(nodes.domains[0], revision == 1 ? 2 : 0xAB0002);
        EXPECT_EQ(nodes.domains[1], revision == 1 ? 1 : 0xEE01);
    }
}

TEST(acpi, neighbours_of_one_node_are_one_range_in_whatever_order_they_come)
{
    /* Quarters of GiB 0, 1 and 3, of three domains; GiB 2 is nobody's. */
    static const uint8_t orders[][6] = {{0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {1, 0, 3, 2, 5, 4}, {2, 4, 0, 5, 3, 1}};
    static const struct {
        uint32_t domain;
        uint64_t base, mib;
    } parts[6] = {{0, 0, 512},          {0, GIB / 2, 512},       {1, GIB, 256},
                  {1, GIB + GIB / 4, 768}, {0, 3 * GIB, 1024}, {2, 4 * GIB, 1024}};
    for (size_t order = 0; order < ARRAY_LEN(orders); order++) {
        struct acpi_bed b;
        REQUIRE(begin(&b));
        uint32_t srat = acpi_bed_open_srat(&b, 3);
        acpi_bed_cpu(&b, APIC, 0);
        acpi_bed_cpu(&b, APIC + 1, 1);
        for (size_t i = 0; i < 2 * ARRAY_LEN(parts); i++) { /* each twice */
            size_t part = orders[order][i % ARRAY_LEN(parts)];
            acpi_bed_memory(&b, parts[part].domain, parts[part].base, parts[part].mib * MIB);
        }
        REQUIRE(finish(&b, srat) == STATUS_OK);
        EXPECT_EQ(nodes.node_count, 3);
        EXPECT_EQ(nodes.range_count, 4);
        unsigned one = nodes.domains[1] == 1 ? 1 : 2;
        EXPECT(is_range(0, 0, frame(GIB), 0) && is_range(1, frame(GIB), frame(2 * GIB), one));
        EXPECT(is_range(2, frame(3 * GIB), frame(4 * GIB), 0) && is_range(3, frame(4 * GIB), frame(5 * GIB), 3 - one));
    }
}

TEST(acpi, a_frame_on_the_border_is_the_upper_ones)
{
    struct acpi_bed b;
    REQUIRE(begin(&b));
    uint32_t srat = acpi_bed_open_srat(&b, 3);
    acpi_bed_cpu(&b, APIC, 0);
    acpi_bed_memory(&b, 0, 0, 10 * PAGE_BYTES + 100);
    acpi_bed_memory(&b, 1, 10 * PAGE_BYTES + 100, 10 * PAGE_BYTES);
    acpi_bed_memory(&b, 2, 30 * PAGE_BYTES + 1, 1000); /* less than a frame is nothing */
    REQUIRE(finish(&b, srat) == STATUS_OK);
    EXPECT_EQ(nodes.node_count, 2);
    EXPECT(nodes.range_count == 2 && is_range(0, 0, 10, 0) && is_range(1, 10, 20, 1));
}

TEST(acpi, the_last_bytes_of_the_address_space_belong_to_a_node_too)
{
    struct acpi_bed b;
    REQUIRE(begin(&b));
    uint32_t srat = acpi_bed_open_srat(&b, 3);
    acpi_bed_cpu(&b, APIC, 0);
    acpi_bed_memory(&b, 0, 0, GIB);
    acpi_bed_memory(&b, 1, GIB, UINT64_MAX - GIB);
    REQUIRE(finish(&b, srat) == STATUS_OK);
    EXPECT(is_range(1, frame(GIB), frame(UINT64_MAX), 1));
}

/* Random ranges of few frames and domains, against an array of who has each frame. */
TEST(acpi, random_ranges_are_what_a_map_of_single_frames_says)
{
    enum { FRAMES = 64, ENTRIES = 12, NOBODY = 0xFF, DOMAINS = 4 };
    struct rng rng = rng_seeded(test_seed());
    struct acpi_bed b;
    REQUIRE(begin(&b));
    unsigned contradictions = 0, sound = 0;
    for (unsigned round = 0; round < 500 * test_effort(); round++) {
        uint8_t domains[FRAMES];
        bool contradiction = false;
        memset(domains, NOBODY, sizeof domains);
        acpi_bed_begin(&b, b.bytes, ROOM);
        uint32_t srat = acpi_bed_open_srat(&b, 3);
        acpi_bed_cpu(&b, APIC, 0);
        for (uint64_t i = 0, n = 1 + rng_below(&rng, ENTRIES); i < n; i++) {
            uint8_t domain = (uint8_t)rng_below(&rng, DOMAINS);
            uint64_t first = rng_below(&rng, FRAMES), length = rng_below(&rng, 8);
            length = length < FRAMES - first ? length : FRAMES - first;
            acpi_bed_memory(&b, domain, first * PAGE_BYTES, length * PAGE_BYTES);
            for (uint64_t f = first; f < first + length; f++) {
                contradiction = contradiction || (domains[f] != NOBODY && domains[f] != domain);
                domains[f] = domain;
            }
        }
        unsigned before = test_reports();
        enum status s = finish(&b, srat);
        EXPECT_EQ(test_reports() - before, contradiction ? 1 : 0);
        contradictions += contradiction;
        sound += s == STATUS_OK;
        EXPECT((s == STATUS_CORRUPT) == contradiction);
        for (uint64_t f = 0; s == STATUS_OK && f < FRAMES; f++) {
            EXPECT_EQ(nodes.domains[acpi_bed_node_of(&nodes, f)], domains[f] == NOBODY ? 0 : domains[f]);
        }
    }
    EXPECT(contradictions > 50 && sound > 50);
    test_expect_reports(contradictions);
}

TEST(acpi, a_range_between_two_of_its_node_makes_them_one)
{
    struct acpi_bed b;
    REQUIRE(begin(&b));
    uint32_t srat = acpi_bed_open_srat(&b, 3);
    acpi_bed_cpu(&b, APIC, 0);
    for (uint64_t i = 0; i < ACPI_RANGES_MAX; i++) { /* as many as there is room for */
        acpi_bed_memory(&b, 1, 2 * i * MIB, MIB);
    }
    acpi_bed_memory(&b, 1, 0, 2 * ACPI_RANGES_MAX * MIB);
    REQUIRE(finish(&b, srat) == STATUS_OK);
    EXPECT(nodes.range_count == 1 && is_range(0, 0, frame(2 * ACPI_RANGES_MAX * MIB), 1));
    EXPECT_EQ(nodes.ranges_lost, 0);
}
