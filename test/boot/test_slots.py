"""The pair of windows lies where one header says: the kernel works with another pair (so do the host tests:
scripts/coverage runs them with one), and a pair that would lie on something else is refused when it is compiled. And
why scripts/guard forbids what it does about the end of the address space.
"""
import re
import subprocess

import pytest
from conftest import ROOT, run_cairn

SELF, FOREIGN = 500, 499
BASE = 0xFFFF_0000_0000_0000


@pytest.fixture(scope="module")
def build():
    command = [ROOT / "scripts" / "build", "--slots", f"{SELF},{FOREIGN}", "kernel"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return ROOT / "build"


@pytest.mark.cairn(labels="qemu", seconds=600)
def test_the_kernel_works_with_another_pair(build):
    ended = run_cairn(
        "--kernel",
        build / "slots-kernel" / "cairn.elf",
        "--exec",
        "space new; map 1 0x40000000 3; pt 0x40000000 1; pt; exercise 1; test vmm*; who 0xffffff8000000000; check",
    ).need_success()
    assert f"{BASE | FOREIGN << 39:016x}  foreign window: open on space 1, " in ended.log
    assert f"{BASE | SELF << 39:016x}  self window: PML4 at " in ended.log
    # The PT of a foreign address appears in the foreign slot, its PD in the self slot's part of it.
    windows = dict(re.findall(r"^  (PT|PD) +\d+ ([0-9a-f]{16})  ", ended.log, re.MULTILINE))
    assert int(windows["PT"], 16) >> 39 & 511 == FOREIGN
    assert int(windows["PD"], 16) >> 30 & (1 << 18) - 1 == SELF << 9 | FOREIGN
    assert "as a virtual address in space 0: not mapped, nobody" in ended.log, "slot 511 is like any other"


# SELF, FOREIGN, the end of the bank, what the compiler must say.
PAIRS = [
    (511, 510, 507, None),
    (500, 499, 498, None),
    (499, 500, 498, None),
    (510, 511, 507, None),
    (508, 259, 507, None),
    (500, 500, 498, "the windows are two slots"),
    (509, 510, 507, "the self window is apart from the arena"),
    (511, 509, 507, "so is the foreign window"),
    (256, 510, 507, "the self window is apart from the arena"),
    (511, 257, 507, "so is the foreign window"),
    (511, 258, 507, "so is the foreign window"),
    (511, 0, 507, "so is the foreign window"),
    (512, 510, 507, "the self window is apart from the arena"),
    (500, 510, 507, "the self window is apart from the bank"),
    (511, 499, 507, "so is the foreign window"),
    (511, 510, 509, "the bank is apart from the PMM and the image"),
]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize(("self_slot", "foreign", "bank_last", "words"), PAIRS)
def test_a_pair_on_something_else_is_refused(compiler, self_slot, foreign, bank_last, words):
    command = [compiler, "-std=gnu2x", "-fsyntax-only", f"-I{ROOT / 'src'}", "-x", "c", "-"]
    command += [f"-DLAYOUT_SLOT_SELF={self_slot}", f"-DLAYOUT_SLOT_FOREIGN={foreign}"]
    command += [f"-DLAYOUT_SLOT_BANK_LAST={bank_last}"]
    done = subprocess.run(command, input='#include "arch/layout.h"\n', capture_output=True, text=True, check=False)
    if words is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode != 0 and words in done.stderr, done.stderr


OPTIONS = "-std=gnu2x -O2 -ffreestanding -mno-red-zone -mgeneral-regs-only -fcf-protection=none".split()
LOOPS = """
#include "arch/layout.h"
#include "arch/paging.h"
/* The PML4 in its own window, from 512 times the slot's number; the default pair. */
#define PML4 ((volatile uint64_t *)0xFFFFFFFFFFFFF000)
void by_pointer(void) { for (volatile uint64_t *p = PML4; p < PML4 + TABLE_ENTRIES; p++) *p = 0; }
void by_index(void) { for (unsigned i = 0; i < TABLE_ENTRIES; i++) PML4[i] = 0; }
"""


def instructions(listing, function):
    body = re.search(rf"<{function}>:\n(.*?)(?:\n\n|\Z)", listing, re.DOTALL)[1]
    return re.findall(r"^ *[0-9a-f]+:\t[0-9a-f ]+\t(\w+ *.*)$", body, re.MULTILINE)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_loop_up_to_the_end_of_the_last_table_compiles_to_nothing(compiler, tmp_path):
    """So no code compares with it; by index all 512 entries are written."""
    source, code = tmp_path / "loops.c", tmp_path / "loops.o"
    source.write_text(LOOPS)
    subprocess.run([compiler, *OPTIONS, f"-I{ROOT / 'src'}", "-c", source, "-o", code], check=True)
    listing = subprocess.run(["objdump", "-d", code], capture_output=True, text=True, check=True).stdout

    def stores(function):
        return [text for text in instructions(listing, function) if re.search(r"^mov\w* .*,.*\(%|^mov\w* .*,0x", text)]

    assert stores("by_index"), listing
    assert not stores("by_pointer") and len(instructions(listing, "by_pointer")) <= 5, listing


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_kernels_code_model_does_not_link_below_the_windows(compiler, tmp_path):
    """It wants the image in the top 2 GiB; those are windows. What the build uses links at the image's slot."""
    source = tmp_path / "image.c"
    source.write_text("int table[8]; int *_start(long i) { return &table[i]; }\n")
    image = re.search(r"LAYOUT_IMAGE_BASE (0x[0-9A-F]+)", (ROOT / "src/arch/layout.h").read_text())[1]

    def link(*options):
        command = [compiler, *OPTIONS, *options, "-nostdlib", "-static", "-no-pie", f"-Wl,-Ttext={image}"]
        command += [f"-Wl,--section-start=.bss={int(image, 16) + (1 << 21):#x}", "-Wl,--build-id=none"]
        return subprocess.run(
            [*command, source, "-o", tmp_path / "image.elf"], capture_output=True, text=True, check=False
        )

    assert link("-fpie", "-mcmodel=small").returncode == 0
    refused = link("-fno-pie", "-mcmodel=" + "kernel")
    assert refused.returncode != 0 and "relocation truncated to fit" in refused.stderr


@pytest.mark.parametrize("slots", ["500", "500,", "x,499", "500;499"])
def test_a_pair_that_is_none_is_wrong_use(slots):
    done = subprocess.run([ROOT / "scripts" / "build", "--slots", slots], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--slots SELF,FOREIGN" in done.stderr
