/*
 * Programs: ELF64 files, untrusted. The whole file is looked at before anything is mapped.
 *
 * What is taken: little-endian x86-64 executables with fixed addresses (ET_EXEC), whose PT_LOAD segments lie in the
 * private part, in order, apart from each other by page, with file offset and address equal within the page. Each is
 * mapped with exactly its rights; never writable and executable. What is not written comes from the file by faults;
 * what may be written is a copy of its own. bss is zeros by faults. Anything else (an interpreter, dynamic sections
 * that need one, thread-local storage) is refused with the reason.
 */
#ifndef CAIRN_TASK_LOAD_H
#define CAIRN_TASK_LOAD_H

#include "task/task.h"

enum { ELF_SEGMENTS_MAX = 8, TASK_STACK_BYTES = 64 << 10, TASK_ARGUMENT_BYTES = 2048, TASK_ARGUMENTS_MAX = 32 };

struct elf_segment {
    vaddr_t va;                /* of its first byte */
    uint64_t bytes, file_bytes; /* in memory, in the file */
    uint64_t offset;           /* in the file */
    unsigned rights;           /* VMM_READ | VMM_WRITE | VMM_EXECUTE */
};

struct elf_program {
    vaddr_t entry;
    unsigned count;
    struct elf_segment segments[ELF_SEGMENTS_MAX];
};

/* How the file is read: may be anywhere. => false: not all of [at, at + bytes) is there; `to` is undefined. */
struct elf_source {
    void *ctx;
    uint64_t bytes;
    bool (*read)(void *ctx, uint64_t at, void *to, uint64_t bytes);
};

/*
 * Look at a whole file. Never reads outside `bytes`, whatever it says. => OK; INVALID, *why says what is wrong, in
 * words that live for ever; UNSUPPORTED: a sound file of a kind that is not taken; LIMIT: ELF_SEGMENTS_MAX.
 */
enum status elf_read(const struct elf_source *source, struct elf_program *program, const char **why);

/*
 * A task from a file: its space has the segments, a stack of TASK_STACK_BYTES in the global part with a guard below,
 * and on it `args` cut at blanks (the first is the program's name). It is READY. `file` has the file's contents from
 * its page 0 (a paged object, held by the caller only as long as the call). Addresses of no segment are touched.
 * => OK; as elf_read; LIMIT: of the task, TASK_ARGUMENTS_MAX, TASK_ARGUMENT_BYTES; NOMEM. Nothing is left of it then.
 */
enum status task_load(struct tasks *tasks, const char *args, const struct elf_source *source, struct object *file,
                      struct task_limits limits, struct task **task, const char **why);

#endif
