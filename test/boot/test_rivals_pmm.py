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
TESTS = 6
BLOCK_MOST = 3000  # instructions; a page fault in a bitmap
START_DIFFERS_MAX = 0.02


def build(*arguments):
    subprocess.run([BUILD, *arguments], check=True, stdin=subprocess.DEVNULL)


def costs_of(ended):
    rows = [json.loads(line) for line in ended.log.splitlines() if line.startswith('{"name":"rivals_')]
    return {row["name"].removeprefix("rivals_"): row["instructions"] / row["ops"] for row in rows}


@pytest.mark.cairn(labels="qemu", seconds=600)
def test_every_way_works_on_real_frames_over_a_map_with_holes_and_is_measured():
    build("--rivals")
    commands = "mem -j; test rivals_pmm.*; bench rivals -j; check; mem -j"
    kernel = ROOT / "build" / "kernel-rivals" / "cairn.elf"
    ended = run_cairn(
        "--icount", "--memory", "5G", "--timeout", "200", "--kernel", kernel, "--exec", commands
    ).need_success()
    before, after = ended.json_all("mem -j")
    assert before["free"] == after["free"] and before["used"] == after["used"], "all is as it was"
    assert len(re.findall(r"^ok \d+ rivals_pmm\.", ended.log, re.MULTILINE)) == TESTS
    costs = costs_of(ended)
    print(json.dumps(costs, indent=1))
    for way in ["cairn", *WAYS]:
        assert {f"{way}_{what}" for what in ("start", "pair", "alloc", "free", "half", "full")} <= costs.keys(), way
    # Late backing: the start costs the same whatever memory there is. Backed whole it does not.
    for way in ("cairn", "faulted"):
        assert abs(costs[f"{way}_start_1t"] - costs[f"{way}_start_4g"]) <= START_DIFFERS_MAX * costs[f"{way}_start_4g"]
    assert costs["bitmap_start_1t"] > 100 * costs["bitmap_start_4g"] > 100 * costs["cairn_start_4g"]


@pytest.mark.cairn(labels="qemu", seconds=600)
@pytest.mark.parametrize("way", ["faulted"])
def test_the_kernel_works_on_another_way_to_keep_account_of_frames(way):
    build("--pmm", way)
    kernel = ROOT / "build" / f"pmm-{way}" / "cairn.elf"
    ended = run_cairn("--kernel", kernel, "--exec", "exercise; test vmm*; space new; check; mem -j").need_success()
    assert f"pmm: nothing of {way} can be checked" in ended.log, "it is not the kernel's own"


@pytest.mark.parametrize("name", ["host-machine", "cairn", ""])
def test_what_is_no_way_to_keep_account_of_frames_is_wrong_use(name):
    done = subprocess.run([BUILD, "--pmm", name], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--pmm raw-stack|flat-stack|" in done.stderr
