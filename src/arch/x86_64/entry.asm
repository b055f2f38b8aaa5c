; 64-bit entry points: from the trampoline, and from interrupts.

%include "layout.inc"
%include "frame.inc"

extern kernel_boot, interrupt_dispatch, features_smap

BOOT_STACK_BYTES equ 16384
PML4_WINDOW equ (0xFFFF << 48) | (LAYOUT_SLOT_SELF * ((1 << 39) | (1 << 30) | (1 << 21) | (1 << 12)))

section .init.text progbits alloc exec nowrite align=16
bits 64
default rel

; RDI: boot information, RSI: image (both physical), RDX: tick of the first instruction. From here on no address below
; 2^47 is used.
global entry64:function (entry64_end - entry64)
entry64:
    lea rsp, [boot_stack_top]
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    ; Drop the identity map: slot 0 of our own PML4, through the self window.
    mov rcx, PML4_WINDOW
    mov [rcx], rax
    mov rax, cr3
    mov cr3, rax
    xor ebp, ebp                ; the end of every backtrace
    call kernel_boot
    ud2
entry64_end:

section .text progbits alloc exec nowrite align=16

; void enter_on_stack(uint64_t top, void (*function)(void)): go on at `function` on another stack, never to return.
global enter_on_stack:function (enter_on_stack_end - enter_on_stack)
enter_on_stack:
    mov rsp, rdi
    xor ebp, ebp
    call rsi
    ud2
enter_on_stack_end:

; void load_segments(const void *gdt_pointer)
global load_gdt:function (load_gdt_end - load_gdt)
load_gdt:
    lgdt [rdi]
    mov eax, LAYOUT_SEL_DATA
    mov ss, eax
    mov ds, eax
    mov es, eax
    push qword LAYOUT_SEL_CODE
    lea rax, [.reloaded]
    push rax
    retfq
.reloaded:
    mov eax, LAYOUT_SEL_TSS
    ltr ax
    ret
load_gdt_end:

; ---- Interrupt entries --------------------------------------------------------------------------------------------
; Each vector has an entry of its own that pushes what the CPU did not: an error code of 0 where there is none, and the
; vector's number. struct interrupt_frame (src/arch/context.h) is what lies on the stack then. All are as long
; as the longest, so that no table of them is needed.

global interrupt_entries:function (interrupt_entries_end - interrupt_entries)
interrupt_entries:
%assign vector 0
%rep 256
interrupt_entry_ %+ vector:
    %if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
    %else
    push qword 0
    %endif
    push qword vector
    jmp strict near interrupt_common
    times LAYOUT_INTERRUPT_ENTRY_BYTES - ($ - interrupt_entry_ %+ vector) int3
%assign vector vector + 1
%endrep
interrupt_entries_end:

interrupt_common:
    push_registers
    cld
    ; Delivery leaves AC as it was: user mode may set it, and a copy that faults has it set. Here SMAP holds.
    cmp byte [features_smap], 0
    je .smap
    clac
.smap:
    mov rdi, rsp
    mov rbp, rsp
    and rsp, -16                ; the C calling convention's alignment, whatever the interrupted code had
    call interrupt_dispatch
    mov rsp, rbp
    pop rax
    pop rbx
    pop rcx
    pop rdx
    pop rsi
    pop rdi
    pop rbp
    pop r8
    pop r9
    pop r10
    pop r11
    pop r12
    pop r13
    pop r14
    pop r15
    add rsp, 16
    iretq

section .init.bss nobits alloc noexec write align=16
    resb BOOT_STACK_BYTES
boot_stack_top:

section .note.GNU-stack noalloc noexec nowrite progbits
