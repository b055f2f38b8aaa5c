; Into user mode and back (user.h).
;
; All that user mode has in registers lies in its context while the kernel runs for it. SYSCALL changes no stack: until
; RSP is the kernel's, it is whatever user mode left there, and nothing may be pushed to it. Interrupts are masked
; (IA32_FMASK) from the first instruction on; NMI and machine check have stacks of their own (IST); a page fault cannot
; happen, since the first push is to a context, which is the kernel's memory; and #DB, which MOV SS delays past SYSCALL
; (CVE-2018-8897), has no cause: the debug registers are the kernel's, and off (user_init), TF is masked. The same holds
; between the last load of RSP and SYSRET.

%include "layout.inc"
%include "frame.inc"

extern interrupt_task_state, user_running, user_call

; struct user_context: FXSAVE image, then struct interrupt_frame.
CONTEXT_FRAME equ 512
FRAME_VECTOR equ 15 * 8
FRAME_RIP equ 17 * 8            ; behind 15 registers, vector, error
FRAME_RFLAGS equ 19 * 8
FRAME_RSP equ 20 * 8
FRAME_BYTES equ 22 * 8
TSS_RSP0 equ 4
USER_SYSCALL equ 256            ; a vector that no interrupt has
GENERAL_PROTECTION equ 13
CANONICAL_BITS equ 47           ; of user addresses

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
load_all:                       ; RDI: a context whose x87 and SSE state is loaded
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    add rdi, CONTEXT_FRAME
    mov rbx, [rdi + 1 * 8]
    mov rbp, [rdi + 6 * 8]
    mov r12, [rdi + 11 * 8]
    mov r13, [rdi + 12 * 8]
    mov r14, [rdi + 13 * 8]
    mov r15, [rdi + 14 * 8]
    ; What left by SYSCALL may come back by SYSRET: RCX and R11 are lost then. All else by IRETQ.
    cmp qword [rdi + FRAME_VECTOR], USER_SYSCALL
    je load_by_sysret
%assign at FRAME_RIP + 4 * 8    ; ss, rsp, rflags, cs, rip, as IRETQ takes them
%rep 5
    push qword [rdi + at]
%assign at at - 8
%endrep
    mov rax, [rdi + 0 * 8]
    mov rcx, [rdi + 2 * 8]
    mov rdx, [rdi + 3 * 8]
    mov rsi, [rdi + 4 * 8]
    mov r8, [rdi + 7 * 8]
    mov r9, [rdi + 8 * 8]
    mov r10, [rdi + 9 * 8]
    mov r11, [rdi + 10 * 8]
    mov rdi, [rdi + 5 * 8]
    iretq
user_enter_end:

; Where SYSCALL goes (IA32_LSTAR). RCX: where user mode goes on, R11: its flags. The registers are pushed into the
; running context, which ends where the frame does; then the kernel's stack is where user_enter left it.
global user_syscall:function (user_syscall_end - user_syscall)
user_syscall:
    mov [user_rsp], rsp
    mov rsp, [user_running]
    add rsp, CONTEXT_FRAME + FRAME_BYTES
    push qword LAYOUT_SEL_USER_DATA
    push qword [user_rsp]
    push r11
    push qword LAYOUT_SEL_USER_CODE
    push rcx
    push qword 0
    push qword USER_SYSCALL
    push_registers
    lea rdi, [rsp - CONTEXT_FRAME]
    mov rsp, [user_stack]       ; 16-aligned: the return address and seven registers lie above
    xor ebp, ebp                ; the end of every backtrace
    call [user_call]
    test eax, eax               ; enum user_go
    jz leave_by_call
    mov rdi, [user_running]
    dec eax
    jnz load_all
    ; The same context: what a C function keeps is still there.
    add rdi, CONTEXT_FRAME
    mov rbp, [rdi + 6 * 8]
; To a non-canonical address SYSRET faults on some CPUs while still in ring 0, with user mode's stack (CVE-2012-0217).
load_by_sysret:
    mov rcx, [rdi + FRAME_RIP]
    mov rax, rcx
    shr rax, CANONICAL_BITS
    jnz leave_wild
    mov r11, [rdi + FRAME_RFLAGS]
    mov rax, [rdi + 0 * 8]
    mov rdx, [rdi + 3 * 8]
    mov rsi, [rdi + 4 * 8]
    mov r8, [rdi + 7 * 8]
    mov r9, [rdi + 8 * 8]
    mov r10, [rdi + 9 * 8]
    mov rsp, [rdi + FRAME_RSP]
    mov rdi, [rdi + 5 * 8]
    o64 sysret
user_syscall_end:

; It cannot go on there: as if it had tried.
leave_wild:
    mov qword [rdi + FRAME_VECTOR], GENERAL_PROTECTION
; user_enter returns, and not to the context that called.
leave_by_call:
    mov rdi, [user_running]
    test rdi, rdi
    jz user_resume.saved        ; it is gone

; void user_resume(struct user_context *context): user_enter returns. The state that user mode left in the FPU is kept;
; the kernel itself never uses it.
global user_resume:function (user_resume_end - user_resume)
user_resume:
    fxsave64 [rdi]
.saved:
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
user_rsp: resq 1

section .note.GNU-stack noalloc noexec nowrite progbits
