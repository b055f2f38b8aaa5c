; Copies between the kernel and user pages, which may fault: user_copy.h.

%include "layout.inc"

extern features_smap

; Under SMAP the kernel may touch user pages while AC is set: only between these two. The handler of a fault in between
; clears it for itself (entry.asm).
%macro allow_user_pages 0
    cmp byte [features_smap], 0
    je %%off
    stac
%%off:
%endmacro
%macro forbid_user_pages 0
    cmp byte [features_smap], 0
    je %%off
    clac
%%off:
%endmacro

section .text progbits alloc exec nowrite align=16
bits 64
default rel

; uint64_t user_copy(void *to, const void *from, uint64_t bytes): bytes that were not copied.
global user_copy:function (user_copy_end - user_copy)
user_copy:
    allow_user_pages
    mov rcx, rdx
    shr rcx, 3
    and edx, 7
copy_words:
    rep movsq
    mov ecx, edx
copy_rest:
    rep movsb
    xor eax, eax
    jmp copied
copy_words_faulted:             ; RCX words and RDX bytes are left
    lea rax, [rdx + rcx * 8]
    jmp copied
copy_rest_faulted:
    mov rax, rcx
copied:
    forbid_user_pages
    ret
user_copy_end:

; enum user_text user_copy_text(char *to, const char *from, uint64_t bytes, uint64_t *left)
global user_copy_text:function (user_copy_text_end - user_copy_text)
user_copy_text:
    allow_user_pages
    mov r8, rcx
    mov ecx, 1                  ; USER_TEXT_FULL
text_next:
    test rdx, rdx
    jz text_end
copy_text:
    mov al, [rsi]
    mov [rdi], al
    inc rsi
    inc rdi
    dec rdx
    test al, al
    jnz text_next
    xor ecx, ecx                ; USER_TEXT_ENDED
    jmp text_end
copy_text_faulted:
    mov ecx, 2                  ; USER_TEXT_FAULT
text_end:
    forbid_user_pages
    mov [r8], rdx
    mov eax, ecx
    ret
user_copy_text_end:

section .rodata progbits alloc noexec nowrite align=8
; struct user_fixup[]: which instructions may fault, and where to go on then.
global user_fixups:data
user_fixups:
    dq copy_words, copy_words_faulted
    dq copy_rest, copy_rest_faulted
    dq copy_text, copy_text_faulted
    dq 0, 0

section .note.GNU-stack noalloc noexec nowrite progbits
