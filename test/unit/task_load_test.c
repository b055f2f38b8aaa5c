/* Programs become tasks: what is where, who shares it, how they begin, and that nothing is left of one that cannot. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "lib/glob.h"
#include "pmm/pmm_pressure.h"
#include "unit/elf_bed.h"
#include "unit/task_bed.h"

enum { FILE_PAGES = (ELF_BED_BYTES + PAGE_BYTES - 1) / PAGE_BYTES };

static struct task_bed bed;
static struct elf_file file;
static struct object *object; /* the file's pages */
static struct test_pager pager;

static enum status fill(void *ctx, uint64_t page, pfn_t frame)
{
    struct test_pager *p = ctx;
    vaddr_t at;
    const enum status s = temp_map(p->vmm, frame, &at);
    for (uint64_t i = 0; i < PAGE_BYTES && s == STATUS_OK; i += sizeof(uint64_t)) {
        const uint64_t in_file = pages_to_bytes(npages(page)) + i;
        uint64_t word = 0;
        if (in_file < ELF_BED_BYTES) {
            memcpy(&word, &file.bytes[in_file], sizeof word);
        }
        arch_write64(vaddr_add(at, i), word);
    }
    p->filled++;
    return s == STATUS_OK ? temp_unmap(p->vmm, at) : s;
}

static bool open(void)
{
    if (!task_bed_open(&bed)) {
        return false;
    }
    elf_file_make(&file);
    pager = (struct test_pager){.vmm = bed.spaces.vmm};
    const struct pager p = {.name = "file", .ctx = &pager, .fill = fill};
    static_assert(ELF_BED_BYTES % sizeof(uint64_t) == 0, "read by words");
    return EXPECT_OK(object_create_paged(&bed.spaces.system, npages(FILE_PAGES), &p, &object));
}

static void close(void)
{
    EXPECT_OK(object_release(object));
    task_bed_close(&bed);
}

static enum status load(const char *args, struct task_limits limits, struct task **task, const char **why)
{
    const struct elf_source source = elf_source_of(&file);
    const enum status s = task_load(&bed.tasks, args, &source, object, limits, task, why);
    EXPECT((s == STATUS_OK) == (*why == NULL));
    EXPECT(!file.is_outside);
    return s;
}

static struct task *loaded(const char *args)
{
    struct task *task = NULL;
    const char *why = NULL;
    if (!EXPECT_OK(load(args, (struct task_limits){0}, &task, &why))) {
        test_note("%s", why);
    }
    return task;
}

/* What a segment says of memory: its bytes, then zeros. Behind it, to the page's end: any. */
static unsigned wrong_bytes(struct task *task, const struct elf64_program_header *p)
{
    static uint8_t page[PAGE_BYTES];
    unsigned wrong = 0;
    for (uint64_t at = 0; at < p->bytes;) {
        const uint64_t left = p->bytes - at, rest = PAGE_BYTES - page_offset_bytes(p->va + at);
        const uint64_t n = left < rest ? left : rest;
        EXPECT_OK(aspace_fault(&task->space, vaddr(p->va + at), VMM_READ | VMM_USER, NULL));
        EXPECT_OK(space_peek(bed.spaces.vmm, &task->space.tables, vaddr(p->va + at), page, n));
        for (uint64_t i = 0; i < n; i++, at++) {
            wrong += page[i] != (at < p->file_bytes ? file.bytes[p->offset + at] : 0);
        }
    }
    return wrong;
}

static void expect_memory(struct task *task)
{
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_EQ(wrong_bytes(task, elf_program_header(&file, i)), 0);
    }
}

static struct aspace_query query(struct task *task, uint64_t va)
{
    struct aspace_query q = {0};
    EXPECT_OK(aspace_query(&task->space, vaddr(va), &q));
    return q;
}

TEST(task_load, memory_is_what_the_file_says_with_the_rights_that_it_says)
{
    REQUIRE(open());
    struct task *task = loaded("program");
    REQUIRE(task != NULL);
    uint8_t byte = 1;
    EXPECT(task->state == TASK_READY && strcmp(task->name, "program") == 0);
    expect_memory(task);
    EXPECT_EQ(query(task, 0x401000 + 8).rights, VMM_READ | VMM_EXECUTE | VMM_USER);
    EXPECT_EQ(query(task, 0x402000).rights, VMM_READ | VMM_USER);
    EXPECT_EQ(query(task, 0x404F00).rights, VMM_READ | VMM_WRITE | VMM_USER);
    EXPECT_EQ(query(task, ELF_BED_END - 1).rights, VMM_READ | VMM_WRITE | VMM_USER);
    EXPECT_EQ(query(task, 0x400000).allowed, VMM_READ | VMM_EXECUTE | VMM_USER);
    EXPECT(!task_bed_write(&bed, task, vaddr(0x400000), &byte, 1));
    EXPECT(!task_bed_write(&bed, task, vaddr(0x402000), &byte, 1));
    EXPECT(!task_bed_read(&bed, task, vaddr(0x403000), &byte, 1));
    EXPECT(!task_bed_read(&bed, task, vaddr(ELF_BED_END), &byte, 1));
    close();
}

TEST(task_load, tasks_of_one_file_share_what_is_not_written_and_own_what_is)
{
    REQUIRE(open());
    struct task *one = loaded("one"), *two = loaded("two");
    REQUIRE(one != NULL && two != NULL);
    expect_memory(one);
    expect_memory(two);
    EXPECT_EQ(pager.filled, FILE_PAGES - 1); /* each once; its last one holds only the end of data, which is copied */
    EXPECT_EQ(query(one, 0x401000).frame.v, query(two, 0x401000).frame.v);
    EXPECT_EQ(query(one, 0x402000).frame.v, query(two, 0x402000).frame.v);
    const uint64_t written[] = {0x404F00, 0x405FFF, 0x406000 + 0x1FF, ELF_BED_DATA_END, ELF_BED_END - 1};
    const uint8_t was = 0xEE;
    for (unsigned i = 0; i < ARRAY_LEN(written); i++) {
        EXPECT(task_bed_write(&bed, one, vaddr(written[i]), &was, 1));
        uint8_t is = 0;
        EXPECT(task_bed_read(&bed, one, vaddr(written[i]), &is, 1) && is == was);
    }
    expect_memory(two);
    expect_memory(loaded("three"));
    close();
}

/*
 * Where the file's part of data ends within a page, and where all begins and ends, in any combination: as many segments
 * at once as there may be.
 */
TEST(task_load, zeros_follow_the_files_part_wherever_it_ends)
{
    REQUIRE(open());
    static const uint64_t starts[] = {0, 8, PAGE_BYTES - 1}, more[] = {0, 1, 0x2345},
                          in_file[] = {0, 1, PAGE_BYTES - 8, PAGE_BYTES, 0x1234};
    const unsigned cases = ARRAY_LEN(starts) * ARRAY_LEN(in_file) * ARRAY_LEN(more);
    elf_header(&file)->program_header_count = ELF_SEGMENTS_MAX;
    for (unsigned done = 0; done < cases; done += ELF_SEGMENTS_MAX - 1) {
        for (unsigned i = 1; i < ELF_SEGMENTS_MAX; i++) {
            const unsigned n = (done + i - 1) % cases;
            const uint64_t start = starts[n % 3], bytes = in_file[n / 3 % 5];
            *elf_program_header(&file, i) = (struct elf64_program_header){
                ELF_SEGMENT_LOAD, ELF_READ | ELF_WRITE, 0x2000 + start, 0x400000 + 0x10000 * i + start, 0,
                bytes, bytes + more[n / 15], 1};
        }
        struct task *task = loaded("program");
        for (unsigned i = 1; i < ELF_SEGMENTS_MAX && task != NULL; i++) {
            const struct elf64_program_header *p = elf_program_header(&file, i);
            if (!EXPECT_EQ(wrong_bytes(task, p), 0)) {
                test_note("at %#lx: %#lx bytes of the file, %#lx in all", p->va, p->file_bytes, p->bytes);
            }
        }
        EXPECT(task == NULL || task_end(task, TASK_KILLED, 0, "test") == STATUS_OK);
    }
    close();
}

/* ---- The start ---- */

static uint64_t word_at(struct task *task, uint64_t va)
{
    uint64_t word = 0;
    EXPECT(task_bed_read(&bed, task, vaddr(va), &word, sizeof word));
    return word;
}

static void expect_argument(struct task *task, uint64_t i, const char *expected)
{
    char text[TASK_ARGUMENT_BYTES] = "";
    const uint64_t va = word_at(task, task->context.frame.rsi + i * sizeof(uint64_t));
    EXPECT(task_bed_read(&bed, task, vaddr(va), text, strlen(expected) + 1));
    EXPECT(strcmp(text, expected) == 0);
}

TEST(task_load, a_program_begins_at_its_entry_with_arguments_on_a_stack_in_the_global_part)
{
    REQUIRE(open());
    struct task *task = loaded("\t program one  two\tthree ");
    REQUIRE(task != NULL);
    const struct interrupt_frame *f = &task->context.frame;
    EXPECT(f->rip == ELF_BED_ENTRY && f->rdx == task->id && f->rdi == 4);
    EXPECT(strcmp(task->name, "program") == 0);
    EXPECT(f->rsp % 16 == 0 && f->rsp <= f->rsi && f->rsp >= LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL));
    static const char *const words[] = {"program", "one", "two", "three"};
    for (uint64_t i = 0; i < ARRAY_LEN(words); i++) {
        expect_argument(task, i, words[i]);
    }
    EXPECT_EQ(word_at(task, f->rsi + sizeof(uint64_t[4])), 0);
    const struct aspace_query stack = query(task, f->rsp);
    EXPECT_EQ(pages_to_bytes(stack.pages), TASK_STACK_BYTES);
    EXPECT_EQ(stack.rights, VMM_READ | VMM_WRITE | VMM_USER);
    const uint8_t byte = 1;
    EXPECT(task_bed_write(&bed, task, stack.base, &byte, 1));
    EXPECT(!task_bed_write(&bed, task, vaddr(stack.base.v - 1), &byte, 1));
    struct aspace_fault why;
    EXPECT_EQ(aspace_fault(&task->space, vaddr(stack.base.v - 1), VMM_WRITE | VMM_USER, &why), STATUS_ABSENT);
    EXPECT(why.in_guard);
    close();
}

/* So many words of `length` bytes and their ends. */
static const char *words_of(unsigned count, size_t length)
{
    static char text[2 * TASK_ARGUMENT_BYTES];
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        memset(text + at, 'a' + (int)(i % 26), length - 1);
        at += length;
        text[at - 1] = ' ';
    }
    text[at] = '\0';
    return text;
}

TEST(task_load, arguments_up_to_their_limits_are_taken)
{
    REQUIRE(open());
    struct task *task = loaded(words_of(TASK_ARGUMENTS_MAX, TASK_ARGUMENT_BYTES / TASK_ARGUMENTS_MAX));
    REQUIRE(task != NULL);
    EXPECT_EQ(task->context.frame.rdi, TASK_ARGUMENTS_MAX);
    EXPECT_EQ(word_at(task, task->context.frame.rsi + TASK_ARGUMENTS_MAX * sizeof(uint64_t)), 0);
    char last[TASK_ARGUMENT_BYTES / TASK_ARGUMENTS_MAX] = {0};
    memset(last, 'a' + (TASK_ARGUMENTS_MAX - 1) % 26, sizeof last - 1);
    expect_argument(task, TASK_ARGUMENTS_MAX - 1, last);
    task = loaded(words_of(1, TASK_ARGUMENT_BYTES));
    EXPECT(task != NULL && task->context.frame.rdi == 1);
    task = loaded(" \t ");
    EXPECT(task != NULL && task->context.frame.rdi == 0 && word_at(task, task->context.frame.rsi) == 0);
    EXPECT(task != NULL && strcmp(task->name, "task") == 0);
    close();
}

/* ---- Refusals ---- */

/* Spaces, and the tasks that live; ids are given once, whatever becomes of it. */
static uint64_t digest_of_all(void) { return aspace_bed_digest(&bed.spaces) + bed.tasks.count; }

static void expect_refused(const char *args, struct task_limits limits, enum status status, const char *reason)
{
    struct task *task = NULL;
    const char *why = NULL;
    const uint64_t digest = digest_of_all(), ended = bed.tasks.ended;
    EXPECT_EQ(load(args, limits, &task, &why), status);
    if (!EXPECT(why != NULL && glob_match(reason, why))) {
        test_note("%s, not %s", why, reason);
    }
    EXPECT(task == NULL && bed.tasks.ended == ended);
    EXPECT_EQ(digest_of_all(), digest);
    EXPECT(task_bed_check(&bed));
}

TEST(task_load, what_cannot_be_loaded_leaves_nothing)
{
    REQUIRE(open());
    const struct task_limits none = {0}, few_pages = {.pages = npages(20)}, few_ranges = {.ranges = 4};
    expect_refused(words_of(TASK_ARGUMENTS_MAX + 1, 2), none, STATUS_LIMIT, "*TASK_ARGUMENTS_MAX*");
    expect_refused(words_of(1, TASK_ARGUMENT_BYTES + 1), none, STATUS_LIMIT, "*TASK_ARGUMENT_BYTES*");
    expect_refused(words_of(2, TASK_ARGUMENT_BYTES / 2 + 1), none, STATUS_LIMIT, "*TASK_ARGUMENT_BYTES*");
    expect_refused("p", few_pages, STATUS_LIMIT, "more than the task may have");
    expect_refused("p", few_ranges, STATUS_LIMIT, "more than the task may have");
    elf_program_header(&file, 2)->bytes = 4 * GIB;
    expect_refused("p", none, STATUS_LIMIT, "more than the task may have");
    elf_file_make(&file);
    elf_header(&file)->machine = 3;
    expect_refused("p", none, STATUS_UNSUPPORTED, "for another machine*");
    elf_file_make(&file);
    EXPECT_OK(object_resize(object, npages(2)));
    expect_refused("p", none, STATUS_RANGE, "its file is shorter than it says");
    close();
}

/* The frames that the object has by then are its own: they are there before, so that the digests can be equal. */
TEST(task_load, memory_that_runs_out_at_any_frame_leaves_nothing)
{
    REQUIRE(open());
    EXPECT_OK(object_populate(object, 0, npages(FILE_PAGES)));
    enum status s = STATUS_NOMEM;
    uint64_t k = 0;
    for (; s == STATUS_NOMEM; k++) {
        struct task *task = NULL;
        const char *why = NULL;
        (void)aspaces_reclaim(&bed.spaces.system, npages(UINT64_MAX));
        EXPECT_OK(object_populate(object, 0, npages(FILE_PAGES)));
        const uint64_t digest = digest_of_all();
        const struct pmm_stats st = pmm_stats(bed.spaces.vmm->pmm);
        const npages_t taken = npages(st.free.v - st.promised.v - k);
        EXPECT_OK(pmm_promise(bed.spaces.vmm->pmm, taken));
        s = load("program with arguments", (struct task_limits){0}, &task, &why);
        EXPECT_OK(pmm_unpromise(bed.spaces.vmm->pmm, taken));
        EXPECT(s == STATUS_OK ? task != NULL : s == STATUS_NOMEM && strcmp(why, "memory is short") == 0);
        EXPECT((s == STATUS_OK || digest_of_all() == digest) && task_bed_check(&bed));
        if (task != NULL) {
            expect_memory(task);
        }
    }
    EXPECT(k > 5);
    close();
}
