; From the loader's 32-bit protected mode to 64-bit code in the higher half.
;
; 1. Find out where we are: the image may have been moved (EBP = load address - linked address; every access adds it).
; 2. Check loader and CPU; say what is missing on serial and screen, and halt.
; 3. First tables, in the image's own .boot.bss (a placement allocation): slot 0 maps this one page read-and-execute,
;    so that the switch can happen under our feet; slot 509 maps the image with the rights of its sections (W^X from
;    the first table on); slot 511 is the PML4 itself.
; 4. Long mode with NX and write protection; on to entry64, which drops slot 0.
;
; Nothing is assumed of CR0, CR4, EFER, the stack or the segments, but that these are the flat ones Multiboot2 promises.

%include "layout.inc"

LOADER_MAGIC equ 0x36D76289
PTE_P   equ 1
PTE_PW  equ 3
PTE_NX_HIGH equ 0x80000000      ; bit 63, in the upper half of an entry

extern entry64                  ; src/arch/x86_64/entry.asm, in the higher half
; Offsets from the image's start, in pages aligned by the linker script.
extern offset_init_text, offset_init_text_end, offset_init_rodata, offset_init_rodata_end
extern offset_init_data, offset_init_data_end
extern offset_text, offset_text_end, offset_rodata, offset_rodata_end, offset_data, offset_data_end

section .boot.text progbits alloc exec write align=16
bits 32
global boot_start:function
boot_start:
    cli
    cld
    mov esi, eax                ; the loader's magic
    ; A stack of one word to learn EIP. EBX may point anywhere, so it is not asked; the word is put back, since on a
    ; UEFI machine even this place may hold the boot information.
    mov esp, 0x7000
    mov edi, [esp - 4]
    call .here
.here:
    pop ebp
    mov [esp - 4], edi
    sub ebp, .here              ; EBP: how far the image was moved
    lea esp, [ebp + stack32_top]
    lea eax, [ebp + no_loader]
    cmp esi, LOADER_MAGIC
    jne fail
    call check_cpu              ; returns, or fails with a message
    rdtsc
    mov [ebp + first_tick], eax
    mov [ebp + first_tick + 4], edx
    call build_tables
    jmp enter_long_mode

; ---- What the CPU must have -------------------------------------------------------------------------------------
check_cpu:
    pushfd                      ; CPUID exists when EFLAGS.ID can be changed
    pop eax
    mov ecx, eax
    xor eax, 1 << 21
    push eax
    popfd
    pushfd
    pop eax
    xor ecx, eax
    lea eax, [ebp + no_cpuid]
    test ecx, 1 << 21
    jz fail
    push ebx                    ; CPUID writes EBX: the boot information's address
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    lea eax, [ebp + no_long_mode]
    jb fail
    mov eax, 0x80000001
    cpuid
    lea eax, [ebp + no_long_mode]
    test edx, 1 << 29
    jz fail
    lea eax, [ebp + no_nx]
    test edx, 1 << 20
    jz fail
    pop ebx
    ret

; ---- First tables ------------------------------------------------------------------------------------------------
; %1: table linked into entry %3 of table %2 (labels), flags in %4
%macro link_table 4
    lea eax, [ebp + %1 + %4]
    mov [ebp + %2 + %3 * 8], eax
%endmacro

build_tables:
    link_table id_pdpt, pml4, 0, PTE_PW
    link_table hi_pdpt, pml4, LAYOUT_SLOT_IMAGE, PTE_PW
    link_table pml4, pml4, LAYOUT_SLOT_SELF, PTE_PW
    mov dword [ebp + pml4 + LAYOUT_SLOT_SELF * 8 + 4], PTE_NX_HIGH
    link_table hi_pd, hi_pdpt, 0, PTE_PW
    link_table hi_pt, hi_pd, 0, PTE_PW
    link_table hi_pt + 4096, hi_pd, 1, PTE_PW
    link_table window_pt, hi_pd, ((LAYOUT_BOOT_WINDOW - LAYOUT_IMAGE_BASE) >> 21), PTE_PW

    lea edx, [ebp + boot_start] ; the page we run in, aligned by the linker script; read and execute only
    mov ecx, edx
    shr ecx, 30
    lea eax, [ebp + id_pd + PTE_PW]
    mov [ebp + id_pdpt + ecx * 8], eax
    mov ecx, edx
    shr ecx, 21
    and ecx, 511
    lea eax, [ebp + id_pt + PTE_PW]
    mov [ebp + id_pd + ecx * 8], eax
    mov ecx, edx
    shr ecx, 12
    and ecx, 511
    lea eax, [edx + PTE_P]
    mov [ebp + id_pt + ecx * 8], eax

    lea esi, [ebp + sections]   ; each section with its own rights
.section:
    mov ecx, [esi]              ; offset of the next page
.page:
    cmp ecx, [esi + 4]
    jae .next
    lea eax, [ebp + ecx + LAYOUT_LOAD_ADDRESS]
    or eax, [esi + 8]
    mov edx, ecx
    shr edx, 12
    mov [ebp + hi_pt + edx * 8], eax
    mov eax, [esi + 12]
    mov [ebp + hi_pt + edx * 8 + 4], eax
    add ecx, 4096
    jmp .page
.next:
    add esi, 16
    lea eax, [ebp + sections_end]
    cmp esi, eax
    jb .section
    ret

; ---- Long mode -----------------------------------------------------------------------------------------------------
enter_long_mode:
    mov eax, 0x00000021         ; paging off: PE, NE
    or eax, 0x10                ; ET, always set
    mov cr0, eax
    mov eax, 1 << 5             ; PAE and nothing else
    mov cr4, eax
    lea eax, [ebp + pml4]
    mov cr3, eax
    mov ecx, 0xC0000080         ; EFER: LME, NXE and nothing else: TCE must be 0 (src/arch/arch.h)
    mov eax, (1 << 8) | (1 << 11)
    xor edx, edx
    wrmsr
    mov eax, 0x80010031         ; PG, WP, NE, ET, PE
    lea ecx, [ebp + gdt]
    mov [ebp + gdt_pointer + 2], ecx
    lgdt [ebp + gdt_pointer]
    lea ecx, [ebp + in_long_mode]
    push dword LAYOUT_SEL_CODE
    push ecx
    mov edi, ebx                ; 1st argument: boot information, physical
    lea esi, [ebp + LAYOUT_LOAD_ADDRESS] ; 2nd: the image, physical
    mov ecx, [ebp + first_tick] ; 3rd: first tick, joined below (ECX low, EDX high): no memory but this page
    mov edx, [ebp + first_tick + 4] ; is mapped at its physical address from here on, so the far pointer is popped first
    lea ebx, [ebp + far_pointer]
    pop dword [ebx]
    pop dword [ebx + 4]
    mov cr0, eax
    jmp far dword [ebx]
bits 64
in_long_mode:
    shl rdx, 32
    mov ecx, ecx
    or rdx, rcx
    mov edi, edi                ; clear upper halves
    mov esi, esi
    mov rax, entry64
    jmp rax

; ---- Failing with a word -----------------------------------------------------------------------------------------
bits 32
; EAX: text. To COM1, if there is one, and to the VGA text screen; then halt.
fail:
    mov esi, eax
    mov edi, 0xB8000
    call serial_setup
.next:
    movzx eax, byte [esi]
    test al, al
    jz .halt
    mov ah, 0x4F                ; white on red
    mov [edi], ax
    add edi, 2
    call serial_put
    inc esi
    jmp .next
.halt:
    mov al, 10
    call serial_put
.forever:
    cli
    hlt
    jmp .forever

%macro out_byte 2
    mov dx, %1
    mov al, %2
    out dx, al
%endmacro

serial_setup:                   ; 115200 8N1, no interrupts
    out_byte 0x3F9, 0
    out_byte 0x3FB, 0x80
    out_byte 0x3F8, 1
    out_byte 0x3F9, 0
    out_byte 0x3FB, 3
    out_byte 0x3FA, 7
    ret

serial_put:                     ; AL; gives up when the transmitter never gets ready
    mov ah, al
    mov ecx, 100000
.wait:
    mov dx, 0x3FD
    in al, dx
    test al, 0x20
    jnz .ready
    loop .wait
.ready:
    mov al, ah
    mov dx, 0x3F8
    out dx, al
    ret

no_loader:    db "cairn: not started by a Multiboot2 loader; use GRUB's multiboot2 command", 0
no_cpuid:     db "cairn: this CPU has no CPUID instruction; a 64-bit x86 CPU is needed", 0
no_long_mode: db "cairn: this CPU has no long mode; a 64-bit x86 CPU is needed", 0
no_nx:        db "cairn: this CPU has no NX (execute disable), or the firmware hides it; enable it there", 0

align 16, db 0
sections:                       ; first offset, end offset, flags low, flags high
    dd offset_init_text, offset_init_text_end, PTE_P, 0
    dd offset_init_rodata, offset_init_rodata_end, PTE_P, PTE_NX_HIGH
    dd offset_init_data, offset_init_data_end, PTE_PW, PTE_NX_HIGH
    dd offset_text, offset_text_end, PTE_P, 0
    dd offset_rodata, offset_rodata_end, PTE_P, PTE_NX_HIGH
    dd offset_data, offset_data_end, PTE_PW, PTE_NX_HIGH
sections_end:

align 8, db 0
gdt:                            ; accessed already: this page is read-only by the time the CPU would set the bit
    dq 0
    dq 0x00209B0000000000       ; 64-bit code
    dq 0x0000930000000000       ; data
gdt_end:
gdt_pointer:
    dw gdt_end - gdt - 1
    dd 0
align 8, db 0
far_pointer: dd 0, 0
first_tick:  dd 0, 0

section .boot.bss nobits alloc noexec write align=16
pml4:      resb 4096
id_pdpt:   resb 4096
id_pd:     resb 4096
id_pt:     resb 4096
hi_pdpt:   resb 4096
hi_pd:     resb 4096
hi_pt:     resb 2 * 4096        ; 4 MiB of image; the linker script asserts that it fits
window_pt: resb 4096
stack32:   resb 512
stack32_top:

section .note.GNU-stack noalloc noexec nowrite progbits
