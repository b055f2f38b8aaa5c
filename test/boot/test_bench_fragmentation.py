"""scripts/bench fragmentation: whole blocks after long use, of all subjects, over the same histories."""
import json
import subprocess
from collections import defaultdict
from xml.etree import ElementTree

import pytest
from conftest import ROOT

STACKS = {"raw-stack", "flat-stack", "table-list", "frame-list"}
LOWEST = {"bitmap", "by-region", "summary", "extent"}
LOWEST_BUT_OWN = {"zero-pages", "inverted", "faulted"}
SUBJECTS = STACKS | LOWEST | LOWEST_BUT_OWN | {"cairn", "cairn-no-owners", "next-fit", "buddy", "buddy-cpu", "tree"}
WORKLOADS = {f"{name}-{percent}" for name in ("W1", "W2", "W2k", "W2s") for percent in (50, 80)}


def play(file, *options):
    done = subprocess.run(
        [ROOT / "scripts" / "bench", "fragmentation", "--quick", "--json", file, *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    table = defaultdict(dict)
    for row in json.loads(file.read_text()):
        assert set(row) == {"bench", "subject", "workload", "value", "unit"} and row["bench"] == "fragmentation"
        assert row["value"] >= 0 and (row["unit"] == "%" or row["workload"].endswith(":move"))
        table[row["workload"]][row["subject"]] = row["value"]
    return table


@pytest.mark.cairn(labels="host", seconds=300)
def test_whole_blocks_after_long_use_have_the_shape_that_each_placement_makes(tmp_path):
    table, again, other = (play(tmp_path / "bench.json", "--seed", seed) for seed in ("1", "1", "2"))
    assert table == again != other
    assert set(table) >= WORKLOADS | {f"{name}:64k" for name in WORKLOADS}
    for workload in WORKLOADS:
        whole, runs = table[workload], table[f"{workload}:64k"]
        assert set(whole) == set(runs) == SUBJECTS
        assert all(0 <= value <= 100 for value in (*whole.values(), *runs.values()))
        # A stack keeps what it never used, and nothing else: a tenth of half, a quarter of a fifth.
        assert all(whole[name] == whole["raw-stack"] for name in STACKS)
        assert whole["raw-stack"] == pytest.approx(10 if workload.endswith("50") else 24, abs=2.5)
        assert all(whole[name] == whole["bitmap"] for name in LOWEST)
        assert all(whole[name] == pytest.approx(whole["bitmap"], abs=3) for name in LOWEST_BUT_OWN)
        assert whole["buddy"] == pytest.approx(whole["raw-stack"], abs=2.5), "a buddy is no better than a stack"
        assert whole["next-fit"] < 10, "it spreads all over"
        assert runs["bitmap"] > runs["raw-stack"]
    # Random frames: fullest first and lowest first leave almost all that there can be.
    assert table["W1-50"]["bitmap"] > 95 and table["W1-50"]["cairn"] > 90 and table["W1-80"]["cairn"] > 85
    # Kernel frames keep to themselves.
    assert table["W2k-80"]["cairn-no-owners"] > 0.75 * table["W2-80"]["cairn-no-owners"]
    # They do not move: where they lie everywhere, nothing empties enough blocks.
    assert "bitmap" not in table["W2k-50:move"] and "cairn" in table["W2k-50:move"]
    assert table["W1-50:move"]["cairn"] == 0 < table["W1-50:move"]["raw-stack"]


def rows_of(subject, ratio, whole, memory):
    name = "metadata_all_used" if subject == "cairn" else "metadata"
    row = {"bench": "pmm", "subject": subject}
    yield from (row | {"workload": w, "value": ratio, "unit": "ratio"}
                for w in ("pair", "bulk_alloc", "bulk_free", "churn"))  # fmt: skip
    yield row | {"workload": name, "value": memory, "unit": "bytes/frame"}
    yield {"bench": "fragmentation", "subject": subject, "workload": "W2-50", "value": whole, "unit": "%"}


def chart(tmp_path, rows):
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    done = subprocess.run(
        [ROOT / "scripts" / "frames_chart.py", tmp_path / "rows.json", tmp_path / "chart.svg"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, tmp_path / "chart.svg"


@pytest.mark.cairn(labels="host", seconds=60)
def test_the_chart_has_a_circle_where_each_subject_belongs(tmp_path):
    subjects = {"cairn": (2, 80, 2.06), "raw-stack": (1, 10, 4), "tree": (16, 20, 0.13)}
    status, file = chart(tmp_path, [row for name, at in subjects.items() for row in rows_of(name, *at)])
    root = ElementTree.parse(file).getroot()
    circles = {}
    for circle in root.findall(".//{*}circle"):
        for title in circle.findall("{*}title"):
            circles[title.text.split(":")[0]] = [float(circle.get(key)) for key in ("cx", "cy", "r")]
    names = [text.text for text in root.findall(".//{*}text")]
    assert status == 0 and set(circles) == set(subjects) and all(names.count(name) == 1 for name in subjects)
    by_x, by_y, by_r = (sorted(circles, key=lambda name: circles[name][i]) for i in range(3))
    assert by_x == ["raw-stack", "cairn", "tree"]
    assert by_y == ["cairn", "tree", "raw-stack"], "what keeps most is at the top"
    assert by_r == ["tree", "cairn", "raw-stack"]


@pytest.mark.cairn(labels="host", seconds=300)
def test_frames_makes_the_chart_of_all_subjects_in_one_go(tmp_path):
    done = subprocess.run(
        [ROOT / "scripts" / "bench", "frames", "--quick", "--seeds", "1", "--chart", tmp_path / "chart.svg"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    titles = ElementTree.parse(tmp_path / "chart.svg").getroot().findall(".//{*}circle/{*}title")
    assert {title.text.split(":")[0] for title in titles} == SUBJECTS


@pytest.mark.cairn(labels="host", seconds=60)
def test_figures_of_one_benchmark_make_no_chart(tmp_path):
    rows = [row for row in rows_of("cairn", 2, 80, 2.06) if row["bench"] == "pmm"]
    assert chart(tmp_path, rows)[0] == 1
