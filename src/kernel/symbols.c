#include "kernel/symbols.h"

#include "lib/string.h"

const char symbols_tag[] = "symbols";
const char symbols_names_tag[] = "symbol names";

/* ELF-64 object file format, version 1.5, figure 4-16. */
struct elf_symbol {
    uint32_t name;
    uint8_t info, other;
    uint16_t section;
    uint64_t value, size;
};

enum { SYMBOL_FUNCTION = 2, NAME_BYTES_MAX = 128 };

static const struct elf_symbol *symbols;
static size_t symbol_count;
static const char *names;
static size_t names_bytes;

void symbols_use(const void *table, size_t table_bytes, const char *name_text, size_t bytes)
{
    symbols = table;
    symbol_count = table_bytes / sizeof(struct elf_symbol);
    names = name_text;
    names_bytes = bytes;
}

bool symbols_find(uint64_t address, const char **name, uint64_t *offset)
{
    for (size_t i = 0; i < symbol_count; i++) {
        const struct elf_symbol *s = &symbols[i];
        bool holds = (s->info & 0xF) == SYMBOL_FUNCTION && address - s->value < s->size;
        if (holds && s->name < names_bytes &&
            strnlen(names + s->name, names_bytes - s->name) < names_bytes - s->name) {
            *name = names + s->name;
            *offset = address - s->value;
            return true;
        }
    }
    return false;
}
