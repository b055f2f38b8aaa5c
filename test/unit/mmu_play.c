/* Running histories of the VMM. */
#include "unit/mmu_play_share.h"

#include "arch/arch.h"
#include "arch/layout.h"
#include "model/cpu.h"
#include "unit/mmu_play_kinds.h"
#include "unit/mmu_play_large.h"
#include "unit/mmu_play_low.h"
#include "unit/mmu_play_some.h"
#include "unit/test.h"

enum { KERNEL_PLACES = 4, CHECK_EVERY = 1024, USED_PAGES = 4 };

/* Each part lies over the end of a table of another level. */
static const uint64_t part_base[PLAY_PARTS] = {
    0x0000012340000000 + 400ULL * PAGE_BYTES,
    LAYOUT_SLOT_BASE(LAYOUT_SLOT_GLOBAL) + (1ULL << 31) - 300ULL * PAGE_BYTES,
    LAYOUT_SLOT_BASE(9) - 350ULL * PAGE_BYTES,
};

struct play {
    struct vmm vmm;
    struct space space[PLAY_SPACES];
    struct page_record page[PLAY_SPACES][PLAY_PARTS][PLAY_PART_PAGES];
    struct page_record blank[PLAY_PARTS][PLAY_PART_PAGES];
    vaddr_t kernel[KERNEL_PLACES]; /* 0: none */
    struct space *other_current;   /* what the VMM keeps for a CPU, of the one that does not run just now */
    struct vmm_foreign other_foreign;
    uint64_t numbers;
    struct play_result result;
};

static struct play play;

void play_fail(const char *format, ...)
{
    if (!play.result.failed) {
        va_list args;
        va_start(args, format);
        struct buffer_sink b;
        buffer_sink_init(&b, play.result.text, sizeof play.result.text);
        sink_vprintf(&b.sink, format, args);
        va_end(args);
        play.result.failed = true;
    }
}
#define fail(p, ...) ((void)(p), play_fail(__VA_ARGS__))

static void count_change(struct play *p, enum status s) { p->result.changes += s == STATUS_OK; }

static void expect_status(struct play *p, enum status s, enum status expected)
{
    if (s != expected) {
        fail(p, "the answer is %s, not %s", status_name(s), status_name(expected));
    }
}

/* What another part found wrong. */
static void expect_right(struct play *p, const char *wrong)
{
    if (wrong != NULL) {
        fail(p, "%s", wrong);
    }
}

static vaddr_t address(const struct play_op *op)
{
    return vaddr_add_pages(vaddr(part_base[op->part]), op->first);
}

static bool all_are(const struct page_record *page, unsigned n, bool mapped)
{
    for (unsigned i = 0; i < n; i++) {
        if (page[i].mapped != mapped) {
            return false;
        }
    }
    return true;
}

static void run_map(struct play *p, const struct play_op *op, struct page_record *page)
{
    struct space *space = &p->space[op->space];
    bool is_device = op->kind == PLAY_MAP_FRAMES, is_free = all_are(page, op->pages, false);
    enum status expected = !is_free ? STATUS_EXISTS : is_device ? play_device_expected(&p->vmm, op) : STATUS_OK;
    enum status s = is_device ? vmm_map_frames(&p->vmm, space, address(op), play_device_first(op), npages(op->pages),
                                               op->rights | play_device_type(op), false)
                              : vmm_map(&p->vmm, space, address(op), npages(op->pages), op->rights);
    if (is_free && s == STATUS_NOMEM) {
        return;
    }
    expect_status(p, s, expected);
    count_change(p, s);
    for (unsigned i = 0; s == STATUS_OK && is_free && i < op->pages; i++) {
        page[i] = (struct page_record){.mapped = true, .device = is_device, .rights = op->rights};
        if (is_device) {
            play_device_mapped(op, i, &page[i]);
        }
    }
}

static void run_change(struct play *p, const struct play_op *op, struct page_record *page)
{
    struct space *space = &p->space[op->space];
    bool mapped = all_are(page, op->pages, true), unmaps = op->kind == PLAY_UNMAP;
    enum status s = unmaps ? vmm_unmap(&p->vmm, space, address(op), npages(op->pages))
                           : vmm_protect(&p->vmm, space, address(op), npages(op->pages), op->rights);
    expect_status(p, s, mapped ? STATUS_OK : STATUS_ABSENT);
    count_change(p, s);
    for (unsigned i = 0; mapped && i < op->pages; i++) {
        play_change_page(op, &page[i]);
    }
    if (!mapped && op->first % 2 == 0) {
        expect_right(p, play_present(&p->vmm, space, address(op), op, page));
        p->result.changes++;
    }
}

static void run_clear(struct play *p, const struct play_op *op)
{
    struct page_record *page = p->page[op->space][op->part];
    for (unsigned first = 0, n; first < PLAY_PART_PAGES; first += n) {
        n = 1;
        while (page[first].mapped && first + n < PLAY_PART_PAGES && page[first + n].mapped) {
            n++;
        }
        if (page[first].mapped) {
            struct play_op unmap = {PLAY_UNMAP, op->space, op->part, 0, (uint16_t)first, (uint16_t)n};
            run_change(p, &unmap, &page[first]);
        }
    }
}

/* Read the page's word and, where it may be, write another one. */
static void touch(struct play *p, vaddr_t va, struct page_record *page)
{
    uint64_t number = arch_read64(va);
    page->accessed = true;
    if (number != page->number) {
        fail(p, "%#lx holds %lu, not %lu", va.v, number, page->number);
    }
    if ((page->rights & VMM_WRITE) != 0) {
        page->number = ++p->numbers;
        arch_write64(va, page->number);
        page->dirty = true;
    }
}

static void run_use(struct play *p, const struct play_op *op, struct page_record *page)
{
    struct space *space = &p->space[op->space];
    for (unsigned i = 0; i < op->pages && i < USED_PAGES; i++) {
        vaddr_t va = vaddr_add_pages(address(op), i);
        struct vmm_walk w;
        expect_status(p, vmm_translate(&p->vmm, space, va, &w), STATUS_OK);
        expect_right(p, play_leaf(&p->vmm, space, va, &w));
        if (w.present != page[i].mapped || w.rights != (page[i].mapped ? page[i].rights : 0U)) {
            fail(p, "%#lx: present %d, rights %#x, not %d, %#x", va.v, w.present, w.rights, page[i].mapped,
                 page[i].rights);
        }
        if (p->vmm.current == space && page[i].mapped && !page[i].device) {
            touch(p, va, &page[i]);
        }
    }
}

/* ---- Locks (R17): taken for real, and seen by the model when the window is used ---- */

static void watch_locks(struct space *space) { space->window_lock.shared = space->table_lock.shared = true; }

static bool is_locked(bool table)
{
    const struct space *current = play.vmm.current;
    return table ? current->window_lock.taken != 0 && (current->opens == NULL || current->opens->table_lock.taken != 0)
                 : current->window_lock.taken != 0;
}

/*
 * The lock of a foreign space's tables comes after that of the window: once it was seen alone (as it is where the
 * kernel half is asked for), the other must not join it.
 */
static void check_lock_order(void)
{
    static const struct space *alone;
    const struct space *current = play.vmm.current;
    for (unsigned i = 0; i < PLAY_SPACES && current != NULL; i++) {
        const struct space *space = &play.space[i];
        if (space == current || space->table_lock.taken == 0) {
            alone = alone == space ? NULL : alone;
        } else if (current->window_lock.taken == 0) {
            alone = space;
        } else if (alone == space) {
            fail(&play, "the table lock of space %u was taken before the window lock", space->id);
        }
    }
}

/* ---- CPU 1 ---- */

/* The VMM keeps what is a CPU's own in two fields, which go with the CPU that runs. */
static void change_cpu(struct play *p)
{
    struct model *m = model_machine;
    struct space *current = p->vmm.current;
    struct vmm_foreign foreign = p->vmm.foreign;
    p->vmm.current = p->other_current;
    p->vmm.foreign = p->other_foreign;
    p->other_current = current;
    p->other_foreign = foreign;
    unsigned cpu = m->current_cpu == 0 ? 1 : 0;
    model_use_cpu(m, cpu);
    model_thread_is_cpu(cpu);
}

/* As what starts CPUs would: it runs on the kernel's own tables, and counts from then on. */
static void start_other(struct play *p)
{
    struct model *m = model_machine;
    p->other_current = &p->vmm.kernel;
    change_cpu(p);
    p->vmm.online.mask |= 1ULL << arch_cpu();
    p->vmm.kernel.cpus.mask |= 1ULL << arch_cpu();
    model_root_load(m, pfn_to_paddr(p->vmm.kernel.root));
    model_global_pages(m, true);
    change_cpu(p);
}

static struct space *space_of(struct play *p, const struct play_op *op)
{
    return op->space < PLAY_SPACES ? &p->space[op->space] : &p->vmm.kernel;
}

static void run_other_switch(struct play *p, const struct play_op *op)
{
    change_cpu(p);
    expect_status(p, space_switch(&p->vmm, space_of(p, op)), STATUS_OK);
    change_cpu(p);
}

static void run_other_use(struct play *p, const struct play_op *op)
{
    const bool is_small = op->part < PLAY_PARTS && op->first + op->pages <= PLAY_PART_PAGES;
    change_cpu(p);
    for (unsigned s = 0; is_small && s < PLAY_SPACES; s++) {
        struct page_record *page = &p->page[s][op->part][op->first];
        if (p->vmm.current == &p->space[s]) {
            play_share_touch(s);
        }
        for (unsigned i = 0; p->vmm.current == &p->space[s] && i < op->pages && i < USED_PAGES; i++) {
            if (page[i].mapped && !page[i].device) {
                touch(p, vaddr_add_pages(address(op), i), &page[i]);
            }
        }
    }
    play_large_use(&p->vmm, p->space, op, &p->numbers);
    vaddr_t kernel = p->kernel[op->part % KERNEL_PLACES];
    if (kernel.v != 0 && arch_read64(kernel) != 1) {
        fail(p, "the kernel page at %#lx holds something else", kernel.v);
    }
    expect_right(p, play_global_read());
    change_cpu(p);
}

static void run_renew(struct play *p, const struct play_op *op)
{
    struct space *space = &p->space[op->space];
    if (p->vmm.current == space || p->other_current == space || play_share_lends(op->space)) {
        expect_status(p, space_destroy(&p->vmm, space), STATUS_MISUSE);
        test_expect_reports(test_reports());
        return;
    }
    expect_status(p, space_destroy(&p->vmm, space), STATUS_OK);
    expect_status(p, space_create(&p->vmm, space), STATUS_OK);
    watch_locks(space);
    for (unsigned i = 0; i < PLAY_PARTS * PLAY_PART_PAGES; i++) {
        play_device_unmapped(&p->page[op->space][i / PLAY_PART_PAGES][i % PLAY_PART_PAGES]);
    }
    play_share_ended(op->space);
    memcpy(p->page[op->space], p->blank, sizeof p->blank);
    play_large_forget(op->space);
}

static void run_keep(struct play *p, const struct play_op *op)
{
    struct space *space = space_of(p, op);
    expect_status(p, space_keep_tables(&p->vmm, space, !space->keeps_tables), STATUS_OK);
}

static void run_op(struct play *p, const struct play_op *op)
{
    if (op->kind >= PLAY_LARGE && op->kind <= PLAY_LARGE_LAST) {
        play_large_run(&p->vmm, p->space, op, &p->numbers);
        return;
    }
    const bool has_page = op->space < PLAY_SPACES && op->kind < PLAY_LARGE && op->part < PLAY_PARTS &&
                          op->first < PLAY_PART_PAGES;
    struct page_record *page = has_page ? &p->page[op->space][op->part][op->first] : NULL;
    switch ((enum play_kind)op->kind) {
    case PLAY_MAP:
    case PLAY_MAP_FRAMES: run_map(p, op, page); break;
    case PLAY_UNMAP:
    case PLAY_PROTECT: run_change(p, op, page); break;
    case PLAY_CLEAR: run_clear(p, op); break;
    case PLAY_USE: run_use(p, op, page); break;
    case PLAY_SWITCH: expect_status(p, space_switch(&p->vmm, space_of(p, op)), STATUS_OK); break;
    case PLAY_RENEW: run_renew(p, op); break;
    case PLAY_KERNEL: expect_right(p, play_kernel(&p->vmm, &p->kernel[op->part % KERNEL_PLACES], op)); break;
    case PLAY_GLOBAL: expect_right(p, play_global(&p->vmm, op)); break;
    case PLAY_WINDOW: expect_right(p, play_window(&p->vmm, &p->space[op->space], op)); break;
    case PLAY_LOW: break;
    case PLAY_KEEP: run_keep(p, op); break;
    case PLAY_IDLE: model_idle(model_machine, &p->vmm, op->rights % PMM_CLASSES, npages(op->pages % 64)); break;
    case PLAY_OTHER_SWITCH: run_other_switch(p, op); break;
    case PLAY_OTHER_USE: run_other_use(p, op); break;
    case PLAY_MOVE: expect_right(p, play_move(&p->vmm, &p->space[op->space], op, p->page[op->space], part_base)); break;
    case PLAY_MARKS: expect_right(p, play_marks(&p->vmm, &p->space[op->space], address(op), op, page)); break;
    default: p->result.changes += (op->kind >= PLAY_SOME_UNMAP ? play_some_run : play_share_run)(op) > 0; break;
    }
}

static void check(struct play *p)
{
    static char text[PLAY_TEXT_BYTES];
    struct buffer_sink b;
    buffer_sink_init(&b, text, sizeof text);
    if (vmm_check(&p->vmm, &b.sink) != STATUS_OK) {
        fail(p, "vmm_check: %s", text);
    }
}

static void judge(struct play *p)
{
    if (play_large_wrong() != NULL) {
        fail(p, "%s", play_large_wrong());
    }
    if (model_machine->violations > 0) {
        p->result.failed = false; /* what came of it counts less */
        fail(p, "%s", model_machine->first_violation);
        p->result.rule = model_machine->first.rule;
    }
}

static bool start(struct play *p, const struct play_machine *machine, bool two_cpus)
{
    memset(p, 0, sizeof *p);
    play_large_start();
    struct model *m = model_start(64 * MIB);
    model_global_pages(m, true);
    model_want_violations(m);
    expect_status(p, vmm_init_with(&p->vmm, &m->pmm, model_pointer, model_address), STATUS_OK);
    watch_locks(&p->vmm.kernel);
    m->is_locked = is_locked;
    model_before_lock = check_lock_order;
    play_share_start(&p->vmm, p->space);
    for (unsigned i = 0; i < PLAY_SPACES; i++) {
        expect_status(p, space_create(&p->vmm, &p->space[i]), STATUS_OK);
        watch_locks(&p->space[i]);
    }
    if (two_cpus) {
        start_other(p);
    }
    play_marks_start(m, p->space, p->page, part_base);
    play_kinds_start();
    if (machine != NULL) {
        m->variant = machine->variant != NULL ? *machine->variant : m->variant;
        m->loses_invlpg = machine->loses_invlpg;
    }
    judge(p);
    return !p->result.failed;
}

static void run_now(const struct play_op *op) { run_op(&play, op); }

struct play_result play_run(const struct play_op *ops, unsigned n, const struct play_machine *machine)
{
    struct play *p = &play;
    bool two_cpus = false;
    for (unsigned i = 0; i < n; i++) {
        two_cpus = two_cpus || ops[i].kind == PLAY_OTHER_SWITCH || ops[i].kind == PLAY_OTHER_USE;
    }
    bool ok = start(p, machine, two_cpus);
    for (unsigned i = 0; i < n && ok; i++) {
        if (ops[i].kind == PLAY_LOW && i + 2 < n && play_low_fits(&ops[i])) {
            play_low_run(&p->vmm, &ops[i], run_now);
            i += 2;
        } else {
            run_op(p, &ops[i]);
        }
        judge(p);
        if (!p->result.failed && ((i + 1) % CHECK_EVERY == 0 || i + 1 == n)) {
            check(p);
        }
        p->result.at = i;
        ok = !p->result.failed;
    }
    model_before_lock = NULL;
    return p->result;
}
