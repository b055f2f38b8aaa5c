/*
 * Reports of what must not be: a caller's misuse, firmware that lies, state that no correct code wrote.
 *
 * The layers format the text with every value in it; the port (arch.h, arch_report) decides where it goes. In the
 * kernel a misuse is logged, and stops the machine when booted with `panic=misuse`; tests collect the text.
 */
#ifndef CAIRN_LIB_REPORT_H
#define CAIRN_LIB_REPORT_H

#include "lib/status.h"

enum report_kind {
    REPORT_MISUSE,   /* a caller is wrong: nothing was changed */
    REPORT_CORRUPT,  /* state is broken: isolated, the rest goes on */
    REPORT_FIRMWARE, /* loader or firmware is wrong: the sound part is used */
    REPORT_NOTE,     /* worth knowing */
};

enum { REPORT_TEXT_BYTES = 256 }; /* longer reports are cut */

__attribute__((format(printf, 2, 3))) void report(enum report_kind kind, const char *format, ...);

/* Report a misuse and hand back STATUS_MISUSE: `return misuse("pmm_free: frame %#lx ...", ...)`. */
__attribute__((format(printf, 1, 2))) enum status misuse(const char *format, ...);

#endif
