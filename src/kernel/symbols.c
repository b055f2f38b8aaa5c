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

enum { SYMBOL_OBJECT = 1, SYMBOL_FUNCTION = 2, SYMBOL_KIND_MASK = 0xF, NAME_BYTES_MAX = 128 };

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

/* The name, when all of it is there and is one: what the loader left is printed on a terminal. */
static const char *sound_name(uint32_t at)
{
    if (at >= names_bytes) {
        return NULL;
    }
    size_t room = names_bytes - at < NAME_BYTES_MAX ? names_bytes - at : NAME_BYTES_MAX;
    size_t length = strnlen(names + at, room);
    bool sound = length > 0 && length < room;
    for (size_t i = 0; i < length; i++) {
        sound = sound && names[at + i] > ' ' && names[at + i] <= '~';
    }
    return sound ? names + at : NULL;
}

bool symbols_find(uint64_t address, const char **name, uint64_t *offset)
{
    for (size_t i = 0; i < symbol_count; i++) {
        const struct elf_symbol *s = &symbols[i];
        unsigned kind = s->info & SYMBOL_KIND_MASK;
        if ((kind == SYMBOL_FUNCTION || kind == SYMBOL_OBJECT) && address - s->value < s->size) {
            *name = sound_name(s->name);
            *offset = address - s->value;
            if (*name != NULL) {
                return true;
            }
        }
    }
    return false;
}
