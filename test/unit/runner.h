/* The runner's side of test.h: for those who start it. */
#ifndef CAIRN_TEST_UNIT_RUNNER_H
#define CAIRN_TEST_UNIT_RUNNER_H

#include "unit/test.h"

enum { TEST_NAME_BYTES = 160 };

/* The port hands reports here while a test runs. Notes are not counted. */
void test_take_report(enum report_kind kind, const char *text);
void test_set_seed(uint64_t seed);
void test_set_effort(unsigned rounds);
void test_name(const struct test_case *test, char *text, size_t size);
void test_each(void (*visit)(const struct test_case *test));

#endif
