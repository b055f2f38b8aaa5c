/*
 * Unit tests as a host program: unit_tests [--list] [--seed N] [--effort N] [glob]
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "arch/arch.h"
#include "unit/runner.h"

static void stdout_put(struct sink *self, const char *text, size_t len)
{
    (void)self;
    fwrite(text, 1, len, stdout);
}

static struct sink stdout_sink = {stdout_put};

void *test_port_pages(size_t pages)
{
    void *base = mmap(NULL, pages_to_bytes(npages(pages)), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return base == MAP_FAILED ? NULL : base;
}

void test_port_pages_free(void *base, size_t pages) { munmap(base, pages_to_bytes(npages(pages))); }

void arch_report(enum report_kind kind, const char *text) { test_take_report(kind, text); }

void arch_fatal(const char *text)
{
    fflush(stdout);
    fprintf(stderr, "fatal: %s\n", text);
    abort();
}

static void list_one(const struct test_case *test) { printf("%s.%s\n", test->suite, test->sentence); }

static int usage(const char *program)
{
    fprintf(stderr, "usage: %s [--list] [--seed N] [--effort N] [glob]\n", program);
    return 2;
}

int main(int argc, char **argv)
{
    const char *glob = NULL;
    test_set_effort(4);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0) {
            test_each(list_one);
            return 0;
        }
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            test_set_seed(strtoull(argv[++i], NULL, 0));
        } else if (strcmp(argv[i], "--effort") == 0 && i + 1 < argc) {
            test_set_effort((unsigned)strtoul(argv[++i], NULL, 0));
        } else if (argv[i][0] == '-' || glob != NULL) {
            return usage(argv[0]);
        } else {
            glob = argv[i];
        }
    }
    return test_run_all(glob, &stdout_sink) ? 0 : 1;
}
