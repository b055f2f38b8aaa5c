#include "arch/x86_64/interrupt.h"

#include <assert.h>
#include <stddef.h>

#include "arch/layout.h"

struct __attribute__((packed)) task_state {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3, io_map_base;
};
static_assert(sizeof(struct task_state) == 104, "SDM 3A 8.7");
static_assert(offsetof(struct task_state, rsp) == 4, "TSS_RSP0 of user.asm");

struct __attribute__((packed)) table_pointer {
    uint16_t limit;
    const void *base;
};

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};
static_assert(sizeof(struct gate) == 16, "SDM 3A 6.14.1");

enum { GATE_INTERRUPT = 0x8E, GATE_FROM_USER = 0xEE, VECTORS = 256 };

extern const char interrupt_entries[VECTORS][LAYOUT_INTERRUPT_ENTRY_BYTES]; /* entry.asm: code */
void load_gdt(const struct table_pointer *pointer);

/* user.asm writes rsp[0]. No port may be used from user mode: the map of them lies behind the end. */
extern struct task_state interrupt_task_state;
struct task_state interrupt_task_state = {.io_map_base = sizeof(struct task_state)};
static uint64_t gdt[] = {
    0,
    0x00209A0000000000, /* LAYOUT_SEL_CODE */
    0x0000920000000000, /* LAYOUT_SEL_DATA */
    0x0000F20000000000, /* LAYOUT_SEL_USER_DATA */
    0x0020FA0000000000, /* LAYOUT_SEL_USER_CODE */
    0, 0,               /* LAYOUT_SEL_TSS, 16 bytes: its address is known at run time only */
};
static struct gate idt[VECTORS];

static_assert(LAYOUT_SEL_TSS / 8 + 2 == sizeof gdt / sizeof gdt[0], "the TSS descriptor is the last");
static_assert(LAYOUT_SEL_USER_DATA == LAYOUT_SEL_DATA + 8 + 3 && LAYOUT_SEL_USER_CODE == LAYOUT_SEL_DATA + 16 + 3,
              "SYSRET takes both from one base");

static void set_tss_descriptor(void)
{
    uint64_t base = ptr_to_vaddr(&interrupt_task_state).v;
    uint64_t *descriptor = &gdt[LAYOUT_SEL_TSS / 8];
    const uint64_t limit = sizeof interrupt_task_state - 1;
    descriptor[0] = limit | (base & 0xFFFFFF) << 16 | 0x89ULL << 40 | (base >> 24 & 0xFF) << 56;
    descriptor[1] = base >> 32;
}

static void set_gate(unsigned vector, unsigned ist)
{
    uint64_t entry = ptr_to_vaddr(interrupt_entries[vector]).v;
    idt[vector] = (struct gate){
        .offset_low = (uint16_t)entry,
        .selector = LAYOUT_SEL_CODE,
        .ist = (uint8_t)ist,
        .type = vector == INTERRUPT_FROM_USER ? GATE_FROM_USER : GATE_INTERRUPT,
        .offset_middle = (uint16_t)(entry >> 16),
        .offset_high = (uint32_t)(entry >> 32),
    };
}

void interrupts_init(void)
{
    set_tss_descriptor();
    struct table_pointer gdt_pointer = {sizeof gdt - 1, gdt};
    load_gdt(&gdt_pointer);
    for (unsigned vector = 0; vector < VECTORS; vector++) {
        set_gate(vector, IST_NONE);
    }
    struct table_pointer idt_pointer = {sizeof idt - 1, idt};
    __asm__ volatile("lidt %0" : : "m"(idt_pointer));
}

void interrupts_set_stack(enum interrupt_stack which, vaddr_t top)
{
    static const unsigned vectors[IST_COUNT] = {
        [IST_DOUBLE_FAULT] = EXCEPTION_DOUBLE_FAULT,
        [IST_NMI] = EXCEPTION_NMI,
        [IST_MACHINE_CHECK] = EXCEPTION_MACHINE_CHECK,
    };
    if (which > IST_NONE && which < IST_COUNT) {
        interrupt_task_state.ist[which - 1] = top.v;
        set_gate(vectors[which], which);
    }
}

static interrupt_handler *hooks[VECTORS]; /* null: kernel_interrupt */

interrupt_handler *interrupt_hook(unsigned vector, interrupt_handler *handler)
{
    interrupt_handler *before = hooks[vector];
    hooks[vector] = handler;
    return before;
}

void interrupt_dispatch(struct interrupt_frame *frame)
{
    interrupt_handler *hook = hooks[frame->vector];
    (hook != NULL ? hook : kernel_interrupt)(frame);
}
