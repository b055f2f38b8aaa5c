/* The 16550 at COM1, polled: 115200 baud, 8N1, FIFO on. Absent hardware is found out and costs nothing. */
#ifndef CAIRN_KERNEL_SERIAL_H
#define CAIRN_KERNEL_SERIAL_H

#include <stdbool.h>

void serial_init(void);
bool serial_present(void);
/* Waits for room, but not for ever: a transmitter that never gets ready is taken for absent. */
void serial_put(char c);
/* A received character, or -1. */
int serial_get_now(void);
/* Until the last bit has left. */
void serial_drain(void);

#endif
