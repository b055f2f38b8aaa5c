#include "lib/status.h"

const char *status_name(enum status s)
{
    switch (s) {
    case STATUS_OK: return "ok";
    case STATUS_NOMEM: return "out of memory";
    case STATUS_MISUSE: return "misuse";
    case STATUS_INVALID: return "invalid argument";
    case STATUS_RANGE: return "outside the range served";
    case STATUS_EXISTS: return "exists already";
    case STATUS_ABSENT: return "nothing there";
    case STATUS_DENIED: return "no right to it";
    case STATUS_LIMIT: return "limit reached";
    case STATUS_CORRUPT: return "corrupt";
    case STATUS_SHARED: return "shared";
    case STATUS_CONFLICT: return "conflict";
    case STATUS_NOT_GLOBAL: return "not a global address";
    case STATUS_UNSUPPORTED: return "not supported by this machine";
    case STATUS_NOT_YET: return "not yet";
    case STATUS_AGAIN: return "nothing yet";
    }
    return "unknown status";
}
