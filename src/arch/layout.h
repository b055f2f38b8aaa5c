/*
 * The address map: the one home of every fixed virtual address, for C, for NASM and for the linker script.
 *
 * Only lines of the form `#define NAME INTEGER` are here above the C part: the build turns them into NASM %defines, and
 * the linker script is preprocessed with this file. Hexadecimal without suffix, so that all three can read it.
 *
 *   PML4 slot  address            what
 *   0-127      0000000000000000   private user part; the first 64 KiB are never given out
 *   128-255    0000400000000000   global user part: one arena for all spaces
 *   256        FFFF800000000000   kernel arena: kernel pages, stacks, heap, MMIO
 *   257        FFFF808000000000   PMM: one u16 for each frame, at its computed address
 *   258        FFFF810000000000   temporary mappings; upper half: PMM blocks, regions and runs
 *   260-507    FFFF820000000000   kept for a bank of foreign windows, one a CPU
 *   509        FFFFFE8000000000   the kernel image; boot window
 *   510        FFFFFF0000000000   foreign window: another space's tables; 0 when closed
 *   511        FFFFFF8000000000   self window: our own tables
 *
 * Regions, runs and holds end where the block descriptors begin (LAYOUT_PMM_BLOCKS), a MiB behind a table's start, so
 * that on small machines one page table backs them all.
 *
 * The PDPTs of slots 256, 257, 258 and 509 are made at boot and never freed; every space has the same four entries.
 *
 * The pair of windows may lie in any two slots of the kernel half where nothing else is: nothing but the three lines
 * LAYOUT_SLOT_FOREIGN, LAYOUT_SLOT_SELF and LAYOUT_SLOT_BANK_LAST names them. A build may set all three from outside
 * (CAIRN_SLOTS), and the tests do. With self in slot 511 the PML4 appears in the last page of the address space: no
 * pointer may be formed behind it.
 */
#ifndef CAIRN_ARCH_LAYOUT_H
#define CAIRN_ARCH_LAYOUT_H

#define LAYOUT_SLOT_GLOBAL 128
#define LAYOUT_SLOT_KERNEL 256
#define LAYOUT_SLOT_PMM 257
#define LAYOUT_SLOT_TEMP 258
#define LAYOUT_SLOT_BANK_FIRST 260
#define LAYOUT_SLOT_IMAGE 509
#ifndef LAYOUT_SLOT_SELF
#define LAYOUT_SLOT_BANK_LAST 507
#define LAYOUT_SLOT_FOREIGN 510
#define LAYOUT_SLOT_SELF 511
#endif

#define LAYOUT_USER_FIRST 0x0000000000010000
#define LAYOUT_USER_END 0x00007FFFFFFFF000

#define LAYOUT_KERNEL_BASE 0xFFFF800000000000
#define LAYOUT_ARENA_NODES 0xFFFF800000000000
#define LAYOUT_ARENA_BASE 0xFFFF800040000000
#define LAYOUT_KERNEL_END 0xFFFF808000000000

#define LAYOUT_PMM_STATES 0xFFFF808000000000
#define LAYOUT_PMM_STATES_END 0xFFFF810000000000

#define LAYOUT_TEMP_BASE 0xFFFF810000000000
#define LAYOUT_PMM_TABLES 0xFFFF814000000000
#define LAYOUT_PMM_BLOCKS 0xFFFF814040100000
#define LAYOUT_TEMP_END 0xFFFF818000000000

#define LAYOUT_IMAGE_BASE 0xFFFFFE8000000000
#define LAYOUT_BOOT_WINDOW 0xFFFFFE8020000000
#define LAYOUT_BOOT_WINDOW_BYTES 0x200000

#define LAYOUT_LOAD_ADDRESS 0x100000

/*
 * Segment selectors of the one GDT (interrupt.c), also used by the trampoline's first one; those of user mode with its
 * privilege level. User data comes before user code, as SYSRET wants them (SDM 2B, SYSRET).
 */
#define LAYOUT_SEL_CODE 0x08
#define LAYOUT_SEL_DATA 0x10
#define LAYOUT_SEL_USER_DATA 0x1B
#define LAYOUT_SEL_USER_CODE 0x23
#define LAYOUT_SEL_TSS 0x28

/* Each of the 256 entries of interrupts (entry.asm), code one behind the other: the length of the longest. */
#define LAYOUT_INTERRUPT_ENTRY_BYTES 12

#if !defined(__ASSEMBLER__) && !defined(CAIRN_LINKER_SCRIPT)

#include <assert.h>
#include <stdint.h>

/* First address of a PML4 slot, sign-extended. */
#define LAYOUT_SLOT_BASE(slot) (((slot) >= 256 ? 0xFFFF000000000000 : 0x0) | ((uint64_t)(slot) << 39))

/* Physical addresses the PMM can describe: LAYOUT_PMM_STATES holds one u16 for each frame below. */
#define LAYOUT_PMM_REACH_BYTES 0x4000000000000

static_assert(LAYOUT_KERNEL_BASE == LAYOUT_SLOT_BASE(LAYOUT_SLOT_KERNEL), "slot 256");
static_assert(LAYOUT_PMM_STATES == LAYOUT_SLOT_BASE(LAYOUT_SLOT_PMM), "slot 257");
static_assert(LAYOUT_TEMP_BASE == LAYOUT_SLOT_BASE(LAYOUT_SLOT_TEMP), "slot 258");
static_assert(LAYOUT_TEMP_END == LAYOUT_SLOT_BASE(LAYOUT_SLOT_TEMP + 1), "slot 258 ends");
static_assert(LAYOUT_IMAGE_BASE == LAYOUT_SLOT_BASE(LAYOUT_SLOT_IMAGE), "slot 509");
static_assert(LAYOUT_PMM_STATES + LAYOUT_PMM_REACH_BYTES / 4096 * 2 <= LAYOUT_PMM_STATES_END, "a u16 a frame");
static_assert(LAYOUT_PMM_BLOCKS + LAYOUT_PMM_REACH_BYTES / 0x200000 * 32 <= LAYOUT_TEMP_END, "32 bytes a block");

/* Nothing lies where tables appear: each window has a slot of its own, and so has the bank. */
#define LAYOUT_SLOT_IS_SPARE(slot) ((slot) > LAYOUT_SLOT_TEMP && (slot) <= 511 && (slot) != LAYOUT_SLOT_IMAGE)
#define LAYOUT_SLOT_IS_OF_BANK(slot) ((slot) >= LAYOUT_SLOT_BANK_FIRST && (slot) <= LAYOUT_SLOT_BANK_LAST)
static_assert(LAYOUT_SLOT_SELF != LAYOUT_SLOT_FOREIGN, "the windows are two slots");
static_assert(LAYOUT_SLOT_IS_SPARE(LAYOUT_SLOT_SELF), "the self window is apart from the arena, the PMM and the image");
static_assert(LAYOUT_SLOT_IS_SPARE(LAYOUT_SLOT_FOREIGN), "so is the foreign window");
static_assert(!LAYOUT_SLOT_IS_OF_BANK(LAYOUT_SLOT_SELF), "the self window is apart from the bank");
static_assert(!LAYOUT_SLOT_IS_OF_BANK(LAYOUT_SLOT_FOREIGN), "so is the foreign window");
static_assert(LAYOUT_SLOT_BANK_FIRST > LAYOUT_SLOT_TEMP && LAYOUT_SLOT_BANK_LAST < LAYOUT_SLOT_IMAGE,
              "the bank is apart from the PMM and the image");
static_assert(LAYOUT_USER_END <= LAYOUT_KERNEL_BASE - 0xFFFF000000000000, "the user part ends below the hole");
static_assert(LAYOUT_KERNEL_END == LAYOUT_SLOT_BASE(LAYOUT_SLOT_KERNEL + 1), "the arena ends with its slot");
static_assert(LAYOUT_BOOT_WINDOW + LAYOUT_BOOT_WINDOW_BYTES < LAYOUT_IMAGE_BASE + 0x8000000000,
              "image and boot window share a slot");

#endif
#endif
