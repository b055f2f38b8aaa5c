; Into user mode and back (user.h).

%include "layout.inc"

extern interrupt_task_state

; struct user_context: FXSAVE image, then struct interrupt_frame.
CONTEXT_FRAME equ 512
FRAME_RIP equ 136               ; behind 15 registers, vector, error
TSS_RSP0 equ 4

section .text progbits alloc exec nowrite align=16
bits 64
default rel

; void user_enter(struct user_context *context): what a C function must keep goes onto the stack; interrupts from user
; mode come in right below (TSS.RSP0). Nothing here can fault: rip is canonical, the selectors are right.
global user_enter:function (user_enter_end - user_enter)
user_enter:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    pushfq
    cli
    mov [user_stack], rsp
    mov [interrupt_task_state + TSS_RSP0], rsp
    ; FNINIT clears the addresses of the last x87 instruction and operand, which FXRSTOR leaves on some CPUs.
    fninit
    fxrstor64 [rdi]
    add rdi, CONTEXT_FRAME
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
%assign at FRAME_RIP + 4 * 8    ; ss, rsp, rflags, cs, rip, as IRETQ takes them
%rep 5
    push qword [rdi + at]
%assign at at - 8
%endrep
    mov rax, [rdi + 0 * 8]
    mov rbx, [rdi + 1 * 8]
    mov rcx, [rdi + 2 * 8]
    mov rdx, [rdi + 3 * 8]
    mov rsi, [rdi + 4 * 8]
    mov rbp, [rdi + 6 * 8]
    mov r8, [rdi + 7 * 8]
    mov r9, [rdi + 8 * 8]
    mov r10, [rdi + 9 * 8]
    mov r11, [rdi + 10 * 8]
    mov r12, [rdi + 11 * 8]
    mov r13, [rdi + 12 * 8]
    mov r14, [rdi + 13 * 8]
    mov r15, [rdi + 14 * 8]
    mov rdi, [rdi + 5 * 8]
    iretq
user_enter_end:

; void user_resume(struct user_context *context): user_enter returns. The state that user mode left in the FPU is kept;
; the kernel itself never uses it.
global user_resume:function (user_resume_end - user_resume)
user_resume:
    fxsave64 [rdi]
    mov rsp, [user_stack]
    mov eax, LAYOUT_SEL_DATA
    mov ds, eax
    mov es, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    popfq
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
user_resume_end:

section .bss nobits alloc noexec write align=8
user_stack: resq 1

section .note.GNU-stack noalloc noexec nowrite progbits
