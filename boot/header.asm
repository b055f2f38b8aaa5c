; The Multiboot2 header (specification 2.0, section 3.1). The linker script puts it into the first 32 KiB of the file.
; LOAD_PREFERENCE: 1 as low as possible, 2 as high as possible (a test boots that one far from where it was linked).

%include "layout.inc"

MAGIC        equ 0xE85250D6
ARCH_I386    equ 0              ; 32-bit protected mode, on BIOS and on UEFI machines alike
OPTIONAL     equ 1              ; flag: a loader that cannot may ignore the tag

section .multiboot2 progbits alloc noexec nowrite align=8
header:
    dd MAGIC, ARCH_I386, header_end - header
    dd -(MAGIC + ARCH_I386 + (header_end - header)) & 0xFFFFFFFF

    align 8, db 0
information:                    ; what we read, none of it a reason not to boot
    dw 1, OPTIONAL
    dd information_end - information
    dd 1, 2, 3, 4, 6, 8, 9, 14, 15, 17, 21
information_end:

    align 8, db 0
console:
    dw 4, OPTIONAL
    dd 12
    dd 2                        ; EGA text is understood

    align 8, db 0
framebuffer:                    ; where there is no text mode (UEFI): any size, 32 bits a pixel
    dw 5, OPTIONAL
    dd 20
    dd 0, 0, 32

    align 8, db 0
module_alignment:
    dw 6, OPTIONAL
    dd 8

    align 8, db 0
relocatable:                    ; the trampoline is position-independent; 1 MiB may be taken on real machines
    dw 10, OPTIONAL
    dd 24
    dd LAYOUT_LOAD_ADDRESS      ; lowest
    dd 0xFFFFFFFF               ; highest
    dd 4096                     ; alignment
    dd LOAD_PREFERENCE

    align 8, db 0
    dw 0, 0                     ; end
    dd 8
header_end:

section .note.GNU-stack noalloc noexec nowrite progbits
