/* User mode on the hardware: how it is entered and left, and that nothing of one context is in the next. */
#include "arch/arch.h"
#include "arch/layout.h"
#include "arch/x86_64/cpu.h"
#include "kernel/machine.h"
#include "unit/test.h"
#include "unit/user_bed.h"

static struct user_bed first, second;

USER_CODE(user_adds, "lea 2(%rdi), %rax\n push %rax\n pop %rbx\n int $0x80\n inc %rax\n int $0x80");

TEST(user, code_runs_in_user_mode_until_its_interrupt_and_goes_on_behind_it)
{
    REQUIRE(user_bed_make(&first, user_adds, user_adds_end));
    struct interrupt_frame *f = &first.context.frame;
    user_bed_run(&first);
    EXPECT_EQ(f->vector, INTERRUPT_FROM_USER);
    EXPECT_EQ(f->cs, LAYOUT_SEL_USER_CODE);
    EXPECT_EQ(f->ss, LAYOUT_SEL_USER_DATA);
    EXPECT_EQ(f->rax, 2);
    EXPECT_EQ(f->rbx, 2);
    EXPECT_EQ(f->rsp, vaddr_add_pages(user_data_at, 1).v);
    f->rax = 40;
    user_bed_go_on(&first);
    EXPECT_EQ(f->vector, INTERRUPT_FROM_USER);
    EXPECT_EQ(f->rax, 41);
    EXPECT(!user_is_running());
    user_bed_end(&first);
}

/* Each is a protection fault that ends the run; the error code names the gate or nothing. */
USER_CODE(user_stops_interrupts, "cli");
USER_CODE(user_halts, "hlt");
USER_CODE(user_reads_cr3, "mov %cr3, %rax");
USER_CODE(user_uses_a_port, "mov $0x80, %dx\n in %dx, %al");
USER_CODE(user_calls_the_page_fault_gate, "int $14");
USER_CODE(user_loads_a_kernel_segment, "mov $0x10, %eax\n mov %eax, %ds");

static void runs_into(const uint8_t *code, const uint8_t *end, uint64_t vector)
{
    REQUIRE(user_bed_make(&first, code, end));
    user_bed_run(&first);
    EXPECT_EQ(first.context.frame.vector, vector);
    EXPECT_EQ(first.context.frame.cs, LAYOUT_SEL_USER_CODE);
    user_bed_end(&first);
}

TEST(user, what_only_the_kernel_may_do_is_a_protection_fault)
{
    runs_into(user_stops_interrupts, user_stops_interrupts_end, EXCEPTION_GENERAL_PROTECTION);
    runs_into(user_halts, user_halts_end, EXCEPTION_GENERAL_PROTECTION);
    runs_into(user_reads_cr3, user_reads_cr3_end, EXCEPTION_GENERAL_PROTECTION);
    runs_into(user_uses_a_port, user_uses_a_port_end, EXCEPTION_GENERAL_PROTECTION);
    runs_into(user_calls_the_page_fault_gate, user_calls_the_page_fault_gate_end, EXCEPTION_GENERAL_PROTECTION);
    runs_into(user_loads_a_kernel_segment, user_loads_a_kernel_segment_end, EXCEPTION_GENERAL_PROTECTION);
}

USER_CODE(user_divides_by_zero, "xor %ecx, %ecx\n div %ecx");

TEST(user, exceptions_end_the_run_and_not_the_machine)
{
    runs_into(user_divides_by_zero, user_divides_by_zero_end, EXCEPTION_DIVIDE);
}

USER_CODE(user_reads_the_kernel, "mov (%rdi), %rax");

TEST(user, kernel_memory_and_the_windows_are_out_of_reach)
{
    const uint64_t places[] = {ptr_to_vaddr(&machine).v, LAYOUT_KERNEL_BASE, LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF),
                               LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF) | LAYOUT_SLOT_BASE(LAYOUT_SLOT_SELF) >> 9};
    REQUIRE(user_bed_make(&first, user_reads_the_kernel, user_reads_the_kernel_end));
    for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
        user_context_init(&first.context, user_code_at, vaddr_add_pages(user_data_at, 1));
        first.context.frame.rdi = places[i];
        user_bed_go_on(&first);
        EXPECT_EQ(first.context.frame.vector, EXCEPTION_PAGE_FAULT);
        EXPECT_EQ(first.context.fault.v, places[i]);
        EXPECT_EQ(first.context.frame.rax, 0);
    }
    user_bed_end(&first);
}

TEST(user, a_wild_start_is_refused_or_faults_in_user_mode)
{
    REQUIRE(user_bed_make(&first, user_adds, user_adds_end));
    user_context_init(&first.context, vaddr(1ULL << 60), vaddr(0));
    EXPECT_EQ(user_run(&first.context), STATUS_INVALID);
    user_context_init(&first.context, vaddr(LAYOUT_IMAGE_BASE), vaddr(1ULL << 60));
    user_bed_go_on(&first);
    EXPECT_EQ(first.context.frame.vector, EXCEPTION_PAGE_FAULT);
    EXPECT_EQ(first.context.fault.v, LAYOUT_IMAGE_BASE);
    user_bed_end(&first);
}

/* ---- What one leaves, the next does not see ---- */

/* Every register it can write, x87 with the place of its last instruction, SSE and its rounding mode, segments, AC. */
USER_CODE(user_fills_registers,
          "fldpi\n fldl2e\n fldlg2\n fld1\n fld1\n fld1\n fld1\n fld1\n fnstcw -8(%rsp)\n andw $0xF0FF, -8(%rsp)\n"
          "fldcw -8(%rsp)\n"
          "movl $0x3F80, -8(%rsp)\n ldmxcsr -8(%rsp)\n pcmpeqb %xmm0, %xmm0\n movaps %xmm0, %xmm1\n"
          "movaps %xmm0, %xmm7\n movaps %xmm0, %xmm8\n movaps %xmm0, %xmm15\n"
          "mov $0x1B, %eax\n mov %eax, %ds\n mov %eax, %es\n mov %eax, %fs\n mov %eax, %gs\n"
          "pushfq\n orq $0x40400, (%rsp)\n popfq\n"
          "mov $0x5A5A5A5A5A5A5A5A, %rax\n mov %rax, %rbx\n mov %rax, %rcx\n mov %rax, %rdx\n mov %rax, %rsi\n"
          "mov %rax, %rdi\n mov %rax, %rbp\n mov %rax, %r8\n mov %rax, %r9\n mov %rax, %r10\n mov %rax, %r11\n"
          "mov %rax, %r12\n mov %rax, %r13\n mov %rax, %r14\n mov %rax, %r15\n int $0x80");

/* Where RDI points: 512 bytes of FXSAVE, 28 of FNSTENV, at 544 the segments, at 552 the flags. */
USER_CODE(user_dumps_state,
          "int $0x80\n fxsave64 (%rdi)\n fnstenv 512(%rdi)\n mov %ds, 544(%rdi)\n mov %es, 546(%rdi)\n"
          "mov %fs, 548(%rdi)\n mov %gs, 550(%rdi)\n pushfq\n popq 552(%rdi)\n int $0x80");

struct dump {
    uint16_t control;
    uint8_t from_status[22];
    uint32_t mxcsr, mxcsr_mask;
    uint64_t registers[60];
    uint32_t environment[8]; /* control, status, tag, ip, cs and opcode, dp, ds; 1 spare */
    uint16_t segments[4];
    uint64_t flags;
};
static_assert(sizeof(struct dump) == 560, "as user_dumps_state writes it");

static void general_registers_are_clear(const struct interrupt_frame *f)
{
    const uint64_t all[] = {f->rax, f->rbx, f->rcx, f->rdx, f->rsi, f->rdi, f->rbp, f->r8,
                            f->r9,  f->r10, f->r11, f->r12, f->r13, f->r14, f->r15};
    for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
        EXPECT_EQ(all[i], 0);
    }
}

static void other_registers_are_clear(const struct dump *d)
{
    enum { CONTROL = 0x37F, MXCSR = 0x1F80, FLAGS = 2, TAGS_EMPTY = 0xFFFF };
    EXPECT_EQ(d->control, CONTROL);
    EXPECT_EQ(d->mxcsr, MXCSR);
    for (unsigned i = 0; i < sizeof d->from_status; i++) {
        EXPECT_EQ(d->from_status[i], 0); /* status, tags, the last instruction and its operand */
    }
    for (unsigned i = 0; i < ARRAY_LEN(d->registers); i++) {
        EXPECT_EQ(d->registers[i], 0);
    }
    EXPECT_EQ(d->environment[1] & UINT16_MAX, 0);
    EXPECT_EQ(d->environment[2] & UINT16_MAX, TAGS_EMPTY);
    EXPECT_EQ(d->environment[3], 0); /* the last instruction */
    EXPECT_EQ(d->environment[5], 0); /* and its operand */
    for (unsigned i = 0; i < ARRAY_LEN(d->segments); i++) {
        EXPECT_EQ(d->segments[i], 0);
    }
    EXPECT_EQ(d->flags, FLAGS);
}

static void dumps_and_shows_nothing(struct user_bed *bed)
{
    struct dump dump;
    user_bed_run(bed);
    EXPECT_EQ(bed->context.frame.vector, INTERRUPT_FROM_USER);
    general_registers_are_clear(&bed->context.frame);
    bed->context.frame.rdi = user_data_at.v;
    user_bed_go_on(bed);
    EXPECT_EQ(bed->context.frame.vector, INTERRUPT_FROM_USER);
    EXPECT_EQ(space_peek(&machine.vmm, &bed->space, user_data_at, &dump, sizeof dump), STATUS_OK);
    other_registers_are_clear(&dump);
}

TEST(user, no_register_of_one_context_is_seen_by_the_next)
{
    const uint64_t pattern = 0x5A5A5A5A5A5A5A5A;
    REQUIRE(user_bed_make(&first, user_fills_registers, user_fills_registers_end));
    REQUIRE(user_bed_make(&second, user_dumps_state, user_dumps_state_end));
    user_bed_run(&first);
    EXPECT_EQ(first.context.frame.vector, INTERRUPT_FROM_USER);
    EXPECT_EQ(first.context.frame.rax, pattern);
    EXPECT_EQ(first.context.frame.r15, pattern);
    dumps_and_shows_nothing(&second);
    user_bed_end(&first);
    user_bed_end(&second);
}

USER_CODE(user_counts_in_the_fpu,
          "fldz\n mov $7, %eax\n movq %rax, %xmm5\n int $0x80\n fld1\n faddp\n incl %eax\n movq %xmm5, %rbx\n"
          "int $0x80\n fistpl (%rsp)\n mov (%rsp), %ecx\n int $0x80");

TEST(user, a_context_that_goes_on_has_its_own_registers_again)
{
    REQUIRE(user_bed_make(&first, user_counts_in_the_fpu, user_counts_in_the_fpu_end));
    REQUIRE(user_bed_make(&second, user_fills_registers, user_fills_registers_end));
    user_context_init(&first.context, user_code_at, user_data_at);
    user_bed_go_on(&first);
    user_bed_run(&second);
    user_bed_go_on(&first);
    EXPECT_EQ(first.context.frame.rax, 8);
    EXPECT_EQ(first.context.frame.rbx, 7);
    user_bed_run(&second);
    user_bed_go_on(&first);
    EXPECT_EQ(first.context.frame.vector, INTERRUPT_FROM_USER);
    EXPECT_EQ(first.context.frame.rcx & UINT32_MAX, 1); /* 0 + 1, added between two runs of the other */
    user_bed_end(&first);
    user_bed_end(&second);
}

/* ---- What user mode cannot take away from the kernel ---- */

static uint64_t flags_in_kernel, flags_of_user;

static void note_flags(struct interrupt_frame *f)
{
    flags_in_kernel = arch_interrupts_off();
    flags_of_user = f->rflags;
    user_leave(f, vaddr(0));
}

TEST(user, smap_holds_in_the_kernel_whatever_flags_user_mode_had)
{
    enum { FLAG_DF = 1 << 10, FLAG_AC = 1 << 18 };
    REQUIRE(user_bed_make(&first, user_fills_registers, user_fills_registers_end));
    interrupt_handler *before = interrupt_hook(INTERRUPT_FROM_USER, note_flags);
    user_bed_run(&first);
    interrupt_hook(INTERRUPT_FROM_USER, before);
    EXPECT_EQ(flags_of_user & (FLAG_DF | FLAG_AC), FLAG_DF | FLAG_AC);
    EXPECT_EQ(flags_in_kernel & (FLAG_DF | (machine.cpu.smap ? FLAG_AC : 0)), 0);
    EXPECT_EQ((read_cr4() & CR4_SMEP) != 0, machine.cpu.smep);
    EXPECT_EQ((read_cr4() & CR4_SMAP) != 0, machine.cpu.smap);
    EXPECT_EQ(read_cr4() & CR4_OSXSAVE, 0); /* else FXSAVE would not be all */
    user_bed_end(&first);
}
