/*
 * What the unit tests' beds want of their runner (unit/test.h), for fuzz programs: what is not as expected goes to
 * standard error, with the place.
 */
#ifndef CAIRN_TEST_FUZZ_EXPECT_H
#define CAIRN_TEST_FUZZ_EXPECT_H

#include "unit/test.h"

/* Was anything otherwise than expected, since the program began? */
bool expect_has_failed(void);

#endif
