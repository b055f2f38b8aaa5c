/*
 * A program becomes a task.
 *
 * 1. A segment has up to two mappings. Whole pages of the file are mapped from the file's object: read-only ones are
 *    the same frames for all who run the program, those that may be written are copied when they are (ASPACE_PRIVATE).
 *    What the file has no whole page of (the end of its part, and bss) is anonymous memory:
 *
 *          va            va + file_bytes                va + bytes
 *      ----|---------|-------|.......|.......................|-----
 *      page of the file      | page that is zeros, and the end of the file's part copied in
 *                            |      pages of zeros, when they are touched
 *
 *    So bss begins with zeros even in a page that holds data too, and no page of the file's object is ever other than
 *    the file. That one page is the only one that is brought before the program runs, beside the top of its stack.
 * 2. All of it is made in a task that is NEW: whatever fails, the task ends, and with it goes all that was made.
 * 3. The stack is in the global part, so that a pointer into it can be given to others. At its end:
 *
 *      stack ->  pointers to strings, null | the strings | end of the range
 *
 * Rejected: a pager for each segment (an object of its own for each task, so nothing would be shared); zeros written
 * into the file's last page (others map it); the whole of .data copied at once (most programs write to little of it).
 */
#include "task/load.h"

#include "lib/macros.h"
#include "lib/string.h"

/* What is at the stack's end; addresses in it are those that the task sees. */
struct arguments {
    uint64_t at[TASK_ARGUMENTS_MAX + 1]; /* null behind the last */
    char text[TASK_ARGUMENT_BYTES];
    unsigned count;
    uint64_t bytes;                      /* of text */
};

struct loading {
    struct task *task;
    const struct elf_source *source;
    struct object *file;
    const char *why;
};

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

/* at[] are offsets into the text. => OK; LIMIT. */
static enum status cut(const char *args, struct arguments *a, const char **why)
{
    a->count = 0;
    a->bytes = 0;
    for (const char *c = args; *c != '\0';) {
        while (is_blank(*c)) {
            c++;
        }
        size_t length = 0;
        while (c[length] != '\0' && !is_blank(c[length])) {
            length++;
        }
        if (length == 0) {
            break;
        }
        if (a->count == TASK_ARGUMENTS_MAX) {
            *why = "too many arguments (TASK_ARGUMENTS_MAX is 32)";
            return STATUS_LIMIT;
        }
        if (length + 1 > sizeof a->text - a->bytes) {
            *why = "arguments too long (TASK_ARGUMENT_BYTES is 2048)";
            return STATUS_LIMIT;
        }
        a->at[a->count++] = a->bytes;
        memcpy(a->text + a->bytes, c, length);
        a->text[a->bytes + length] = '\0';
        a->bytes += length + 1;
        c += length;
    }
    return STATUS_OK;
}

static const char *reason(enum status s)
{
    switch (s) {
    case STATUS_LIMIT: return "more than the task may have";
    case STATUS_NOMEM: return "memory is short";
    case STATUS_RANGE: return "its file is shorter than it says"; /* the object is */
    default: return status_name(s);
    }
}

/* ---- Segments ---- */

static enum status map(struct loading *l, vaddr_t va, npages_t pages, const struct elf_segment *segment,
                       uint64_t first, bool is_file)
{
    if (pages.v == 0) {
        return STATUS_OK;
    }
    const bool is_written = (segment->rights & VMM_WRITE) != 0;
    const struct aspace_request request = {
        .pages = pages,
        .rights = segment->rights | VMM_USER,
        .flags = ASPACE_AT | (!is_file ? 0U : is_written ? (unsigned)ASPACE_PRIVATE : (unsigned)ASPACE_FAULT_AROUND),
        .va = va,
        .object = is_file ? l->file : NULL,
        .first = first,
        .tag = (segment->rights & VMM_EXECUTE) != 0 ? "code" : is_written ? "data" : "constants",
    };
    vaddr_t at;
    return aspace_map(&l->task->space, &request, &at);
}

/* Bytes of the kernel's to where the task has anonymous memory. Within a page. */
static enum status put(struct loading *l, vaddr_t va, const void *from, uint64_t bytes)
{
    struct aspace *space = &l->task->space;
    const enum status s = aspace_fault(space, va, VMM_WRITE | VMM_USER, NULL);
    return s == STATUS_OK ? space_poke(space->system->vmm, &space->tables, va, from, bytes) : s;
}

/* The end of the file's part, which shares a page with zeros. */
static enum status put_end(struct loading *l, const struct elf_segment *segment)
{
    uint8_t bytes[PAGE_BYTES];
    const uint64_t end = segment->va.v + segment->file_bytes, in_page = page_offset_bytes(end);
    const uint64_t n = in_page < segment->file_bytes ? in_page : segment->file_bytes;
    if (!l->source->read(l->source->ctx, segment->offset + segment->file_bytes - n, bytes, n)) {
        l->why = "its file cannot be read";
        return STATUS_INVALID;
    }
    return put(l, vaddr(end - n), bytes, n);
}

static enum status load_segment(struct loading *l, const struct elf_segment *segment)
{
    const vaddr_t base = vaddr_page(segment->va);
    const uint64_t offset = page_offset_bytes(segment->va.v), end = offset + segment->file_bytes;
    const npages_t pages = bytes_to_pages_up(offset + segment->bytes);
    const bool has_zeros = segment->bytes > segment->file_bytes;
    const npages_t of_file = segment->file_bytes == 0 ? npages(0)
                             : has_zeros              ? bytes_to_pages_down(end)
                                                      : pages;
    const uint64_t first = bytes_to_pages_down(segment->offset).v;
    enum status s = map(l, base, of_file, segment, first, true);
    if (s == STATUS_OK) {
        s = map(l, vaddr_add_pages(base, of_file.v), npages(pages.v - of_file.v), segment, 0, false);
    }
    if (s == STATUS_OK && has_zeros && segment->file_bytes > 0 && !is_page_aligned(end)) {
        s = put_end(l, segment);
    }
    return s;
}

/* ---- The stack, and the start ---- */

/* => the stack pointer that the program begins with, in *stack; the vector lies there. */
static enum status put_arguments(struct loading *l, struct arguments *a, vaddr_t end, vaddr_t *stack)
{
    const uint64_t text_va = (end.v - a->bytes) & ~(uint64_t)15;
    const uint64_t vector_bytes = (a->count + 1) * sizeof a->at[0];
    for (unsigned i = 0; i < a->count; i++) {
        a->at[i] += text_va;
    }
    a->at[a->count] = 0;
    *stack = vaddr((text_va - vector_bytes) & ~(uint64_t)15);
    static_assert(sizeof *a + 32 <= PAGE_BYTES, "all of it is in the last page of the stack");
    const enum status s = put(l, *stack, a->at, vector_bytes);
    return s == STATUS_OK && a->bytes > 0 ? put(l, vaddr(text_va), a->text, a->bytes) : s;
}

static enum status load_stack(struct loading *l, struct arguments *a, vaddr_t *stack)
{
    const struct aspace_request request = {
        .pages = bytes_to_pages_up(TASK_STACK_BYTES),
        .rights = VMM_READ | VMM_WRITE | VMM_USER,
        .flags = ASPACE_GLOBAL | ASPACE_GUARD_BELOW,
        .tag = "stack",
    };
    vaddr_t base;
    const enum status s = aspace_map(&l->task->space, &request, &base);
    return s == STATUS_OK ? put_arguments(l, a, vaddr_add_pages(base, request.pages.v), stack) : s;
}

static enum status load_all(struct loading *l, const struct elf_program *program, struct arguments *a)
{
    enum status s = STATUS_OK;
    for (unsigned i = 0; i < program->count && s == STATUS_OK; i++) {
        s = load_segment(l, &program->segments[i]);
    }
    vaddr_t stack = vaddr(0);
    s = s == STATUS_OK ? load_stack(l, a, &stack) : s;
    const uint64_t arguments[3] = {a->count, stack.v, l->task->id};
    return s == STATUS_OK ? task_start(l->task, program->entry, stack, arguments) : s;
}

enum status task_load(struct tasks *tasks, const char *args, const struct elf_source *source, struct object *file,
                      struct task_limits limits, struct task **task, const char **why)
{
    struct elf_program program;
    struct arguments a;
    struct loading l = {.source = source, .file = file};
    enum status s = elf_read(source, &program, why);
    s = s == STATUS_OK ? cut(args, &a, why) : s;
    if (s != STATUS_OK) {
        return s;
    }
    s = task_create(tasks, a.count > 0 ? a.text : "task", limits, &l.task);
    if (s != STATUS_OK) {
        *why = s == STATUS_LIMIT ? "there are TASKS_MAX tasks already" : reason(s);
        return s;
    }
    s = load_all(&l, &program, &a);
    if (s != STATUS_OK) {
        *why = l.why != NULL ? l.why : reason(s);
        return task_end(l.task, TASK_KILLED, 0, *why) == STATUS_OK ? s : STATUS_CORRUPT;
    }
    *task = l.task;
    return STATUS_OK;
}
