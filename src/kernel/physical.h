/*
 * Physical memory that is not the PMM's to hand out (devices, what the loader left), at an address in the kernel arena.
 */
#ifndef CAIRN_KERNEL_PHYSICAL_H
#define CAIRN_KERNEL_PHYSICAL_H

#include <stdint.h>

/*
 * The bytes [address, address + bytes), mapped with `rights` (VMM_*, VMM_WRITE_COMBINING) for good; `tag` lives for
 * ever.
 * => where they are; null: no bytes, no addresses or no memory for the tables, nothing changed.
 */
void *physical_map(uint64_t address, uint64_t bytes, unsigned rights, const char *tag);

#endif
