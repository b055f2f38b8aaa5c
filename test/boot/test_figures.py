"""Figures that the kernel must keep: the cost of boot, of metadata, of the image, of a foreign mapping."""
import re
import shutil
import subprocess

import pytest
from conftest import run_cairn

MIB = 1 << 20
BOOT_TICKS_MAX = 3_000_000
IMAGE_BYTES_MAX = 512 << 10
HEAP_CODE_BYTES_MAX = 12 << 10
# What allocates, frees, resizes and tells whose an address is; not object caches, guard mode, validator and statistics.
NOT_THE_HEAP_ALONE = re.compile(r"buffer|(cache|guard)(_.*)?|heap_(check|dump|stats)|tree_walk")
VA = 0x40000000


def boot_ticks(memory):
    ended = run_cairn("--icount", "--memory", memory, "--timeout", "100", "--exec", "counters -j").need_success()
    return ended.json_after("counters -j")["boot_ticks"]


@pytest.mark.cairn(labels="qemu", seconds=240)
def test_boot_costs_little_and_does_not_depend_on_memory():
    small, large = boot_ticks("256M"), boot_ticks("4T")
    print(f"boot_ticks: 256M {small}, 4T {large}")
    assert 1000 < small <= BOOT_TICKS_MAX, "and a counter that nobody sets is no result"
    assert abs(large - small) <= max(small * 2 // 100, 20_000)


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_boot_ticks_are_exact():
    assert boot_ticks("64M") == boot_ticks("64M")


@pytest.mark.cairn(labels="qemu", seconds=120)
@pytest.mark.parametrize("memory", ["16M", "256M", "5G", "1T", "4T"])
def test_metadata_at_the_prompt_is_small(memory):
    ended = run_cairn("--memory", memory, "--exec", "mem -j; mmap -j").need_success()
    mem, mmap = ended.json_after("mem -j"), ended.json_after("mmap -j")
    limit = (64 << 10) + 128 * len(mem["regions"]) + 16 * len(mmap["runs"])
    print(f"metadata at {memory}: {mem['metadata']} bytes")
    assert 0 < mem["metadata"] < limit


@pytest.mark.cairn(labels="qemu", seconds=300)
@pytest.mark.parametrize("preset", ["kernel", "kernel-clang"])
def test_the_image_is_small(kernels, preset, tmp_path):
    image = tmp_path / "cairn.elf"
    shutil.copy(kernels(preset), image)
    subprocess.run(["strip", image], check=True)
    print(f"image of {preset}: {image.stat().st_size} bytes without symbols")
    assert image.stat().st_size < IMAGE_BYTES_MAX


def code_bytes(folder):
    """Of each source that the heap alone consists of, as it is compiled for the kernel."""
    found = {}
    for file in sorted(folder.glob("*.c.o")):
        name = file.name.removesuffix(".c.o")
        if not NOT_THE_HEAP_ALONE.fullmatch(name):
            sections = subprocess.run(["objdump", "-h", file], capture_output=True, text=True, check=True).stdout
            found[name] = sum(int(size, 16) for size in re.findall(r" \.text\S* +([0-9a-f]{8}) ", sections))
    return found


@pytest.mark.cairn(labels="qemu", seconds=300)
def test_the_code_of_the_heap_alone_is_at_most_12_kib(kernels):
    parts = code_bytes(kernels("kernel").parent / "CMakeFiles/kernel_objects.dir/src/heap")
    print(f"code of the heap alone: {sum(parts.values())} bytes, {parts}")
    assert {"heap", "slab", "mixed", "tree", "pages", "large", "realloc"} <= set(parts)
    assert all(parts.values()) and sum(parts.values()) <= HEAP_CODE_BYTES_MAX


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_a_foreign_map_into_an_existing_table_flushes_nothing():
    """512 pages of one table; the first is mapped before the counting begins, so that the table is there."""
    commands = [
        "space new",
        f"map 1 {VA:#x} 1",
        "counters reset",
        f"map 1 {VA + 4096:#x} 511",
        "counters -j",
        f"query {VA + 511 * 4096:#x} 1",
        f"unmap 1 {VA:#x} 512",
        "space free 1",
        "check",
    ]
    counters = run_cairn("--exec", "; ".join(commands)).need_success().json_after("counters -j")
    assert counters["cr3_loads"] == 0 and counters["ipis"] == 0
    assert counters["table_stores"] >= 511, "and the pages were really mapped"
