/*
 * What a call answers. Few values, and none may be ignored.
 */
#ifndef CAIRN_LIB_STATUS_H
#define CAIRN_LIB_STATUS_H

enum [[nodiscard]] status {
    STATUS_OK = 0,
    STATUS_NOMEM,       /* memory is short; nothing changed */
    STATUS_MISUSE,      /* the caller is wrong; reported with its values, nothing changed */
    STATUS_INVALID,     /* an argument that cannot be meant: zero length, unaligned, overflow, unknown flag */
    STATUS_RANGE,       /* an address or a size outside what this call serves (window, hole, other half) */
    STATUS_EXISTS,      /* something is there already */
    STATUS_ABSENT,      /* nothing is there */
    STATUS_DENIED,      /* it is there, but without the right that is needed */
    STATUS_LIMIT,       /* a table of fixed size is full; the report names the constant */
    STATUS_CORRUPT,     /* data that no correct code wrote (firmware tables, paging structures) */
    STATUS_SHARED,      /* others use it too, and the call would change it for them: make it private first */
    STATUS_CONFLICT,    /* against what holds for the same memory elsewhere (cache types) */
    STATUS_NOT_GLOBAL,  /* the address means something else in another space: say where it shall be there */
    STATUS_UNSUPPORTED, /* this machine cannot */
    STATUS_NOT_YET,     /* this version cannot */
    STATUS_AGAIN,       /* nothing yet; ask again */
};

/* A word for the log: "ok", "out of memory", ... Never null. */
const char *status_name(enum status s);

#endif
