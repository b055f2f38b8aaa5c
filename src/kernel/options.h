/*
 * Kernel options: the Multiboot2 command line, `name=value` or `name`, a value with spaces in double quotes. An unknown
 * or malformed option is reported by name and ignored.
 */
#ifndef CAIRN_KERNEL_OPTIONS_H
#define CAIRN_KERNEL_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/x86_64/timer.h"
#include "lib/badram.h"
#include "lib/units.h"

enum {
    OPTION_TEXT_BYTES = 1024, /* longest exec=, the rest is cut and reported */
    OPTION_WORD_BYTES = 64,
};

struct options {
    char exec[OPTION_TEXT_BYTES];   /* "" when absent */
    char test[OPTION_WORD_BYTES];   /* glob, "" when absent */
    char nonce[OPTION_WORD_BYTES];  /* "" when absent */
    bool has_exec, has_test;
    unsigned loglevel;              /* enum log_level */
    bool serial, vga;               /* console= */
    bool debug_magic, debug_heap, debug_checks;
    uint64_t heap_sample; /* debug=heap:edge is 1, :sample=N is N; 0: red zones around each block */
    char heap_caches[OPTION_WORD_BYTES]; /* debug=heap:cache=GLOB: objects of these caches alone; "": all blocks */
    char magic_name[OPTION_WORD_BYTES];
    bool panic_on_misuse;
    bool exercise_pause;            /* exercise=pause: stop in the middle until a key comes */
    pfn_t mem_limit;                /* first frame not used; UINT64_MAX: none */
    uint64_t heap_bytes;            /* heap=SIZE */
    enum timer_kind timer;          /* timer=apic, timer=pit; TIMER_NONE: what there is */
    struct badram_list badram;      /* of all badram= together */
};

/* Read `line` into *options; problems are logged. */
void options_read(struct options *options, const char *line);

/* A decimal or 0x number, with k m g t (KiB...) when `sizes`. false: malformed or too large, *value untouched. */
bool parse_number(const char *text, bool sizes, uint64_t *value);

#endif
