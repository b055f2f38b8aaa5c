/* What tasks need of the machine: their memory, its clock, the console, boot modules. */
#include "arch/x86_64/cpu.h"
#include "kernel/console.h"
#include "kernel/current.h"
#include "kernel/line.h"
#include "kernel/pagers.h"
#include "kernel/task_run.h"
#include "kernel/usercopy.h"
#include "lib/string.h"

static uint64_t copy_in(void *ctx, struct task *task, void *to, vaddr_t from, uint64_t bytes)
{
    (void)ctx;
    (void)task; /* it runs: its space is current */
    return copy_from_user(to, from, bytes);
}

static uint64_t copy_out(void *ctx, struct task *task, vaddr_t to, const void *from, uint64_t bytes)
{
    (void)ctx;
    (void)task;
    return copy_to_user(to, from, bytes);
}

static uint64_t ticks(void *ctx)
{
    (void)ctx;
    return read_tsc(); /* arch_ticks, without a call: each message and each switch asks */
}

static bool is_printable(char c) { return c >= ' ' && c <= '~'; }

/* A line for each of the text's; what a terminal would act upon is told in hexadecimal. */
static void log_text(void *ctx, const struct task *task, const char *text, size_t bytes)
{
    (void)ctx;
    line_aside();
    for (size_t i = 0; i < bytes || i == 0; i++) {
        print("[%s %u] ", task->name, task->id);
        for (; i < bytes && text[i] != '\n'; i++) {
            print(is_printable(text[i]) && text[i] != '\\' ? "%c" : "\\x%02x", (unsigned char)text[i]);
        }
        print("\n");
    }
}

/* ---- Modules ---- */

/* Is `name` the first word of the arguments, or what stands in it behind the last slash? */
static bool is_named(const char *args, const char *name, size_t bytes)
{
    const char *end = args;
    while (*end != '\0' && *end != ' ') {
        end++;
    }
    const size_t length = (size_t)(end - args);
    return bytes > 0 && bytes <= length && strncmp(end - bytes, name, bytes) == 0 &&
           (bytes == length || end[-1 - (ptrdiff_t)bytes] == '/');
}

struct module *task_module_find(const char *name, size_t bytes)
{
    for (size_t i = 0; i < machine.module_count; i++) {
        if (is_named(machine.modules[i].args, name, bytes)) {
            return &machine.modules[i];
        }
    }
    return NULL;
}

enum status task_module_object(struct module *module, struct object **object)
{
    enum status s = STATUS_OK;
    if (module->object == NULL) {
        const struct pager pager = pager_of_module(module);
        s = object_create_paged(&machine.aspaces, module_pages(module), &pager, &module->object);
    }
    *object = module->object;
    return s;
}

static enum status module(void *ctx, const char *name, struct object **object)
{
    (void)ctx;
    struct module *found = task_module_find(name, strlen(name));
    return found != NULL ? task_module_object(found, object) : STATUS_ABSENT;
}

static void leave(void *ctx, struct aspace *space)
{
    struct current *before = ctx;
    if (machine.vmm.current == &space->tables) {
        current_leave();
    }
    if (before->tables == &space->tables) {
        *before = (struct current){&machine.vmm.kernel, NULL};
    }
}

struct task_port task_port_of_machine(struct current *before)
{
    return (struct task_port){.ctx = before,
                              .copy_in = copy_in,
                              .copy_out = copy_out,
                              .ticks = ticks,
                              .log = log_text,
                              .module = module,
                              .leave = leave};
}
