/*
 * mb2check FILE...: what the kernel would read in a Multiboot2 information block, on the host. A file is the raw block.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot/mb2.h"

static const char usage[] =
    "usage: mb2check [--] FILE...\n"
    "Reads raw Multiboot2 information blocks as the kernel does (- is standard input) and prints what it found:\n"
    "    block FILE bytes N problems N\n"
    "    command-line, loader, entry, module, elf, section, rsdp, framebuffer, efi, load-base ...\n"
    "    problem TEXT                         one line for each thing that is wrong; the sound part is used\n"
    "or  error FILE: reason                   not a boot information block at all\n"
    "Exit status: 0 all sound, 1 at least one has a problem or an error, 2 wrong use.\n";

struct bytes {
    uint8_t *at; /* from malloc: aligned for any type */
    size_t count;
};

/* Everything up to the end of the file or one byte more than the parser reads. Null: fine, else what is wrong. */
static const char *read_all(FILE *file, struct bytes *out)
{
    enum { STEP = 1 << 16 };
    while (out->count <= MB2_BLOCK_BYTES_MAX) {
        uint8_t *grown = realloc(out->at, out->count + STEP);
        if (grown == NULL) {
            return "out of memory";
        }
        out->at = grown;
        size_t got = fread(out->at + out->count, 1, STEP, file);
        out->count += got;
        if (got < STEP) {
            return ferror(file) ? strerror(errno) : NULL;
        }
    }
    return NULL;
}

/* A string of the block on one line: what a terminal might obey is escaped. */
static void print_text(const char *label, const char *text)
{
    printf("%s \"", label);
    for (const char *c = text; *c != '\0'; c++) {
        unsigned char byte = (unsigned char)*c;
        if (byte == '"' || byte == '\\') {
            printf("\\%c", byte);
        } else if (byte < 0x20 || byte >= 0x7F) {
            printf("\\x%02x", byte);
        } else {
            putchar(byte);
        }
    }
    puts("\"");
}

static void print_map(const struct mb2_info *info)
{
    if (info->map == NULL) {
        puts("map absent");
        return;
    }
    printf("map entries %u entry-bytes %u\n", info->map_count, info->map_entry_bytes);
    for (uint32_t i = 0; i < info->map_count; i++) {
        struct memmap_entry e = mb2_map_entry(info, i);
        printf("entry 0x%" PRIx64 " 0x%" PRIx64 " %u %s\n", e.base, e.length, e.type, memmap_type_name(e.type));
    }
}

static void print_modules(const struct mb2_info *info)
{
    printf("modules %u lost %u\n", info->module_count, info->modules_lost);
    for (uint32_t i = 0; i < info->module_count; i++) {
        char label[80];
        snprintf(label, sizeof label, "module 0x%" PRIx64 " 0x%" PRIx64, info->modules[i].start, info->modules[i].end);
        print_text(label, info->modules[i].args);
    }
}

static void print_sections(const struct mb2_info *info)
{
    if (info->elf.headers == NULL) {
        puts("elf absent");
        return;
    }
    printf("elf sections %u entry-bytes %u names %u\n", info->elf.count, info->elf.entry_bytes,
           info->elf.names_index);
    struct mb2_section s;
    for (uint32_t i = 0; mb2_section(info, i, &s); i++) {
        printf("section %u address 0x%" PRIx64 " bytes 0x%" PRIx64 " type %u flags %#x link %u\n", i, s.address,
               s.bytes, s.type, s.flags, s.link);
    }
}

static void print_rest(const struct mb2_info *info)
{
    if (info->rsdp == NULL) {
        puts("rsdp absent");
    } else {
        bool is_signed = memcmp(info->rsdp, "RSD PTR ", 8) == 0;
        printf("rsdp version %u bytes %u%s\n", info->rsdp_version, info->rsdp_bytes,
               is_signed ? "" : " (its signature is wrong)");
    }
    const struct mb2_framebuffer *f = &info->framebuffer;
    if (f->present) {
        printf("framebuffer 0x%" PRIx64 " %ux%u pitch %u bits %u type %u%s\n", f->address, f->width, f->height,
               f->pitch, f->bpp, f->type, f->type == 2 ? " (text)" : "");
    } else {
        puts("framebuffer absent");
    }
    printf("efi %s map %s\n", info->efi ? "yes" : "no", info->efi_map ? "yes" : "no");
    printf("load-base 0x%" PRIx64 "\n", info->load_base);
}

static void print_problem(void *ctx, const char *text)
{
    (void)ctx;
    printf("problem %s\n", text);
}

/* True: sound in every respect. */
static bool check_block(const char *path, struct bytes bytes)
{
    /* Twice: the first line says how many problems there are before the second pass tells them. */
    struct mb2_info info;
    if (mb2_parse(bytes.at, bytes.count, &info, NULL, NULL) == STATUS_OK) {
        printf("block %s bytes %u problems %u\n", path, info.total_bytes, info.problems);
    }
    if (mb2_parse(bytes.at, bytes.count, &info, print_problem, NULL) != STATUS_OK) {
        printf("error %s: not a Multiboot2 information block\n", path);
        return false;
    }
    print_text("command-line", info.command_line);
    print_text("loader", info.loader_name);
    print_map(&info);
    print_modules(&info);
    print_sections(&info);
    print_rest(&info);
    return info.problems == 0;
}

static bool check_file(const char *path)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    if (file == NULL) {
        printf("error %s: cannot be opened: %s\n", path, strerror(errno));
        return false;
    }
    struct bytes bytes = {0};
    const char *wrong = read_all(file, &bytes);
    bool ok = wrong == NULL && check_block(path, bytes);
    if (wrong != NULL) {
        printf("error %s: cannot be read: %s\n", path, wrong);
    }
    free(bytes.at);
    if (!is_stdin) {
        fclose(file);
    }
    return ok;
}

static int wrong_use(const char *what, const char *argument)
{
    fprintf(stderr, "mb2check: %s%s\n%s", what, argument, usage);
    return 2;
}

int main(int argc, char **argv)
{
    int first = 1;
    for (; first < argc && argv[first][0] == '-' && argv[first][1] != '\0'; first++) {
        if (strcmp(argv[first], "--") == 0) {
            first++;
            break;
        }
        if (strcmp(argv[first], "--help") == 0 || strcmp(argv[first], "-h") == 0) {
            fputs(usage, stdout);
            return 0;
        }
        return wrong_use("unknown option ", argv[first]);
    }
    if (first == argc) {
        return wrong_use("no FILE", "");
    }
    bool ok = true;
    for (int i = first; i < argc; i++) {
        ok = check_file(argv[i]) && ok;
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "mb2check: cannot write: %s\n", strerror(errno));
        return 1;
    }
    return ok ? 0 : 1;
}
