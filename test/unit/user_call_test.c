/* SYSCALL on the hardware: the way in, the way back, to another context, and to none; what may not be got by it. */
#include "arch/layout.h"
#include "arch/x86_64/cpu.h"
#include "kernel/machine.h"
#include "unit/test.h"
#include "unit/user_bed.h"

static struct user_bed first, second;

USER_CODE(call_once, "mov $5, %edi\n mov $0x1234, %ebx\n syscall\n add %rbx, %rax\n int $0x80");

TEST(user_call, without_a_hook_a_call_leaves_and_goes_on_behind_it)
{
    REQUIRE(user_bed_make(&first, call_once, call_once_end));
    struct interrupt_frame *f = &first.context.frame;
    user_bed_run(&first);
    EXPECT_EQ(f->vector, USER_SYSCALL);
    EXPECT_EQ(f->rdi, 5);
    EXPECT_EQ(f->rsp, vaddr_add_pages(user_data_at, 1).v);
    EXPECT_EQ(f->cs, LAYOUT_SEL_USER_CODE);
    EXPECT_EQ(f->ss, LAYOUT_SEL_USER_DATA);
    EXPECT_EQ(f->rcx, f->rip);
    EXPECT_EQ(f->r11, f->rflags);
    EXPECT(user_left() == &first.context && !user_is_running());
    f->rax = 1;
    user_bed_go_on(&first);
    EXPECT_EQ(f->vector, INTERRUPT_FROM_USER);
    EXPECT_EQ(f->rax, 0x1235);
    user_bed_end(&first);
}

/* ---- Answered at once: all registers but RAX, RCX, R11 are those before ---- */

static unsigned answered;

static enum user_go answer(struct user_context *context)
{
    context->frame.rax = ++answered;
    return USER_GO_BACK;
}

USER_CODE(call_in_a_row,
          "mov $1, %ebx\n mov $2, %ebp\n mov $3, %r12d\n mov $4, %r13d\n mov $5, %r14d\n mov $6, %r15d\n mov $7, %edi\n"
          "mov $8, %esi\n mov $9, %edx\n mov $10, %r8d\n mov $11, %r9d\n mov $12, %r10d\n movq %r10, %xmm3\n std\n"
          "pushfq\n popq -64(%rsp)\n syscall\n syscall\n pushfq\n pop %r11\n xor -64(%rsp), %r11\n"
          "movq %xmm3, %rcx\n int $0x80");

TEST(user_call, an_answer_keeps_all_registers_and_flags)
{
    REQUIRE(user_bed_make(&first, call_in_a_row, call_in_a_row_end));
    const struct interrupt_frame *f = &first.context.frame;
    user_call_fn *before = user_set_call(answer);
    answered = 0;
    user_bed_run(&first);
    EXPECT(user_set_call(before) == answer);
    EXPECT_EQ(f->vector, INTERRUPT_FROM_USER);
    EXPECT_EQ(f->rax, 2);
    const uint64_t kept[] = {f->rbx, f->rbp, f->r12, f->r13, f->r14, f->r15,
                             f->rdi, f->rsi, f->rdx, f->r8,  f->r9,  f->r10};
    for (unsigned i = 0; i < ARRAY_LEN(kept); i++) {
        EXPECT_EQ(kept[i], i + 1);
    }
    EXPECT_EQ(f->rcx, 12); /* SSE */
    EXPECT_EQ(f->r11, 0);  /* flags, DF among them */
    user_bed_end(&first);
}

static uint64_t flags_in_call;

static enum user_go note_flags(struct user_context *context)
{
    __asm__ volatile("pushfq\n popq %0" : "=r"(flags_in_call));
    context->frame.rax = 0;
    return USER_GO_LEAVE;
}

USER_CODE(call_with_flags, "pushfq\n orq $0x44DD5, (%rsp)\n andq $~0x100, (%rsp)\n popfq\n syscall");

TEST(user_call, no_flag_of_user_mode_is_set_in_a_call)
{
    enum { FLAG_TF = 1 << 8, FLAG_IF = 1 << 9, FLAG_DF = 1 << 10, FLAG_NT = 1 << 14, FLAG_AC = 1 << 18 };
    REQUIRE(user_bed_make(&first, call_with_flags, call_with_flags_end));
    user_call_fn *before = user_set_call(note_flags);
    user_bed_run(&first);
    (void)user_set_call(before);
    EXPECT_EQ(first.context.frame.vector, USER_SYSCALL);
    EXPECT_EQ(first.context.frame.rflags & (FLAG_DF | FLAG_NT | FLAG_AC), FLAG_DF | FLAG_NT | FLAG_AC);
    EXPECT_EQ(flags_in_call & (FLAG_TF | FLAG_IF | FLAG_DF | FLAG_NT | FLAG_AC), 0);
    user_bed_end(&first);
}

/* ---- Elsewhere ---- */

static enum user_go change_to_second(struct user_context *context)
{
    if (context == &second.context) {
        return USER_GO_LEAVE;
    }
    EXPECT_EQ(space_switch(&machine.vmm, &second.space), STATUS_OK);
    return user_change(&second.context) ? USER_GO_OTHER : USER_GO_LEAVE;
}

USER_CODE(call_with_all, "mov $-1, %rbx\n mov %rbx, %r12\n mov %rbx, %r8\n mov %rbx, %r15\n movq %rbx, %xmm0\n"
                         "fld1\n mov $0x1B, %eax\n mov %eax, %ds\n syscall");
USER_CODE(call_and_show, "movq %xmm0, %rdi\n mov %ds, %esi\n fnstsw %ax\n movzwl %ax, %edx\n syscall");

TEST(user_call, another_context_that_goes_on_sees_nothing_of_the_one_that_called)
{
    REQUIRE(user_bed_make(&first, call_with_all, call_with_all_end));
    REQUIRE(user_bed_make(&second, call_and_show, call_and_show_end));
    user_context_init(&second.context, user_code_at, vaddr_add_pages(user_data_at, 1));
    const struct interrupt_frame *f = &second.context.frame;
    user_call_fn *before = user_set_call(change_to_second);
    user_bed_run(&first);
    (void)user_set_call(before);
    EXPECT(user_left() == &second.context);
    EXPECT_EQ(f->vector, USER_SYSCALL);
    const uint64_t seen[] = {f->rbx, f->rbp, f->r8, f->r9, f->r12, f->r15, f->rdi, f->rsi, f->rdx};
    for (unsigned i = 0; i < ARRAY_LEN(seen); i++) {
        EXPECT_EQ(seen[i], 0);
    }
    EXPECT_EQ(first.context.frame.rbx, UINT64_MAX);
    second.context.frame.rip = 1ULL << 47;
    EXPECT(!user_change(&second.context));
    user_bed_end(&first);
    user_bed_end(&second);
}

static enum user_go go_wild(struct user_context *context)
{
    context->frame.rip = 1ULL << 47;
    return USER_GO_BACK;
}

TEST(user_call, a_return_to_no_canonical_address_is_a_fault_of_user_mode)
{
    REQUIRE(user_bed_make(&first, call_once, call_once_end));
    user_call_fn *before = user_set_call(go_wild);
    user_bed_run(&first);
    (void)user_set_call(before);
    EXPECT_EQ(first.context.frame.vector, EXCEPTION_GENERAL_PROTECTION);
    EXPECT_EQ(first.context.frame.rip, 1ULL << 47);
    EXPECT(!user_is_running());
    user_bed_end(&first);
}

static enum user_go give_up(struct user_context *context)
{
    (void)context;
    user_give_up();
    return USER_GO_LEAVE;
}

TEST(user_call, a_context_that_is_given_up_is_not_written_to_any_more)
{
    REQUIRE(user_bed_make(&first, call_with_all, call_with_all_end));
    user_call_fn *before = user_set_call(give_up);
    user_bed_run(&first);
    (void)user_set_call(before);
    EXPECT(user_left() == NULL && !user_is_running());
    EXPECT_EQ(first.context.fpu[160], 0); /* XMM0, which was written to, would be there */
    user_bed_end(&first);
}
