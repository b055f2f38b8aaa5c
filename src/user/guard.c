/*
 * guard: what a task must not do, one thing after the other, each by a clone that must die of it while its parent goes
 * on. A clone says what it is about to do, does it, and, where it still lives then, says that too.
 */
#include "user/runtime.h"

enum { ABOUT, ALIVE };

static unsigned parent;
static char *parents_page; /* in the global part; the clones do not have it */
static uint64_t in_data = 0xC3C3C3C3C3C3C3C3; /* RET, where code may be */
static const uint64_t constant = 1;

/* ---- Addresses ---- */

/* A number about which the compiler knows nothing. */
static uint64_t any(uint64_t va)
{
    __asm__ volatile("" : "+r"(va));
    return va;
}

static void read_at(uint64_t va) { (void)*(volatile char *)any(va); }
static void write_at(uint64_t va) { *(volatile char *)any(va) = 1; }
static void run_at(uint64_t va) { ((void (*)(void))any(va))(); }

static void read_null(void) { read_at(0); }
static void write_null(void) { write_at(8); }
static void run_null(void) { run_at(0); }
static void read_first_64k(void) { read_at(0xFFFF); }
static void read_kernel(void) { read_at(0xFFFF800040000000); }
static void write_kernel(void) { write_at(0xFFFFFE8000000000); }
static void run_kernel(void) { run_at(0xFFFFFE8000100000); }
static void read_tables(void) { read_at(0xFFFFFFFFFFFFFFF8); }
static void write_tables(void) { write_at(0xFFFFFF8000000000); }
static void read_foreign_tables(void) { read_at(0xFFFFFF0000000000); }
static void read_hole(void) { read_at(0x800000000000); }
static void run_hole(void) { run_at(0x800000000000); }
static void read_below_hole(void) { read_at(0x7FFFFFFFFFF8); }
static void read_nothing(void) { read_at(0x200000000000); }

static void write_code(void) { write_at(address_of((void *)(uintptr_t)read_null)); }
static void write_constant(void) { write_at(address_of(&constant)); }
static void run_data(void) { run_at(address_of(&in_data)); }

static void run_stack(void)
{
    volatile uint64_t code = 0xC3C3C3C3C3C3C3C3;
    run_at(address_of((void *)(uintptr_t)&code));
}

static void write_below_stack(void)
{
    struct task_range stack;
    NEED_OK(call_query(address_of(&stack), &stack));
    write_at(stack.va - 1);
}

static uint64_t deeper(uint64_t n)
{
    volatile uint64_t room[64];
    room[n % 64] = n;
    return n == 0 ? 0 : deeper(n - 1) + room[n % 64];
}

static void overflow_stack(void) { in_data = deeper(1 << 20); }

static user_address some_page(uint64_t flags)
{
    user_address va;
    NEED_OK(call_alloc(PAGE_BYTES, TASK_READ | TASK_WRITE | flags, 0, &va));
    *(volatile char *)va = 1;
    return va;
}

static void read_freed(void)
{
    const user_address va = some_page(0);
    NEED_OK(call_free(va, PAGE_BYTES));
    read_at(va);
}

static void read_freed_private(void)
{
    const user_address va = some_page(TASK_PRIVATE);
    NEED_OK(call_free(va, PAGE_BYTES));
    read_at(va);
}

static void write_given(void)
{
    const user_address va = some_page(0);
    NEED_OK(call_send(parent, 0, 0, va, PAGE_BYTES, TASK_GIVE | TASK_READ));
    write_at(va);
}

static void write_protected(void)
{
    const user_address va = some_page(0);
    NEED_OK(call_protect(va, PAGE_BYTES, TASK_READ));
    write_at(va);
}

static void write_behind_guarded(void) { write_at(some_page(TASK_GUARDS) + PAGE_BYTES); }
static void write_before_guarded(void) { write_at(some_page(TASK_GUARDS) - 1); }
static void read_others(void) { read_at(address_of(parents_page)); }

/* ---- Instructions ---- */

#define DOES(name, text) static void name(void) { __asm__ volatile(text ::: "rax", "rcx", "rdx", "memory", "cc"); }
DOES(halt, "hlt")
DOES(mask_interrupts, "cli")
DOES(read_port, "in $0x60, %%al")
DOES(write_port, "out %%al, $0x80")
DOES(load_tables, "mov %%cr3, %%rax; mov %%rax, %%cr3")
DOES(load_control, "xor %%eax, %%eax; mov %%rax, %%cr0")
DOES(load_debug, "xor %%eax, %%eax; mov %%rax, %%db7")
DOES(read_msr, "mov $0xC0000082, %%ecx; rdmsr")
DOES(write_msr, "mov $0xC0000082, %%ecx; xor %%eax, %%eax; xor %%edx, %%edx; wrmsr")
DOES(flush_page, "invlpg (%%rsp)")
DOES(load_gdt, "lgdt (%%rsp)")
DOES(clear_ts, "clts")
DOES(return_to_user, "sysretq")
DOES(return_to_kernel, "push $0x10; push %%rsp; pushfq; push $8; push $0; iretq")
DOES(jump_to_kernel, "push $8; lea 1f(%%rip), %%rax; push %%rax; lretq; 1:")
DOES(load_segment, "mov $0x10, %%eax; mov %%eax, %%ds")
DOES(raise_double_fault, "int $8")
DOES(raise_page_fault, "int $14")
DOES(raise_timer, "int $32")
DOES(undefined, "ud2")
DOES(divide_by_zero, "xor %%edx, %%edx; xor %%ecx, %%ecx; div %%ecx")
DOES(divide_x87, "push $0x40; fldcw (%%rsp); fld1; fldz; fdivrp; fwait; pop %%rax")

static const struct wrong {
    const char *what;
    void (*act)(void);
} wrongs[] = {
    {"read at 0", read_null}, {"write at 8", write_null}, {"run at 0", run_null},
    {"read in the first 64 KiB", read_first_64k}, {"read the kernel", read_kernel},
    {"write to the kernel's image", write_kernel}, {"run the kernel", run_kernel},
    {"read page tables", read_tables}, {"write to page tables", write_tables},
    {"read another space's page tables", read_foreign_tables},
    {"read at a non-canonical address", read_hole}, {"run at a non-canonical address", run_hole},
    {"read right below those", read_below_hole}, {"read where nothing is", read_nothing},
    {"write to code", write_code}, {"write to a constant", write_constant}, {"run data", run_data},
    {"run the stack", run_stack}, {"write below the stack", write_below_stack},
    {"overflow the stack", overflow_stack}, {"read a freed page", read_freed},
    {"read a freed private page", read_freed_private}, {"write to a page given away", write_given},
    {"write to a page made read-only", write_protected}, {"write to a guard behind", write_behind_guarded},
    {"write to a guard before", write_before_guarded}, {"read another task's page", read_others},
    {"HLT", halt}, {"CLI", mask_interrupts}, {"IN", read_port}, {"OUT", write_port}, {"MOV CR3", load_tables},
    {"MOV CR0", load_control}, {"MOV DR7", load_debug}, {"RDMSR", read_msr}, {"WRMSR", write_msr},
    {"INVLPG", flush_page}, {"LGDT", load_gdt}, {"CLTS", clear_ts}, {"SYSRET", return_to_user},
    {"IRET to the kernel", return_to_kernel}, {"RET to the kernel's code segment", jump_to_kernel},
    {"the kernel's data segment", load_segment}, {"INT 8", raise_double_fault}, {"INT 14", raise_page_fault},
    {"INT 32", raise_timer}, {"UD2", undefined}, {"DIV by 0", divide_by_zero},
    {"FDIV by 0", divide_x87},
};

static int do_wrong(uint64_t i)
{
    NEED_OK(call_send(parent, ABOUT, i, 0, 0, 0));
    wrongs[i].act();
    NEED_OK(call_send(parent, ALIVE, i, 0, 0, 0));
    return 0;
}

/* => it died of it. */
static bool is_stopped(unsigned i)
{
    unsigned id;
    struct message m;
    NEED_OK(task_begin(do_wrong, i, NULL, 0, &id));
    NEED_OK(call_receive(id, NULL, 0, 0, &m));
    NEED(m.word0 == ABOUT && m.word1 == i);
    enum status s = call_receive(id, NULL, 0, 0, &m);
    if (s == STATUS_OK && TASK_MESSAGE_KIND(m.id) == TASK_MESSAGE_PAGES) {
        NEED_OK(call_free(m.word0, m.word1));
        s = call_receive(id, NULL, 0, 0, &m);
    }
    return s == STATUS_ABSENT;
}

int main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    unsigned alive = 0;
    parent = my_id();
    parents_page = (char *)some_page(0);
    for (unsigned i = 0; i < ARRAY_LEN(wrongs); i++) {
        say("%u: %s", i, wrongs[i].what);
        if (!is_stopped(i)) {
            say("%s: nobody stopped it", wrongs[i].what);
            alive++;
        }
    }
    NEED(*parents_page == 1 && constant == 1);
    say("%lu accesses, %u of them not stopped", ARRAY_LEN(wrongs), alive);
    return alive > 0;
}
