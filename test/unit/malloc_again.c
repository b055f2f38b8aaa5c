/* The programs' malloc, compiled once more for the host. */
#include "unit/malloc_again.h"

#include "user/malloc.c"
