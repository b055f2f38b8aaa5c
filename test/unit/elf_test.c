/* Program files: what is taken, and what is refused with its reason. */
#include "lib/glob.h"
#include "unit/elf_bed.h"
#include "unit/test.h"

static struct elf_file file;

static enum status read_it(struct elf_program *program, const char **why)
{
    const struct elf_source source = elf_source_of(&file);
    const enum status s = elf_read(&source, program, why);
    EXPECT(!file.is_outside);
    EXPECT((s == STATUS_OK) == (*why == NULL));
    EXPECT(s == STATUS_OK ? elf_is_sound(program, file.count) : program->count == 0);
    return s;
}

TEST(elf, a_sound_file_is_taken_as_it_says)
{
    struct elf_program p;
    const char *why;
    elf_file_make(&file);
    EXPECT_EQ(read_it(&p, &why), STATUS_OK);
    EXPECT(p.entry.v == ELF_BED_ENTRY && p.count == 3);
    EXPECT(p.segments[0].rights == (VMM_READ | VMM_EXECUTE) && p.segments[1].rights == VMM_READ);
    const struct elf_segment *d = &p.segments[2];
    EXPECT(d->rights == (VMM_READ | VMM_WRITE) && d->va.v == 0x404F00 && d->offset == 0x2F00);
    EXPECT(d->file_bytes == 0x1300 && d->bytes == 0x5100);
}

/* What is not there, or means nothing here, does not matter. */
TEST(elf, headers_that_ask_for_nothing_are_passed_over)
{
    static const uint32_t kinds[] = {ELF_SEGMENT_NULL, ELF_SEGMENT_NOTE, ELF_SEGMENT_HEADERS, 0x6474E553, 0x70000001};
    struct elf_program p;
    const char *why;
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
        elf_file_make(&file);
        *elf_program_header(&file, 1) = (struct elf64_program_header){kinds[i], 7, ~0ULL, ~0ULL, ~0ULL, ~0ULL, 1, 3};
        EXPECT_EQ(read_it(&p, &why), STATUS_OK);
        EXPECT_EQ(p.count, 2);
    }
    elf_file_make(&file);
    elf_program_header(&file, 1)->bytes = elf_program_header(&file, 1)->file_bytes = 0;
    EXPECT_EQ(read_it(&p, &why), STATUS_OK);
    EXPECT_EQ(p.count, 2);
}

/* ---- Refusals ---- */

/* The file as it is now. `why` is a pattern. */
static void expect_refused(unsigned number, enum status status, const char *why)
{
    struct elf_program p;
    const char *said;
    if (!EXPECT_EQ(read_it(&p, &said), status) || !EXPECT(glob_match(why, said))) {
        test_note("case %u: %s, not %s", number, said, why);
    }
}

struct wrong_header {
    unsigned offset, bytes;
    uint64_t value;
    enum status status;
    const char *why;
};

#define HEADER(name) offsetof(struct elf64_header, name), sizeof(((struct elf64_header *)0)->name)

TEST(elf, a_wrong_header_is_refused_with_its_reason)
{
    static const struct wrong_header cases[] = {
        {HEADER(magic), 0x464C457E, STATUS_INVALID, "not an ELF file"},
        {HEADER(class), 1, STATUS_UNSUPPORTED, "a 32-bit file"},
        {HEADER(class), 0, STATUS_INVALID, "neither 32-bit*"},
        {HEADER(data), 2, STATUS_UNSUPPORTED, "a big-endian file"},
        {HEADER(data), 3, STATUS_INVALID, "neither little-endian*"},
        {HEADER(ident_version), 0, STATUS_INVALID, "*version 1"},
        {HEADER(version), 2, STATUS_INVALID, "*version 1"},
        {HEADER(os_abi), 9, STATUS_UNSUPPORTED, "for another system*"},
        {HEADER(machine), 3, STATUS_UNSUPPORTED, "for another machine*"},
        {HEADER(type), ELF_TYPE_SHARED, STATUS_UNSUPPORTED, "position-independent*"},
        {HEADER(type), 1, STATUS_UNSUPPORTED, "not an executable"},
        {HEADER(header_bytes), 52, STATUS_INVALID, "a header of another size*"},
        {HEADER(program_header_bytes), 32, STATUS_INVALID, "program headers of another size*"},
        {HEADER(program_header_bytes), 0, STATUS_INVALID, "program headers of another size*"},
        {HEADER(program_header_count), 0, STATUS_INVALID, "no program headers"},
        {HEADER(program_header_count), 65, STATUS_LIMIT, "*PROGRAM_HEADERS_MAX*"},
        {HEADER(program_header_count), UINT16_MAX, STATUS_LIMIT, "*PROGRAM_HEADERS_MAX*"},
        {HEADER(program_headers), ELF_BED_BYTES - 223, STATUS_INVALID, "program headers outside*"},
        {HEADER(program_headers), UINT64_MAX, STATUS_INVALID, "program headers outside*"},
        {HEADER(program_headers), UINT64_MAX - 223, STATUS_INVALID, "program headers outside*"},
        {HEADER(entry), 0, STATUS_INVALID, "an entry outside*"},
        {HEADER(entry), 0x402000, STATUS_INVALID, "an entry outside*"}, /* constants */
        {HEADER(entry), 0x401800, STATUS_INVALID, "an entry outside*"},
        {HEADER(entry), UINT64_MAX, STATUS_INVALID, "an entry outside*"},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        const struct wrong_header *c = &cases[i];
        elf_file_make(&file);
        memcpy(file.bytes + c->offset, &c->value, c->bytes);
        expect_refused(i, c->status, c->why);
    }
}

struct wrong_segment {
    unsigned header, offset, bytes; /* which one, and what of it */
    uint64_t value;
    enum status status;
    const char *why;
};

#define SEGMENT(i, name) \
    i, offsetof(struct elf64_program_header, name), sizeof(((struct elf64_program_header *)0)->name)

static const struct wrong_segment wrong_segments[] = {
    /* headers 0: code, 1: constants, 2: data, 3: stack */
    {SEGMENT(1, type), ELF_SEGMENT_INTERPRETER, STATUS_UNSUPPORTED, "*interpreter*"},
    {SEGMENT(1, type), ELF_SEGMENT_DYNAMIC, STATUS_UNSUPPORTED, "*dynamically*"},
    {SEGMENT(1, type), ELF_SEGMENT_TLS, STATUS_UNSUPPORTED, "*thread-local*"},
    {SEGMENT(1, type), 5, STATUS_UNSUPPORTED, "*unknown kind"},
    {SEGMENT(1, type), ELF_SEGMENT_OS_FIRST - 1, STATUS_UNSUPPORTED, "*unknown kind"},
    {SEGMENT(3, flags), ELF_READ | ELF_WRITE | ELF_EXECUTE, STATUS_UNSUPPORTED, "*stack that is executable"},
    {SEGMENT(0, flags), ELF_READ | ELF_WRITE | ELF_EXECUTE, STATUS_INVALID, "*writable and executable"},
    {SEGMENT(0, flags), ELF_WRITE | ELF_EXECUTE, STATUS_INVALID, "*writable and executable"},
    {SEGMENT(1, flags), 0, STATUS_INVALID, "*without any right"},
    {SEGMENT(1, flags), 8, STATUS_INVALID, "*without any right"},
    {SEGMENT(2, flags), ELF_READ, STATUS_UNSUPPORTED, "zeros in a segment*"},
    {SEGMENT(0, file_bytes), 0x1801, STATUS_INVALID, "*larger in the file*"},
    {SEGMENT(0, file_bytes), UINT64_MAX, STATUS_INVALID, "*larger in the file*"},
    {SEGMENT(0, bytes), 0x17FF, STATUS_INVALID, "*larger in the file*"},
    {SEGMENT(2, offset), 0x3F00, STATUS_INVALID, "*not wholly in the file"},
    {SEGMENT(2, offset), UINT64_MAX - 0xFF, STATUS_INVALID, "*not wholly in the file"},
    {SEGMENT(2, offset), 0x2F08, STATUS_INVALID, "*differ within the page"},
    {SEGMENT(2, align), 0x3000, STATUS_INVALID, "*no power of two"},
    {SEGMENT(2, align), 0x10000, STATUS_INVALID, "*differ in its alignment"},
    {SEGMENT(1, va), 0, STATUS_INVALID, "*first 64 KiB"},
    {SEGMENT(1, va), 0xF000, STATUS_INVALID, "*first 64 KiB"},
    {SEGMENT(1, va), 0x400000000000, STATUS_INVALID, "*outside the private part"},
    {SEGMENT(1, va), 0x7FFFFFFFE000, STATUS_INVALID, "*outside the private part"},
    {SEGMENT(1, va), 0x800000000000, STATUS_INVALID, "*outside the private part"},
    {SEGMENT(1, va), 0xFFFFFE8000000000, STATUS_INVALID, "*outside the private part"},
    {SEGMENT(1, va), 0xFFFFFFFFFFFFE000, STATUS_INVALID, "*outside the private part"},
    {SEGMENT(2, va), 0x3FFFFFFFBF00, STATUS_INVALID, "*outside the private part"}, /* its end is */
    {SEGMENT(2, bytes), UINT64_MAX, STATUS_INVALID, "*outside the private part"},
    {SEGMENT(2, bytes), UINT64_MAX - 0x404F00 + 1, STATUS_INVALID, "*outside the private part"}, /* ends at 0 */
    {SEGMENT(1, va), 0x400000, STATUS_INVALID, "segments out of order*"},
    {SEGMENT(1, va), 0x3F0000, STATUS_INVALID, "segments out of order*"},
    {SEGMENT(2, va), 0x402F00, STATUS_INVALID, "segments out of order*"}, /* apart, on one page */
    {SEGMENT(2, va), 0x401F00, STATUS_INVALID, "segments out of order*"},
};

TEST(elf, a_wrong_segment_is_refused_with_its_reason)
{
    for (unsigned i = 0; i < ARRAY_LEN(wrong_segments); i++) {
        const struct wrong_segment *c = &wrong_segments[i];
        elf_file_make(&file);
        memcpy((char *)elf_program_header(&file, c->header) + c->offset, &c->value, c->bytes);
        expect_refused(i, c->status, c->why);
    }
}

TEST(elf, too_many_segments_and_none_are_refused)
{
    elf_file_make(&file);
    elf_header(&file)->program_header_count = ELF_SEGMENTS_MAX + 1;
    for (unsigned i = 0; i <= ELF_SEGMENTS_MAX; i++) {
        const struct elf64_program_header p = {
            ELF_SEGMENT_LOAD, ELF_READ | ELF_EXECUTE, 0, 0x400000 + i * 0x2000, 0, 0x1800, 0x1800, PAGE_BYTES};
        *elf_program_header(&file, i) = p;
    }
    expect_refused(0, STATUS_LIMIT, "*ELF_SEGMENTS_MAX*");
    for (unsigned i = 0; i <= ELF_SEGMENTS_MAX; i++) {
        elf_program_header(&file, i)->type = ELF_SEGMENT_NOTE;
    }
    expect_refused(1, STATUS_INVALID, "nothing to load");
}

TEST(elf, four_gibibytes_of_zeros_are_for_the_tasks_limit_to_refuse)
{
    struct elf_program p;
    const char *why;
    elf_file_make(&file);
    elf_program_header(&file, 2)->bytes = 4 * GIB;
    EXPECT_EQ(read_it(&p, &why), STATUS_OK);
    EXPECT_EQ(p.segments[2].bytes, 4 * GIB);
}

/* The data end 256 bytes before the file does: a file cut there is still whole. */
TEST(elf, a_file_cut_anywhere_is_refused_or_whole)
{
    struct elf_program p;
    const char *why;
    elf_file_make(&file);
    for (file.count = 0; file.count < ELF_BED_BYTES; file.count++) {
        EXPECT_EQ(read_it(&p, &why) == STATUS_OK, file.count >= 0x4200);
    }
}

static bool fails(void *ctx, uint64_t at, void *to, uint64_t bytes)
{
    unsigned *left = ctx;
    return (*left)-- > 0 && read_elf_file(&file, at, to, bytes);
}

TEST(elf, a_file_that_cannot_be_read_is_refused)
{
    elf_file_make(&file);
    for (unsigned reads = 0; reads <= ELF_BED_HEADERS; reads++) {
        unsigned left = reads;
        const struct elf_source source = {.ctx = &left, .bytes = ELF_BED_BYTES, .read = fails};
        struct elf_program p;
        const char *why;
        EXPECT_EQ(elf_read(&source, &p, &why), STATUS_INVALID);
        EXPECT(why != NULL && p.count == 0);
    }
}

/* Each byte of header and program headers with each value, and two at random a few times: whatever is taken is sound.
 * */
TEST(elf, every_byte_may_have_any_value)
{
    enum { HEADERS_BYTES = sizeof(struct elf64_header) + ELF_BED_HEADERS * sizeof(struct elf64_program_header) };
    struct elf_program p;
    const char *why;
    unsigned taken = 0;
    elf_file_make(&file);
    for (unsigned at = 0; at < HEADERS_BYTES; at++) {
        const uint8_t was = file.bytes[at];
        for (unsigned value = 0; value <= UINT8_MAX; value++) {
            file.bytes[at] = (uint8_t)value;
            taken += read_it(&p, &why) == STATUS_OK;
        }
        file.bytes[at] = was;
    }
    EXPECT(taken > HEADERS_BYTES && taken < HEADERS_BYTES * 256);
    struct rng rng = rng_seeded(test_seed());
    for (unsigned i = 0; i < 20000 * test_effort(); i++) {
        uint8_t kept[HEADERS_BYTES];
        memcpy(kept, file.bytes, sizeof kept);
        for (unsigned n = 0; n < 3; n++) {
            file.bytes[rng_below(&rng, HEADERS_BYTES)] = (uint8_t)rng_next(&rng);
        }
        (void)!read_it(&p, &why);
        memcpy(file.bytes, kept, sizeof kept);
    }
}
