/*
 * The test bed of all unit tests: the same sources run on the host (under sanitizers) and in the kernel (`test` in the
 * monitor).
 *
 *   TEST(pmm, a_fresh_frame_has_one_reference)
 *   {
 *       ...
 *       EXPECT(condition);                 // goes on after a failure
 *       EXPECT_EQ(actual, expected);       // both printed, as unsigned 64-bit numbers
 *       REQUIRE(condition);                // ends the test after a failure
 *   }
 *
 * Tests register themselves in a linker section. A test's name is `suite.sentence`. TEST_HOST is for tests that only
 * the host can run (threads, the model MMU's own, huge reservations); they are simply not in the kernel.
 *
 * Misuse that the code under test reports does not stop a test: it is counted, and the last text can be read. A report
 * that no test asked for (expect_reports not called) fails the test.
 */
#ifndef CAIRN_TEST_UNIT_TEST_H
#define CAIRN_TEST_UNIT_TEST_H

#include "lib/fmt.h"
#include "lib/macros.h"
#include "lib/report.h"
#include "lib/rng.h"
#include "lib/status.h"
#include "lib/string.h"
#include "lib/units.h"

struct test_case {
    const char *suite, *sentence;
    void (*run)(void);
};

#define TEST(suite_, sentence_)                                                                      \
    static void test_##suite_##_##sentence_(void);                                                   \
    static const struct test_case test_case_##suite_##_##sentence_                                   \
        __attribute__((used, retain, section("cairn_tests"), aligned(8))) = {#suite_, #sentence_,    \
                                                                 test_##suite_##_##sentence_};       \
    static void test_##suite_##_##sentence_(void)

#ifdef CAIRN_HOST
#define TEST_HOST(suite_, sentence_) TEST(suite_, sentence_)
#else
#define TEST_HOST(suite_, sentence_) __attribute__((unused)) static void test_host_##suite_##_##sentence_(void)
#endif

/* Both print "file:line: text" with the values and mark the running test as failed. Return the condition. */
bool test_expect(bool ok, const char *text, const char *file, int line);
bool test_expect_eq(uint64_t actual, uint64_t expected, const char *text, const char *file, int line);

#define EXPECT(c) test_expect((c), #c, __FILE__, __LINE__)
#define EXPECT_EQ(a, b) test_expect_eq((uint64_t)(a), (uint64_t)(b), #a " == " #b, __FILE__, __LINE__)
#define REQUIRE(c)                                           \
    do {                                                     \
        if (!test_expect((c), #c, __FILE__, __LINE__)) return; \
    } while (0)

/* A line of diagnosis, printed with the test's output (as a KTAP comment). */
__attribute__((format(printf, 1, 2))) void test_note(const char *format, ...);

/* Reports (misuse, corrupt, firmware) since the test began, the last one's text, and: this test asks for exactly
 * `count` of them in all. */
unsigned test_reports(void);
const char *test_last_report(void);
void test_expect_reports(unsigned count);

/* Memory for a test: zeroed pages, page-aligned; given back when the test ends. Null when there is no more (a failed
 * test). */
void *test_pages(size_t pages);

/* The seed of this run: tests that draw random numbers begin with it, and it is printed when one fails. */
uint64_t test_seed(void);

/* How long random tests should be: multiplies their rounds. 1 in the kernel, more on the host. */
unsigned test_effort(void);

/* The runner: all tests whose name matches `glob` (null: all), as KTAP version 1 to `out`. Returns true when all passed
 * and at least one ran. */
bool test_run_all(const char *glob, struct sink *out);


/* What the runner needs of the place it runs in: test/unit/host.c or src/kernel/selftest.c. */
void *test_port_pages(size_t pages);              /* zeroed, or null */
void test_port_pages_free(void *base, size_t pages);

#endif
