/*
 * Deliberate faults.
 *
 * Two kinds: misuse, which the layer must refuse with a report that names the values (the command then prints what the
 * call answered, and that nothing changed), and faults, which end in the fault handler's report and the machine's end.
 * What should have been fatal and was not says so. The command fails in any case, so that no script takes a provoked
 * machine for a sound one.
 */
#include "kernel/provoke.h"

#include "arch/arch.h"
#include "arch/layout.h"
#include "arch/x86_64/interrupt.h"
#include "kernel/console.h"
#include "kernel/machine.h"
#include "kernel/program.h"
#include "kernel/symbols.h"
#include "lib/macros.h"
#include "lib/string.h"
#include "vmm/window.h"

enum { PAGE_ALIGN_LOG2 = __builtin_ctz(PAGE_BYTES) };

/* ---- Misuse of frames ---- */

void provoke_told(const char *call, enum status s)
{
    print("provoke: %s answered: %s%s\n", call, status_name(s),
          s == STATUS_MISUSE ? "" : "  (it should have refused: MISUSE)");
}

static void free_and_tell(pfn_t frame)
{
    provoke_told("pmm_free", pmm_free(&machine.pmm, frame));
}

static void double_free(void)
{
    pfn_t frame;
    if (pmm_alloc(&machine.pmm, PMM_KERNEL, &frame) == STATUS_OK && pmm_free(&machine.pmm, frame) == STATUS_OK) {
        free_and_tell(frame);
    }
}

static bool keep_free_frame(void *ctx, pfn_t first, npages_t frames, enum pmm_state state)
{
    if (state == PMM_STATE_UNTOUCHED || state == PMM_STATE_FREE) {
        *(pfn_t *)ctx = pfn_add(first, frames.v - 1);
    }
    return true;
}

static void free_unallocated(void)
{
    /* The last free frame of the machine: at the far end of what was never used, if anything is left of it. */
    pfn_t frame = pfn(0);
    pmm_walk(&machine.pmm, keep_free_frame, &frame);
    free_and_tell(frame);
}

static void free_reserved(void)
{
    /* The frame that this very code lies in. */
    struct vmm_walk w;
    if (vmm_translate(&machine.vmm, &machine.vmm.kernel, vaddr((uint64_t)(uintptr_t)free_reserved), &w) == STATUS_OK) {
        free_and_tell(paddr_to_pfn(w.address));
    }
}

static void free_outside(void)
{
    /* Beyond every run, and still within what a physical address can say. */
    const struct pmm *pmm = &machine.pmm;
    free_and_tell(pfn(pmm->run_count == 0 ? 0 : run_end(pmm->runs[pmm->run_count - 1]) + PMM_BLOCK_FRAMES));
}

static void free_unaligned(void)
{
    pfn_t frame;
    if (pmm_alloc(&machine.pmm, PMM_KERNEL, &frame) == STATUS_OK) {
        provoke_told("pmm_free_at", pmm_free_at(&machine.pmm, paddr(pfn_to_paddr(frame).v + sizeof(uint64_t))));
        /* Not even this wrong address took it: the right one still does. */
        print("provoke: pmm_free of the frame itself, afterwards: %s\n", status_name(pmm_free(&machine.pmm, frame)));
    }
}

/* ---- Faults: the compiler may neither see through them nor leave them out ---- */

static void *hidden(uint64_t address) { return provoke_hidden(address); }

static void touch(uint64_t address)
{
    (void)*(volatile uint8_t *)hidden(address);
}

static void null_read(void)
{
    touch(0);
}

static void guard(void)
{
    vaddr_t base;
    if (kpages_alloc(&machine.vmm, npages(1), PAGE_ALIGN_LOG2, KPAGES_GUARDED, "provoked", &base) == STATUS_OK) {
        touch(base.v - 1);
    }
}

static void write_constant(void)
{
    static const char constant[] = "read-only";
    *(volatile uint8_t *)hidden(ptr_to_vaddr(constant).v) = 0;
}

static void execute_data(void)
{
    static uint8_t code[] = {0xC3}; /* RET */
    void (*call)(void) = (void (*)(void))hidden(ptr_to_vaddr(code).v);
    call();
}

static unsigned recurse(unsigned depth)
{
    volatile uint8_t ballast[512];
    ballast[depth % sizeof ballast] = (uint8_t)depth;
    /* Used after the call, so that it cannot become a loop. */
    return depth == UINT32_MAX ? 0 : recurse(depth + 1) + ballast[depth % sizeof ballast];
}

static void stack_overflow(void)
{
    print("%u\n", recurse(0));
}

/* With a stack pointer at nothing, the page fault of the push cannot be delivered either. */
static void double_fault(void)
{
    uint64_t nothing = LAYOUT_SLOT_BASE(LAYOUT_SLOT_BANK_FIRST) + PAGE_BYTES;
    __asm__ volatile("mov %0, %%rsp\n\tpush %%rax" : : "r"(nothing) : "memory");
    __builtin_unreachable();
}

static void invalid_opcode(void)
{
    __asm__ volatile("ud2");
}

static void general_protection(void)
{
    touch(1ULL << 63); /* not canonical */
}

static void divide(void)
{
    uint32_t dividend = 1, none = 0;
    __asm__ volatile("div %1" : "+a"(dividend) : "r"(none), "d"(0));
}

static void bad_selector(void)
{
    __asm__ volatile("mov %0, %%es" : : "r"(0x1238)); /* beyond the GDT's end */
}

static void machine_check(void)
{
    __asm__ volatile("int %0" : : "i"(EXCEPTION_MACHINE_CHECK));
}

static void jump_to_null(void)
{
    void (*call)(void) = (void (*)(void))hidden(0);
    call();
}

/* ---- Faults that need tables of a certain kind ---- */

enum { PAGES_PROVOKED = 2 };

static void other_space(void)
{
    static struct space space;
    if (space_create(&machine.vmm, &space) == STATUS_OK &&
        vmm_map(&machine.vmm, &space, vaddr(MIB), npages(PAGES_PROVOKED), VMM_READ | VMM_WRITE) == STATUS_OK) {
        touch(MIB);
    }
}

static void user_page(void)
{
    if (vmm_map(&machine.vmm, &machine.vmm.kernel, vaddr(MIB), npages(PAGES_PROVOKED), VMM_READ | VMM_USER) ==
        STATUS_OK) {
        touch(MIB);
    }
}

/* A page that a fault of user mode would bring: none of the kernel's does. */
static void user_untouched(void)
{
    static const uint8_t code[] = {0x90};
    static struct program program;
    if (program_make(&program, code, code + sizeof code) == STATUS_OK && current_enter(&program.space) == STATUS_OK) {
        touch(PROGRAM_DATA);
    }
}

static void reserved_bit(void)
{
    vaddr_t base, entry;
    if (kpages_alloc(&machine.vmm, npages(1), PAGE_ALIGN_LOG2, 0, "provoked", &base) == STATUS_OK) {
        entry = window_entry(WINDOW_OWN, base, 1);
        pte_t e = table_load(&machine.vmm, entry);
        table_store(&machine.vmm, entry, (pte_t){e.v | 1ULL << machine.cpu.physical_bits});
        window_invlpg(&machine.vmm, base);
        touch(base.v);
    }
}

static void self_window(void)
{
    touch(window_entry(WINDOW_OWN, vaddr(LAYOUT_KERNEL_END - PAGE_BYTES), 1).v);
}

/* ---- Faults inside the report ---- */

static void fault_in_walk(void)
{
    /* Without the self window no table can be read. */
    vaddr_t self = vaddr(LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF));
    table_store(&machine.vmm, window_entry(WINDOW_OWN, self, PAGING_LEVELS), (pte_t){0});
    arch_root_load(arch_root());
    null_read();
}

static void fault_in_symbols(void)
{
    symbols_use(hidden(LAYOUT_KERNEL_END - PAGE_BYTES), PAGE_BYTES, "", 1);
    null_read();
}

static void panic_in_report(void)
{
    /* Never mapped: the last page of the kernel arena's slot. The report faults while it is being written. */
    panic("with a text that cannot be read: %s", (const char *)hidden(LAYOUT_KERNEL_END - PAGE_BYTES));
}

/* ---- The list ---- */

static const struct provocation {
    const char *name;
    void (*run)(void);
    bool is_fatal;
} provocations[] = {
    {"null", null_read, true},
    {"guard", guard, true},
    {"nx", execute_data, true},
    {"wp", write_constant, true},
    {"stack-overflow", stack_overflow, true},
    {"double-fault", double_fault, true},
    {"ud", invalid_opcode, true},
    {"gp", general_protection, true},
    {"bad-selector", bad_selector, true},
    {"divide", divide, true},
    {"machine-check", machine_check, true},
    {"jump-to-null", jump_to_null, true},
    {"other-space", other_space, true},
    {"user-page", user_page, true},
    {"user-untouched", user_untouched, true},
    {"reserved-bit", reserved_bit, true},
    {"self-window", self_window, true},
    {"fault-in-walk", fault_in_walk, true},
    {"fault-in-symbols", fault_in_symbols, true},
    {"double-free", double_free, false},
    {"free-unallocated", free_unallocated, false},
    {"free-reserved", free_reserved, false},
    {"free-outside", free_outside, false},
    {"free-unaligned", free_unaligned, false},
    {"heap-double-free", provoke_heap_double_free, false},
    {"heap-foreign", provoke_heap_foreign, false},
    {"heap-write-after-free", provoke_heap_write_after_free, false},
    {"heap-overflow", provoke_heap_overflow, true},
    {"heap-cache-double-free", provoke_heap_cache_double_free, false},
    {"heap-cache-overflow", provoke_heap_cache_overflow, false},
    {"panic-in-report", panic_in_report, true},
};

void provoke_names(void)
{
    for (size_t i = 0; i < ARRAY_LEN(provocations); i++) {
        print(" %s", provocations[i].name);
    }
    provoke_user_names();
}

static void say_what_changed(const struct pmm_stats *before)
{
    struct pmm_stats after = pmm_stats(&machine.pmm);
    bool same =
        after.free.v == before->free.v && after.used.v == before->used.v && after.reserved.v == before->reserved.v;
    bool sound = pmm_check(&machine.pmm, console) == STATUS_OK && heap_check(&machine.heap, console) == STATUS_OK;
    print("provoke: %s; the validators find %s\n", same ? "nothing changed" : "COUNTS CHANGED",
          sound ? "nothing" : "DAMAGE");
}

bool provoke(const char *name)
{
    if (provoke_user(name)) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(provocations); i++) {
        const struct provocation *p = &provocations[i];
        if (strcmp(p->name, name) != 0) {
            continue;
        }
        heap_shrink(&machine.heap);
        struct pmm_stats before = pmm_stats(&machine.pmm);
        p->run();
        if (p->is_fatal) {
            print("provoke: %s should have been fatal, and the machine goes on\n", name);
        } else {
            heap_shrink(&machine.heap);
            say_what_changed(&before);
        }
        return false;
    }
    print("provoke: there is no '%s'; names:", name);
    provoke_names();
    print("\n");
    return false;
}
