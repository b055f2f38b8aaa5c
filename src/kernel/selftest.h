/* The unit tests of all layers, run in the kernel: `test` in the monitor, `test=` at boot. */
#ifndef CAIRN_KERNEL_SELFTEST_H
#define CAIRN_KERNEL_SELFTEST_H

#include <stdbool.h>

/* All tests whose name matches `glob` (null: all), as KTAP. true: all passed, and at least one ran. */
bool selftest_run(const char *glob);

#endif
