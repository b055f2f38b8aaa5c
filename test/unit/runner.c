/*
 * The runner of the unit tests, for the host and for the kernel: walks the linker section, prints KTAP version 1.
 *
 * One test runs at a time. Its pages are a short list here, given back when it ends; its reports are counted.
 */
#include "unit/runner.h"

#include "lib/glob.h"

enum { PAGES_MAX = 64 };

extern const struct test_case __start_cairn_tests[];
extern const struct test_case __stop_cairn_tests[];

static struct {
    struct sink *out;
    bool failed;
    unsigned reports, expected_reports;
    char last_report[REPORT_TEXT_BYTES];
    struct {
        void *base;
        size_t pages;
    } pages[PAGES_MAX];
    size_t page_count;
} now;

static struct rng seeds = {0xCA1124};
static uint64_t seed_of_test;
static unsigned effort = 1;

bool test_expect(bool ok, const char *text, const char *file, int line)
{
    if (!ok) {
        now.failed = true;
        sink_printf(now.out, "# %s:%d: expected %s\n", file, line, text);
    }
    return ok;
}

bool test_expect_eq(uint64_t actual, uint64_t expected, const char *text, const char *file, int line)
{
    if (actual != expected) {
        now.failed = true;
        sink_printf(now.out, "# %s:%d: expected %s: got %lu (%#lx), not %lu (%#lx)\n", file, line, text, actual,
                    actual, expected, expected);
    }
    return actual == expected;
}

void test_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    sink_printf(now.out, "# ");
    sink_vprintf(now.out, format, args);
    sink_printf(now.out, "\n");
    va_end(args);
}

unsigned test_reports(void) { return now.reports; }
const char *test_last_report(void) { return now.last_report; }
void test_expect_reports(unsigned count) { now.expected_reports = count; }
uint64_t test_seed(void) { return seed_of_test; }
unsigned test_effort(void) { return effort; }
void test_set_seed(uint64_t seed) { seeds = rng_seeded(seed); }
void test_set_effort(unsigned rounds) { effort = rounds; }

void test_take_report(enum report_kind kind, const char *text)
{
    if (kind == REPORT_NOTE) {
        return;
    }
    now.reports++;
    fmt_text(now.last_report, sizeof now.last_report, "%s", text);
}

void *test_pages(size_t pages)
{
    void *base = now.page_count < PAGES_MAX ? test_port_pages(pages) : NULL;
    if (base == NULL) {
        test_expect(false, "memory for the test", __FILE__, __LINE__);
        return NULL;
    }
    now.pages[now.page_count].base = base;
    now.pages[now.page_count++].pages = pages;
    return base;
}

static void give_pages_back(void)
{
    while (now.page_count > 0) {
        now.page_count--;
        test_port_pages_free(now.pages[now.page_count].base, now.pages[now.page_count].pages);
    }
}

void test_name(const struct test_case *test, char *text, size_t size)
{
    fmt_text(text, size, "%s.%s", test->suite, test->sentence);
}

static bool selected(const struct test_case *test, const char *glob)
{
    char name[TEST_NAME_BYTES];
    test_name(test, name, sizeof name);
    return glob == NULL || glob_match(glob, name);
}

static bool run_one(const struct test_case *test, struct sink *out)
{
    now.out = out;
    now.failed = false;
    now.reports = now.expected_reports = 0;
    now.last_report[0] = '\0';
    seed_of_test = rng_next(&seeds);
    test->run();
    give_pages_back();
    if (now.reports != now.expected_reports) {
        now.failed = true;
        sink_printf(out, "# %u reports, %u expected; the last: %s\n", now.reports, now.expected_reports,
                    now.last_report);
    }
    if (now.failed) {
        sink_printf(out, "# seed %#lx\n", seed_of_test);
    }
    return !now.failed;
}

void test_each(void (*visit)(const struct test_case *test))
{
    for (size_t i = 0; i < (size_t)(__stop_cairn_tests - __start_cairn_tests); i++) {
        visit(&__start_cairn_tests[i]);
    }
}

bool test_run_all(const char *glob, struct sink *out)
{
    size_t total = (size_t)(__stop_cairn_tests - __start_cairn_tests);
    size_t plan = 0, number = 0, passed = 0;
    for (size_t i = 0; i < total; i++) {
        plan += selected(&__start_cairn_tests[i], glob);
    }
    sink_printf(out, "KTAP version 1\n1..%lu\n", plan);
    for (size_t i = 0; i < total; i++) {
        const struct test_case *test = &__start_cairn_tests[i];
        if (selected(test, glob)) {
            bool ok = run_one(test, out);
            passed += ok;
            sink_printf(out, "%s %lu %s.%s\n", ok ? "ok" : "not ok", ++number, test->suite, test->sentence);
        }
    }
    sink_printf(out, "# pass:%lu fail:%lu skip:0 total:%lu\n", passed, number - passed, number);
    return number > 0 && passed == number;
}
