"""A loader that lies: the real kernel started with forged boot information (shim/shim.c). What is sound of it is used,
or the kernel halts with a line that says why; never a reset, a hang or a wrong word."""
import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import run_cairn

pytestmark = pytest.mark.cairn(labels="qemu", seconds=90)

SHIM = Path(__file__).resolve().parent / "shim"

# The kernel lives: it says this of what it was given, and its layers work.
SURVIVED = {
    "nothing": [r"loaded by shim"],
    "efi-map": [r"memory map: .*the EFI map is used", r"entries of the EFI map"],
    "basic-map": [r"memory map: .*basic memory information is used", r"2 entries of basic memory"],
    "overlaps": [r"entries of the Multiboot2 map"],
    "acpi-over-all": [],
    "many-entries": [r"10004 entries of the Multiboot2 map", r"\d+ runs are too many, left out"],
    "unterminated": [r"command line of \d+ bytes has no end"],
    "modules": [
        r"the module at 0x100000-0x109000 lies over the kernel",
        r"the module at 0xf0000000-0xffffffff is not all in RAM",
        r"the module at 0x12c00000-0x12d00000 is not all in RAM",
        r"module at 0x500000 ends before it, at 0x400000",
        r"module at 0x1200000 to 0x1600000 lies over the one at 0x1000000 to 0x1400000",
    ],
    "many-modules": [r"one more than MB2_MODULES_MAX"],
    "sections-lie": [r"ELF tag says 16777215 section headers and holds", r"ELF section \d+, .* cannot be"],
    "symbols-huge": [r"ELF section \d+, .* cannot be"],
    "symbols-elsewhere": [],
    "symbols-of-noise": [r"ELF section \d+, .* cannot be"],
    "framebuffer-over-kernel": [r"the framebuffer at 0x100000 would lie over the kernel"],
    "low-block": [r"loaded by shim"],
    "size-huge": [r"boot information: 4294967295 bytes are too many, cut"],
    "no-end": [r"the end tag is missing"],
}
# It halts, and says why.
HALTED = {
    "no-map": [r"panic: the loader gave no memory map"],
    "entry-size-0": [r"map tag of \d+ bytes with entries of 0: left out", r"panic: the loader gave no memory map"],
    "entry-size-huge": [r"memory map without an entry: left out", r"panic: the loader gave no memory map"],
    "module-over-all": [r"panic: no frame for the first tables: .* are in use, or said to be"],
    "size-0": [r"panic: the boot information at 0x6000000 is corrupt"],
    "unaligned": [r"panic: the boot information at 0x6000ffe is corrupt"],
    "nowhere": [r"panic: the boot information at 0xe0000000 is corrupt"],
    "null": [r"panic: the boot information at 0 is corrupt"],
    "in-kernel": [r"panic: the boot information at 0x102000 is corrupt"],
}


def build_shim():
    """Once for all cases, and again when the source is newer."""
    folder = SHIM.parents[2] / "build" / "shim"
    folder.mkdir(parents=True, exist_ok=True)
    image = folder / "shim.elf"
    sources = [SHIM / "shim.c", SHIM / "shim.ld"]
    if not image.exists() or any(source.stat().st_mtime > image.stat().st_mtime for source in sources):
        fresh = folder / f"shim.{os.getpid()}"
        flags = "-m32 -O1 -ffreestanding -nostdlib -static -fno-pie -no-pie -fno-stack-protector -mgeneral-regs-only"
        flags += " -fcf-protection=none -fno-tree-loop-distribute-patterns -fno-asynchronous-unwind-tables"
        warnings = "-Wall -Wextra -Werror -Wno-array-bounds -Wl,--build-id=none -Wl,--no-warn-rwx-segments"
        command = ["gcc", *flags.split(), *warnings.split(), f"-Wl,-T,{sources[1]}", "-o", fresh, sources[0]]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        fresh.rename(image)
    return image


@pytest.fixture
def hostile(kernels, tmp_path):
    kernel = tmp_path / "cairn.elf"
    subprocess.run(["objcopy", "--strip-debug", kernels("kernel"), kernel], check=True)

    def run(lie, commands, *arguments):
        image = build_shim()
        given = ["--kernel", image, "--module", kernel, "--append", f"shim={lie}", "--exec", commands]
        return run_cairn(*given, *arguments)

    return run


@pytest.mark.parametrize("lie", SURVIVED)
def test_the_sound_part_is_used(hostile, lie):
    ended = hostile(lie, "mmap; check; exercise 1; check; mem -j", "--timeout", "60").need_success()
    for words in SURVIVED[lie]:
        assert re.search(words, ended.log), f"{words} in\n{ended.log}"
    memory = ended.json_after("mem -j")
    parts = sum(memory[name] for name in ("free", "used", "metadata", "earmarked", "reserved"))
    assert memory["ram"] == parts


@pytest.mark.parametrize("lie", HALTED)
def test_what_cannot_be_used_is_a_halt_that_says_why(hostile, lie):
    ended = hostile(lie, "mem", "--timeout", "30")
    assert ended.status == 1, ended.log
    for words in HALTED[lie]:
        assert re.search(words, ended.log), f"{words} in\n{ended.log}"
    assert re.search(r"^cairn-exit 1 ", ended.log, re.MULTILINE), ended.log
    assert "result mem" not in ended.log


def test_what_a_module_claims_is_never_given_back(hostile):
    """Frames of the thrown-away part of the image, of the block and of free RAM, all claimed by modules."""
    ended = hostile("modules", "exercise 1; who 0x103000; who 0x6000000; who 0x1000000; who 0x15ff000; check")
    ended.need_success()
    for address in ("0x103", "0x6000", "0x1000", "0x15ff"):
        words = rf"^as a physical address: frame {address}, byte 0, reserved"
        assert re.search(words, ended.log, re.MULTILINE), ended.log
