"""The other ways to keep account of frames (test/rivals/pmm/) inside the kernel: beside its PMM, on real frames over a
map with holes, and under it. One of those under it: a kernel takes half a minute to build, and the host tests have all.
"""
import json
import re
import subprocess

import pytest
from conftest import ROOT, run_cairn

BUILD = ROOT / "scripts" / "build"
WAYS = re.findall(r'^    \{"([a-z-]+)", ', (ROOT / "test/rivals/pmm/ways.c").read_text(), re.MULTILINE)
TESTS = 9
SIZED = ("cairn", "eager-cairn", "bitmap", "faulted")
# Starts over 1 TiB beside those over 4 GiB. Late: a refill of the kernel's magazine may be in one of them. By fault: an
# entry is marked for each 128 MiB. Whole from the start: there is 256 times as much.
LATE_MOST, FAULTED_MOST, WHOLE_LEAST = 1.5, 16, 200


def build(*arguments):
    subprocess.run([BUILD, *arguments], check=True, stdin=subprocess.DEVNULL)


def costs_of(ended):
    rows = [json.loads(line) for line in ended.log.splitlines() if line.startswith('{"name":"rivals_')]
    return {row["name"].removeprefix("rivals_"): row["instructions"] / row["ops"] for row in rows}


@pytest.mark.cairn(labels="qemu", seconds=600)
def test_every_way_works_on_real_frames_over_a_map_with_holes_and_is_measured():
    build("--rivals")
    commands = "test rivals_pmm*; mem -j; bench rivals -j; check; mem -j"
    kernel = ROOT / "build" / "kernel" / "rivals.elf"
    ended = run_cairn(
        "--icount", "--memory", "5G", "--timeout", "200", "--kernel", kernel, "--exec", commands
    ).need_success()
    before, after = ended.json_all("mem -j")
    assert before["free"] == after["free"] and before["used"] == after["used"], "bench leaves all as it was"
    assert len(re.findall(r"^ok \d+ rivals_pmm", ended.log, re.MULTILINE)) == TESTS
    costs = costs_of(ended)
    print(json.dumps(costs, indent=1))
    for way in ["cairn", "eager-cairn", *WAYS]:
        assert {f"{way}_{what}" for what in ("start", "pair", "alloc", "free", "half", "full")} <= costs.keys(), way
    grown = {way: costs[f"{way}_start_1t"] / costs[f"{way}_start_4g"] for way in SIZED}
    assert grown["cairn"] <= LATE_MOST and grown["faulted"] <= FAULTED_MOST
    assert grown["bitmap"] >= WHOLE_LEAST and grown["eager-cairn"] >= WHOLE_LEAST


@pytest.mark.cairn(labels="qemu", seconds=600)
@pytest.mark.parametrize("way", ["faulted"])
def test_the_kernel_works_on_another_way_to_keep_account_of_frames(way):
    build("--pmm", way)
    kernel = ROOT / "build" / f"pmm-{way}" / "cairn.elf"
    ended = run_cairn("--kernel", kernel, "--exec", "exercise; test vmm*; space new; check; mem -j").need_success()
    assert f"pmm: nothing of {way} can be checked" in ended.log, "it is not the kernel's own"
    # What it has not is said; nothing else happens.
    commands = "provoke double-free; bench pmm; bench vmm_map_1; check"
    ended = run_cairn("--kernel", kernel, "--exec", commands)
    assert "provoke: nothing changed; the validators find nothing" in ended.log
    assert "no benchmark is named 'pmm'" in ended.log
    assert "result bench vmm_map_1: ok" in ended.log and "result check: ok" in ended.log


@pytest.mark.parametrize("name", ["host-machine", "cairn", ""])
def test_what_is_no_way_to_keep_account_of_frames_is_wrong_use(name):
    done = subprocess.run([BUILD, "--pmm", name], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--pmm raw-stack|flat-stack|" in done.stderr
