/* boot/acpi_srat.c once more, for the tests inside the kernel (boot_again.h). */
#include "unit/boot_again.h"

#ifndef CAIRN_HOST
#include "boot/acpi_srat.c"
#endif
