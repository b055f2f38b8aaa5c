"""scripts/bench: the table, its JSON form, and names that are not there."""
import json
import re
import subprocess

import pytest
from conftest import ROOT

BENCH = ROOT / "scripts" / "bench"
TIMED = {"pair", "bulk_alloc", "bulk_free", "free_array", "churn", "pair_2m"}
BULK = {"bulk_alloc_again"}
COUNTED = {
    "instructions": {"pair_magazine", "refill_64", "flush_64", "claim_511", "mark_bad_used", "longest_alloc"},
    "percent": {"init_growth"},
    "bytes/frame": {"metadata_all_used"},
}


BITMAPS = {"bitmap", "next-fit", "zero-pages", "inverted", "by-region", "summary", "faulted", "extent", "tree"}
WAYS = BITMAPS | {"raw-stack", "flat-stack", "table-list", "frame-list", "buddy", "buddy-cpu"}


def bench(*arguments):
    return subprocess.run([BENCH, *map(str, arguments)], capture_output=True, text=True, check=False)


def workloads(rows, subject, unit):
    return {row["workload"] for row in rows if row["subject"] == subject and row["unit"] == unit}


def all_ways_are_measured(rows):
    """test/rivals/pmm: each has its times, and the memory that it is known by"""
    figures = {(row["subject"], row["workload"], row["unit"]): row["value"] for row in rows}
    assert {subject for subject, *_ in figures} == WAYS | {"cairn"}
    for way in WAYS:
        timed = {(way, name, unit) for name in TIMED - {"pair_2m", "free_array"} for unit in ("cycles", "ratio")}
        assert timed <= set(figures)
    memory = {way: figures[way, "metadata", "bytes/frame"] for way in WAYS}
    least = {"raw-stack": 4, "flat-stack": 4.25, "table-list": 4, "frame-list": 0, "buddy": 9}
    for way, bytes_a_frame in least.items():
        assert bytes_a_frame <= memory[way] < bytes_a_frame + 0.1
    assert all(0.125 < memory[way] < 0.4 for way in BITMAPS)
    start = {way: figures[way, "start", "pages"] for way in WAYS}
    assert start["bitmap"] <= start["summary"] < 1.1 * start["bitmap"], "the bitmap, and a sixty-third"
    assert start["faulted"] < 8, "nothing before it is touched"
    # A page of the bitmap covers 128 MiB; all of them are won, and each change costs a mapping there and one back.
    assert figures["inverted", "won", "% of RAM"] == pytest.approx(100 / 2**15, rel=0.05)
    assert figures["inverted", "changes", "mappings"] == pytest.approx(2, rel=0.1)


@pytest.mark.cairn(labels="host", seconds=300)
def test_pmm_stands_beside_the_raw_stack_and_misses_no_gate(tmp_path):
    """In a table and as JSON. One run for all that is asked of it: it takes half a minute."""
    file = tmp_path / "bench.json"
    done = bench("pmm", "--quick", "--json", file)
    rows = json.loads(file.read_text())
    assert all(set(row) == {"bench", "subject", "workload", "value", "unit"} for row in rows)
    assert {row["bench"] for row in rows} == {"pmm"}
    assert TIMED <= workloads(rows, "cairn", "cycles") and TIMED <= workloads(rows, "cairn", "ratio")
    assert TIMED - {"pair_2m"} <= workloads(rows, "raw-stack", "cycles")
    for unit, names in COUNTED.items():
        assert names <= workloads(rows, "cairn", unit)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["workload", "raw-stack", "ratio", "cairn", "ratio", "gate"] in lines
    for row in rows:
        other = row["subject"] != "cairn" and not (row["subject"] == "raw-stack" and row["workload"] in TIMED | BULK)
        assert any(line[:1] == [row["subject" if other else "workload"]] for line in lines), row
        assert row["value"] > 0 or row["unit"] in ("percent", "pages"), row
    timed, counted, others = re.split("pmm: instructions|pmm: other ways", done.stdout)
    assert "MISSED" not in others, "ratios of times fail nothing"
    all_ways_are_measured(rows)
    assert re.search(r"^pair .* (ok|MISSED) *$", timed, re.M) and re.search(r"^pair_2m +- ", timed, re.M)
    assert "MISSED" not in counted, done.stdout + done.stderr
    assert done.returncode == 0, "a missed gate is a failure of the benchmark"


@pytest.mark.cairn(labels="host", seconds=300)
def test_the_same_seed_counts_the_same_instructions(tmp_path):
    counts = []
    file = tmp_path / "bench.json"
    for _ in range(2):
        bench("pmm", "--quick", "--seed", 7, "--seeds", 1, "--json", file)
        rows = json.loads(file.read_text())
        counts.append({row["workload"]: row["value"] for row in rows if row["unit"] == "instructions"})
    assert counts[0] == counts[1] != {}


@pytest.mark.cairn(labels="host", seconds=60)
@pytest.mark.parametrize("name", ["vmm", "report", "nonsense", "pmmm"])
def test_a_name_whose_turn_has_not_come_says_not_yet_and_fails(name):
    done = bench(name)
    assert done.returncode == 1 and "not yet" in done.stderr and done.stdout == ""


@pytest.mark.cairn(labels="host", seconds=60)
@pytest.mark.parametrize(
    "words",
    [["--frobnicate"], ["--json"], ["pmm", "pmm"], ["pmm", "--seed", "x"], ["pmm", "--chart", "chart.svg"]],
    ids=" ".join,
)
def test_wrong_use_is_status_2(words):
    assert bench(*words).returncode == 2


@pytest.mark.cairn(labels="host", seconds=120)
def test_a_file_that_cannot_be_written_is_a_failure(tmp_path):
    done = bench("pmm", "--quick", "--seeds", 1, "--json", tmp_path / "missing" / "bench.json")
    assert done.returncode == 1 and "cannot write" in done.stderr


@pytest.mark.cairn(labels="qemu", seconds=120)
def test_tasks_are_measured_in_the_kernel(tmp_path):
    file = tmp_path / "bench.json"
    done = bench("tasks", "--json", file)
    rows = json.loads(file.read_text())
    assert done.returncode == 0 and all(row["subject"] == "cairn" and row["bench"] == "tasks" for row in rows)
    assert {row["workload"] for row in rows} == {"call", "words", "page", "start", "exit"}
    assert all(row["unit"] == "instructions" and row["value"] > 0 and row["workload"] in done.stdout for row in rows)
