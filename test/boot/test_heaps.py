"""The kernel on another heap than its own (test/rivals/heap/): it boots, and what any heap must do is done. One of
them: a kernel takes half a minute to build, and the host tests have all.
"""
import re
import subprocess

import pytest
from conftest import ROOT, run_cairn

BUILD = ROOT / "scripts" / "build"


@pytest.mark.cairn(labels="qemu", seconds=600)
@pytest.mark.parametrize("name", ["tlsf-idea"])
def test_the_kernel_works_on_another_heap(name):
    subprocess.run([BUILD, "--heap", name], check=True, stdin=subprocess.DEVNULL)
    ended = run_cairn(
        "--kernel",
        ROOT / "build" / f"heap-{name}" / "cairn.elf",
        "--exec",
        "test heap*; test vmm*; heap; space new; check",
    ).need_success()
    # Five tests of the heap, and they are those of any heap.
    assert len(re.findall(r"^ok \d+ heap_common\.", ended.log, re.MULTILINE)) == 5 and "heap_misuse." not in ended.log
    assert f"heap: nothing of {name.replace('-', '_')} can be checked" in ended.log, "it is not the kernel's own"


@pytest.mark.parametrize("name", ["one-size", "cairn", ""])
def test_a_heap_that_the_kernel_cannot_run_on_is_wrong_use(name):
    done = subprocess.run([BUILD, "--heap", name], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--heap tlsf-idea|first-fit" in done.stderr
