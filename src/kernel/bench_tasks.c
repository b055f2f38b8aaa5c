/*
 * Tasks: what they pay for calls and messages, by their own clock, and what a start and an end cost, from here.
 * Programs of a few instructions each; no timer runs, so nothing comes between.
 */
#include "arch/arch.h"
#include "kernel/bench.h"
#include "kernel/program.h"
#include "kernel/task_run.h"
#include "lib/string.h"
#include "task/elf64.h"
#include "task/load.h"

enum { TASK_LOOPS = 500, TASK_STARTS = 20 };

#define STRING_OF(x) #x
#define STRING(x) STRING_OF(x)
#define CALL(number) "mov $" STRING(number) ", %eax\n"
#define NUMBER_EXIT 1
#define NUMBER_ALLOC 2
#define NUMBER_SEND 12
#define NUMBER_RECEIVE 13
#define GIVE_READ_WRITE 0x100003
#define READ_WRITE_POPULATE 0x20003
static_assert(TASK_YIELD == 0 && TASK_EXIT == NUMBER_EXIT && TASK_ALLOC == NUMBER_ALLOC, "as the programs say");
static_assert(TASK_SEND == NUMBER_SEND && TASK_RECEIVE == NUMBER_RECEIVE, "likewise");
static_assert((TASK_GIVE | TASK_READ | TASK_WRITE) == GIVE_READ_WRITE, "likewise");
static_assert((TASK_POPULATE | TASK_READ | TASK_WRITE) == READ_WRITE_POPULATE, "likewise");

/* RDI: loops, RSI: the partner. Each ends with its ticks; or with 0, when a call was refused. */
#define CLOCK(to) "rdtsc\n shl $32, %rdx\n or %rdx, %rax\n mov %rax, " to "\n"
#define EXIT CALL(NUMBER_EXIT) "syscall\n"
#define RECEIVE(from) CALL(NUMBER_RECEIVE) from "xor %edx, %edx\n xor %r10d, %r10d\n syscall\n"
#define TIMED(loop) \
    "mov %rdi, %rbx\n mov %rsi, %rbp\n" CLOCK("%r12") "1: " loop "dec %rbx\n jnz 1b\n" CLOCK("%rdi") \
    "sub %r12, %rdi\n" EXIT
#define FAILS_OR "test %eax, %eax\n jnz 9f\n"
#define FAILED "9: xor %edi, %edi\n" EXIT

USER_CODE(task_nothing, TIMED("xor %eax, %eax\n"));
USER_CODE(task_yields, TIMED("xor %eax, %eax\n syscall\n"));
USER_CODE(task_sends, TIMED(CALL(NUMBER_SEND) "mov %rbp, %rdi\n xor %r9d, %r9d\n syscall\n" FAILS_OR
                            RECEIVE("mov %rbp, %rdi\n")) FAILED);
USER_CODE(task_answers, "1: " RECEIVE("xor %edi, %edi\n") CALL(NUMBER_SEND)
                        "mov %r8, %rsi\n mov %r9, %rdx\n xor %r9d, %r9d\n syscall\n jmp 1b");
/* Each takes a page that stays, so that both have tables there, as they would have for their stacks. */
#define PAGE \
    CALL(NUMBER_ALLOC) "mov $4096, %edi\n mov $" STRING(READ_WRITE_POPULATE) ", %esi\n xor %edx, %edx\n syscall\n"
USER_CODE(task_gives, "mov %rdi, %r13\n mov %rsi, %r14\n" PAGE PAGE FAILS_OR
                      "mov %rdx, %r15\n mov %r13, %rdi\n mov %r14, %rsi\n"
                      TIMED("movq %r12, (%r15)\n" CALL(NUMBER_SEND) "mov %rbp, %rdi\n mov %r15, %r10\n"
                            "mov $4096, %r8d\n mov $" STRING(GIVE_READ_WRITE) ", %r9d\n syscall\n" FAILS_OR
                            RECEIVE("mov %rbp, %rdi\n")) FAILED);
USER_CODE(task_gives_back, PAGE "1: " RECEIVE("xor %edi, %edi\n") "incq (%r8)\n" CALL(NUMBER_SEND)
                           "mov %r8, %r10\n mov %r9, %r8\n mov $" STRING(GIVE_READ_WRITE) ", %r9d\n syscall\n jmp 1b");
/* The tick of its first instruction; that before its end, when all its pages have been touched. */
USER_CODE(task_starts, CLOCK("%rdi") EXIT);
USER_CODE(task_touches, "mov $0x400000, %rsi\n mov $11, %ecx\n 1: mov (%rsi), %rax\n add $4096, %rsi\n dec %ecx\n"
                        "jnz 1b\n mov $0x600000, %rsi\n mov $8, %ecx\n 1: mov %rcx, (%rsi)\n add $4096, %rsi\n"
                        "dec %ecx\n jnz 1b\n" CLOCK("%rdi") EXIT);
static_assert(PROGRAM_CODE == 0x400000 && PROGRAM_DATA == 0x600000, "as the program says");

struct bench_program {
    const uint8_t *code, *end;
    struct pager_bytes bytes;
    struct task *task;
};

/* A NEW task with the code alone, begun with two arguments. */
static enum status start(struct bench_program *p, uint64_t first, uint64_t second)
{
    struct tasks *tasks = &machine.tasks;
    struct object *code;
    p->bytes = (struct pager_bytes){p->code, (uint64_t)(p->end - p->code)};
    const struct pager pager = pager_of_bytes(&p->bytes);
    enum status s = task_create(tasks, "bench", (struct task_limits){0}, &p->task);
    if (s != STATUS_OK) {
        return s;
    }
    s = object_create_paged(&machine.aspaces, bytes_to_pages_up(p->bytes.count), &pager, &code);
    if (s == STATUS_OK) {
        struct aspace_request r = {.pages = bytes_to_pages_up(p->bytes.count), .flags = ASPACE_AT,
                                   .rights = VMM_READ | VMM_EXECUTE | VMM_USER, .va = vaddr(PROGRAM_CODE),
                                   .object = code, .tag = "code"};
        vaddr_t at;
        s = aspace_map(&p->task->space, &r, &at);
        (void)!object_release(code);
    }
    const uint64_t arguments[3] = {first, second};
    return s == STATUS_OK ? task_start(p->task, vaddr(PROGRAM_CODE), vaddr(PROGRAM_STACK), arguments) : s;
}

static enum status end(struct bench_program *p)
{
    return p->task != NULL ? task_end(p->task, TASK_KILLED, 0, "bench") : STATUS_OK;
}

/* => OK, *ticks: what it ended with; UNSUPPORTED: it did not get through. */
static enum status run_to_end(unsigned id, uint64_t *ticks)
{
    const struct tasks *tasks = &machine.tasks;
    while (tasks_find(tasks, id) != NULL && task_run_alone() != TASK_RUN_NONE) {
    }
    const struct task_end *e = tasks_find_end(tasks, id);
    *ticks = e != NULL ? (uint64_t)e->code : 0;
    return e != NULL && e->how == TASK_EXITED && e->code > 0 ? STATUS_OK : STATUS_UNSUPPORTED;
}

/* Ticks of `loops` of the first program, of which the second is the partner (none where it has no code). */
static enum status time_pair(struct bench_program pair[2], uint64_t loops, uint64_t *ticks)
{
    enum status s = pair[1].code != NULL ? start(&pair[1], 0, 0) : STATUS_OK;
    if (s == STATUS_OK) {
        s = start(&pair[0], loops, pair[1].task != NULL ? pair[1].task->id : 0);
    }
    if (s == STATUS_OK) {
        const unsigned id = pair[0].task->id;
        s = run_to_end(id, ticks);
        pair[0].task = tasks_find(&machine.tasks, id);
    }
    const enum status first = end(&pair[0]), second = end(&pair[1]);
    return s != STATUS_OK ? s : first != STATUS_OK ? first : second;
}

enum { YIELD, WORDS, PAGES };

/* What the loop takes by itself is taken off: 3 instructions. What a program does between its calls is not. */
static enum status bench_calls(const struct bench *bench, struct bench_result *result)
{
    struct bench_program off[2] = {{.code = task_nothing, .end = task_nothing_end}};
    struct bench_program pairs[][2] = {
        [YIELD] = {{.code = task_yields, .end = task_yields_end}},
        [WORDS] = {{.code = task_sends, .end = task_sends_end}, {.code = task_answers, .end = task_answers_end}},
        [PAGES] = {{.code = task_gives, .end = task_gives_end}, {.code = task_gives_back, .end = task_gives_back_end}},
    };
    if (machine.tasks.count > 0 || !machine.cpu.syscall) {
        return machine.tasks.count > 0 ? STATUS_EXISTS : STATUS_UNSUPPORTED;
    }
    uint64_t ticks, empty = 0;
    enum status s = time_pair(pairs[bench->flags], TASK_LOOPS, &ticks);
    if (s == STATUS_OK && bench->flags == YIELD) {
        s = time_pair(off, TASK_LOOPS, &empty);
    }
    if (s == STATUS_OK) {
        *result = (struct bench_result){.ops = TASK_LOOPS, .ticks = ticks - empty};
    }
    (void)aspaces_reclaim(&machine.aspaces, npages(UINT64_MAX));
    return s;
}

/* ---- Start and end: an ELF file of 64 KiB ---- */

enum { CODE_PAGES = 11, DATA_PAGES = 4, BSS_PAGES = 4, FILE_BYTES = (1 + CODE_PAGES + DATA_PAGES) * PAGE_BYTES };
static_assert(FILE_BYTES == 64 << 10, "as the names say");

/* `code` in a program of a page of headers, pages of code and of data, and zeros. */
static void write_file(uint8_t *file, const uint8_t *code, const uint8_t *code_end)
{
    const struct elf64_header header = {
        .magic = {0x7F, 'E', 'L', 'F'}, .class = ELF_CLASS_64, .data = ELF_DATA_LITTLE, .ident_version = ELF_VERSION,
        .type = ELF_TYPE_EXECUTABLE, .machine = ELF_MACHINE_X86_64, .version = ELF_VERSION, .entry = PROGRAM_CODE,
        .program_headers = sizeof header, .header_bytes = sizeof header,
        .program_header_bytes = sizeof(struct elf64_program_header), .program_header_count = 2,
    };
    const struct elf64_program_header segments[2] = {
        {.type = ELF_SEGMENT_LOAD, .flags = ELF_READ | ELF_EXECUTE, .offset = PAGE_BYTES, .va = PROGRAM_CODE,
         .file_bytes = CODE_PAGES * PAGE_BYTES, .bytes = CODE_PAGES * PAGE_BYTES, .align = PAGE_BYTES},
        {.type = ELF_SEGMENT_LOAD, .flags = ELF_READ | ELF_WRITE, .offset = (1 + CODE_PAGES) * PAGE_BYTES,
         .va = PROGRAM_DATA, .file_bytes = DATA_PAGES * PAGE_BYTES, .bytes = (DATA_PAGES + BSS_PAGES) * PAGE_BYTES,
         .align = PAGE_BYTES},
    };
    memset(file, 0, FILE_BYTES);
    memcpy(file, &header, sizeof header);
    memcpy(file + sizeof header, segments, sizeof segments);
    memcpy(file + PAGE_BYTES, code, (size_t)(code_end - code));
}

static bool read_file(void *ctx, uint64_t at, void *to, uint64_t bytes)
{
    memcpy(to, (const uint8_t *)ctx + at, bytes);
    return true;
}

/* One life. *started, *ended: what these took, as far as the program can tell the one or the other. */
static enum status live(const struct elf_source *source, struct object *object, uint64_t *started, uint64_t *ended)
{
    struct task *task;
    const char *why;
    uint64_t told;
    const uint64_t before = arch_ticks();
    enum status s = task_load(&machine.tasks, "bench", source, object, (struct task_limits){0}, &task, &why);
    if (s == STATUS_OK) {
        s = run_to_end(task->id, &told);
        *ended = arch_ticks() - told;
        *started = told - before;
    }
    return s;
}

enum { START, EXIT_TOO };

static enum status lives(const struct bench *bench, const struct elf_source *source, struct object *object,
                         struct bench_result *result)
{
    enum status s = STATUS_OK;
    uint64_t started, ended;
    for (unsigned i = 0; i <= TASK_STARTS && s == STATUS_OK; i++) {
        s = live(source, object, &started, &ended);
        if (s == STATUS_OK && i > 0) { /* the first one fills the file's pages */
            result->ops++;
            result->ticks += bench->flags == START ? started : ended;
        }
    }
    return s;
}

static enum status bench_lives(const struct bench *bench, struct bench_result *result)
{
    if (machine.tasks.count > 0 || !machine.cpu.syscall) {
        return machine.tasks.count > 0 ? STATUS_EXISTS : STATUS_UNSUPPORTED;
    }
    uint8_t *file = heap_alloc(&machine.heap, FILE_BYTES);
    if (file == NULL) {
        return STATUS_NOMEM;
    }
    if (bench->flags == START) {
        write_file(file, task_starts, task_starts_end);
    } else {
        write_file(file, task_touches, task_touches_end);
    }
    const struct elf_source source = {.ctx = file, .bytes = FILE_BYTES, .read = read_file};
    const struct pager_bytes bytes = {file, FILE_BYTES};
    const struct pager pager = pager_of_bytes(&bytes);
    struct object *object;
    enum status s = object_create_paged(&machine.aspaces, bytes_to_pages_up(FILE_BYTES), &pager, &object);
    if (s == STATUS_OK) {
        s = lives(bench, &source, object, result);
        const enum status released = object_release(object);
        s = s == STATUS_OK ? released : s;
    }
    const enum status freed = heap_free(&machine.heap, file);
    (void)aspaces_reclaim(&machine.aspaces, npages(UINT64_MAX));
    return s == STATUS_OK ? freed : s;
}

const struct bench bench_tasks[] = {
    {"tasks_call", "a system call that does nothing (YIELD alone)", bench_calls, YIELD, 0},
    {"tasks_words", "a message of words to another task, and one back", bench_calls, WORDS, 0},
    {"tasks_page", "a page given to another task, written to, and given back", bench_calls, PAGES, 0},
    {"tasks_start", "a program of 64 KiB: to its first instruction", bench_lives, START, 0},
    {"tasks_exit", "its end, all of its pages having been touched", bench_lives, EXIT_TOO, 0},
    {0},
};
