/*
 * The start of a program. The kernel starts a task at _start with RDI, RSI: the arguments, RDX: its id, RSP a
 * multiple of 16; a clone at clone_start with RDI: the argument, RDX: its id. A function expects RSP to be that less
 * the 8 bytes of a return address, which CALL brings.
 */
#include "user/runtime.h"

#include <stdarg.h>

#include "lib/fmt.h"

enum { CLONE_STACK_BYTES = 64 << 10 };

static unsigned id_of_this;
static int (*clone_run)(uint64_t); /* what the next clone finds in its copy */

_Noreturn void program_begin(int argc, char **argv, unsigned id);
_Noreturn void clone_begin(uint64_t argument, uint64_t unused, unsigned id);
extern const char clone_start[];

__asm__(".pushsection .text.start, \"ax\"\n"
        ".global _start\n"
        ".type _start, @function\n"
        "_start:\n"
        "    xor %ebp, %ebp\n" /* backtraces end here */
        "    call program_begin\n"
        "    ud2\n"
        ".size _start, . - _start\n"
        ".global clone_start\n"
        ".type clone_start, @function\n"
        "clone_start:\n"
        "    xor %ebp, %ebp\n"
        "    call clone_begin\n"
        "    ud2\n"
        ".size clone_start, . - clone_start\n"
        ".popsection\n");

_Noreturn __attribute__((used)) void program_begin(int argc, char **argv, unsigned id)
{
    id_of_this = id;
    call_exit(main(argc, argv));
}

_Noreturn __attribute__((used)) void clone_begin(uint64_t argument, uint64_t unused, unsigned id)
{
    (void)unused;
    id_of_this = id;
    malloc_forget();
    call_exit(clone_run(argument));
}

unsigned my_id(void) { return id_of_this; }

user_address clone_prepare(int (*run)(uint64_t))
{
    clone_run = run;
    return address_of(clone_start);
}

enum status task_begin(int (*run)(uint64_t), uint64_t argument, const struct task_keep *keep, unsigned count,
                       unsigned *id)
{
    return call_clone(clone_prepare(run), argument, keep, count, CLONE_STACK_BYTES, id);
}

void wait_for_end(unsigned id)
{
    struct message m;
    enum status s = STATUS_OK;
    while (s == STATUS_OK || s == STATUS_LIMIT) {
        static uint64_t thrown_away[(sizeof(struct task_data) + TASK_DATA_BYTES) / sizeof(uint64_t)];
        s = call_receive(id, thrown_away, sizeof thrown_away, 0, &m);
        if (s == STATUS_OK && TASK_MESSAGE_KIND(m.id) == TASK_MESSAGE_PAGES) {
            (void)!call_free(m.word0, m.word1);
        }
    }
    NEED(s == STATUS_ABSENT);
}

/* ---- Words ---- */

void say(const char *format, ...)
{
    char text[TASK_LOG_BYTES];
    struct buffer_sink b;
    va_list args;
    buffer_sink_init(&b, text, sizeof text);
    va_start(args, format);
    sink_vprintf(&b.sink, format, args);
    va_end(args);
    (void)!call_log(text, b.len);
}

_Noreturn void fail(const char *format, ...)
{
    char text[TASK_LOG_BYTES];
    struct buffer_sink b;
    va_list args;
    buffer_sink_init(&b, text, sizeof text);
    sink_printf(&b.sink, "failed: ");
    va_start(args, format);
    sink_vprintf(&b.sink, format, args);
    va_end(args);
    (void)!call_log(text, b.len);
    call_exit(1);
}

void need_status(enum status s, enum status expected, const char *call_text, int line)
{
    if (s != expected) {
        fail("line %d: %s: %s, not %s", line, call_text, status_name(s), status_name(expected));
    }
}

bool number_of(const char *text, uint64_t *number)
{
    uint64_t n = 0;
    const char *c = text;
    for (; *c >= '0' && *c <= '9'; c++) {
        const uint64_t digit = (uint64_t)(*c - '0');
        if (n > (UINT64_MAX - digit) / 10) {
            return false;
        }
        n = n * 10 + digit;
    }
    *number = n;
    return c != text && *c == '\0';
}
