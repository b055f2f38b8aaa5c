/* Names of functions and objects for reports, from the ELF symbol table that the loader left in memory. */
#ifndef CAIRN_KERNEL_SYMBOLS_H
#define CAIRN_KERNEL_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Tags of the arena for the two tables: the strings must outlive .init, where a literal would lie. */
extern const char symbols_tag[], symbols_names_tag[];

/* Both tables stay mapped and are not trusted: every access is bounds-checked. */
void symbols_use(const void *table, size_t table_bytes, const char *names, size_t names_bytes);

/* The function or object that holds `address`: its name, and the distance from its start. false: none known.
 * O(symbols). */
bool symbols_find(uint64_t address, const char **name, uint64_t *offset);

#endif
