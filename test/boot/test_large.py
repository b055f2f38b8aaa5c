"""Pages of 2 MiB and 1 GiB in the kernel: by the monitor, on a CPU that has them and on one that has no 1 GiB pages."""
import re

import pytest
from conftest import run_cairn

PAGES_2M, PAGES_1G = 512, 512 * 512


def commands(space):
    return [
        "space new tables",
        f"map {space} 0x40000000 {2 * PAGES_2M} rw 2m",
        f"pt {space}",
        f"query 0x40234567 {space}",
        f"protect {space} 0x40201000 1 r",
        f"pt {space}",
        "check",
        f"unmap {space} 0x40000000 {PAGES_2M + 1}",
        "check",
        f"unmap {space} 0x40201000 {PAGES_2M - 1}",
        f"space free {space}",
        "check",
    ]


def sizes(text):
    """Page sizes as `pt` lists them, in order: {address: size}."""
    return dict(re.findall(r"^  ([0-9a-f]{16}) +[0-9a-f]+ +\d+ +[\d.]+ \w+ +(\d+ [KMG]iB) ", text, re.MULTILINE))


@pytest.mark.cairn(labels="qemu", seconds=60)
def test_large_pages_are_mapped_cut_and_taken_away_by_the_monitor():
    first = ["space new tables", "space free 1", "mem -j"]  # the heap keeps the page that the struct was in
    ended = run_cairn("--memory", "256M", "--exec", "; ".join([*first, *commands(2), "mem -j"])).need_success()
    whole, cut = (sizes(part) for part in ended.log.split("result pt 2: ok")[:2])
    assert whole["0000000040000000"] == "2 MiB" and "0000000040201000" not in whole
    assert cut["0000000040000000"] == "2 MiB" and cut["0000000040201000"] == "4 KiB"
    assert "4 MiB, mapped in pages of 2 MiB" in ended.log
    before, after = ended.json_all("mem -j")
    assert before["free"] == after["free"]


@pytest.mark.cairn(labels="qemu", seconds=60)
def test_a_cpu_without_1_gib_pages_says_so_and_does_with_2_mib():
    for cpu, can in (("max", True), ("max,-pdpe1gb", False)):
        ended = run_cairn(
            "--memory", "3G", "--cpu", cpu,
            "--exec", f"space new tables; map 1 0x8000000000 {PAGES_1G} rw 1g; pt 1; check",
        )
        told = f"result map 1 0x8000000000 {PAGES_1G} rw 1g: " + ("ok" if can else "failed")
        assert told in ended.log.splitlines(), ended.log[-2000:]
        assert ("0000008000000000" in sizes(ended.log)) == can
        assert can or "not supported by this machine" in ended.log, ended.log[-2000:]
        assert "result check: ok" in ended.log.splitlines()
    ended = run_cairn("--cpu", "max,-pdpe1gb", "--exec", "; ".join(commands(1))).need_success()
    assert "mapped in pages of 2 MiB" in ended.log
