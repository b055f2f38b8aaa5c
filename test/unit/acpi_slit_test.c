/*
 * Hostile ACPI tables, continued: distances (SLIT), memory that cannot be read, and any bytes at all.
 */
#include "unit/acpi_bed.h"
#include "unit/test.h"

enum { ROOM = 16384, APIC = 1, MATRIX = 44, LENGTH = 4 };

static struct acpi_nodes nodes;

static bool begin(struct acpi_machine_bed *m)
{
    void *memory = test_pages(bytes_to_pages_up(ROOM).v);
    if (memory != NULL) {
        acpi_bed_machine(m, memory, ROOM);
    }
    return memory != NULL;
}

static enum status read_nodes(struct acpi_bed *b)
{
    enum status s;
    EXPECT(acpi_bed_nodes(b, ACPI_BED_RSDP_BYTES, APIC, &nodes, &s));
    test_expect_reports(test_reports());
    return s;
}

static bool last_report_begins(const char *words) { return strncmp(test_last_report(), words, strlen(words)) == 0; }

/* Two nodes all the same; have they distances, and if not, was that said? */
static bool has_distances(struct acpi_machine_bed *m)
{
    unsigned before = test_reports();
    acpi_bed_repair(&m->bed, m->slit);
    EXPECT(read_nodes(&m->bed) == STATUS_OK && nodes.node_count == 2);
    EXPECT_EQ(test_reports() - before, nodes.has_distances ? 0 : 1);
    return nodes.has_distances;
}

TEST(acpi, distances_are_used_as_they_stand_where_they_can_be)
{
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    uint8_t *matrix = m.bed.bytes + m.slit + MATRIX;
    EXPECT(has_distances(&m) && nodes.distance[1] == 21 && nodes.distance[2] == 12); /* there and back may differ */
    for (unsigned value = 0; value < 256; value++) {
        for (unsigned i = 0; i < 4; i++) {
            uint8_t was = matrix[i];
            matrix[i] = (uint8_t)value;
            bool sound = i % 3 == 0 ? value == 10 : value >= 10;
            EXPECT_EQ(has_distances(&m), sound);
            EXPECT(!sound || nodes.distance[i] == value);
            matrix[i] = was;
        }
    }
}

TEST(acpi, distances_of_which_some_are_missing_are_not_used)
{
    static const uint64_t counts[] = {0, 1, 3, 1024, 1025, UINT32_MAX, 1ULL << 32, (1ULL << 32) + 2, UINT64_MAX};
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    uint32_t number = m.slit + 36, length;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        memcpy(m.bed.bytes + number, &counts[i], sizeof counts[i]);
        EXPECT(!has_distances(&m));
        EXPECT(last_report_begins(counts[i] < 2 ? "ACPI: SLIT knows domains below " : "ACPI: SLIT of "));
    }
    memcpy(m.bed.bytes + number, &(uint64_t){2}, sizeof(uint64_t));
    memcpy(&length, m.bed.bytes + m.slit + LENGTH, sizeof length);
    for (uint32_t cut = 36; cut <= length; cut++) {
        memcpy(m.bed.bytes + m.slit + LENGTH, &cut, sizeof cut);
        EXPECT_EQ(has_distances(&m), cut == length);
    }
}

TEST(acpi, without_slit_all_are_equally_far_and_nothing_is_wrong)
{
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    m.bed.table_count--;
    acpi_bed_finish(&m.bed, 2);
    EXPECT(read_nodes(&m.bed) == STATUS_OK && nodes.node_count == 2 && !nodes.has_distances);
    EXPECT_EQ(test_reports(), 0);
}

TEST(acpi, one_node_needs_no_distances)
{
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    m.bed.bytes[m.bed.size - 1]++;
    m.bed.bytes[m.slit + LENGTH] = 1; /* nobody looks at it */
    m.bed.bytes[m.srat + 48 + 16 + 40 + 2] = 0; /* the second range is the first domain's too */
    acpi_bed_repair(&m.bed, m.srat);
    acpi_bed_finish(&m.bed, 2);
    EXPECT(read_nodes(&m.bed) == STATUS_OK && nodes.node_count == 1 && nodes.range_count == 1);
    EXPECT_EQ(test_reports(), 0);
}

/* The bed's memory, of which the read number `fails_at` and all later ones fail. */
struct failing {
    struct acpi_bed *bed;
    unsigned reads, fails_at;
};

static bool read_or_fail(void *ctx, paddr_t at, void *to, size_t bytes)
{
    struct failing *f = ctx;
    return f->reads++ < f->fails_at && acpi_bed_read(f->bed, at, to, bytes);
}

TEST(acpi, memory_that_cannot_be_read_any_more_is_told_at_whichever_read)
{
    struct acpi_machine_bed m;
    REQUIRE(begin(&m));
    struct failing f = {&m.bed, 1, 0};
    unsigned two_nodes = 0;
    for (unsigned at = 0; f.reads > f.fails_at; at++) {
        struct acpi acpi;
        f = (struct failing){&m.bed, 0, at};
        unsigned before = test_reports();
        enum status opened = acpi_open(&acpi, m.bed.rsdp, ACPI_BED_RSDP_BYTES, read_or_fail, &f);
        enum status s = acpi_read_nodes(&acpi, APIC, &nodes);
        bool failed = f.reads > f.fails_at;
        EXPECT(failed ? test_reports() > before : test_reports() == before);
        EXPECT(s == STATUS_OK || (nodes.node_count == 1 && nodes.range_count == 0));
        EXPECT(opened == STATUS_OK || s == STATUS_ABSENT);
        EXPECT(failed ? !nodes.has_distances : s == STATUS_OK && nodes.has_distances);
        two_nodes += s == STATUS_OK;
    }
    EXPECT(two_nodes > 1 && f.fails_at > 20); /* where only the distances could not be read */
    test_expect_reports(test_reports());
}

TEST(acpi, whatever_bytes_stand_in_the_tables_the_answer_keeps_its_contract)
{
    struct rng rng = rng_seeded(test_seed());
    struct acpi_machine_bed m;
    unsigned seen[3] = {0};
    REQUIRE(begin(&m));
    for (unsigned round = 0; round < 2000 * test_effort(); round++) {
        acpi_bed_machine(&m, m.bed.bytes, ROOM);
        uint32_t size = m.bed.size;
        for (uint64_t changes = 1 + rng_below(&rng, 6); changes > 0; changes--) {
            uint64_t at = rng_below(&rng, size + ACPI_BED_RSDP_BYTES);
            uint8_t *byte = at < size ? &m.bed.bytes[at] : &m.bed.rsdp[at - size];
            unsigned flip = 1U << rng_below(&rng, 8), any = (unsigned)rng_below(&rng, 256);
            *byte = (uint8_t)(rng_below(&rng, 2) == 0 ? any : *byte ^ flip);
        }
        uint32_t tables[] = {0, m.srat, m.slit, m.bed.rsdt, m.bed.xsdt};
        for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
            acpi_bed_repair(&m.bed, tables[i]);
        }
        if (rng_below(&rng, 4) != 0) {
            acpi_bed_repair_rsdp(&m.bed);
        }
        enum status s = read_nodes(&m.bed);
        seen[s == STATUS_OK ? 0 : s == STATUS_ABSENT ? 1 : 2]++;
    }
    EXPECT(seen[0] > 100 && seen[1] > 100 && seen[2] > 100);
}
