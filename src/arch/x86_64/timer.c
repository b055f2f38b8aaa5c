/*
 * The 8259A pair is set up in any case: its vectors after a reset are those of exceptions, and an interrupt that goes
 * away before it is taken is delivered as IRQ 7 or 15 although both are masked (data sheet, "Default IR7").
 *
 * The APIC's registers are where IA32_APIC_BASE says, which is what the CPU does; ACPI's MADT can only say the same. In
 * x2APIC mode they are MSRs: no page of registers to be mapped, and no store that the CPU could still hold back. So it
 * is turned on where the CPU has it, as firmware does on some machines, where it could not be turned off again.
 *
 * The APIC's clock is unknown. It is counted while the PIT's channel 2 runs for a quarter of a millisecond: long enough
 * for two digits, and under an emulator's instruction clock 250,000 instructions. A PIT that does not answer leaves a
 * guess.
 */
#include "arch/x86_64/timer.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/user.h"

enum { VECTOR_FIRST = 32, VECTORS = 256, APIC_SPURIOUS_VECTOR = 0xFF };

/* 8259A. */
enum {
    PIC_MASTER = 0x20,
    PIC_SLAVE = 0xA0,
    PIC_DATA = 1,
    PIC_INIT_WITH_ICW4 = 0x11,
    PIC_SLAVE_AT_IRQ2 = 4,
    PIC_SLAVE_ID = 2,
    PIC_MODE_8086 = 1,
    PIC_READ_IN_SERVICE = 0x0B,
    PIC_END = 0x20,
    PIC_LINES = 8, /* of each */
    PIC_IRQ_SPURIOUS = 7,
    PIC_ALL = 0xFF,
    PIC_ALL_BUT_TIMER = 0xFE,
};

/* 8254. */
enum {
    PIT_CHANNEL_0 = 0x40,
    PIT_CHANNEL_2 = 0x42,
    PIT_COMMAND = 0x43,
    PIT_PERIODIC_0 = 0x34, /* channel 0, both bytes, mode 2 */
    PIT_ONCE_2 = 0xB0,     /* channel 2, both bytes, mode 0 */
    PIT_GATE_PORT = 0x61,  /* bit 0: gate of channel 2, bit 1: the speaker, bit 5: the channel's output */
    PIT_GATE = 1 << 0,
    PIT_SPEAKER = 1 << 1,
    PIT_OUTPUT = 1 << 5,
    PIT_HZ = 1193182,
    PIT_POLLS_MAX = 100000, /* some 1 us each, on a bus of those days */
};

/* Local APIC: offsets of registers (SDM 3A 10.4.1). */
enum {
    APIC_TPR = 0x80,
    APIC_END = 0xB0,
    APIC_SPURIOUS = 0xF0,
    APIC_IN_SERVICE = 0x100,
    APIC_LVT_TIMER = 0x320,
    APIC_LVT_LINT0 = 0x350,
    APIC_LVT_ERROR = 0x370,
    APIC_TIMER_INITIAL = 0x380,
    APIC_TIMER_CURRENT = 0x390,
    APIC_TIMER_DIVIDE = 0x3E0,
    APIC_MSRS = 0x800,      /* x2APIC: an MSR for each 16 bytes */
    APIC_ENABLE = 1 << 8,
    APIC_MASKED = 1 << 16,
    APIC_PERIODIC = 1 << 17,
    APIC_EXTINT = 7 << 8,   /* what the 8259A has to say */
    APIC_DIVIDE_BY_16 = 3,
    APIC_BASE_X2 = 1 << 10,
    APIC_BASE_ON = 1 << 11,
};

enum { TURN_HZ = 250, CALIBRATE_HZ = 4000, COUNT_GUESSED = 1 << 16 };

static volatile uint32_t *apic; /* null: none, or in x2APIC mode */
static bool has_apic, is_x2;

static uint32_t apic_read(unsigned at)
{
    return is_x2 ? (uint32_t)read_msr(APIC_MSRS + at / 16) : apic[at / sizeof *apic];
}

static void apic_write(unsigned at, uint32_t value)
{
    if (is_x2) {
        write_msr(APIC_MSRS + at / 16, value);
    } else {
        apic[at / sizeof *apic] = value;
    }
}

/* ---- What comes ---- */

static bool apic_is_in_service(unsigned vector)
{
    return has_apic && (apic_read(APIC_IN_SERVICE + vector / 32 * 16) >> vector % 32 & 1) != 0;
}

/* Which of the 8259A's lines are being served. */
static unsigned pic_in_service(uint16_t pic)
{
    out8(pic, PIC_READ_IN_SERVICE);
    return in8(pic);
}

static void pic_end(unsigned line)
{
    const bool is_slaves = line >= PIC_LINES;
    const uint16_t pic = is_slaves ? PIC_SLAVE : PIC_MASTER;
    const bool is_real = line % PIC_LINES != PIC_IRQ_SPURIOUS || (pic_in_service(pic) >> PIC_IRQ_SPURIOUS & 1) != 0;
    if (is_real) {
        out8(pic, PIC_END);
    }
    if (is_slaves) {
        out8(PIC_MASTER, PIC_END); /* to the master a spurious one of the slave's is real */
    }
}

static void on_interrupt(struct interrupt_frame *f)
{
    if (f->vector >= TIMER_VECTOR_PIT && f->vector < TIMER_VECTOR_PIT + 2 * PIC_LINES) {
        pic_end((unsigned)f->vector - TIMER_VECTOR_PIT);
    } else if (apic_is_in_service((unsigned)f->vector)) {
        apic_write(APIC_END, 0);
    }
    if (timer_is_tick(f->vector) && interrupt_is_from_user(f) && user_is_running()) {
        user_leave(f, vaddr(0));
    }
}

/* ---- Start ---- */

static void pic_start(uint8_t mask)
{
    static const uint8_t words[][2] = {{TIMER_VECTOR_PIT, TIMER_VECTOR_PIT + PIC_LINES},
                                       {PIC_SLAVE_AT_IRQ2, PIC_SLAVE_ID},
                                       {PIC_MODE_8086, PIC_MODE_8086}};
    out8(PIC_MASTER, PIC_INIT_WITH_ICW4);
    out8(PIC_SLAVE, PIC_INIT_WITH_ICW4);
    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
        out8(PIC_MASTER + PIC_DATA, words[i][0]);
        out8(PIC_SLAVE + PIC_DATA, words[i][1]);
    }
    out8(PIC_MASTER + PIC_DATA, mask);
    out8(PIC_SLAVE + PIC_DATA, PIC_ALL);
}

static void pit_start(uint16_t channel, uint8_t command, unsigned count)
{
    out8(PIT_COMMAND, command);
    out8(channel, (uint8_t)count);
    out8(channel, (uint8_t)(count >> 8));
}

/* Ticks of the APIC's timer in 1 / CALIBRATE_HZ; 0: the PIT does not answer. */
static uint32_t count_apic(void)
{
    const uint8_t gate = (uint8_t)(in8(PIT_GATE_PORT) & ~(PIT_SPEAKER | PIT_GATE));
    out8(PIT_GATE_PORT, gate | PIT_GATE);
    apic_write(APIC_TIMER_INITIAL, UINT32_MAX);
    pit_start(PIT_CHANNEL_2, PIT_ONCE_2, PIT_HZ / CALIBRATE_HZ);
    const uint32_t before = apic_read(APIC_TIMER_CURRENT);
    unsigned polls = 0;
    while ((in8(PIT_GATE_PORT) & PIT_OUTPUT) == 0 && polls < PIT_POLLS_MAX) {
        polls++;
    }
    const uint32_t after = apic_read(APIC_TIMER_CURRENT);
    out8(PIT_GATE_PORT, gate);
    apic_write(APIC_TIMER_INITIAL, 0);
    return polls == 0 || polls == PIT_POLLS_MAX ? 0 : before - after;
}

/* => false: there is none, or none that can be reached. */
static bool apic_find(timer_map_fn *map)
{
    const struct cpuid_result has = cpuid(1, 0);
    if ((has.edx >> 9 & 1) == 0) {
        return false;
    }
    is_x2 = (has.ecx >> 21 & 1) != 0;
    const uint64_t base = read_msr(MSR_APIC_BASE) | APIC_BASE_ON;
    write_msr(MSR_APIC_BASE, base); /* on first: from off there is no way to x2APIC mode (SDM 3A 10.12.5) */
    if (is_x2) {
        write_msr(MSR_APIC_BASE, base | APIC_BASE_X2);
    }
    apic = is_x2 ? NULL : map(pfn_to_paddr(paddr_to_pfn(paddr(base))));
    return is_x2 || apic != NULL;
}

static void apic_mask(void)
{
    apic_write(APIC_LVT_TIMER, APIC_MASKED | TIMER_VECTOR_APIC);
    apic_write(APIC_LVT_ERROR, APIC_MASKED | APIC_SPURIOUS_VECTOR);
    apic_write(APIC_TPR, 0);
    apic_write(APIC_SPURIOUS, APIC_ENABLE | APIC_SPURIOUS_VECTOR);
}

static void apic_start(void)
{
    apic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_BY_16);
    const uint32_t counted = count_apic();
    apic_write(APIC_LVT_TIMER, APIC_PERIODIC | TIMER_VECTOR_APIC);
    apic_write(APIC_TIMER_INITIAL, counted == 0 ? COUNT_GUESSED : counted * (CALIBRATE_HZ / TURN_HZ));
}

enum timer_kind timer_start(timer_map_fn *map, enum timer_kind want)
{
    for (unsigned vector = VECTOR_FIRST; vector < VECTORS; vector++) {
        if (vector != INTERRUPT_FROM_USER) {
            interrupt_hook(vector, on_interrupt);
        }
    }
    has_apic = apic_find(map);
    if (has_apic) {
        apic_mask();
    }
    if (want == TIMER_PIT || !has_apic) {
        if (has_apic) {
            apic_write(APIC_LVT_LINT0, APIC_EXTINT);
        }
        pic_start(PIC_ALL_BUT_TIMER);
        pit_start(PIT_CHANNEL_0, PIT_PERIODIC_0, PIT_HZ / TURN_HZ);
        return want == TIMER_APIC ? TIMER_NONE : TIMER_PIT;
    }
    pic_start(PIC_ALL);
    apic_start();
    return is_x2 ? TIMER_X2APIC : TIMER_APIC;
}
