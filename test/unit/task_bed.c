/* The bed of tests of tasks. */
#include "unit/task_bed.h"

#include "arch/arch.h"
#include "arch/layout.h"
#include "task/message.h"
#include "unit/aspace_touch.h"
#include "unit/heap_pages.h"

/* ---- The port ---- */

/* One page's part of a copy, by a temporary mapping of its frame. */
static void copy_part(struct vmm *vmm, pfn_t frame, uint64_t offset, uint8_t *kernel, uint64_t bytes, bool writes)
{
    vaddr_t at;
    if (!EXPECT_OK(temp_map(vmm, frame, &at))) {
        return;
    }
    for (uint64_t i = 0; i < bytes; i++) {
        const uint64_t byte = offset + i, shift = byte % sizeof(uint64_t) * 8;
        const vaddr_t word = vaddr_add(at, byte - byte % sizeof(uint64_t));
        const uint64_t value = arch_read64(word);
        if (writes) {
            arch_write64(word, (value & ~(0xFFUL << shift)) | (uint64_t)kernel[i] << shift);
        } else {
            kernel[i] = (uint8_t)(value >> shift);
        }
    }
    EXPECT_OK(temp_unmap(vmm, at));
}

/* => bytes that were not copied */
static uint64_t copy(struct task *task, vaddr_t va, uint8_t *kernel, uint64_t bytes, unsigned access)
{
    while (bytes > 0) {
        const uint64_t offset = page_offset_bytes(va.v), room = PAGE_BYTES - offset;
        const uint64_t n = bytes < room ? bytes : room;
        if (aspace_fault(&task->space, va, access | VMM_USER, NULL) != STATUS_OK) {
            return bytes;
        }
        copy_part(task->space.system->vmm, pfn(frame_shown(&task->space, va)), offset, kernel, n,
                  (access & VMM_WRITE) != 0);
        va = vaddr_add(va, n);
        kernel += n;
        bytes -= n;
    }
    return 0;
}

static uint64_t copy_in(void *ctx, struct task *task, void *to, vaddr_t from, uint64_t bytes)
{
    struct task_bed *bed = ctx;
    EXPECT(task == bed->tasks.running && bed->spaces.vmm->current == &task->space.tables);
    return copy(task, from, to, bytes, VMM_READ);
}

static uint64_t copy_out(void *ctx, struct task *task, vaddr_t to, const void *from, uint64_t bytes)
{
    struct task_bed *bed = ctx;
    EXPECT(task == bed->tasks.running && bed->spaces.vmm->current == &task->space.tables);
    return copy(task, to, (uint8_t *)(uintptr_t)from, bytes, VMM_WRITE);
}

static uint64_t ticks(void *ctx) { return ++((struct task_bed *)ctx)->ticks; }

static void log_text(void *ctx, const struct task *task, const char *text, size_t bytes)
{
    struct task_bed *bed = ctx;
    EXPECT(task == bed->tasks.running && bytes <= sizeof bed->log);
    memcpy(bed->log, text, bytes);
    bed->log_bytes = bytes;
    bed->logs++;
}

static enum status module(void *ctx, const char *name, struct object **object)
{
    struct task_bed *bed = ctx;
    *object = bed->module;
    return strcmp(name, "module") == 0 ? STATUS_OK : STATUS_ABSENT;
}

static void leave(void *ctx, struct aspace *space)
{
    struct task_bed *bed = ctx;
    bed->leaves++;
    if (bed->spaces.vmm->current == &space->tables) {
        EXPECT_OK(space_switch(bed->spaces.vmm, bed->spaces.home));
    }
}

/* ---- Open and close ---- */

bool task_bed_open(struct task_bed *bed)
{
    memset(bed, 0, sizeof *bed);
    const struct task_port port = {.ctx = bed, .copy_in = copy_in, .copy_out = copy_out, .ticks = ticks,
                                   .log = log_text, .module = module, .leave = leave};
    const struct heap_source pages = heap_pages_begin(TASK_BED_HEAP_PAGES);
    if (pages.pages_get == NULL || !aspace_bed_open(&bed->spaces)) {
        return false;
    }
    const struct pager pager = test_pager(&bed->pager, bed->spaces.vmm, 0x1234);
    bool ok = EXPECT_OK(heap_init(&bed->heap, pages)) &&
              EXPECT_OK(object_create_paged(&bed->spaces.system, npages(TASK_BED_MODULE_PAGES), &pager,
                                            &bed->module)) &&
              EXPECT_OK(tasks_init(&bed->tasks, &bed->spaces.system, &bed->heap, &port));
    bed->a = ok ? task_bed_task(bed, (struct task_limits){0}, &bed->page[0]) : NULL;
    bed->b = ok ? task_bed_task(bed, (struct task_limits){0}, &bed->page[1]) : NULL;
    bed->c = ok ? task_bed_task(bed, (struct task_limits){0}, &bed->page[2]) : NULL;
    return bed->c != NULL;
}

bool task_bed_check(struct task_bed *bed)
{
    static char text[2048];
    struct buffer_sink b;
    buffer_sink_init(&b, text, sizeof text);
    const bool ok = tasks_check(&bed->tasks, &b.sink) == STATUS_OK && heap_check(&bed->heap, &b.sink) == STATUS_OK;
    if (!ok) {
        test_note("tasks_check: %s", text);
    }
    return aspace_bed_check(&bed->spaces) && ok;
}

void task_bed_close(struct task_bed *bed)
{
    EXPECT(task_bed_check(bed));
    while (bed->tasks.first != NULL) {
        EXPECT_OK(task_end(bed->tasks.first, TASK_KILLED, 0, "the test is over"));
    }
    EXPECT_OK(tasks_end(&bed->tasks));
    (void)heap_shrink(&bed->heap);
    EXPECT_EQ(heap_pages_out(), 0);
    EXPECT_OK(object_release(bed->module));
    aspace_bed_close(&bed->spaces);
}

/* ---- Tasks ---- */

struct task *task_bed_task(struct task_bed *bed, struct task_limits limits, vaddr_t *page)
{
    struct task *task = NULL;
    const uint64_t none[3] = {0};
    if (!EXPECT_OK(task_create(&bed->tasks, "test", limits, &task))) {
        return NULL;
    }
    if (page != NULL) {
        *page = map_it(&task->space, want(npages(TASK_BED_PAGES), ARW | VMM_USER, ASPACE_GLOBAL));
        for (unsigned i = 0; i < TASK_BED_PAGES; i++) {
            EXPECT_OK(touch(&task->space, vaddr_add_pages(*page, i), VMM_WRITE | VMM_USER));
        }
    }
    EXPECT_OK(task_start(task, vaddr(TASK_BED_ENTRY), vaddr(page != NULL ? page->v : 0), none));
    return task;
}

bool task_bed_run(struct task_bed *bed, struct task *task)
{
    for (unsigned i = 0; bed->tasks.running != task && i <= bed->tasks.count; i++) {
        (void)tasks_next(&bed->tasks);
    }
    return EXPECT(bed->tasks.running == task) &&
           EXPECT_OK(space_switch(bed->spaces.vmm, &task->space.tables));
}

/* ---- Calls ---- */

static bool is_same_but(const struct interrupt_frame *a, const struct interrupt_frame *b, bool value_may_differ)
{
    struct interrupt_frame x = *a;
    x.rax = b->rax;
    x.rdx = value_may_differ ? b->rdx : x.rdx;
    return memcmp(&x, b, sizeof x) == 0;
}

unsigned task_bed_call(struct task_bed *bed, struct task *task, uint64_t number, struct task_words words)
{
    if (!task_bed_run(bed, task)) {
        return TASK_BED_WAITS;
    }
    struct interrupt_frame *f = &task->context.frame;
    const uint64_t *w = words.at;
    f->rdi = w[0], f->rsi = w[1], f->rdx = w[2], f->r10 = w[3], f->r8 = w[4], f->r9 = w[5];
    f->rax = number;
    const struct interrupt_frame before = *f;
    const uint64_t calls = task->calls, digest = bed->is_lax ? 0 : task_bed_digest(bed);
    const bool goes_on = task_call(&bed->tasks, task);
    if (!goes_on) {
        EXPECT(bed->is_lax || task_bed_check(bed));
        return TASK_BED_WAITS;
    }
    EXPECT_EQ(task->calls, calls + 1);
    const unsigned s = (unsigned)f->rax;
    if (bed->is_lax) {
        return s;
    }
    bool ok = EXPECT(task_bed_check(bed));
    if (s != STATUS_OK) {
        ok = EXPECT(is_same_but(&before, f, number == TASK_RECEIVE && s == STATUS_LIMIT)) && ok;
        const struct interrupt_frame after = *f;
        task->calls = calls;
        *f = before;
        ok = EXPECT_EQ(task_bed_digest(bed), digest) && ok;
        task->calls = calls + 1;
        *f = after;
    }
    if (!ok) {
        test_note("call %lu(%#lx, %#lx, %#lx, %#lx, %#lx, %#lx): %s", number, w[0], w[1], w[2], w[3], w[4], w[5],
                  status_name((enum status)s));
    }
    return s;
}

bool task_bed_read(struct task_bed *bed, struct task *task, vaddr_t va, void *to, uint64_t bytes)
{
    (void)bed;
    return copy(task, va, to, bytes, VMM_READ) == 0;
}

bool task_bed_write(struct task_bed *bed, struct task *task, vaddr_t va, const void *from, uint64_t bytes)
{
    (void)bed;
    return copy(task, va, (uint8_t *)(uintptr_t)from, bytes, VMM_WRITE) == 0;
}

/* ---- All that can be seen ---- */

static void mix(uint64_t *digest, uint64_t word)
{
    *digest = (*digest ^ word) * 0x9E3779B97F4A7C15;
    *digest ^= *digest >> 29;
}

static void mix_bytes(uint64_t *digest, const void *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        mix(digest, ((const uint8_t *)at)[i]);
    }
}

static void mix_task(uint64_t *digest, const struct task *t)
{
    mix(digest, t->id);
    mix(digest, t->state);
    mix(digest, t->state == TASK_WAITING ? t->waits_for : 0);
    mix(digest, t->messages);
    mix(digest, t->calls);
    mix(digest, t->switches);
    mix(digest, t->next_ready != NULL ? t->next_ready->id : 0);
    mix(digest, t->limits.pages.v);
    mix(digest, t->limits.ranges);
    mix(digest, t->limits.messages);
    mix_bytes(digest, t->name, sizeof t->name);
    for (size_t i = 0; i < sizeof t->context.frame / sizeof(uint64_t); i++) {
        mix(digest, ((const uint64_t *)(const void *)&t->context.frame)[i]);
    }
    for (const struct task_message *m = t->first; m != NULL; m = m->next) {
        mix(digest, m->id);
        mix(digest, m->time);
        mix(digest, m->sender);
        mix(digest, m->words[0]);
        mix(digest, m->words[1]);
        if (m->id >> 56 == TASK_MESSAGE_DATA) {
            mix_bytes(digest, m->data, m->bytes);
        }
    }
}

uint64_t task_bed_digest(struct task_bed *bed)
{
    uint64_t digest = aspace_bed_digest(&bed->spaces);
    for (const struct task *t = bed->tasks.first; t != NULL; t = t->next) {
        mix_task(&digest, t);
    }
    mix(&digest, bed->tasks.count);
    mix(&digest, bed->tasks.messages);
    mix(&digest, bed->tasks.next_message);
    mix(&digest, bed->tasks.next_id);
    mix(&digest, bed->tasks.ended);
    mix(&digest, bed->logs);
    mix(&digest, bed->tasks.ready_first != NULL ? bed->tasks.ready_first->id : 0);
    mix(&digest, bed->tasks.running != NULL ? bed->tasks.running->id : 0);
    return digest;
}

struct task_bed_memory task_bed_memory(struct task_bed *bed)
{
    (void)heap_shrink(&bed->heap);
    (void)aspaces_reclaim(&bed->spaces.system, npages(UINT64_MAX));
    return (struct task_bed_memory){heap_pages_out(), vmm_bed_frames(bed->spaces.vmm)};
}
