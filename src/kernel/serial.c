#include "kernel/serial.h"

#include <stdint.h>

#include "arch/x86_64/cpu.h"

enum {
    COM1 = 0x3F8,
    DATA = COM1 + 0,         /* divisor low while DLAB is set */
    INTERRUPTS = COM1 + 1,   /* divisor high while DLAB is set */
    FIFO_CONTROL = COM1 + 2,
    LINE_CONTROL = COM1 + 3,
    MODEM_CONTROL = COM1 + 4,
    LINE_STATUS = COM1 + 5,
    SCRATCH = COM1 + 7,

    LINE_8N1 = 0x03,
    LINE_DLAB = 0x80,
    STATUS_RECEIVED = 0x01,
    STATUS_ROOM = 0x20,      /* the holding register (or FIFO) is empty */
    STATUS_IDLE = 0x40,      /* the shift register too */
    SPINS_MAX = 1000000,     /* far longer than 16 characters take at 115200 baud */
};

static bool present;

/* The scratch register keeps what is written; a missing port reads as all ones. */
static bool answers(void)
{
    out8(SCRATCH, 0x5A);
    if (in8(SCRATCH) != 0x5A) {
        return false;
    }
    out8(SCRATCH, 0xA5);
    return in8(SCRATCH) == 0xA5 && in8(LINE_STATUS) != 0xFF;
}

void serial_init(void)
{
    present = answers();
    if (!present) {
        return;
    }
    out8(INTERRUPTS, 0);
    out8(LINE_CONTROL, LINE_DLAB);
    out8(DATA, 1);
    out8(INTERRUPTS, 0);
    out8(LINE_CONTROL, LINE_8N1);
    out8(FIFO_CONTROL, 0xC7); /* on, both cleared */
    out8(MODEM_CONTROL, 0x03); /* DTR, RTS */
}

bool serial_present(void) { return present; }

static bool wait_for(uint8_t status)
{
    for (unsigned spins = 0; spins < SPINS_MAX; spins++) {
        if ((in8(LINE_STATUS) & status) != 0) {
            return true;
        }
        pause_cpu();
    }
    return false;
}

void serial_put(char c)
{
    if (!present) {
        return;
    }
    if (!wait_for(STATUS_ROOM)) {
        present = false;
        return;
    }
    out8(DATA, (uint8_t)c);
}

int serial_get_now(void)
{
    return present && (in8(LINE_STATUS) & STATUS_RECEIVED) != 0 ? in8(DATA) : -1;
}

void serial_drain(void)
{
    if (present) {
        (void)wait_for(STATUS_IDLE);
    }
}
