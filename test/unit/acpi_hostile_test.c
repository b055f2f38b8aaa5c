/*
 * Hostile ACPI tables: each kind of wrong one costs what it is said to cost (boot/acpi.c, acpi_srat.c), and is reported
 * once.
 */
#include "unit/acpi_bed.h"
#include "unit/test.h"

enum { ROOM = 131072, APIC = 1, SRAT_FIRST = 48, LENGTH = 4, CHECKSUM = 9 };

static struct acpi_nodes nodes;

static bool begin(struct acpi_machine_bed *m)
{
    void *memory = test_pages(bytes_to_pages_up(ROOM).v);
    if (memory != NULL) {
        acpi_bed_machine(m, memory, ROOM);
    }
    return memory != NULL;
}

/* Reads the nodes; how many reports that made. */
static unsigned read_nodes(struct acpi_bed *b, enum status *s)
{
    unsigned before = test_reports();
    EXPECT(acpi_bed_nodes(b, ACPI_BED_RSDP_BYTES, APIC, &nodes, s));
    test_expect_reports(test_reports());
    return test_reports() - before;
}

/* Just this answer, with just so many reports, the last of which says this. */
static void expect(struct acpi_bed *b, enum status wanted, unsigned reports, const char *words)
{
    enum status s;
    unsigned told = read_nodes(b, &s);
    EXPECT_EQ(s, wanted);
    EXPECT_EQ(told, reports);
    const char *text = test_last_report();
    size_t at = 0, length = strlen(words);
    while (text[at] != '\0' && strncmp(text + at, words, length) != 0) {
        at++;
    }
    if (!EXPECT(strncmp(text + at, words, length) == 0)) {
        test_note("'%s' should be in '%s'", words, text);
    }
}

static void expect_two_nodes(struct acpi_bed *b, unsigned reports, const char *words)
{
    expect(b, STATUS_OK, reports, words);
    EXPECT_EQ(nodes.node_count, 2);
    EXPECT_EQ(acpi_bed_node_of(&nodes, paddr_to_pfn(paddr(GIB)).v), 1);
}

static void patch32(struct acpi_bed *b, uint32_t at, uint32_t value) { memcpy(b->bytes + at, &value, sizeof value); }

/* ---- From the RSDP to the tables ---- */

TEST(acpi, a_wrong_rsdp_is_no_tables)
{
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    struct acpi_bed *b = &m.bed;
    expect_two_nodes(b, 0, "");
    enum status s;
    for (size_t bytes = 0; bytes < 20; bytes++) {
        EXPECT(acpi_bed_nodes(b, bytes, APIC, &nodes, &s) && s == STATUS_ABSENT);
    }
    b->rsdp[8]++;
    expect(b, STATUS_ABSENT, 1, "no RSDP, or its checksum is wrong");
    acpi_bed_repair_rsdp(b);
    b->rsdp[0] = 'r';
    acpi_bed_repair_rsdp(b);
    expect(b, STATUS_ABSENT, 1, "no RSDP");
    b->rsdp[0] = 'R';
    memset(b->rsdp + 16, 0, 4);
    memset(b->rsdp + 24, 0, 8);
    acpi_bed_repair_rsdp(b);
    expect(b, STATUS_ABSENT, 1, "names no table");
    acpi_bed_finish(b, 2);
    expect_two_nodes(b, 0, "");
}

TEST(acpi, a_wrong_long_rsdp_or_xsdt_leaves_the_rsdt)
{
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    struct acpi_bed *b = &m.bed;
    static const uint32_t lengths[] = {0, 20, 35, 37, INT32_MAX, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        memcpy(b->rsdp + 20, &lengths[i], 4);
        acpi_bed_repair_rsdp(b);
        expect_two_nodes(b, 1, "RSDP of revision 2: the checksum");
    }
    acpi_bed_finish(b, 2);
    enum status s;
    unsigned before = test_reports(); /* as a loader with the older tag alone hands it over */
    EXPECT(acpi_bed_nodes(b, 20, APIC, &nodes, &s) && s == STATUS_OK && nodes.node_count == 2);
    EXPECT_EQ(test_reports() - before, 1);
    b->rsdp[33] = 1;
    expect_two_nodes(b, 1, "RSDP of revision 2: the checksum");
    acpi_bed_finish(b, 2);
    b->bytes[b->xsdt + CHECKSUM]++;
    expect_two_nodes(b, 1, "XSDT at 0x7fe0");
    memcpy(b->bytes + b->xsdt, "RSDT", 4);
    expect_two_nodes(b, 1, "there is no XSDT at");
    static const uint64_t nowhere[] = {1, 0xE0000000, UINT64_MAX - 36, UINT64_MAX - 35, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(nowhere); i++) {
        memcpy(b->rsdp + 24, &nowhere[i], 8);
        acpi_bed_repair_rsdp(b);
        expect_two_nodes(b, 1, "no XSDT can be read at");
    }
    patch32(b, b->rsdt + LENGTH, UINT32_MAX);
    expect(b, STATUS_ABSENT, 2, "RSDT at");
    b->bytes[b->rsdt] = 0;
    expect(b, STATUS_ABSENT, 2, "there is no RSDT");
}

TEST(acpi, addresses_of_tables_that_lead_nowhere_are_passed_over)
{
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    struct acpi_bed *b = &m.bed;
    static const uint64_t nowhere[] = {0, 1, ACPI_BED_BASE - 1, ACPI_BED_BASE + ROOM, UINT64_MAX - 36, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(nowhere); i++) {
        b->tables[0] = nowhere[i]; /* in the place of another table's */
        acpi_bed_finish(b, 2);
        unsigned twice = nowhere[i] == 0 ? 0 : 2; /* once on the way to SRAT, once to SLIT */
        expect_two_nodes(b, twice, twice == 0 ? "" : "no table can be read at");
    }
    b->table_count = 0;
    acpi_bed_finish(b, 2);
    expect(b, STATUS_ABSENT, 0, "");
}

TEST(acpi, a_root_table_of_too_many_is_read_so_far_and_not_all_is_told)
{
    enum { MANY = ACPI_TABLES_MAX + 1 };
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    struct acpi_bed *b = &m.bed;
    for (uint32_t srat_at = ACPI_TABLES_MAX - 1; srat_at <= ACPI_TABLES_MAX; srat_at++) {
        uint32_t root = acpi_bed_open(b, "XSDT", 1);
        for (uint32_t i = 0; i < MANY; i++) {
            acpi_bed_put_number(b, i == srat_at ? b->base + m.srat : 1, 8);
        }
        patch32(b, root + LENGTH, b->size - root);
        acpi_bed_repair(b, root);
        uint64_t address = b->base + root;
        memcpy(b->rsdp + 24, &address, 8);
        acpi_bed_repair_rsdp(b);
        enum status wanted = srat_at < ACPI_TABLES_MAX ? STATUS_OK : STATUS_ABSENT;
        expect(b, wanted, ACPI_PROBLEMS_TOLD_MAX, "no table can be read");
    }
}

TEST(acpi, a_table_of_wrong_length_or_checksum_is_not_used)
{
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    struct acpi_bed *b = &m.bed;
    static const struct {
        uint32_t length;
        const char *words;
    } wrong[] = {{0, "cannot have 0 bytes"},
                 {35, "cannot have 35 bytes"},
                 {ROOM, "of 131072 cannot be read"},
                 {ACPI_TABLE_BYTES_MAX, "of 1048576 cannot be read"},
                 {ACPI_TABLE_BYTES_MAX + 1, "has 1048577 bytes, more than ACPI_TABLE_BYTES_MAX = 1048576"},
                 {UINT32_MAX, "more than ACPI_TABLE_BYTES_MAX"}};
    uint32_t length;
    memcpy(&length, b->bytes + m.srat + LENGTH, 4);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        patch32(b, m.srat + LENGTH, wrong[i].length);
        expect(b, STATUS_CORRUPT, 1, wrong[i].words);
    }
    patch32(b, m.srat + LENGTH, length);
    b->bytes[m.srat + SRAT_FIRST + 17]++;
    expect(b, STATUS_CORRUPT, 1, "bytes is wrong by 1");
    b->bytes[m.srat + SRAT_FIRST + 17]--;
    expect_two_nodes(b, 0, "");
    b->bytes[m.slit + CHECKSUM]--;
    expect_two_nodes(b, 1, "SLIT at 0x7fe0");
    EXPECT(!nodes.has_distances);
}

TEST(acpi, tables_at_the_end_of_the_address_space_are_read_and_none_goes_over_it)
{
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    struct acpi_bed *b = &m.bed;
    uint32_t roots = 2 * ACPI_BED_HEADER_BYTES + 2 * (4 + 8); /* of both root tables, made anew below */
    b->base = UINT64_MAX - b->size - roots;
    b->tables[0] = b->base + m.srat;
    b->tables[1] = b->base + m.slit;
    b->table_count = 2;
    acpi_bed_finish(b, 2);
    EXPECT_EQ(b->base + b->size, UINT64_MAX); /* its last byte is the last but one */
    expect_two_nodes(b, 0, "");
    EXPECT(nodes.has_distances);
    patch32(b, m.slit + LENGTH, b->size - m.slit + 1);
    expect_two_nodes(b, 1, "SLIT at 0xffff");
    EXPECT(strncmp(test_last_report() + sizeof "ACPI: SLIT at 0xffffffffffffffff" - 1, " cannot have", 12) == 0);
}

/* ---- SRAT ---- */

TEST(acpi, a_srat_without_revision_or_shorter_than_its_own_header_is_one_node)
{
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    struct acpi_bed *b = &m.bed;
    for (uint32_t length = 36; length < SRAT_FIRST; length++) {
        patch32(b, m.srat + LENGTH, length);
        acpi_bed_repair(b, m.srat);
        expect(b, STATUS_CORRUPT, 1, "SRAT of revision 3 in");
    }
    patch32(b, m.srat + LENGTH, SRAT_FIRST); /* just long enough, and empty */
    acpi_bed_repair(b, m.srat);
    expect(b, STATUS_ABSENT, 0, "");
    b->bytes[m.srat + 8] = 0;
    acpi_bed_repair(b, m.srat);
    expect(b, STATUS_CORRUPT, 1, "SRAT of revision 0");
}

TEST(acpi, an_entry_of_a_wrong_size_is_one_node)
{
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    struct acpi_bed *b = &m.bed;
    uint32_t cpu = m.srat + SRAT_FIRST, memory = cpu + 16 + 40;
    for (unsigned bytes = 0; bytes < 256; bytes++) {
        b->bytes[memory + 1] = (uint8_t)bytes; /* the last entry */
        acpi_bed_repair(b, m.srat);
        if (bytes != 40) {
            expect(b, STATUS_CORRUPT, 1, "SRAT: entry of type 1 at 104 has");
        }
    }
    b->bytes[memory + 1] = 40;
    static const uint8_t sizes[] = {0, 1, 2, 15};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        b->bytes[cpu + 1] = sizes[i];
        acpi_bed_repair(b, m.srat);
        expect(b, STATUS_CORRUPT, 1, "SRAT: entry of type 0 at 48 has");
    }
    b->bytes[cpu] = 2; /* longer than a CPU's old entry */
    b->bytes[cpu + 1] = 23;
    acpi_bed_repair(b, m.srat);
    expect(b, STATUS_CORRUPT, 1, "SRAT: entry of type 2 at 48 has 23 bytes; it needs 24");
    b->bytes[cpu] = 77;
    b->bytes[cpu + 1] = 0;
    acpi_bed_repair(b, m.srat);
    expect(b, STATUS_CORRUPT, 1, "SRAT: entry of type 77 at 48 has 0 bytes");
    b->bytes[cpu + 1] = 16;
    patch32(b, m.srat + LENGTH, SRAT_FIRST + 16 + 40 + 1); /* of the last entry, the type alone */
    acpi_bed_repair(b, m.srat);
    expect(b, STATUS_CORRUPT, 1, "SRAT: entry of type 1 at 104 has 0 bytes; it needs 40, 1 are left");
}

/* All that begins as the sound table does, and stops somewhere. */
TEST(acpi, a_srat_cut_anywhere_is_one_node_or_just_ends_there)
{
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    struct acpi_bed *b = &m.bed;
    uint32_t length;
    memcpy(&length, b->bytes + m.srat + LENGTH, 4);
    for (uint32_t cut = SRAT_FIRST + 1; cut < length; cut++) {
        patch32(b, m.srat + LENGTH, cut);
        acpi_bed_repair(b, m.srat);
        enum status s;
        unsigned told = read_nodes(b, &s);
        uint32_t entries = cut - SRAT_FIRST - 16; /* without the CPU's */
        bool between = entries == 0 || entries == 40;
        EXPECT(s == (!between ? STATUS_CORRUPT : entries == 0 ? STATUS_ABSENT : STATUS_OK) && told == !between);
    }
}

static void expect_with(uint32_t domain, uint64_t base, uint64_t bytes, enum status wanted, const char *words)
{
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    struct acpi_bed *b = &m.bed;
    b->table_count = 0;
    uint32_t srat = acpi_bed_open_srat(b, 3);
    acpi_bed_cpu(b, APIC, 0);
    acpi_bed_memory(b, 0, GIB, GIB);
    acpi_bed_memory(b, 1, 3 * GIB, GIB);
    acpi_bed_memory(b, domain, base, bytes);
    acpi_bed_close(b, srat);
    acpi_bed_finish(b, 2);
    expect(b, wanted, wanted == STATUS_OK ? 0 : 1, words);
}

TEST(acpi, two_domains_with_the_same_frame_are_one_node)
{
    expect_with(1, GIB, GIB, STATUS_CORRUPT, "of domain 1, and 0x40000-0x80000 of domain 0: one node");
    expect_with(1, 0, 8 * GIB, STATUS_CORRUPT, "one node");
    expect_with(1, 2 * GIB - PAGE_BYTES, 2 * GIB, STATUS_CORRUPT, "one node");
    expect_with(2, 0, GIB + PAGE_BYTES, STATUS_CORRUPT, "of domain 2, and 0x40000-0x80000 of domain 0");
    expect_with(0, 4 * GIB - PAGE_BYTES, GIB, STATUS_CORRUPT, "of domain 0, and 0xc0000-0x100000 of domain 1");
    expect_with(0, 3 * GIB + PAGE_BYTES, PAGE_BYTES, STATUS_CORRUPT, "one node");
    expect_with(2, 0, GIB, STATUS_OK, "");
    expect_with(0, 0, 3 * GIB, STATUS_OK, "");
    expect_with(1, 2 * GIB, 8 * GIB, STATUS_OK, "");
}

TEST(acpi, a_range_that_wraps_is_one_node)
{
    expect_with(2, UINT64_MAX - 1, 1, STATUS_OK, ""); /* less than a frame */
    expect_with(2, UINT64_MAX, 1, STATUS_CORRUPT, "more than there can be"); /* its end is 2^64 */
    expect_with(2, 8 * GIB, UINT64_MAX, STATUS_CORRUPT, "of domain 2, are more than there can be");
    expect_with(2, UINT64_MAX, 2, STATUS_CORRUPT, "more than there can be");
    expect_with(2, UINT64_MAX - GIB, GIB + 1, STATUS_CORRUPT, "more than there can be");
}

TEST(acpi, a_boot_cpu_in_two_domains_or_in_none_is_told)
{
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    struct acpi_bed *b = &m.bed;
    b->table_count = 0;
    uint32_t srat = acpi_bed_open_srat(b, 3);
    acpi_bed_cpu(b, APIC + 1, 4);
    acpi_bed_memory(b, 5, 0, GIB);
    acpi_bed_memory(b, 4, GIB, GIB);
    acpi_bed_close(b, srat);
    acpi_bed_finish(b, 2);
    expect_two_nodes(b, 1, "no entry for the CPU with APIC id 1; domain 5, whose memory comes first, is node 0");
    b->size = srat;
    b->table_count = 0;
    srat = acpi_bed_open_srat(b, 3);
    acpi_bed_cpu(b, APIC, 4);
    acpi_bed_memory(b, 5, 0, GIB);
    acpi_bed_memory(b, 4, GIB, GIB);
    acpi_bed_x2apic(b, APIC, 5);
    acpi_bed_close(b, srat);
    acpi_bed_finish(b, 2);
    expect(b, STATUS_CORRUPT, 1, "the CPU with APIC id 1 is in domain 4 and in 5: one node");
}

TEST(acpi, domains_beyond_the_limit_count_to_node_0_and_the_limit_is_named)
{
    enum { DOMAINS = ACPI_NODES_MAX + 3 };
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    struct acpi_bed *b = &m.bed;
    b->table_count = 0;
    uint32_t srat = acpi_bed_open_srat(b, 3);
    for (uint32_t d = 0; d < DOMAINS; d++) {
        acpi_bed_memory(b, 100 + d, d * GIB, GIB);
    }
    acpi_bed_cpu(b, APIC, 100 + DOMAINS - 1); /* a late one, but the first to be numbered */
    acpi_bed_close(b, srat);
    acpi_bed_finish(b, 2);
    expect(b, STATUS_OK, 1, "SRAT: domain 107 is one more than ACPI_NODES_MAX = 8");
    EXPECT_EQ(nodes.node_count, ACPI_NODES_MAX);
    EXPECT_EQ(nodes.ranges_lost, DOMAINS - ACPI_NODES_MAX);
    EXPECT(nodes.domains[0] == 100 + DOMAINS - 1 && nodes.domains[1] == 100 && nodes.domains[7] == 106);
    for (uint64_t d = 0; d < DOMAINS; d++) {
        EXPECT_EQ(acpi_bed_node_of(&nodes, paddr_to_pfn(paddr(d * GIB)).v), d < ACPI_NODES_MAX - 1 ? d + 1 : 0);
    }
}

TEST(acpi, ranges_beyond_the_limit_count_to_node_0_and_the_limit_is_named)
{
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    struct acpi_bed *b = &m.bed;
    b->table_count = 0;
    uint32_t srat = acpi_bed_open_srat(b, 3);
    acpi_bed_cpu(b, APIC, 0);
    for (uint64_t i = 0; i < ACPI_RANGES_MAX + 4; i++) {
        acpi_bed_memory(b, 1, 2 * i * MIB, MIB);
    }
    acpi_bed_close(b, srat);
    acpi_bed_finish(b, 2);
    expect(b, STATUS_OK, 1, "SRAT: more ranges than ACPI_RANGES_MAX = 256");
    EXPECT_EQ(nodes.range_count, ACPI_RANGES_MAX);
    EXPECT_EQ(nodes.ranges_lost, 4);
}
