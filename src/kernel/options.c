#include "kernel/options.h"

#include "heap/guard.h"
#include "kernel/console.h"
#include "lib/macros.h"
#include "lib/string.h"

enum { NAME_BYTES = 32, LOGLEVELS = LOG_DEBUG + 1 };

struct option {
    char name[NAME_BYTES];
    char value[OPTION_TEXT_BYTES];
    bool has_value;
};

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

static bool read_digits(const char **text, uint64_t *value)
{
    uint64_t base = 10;
    if ((*text)[0] == '0' && ((*text)[1] == 'x' || (*text)[1] == 'X')) {
        base = 16;
        *text += 2;
    }
    const char *start = *text;
    uint64_t n = 0;
    for (int d = digit_of(**text); d < (int)base; d = digit_of(*++*text)) {
        if (__builtin_mul_overflow(n, base, &n) || __builtin_add_overflow(n, (uint64_t)d, &n)) {
            return false;
        }
    }
    *value = n;
    return *text != start;
}

bool parse_number(const char *text, bool sizes, uint64_t *value)
{
    uint64_t n;
    if (!read_digits(&text, &n)) {
        return false;
    }
    static const char units[] = "kmgt";
    const char *unit = sizes && *text != '\0' ? strchr(units, *text | 0x20) : NULL;
    if (unit != NULL) {
        for (const char *u = units; u <= unit; u++) {
            if (__builtin_mul_overflow(n, KIB, &n)) {
                return false;
            }
        }
        text++;
    }
    if (*text != '\0') {
        return false;
    }
    *value = n;
    return true;
}

/* One character of an option goes to the name until the first '=', then to the value. false: no room. */
static bool take_character(struct option *o, size_t *len, char c)
{
    if (c == '=' && !o->has_value) {
        o->has_value = true;
        *len = 0;
        return true;
    }
    char *text = o->has_value ? o->value : o->name;
    size_t room = o->has_value ? sizeof o->value : sizeof o->name;
    if (*len + 1 >= room) {
        return false;
    }
    text[(*len)++] = c;
    text[*len] = '\0';
    return true;
}

/* A value that came through with its quotes on: GRUB quotes the whole argument again and escapes the inner ones. */
static void strip_quotes(char *value)
{
    size_t len = strlen(value);
    if (len >= 2 && value[0] == '"' && value[len - 1] == '"') {
        memmove(value, value + 1, len - 2);
        value[len - 2] = '\0';
    }
}

/* A command that was cut off in the middle is another command (`unmap 1 0x400000 512`): it is left out whole. */
static void drop_last_command(char *commands)
{
    char *end = commands;
    bool quoted = false;
    for (char *c = commands; *c != '\0'; c++) {
        quoted = *c == '"' ? !quoted : quoted;
        end = *c == ';' && !quoted ? c : end;
    }
    *end = '\0';
}

/* A number that was cut off in the middle means other frames: the pair it is in is left out. */
static void drop_last_pair(char *numbers)
{
    char *end = numbers;
    size_t commas = 0;
    for (char *c = numbers; *c != '\0'; c++) {
        commas += *c == ',';
        end = *c == ',' && commas % 2 == 0 ? c : end;
    }
    *end = '\0';
}

/*
 * Reads the next `name[=value]`, ended by a space outside double quotes; quotes may begin anywhere, also before the
 * name, and a backslash takes the next character as it is. Null at the end of the line.
 */
static const char *next_option(const char *line, struct option *o)
{
    while (*line == ' ') {
        line++;
    }
    if (*line == '\0') {
        return NULL;
    }
    *o = (struct option){0};
    size_t len = 0, lost = 0;
    bool quoted = false;
    for (; *line != '\0' && (quoted || *line != ' '); line++) {
        if (*line == '"') {
            quoted = !quoted;
            continue;
        }
        line += *line == '\\' && line[1] != '\0';
        lost += !take_character(o, &len, *line);
    }
    strip_quotes(o->value);
    if (quoted || lost > 0) {
        log_at(LOG_WARN, "option %s: %s", o->name, quoted ? "a quote is not closed" : "too long, cut");
    }
    if (lost > 0 && strcmp(o->name, "exec") == 0) {
        drop_last_command(o->value);
    } else if (lost > 0 && strcmp(o->name, "badram") == 0) {
        drop_last_pair(o->value);
    }
    return line;
}

/* Is `word` in the comma-separated `list`? An item may be word:text; then *text is where it begins. */
static bool list_has(const char *list, const char *word, const char **text)
{
    size_t len = strlen(word);
    for (const char *item = list; item != NULL; item = strchr(item, ',') ? strchr(item, ',') + 1 : NULL) {
        if (strncmp(item, word, len) == 0 && (item[len] == '\0' || item[len] == ',' || item[len] == ':')) {
            if (text != NULL) {
                *text = item[len] == ':' ? item + len + 1 : "";
            }
            return true;
        }
    }
    return false;
}

static void copy_word(char *to, const char *from) { fmt_text(to, OPTION_WORD_BYTES, "%s", from); }

/* One word behind `heap:` in debug=, of so many characters: edge, sample=N, cache=GLOB. */
static bool read_heap_word(struct options *all, const char *word, size_t len)
{
    static const char edge[] = "edge", sample[] = "sample=", cache[] = "cache=";
    const size_t sample_len = sizeof sample - 1, cache_len = sizeof cache - 1;
    const char *text = word + sample_len;
    if (len == sizeof edge - 1 && strncmp(word, edge, len) == 0) {
        all->heap_sample = 1;
        return true;
    }
    if (strncmp(word, sample, sample_len) == 0) {
        return read_digits(&text, &all->heap_sample) && text == word + len && all->heap_sample > 0 &&
               all->heap_sample <= HEAP_GUARD_SAMPLE_MAX;
    }
    if (strncmp(word, cache, cache_len) != 0 || len == cache_len || len - cache_len >= sizeof all->heap_caches) {
        return false;
    }
    memcpy(all->heap_caches, word + cache_len, len - cache_len);
    all->heap_caches[len - cache_len] = '\0';
    return true;
}

/* All of them, with colons in between. All objects of a cache are guarded, or none: there is no sample of them. */
static bool read_heap_way(struct options *all, const char *way)
{
    all->heap_sample = 0;
    all->heap_caches[0] = '\0';
    while (*way != '\0' && *way != ',') {
        size_t len = 0;
        while (way[len] != '\0' && way[len] != ',' && way[len] != ':') {
            len++;
        }
        if (!read_heap_word(all, way, len)) {
            return false;
        }
        way += len + (way[len] == ':');
    }
    return all->heap_caches[0] == '\0' || all->heap_sample <= 1;
}

static bool read_debug(struct options *all, const char *value)
{
    const char *name = "", *way = "";
    all->debug_heap = list_has(value, "heap", &way);
    if (!read_heap_way(all, way)) {
        return false;
    }
    all->debug_checks = list_has(value, "checks", NULL);
    all->debug_magic = list_has(value, "magic", &name);
    all->magic_name[0] = '\0';
    for (size_t i = 0; i + 1 < sizeof all->magic_name && name[i] != '\0' && name[i] != ','; i++) {
        all->magic_name[i] = name[i];
        all->magic_name[i + 1] = '\0';
    }
    return all->debug_heap || all->debug_checks || all->debug_magic;
}

static bool read_loglevel(struct options *all, const char *value)
{
    uint64_t level;
    if (!parse_number(value, false, &level) || level >= LOGLEVELS) {
        return false;
    }
    all->loglevel = (unsigned)level;
    return true;
}

/* ADDR,MASK[,ADDR,MASK...], added to what is there. */
static bool read_badram(struct badram_list *list, const char *text)
{
    size_t lost = 0;
    do {
        uint64_t address, mask;
        if (!read_digits(&text, &address) || *text++ != ',' || !read_digits(&text, &mask)) {
            return false;
        }
        if (list->count < BADRAM_PATTERNS_MAX) {
            list->at[list->count++] = badram_pattern(address, mask);
        } else {
            lost++;
        }
    } while (*text++ == ',');
    if (text[-1] == '\0' && lost > 0) {
        log_at(LOG_WARN, "option badram: the last %lu pairs are too many (BADRAM_PATTERNS_MAX = %u), ignored", lost,
               BADRAM_PATTERNS_MAX);
    }
    return text[-1] == '\0';
}

/* Sets what the option says. false: malformed, *all may be anything. */
static bool read_value(struct options *all, const struct option *o, bool *known)
{
    uint64_t number;
    const char *v = o->value;
    *known = true;
    if (strcmp(o->name, "exec") == 0) {
        all->has_exec = true;
        memcpy(all->exec, v, strlen(v) + 1);
        return o->has_value;
    } else if (strcmp(o->name, "test") == 0) {
        all->has_test = true;
        copy_word(all->test, v);
        return true;
    } else if (strcmp(o->name, "nonce") == 0) {
        copy_word(all->nonce, v);
        return o->has_value;
    } else if (strcmp(o->name, "loglevel") == 0) {
        return read_loglevel(all, v);
    } else if (strcmp(o->name, "console") == 0) {
        all->serial = list_has(v, "serial", NULL);
        all->vga = list_has(v, "vga", NULL);
        return all->serial || all->vga;
    } else if (strcmp(o->name, "debug") == 0) {
        return read_debug(all, v);
    } else if (strcmp(o->name, "panic") == 0) {
        all->panic_on_misuse = strcmp(v, "misuse") == 0;
        return all->panic_on_misuse;
    } else if (strcmp(o->name, "exercise") == 0) {
        all->exercise_pause = strcmp(v, "pause") == 0;
        return all->exercise_pause;
    } else if (strcmp(o->name, "timer") == 0) {
        all->timer = strcmp(v, "pit") == 0 ? TIMER_PIT : TIMER_APIC;
        return all->timer == TIMER_PIT || strcmp(v, "apic") == 0;
    } else if (strcmp(o->name, "badram") == 0) {
        return read_badram(&all->badram, v);
    } else if (strcmp(o->name, "mem") == 0 && parse_number(v, true, &number)) {
        all->mem_limit = pfn(bytes_to_pages_down(number).v);
        return all->mem_limit.v > 0;
    } else if (strcmp(o->name, "heap") == 0 && parse_number(v, true, &number)) {
        all->heap_bytes = number;
        return true;
    }
    *known = strcmp(o->name, "mem") == 0 || strcmp(o->name, "heap") == 0;
    return false;
}

void options_read(struct options *all, const char *line)
{
    *all = (struct options){.loglevel = LOG_INFO, .serial = true, .vga = true, .mem_limit = pfn(UINT64_MAX)};
    static struct option o; /* large, and boot is the only caller */
    static struct options before;
    while ((line = next_option(line, &o)) != NULL) {
        bool known;
        before = *all;
        bool well_formed = read_value(all, &o, &known);
        if (!well_formed) {
            *all = before;
        }
        if (!known) {
            log_at(LOG_WARN, "option %s: unknown, ignored", o.name);
        } else if (!well_formed) {
            log_at(LOG_WARN, "option %s: malformed value \"%s\", ignored", o.name, o.value);
        }
    }
}
