"""scripts/guard: a clean tree is green, and each rule fed one violation turns red at the right place."""
import subprocess

import pytest
from conftest import ROOT

GUARD = ROOT / "scripts" / "guard"
LINES_60 = "    x++;\n" * 57  # with the head, two braces' lines: 60
CLEAN = {
    ".clang-format": "BasedOnStyle: LLVM\n",
    "src/lib/units.h": "#define PAGE_SHIFT 12\nenum { PAGE_BYTES = 4096 };\n#define UP(x) ((x) << 12)\n",
    "src/lib/status.h": "#include <stdint.h>\n",
    "src/arch/arch.h": '#include "lib/units.h"\n',
    "src/arch/layout.h": "#define LAYOUT_X 0x1000\n",
    "src/arch/x86_64/port.c": (
        '#include "arch/arch.h"\nstatic pte_t load(vaddr_t e) { return *(volatile pte_t *)e.v; }\n'
    ),
    "boot/memmap.h": '#include "lib/units.h"\n#include "arch/layout.h"\n',
    "src/pmm/pmm.h": '#include "lib/units.h"\n/* PMM-I1 a\n * PMM-I2 b; pmm_check() looks at PMM-I1..I2 */\n',
    "src/pmm/pmm.c": (
        '#include "pmm/pmm.h"\n#include "arch/arch.h"\n/* 4096 bytes >> 12, PAGE_SHIFT */ char *s = "4096 << 12";\n'
    ),
    "src/pmm/region_check.c": "/* PMM-I1 */ /* PMM-I2 */\n",
    "src/vmm/vmm.h": (
        '#include "pmm/pmm.h"\n#include "arch/paging.h"\n'
        "/* p < t + 512 */ int f(int n) { return entry.v << n | entry.v >> n | (c->entry.v + 511 < 512 * GIB); }\n"
        "long table[TABLE_ENTRIES]; int g(pte_t entry, long i) { return entry.v != 0 && i < TABLE_ENTRIES; }\n"
        "int h(struct cursor *c, pte_t e) { return 0 != entry.v && e.v == c->entry.v && f(c)->entry.v << 1; }\n"
    ),
    "src/heap/heap.h": '#include "vmm/vmm.h"\n',
    "src/kernel/main.c": (
        '#include "heap/heap.h"\n#include "boot/memmap.h"\n#include "arch/x86_64/cpu.h"\n#include "unit/test.h"\n'
        "void f(void)\n{\n"
        + LINES_60
        + "}\nint table[] = {\n"
        + "    1,\n" * 100
        + "};\n"
    ),
    "test/unit/pmm_test.c": (
        '#include <stdio.h>\n#include "pmm/pmm.h"\nTEST(pmm, i)\n{\n    /* PMM-I1 */ EXPECT_EQ(x, "PMM-I2");\n}\n'
    ),
    "test/model/mmu.c": "pte_t *p = (pte_t *)x;\n",
    "src/task/abi.h": (
        '#include "lib/status.h"\nenum task_call {\n    /* as TASK_FREE */\n    TASK_A = 0,\n    TASK_B,\n'
        "    TASK_CALLS,\n};\n"
    ),
    "src/user/calls.h": '#include "task/abi.h"\n',
    "src/user/hello.c": '#include "user/calls.h"\n#include "lib/status.h"\n',
    "docs/tasks.md": "| call | number |\n|---|---|\n| `TASK_A` | 0 | |\n| `TASK_B` | 1 | |\n| `TASK_FLAG` | it |\n",
}

# rule, file, its text (null: removed), what the report says
VIOLATIONS = {
    "pmm includes vmm": ("layers", "src/pmm/pmm.c", '#include "vmm/vmm.h"\n', "pmm includes vmm/vmm.h"),
    "lib includes arch": ("layers", "src/lib/status.h", '#include "arch/arch.h"\n', "lib includes"),
    "boot includes pmm": ("layers", "boot/memmap.h", '#include "pmm/pmm.h"\n', "boot includes"),
    "pmm includes boot": ("layers", "src/pmm/pmm.c", '#include "boot/memmap.h"\n', "pmm includes"),
    "vmm includes heap": ("layers", "src/vmm/vmm.h", '#  include "heap/heap.h"\n', "vmm includes"),
    "heap includes kernel": ("layers", "src/heap/heap.h", '#include "kernel/console.h"\n', "heap includes"),
    "vmm includes the port's inside": ("layers", "src/vmm/vmm.h", '#include "arch/x86_64/cpu.h"\n', "vmm includes"),
    "heap includes a test": ("layers", "src/heap/heap.h", '#include "unit/test.h"\n', "heap includes"),
    "arch includes pmm": ("layers", "src/arch/arch.h", '#include "pmm/pmm.h"\n', "arch includes"),
    "a libc header in the kernel": ("layers", "src/kernel/main.c", "#include <stdio.h>\n", "not a freestanding"),
    "a libc header in a layer": ("layers", "src/pmm/pmm.c", "#include <string.h>\n", "not a freestanding"),
    "shift right by hand": ("units", "src/pmm/pmm.c", "int f(int x) { return x >> 12; }\n", "shift by hand"),
    "shift left by hand, tight": ("units", "src/pmm/pmm.c", "int f(int x) { return x<<12; }\n", "shift by hand"),
    "shift and assign": ("units", "test/unit/other.c", "void f(int x) { x >>= 12U; }\n", "shift by hand"),
    "PAGE_SHIFT": ("units", "src/vmm/vmm.h", "enum { A = PAGE_SHIFT };\n", "shift by hand"),
    "4096": ("units", "src/heap/heap.h", "char a[4096];\n", "4096 by hand"),
    "4096UL": ("units", "src/heap/heap.h", "char a[4096UL];\n", "4096UL by hand"),
    "0x1000": ("units", "src/heap/heap.h", "char a[0x1000];\n", "0x1000 by hand"),
    "0xfff": ("units", "src/heap/heap.h", "char a[1 & ~0xfffULL];\n", "by hand"),
    "octal 010000": ("units", "src/heap/heap.h", "char a[010000];\n", "by hand"),
    "the page mask": ("units", "src/heap/heap.h", "long a = 0xFFFFFFFFFFFFF000;\n", "by hand"),
    "an entry behind a cast": (
        "tables",
        "src/vmm/vmm.h",
        "pte_t f(vaddr_t v) { return *(pte_t *)v.v; }\n",
        "accessors",
    ),
    "a volatile entry": (
        "tables",
        "src/vmm/vmm.h",
        "long f(long v) { return *(volatile uint64_t *)v; }\n",
        "accessors",
    ),
    "an entry pointer": ("tables", "src/vmm/vmm.h", "void f(vaddr_t v) { pte_t *e = vaddr_to_ptr(v); }\n", "accessors"),
    "an entry in the kernel": (
        "tables",
        "src/kernel/main.c",
        "long *f(long v) { return (const volatile pte_t *)v; }\n",
        "accessors",
    ),
    "a pointer past a table": (
        "windows",
        "src/vmm/vmm.h",
        "void f(uint64_t *t) { for (uint64_t *p = t; p < t + TABLE_ENTRIES; p++) *p = 0; }\n",
        "the end of a table",
    ),
    "512 entries by hand": ("windows", "src/kernel/main.c", "long *f(long *t) { return t + 512; }\n", "the end of"),
    "the element past a table": ("windows", "src/vmm/vmm.h", "long *f(long *t) { return &t[512]; }\n", "the end of"),
    "an address past a table": (
        "windows",
        "src/vmm/vmm.h",
        "vaddr_t f(vaddr_t t) { return vaddr(t.v + (TABLE_ENTRIES * ENTRY_BYTES)); }\n",
        "the end of a table",
    ),
    "entries compared": (
        "windows",
        "src/vmm/vmm.h",
        "void f(vaddr_t entry, vaddr_t end) { while (entry.v < end.v) entry.v += 8; }\n",
        "entries compared",
    ),
    "entries compared, the other way": (
        "windows",
        "src/vmm/vmm.h",
        "void f(vaddr_t entry, vaddr_t end) { while (end.v > entry.v) entry.v += 8; }\n",
        "entries compared",
    ),
    "entries until one": (
        "windows",
        "src/vmm/vmm.h",
        "void f(vaddr_t entry, vaddr_t end) { while (entry.v != end.v) entry.v += 8; }\n",
        "entries compared",
    ),
    "the kernel's code model": ("windows", "cmake/kernel.cmake", "-mcmodel=" + "kernel\n", "-mcmodel"),
    "the kernel's code model, at the top": ("windows", "CMakeLists.txt", "-mcmodel=" + "kernel\n", "-mcmodel"),
    "a long file": ("sizes", "src/pmm/pmm.c", "int a;\n" * 401, "401 lines"),
    "a long function": (
        "sizes",
        "src/pmm/pmm.c",
        "int x;\nvoid f(void)\n{\n" + LINES_60 + "    x++;\n}\n",
        "f() has 61 lines",
    ),
    "a long function with braces in strings": (
        "sizes",
        "src/pmm/pmm.c",
        "void f(void)\n{\n    g(\"}\", '}'); /* } */ // }\n" + LINES_60 + "}\n",
        "f() has 61 lines",
    ),
    "a long function with a macro of one brace": (
        "sizes",
        "src/pmm/pmm.c",
        "#define OPEN \\\n  {\nvoid f(void)\n{\n" + LINES_60 + "    x++;\n}\n",
        "f() has 61 lines",
    ),
    "a long function with an attribute": (
        "sizes",
        "src/pmm/pmm.c",
        "void f(void) __attribute__((cold))\n{\n" + LINES_60 + "    x++;\n}\n",
        "f() has 61 lines",
    ),
    "a long test": ("sizes", "test/unit/other.c", "TEST(a, b)\n{\n" + LINES_60 + "    x++;\n}\n", "has 61 lines"),
    "a long line": ("sizes", "src/pmm/pmm.c", "/* " + "x" * 118 + " */\n", "124 columns"),
    "a long line in a script": ("sizes", "scripts/x.sh", "#" * 121 + "\n", "121 columns"),
    "an invariant the validator forgot": ("invariants", "src/pmm/region_check.c", "/* PMM-I1 */\n", "in no validator"),
    "an invariant the tests forgot": ("invariants", "test/unit/pmm_test.c", "/* PMM-I1 */\n", "in no unit test"),
    "an invariant of the tests alone": ("invariants", "test/unit/other.c", "/* PMM-I3 */\n", "in no header"),
    "a gap in the numbers": ("invariants", "src/pmm/pmm.h", "/* PMM-I1 PMM-I2 PMM-I4 */\n", "in no unit test"),
    "a layer without a validator": ("invariants", "src/pmm/region_check.c", None, "in no validator"),
    "a program includes the kernel": ("layers", "src/user/hello.c", '#include "task/task.h"\n', "user includes"),
    "a program includes calls by themselves": (
        "layers",
        "src/user/hello.c",
        '#include "task/abi.h"\n',
        "user includes task/abi.h",
    ),
    "the kernel's side includes a program": ("layers", "src/task/abi.h", '#include "user/calls.h"\n', "task includes"),
    "a call that the table forgot": ("calls", "docs/tasks.md", "| `TASK_A` | 0 | |\n", "call 1 is ('TASK_B', '1')"),
    "calls in another order": (
        "calls",
        "docs/tasks.md",
        "| `TASK_B` | 0 | |\n| `TASK_A` | 1 | |\n",
        "call 0 is ('TASK_A', '0')",
    ),
    "a call that is no more": (
        "calls",
        "docs/tasks.md",
        "| `TASK_A` | 0 | |\n| `TASK_B` | 1 | |\n| `TASK_C` | 2 | |\n",
        "call 2 is None",
    ),
    "blanks at the end": ("text", "src/pmm/pmm.c", "int a; \n", "blanks"),
    "a tab": ("text", "src/pmm/pmm.c", "\tint a;\n", "a tab"),
    "no newline at the end": ("text", "src/pmm/pmm.c", "int a;", "no newline"),
    "a machine path": ("text", "docs/a.md", "see /" + "home/me/cairn\n", "a path of one machine"),
    "no clang-format": ("text", ".clang-format", None, "not there"),
}


def guard(tree, root):
    for path, text in tree.items():
        if text is not None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
    return subprocess.run([GUARD, "--root", root], capture_output=True, text=True, check=False)


def test_a_clean_tree_is_green(tmp_path):
    done = guard(CLEAN, tmp_path)
    assert done.stdout == "" and done.returncode == 0


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_is_red(name, tmp_path):
    rule, path, text, words = VIOLATIONS[name]
    done = guard(CLEAN | {path: text}, tmp_path)
    assert done.returncode == 1
    found = [line for line in done.stdout.splitlines() if f": {rule}: " in line]
    assert any(words in line for line in found), done.stdout
    if rule != "invariants":
        assert all(
            line.startswith(path + ":") for line in done.stdout.splitlines() if ": invariants: " not in line
        ), done.stdout


def test_a_function_named_check_is_a_validator_and_no_other(tmp_path):
    """PMM-I4 is looked at by pmm_check(), PMM-I3 only mentioned elsewhere."""
    text = 'void pmm_init(void)\n{\n    say("PMM-I3");\n}\nvoid pmm_check(void)\n{\n    say("PMM-I4");\n}\n'
    found = guard(CLEAN | {"src/pmm/pmm.c": text}, tmp_path).stdout
    assert "PMM-I3:0: invariants: is in no validator" in found
    assert "PMM-I4:0: invariants: is in no header" in found
    assert "PMM-I4:0: invariants: is in no validator" not in found


def test_this_tree_is_green():
    done = subprocess.run([GUARD], capture_output=True, text=True, check=False)
    assert done.stdout == "" and done.returncode == 0


def test_wrong_use_is_status_2():
    assert subprocess.run([GUARD, "--nonsense"], capture_output=True, check=False).returncode == 2
