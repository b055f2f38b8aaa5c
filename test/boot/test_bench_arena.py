"""scripts/bench arena: the arena and its rivals over the same traces; steps, refusals and sizes are exact."""
import json
import subprocess
from collections import defaultdict

import pytest
from conftest import ROOT

BENCH = ROOT / "scripts" / "bench"
SUBJECTS = {"cairn", "bestfit", "imports", "buddy2", "buddy4", "segments", "chunks", "list", "tree", "vmem"}
QUICK = {"wide_1k", "tight_50", "tight_80", "tight_80_any"}
TIMES = {"cycles", "ratio", "find_cycles"}
COUNTS = {
    "alloc_steps", "steady_steps", "refused_steps", "free_steps", "find_steps", "splits", "lines_most", "lines_mean",
    "requests", "refused", "refused_pages_percent", "largest_percent", "ranges", "bytes_a_range",
}
SPACES = {"spaces_message", "spaces_stay"}
# What the arena may touch in one call. An alloc that is not steady may put two new pages of nodes into the reserve.
ALLOC_MOST, STEADY_MOST, FREE_MOST, FIND_MOST, LAST_RESORT_MOST = 94, 74, 22, 14, 21740


def bench(*arguments):
    return subprocess.run([BENCH, *map(str, arguments)], capture_output=True, text=True, check=False)


def table_of(file):
    """{(subject, workload): {unit: value}}, of traces"""
    return {key: row for key, row in all_of(file).items() if key[1] not in SPACES}


def all_of(file):
    table = defaultdict(dict)
    for row in json.loads(file.read_text()):
        assert set(row) == {"bench", "subject", "workload", "value", "unit"} and row["bench"] == "arena"
        assert row["unit"] not in table[row["subject"], row["workload"]], row
        table[row["subject"], row["workload"]][row["unit"]] = row["value"]
    return table


def counts_of(table):
    return {key: {unit: row[unit] for unit in COUNTS} for key, row in table.items()}


# One test, since each is a process of its own and the bench takes a quarter of a minute.
@pytest.mark.cairn(labels="host", seconds=300)
def test_all_subjects_play_the_same_traces_count_the_same_again_and_no_call_of_the_arena_is_long(tmp_path):
    file, again, other = (tmp_path / name for name in ("bench.json", "again.json", "other.json"))
    done = bench("arena", "--quick", "--json", file)
    table = table_of(file)
    assert done.returncode == 0 and "MISSED" not in done.stdout, done.stdout + done.stderr
    all_are_in_the_table(table)
    known_figures_come_out_and_no_call_of_the_arena_is_long(table)
    imported_spans_save_page_tables_and_hold_more_addresses(all_of(file))
    bench("arena", "--quick", "--json", again)
    assert counts_of(table_of(again)) == counts_of(table)
    bench("arena", "--quick", "--seed", 2, "--json", other)
    assert counts_of(table_of(other)) != counts_of(table), "the seed does nothing"


def all_are_in_the_table(table):
    assert set(table) == {(subject, workload) for subject in SUBJECTS for workload in QUICK}
    for (subject, workload), row in table.items():
        assert set(row) == COUNTS | (TIMES if subject != "vmem" else TIMES - {"find_cycles"})
        assert row["requests"] == table["cairn", workload]["requests"] > 1000, "another trace"
        assert row["refused"] < row["requests"] and 0 < row["largest_percent"] <= 100
        assert (row["refused"] > 0) == (row["refused_pages_percent"] > 0)
        assert row["lines_most"] >= row["lines_mean"] > 1, "nothing is counted"
        assert row["alloc_steps"] > 0 and row["free_steps"] > 0 and row["bytes_a_range"] > 0
    assert all(table["cairn", workload]["ratio"] == 1 for workload in QUICK)


def known_figures_come_out_and_no_call_of_the_arena_is_long(table):
    # A page out of 2^47 bytes by halves, out of 64 GiB; 16 KiB out of 4 GiB by quarters.
    assert table["buddy2", "wide_1k"]["splits"] == 35
    assert table["buddy2", "tight_50"]["splits"] == 24
    for workload in QUICK:
        assert table["buddy4", workload]["splits"] == 9
        ours, listed = table["cairn", workload], table["list", workload]
        roomy = workload.startswith("wide")
        assert ours["alloc_steps"] <= (ALLOC_MOST if roomy else LAST_RESORT_MOST)
        assert ours["steady_steps"] <= (STEADY_MOST if roomy else LAST_RESORT_MOST)
        assert ours["refused_steps"] <= LAST_RESORT_MOST
        assert ours["free_steps"] <= FREE_MOST and ours["find_steps"] <= FIND_MOST
        # The list walks over what is in use; it would be no list if it did not.
        assert listed["alloc_steps"] > listed["ranges"] / 2 and listed["free_steps"] > listed["ranges"] / 2
        assert all(row["splits"] == 0 for (name, _), row in table.items() if not name.startswith("buddy"))
        # Halves of the whole are the most that a binary buddy has when anything is in use.
        assert table["buddy2", workload]["largest_percent"] <= 51
    # First fit is first fit, by whatever way.
    for unit in ("refused", "refused_pages_percent", "largest_percent"):
        assert [table["list", w][unit] for w in QUICK] == [table["tree", w][unit] for w in QUICK]
    # Bitmaps are as large as what they cover: a bit and its twin for each 2 MiB of 2^47 bytes.
    chunks = table["chunks", "wide_1k"]
    assert 2 ** 24 <= chunks["bytes_a_range"] * chunks["ranges"] < 2 ** 24 + 4096


def imported_spans_save_page_tables_and_hold_more_addresses(rows):
    for workload in SPACES:
        straight, imports = rows["cairn", workload], rows["imports", workload]
        for row in (straight, imports):
            assert set(row) == {"space_cycles", "tables", "tables_least", "held", "refused"}
            assert row["refused"] == 0 and row["tables"] >= row["tables_least"] > 0
        assert imports["tables"] < straight["tables"], "that is what they are for"
        assert straight["held"] == 1 < imports["held"] < 1.5
